"""
Writers that append batches and prune, two at once on one store, and with them one that seals whatever
they append, killed with SIGKILL at random times and before random writing system calls: the file stays
sound, what was acknowledged is there, of a batch that was not acknowledged all or nothing, and nothing
is there twice. So it is with days being sealed, merged and pruned, and with a store of the first
version that is migrated.
"""

import os
import random
import shutil
import signal
import subprocess

import pytest
from support import (assert_sound, clean_environment, connect, not_in_this_build, program_path,
                     sanitizer, scaled, wait_until)

POINTS = int(os.environ.get("MT_KILL_POINTS", "100"))
SEED = int(os.environ.get("MT_KILL_SEED", "20260311"))
START = 1647033600


class Writer:
    """One host's hammer, started again and again, and what is known of its records."""

    def __init__(self, home, host):
        self.home = home
        self.host = host
        self.next = START
        self.acknowledged = []  # batches: (first second, records)
        self.doubtful = []
        self.pruned_before = 0  # by whom it may concern: announced, perhaps done in part

    def start(self, *before):
        program = program_path("store_hammer", clock=True)
        self.process = subprocess.Popen(
            [*before, program, self.home.store, self.host, str(self.next)],
            env=clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True)

    def finish(self):
        """Waits for the end and takes in what it said; True if it was killed."""
        out, errors = self.process.communicate(timeout=scaled(60))
        assert self.process.returncode in (-9, 137), errors
        pending = None
        for line in out.splitlines():
            words = line.split()
            if words[0] == "ok":
                if pending:
                    self.acknowledged.append(pending)
                pending = None
            elif words[0] == "+" and len(words) == 3:
                pending = (int(words[1]), int(words[2]))
                self.next = pending[0] + 60 * pending[1]
            elif words[0] == "-" and len(words) == 2:
                self.pruned_before = max(self.pruned_before, int(words[1]))
        if pending:
            self.doubtful.append(pending)


class Sealer:
    """Seals what the writers append, started again and again."""

    def __init__(self, home):
        self.home = home
        self.rounds = 0  # compactions that did something

    def start(self, *before):
        self.process = subprocess.Popen(
            [*before, program_path("store_sealer", clock=True), self.home.store],
            env=clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True)

    def finish(self):
        out, errors = self.process.communicate(timeout=scaled(60))
        assert self.process.returncode in (-9, 137), errors
        for line in out.splitlines():
            words = line.split()
            self.rounds += words[0] == "sealed" and len(words) == 3


def seconds(batch):
    return {batch[0] + 60 * i for i in range(batch[1])}


def check(home, writers):
    assert_sound(home.db)
    records = home.records()
    keys = [(record["host"], record["timestamp"]) for record in records]
    assert len(keys) == len(set(keys))
    # one prunes for all: the hosts share their seconds
    pruned_before = max(writer.pruned_before for writer in writers)
    for writer in writers:
        there = {second for host, second in keys if host == writer.host}
        tried = set()
        for batch in writer.acknowledged:
            tried |= seconds(batch)
            assert {s for s in seconds(batch) if s >= pruned_before} <= there
        for batch in writer.doubtful:
            tried |= seconds(batch)
            kept = {s for s in seconds(batch) if s >= pruned_before}
            assert kept & there in (set(), kept)
        assert there <= tried
    done = home.run("memory-tracker", "verify")
    assert done.returncode == 0, done.stdout + done.stderr


def kill_at_random(chance, process, longest_s):
    try:
        process.wait(timeout=chance.uniform(0, longest_s))
    except subprocess.TimeoutExpired:
        process.kill()


def forget_blocks(home):
    """The store as the first version made it, with what is loose of it."""
    with connect(home.db) as connection:
        connection.executescript(
            "BEGIN; DROP TABLE block; DROP TABLE block_column; DROP TABLE block_field;"
            " PRAGMA user_version=1; COMMIT")


@pytest.mark.parametrize("kind", ["loose", "sealed"])
def test_killed_at_random_times(home, kind):
    chance = random.Random(f"{SEED} {kind}")
    writers = [Writer(home, "a"), Writer(home, "b")]
    sealer = Sealer(home)
    everybody = [*writers, sealer] if kind == "sealed" else writers
    longest_s = 0.15

    def did_enough():
        return (sum(len(writer.acknowledged) for writer in writers) > POINTS / 4
                and (kind != "sealed" or sealer.rounds > POINTS / 8))

    point = -1
    # on a slow machine more of them, until most have met somebody in the midst of work
    while point < POINTS // 2 or not did_enough():
        point += 1
        assert point < 4 * POINTS + 40, "they are killed before they do anything"
        for each in everybody:
            each.start()
        # two writers leave a third one little: each other time it has the store to itself at the end
        order = everybody if point % 2 else chance.sample(everybody, len(everybody))
        for each in order:
            kill_at_random(chance, each.process, longest_s)
        for each in everybody:
            each.finish()
        # on a slow machine they get more time: most kills are to meet them in the midst of work
        if sum(len(writer.acknowledged) for writer in writers) <= point or (
                kind == "sealed" and sealer.rounds <= point / 2):
            longest_s *= 1.2
        # the next hammer repairs what was left, or this look does
        if home.db.exists() and point % 10 == 9:
            check(home, writers)
    check(home, writers)
    assert kind == "sealed" or sealer.rounds == 0


# of so many calls of its kind one is a program's last: most in the first transactions of a writer,
# some in a prune, which follows the eighth
CALLS = {"pwrite64": [40, 400, 1000], "fdatasync": [10, 50, 150], "ftruncate": [3, 10, 30],
         "fcntl": [20, 100, 300]}
# a sealer has done all there is to do after some
CALLS_OF_SEALING = {"pwrite64": [20, 60, 100], "fdatasync": [3, 6, 12], "ftruncate": [1, 2, 4],
                    "fcntl": [20, 60, 200]}


def kill_before_a_call(chance, each, call, most):
    number = int(chance.choice(most) * chance.random()) + 1
    each.start("strace", "-f", "-qq", "-o", "/dev/null", "-e",
               f"inject={call}:signal=KILL:when={number}")
    try:
        each.process.wait(timeout=scaled(5))
    except subprocess.TimeoutExpired:
        # it does not do so many calls of this kind any more; anywhere is as good a place to die
        os.killpg(each.process.pid, signal.SIGKILL)
    each.finish()


@pytest.mark.parametrize("call", CALLS)
def test_killed_before_a_system_call(home, call):
    if sanitizer():
        not_in_this_build("a sanitized program cannot be traced")
    assert shutil.which("strace"), "strace is needed"
    chance = random.Random(f"{SEED} {call}")
    writer = Writer(home, "a")
    for point in range(max(5, POINTS // 10)):
        kill_before_a_call(chance, writer, call, CALLS[call])
        if home.db.exists() and home.db.stat().st_size > 0 and point % 3 == 2:
            check(home, [writer])
    check(home, [writer])
    assert writer.acknowledged


@pytest.mark.parametrize("call", CALLS)
def test_killed_before_a_system_call_of_sealing(home, call):
    """Each time there is something loose to seal or to merge, at first in a store of the first version."""
    if sanitizer():
        not_in_this_build("a sanitized program cannot be traced")
    assert shutil.which("strace"), "strace is needed"
    chance = random.Random(f"{SEED} {call} sealing")
    writer = Writer(home, "a")
    sealer = Sealer(home)
    for point in range(max(5, POINTS // 10)):
        writer.start()
        kill_at_random(chance, writer.process, scaled(0.1))
        writer.finish()
        if point == 0:
            while not writer.acknowledged:
                writer.start()
                kill_at_random(chance, writer.process, scaled(0.2))
                writer.finish()
            forget_blocks(home)
        kill_before_a_call(chance, sealer, call, CALLS_OF_SEALING[call])
        if point % 3 == 2:
            check(home, [writer])
    check(home, [writer])
    sealer.start()
    wait_until(lambda: seals(home) > 0)
    sealer.process.kill()
    sealer.finish()
    check(home, [writer])


def seals(home):
    with connect(home.db) as connection:
        return connection.execute("SELECT count(*) FROM block").fetchone()[0]
