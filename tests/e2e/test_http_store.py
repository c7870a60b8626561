"""The programs on a STORE of http:// that is a real memory-api."""

import json
import random

import pytest

from support import run, wait_until

READER = "reading-token-0123456789"
WRITER = "writing-token-0123456789"
OWNER = "token-of-host-web1-only0"
ADMIN = "admin-token-0123456789abc"
TOKENS = f"""\
reader read {READER}
writer append {WRITER}
web1 host:web1 {OWNER}
admin admin {ADMIN}
"""
HEADER = "host,timestamp,boot_id,uptime_s,mem_total,mem_free\n"


@pytest.fixture
def tokens(home):
    path = home.path / "tokens"
    path.touch(0o600)
    path.write_text(TOKENS)
    return path


@pytest.fixture
def api(home, start_api, tokens):
    return start_api(tokens=tokens)


def remote(api, token, program, *arguments, **options):
    """Runs a program with the API as its store; neither side ever shows a token."""
    store = api.url.replace("://", f"://{token}@")
    environment = {"MEMORY_TRACKER_STORE": store, **options.pop("env", {})}
    done = run(program, *arguments, env=environment, **options)
    for secret in [READER, WRITER, OWNER, ADMIN]:
        assert secret not in done.stdout + done.stderr + api.log()
    return done


def rows(count, host="web1", first=60):
    return HEADER + "".join(f"{host},{first + 60 * i},,{i},4000,1000\n" for i in range(count))


def import_rows(api, home, token, text):
    source = home.path / "rows.csv"
    source.write_text(text)
    return remote(api, token, "memory-tracker", "import", source)


COMMANDS = [
    ["logs"],
    ["logs", "--limit", "3", "--skip", "2"],
    ["logs", "--limit", "1500", "--json"],
    ["hosts"],
    ["hosts", "--json"],
    ["export"],
    ["export", "--json"],
    ["verify"],
    ["verify", "--deep"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_reading_is_as_on_the_file_itself(home, api, command):
    home.import_csv(rows(1200) + rows(5, "b\u00e4r", 90).removeprefix(HEADER))
    # verify begins with the store's name
    names = {home.store: "STORE", api.url: "STORE", api.url.replace("://", "://***@"): "STORE"}
    for _ in range(5):
        here = home.run("memory-tracker", *command)
        there = remote(api, READER, "memory-tracker", *command)
        assert there.returncode == here.returncode == 0, there.stderr
        for name, general in names.items():
            here.stdout = here.stdout.replace(name, general)
            there.stdout = there.stdout.replace(name, general)
        # hosts have an age in seconds, and one may pass in between
        if there.stdout == here.stdout:
            break
    assert there.stdout == here.stdout != ""


def test_what_is_imported_there_is_there(home, api):
    done = import_rows(api, home, WRITER, rows(2500))
    assert done.returncode == 0, done.stderr
    assert [each["timestamp"] for each in home.records()] == [60 + 60 * i for i in range(2500)]
    again = import_rows(api, home, WRITER, rows(2500))
    assert again.returncode == 0, again.stderr
    assert len(home.records()) == 2500


def test_a_conflict_there_is_told_here(home, api):
    assert import_rows(api, home, WRITER, rows(1)).returncode == 0
    done = import_rows(api, home, WRITER, rows(1).replace(",0,4000", ",7,4000"))
    assert done.returncode == 1
    assert "60" in done.stderr
    assert len(home.records()) == 1


def test_a_token_is_good_for_its_scope_only(home, api):
    home.import_csv(rows(2))
    refused = [
        import_rows(api, home, READER, rows(1)),
        remote(api, WRITER, "memory-tracker", "hosts"),
        remote(api, OWNER, "memory-tracker", "export"),
    ]
    for done in refused:
        assert (done.returncode, done.stdout) == (4, ""), done.stderr
        assert "permission denied: store http://127.0.0.1" in done.stderr
    done = remote(api, "not-a-token-of-that-file", "memory-tracker", "hosts")
    assert done.returncode == 4
    assert "(401" in done.stderr
    done = run("memory-tracker", "hosts", env={"MEMORY_TRACKER_STORE": api.url})
    assert done.returncode == 4
    assert remote(api, ADMIN, "memory-tracker", "hosts").returncode == 0


def test_a_token_of_one_host_appends_for_that_host_only(home, api):
    done = import_rows(api, home, OWNER, rows(2) + rows(2, "web2").removeprefix(HEADER))
    assert done.returncode == 1
    assert "web2" in done.stderr
    assert {each["host"] for each in home.records()} == {"web1"}


def test_a_revoked_token_is_refused_without_a_restart(api, tokens):
    assert remote(api, READER, "memory-tracker", "ping-nothing").returncode == 2
    assert remote(api, ADMIN, "memory-tracker", "verify").returncode in (0, 3)
    tokens.write_text(TOKENS.replace(f"admin admin {ADMIN}\n", ""))
    wait_until(lambda: remote(api, ADMIN, "memory-tracker", "hosts").returncode == 4, 30,
               "the token to be refused")


def test_the_token_may_stand_in_a_file_of_its_own(home, api):
    home.import_csv(rows(2))
    secret = home.path / "token"
    secret.touch(0o600)
    secret.write_text(READER + "\n")
    done = run("memory-tracker", "hosts", env={
        "MEMORY_TRACKER_STORE": api.url, "MEMORY_TRACKER_STORE_TOKEN_FILE": secret})
    assert done.returncode == 0, done.stderr
    assert "web1" in done.stdout


def test_an_api_without_tokens_is_no_store(home, start_api):
    home.import_csv(rows(2))
    api = start_api()
    for done in [remote(api, READER, "memory-tracker", "hosts"),
                 import_rows(api, home, WRITER, rows(1))]:
        assert done.returncode == 4
        assert "no TOKENS are configured" in done.stderr


def test_a_path_that_is_not_the_apis_is_told(home, api):
    for path, hint in [("", False), ("/elsewhere", True)]:
        done = home.run("memory-tracker", "hosts", "--store", f"http://127.0.0.1:{api.port}{path}",
                        env={"MEMORY_TRACKER_STORE_TOKEN": READER})
        assert ("or the URI's path is not its own" in done.stderr) == hint, done.stderr
        assert (done.returncode == 4) == hint


def test_a_server_without_tls_is_told(home, api):
    done = home.run("memory-tracker", "hosts", "--store", f"https://127.0.0.1:{api.port}",
                    env={"MEMORY_TRACKER_STORE_TOKEN": READER})
    assert done.returncode == 3
    assert "no TLS came about; a server that speaks none wants http://" in done.stderr


def test_a_missing_store_is_missing_there_too(api):
    done = remote(api, READER, "memory-tracker", "hosts")
    assert done.returncode == 3
    assert "store missing" in done.stderr
    assert "memory-sampler" in done.stderr


def test_pages_are_one_scan(home, api):
    """More than 20,000 records, many of them in one second, in every order and cut."""
    rng = random.Random(4)
    hosts = [f"host-{i:03}" for i in range(90)]
    keys = {(1000 + 60 * rng.randrange(400), rng.choice(hosts)) for _ in range(60000)}
    assert len(keys) > 25000
    home.import_csv(HEADER + "".join(
        f"{host},{second},,{second},4000,1000\n" for second, host in sorted(keys)))
    here = home.run("memory-tracker", "export")
    there = remote(api, READER, "memory-tracker", "export")
    assert there.returncode == 0, there.stderr
    assert there.stdout == here.stdout
    for cut in [["--limit", "24000"], ["--limit", "24000", "--skip", "77"], ["--limit", "99999"]]:
        here = home.run("memory-tracker", "logs", *cut)
        there = remote(api, READER, "memory-tracker", "logs", *cut)
        assert there.returncode == 0, there.stderr
        assert there.stdout == here.stdout, cut


def test_the_sampler_delivers_through_another_api(home, api):
    """A sampler whose store is http:// leaves its minute there, by way of its outbox."""
    spool = home.path / "elsewhere.db"
    env = {"MEMORY_TRACKER_SPOOL": spool, "MEMORY_TRACKER_HOST": "web1"}
    done = remote(api, OWNER, "memory-sampler", env=env)
    assert done.returncode == 0, done.stderr
    assert [each["host"] for each in home.records()] == ["web1"]
    listed = remote(api, OWNER, "memory-tracker", "spool", "--json", env=env)
    assert json.loads(listed.stdout)["waiting"] == 0


def test_an_api_answers_from_another_one(home, api, start_api):
    """memory-api whose STORE is http:// shows what arrives at the other one."""
    home.import_csv(rows(300))
    second = start_api(store=api.url.replace("://", f"://{READER}@"))
    for query in ["", "?limit=300", "?limit=7&skip=290", "?limit=5&skip=300"]:
        wanted = api.get(f"/memory-logs{query}")
        got = second.get(f"/memory-logs{query}")
        assert (got.status, got.body) == (wanted.status, wanted.body) == (200, wanted.body), query
    home.import_csv(rows(1, first=60 * 301))
    newest = api.get("/memory-logs?limit=1").body
    wait_until(lambda: second.get("/memory-logs?limit=1").body == newest, 30, "the new record")
    assert READER not in second.log()
