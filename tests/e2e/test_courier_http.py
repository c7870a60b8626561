"""The outbox before another memory-api: what the courier pushes, and what it makes of a refusal."""

import json

import pytest
from support import Home, connect

T = 1647033600  # 2022-03-11T21:20:00Z
TOKEN = "t0ken-of-the-host-h-0123456789"
OTHER = "t0ken-of-another-host-012345678"


class Remote:
    """A memory-api that takes records, with a history of its own."""

    def __init__(self, path, start_api):
        path.mkdir()
        self.start_api = start_api
        self.home = Home(path)
        self.tokens = path / "tokens"
        self.write_tokens(f"h host:h {TOKEN}\nother host:other {OTHER}\n")
        self.listen = "127.0.0.1:0"
        self.api = None
        self.start()

    def write_tokens(self, text):
        new = self.tokens.with_name("new")
        new.touch(mode=0o600)
        new.write_text(text)
        new.rename(self.tokens)

    def start(self):
        self.api = self.start_api(self.home.store, listen=self.listen, tokens=self.tokens)
        self.listen = f"127.0.0.1:{self.api.port}"

    def stop(self):
        assert self.api.stop() == 0, self.api.log()

    @property
    def timestamps(self):
        return [record["timestamp"] for record in self.home.records()]


@pytest.fixture
def remote(home, start_api):
    remote = Remote(home.path / "remote", start_api)
    home.store = f"http://{remote.listen}"
    return remote


def sample(home, minute, *args, token=TOKEN):
    """What the sampler and the courier say at that minute; they have to end well."""
    done = home.run("memory-sampler", "--host", "h", *args, clock=home.clock(T + 60 * minute),
                    env={"MEMORY_TRACKER_STORE_TOKEN": token})
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert TOKEN not in done.stderr and OTHER not in done.stderr
    return [line.split(" ", 1)[1] for line in done.stderr.splitlines()]


def only(lines):
    (line,) = lines
    return line


def state(home):
    done = home.run("memory-tracker", "spool", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_outage_of_the_other_api(home, remote):
    assert sample(home, 0) == []
    assert remote.timestamps == [T]
    remote.stop()
    for minute in (1, 2, 3):
        line = only(sample(home, minute))
        assert line.startswith("warning memory-courier: store unavailable: "), line
        assert line.endswith(
            f"; outbox {home.spool}: {minute} waiting since 2022-03-11T21:21:00Z"), line
    for path in home.path.glob("spool.db*"):
        assert TOKEN.encode() not in path.read_bytes()
    assert state(home)["destinations"][0]["destination"] == home.store
    remote.start()
    assert only(sample(home, 4)) == f"info memory-courier: outbox {home.spool}: 4 delivered"
    assert remote.timestamps == [T + 60 * minute for minute in range(5)]
    assert state(home)["waiting"] == 0


def test_a_token_that_is_unknown_is_an_error_and_the_records_wait(home, remote):
    remote.write_tokens(f"h host:h {OTHER}\n")
    remote.stop()
    remote.start()
    for minute in (0, 1):
        line = only(sample(home, minute))
        assert line.startswith("error memory-courier: permission denied: "), line
        assert f": {minute + 1} waiting since " in line
    assert state(home)["set_aside"] == 0
    assert remote.home.db.exists() is False or remote.timestamps == []
    assert "3 delivered" in only(sample(home, 2, token=OTHER))
    assert remote.timestamps == [T, T + 60, T + 120]


def test_a_token_of_another_host_gets_the_record_set_aside_and_tried_again(home, remote):
    lines = sample(home, 0, token=OTHER)
    assert lines[0].startswith(
        f"warning memory-courier: second {T} of host h is refused by the store for good"), lines
    assert state(home)["set_aside"] == 1
    assert sample(home, 1) == []
    assert remote.timestamps == [T + 60]
    done = home.run("memory-tracker", "spool", "rejected", "--retry")
    assert done.stdout == "1 waiting again\n"
    done = home.run("memory-tracker", "spool", "flush", env={"MEMORY_TRACKER_STORE_TOKEN": TOKEN})
    assert (done.returncode, done.stdout) == (0, f"1 delivered to {home.store}\n"), done.stderr
    assert remote.timestamps == [T, T + 60]


def test_thousands_of_records_catch_up_in_one_run(home, remote):
    remote.stop()
    sample(home, 0)
    with connect(home.spool) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(waiting)")]
        rest = ",".join(name for name in columns if name not in ("id", "timestamp", "uptime_s"))
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2999) "
            f"INSERT INTO waiting(timestamp, uptime_s, {rest}) "
            f"SELECT timestamp + 60 * i, uptime_s + 60 * i, {rest} FROM n, waiting ORDER BY i")
        connection.commit()
    remote.start()
    done = home.run("memory-courier", env={"MEMORY_TRACKER_STORE_TOKEN": TOKEN})
    assert done.returncode == 0 and ": 3000 delivered" in done.stderr
    assert remote.timestamps == [T + 60 * i for i in range(3000)]
