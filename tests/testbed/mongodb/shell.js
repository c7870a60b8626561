// The part of mongosh's API that scripts of initdb and health checks use, on what shell.go gives.
(function (global, native) {
    'use strict';

    class MongoServerError extends Error {}
    class Long {
        constructor(text) { this.text = String(text); }
        toString() { return this.text; }
        toNumber() { return Number(this.text); }
        valueOf() { return Number(this.text); }
        toJSON() { return { $numberLong: this.text }; }
    }
    class Extended { // a value of BSON that JavaScript has no type for
        constructor(value) { Object.assign(this, value); }
    }

    function revive(key, value) {
        if (value === null || typeof value !== 'object') return value;
        if ('$numberInt' in value) return Number(value.$numberInt);
        if ('$numberDouble' in value) return Number(value.$numberDouble);
        if ('$numberLong' in value) return new Long(value.$numberLong);
        if ('$date' in value) return new Date(Number(value.$date));
        if ('$oid' in value || '$binary' in value || '$timestamp' in value) return new Extended(value);
        return value;
    }

    function encode(value) {
        if (value instanceof Date) return { $date: value.toISOString() };
        if (Array.isArray(value)) return value.map(encode);
        if (value === null || typeof value !== 'object') return value;
        if (value instanceof Long || value instanceof Extended) return value;
        const made = {};
        for (const key of Object.keys(value)) if (value[key] !== undefined) made[key] = encode(value[key]);
        return made;
    }

    function check(done) {
        if (done.error === undefined) return done;
        const thrown = new MongoServerError(done.error.message);
        return raise(thrown, done.error);
    }

    function raise(thrown, said) {
        if (said.name !== undefined) thrown.name = said.name;
        thrown.code = said.code;
        thrown.codeName = said.codeName;
        throw thrown;
    }

    class Cursor {
        constructor(collection, command) { this.collection = collection; this.command = command; }
        sort(keys) { this.command.sort = keys; return this; }
        limit(count) { this.command.limit = count; return this; }
        skip(count) { this.command.skip = count; return this; }
        toArray() {
            const database = this.collection.database;
            let cursor = database.runCommand(this.command).cursor;
            const found = cursor.firstBatch;
            while (cursor.id.toString() !== '0') {
                cursor = database.runCommand({ getMore: cursor.id, collection: this.collection.name }).cursor;
                found.push(...cursor.nextBatch);
            }
            return found;
        }
    }

    class Collection {
        constructor(database, name) { this.database = database; this.name = name; }
        find(filter = {}, projection = {}) {
            return new Cursor(this, { find: this.name, filter, projection });
        }
        findOne(filter = {}, projection = {}) {
            const [found] = this.find(filter, projection).limit(1).toArray();
            return found === undefined ? null : found;
        }
        countDocuments(query = {}) {
            return Number(this.database.runCommand({ count: this.name, query }).n);
        }
        estimatedDocumentCount() { return this.countDocuments(); }
        distinct(key, query = {}) { return this.database.runCommand({ distinct: this.name, key, query }).values; }
        getIndexes() { return new Cursor(this, { listIndexes: this.name }).toArray(); }
        insertOne(document) { return this.insertMany([document]); }
        insertMany(documents) {
            return written(this.database.runCommand({ insert: this.name, documents }));
        }
        deleteMany(q) {
            return written(this.database.runCommand({ delete: this.name, deletes: [{ q, limit: 0 }] }));
        }
        drop() { this.database.runCommand({ drop: this.name }); return true; }
    }

    function written(reply) {
        if (reply.writeErrors !== undefined)
            raise(new MongoServerError(reply.writeErrors[0].errmsg), reply.writeErrors[0]);
        return { acknowledged: true, count: reply.n };
    }

    class Database {
        constructor(name) { this.name = name; }
        getName() { return this.name; }
        getSiblingDB(name) { return database(name); }
        getCollection(name) { return new Collection(this, name); }
        runCommand(command) {
            if (typeof command === 'string') command = { [command]: 1 };
            const done = check(native.run(this.name, JSON.stringify(encode(command))));
            return JSON.parse(done.reply, revive);
        }
        adminCommand(command) { return database('admin').runCommand(command); }
        auth(user, password) {
            if (typeof user === 'object') ({ user, pwd: password } = user);
            check(native.login(this.name, user, password));
            return { ok: 1 };
        }
        getUser(name) {
            const [found] = this.runCommand({ usersInfo: { user: name, db: this.name } }).users;
            return found === undefined ? null : found;
        }
        getUsers() { return { users: this.runCommand({ usersInfo: 1 }).users, ok: 1 }; }
        createUser(given) {
            const { user, ...fields } = given;
            return this.runCommand({ createUser: user, ...fields });
        }
        updateUser(name, fields) { return this.runCommand({ updateUser: name, ...fields }); }
        changeUserPassword(name, pwd) { return this.updateUser(name, { pwd }); }
        dropUser(name) { return this.runCommand({ dropUser: name }); }
        getCollectionNames() {
            const { firstBatch } = this.runCommand({ listCollections: 1, nameOnly: true }).cursor;
            return firstBatch.map((one) => one.name).sort();
        }
        dropDatabase() { return this.runCommand({ dropDatabase: 1 }); }
        shutdownServer() { return this.adminCommand({ shutdown: 1 }); }
    }

    function database(name) {
        return new Proxy(new Database(name), {
            get: (target, key) => key in target || typeof key === 'symbol' ? target[key]
                : target.getCollection(key),
        });
    }

    function text(value) {
        if (typeof value === 'string') return value;
        if (value instanceof Long) return `Long('${value}')`;
        if (value instanceof Error) return String(value);
        if (typeof value === 'object' && value !== null) return JSON.stringify(encode(value), null, 2);
        return String(value);
    }

    const say = (...values) => native.print(values.map(text).join(' '));
    const complain = (...values) => native.warn(values.map(text).join(' '));
    const fs = {
        readFileSync(path, options) {
            const done = native.read(String(path));
            if (done.error !== undefined) raise(new Error(done.error.message), done.error);
            const encoding = typeof options === 'string' ? options : (options || {}).encoding;
            return encoding === undefined ? { toString: () => done.text } : done.text;
        },
        existsSync(path) {
            const { error } = native.read(String(path));
            return error === undefined || error.code !== 'ENOENT';
        },
    };
    const modules = { fs, 'node:fs': fs };

    Object.assign(global, {
        MongoServerError, Long, NumberLong: (value) => new Long(value), print: say, printjson: say,
        console: { log: say, info: say, error: complain, warn: complain },
        process: { env: { ...native.env }, exit: (code = 0) => native.exit(code) },
        quit: (code = 0) => native.exit(code), exit: (code = 0) => native.exit(code),
        sleep: (ms) => native.sleep(ms),
        require(name) {
            if (modules[name] === undefined) throw new Error(`Cannot find module '${name}'`);
            return modules[name];
        },
        __show(value) {
            if (native.json) native.print(JSON.stringify(value === undefined ? null : encode(value)));
            else if (value !== undefined) say(value);
        },
    });
    if (native.connected) global.db = database(native.database);
    delete global.native;
})(globalThis, native);
