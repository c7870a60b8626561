"""The history on a server of MongoDB's protocol: what people type does there what it does on SQLite."""

import re
import socket
import subprocess
import uuid
from pathlib import Path

import bson
import pytest

from support import (Certificates, Home, Proxy, clean_environment, mongodb_uri, program_path, run,
                     wait_until)
from support import proxy as faults

T = 1647033600  # 2022-03-11T21:20:00Z
HEADER = "host,timestamp,mem_total,mem_available,mem_free,boot_id,uptime_s\n"
BOOT = "c1b1e2d4-6f0a-4a58-9a15-6f2f0e0f9d11"
PASSWORD = "p@ss/w:rd%&?"
PASSWORD_ENCODED = "p%40ss%2Fw%3Ard%25%26%3F"


def history(hosts=("db-1", "web-1"), minutes=50):
    return HEADER + "".join(
        f"{host},{T + 60 * i},16384000,{8000000 + i},{4000000 + i},{BOOT},{600 + 60 * i}\n"
        for i in range(minutes) for host in hosts
    )


def import_text(home, text, name="in.csv"):
    source = home.path / name
    source.write_text(text)
    return home.run("memory-tracker", "import", source)


def log_lines(stderr, program="memory-tracker"):
    """Standard error without the time and the program, as (level, text); nothing else stands there."""
    lines = stderr.splitlines()
    found = [re.fullmatch(rf"\S+Z (\w+) {program}: (.*)", line) for line in lines]
    assert all(found), stderr
    return [match.groups() for match in found]


def only_error(done, code):
    """The one line of a program that failed with that exit code."""
    assert (done.returncode, done.stdout) == (code, ""), done
    ((level, text),) = log_lines(done.stderr)
    assert level in ("error", "critical"), done.stderr
    return text


@pytest.mark.parametrize(
    "arguments",
    [
        ["logs", "--limit", "7"],
        ["logs", "--json", "--limit", "all"],
        ["logs", "--host", "db-1", "--limit", "3"],
        ["hosts"],
        ["export"],
        ["export", "--json"],
        ["export", "--host", "web-1"],
        ["verify"],
    ],
    ids=" ".join,
)
def test_it_answers_as_sqlite_does(mongodb_home, tmp_path_factory, arguments):
    embedded = Home(tmp_path_factory.mktemp("sqlite"))
    clock = mongodb_home.clock(T + 3600)
    answers = []
    for home in embedded, mongodb_home:
        assert import_text(home, history()).returncode == 0
        done = home.run("memory-tracker", *arguments, clock=clock)
        assert done.returncode == 0, done.stderr
        answers.append(done.stdout.replace(home.store, "STORE"))
    assert answers[0] == answers[1]
    assert answers[0].count("\n") >= 1


def test_an_import_can_be_repeated_and_conflicts_are_reported(mongodb_home):
    first = import_text(mongodb_home, history())
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == "imported 100 records (0 repeats, 0 conflicts) for 2 hosts\n"
    again = import_text(mongodb_home, history(minutes=60))
    assert again.stdout == "imported 20 records (100 repeats, 0 conflicts) for 2 hosts\n"
    other = import_text(
        mongodb_home, HEADER + f"db-1,{T},1,1,1,d1b1e2d4-6f0a-4a58-9a15-6f2f0e0f9d11,7\n"
    )
    assert "1 conflict" in other.stdout
    assert len(mongodb_home.records()) == 120


def test_what_stands_in_the_collection(mongodb_home, ferret):
    assert import_text(mongodb_home, history(minutes=3)).returncode == 0
    documents = ferret.documents(mongodb_home.database)
    assert [(d["_id"]["t"], d["_id"]["h"]) for d in documents] == [
        (T + 60 * i, host) for i in range(3) for host in ("db-1", "web-1")
    ]
    for number, document in enumerate(documents):
        minute = number // 2
        assert list(document["_id"]) == ["h", "t"]
        assert isinstance(document["_id"]["t"], bson.Int64)
        assert isinstance(document["arrival_us"], bson.Int64)
        assert document.pop("boot_id") == uuid.UUID(BOOT)
        facts = {k: v for k, v in document.items() if k not in ("_id", "arrival_us")}
        assert facts == {
            "uptime_s": 600 + 60 * minute, "mem_total": 16384000,
            "mem_available": 8000000 + minute, "mem_free": 4000000 + minute,
        }
        assert all(isinstance(value, bson.Int64) for value in facts.values())
    assert len({document["arrival_us"] for document in documents}) == len(documents)
    with ferret.client() as client:
        database = client[mongodb_home.database]
        assert set(database.list_collection_names()) == {"memory_log", "memory_log_state"}
        indexes = database.memory_log.index_information()
        assert {"_id_", "by_time", "by_host", "by_arrival"} == set(indexes)
        (state,) = database.memory_log_state.find()
        assert state["_id"] == "memory_log" and state["version"] == 1
        assert isinstance(state["generation"], bson.Int64)


def test_the_collection_can_have_another_name(mongodb_home, ferret):
    mongodb_home.store += "?collection=minutes"
    assert import_text(mongodb_home, history(minutes=2)).returncode == 0
    assert len(ferret.documents(mongodb_home.database, "minutes")) == 4
    assert ferret.documents(mongodb_home.database) == []
    assert len(mongodb_home.records()) == 4


@pytest.mark.parametrize("options", ["/test?retryWrites=false&readPreference=primaryPreferred",
                                     "?retryWrites=false"])
def test_the_settings_of_a_document_database(home, ferret, options):
    """DOCDB_ settings, as other programs name them, make the URI where there is no STORE."""
    database = ferret.new_database()
    source = home.path / "in.csv"
    source.write_text(history(minutes=2))
    settings = {
        "DOCDB_HOST": "127.0.0.1",
        "DOCDB_PORT": ferret.port,
        "DOCDB_DATABASE_NAME": database,
        "DOCDB_COLLECTION": "minutes",
        "DOCDB_OPTIONS": options,
        "DOCDB_MAX_DATA": "20000",
    }
    done = run("memory-tracker", "import", source, env=settings)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert len(ferret.documents(database, "minutes")) == 4
    done = run("memory-tracker", "export", "--json", env=settings)
    assert len(done.stdout.splitlines()) == 4


def test_a_collection_that_was_dropped_gets_its_indexes_again(mongodb_home, ferret):
    """Without them no question would ever be answered again: each names the one it needs."""
    assert import_text(mongodb_home, history(minutes=2)).returncode == 0
    with ferret.client() as client:
        log = client[mongodb_home.database]["memory_log"]
        before = log.index_information()
        log.drop()
        assert import_text(mongodb_home, history(minutes=3)).returncode == 0
        assert sorted(log.index_information()) == sorted(before) and len(before) == 4
    assert len(mongodb_home.records()) == 6


def test_a_reader_makes_nothing(mongodb_home, ferret):
    text = only_error(mongodb_home.run("memory-tracker", "hosts"), 3)
    assert mongodb_home.store in text
    with ferret.client() as client:
        assert mongodb_home.database not in client.list_database_names()


def test_the_api_serves_it_and_follows(mongodb_home, start_api):
    assert import_text(mongodb_home, history()).returncode == 0
    api = start_api(clock=mongodb_home.clock(T + 7200))
    answer = api.get("/memory-logs?limit=3")
    assert answer.status == 200
    assert [entry["timestamp"] for entry in answer.json()] == [T + 48 * 60, T + 49 * 60, T + 49 * 60]
    assert api.get("/readyz").status == 200
    # late, and of a host of its own: between two others
    late = HEADER + f"late-1,{T + 49 * 60 - 1},2048000,1024000,1024000,{BOOT},600\n"
    assert import_text(mongodb_home, late).returncode == 0
    wait_until(
        lambda: T + 49 * 60 - 1 in [e["timestamp"] for e in api.get("/memory-logs?limit=3").json()],
        10, "the late record in the API's answer",
    )


@pytest.mark.parametrize(
    "option, nearest",
    [
        ("tlsCAFiel=/etc/ssl/ca.pem", "tlsCAFile"),
        ("retryWirtes=false", "retryWrites"),
        ("collectoin=minutes", "collection"),
    ],
)
@pytest.mark.parametrize("program", ["memory-tracker", "memory-api", "memory-sampler"])
def test_an_unknown_option_is_named(mongodb_home, program, option, nearest):
    mongodb_home.store += "?" + option
    arguments = ["hosts"] if program == "memory-tracker" else []
    done = mongodb_home.run(program, *arguments, timeout=30)
    assert done.returncode == 4, done
    assert option.partition("=")[0] in done.stderr and nearest in done.stderr


class TestTls:
    @pytest.fixture(scope="class")
    def places(self, tmp_path_factory):
        """Of right certificates, of another CA with the same names, and for another host's name."""
        directory = tmp_path_factory.mktemp("certificates")
        return {
            "right": Certificates(directory / "right"),
            "other": Certificates(directory / "other"),
            "name": Certificates(directory / "name", names="DNS:db.example"),
        }

    @pytest.fixture
    def server(self, places, start_ferret):
        return start_ferret(places["right"])

    def hosts(self, uri):
        return run("memory-tracker", "hosts", env={"MEMORY_TRACKER_STORE": uri}, timeout=40)

    def options(self, places, ca="right", client="right"):
        options = {"tls": "true", "tlsCAFile": places[ca].path("ca.pem")}
        if client:
            options["tlsCertificateKeyFile"] = places[client].path("client.pem")
        return options

    def test_everything_goes_through_it(self, home, places, server, start_api):
        home.store = server.uri("history", **self.options(places))
        assert import_text(home, history()).returncode == 0
        assert len(home.records()) == 100
        assert len(server.documents("history")) == 100
        api = start_api(clock=home.clock(T + 7200))
        assert len(api.get("/memory-logs?limit=5").json()) == 5

    def test_the_name_localhost_is_in_the_certificate_too(self, places, server):
        uri = server.uri("history", **self.options(places)).replace("127.0.0.1", "localhost")
        assert "holds no history" in only_error(self.hosts(uri), 3)

    def test_without_a_client_certificate(self, places, server):
        text = only_error(self.hosts(server.uri("x", **self.options(places, client=None))), 3)
        assert f"127.0.0.1:{server.port}" in text

    def test_a_client_certificate_of_another_ca(self, places, server):
        text = only_error(self.hosts(server.uri("x", **self.options(places, client="other"))), 3)
        assert f"127.0.0.1:{server.port}" in text

    def test_a_server_of_another_ca(self, places, server):
        text = only_error(self.hosts(server.uri("x", **self.options(places, ca="other"))), 3)
        assert "certificate verify failed" in text

    def test_a_server_of_another_name(self, places, start_ferret):
        server = start_ferret(places["name"])
        options = self.options(places, "name", "name")
        text = only_error(self.hosts(server.uri("x", **options)), 3)
        assert "mismatch" in text

    def test_no_tls_at_all(self, server):
        text = only_error(self.hosts(server.uri("x")), 3)
        assert f"127.0.0.1:{server.port}" in text

    @pytest.mark.parametrize("name", ["tlsCAFile", "tlsCertificateKeyFile"])
    def test_a_file_that_is_missing(self, places, server, name):
        options = {**self.options(places), name: "/nowhere/at-all.pem"}
        text = only_error(self.hosts(server.uri("x", **options)), 4)
        assert "/nowhere/at-all.pem" in text

    def test_insecure_options_need_a_setting(self, places, server):
        uri = server.uri("x", tls="true", tlsAllowInvalidCertificates="true",
                         tlsCertificateKeyFile=places["right"].path("client.pem"))
        text = only_error(self.hosts(uri), 4)
        assert "tlsAllowInvalidCertificates" in text and "ALLOW_INSECURE_TLS" in text
        done = run("memory-tracker", "hosts", env={
            "MEMORY_TRACKER_STORE": uri, "MEMORY_TRACKER_ALLOW_INSECURE_TLS": "yes"})
        assert "holds no history" in done.stderr


class TestCredentials:
    """A server that refuses every password: what is said of it tells the place, never the secret."""

    @pytest.fixture
    def refusing(self, ferret):
        with Proxy(ferret.port) as proxy:
            proxy.on("saslStart", act=faults.fail_with(18, "AuthenticationFailed"))
            yield proxy

    def uri(self, proxy):
        return mongodb_uri(proxy.port, "history", credentials=f"watcher:{PASSWORD_ENCODED}")

    def assert_silent(self, *texts):
        for text in texts:
            assert PASSWORD not in text and PASSWORD_ENCODED not in text and "ss/w" not in text

    @pytest.mark.parametrize("arguments", [["hosts"], ["export"], ["verify"]], ids=" ".join)
    def test_the_command_line(self, refusing, arguments):
        done = run("memory-tracker", *arguments, "--log-level", "debug",
                   env={"MEMORY_TRACKER_STORE": self.uri(refusing)})
        assert done.returncode == 4, done
        assert f"127.0.0.1:{refusing.port}" in done.stderr and "password" in done.stderr
        self.assert_silent(done.stdout, done.stderr)
        assert "saslStart" in refusing.seen

    def test_the_settings(self, refusing):
        done = run("memory-tracker", "config", env={"MEMORY_TRACKER_STORE": self.uri(refusing)})
        assert done.returncode == 0
        assert "***" in done.stdout
        self.assert_silent(done.stdout, done.stderr)

    def test_a_secret_in_a_file(self, home, refusing):
        file = home.path / "store"
        file.write_text(self.uri(refusing) + "\n")
        file.chmod(0o600)
        done = run("memory-tracker", "hosts", env={"MEMORY_TRACKER_STORE_FILE": file})
        assert done.returncode == 4 and "password" in done.stderr
        self.assert_silent(done.stderr)

    def test_the_api(self, home, refusing, start_api):
        home.store = self.uri(refusing)
        api = start_api(log_level="debug", ready=False)
        api.expected_exit = None
        wait_until(lambda: api.process.poll() is not None or "saslStart" in refusing.seen, 30)
        wait_until(lambda: "password" in api.log(), 30, "the API to say that it may not log in")
        self.assert_silent(api.log(), api.out_path.read_text())

    def test_the_sampler_its_outbox_and_its_courier(self, home, refusing):
        home.store = self.uri(refusing)
        done = home.run("memory-sampler", "--log-level", "debug")
        assert "password" in done.stderr, done
        self.assert_silent(done.stdout, done.stderr)
        kept = b"".join(path.read_bytes() for path in home.path.glob("spool.db*"))
        assert str(refusing.port).encode() in kept
        self.assert_silent(kept.decode("latin-1"))

    def test_the_arguments_of_what_runs(self, home, refusing):
        """Everybody may read /proc/PID/cmdline."""
        refusing.clear()
        refusing.on("*", act=faults.black_hole)
        home.store = self.uri(refusing)
        process = subprocess.Popen(
            [program_path("memory-sampler")], env=clean_environment(home.environment),
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        try:
            # the sampler has become the courier, which waits for the server
            wait_until(lambda: refusing.seen, 30, "the courier to talk to the server")
            arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            assert b"memory-courier" in arguments
            self.assert_silent(arguments.decode())
        finally:
            process.kill()
            process.wait()


class TestSampler:
    """From /proc to the collection: sampler, outbox, courier, server."""

    def sample(self, home, clock):
        done = home.run("memory-sampler", clock=clock)
        assert (done.returncode, done.stdout) == (0, ""), done
        return log_lines(done.stderr, "memory-(?:sampler|courier)")

    def test_a_minute_arrives(self, mongodb_home, ferret):
        clock = mongodb_home.clock(T)
        assert self.sample(mongodb_home, clock) == []
        (document,) = ferret.documents(mongodb_home.database)
        assert document["_id"] == {"h": socket.gethostname(), "t": T}
        assert document["mem_total"] > document["mem_available"] > 0
        assert document["interval_s"] == 60
        (record,) = mongodb_home.records()
        assert record["mem_total"] == document["mem_total"]

    def test_what_waited_arrives_once_and_in_order(self, mongodb_home, ferret):
        clock = mongodb_home.clock(T)
        self.sample(mongodb_home, clock)
        with Proxy(ferret.port) as proxy:
            direct, mongodb_home.store = mongodb_home.store, mongodb_uri(
                proxy.port, mongodb_home.database)
            proxy.refuse()
            for minute in range(1, 4):
                clock.set(T + 60 * minute)
                lines = self.sample(mongodb_home, clock)
                assert [level for level, _ in lines] == ["warning"]
                assert f"{minute} waiting" in lines[0][1]
            assert len(ferret.documents(mongodb_home.database)) == 1
            proxy.listen()
            clock.set(T + 60 * 4)
            levels = {level for level, _ in self.sample(mongodb_home, clock)}
            assert levels <= {"info"}
        mongodb_home.store = direct
        documents = ferret.documents(mongodb_home.database)
        assert [document["_id"]["t"] for document in documents] == [T + 60 * i for i in range(5)]
        arrivals = [document["arrival_us"] for document in documents]
        assert arrivals == sorted(arrivals)

    def test_verify_finds_nothing_after_that(self, mongodb_home):
        clock = mongodb_home.clock(T)
        for minute in range(3):
            clock.set(T + 60 * minute)
            self.sample(mongodb_home, clock)
        done = mongodb_home.run("memory-tracker", "verify", clock=clock)
        assert done.returncode == 0, done


def test_export_and_import_carry_a_history_between_kinds(mongodb_home, tmp_path_factory):
    embedded = Home(tmp_path_factory.mktemp("sqlite"))
    assert import_text(embedded, history()).returncode == 0
    exported = embedded.run("memory-tracker", "export").stdout
    assert len(exported.splitlines()) == 101
    assert import_text(mongodb_home, exported).returncode == 0
    assert mongodb_home.run("memory-tracker", "export").stdout == exported
