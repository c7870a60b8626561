// Makes the two users of Memory Tracker in MongoDB, each with no more rights than it needs, from the
// URIs that the sampler and the API themselves use. For mongosh.
//
//   secret             holds                                              user's role
//   mt_sampler_store   mongodb://USER:PASSWORD@mongodb/memory_tracker     readWrite on memory_tracker
//   mt_api_store       mongodb://USER:PASSWORD@mongodb/memory_tracker     read on memory_tracker
//
// User and password stand percent-encoded in a URI, as always. The role is on the database that the
// URI names, memory_tracker if it names none. The user is made where the URI looks for it: in the
// database of the option authSource; without that option in the URI's database; without either in
// admin. Nothing else of the URI matters here.
//
// In /docker-entrypoint-initdb.d of the image mongo it runs by itself, once, when the volume is empty.
// It can be run again at any time, and then brings users, passwords and roles in line with the
// secrets. No password is typed; it logs in as the administrator with MONGO_INITDB_ROOT_USERNAME and
// MONGO_INITDB_ROOT_PASSWORD_FILE of the container:
//
//   docker exec -e HOME=/tmp CONTAINER mongosh --quiet --norc /docker-entrypoint-initdb.d/mongodb-users.js
//
// To rotate a password: deploy with new secrets, then run that. The samplers keep their minutes in
// the outbox until it is done. A URI with a new user's name leaves the old user as it is; when
// nothing uses it any more: db.getSiblingDB('memory_tracker').dropUser('NAME').
//
// If the administrator's password was rotated, too, the new secret does not open the database yet.
// Log in with the old password, which mongosh asks for; the script then sets the secret's:
//
//   docker exec -it -e HOME=/tmp CONTAINER mongosh --quiet --norc 'mongodb://root@127.0.0.1/?authSource=admin' \
//     /docker-entrypoint-initdb.d/mongodb-users.js
//
// Where the first start failed (say, for a URI that cannot be used), the volume is not empty any more:
// put the secret right, and run it by hand. MT_SECRETS_DIRECTORY names the secrets' directory where it
// is not /run/secrets.
'use strict';

const fs = require('fs');

const directory = process.env.MT_SECRETS_DIRECTORY || '/run/secrets';
const administrator = process.env.MONGO_INITDB_ROOT_USERNAME || 'root';
const wanted = [
    { secret: 'mt_sampler_store', role: 'readWrite' },
    { secret: 'mt_api_store', role: 'read' },
];
const encoding = 'in user and password write : as %3A, / as %2F, ? as %3F, # as %23, @ as %40, % as %25';

function read(path, what) {
    try {
        return fs.readFileSync(path, 'utf8');
    } catch (failure) {
        throw new Error(`${what}: cannot read ${path}: ${failure.code}; give the service mongodb this secret, ` +
            'readable for the user that it runs as');
    }
}

// of what is wrong nothing is quoted: any part may be a password that nobody encoded
function decode(text, what) {
    try {
        return decodeURIComponent(text);
    } catch (failure) {
        throw new Error(`${what}: a % without the two digits of a character in UTF-8; ${encoding}`);
    }
}

function parse(secret) {
    const what = `secret ${secret}`;
    const uri = read(`${directory}/${secret}`, what).split('\n')[0];
    const parts = /^mongodb(?:\+srv)?:\/\/(?:([^/?#@]*)@)?([^/?#@]+)(?:\/([^/?#@]*))?(?:\?([^#@]*))?$/.exec(uri);
    if (parts === null || !/^[!-~]+$/.test(uri)) {
        throw new Error(`${what}: is not mongodb://USER:PASSWORD@HOST/DATABASE; ${encoding}`);
    }
    const colon = (parts[1] || '').indexOf(':');
    const user = decode((parts[1] || '').slice(0, Math.max(colon, 0)), what);
    const password = decode((parts[1] || '').slice(colon + 1), what);
    if (user === '' || password === '') {
        throw new Error(`${what}: names no user with a password: mongodb://USER:PASSWORD@HOST/DATABASE`);
    }
    const database = decode(parts[3] || '', what);
    let source = database || 'admin';
    for (const option of (parts[4] || '').split('&')) {
        const [name, value] = option.split('=');
        if (name.toLowerCase() === 'authsource' && value) {
            source = decode(value, what);
        }
    }
    if (source === '$external' || source === 'local' || source === 'config') {
        throw new Error(`${what}: authSource=${source}: no user with a password can be there; leave the option out`);
    }
    if (source === 'admin' && user === administrator) {
        throw new Error(`${what}: names the administrator '${user}'; give it a user of its own`);
    }
    return { user, password, source, database: database || 'memory_tracker' };
}

function check(sampler, api) {
    if (sampler.user === api.user && sampler.source === api.source) {
        throw new Error(`secrets mt_sampler_store and mt_api_store name the same user '${api.user}'; the API needs ` +
            'one of its own, which may only read');
    }
    if (sampler.database !== api.database) {
        throw new Error(`secrets mt_sampler_store and mt_api_store name two databases, '${sampler.database}' and ` +
            `'${api.database}'; the API would not find what the samplers write`);
    }
}

function administratorsPassword() {
    const file = process.env.MONGO_INITDB_ROOT_PASSWORD_FILE;
    if (!file) {
        throw new Error('the administrator is needed: set MONGO_INITDB_ROOT_PASSWORD_FILE, or log in by ' +
            "mongosh 'mongodb://ADMINISTRATOR@127.0.0.1/?authSource=admin'");
    }
    return read(file, 'the administrator\'s password').replace(/\n+$/, '');
}

// true: whoever runs this has logged in as the administrator
function logIn() {
    const users = db.getSiblingDB('admin').runCommand({ connectionStatus: 1 }).authInfo.authenticatedUsers;
    for (const one of users) {
        if (one.user === administrator && one.db === 'admin') {
            return true;
        }
    }
    if (users.length > 0) {
        return false;
    }
    try {
        db.getSiblingDB('admin').getUser(administrator);
        return false; // the first start, which is without access control
    } catch (failure) {
        if (failure.code !== 13) {
            throw failure;
        }
    }
    const password = administratorsPassword();
    try {
        db.getSiblingDB('admin').auth(administrator, password);
    } catch (failure) {
        if (failure.code !== 18) {
            throw failure;
        }
        throw new Error(`${process.env.MONGO_INITDB_ROOT_PASSWORD_FILE} is not the password that the database ` +
            `knows for '${administrator}'; log in with the one that was set before: ` +
            `mongosh --quiet 'mongodb://${encodeURIComponent(administrator)}@127.0.0.1/?authSource=admin' SCRIPT`);
    }
    return false;
}

function apply(one, role) {
    const place = db.getSiblingDB(one.source);
    const fields = { pwd: one.password, roles: [{ role, db: one.database }] };
    const known = place.getUser(one.user) !== null;
    if (known) {
        place.updateUser(one.user, fields);
    } else {
        place.createUser({ user: one.user, ...fields });
    }
    print(`${known ? 'updated' : 'made'} user '${one.user}' in ${one.source}: ${role} on ${one.database}`);
}

// nothing is changed before all is known to be good
const found = [];
for (const one of wanted) {
    found.push(parse(one.secret));
}
check(found[0], found[1]);
const byHand = logIn();
for (let i = 0; i < wanted.length; i++) {
    apply(found[i], wanted[i].role);
}
if (byHand && process.env.MONGO_INITDB_ROOT_PASSWORD_FILE) {
    db.getSiblingDB('admin').changeUserPassword(administrator, administratorsPassword());
    print(`set the password of '${administrator}' to the secret's`);
}
