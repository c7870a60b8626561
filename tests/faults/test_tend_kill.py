"""
The programs that seal days and remove old ones, killed with SIGKILL at random times and before random
system calls: memory-sampler that becomes memory-courier, memory-tracker compact and prune, and a
memory-api that tends its store. A ledger has every record that was ever acknowledged: none of those
that RETENTION or a prune did not ask for is lost, none is there twice, each has its values, and
verify finds nothing.
"""

import os
import random
import shutil
import subprocess

import pytest
from support import (assert_sound, clean_environment, connect, not_in_this_build, program_path,
                     sanitizer, scaled, wait_until)

POINTS = max(6, int(os.environ.get("MT_KILL_POINTS", "100")) // (10 if sanitizer() else 4))
SEED = int(os.environ.get("MT_KILL_SEED", "20260311"))
DAY = 86400
T = 1647043200  # 2022-03-12T00:00:00Z
HOSTS = ["a", "b"]
ADMIN = "admin-0123456789abcdef"


class Bench:
    """A store, the clock of its programs, and what has to be in it."""

    def __init__(self, home):
        self.home = home
        self.clock = home.clock(T)
        self.ledger = {}  # (host, second): mem_available, or None where only its being there is known
        self.doubtful = set()
        self.first = 0  # what is older may be gone
        self.killed = 0

    def fill(self, first, days, step):
        lines = ["host,timestamp,mem_total,mem_available"]
        for second in range(first, first + days * DAY, step):
            for host in HOSTS:
                self.ledger[host, second] = 4000000 + second % 7919
                lines.append(f"{host},{second},16384000,{self.ledger[host, second]}")
        self.home.import_csv("\n".join(lines) + "\n")

    def start(self, now, program, *args, before=()):
        self.clock.set(now)
        environment = {**clean_environment(self.home.environment), **self.clock.environment}
        return subprocess.Popen(
            [*before, program_path(program, self.clock), *args], env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def finish(self, process):
        """Whether it came to its own end, which has to be a good one."""
        _, errors = process.communicate(timeout=scaled(60))
        assert process.returncode in (0, -9, 137), errors
        self.killed += process.returncode != 0
        return process.returncode == 0

    def must_work(self, now, *words):
        assert self.finish(self.start(now, *words))

    def check(self):
        assert_sound(self.home.db)
        done = self.home.run("memory-tracker", "verify", clock=self.clock)
        assert "problem: " not in done.stdout and done.returncode == 0, done.stdout + done.stderr
        there = {}
        for record in self.home.records():
            key = record["host"], record["timestamp"]
            assert key not in there
            there[key] = record["mem_available"]
        for key, available in self.ledger.items():
            if key[1] >= self.first:
                assert key in there
            if key in there and available is not None:
                assert there[key] == available
        assert set(there) <= set(self.ledger) | self.doubtful


def forget_blocks(home):
    """The store as the first version made it."""
    with connect(home.db) as connection:
        connection.executescript(
            "BEGIN; DROP TABLE block; DROP TABLE block_column; DROP TABLE block_field;"
            " PRAGMA user_version=1; COMMIT")


class Patience:
    """How long a run may live: most are to be killed, also late ones."""

    def __init__(self, longest_s):
        self.longest_s = longest_s

    def kill(self, chance, process):
        try:
            process.wait(timeout=chance.uniform(0, self.longest_s))
            self.longest_s *= 0.95
        except subprocess.TimeoutExpired:
            process.kill()
            self.longest_s *= 1.05


def test_compact_and_prune_killed_at_random_times(home):
    """From a store of the first version to one that is sealed, merged and pruned, again and again."""
    chance = random.Random(f"{SEED} by hand")
    bench = Bench(home)
    day = T
    bench.fill(day, 3, 300)
    forget_blocks(home)
    patience = Patience(0.3)
    late = 0
    while bench.killed < POINTS:
        kind = chance.choice(["seal", "seal", "merge", "prune"])
        if kind == "merge":
            # others than were there, in days that are sealed or are not
            late += 1
            bench.fill(bench.first or T, (day - (bench.first or T)) // DAY + 3, 7200 + 60 * late + 1)
        if kind == "prune":
            bench.first = chance.randrange(bench.first or T, day + 2 * DAY) // DAY * DAY
            words = ["prune", "--before", str(bench.first)]
        else:
            words = ["compact"]
        process = bench.start(day + 4 * DAY, "memory-tracker", *words)
        patience.kill(chance, process)
        if bench.finish(process) and kind != "prune":
            day += 2 * DAY
            bench.fill(day + DAY, 2, 300)
        if bench.killed % 5 == 4:
            bench.check()
    bench.must_work(day + 4 * DAY, "memory-tracker", "compact")
    bench.check()
    with connect(home.db) as connection:
        assert connection.execute("SELECT count(*) FROM memory_log").fetchone() == (0,)


def test_the_sampler_killed_while_its_courier_tends(home):
    """A sampler a third of a day, which seals and removes each time; the process is one."""
    chance = random.Random(f"{SEED} sampler")
    bench = Bench(home)
    bench.fill(T, 4, 300)
    forget_blocks(home)
    now = T + 4 * DAY
    words = ["memory-sampler", "--host", "a", "--interval", "28800", "--retention", "3d"]
    patience = Patience(0.3)
    while bench.killed < POINTS:
        now += 28800 + 7
        bench.first = (now - 3 * DAY) // DAY * DAY
        process = bench.start(now, *words)
        patience.kill(chance, process)
        if bench.finish(process):
            bench.ledger["a", now] = None
        else:
            bench.doubtful.add(("a", now))
        if bench.killed % 5 == 4:
            bench.check()
    now += 28800
    bench.first = (now - 3 * DAY) // DAY * DAY
    bench.must_work(now, *words)
    bench.ledger["a", now] = None
    bench.check()
    assert min(record["timestamp"] for record in home.records()) >= bench.first


def test_the_api_killed_while_it_tends(home):
    chance = random.Random(f"{SEED} api")
    bench = Bench(home)
    tokens = home.path / "tokens"
    tokens.write_text(f"admin admin {ADMIN}\n")
    tokens.chmod(0o600)
    words = ["memory-api", "--listen", "127.0.0.1:0", "--threads", "1", "--tokens", str(tokens)]
    day = T
    bench.fill(day, 30, 3600)
    patience = Patience(0.5)
    while bench.killed < max(3, POINTS // 4):
        process = bench.start(day + 31 * DAY, *words)
        before = blocks(home)
        # a second of it is a rest
        wait_until(lambda: blocks(home) > before)
        patience.kill(chance, process)
        process.kill()
        bench.finish(process)
        bench.check()
        day += 30 * DAY
        bench.fill(day, 30, 3600)


def blocks(home):
    with connect(home.db) as connection:
        return connection.execute("SELECT count(*) FROM block").fetchone()[0]


# of so many calls one is the last
CALLS = {"pwrite64": [8, 40, 100], "fdatasync": [4, 12, 30], "ftruncate": [2, 4, 8]}


@pytest.mark.parametrize("call", CALLS)
def test_killed_before_a_system_call(home, call):
    """Migration, sealing and pruning of the same store, each time anew."""
    if sanitizer():
        not_in_this_build("a sanitized program cannot be traced")
    assert shutil.which("strace"), "strace is needed"
    chance = random.Random(f"{SEED} {call}")
    bench = Bench(home)
    bench.fill(T, 3, 600)
    forget_blocks(home)
    pattern = home.path / "pattern.db"
    shutil.copyfile(home.db, pattern)
    for point in range(max(4, POINTS // 3)):
        shutil.copyfile(pattern, home.db)
        bench.first = T + DAY if point % 2 else 0
        before = ["strace", "-f", "-qq", "-o", "/dev/null", "-e",
                  f"inject={call}:signal=KILL:when={1 + int(chance.choice(CALLS[call]) * chance.random())}"]
        words = ["memory-courier", "--tend", *(["--retention", "3d"] if point % 2 else [])]
        bench.finish(bench.start(T + 4 * DAY + 7200, *words, before=before))
        if point % 3 == 0:
            bench.check()
        bench.must_work(T + 4 * DAY + 7200, *words)
        bench.check()
    assert bench.killed > 0
