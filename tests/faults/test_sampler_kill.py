"""
memory-sampler killed with SIGKILL: before each of its system calls, and at random times.

Every run has a second of its own, a minute after the one before. Whatever happened to it, the files
stay sound, the next run does its work, a run that ended with exit code 0 has its record in the
store in the end, and no record is there twice (a second one would stand a second later).
"""

import collections
import os
import random
import re
import shutil
import subprocess
import time

import pytest
from support import (Home, assert_sound, clean_environment, not_in_this_build, program_path,
                     sanitizer, scaled)

T = 1647033600
POINTS = int(os.environ.get("MT_KILL_POINTS", "200"))
SEED = int(os.environ.get("MT_KILL_SEED", "20260311"))
NOT_A_STORE = "this is no database, and longer than a header of one hundred bytes; " * 10


class Bench:
    """A home, the samplers that ran in it, and what they acknowledged."""

    def __init__(self, path):
        path.mkdir()
        self.home = Home(path)
        self.clock = self.home.clock(T)
        self.environment = {**clean_environment(self.home.environment), **self.clock.environment}
        self.next = T
        self.tried = set()
        self.acknowledged = set()

    def start(self, *before):
        """A sampler of the next minute, behind the command `before`."""
        self.clock.set(self.next)
        self.tried.add(self.next)
        self.now, self.next = self.next, self.next + 60
        return subprocess.Popen([*before, program_path("memory-sampler", self.clock)],
                                env=self.environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def finish(self, process):
        _, errors = process.communicate(timeout=scaled(60))
        assert process.returncode in (0, -9, 137), errors
        if process.returncode == 0:
            self.acknowledged.add(self.now)
        return process.returncode == 0

    def must_work(self):
        process = self.start()
        assert self.finish(process), "the run after a kill was killed"

    def break_store(self):
        if self.home.db.exists():
            self.home.db.rename(self.home.path / "kept")
        self.home.db.write_text(NOT_A_STORE)

    def repair_store(self):
        self.home.db.unlink()
        if (self.home.path / "kept").exists():
            (self.home.path / "kept").rename(self.home.db)

    def check(self):
        """Nothing is damaged, nothing acknowledged is missing, nothing is there twice."""
        for path in (self.home.db, self.home.spool):
            if path.exists():
                assert_sound(path)
        there = [record["timestamp"] for record in self.home.records()]
        assert len(there) == len(set(there))
        assert self.acknowledged <= set(there)
        assert set(there) <= self.tried


def prepare_nothing(bench):
    """The store is made by the run that is killed."""


def prepare_store(bench):
    bench.must_work()


def prepare_broken_store(bench):
    """The record of the run that is killed goes to the outbox, which that run makes."""
    bench.must_work()
    bench.break_store()


def prepare_outbox(bench):
    """... which is there already."""
    prepare_broken_store(bench)
    bench.must_work()
    bench.must_work()


def prepare_delivery(bench):
    """The run that is killed stores its record and delivers three of the outbox."""
    prepare_outbox(bench)
    bench.must_work()
    bench.repair_store()


PREPARATIONS = [prepare_nothing, prepare_store, prepare_broken_store, prepare_outbox,
                prepare_delivery]


def settle(bench, check_first):
    """After a kill: a look by SQLite before or after the next run, which has to work either way."""
    broken = bench.home.db.exists() and bench.home.db.read_bytes()[:4] == b"this"
    if broken:
        bench.must_work()
        bench.repair_store()
    elif check_first and bench.home.db.exists():
        assert_sound(bench.home.db)
    bench.must_work()
    bench.check()


# Who is killed before one of these leaves what is left by who is killed before the next other call: they
# change no file, and a lock goes with its process.
CHANGES_NOTHING = re.compile(
    r"(access|brk|close|fcntl|fstat|geteuid|getpid|getrandom|gettimeofday|lseek|lstat|mmap|mprotect"
    r"|munmap|newfstatat|pread64|prlimit64|read|rt_sigaction|rt_sigprocmask|stat|sysinfo|uname)\(")


def system_calls(trace):
    """(name, how many of that name up to here) of each call from the first that names a database on,
    but for those that change nothing."""
    counts = collections.Counter()
    points = []
    begun = False
    for line in trace.splitlines():
        match = re.match(r"(\w+)\(", line)
        if match is None:
            continue
        counts[match[1]] += 1
        begun = begun or (".db" in line and match[1] != "execve")
        if begun and CHANGES_NOTHING.match(line) is None:
            points.append((match[1], counts[match[1]]))
    return points


@pytest.mark.parametrize("prepare", PREPARATIONS)
def test_killed_before_each_system_call(tmp_path, prepare):
    if sanitizer():
        not_in_this_build("a sanitized program cannot be traced")
    assert shutil.which("strace"), "strace is needed"
    # one path for all, since the outbox keeps its records' destination
    path = tmp_path / "home"
    pattern = Bench(path)
    prepare(pattern)
    shutil.copytree(path, tmp_path / "pattern")

    def bench_like_pattern():
        shutil.rmtree(path)
        bench = Bench(path)
        shutil.copytree(tmp_path / "pattern", path, dirs_exist_ok=True)
        bench.next = pattern.next
        bench.tried = set(pattern.tried)
        bench.acknowledged = set(pattern.acknowledged)
        return bench

    bench = bench_like_pattern()
    assert bench.finish(bench.start("strace", "-qq", "-s", "256", "-o", tmp_path / "trace"))
    points = system_calls((tmp_path / "trace").read_text())
    assert len(points) > 25
    killed = 0
    for number, (name, count) in enumerate(points):
        bench = bench_like_pattern()
        killed += not bench.finish(bench.start(
            "strace", "-qq", "-o", "/dev/null", "-e", f"inject={name}:signal=KILL:when={count}"))
        settle(bench, check_first=number % 2 == 0)
    assert killed > 0.95 * len(points)


def median_run_s(bench):
    times = []
    for _ in range(9):
        begin = time.monotonic()
        bench.must_work()
        times.append(time.monotonic() - begin)
    return sorted(times)[4]


@pytest.mark.parametrize("kind", ["store", "outbox", "delivery"])
def test_killed_at_random_times(tmp_path, kind):
    chance = random.Random(f"{SEED} {kind}")
    bench = Bench(tmp_path / "home")
    bench.must_work()
    longest = 1.1 * median_run_s(bench)
    killed = 0
    point = 0
    while killed < -(-POINTS // 3):
        if kind == "outbox" and point == 0:
            bench.break_store()
        if kind == "delivery":
            bench.break_store()
            bench.must_work()
            bench.repair_store()
        process = bench.start()
        try:
            process.wait(timeout=chance.uniform(0, longest))
        except subprocess.TimeoutExpired:
            process.kill()
        # how long a run takes changes with the machine: most runs are to be killed, late ones too
        if not bench.finish(process):
            killed += 1
            longest *= 1.01
        else:
            longest *= 0.95
        point += 1
        if point % 16 == 0:
            if kind == "outbox":
                bench.must_work()
            else:
                settle(bench, check_first=point % 32 == 0)
    if kind == "outbox":
        bench.repair_store()
    bench.must_work()
    bench.check()
