"""
Writers that append batches and prune, two at once on one store, killed with SIGKILL at random times
and before random writing system calls: the file stays sound, what was acknowledged is there, of a
batch that was not acknowledged all or nothing, and nothing is there twice.
"""

import os
import random
import shutil
import signal
import subprocess

import pytest
from support import (assert_sound, clean_environment, not_in_this_build, program_path, sanitizer,
                     scaled, stored)

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


def seconds(batch):
    return {batch[0] + 60 * i for i in range(batch[1])}


def check(home, writers):
    assert_sound(home.db)
    records = stored(home.db)
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


def test_killed_at_random_times(home):
    chance = random.Random(SEED)
    writers = [Writer(home, "a"), Writer(home, "b")]
    longest_s = 0.15
    for point in range(POINTS):
        for writer in writers:
            writer.start()
        for writer in chance.sample(writers, 2):
            kill_at_random(chance, writer.process, longest_s)
        for writer in writers:
            writer.finish()
        # on a slow machine they get more time: most kills are to meet a writer in the midst of work
        if sum(len(writer.acknowledged) for writer in writers) <= point:
            longest_s *= 1.5
        # the next hammer repairs what was left, or this look does
        if home.db.exists() and point % 10 == 9:
            check(home, writers)
    check(home, writers)
    assert sum(len(writer.acknowledged) for writer in writers) > POINTS / 2


CALLS = ["pwrite64", "fdatasync", "ftruncate", "fcntl"]


@pytest.mark.parametrize("call", CALLS)
def test_killed_before_a_system_call(home, call):
    if sanitizer():
        not_in_this_build("a sanitized program cannot be traced")
    assert shutil.which("strace"), "strace is needed"
    chance = random.Random(f"{SEED} {call}")
    writer = Writer(home, "a")
    for point in range(max(5, POINTS // 10)):
        # most in the first transactions, some in a prune
        number = int(chance.choice([40, 400, 1000]) * chance.random()) + 1
        writer.start("strace", "-f", "-qq", "-o", "/dev/null", "-e",
                     f"inject={call}:signal=KILL:when={number}")
        try:
            writer.process.wait(timeout=scaled(5))
        except subprocess.TimeoutExpired:
            # so many calls of this kind take too long; anywhere is as good a place to die
            os.killpg(writer.process.pid, signal.SIGKILL)
        writer.finish()
        if home.db.exists() and home.db.stat().st_size > 0 and point % 3 == 2:
            check(home, [writer])
    check(home, [writer])
    assert writer.acknowledged
