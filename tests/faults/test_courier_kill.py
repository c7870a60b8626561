"""
memory-sampler and the memory-courier that it becomes, killed with SIGKILL at random times, on their
way to a MongoDB server: while the record goes to the outbox, and while the outbox is delivered.

Every run has a second of its own, a minute after the one before. Whatever happened to it, the outbox
stays sound, a record arrives if its run ended with exit code 0 or put it there, and none is there twice (a second one
would stand a second later).
"""

import os
import random
import subprocess

import pytest
from support import (Proxy, assert_sound, clean_environment, connect, program_path, sanitizer,
                     scaled)

T = 1647033600
POINTS = max(6, int(os.environ.get("MT_KILL_POINTS", "200")) // (20 if sanitizer() else 4))
SEED = int(os.environ.get("MT_KILL_SEED", "20260311"))


class Bench:
    """A host with its outbox, the runs of it, and what they acknowledged."""

    def __init__(self, home, ferret):
        self.home = home
        self.ferret = ferret
        self.clock = home.clock(T)
        self.next = T
        self.tried = set()
        self.acknowledged = set()

    def start(self, program="memory-sampler"):
        """The next minute's run; a courier has no record of its own."""
        self.clock.set(self.next)
        self.now = self.next if program == "memory-sampler" else None
        if self.now is not None:
            self.tried.add(self.now)
        self.next += 60
        environment = clean_environment({**self.home.environment, "MEMORY_TRACKER_HOST": "h"})
        return subprocess.Popen([program_path(program, self.clock)],
                                env={**environment, **self.clock.environment},
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True)

    def finish(self, process):
        """Whether it came to its own end."""
        _, log = process.communicate(timeout=scaled(60))
        assert process.returncode in (0, -9), log
        if process.returncode == 0 and self.now is not None:
            self.acknowledged.add(self.now)
        return process.returncode == 0

    def must_work(self):
        assert self.finish(self.start())

    def waiting(self):
        if not self.home.spool.exists():
            return set()
        with connect(self.home.spool) as outbox:
            return {row[0] for row in outbox.execute("SELECT timestamp FROM waiting")}

    def stored(self):
        return [document["_id"]["t"] for document in self.ferret.documents(self.home.database)]

    def check_on_the_way(self):
        """Between two runs: what was acknowledged is stored, or waits to be, as what is there."""
        waiting = self.waiting()
        assert self.acknowledged <= waiting | set(self.stored())
        self.acknowledged |= waiting

    def check(self):
        """After a run that was left in peace: all is delivered."""
        assert_sound(self.home.spool)
        assert self.waiting() == set()
        there = self.stored()
        assert len(there) == len(set(there))
        assert self.acknowledged <= set(there) <= self.tried
        with connect(self.home.spool) as outbox:
            assert outbox.execute("SELECT count(*) FROM rejected").fetchone() == (0,)
            assert outbox.execute("SELECT dropped FROM counter").fetchone() == (0,)


@pytest.fixture
def proxy(ferret):
    with Proxy(ferret.port) as proxy:
        yield proxy


@pytest.mark.parametrize("kind", ["spool", "replay", "courier"])
def test_killed_at_random_times(mongodb_home, ferret, proxy, kind):
    """spool: nothing else waits; replay: five records do; courier: the same, it is run by hand."""
    chance = random.Random(f"{SEED} {kind}")
    print(f"MT_KILL_SEED={SEED}, {kind}, {POINTS} kills")
    bench = Bench(mongodb_home, ferret)
    bench.home.store = bench.home.store.replace(f":{ferret.port}/", f":{proxy.port}/")
    bench.must_work()
    longest = 0.2
    killed = 0
    while killed < POINTS:
        if kind != "spool" and not bench.waiting():
            proxy.refuse()
            for _ in range(5):
                bench.must_work()
            assert len(bench.waiting()) == 5
            proxy.listen()
        process = bench.start("memory-courier" if kind == "courier" else "memory-sampler")
        try:
            process.wait(timeout=chance.uniform(0, longest))
        except subprocess.TimeoutExpired:
            process.kill()
        # how long a run takes changes with the machine: most runs are to be killed, late ones too
        if bench.finish(process):
            longest *= 0.9
        else:
            killed += 1
            longest *= 1.02
        bench.check_on_the_way()
    bench.must_work()
    bench.check()
