"""docker/mongodb-users.js, and what our programs may do as the users that it makes.

The server is the stand-in for the image mongo, which the stacks' tests deploy: what it refuses and
allows is checked here, too.
"""

import pytest
from pymongo.errors import OperationFailure
from support.mongod import USERS_SCRIPT, Mongod
from support.waiting import wait_until

SAMPLER_PASSWORD = "s/1:@?%&"
SAMPLER_ENCODED = "s%2F1%3A%40%3F%25%26"
API_PASSWORD = "api-password"
T = 1647033600
CSV = f"host,timestamp,mem_total,mem_available,mem_free\nweb-1,{T},16384000,8000000,4000000\n"


def sampler_secret(encoded=SAMPLER_ENCODED, user="sampler", rest="/memory_tracker"):
    return f"mongodb://{user}:{encoded}@mongodb{rest}"


def with_secrets(mongod):
    mongod.secret("mt_sampler_store", sampler_secret())
    mongod.secret("mt_api_store", f"mongodb://api:{API_PASSWORD}@mongodb/memory_tracker")
    mongod.script(USERS_SCRIPT)
    return mongod


@pytest.fixture
def new_mongod():
    """A Mongod with the secrets and the script, not started."""
    mongod = Mongod()
    try:
        yield with_secrets(mongod)
    finally:
        mongod.close()


@pytest.fixture(scope="module")
def shared():
    """A running Mongod of which no test changes the users or the databases other than its own."""
    mongod = Mongod()
    try:
        yield with_secrets(mongod).start()
    finally:
        mongod.close()


@pytest.fixture
def mongod(shared):
    with shared.root() as client:
        client.drop_database("memory_tracker")
    return shared


@pytest.fixture
def stores(mongod):
    """The URIs of the secrets, for a server on this machine."""
    place = f"127.0.0.1:{mongod.port}/memory_tracker"
    return {"sampler": f"mongodb://sampler:{SAMPLER_ENCODED}@{place}", "api": f"mongodb://api:{API_PASSWORD}@{place}",
            "wrong": f"mongodb://api:{SAMPLER_ENCODED}@{place}", "nobody": f"mongodb://{place}",
            "elsewhere": f"mongodb://api:{API_PASSWORD}@{place}?authSource=admin"}


def users(mongod):
    """user@database -> roles, as role@database."""
    with mongod.root() as client:
        found = client.admin.command("usersInfo", {"forAllDBs": True})["users"]
    return {f"{one['user']}@{one['db']}": [f"{role['role']}@{role['db']}" for role in one["roles"]] for one in found}


EXPECTED_USERS = {"root@admin": ["root@admin"], "sampler@memory_tracker": ["readWrite@memory_tracker"],
                  "api@memory_tracker": ["read@memory_tracker"]}


def opens(mongod, user, password, source="memory_tracker"):
    """Whether the password is the user's; a wrong one is refused as mongod does it."""
    with mongod.client(user, password, source) as client:
        try:
            return client.admin.command("ping")["ok"] == 1
        except OperationFailure as failure:
            assert failure.code == 18 and "Authentication failed." in str(failure)
            return False


# what the script makes

def test_each_user_has_the_least_rights(mongod):
    assert users(mongod) == EXPECTED_USERS
    said = mongod.log()
    assert "made user 'sampler' in memory_tracker: readWrite on memory_tracker\n" in said
    kept = "".join(path.read_text() for path in (mongod.directory / "data").glob("*.json"))
    for password in mongod.ROOT_PASSWORD, SAMPLER_PASSWORD, SAMPLER_ENCODED, API_PASSWORD:
        assert password not in said + kept


def test_it_can_be_repeated(mongod):
    for _ in range(2):
        done = mongod.run_users_script()
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == ("updated user 'sampler' in memory_tracker: readWrite on memory_tracker\n"
                               "updated user 'api' in memory_tracker: read on memory_tracker\n")
    assert users(mongod) == EXPECTED_USERS


@pytest.mark.parametrize(("rest", "source", "database"), [
    ("", "admin", "memory_tracker"),
    ("/memory_tracker?authSource=admin", "admin", "memory_tracker"),
    ("/memory_tracker?retryWrites=false&AUTHSOURCE=people", "people", "memory_tracker"),
    ("/other%5Fhistory", "other_history", "other_history"),
    (":27017,second:27018/memory_tracker?replicaSet=rs0", "memory_tracker", "memory_tracker"),
])
def test_a_user_is_made_where_the_uri_looks_for_it(new_mongod, rest, source, database):
    new_mongod.secret("mt_sampler_store", sampler_secret(rest=rest))
    new_mongod.secret("mt_api_store", sampler_secret(user="api", encoded="x", rest=rest))
    new_mongod.start()
    assert users(new_mongod) == {"root@admin": ["root@admin"], f"sampler@{source}": [f"readWrite@{database}"],
                                 f"api@{source}": [f"read@{database}"]}
    assert opens(new_mongod, "sampler", SAMPLER_PASSWORD, source)


UNUSABLE = {
    "no user": ("mongodb://mongodb/memory_tracker", "names no user with a password"),
    "no password": ("mongodb://SeCrEt@mongodb/memory_tracker", "names no user with a password"),
    "empty password": ("mongodb://SeCrEt:@mongodb/memory_tracker", "names no user with a password"),
    "@ in a password": (sampler_secret("SeCrEt@x"), "write : as %3A"),
    "/ in a password": (sampler_secret("SeCrEt/x"), "write : as %3A"),
    "# in a password": (sampler_secret("SeCrEt#x"), "write : as %3A"),
    "a space": (sampler_secret("SeCrEt x"), "write : as %3A"),
    "% in a password": (sampler_secret("SeCrEt%x"), "a % without the two digits"),
    "no UTF-8": (sampler_secret("SeCrEt%ff"), "a % without the two digits"),
    "another scheme": ("https://u:SeCrEt@mongodb", "is not mongodb://USER:PASSWORD@HOST/DATABASE"),
    "nothing": ("", "is not mongodb://USER:PASSWORD@HOST/DATABASE"),
    "no host": ("mongodb://u:SeCrEt@/memory_tracker", "is not mongodb://USER:PASSWORD@HOST/DATABASE"),
    "external": (sampler_secret("SeCrEt", rest="/d?authSource=%24external"), "authSource=$external"),
    "the administrator": (sampler_secret("SeCrEt", "root", "/d?authSource=admin"), "names the administrator 'root'"),
    "the API's user": (sampler_secret("SeCrEt", "api"), "name the same user 'api'"),
    "another database": (sampler_secret("SeCrEt", rest="/other"), "name two databases, 'other' and 'memory_tracker'"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_uri_that_cannot_be_used_is_refused_and_changes_nothing(mongod, name):
    uri, text = UNUSABLE[name]
    mongod.secret("mt_sampler_store", uri)
    mongod.secret("mt_api_store", f"mongodb://api:{SAMPLER_ENCODED}@mongodb/memory_tracker")
    try:
        done = mongod.run_users_script()
    finally:
        with_secrets(mongod)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and text in done.stderr
    assert "mt_sampler_store" in done.stderr and "SeCrEt" not in done.stderr
    assert users(mongod) == EXPECTED_USERS and opens(mongod, "api", API_PASSWORD)


def test_a_secret_that_is_not_there_is_named(mongod):
    secret = mongod.directory / "secrets/mt_api_store"
    secret.unlink()
    try:
        done = mongod.run_users_script()
    finally:
        with_secrets(mongod)
    assert done.returncode == 1
    assert f"secret mt_api_store: cannot read {secret}: ENOENT; give the service mongodb this secret" in done.stderr


def test_a_first_start_that_failed_is_mended_by_hand(new_mongod):
    new_mongod.secret("mt_api_store", "mongodb://mongodb/memory_tracker")
    new_mongod.launch()
    assert new_mongod.wait() == 1
    assert "secret mt_api_store: names no user with a password" in new_mongod.log()
    # as with the image, the volume is not empty any more, and no script runs
    with_secrets(new_mongod).launch()
    new_mongod.port = wait_until(new_mongod.listening, 60, "mongod")
    assert users(new_mongod) == {"root@admin": ["root@admin"]}
    done = new_mongod.run_users_script()
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("made user") == 2
    assert users(new_mongod) == EXPECTED_USERS


def test_passwords_are_rotated_by_new_secrets(new_mongod):
    new_mongod.start()
    new_mongod.secret("mt_sampler_store", sampler_secret("new%20one"))
    assert new_mongod.stop() == 0
    new_mongod.start()
    assert opens(new_mongod, "sampler", SAMPLER_PASSWORD) and not opens(new_mongod, "sampler", "new one")
    assert new_mongod.run_users_script().returncode == 0
    assert opens(new_mongod, "sampler", "new one") and not opens(new_mongod, "sampler", SAMPLER_PASSWORD)
    assert users(new_mongod) == EXPECTED_USERS


def test_the_administrators_password_is_rotated_by_the_old_one(new_mongod):
    new_mongod.start()
    new_mongod.secret("mt_mongodb_root_password", "the new one")
    done = new_mongod.run_users_script()
    assert done.returncode == 1
    assert "mt_mongodb_root_password is not the password that the database knows for 'root'" in done.stderr
    assert "the new one" not in done.stderr
    done = new_mongod.run_users_script(address="root@/?authSource=admin", typed=new_mongod.ROOT_PASSWORD + "\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("set the password of 'root' to the secret's\n")
    assert not opens(new_mongod, "root", new_mongod.ROOT_PASSWORD, "admin")
    assert opens(new_mongod, "root", "the new one", "admin")
    assert new_mongod.run_users_script().returncode == 0


# our programs as these users

def test_the_sampler_makes_the_history_and_the_api_reads_it(home, start_api, mongod, stores):
    done = home.run("memory-sampler", env={"MEMORY_TRACKER_STORE": stores["sampler"], "MEMORY_TRACKER_HOST": "web-1"})
    assert (done.returncode, done.stderr) == (0, "")

    def delivered():
        with mongod.root() as client:
            return client.memory_tracker.memory_log.count_documents({}) == 1

    wait_until(delivered, 30, "the record in MongoDB")
    with mongod.client("api", API_PASSWORD, "memory_tracker") as client:
        database = client.memory_tracker
        assert set(database.list_collection_names()) == {"memory_log", "memory_log_state"}
        assert set(database.memory_log.index_information()) == {"_id_", "by_time", "by_host", "by_arrival"}
    api = start_api(store=stores["api"])
    response = api.get("/memory-logs/?limit=10")
    assert response.status == 200, api.log()
    assert len(response.json()) == 1
    home.store = stores["api"]
    assert [record["host"] for record in home.records()] == ["web-1"]
    assert wait_until(lambda: api.get("/readyz").status == 200, 30, "the API to be ready")
    assert " error " not in api.log() and " warning " not in api.log()


def test_a_record_that_comes_later_reaches_the_reader(home, start_api, stores):
    home.store = stores["sampler"]
    home.import_csv(CSV)
    api = start_api(store=stores["api"])
    assert len(api.get("/memory-logs/?limit=10").json()) == 1
    home.import_csv(CSV.replace(str(T), str(T + 60)))
    wait_until(lambda: len(api.get("/memory-logs/?limit=10").json()) == 2, 30, "the second record")
    assert " error " not in api.log() and " warning " not in api.log()


@pytest.mark.parametrize("arguments", [["logs"], ["hosts"], ["export"], ["verify"]], ids=" ".join)
def test_the_reader_may_ask_all_that_one_can_ask(home, stores, arguments):
    home.store = stores["sampler"]
    home.import_csv(CSV)
    wanted = home.run("memory-tracker", *arguments)
    home.store = stores["api"]
    done = home.run("memory-tracker", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == wanted.stdout and "web-1" in done.stdout


def refused(home, arguments, text, exit_code=4, **options):
    done = home.run("memory-tracker", *arguments, **options)
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert text in done.stderr and done.stderr.count("\n") == 1, done.stderr
    for password in SAMPLER_PASSWORD, SAMPLER_ENCODED, API_PASSWORD:
        assert password not in done.stderr


def test_the_reader_may_not_write(home, mongod, stores):
    home.store = stores["sampler"]
    home.import_csv(CSV)
    home.store = stores["api"]
    refused(home, ["import", "-"], "the user may not do this; give it the role readWrite",
            stdin=CSV.replace("web-1", "web-2"))
    with mongod.root() as client:
        assert client.memory_tracker.memory_log.count_documents({}) == 1


def test_a_record_of_the_reader_waits_in_the_outbox(home, mongod, stores):
    """The sampler with the API's URI: it says what is wrong, and loses nothing."""
    home.store = stores["api"]
    done = home.run("memory-sampler")
    assert "the user may not do this; give it the role readWrite" in done.stderr
    home.store = stores["sampler"]
    home.import_csv(CSV)
    with mongod.root() as client:
        assert client.memory_tracker.memory_log.count_documents({}) == 1
    home.store = stores["api"]
    assert " 1 waiting of at most " in home.run("memory-tracker", "spool").stdout


@pytest.mark.parametrize(("who", "text"), [
    ("wrong", "user or password is wrong; check them and authSource"),
    ("elsewhere", "user or password is wrong; check them and authSource"),
    ("nobody", "the user may not do this; give it the role readWrite (or read) on the database"),
])
def test_a_wrong_password_and_none_are_refused(home, start_api, stores, who, text):
    home.store = stores["sampler"]
    home.import_csv(CSV)
    home.store = stores[who]
    refused(home, ["hosts"], text)
    refused(home, ["import", "-"], text, stdin=CSV)
    api = start_api(store=stores[who])
    assert api.get("/memory-logs/").status == 503
    assert api.get("/healthz").status == 200
    assert text in api.log() and SAMPLER_ENCODED not in api.log() and API_PASSWORD not in api.log()


# the stand-in, as other clients see it

def code_of(action):
    with pytest.raises(OperationFailure) as caught:
        action()
    return caught.value.code


def test_before_a_password_there_is_little(mongod):
    with mongod.client() as client:
        assert client.admin.command("ping")["ok"] == 1
        assert client.admin.command("hello")["isWritablePrimary"]
        assert client.admin.command("buildInfo")["ok"] == 1
        for command in "listDatabases", "usersInfo", "serverStatus", "noSuchCommand":
            assert code_of(lambda name=command: client.admin.command(name)) == 13
        with pytest.raises(OperationFailure, match="Command find requires authentication"):
            list(client.memory_tracker.memory_log.find())


def test_the_reader_has_one_database_to_read(mongod):
    with mongod.root() as client:
        client.other.things.insert_one({"a": 1})
        client.memory_tracker.things.insert_one({"a": 1})
    with mongod.client("api", API_PASSWORD, "memory_tracker") as client:
        database = client.memory_tracker
        assert database.things.count_documents({"a": 1}) == 1
        assert database.things.distinct("a") == [1]
        assert client.list_database_names() == ["memory_tracker"]
        for action in (
            lambda: database.things.insert_one({}), lambda: database.things.delete_many({}),
            lambda: database.things.update_one({}, {"$set": {"a": 2}}), database.things.drop,
            lambda: database.things.create_index("a"), lambda: client.drop_database("memory_tracker"),
            lambda: list(database.things.aggregate([{"$out": "copy"}])),
            lambda: client.other.things.find_one(), lambda: client.admin.command("serverStatus"),
            lambda: database.command("createUser", "x", pwd="x", roles=[]),
            lambda: database.command("updateUser", "api", roles=["readWrite"]),
        ):
            assert code_of(action) == 13


def test_the_writer_has_one_database_to_write(mongod):
    with mongod.client("sampler", SAMPLER_PASSWORD, "memory_tracker") as client:
        client.memory_tracker.things.insert_one({"a": 1})
        client.memory_tracker.things.create_index("a")
        assert client.memory_tracker.things.delete_many({}).deleted_count == 1
        client.memory_tracker.things.drop()
        for action in (lambda: client.other.things.insert_one({}), lambda: client.drop_database("memory_tracker"),
                       lambda: client.memory_tracker.command("createUser", "x", pwd="x", roles=[])):
            assert code_of(action) == 13
        with pytest.raises(OperationFailure, match=r"^not authorized on other to execute command \{ find: "):
            client.other.things.find_one()


def test_what_a_user_may_do_follows_the_roles_at_once(new_mongod):
    new_mongod.start()
    with new_mongod.root() as root, new_mongod.client("api", API_PASSWORD, "memory_tracker") as client:
        assert client.memory_tracker.things.find_one() is None
        root.memory_tracker.command("updateUser", "api", roles=[])
        assert code_of(client.memory_tracker.things.find_one) == 13
        assert code_of(lambda: root.memory_tracker.command("createUser", "api", pwd="x", roles=[])) == 51003
        assert code_of(lambda: root.memory_tracker.command("createUser", "x", pwd="x", roles=["wrong"])) == 31
        root.memory_tracker.command("dropUser", "api")
        assert not opens(new_mongod, "api", API_PASSWORD)
        assert code_of(lambda: root.memory_tracker.command("dropUser", "api")) == 11


def test_its_health_check(mongod):
    done = mongod.mongosh("--eval", "db.adminCommand({ping: 1}).ok")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
    done = mongod.mongosh("--eval", "db.memory_log.countDocuments()")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "MongoServerError: Command count requires authentication\n"
    done = mongod.mongosh("--eval", "db.memory_log.countDocuments()", address="root@/?authSource=admin",
                          typed="wrong\n")
    assert done.returncode == 1 and done.stderr == "MongoServerError: Authentication failed.\n"


def test_it_keeps_users_and_documents_and_ends_on_sigterm(new_mongod):
    new_mongod.start()
    with new_mongod.root() as client:
        client.memory_tracker.things.insert_one({"a": 1})
        assert new_mongod.stop() == 0
    done = new_mongod.mongosh("--eval", "1")
    assert done.returncode == 1 and done.stderr.startswith("MongoNetworkError: ")
    assert not list((new_mongod.directory / "tmp").iterdir())
    new_mongod.start()
    assert users(new_mongod) == EXPECTED_USERS
    with new_mongod.root() as client:
        assert client.memory_tracker.things.count_documents({"a": 1}) == 1


def test_without_an_administrator_there_is_no_access_control(new_mongod):
    new_mongod.settings = {}
    (new_mongod.directory / "scripts" / USERS_SCRIPT.name).unlink()
    new_mongod.launch()
    new_mongod.port = wait_until(new_mongod.listening, 60, "mongod")
    with new_mongod.client() as client:
        client.memory_tracker.things.insert_one({"a": 1})
        assert client.list_database_names() == ["memory_tracker"]


@pytest.mark.parametrize(("settings", "arguments", "code", "text"), [
    ({"MONGO_INITDB_ROOT_PASSWORD": "x"}, [], 1,
     "error: both MONGO_INITDB_ROOT_PASSWORD and MONGO_INITDB_ROOT_PASSWORD_FILE are set (but are exclusive)"),
    ({"MONGO_INITDB_ROOT_USERNAME": ""}, [], 1,
     "error: missing 'MONGO_INITDB_ROOT_USERNAME' or 'MONGO_INITDB_ROOT_PASSWORD'"),
    ({"MONGO_INITDB_ROOT_PASSWORD_FILE": "/nonexistent/file"}, [], 1, "/nonexistent/file: no such file"),
    ({}, ["--wiredTigerCache", "1"], 2, "Error parsing command line: unrecognised option '--wiredTigerCache'"),
])
def test_a_start_that_the_image_refuses(new_mongod, settings, arguments, code, text):
    new_mongod.settings.update(settings)
    new_mongod.launch(*arguments)
    assert new_mongod.wait() == code
    assert text in new_mongod.log()
    assert not list((new_mongod.directory / "data").iterdir())


def test_hello_tells_how_a_user_can_log_in(mongod):
    with mongod.client() as client:
        asked = client.admin.command("hello", saslSupportedMechs="memory_tracker.sampler")
        assert asked["saslSupportedMechs"] == ["SCRAM-SHA-256"]
        nobody = client.admin.command("hello", saslSupportedMechs="memory_tracker.nobody")
        assert "saslSupportedMechs" not in nobody
