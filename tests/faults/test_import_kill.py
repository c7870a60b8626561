"""Imports that are killed at random instants: the store stays sound, and a repeat completes it."""

import os
import random
import subprocess

from support import clean_environment, program_path, wait_until

POINTS = max(10, int(os.environ.get("MT_KILL_POINTS", "200")) // 8)
RECORDS = 6000
START = 1647033600


def write_history(path):
    with path.open("w", encoding="ascii") as out:
        out.write("host,timestamp,total,free,used\n")
        for i in range(RECORDS):
            out.write(f"host-{i % 3},{START + 20 * i},8192,{4000 + i % 97},{4192 - i % 97}\n")


def start_import(home, file):
    return subprocess.Popen(
        [program_path("memory-tracker"), "import", file],
        env=clean_environment(home.environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )


def exported(home):
    """The history, or "" while there is no store that can be read (a writer was killed in it)."""
    done = home.run("memory-tracker", "export")
    return done.stdout if done.returncode == 0 else ""


def check_sound(home):
    """What is there is a part of the history; a store that lies torn says so with status 3."""
    done = home.run("memory-tracker", "verify")
    assert done.returncode in (0, 3), done.stdout + done.stderr


def test_killed_imports_are_completed_by_a_repeat(home):
    seed = int(os.environ.get("MT_SEED", random.SystemRandom().randrange(2**32)))
    print(f"MT_SEED={seed}")
    rng = random.Random(seed)
    file = home.path / "history.csv"
    write_history(file)
    whole = start_import(home, file)
    assert whole.communicate(timeout=120)[0].startswith(f"imported {RECORDS} records")
    expected = exported(home)
    assert expected.count("\n") == RECORDS + 1
    killed = 0
    while killed < POINTS:
        for leftover in home.path.glob("memory.db*"):
            leftover.unlink()
        # several kills on the way to one complete history
        for _ in range(rng.randint(1, 4)):
            before = exported(home).count("\n")
            process = start_import(home, file)
            if rng.random() < 0.8:
                # once it writes, somewhere in its batches
                wait_until(lambda: home.db.exists() or process.poll() is not None, what="a store")
            try:
                process.wait(rng.uniform(0, 0.15))
            except subprocess.TimeoutExpired:
                process.kill()
            process.communicate(timeout=60)
            killed += process.returncode == -9
            check_sound(home)
            assert exported(home).count("\n") >= before or not exported(home)
        last = start_import(home, file)
        out, err = last.communicate(timeout=120)
        assert (last.returncode, err) == (0, "")
        assert out.startswith("imported ") and "0 conflicts) for 3 hosts" in out
        assert exported(home) == expected
        check_sound(home)
        assert home.run("memory-tracker", "verify", "--deep").returncode == 0
