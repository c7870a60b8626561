"""memory-tracker verify: what it calls a warning, what a problem, and its exit status."""

import json
import os
import re
import signal
import sqlite3
import subprocess

import pytest
from support import clean_environment, program_path, scaled, wait_until

NOW = 1798707600  # 2026-12-31T09:00:00Z
START = NOW - 86400
BOOTS = ["0f5a2c1e-9b7d-4e6f-8a3b-1c2d3e4f5a6b", "ffffffff-9b7d-4e6f-8a3b-1c2d3e4f5a6b"]
HEADER = "host,timestamp,boot_id,uptime_s,mem_total,mem_available,oom_kill,pswpin\n"


def line(host, second, boot="", uptime="", oom="", pswpin=""):
    return f"{host},{START + second},{boot},{uptime},8388608,4194304,{oom},{pswpin}\n"


def verify(home, *arguments):
    return home.run("memory-tracker", "verify", *arguments, clock=home.clock(NOW))


def test_gaps_are_warnings(home):
    seconds = [0, 60, 120, 300, 360, 4200]
    home.import_csv(HEADER + "".join(line("a", second) for second in seconds))
    done = verify(home)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"{home.store}: sound\n"
        "a: 6 records from 2026-12-30T09:00:00Z to 2026-12-30T10:10:00Z\n"
        "  warning: 2 gaps, 65 records (1h05min) missing; the longest is 1h04min from "
        "2026-12-30T09:06:00Z\n"
        "1 host, 6 records: 0 problems, 1 warning\n"
    )
    found = json.loads(verify(home, "--json").stdout)
    assert found["hosts"] == [
        {
            "host": "a", "records": 6, "first": START, "last": START + 4200, "out_of_order": 0,
            "boots_that_come_back": 0, "falling_counters": 0, "gaps": 2, "missing": 65,
            "missing_s": 3900, "longest_gap_s": 3840, "longest_gap_from": START + 360,
            "too_close": 0, "clock_set_back": 0, "future": 0, "is_complete": True,
        }
    ]
    assert (found["faults"], found["problems"], found["warnings"]) == ([], 0, 1)


def has_open(process, path):
    """True once the process has that file open."""
    descriptors = f"/proc/{process.pid}/fd"
    return any(os.path.realpath(f"{descriptors}/{name}") == str(path.resolve())
               for name in os.listdir(descriptors))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_when_interrupted(home, number):
    """Here while it waits for a lock; there is nothing that it would have to put in order."""
    home.import_csv(HEADER + line("a", 0))
    db = sqlite3.connect(home.db, isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    with subprocess.Popen(
        [program_path("memory-tracker"), "verify", "--deep"],
        env=clean_environment(home.environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:
        wait_until(lambda: has_open(process, home.db), what="verify to open the store")
        process.send_signal(number)
        out, err = process.communicate(timeout=scaled(60))
    db.close()
    assert (process.returncode, out, err) == (-number, b"", b"")


def test_two_machines_with_one_name_are_a_problem(home):
    home.import_csv(
        HEADER
        + "".join(line("b", 60 * i, BOOTS[0], 1000 + 60 * i, 5, i) for i in range(5))
        + "".join(line("b", 60 * i + 7, BOOTS[1], 9000 + 60 * i, 1, 2 * i) for i in range(5))
        + line("a", 0)
    )
    done = verify(home)
    assert done.returncode == 1
    assert done.stdout == (
        f"{home.store}: sound\n"
        "a: 1 record from 2026-12-30T09:00:00Z to 2026-12-30T09:00:00Z\n"
        "b: 10 records from 2026-12-30T09:00:00Z to 2026-12-30T09:04:07Z\n"
        "  problem: 8 boots come back after others: two machines with one name, or a clock set "
        "back, first at 2026-12-30T09:01:00Z\n"
        "  warning: 5 records less than half an interval after others, first at "
        "2026-12-30T09:00:07Z\n"
        "2 hosts, 11 records: 1 problem, 1 warning\n"
    )
    assert done.stderr.endswith(" error memory-tracker: failed: 1 problem found\n")
    assert done.stderr.count("\n") == 1
    found = json.loads(verify(home, "--json").stdout)
    assert found["hosts"][1]["boots_that_come_back"] == 8


def test_a_counter_that_falls_is_a_problem(home):
    home.import_csv(
        HEADER + line("a", 0, BOOTS[0], 100, 1, 50) + line("a", 60, BOOTS[0], 160, 1, 40)
    )
    done = verify(home)
    assert done.returncode == 1
    assert (
        "  problem: 1 counter falls within a boot (pswpin), first at 2026-12-30T09:01:00Z\n"
        in done.stdout
    )


def test_clocks_set_back_and_ahead_are_warnings(home):
    home.import_csv(
        HEADER
        + line("a", 0, BOOTS[0], 7200, 9) + line("a", 60, BOOTS[0], 3600, 8)
        + line("a", 86400 + 301, BOOTS[0], 7300, 9)
    )
    done = verify(home)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2:] == [
        "  warning: 1 time the clock was set back within a boot, first at 2026-12-30T09:01:00Z",
        "  warning: 1 record dated in the future",
        "1 host, 3 records: 0 problems, 2 warnings",
    ]


def test_deep_says_the_same_of_a_sound_store(home):
    home.import_csv(HEADER + "".join(line("a", 60 * i) for i in range(3000)))
    before = home.db.read_bytes()
    assert verify(home, "--deep").stdout == verify(home).stdout
    assert home.db.read_bytes() == before


def damage(home, pages):
    """Overwrites pages in the middle of the store's file."""
    middle = home.db.stat().st_size // 2 // 4096 * 4096
    with open(home.db, "r+b") as file:
        file.seek(middle)
        file.write(os.urandom(4096 * pages))


def test_damage_is_a_problem(home):
    home.import_csv(HEADER + "".join(line(f"host-{i % 50}", 60 * i) for i in range(20000)))
    damage(home, 10)
    for arguments in ([], ["--deep"]):
        done = verify(home, *arguments)
        assert done.returncode == 1, arguments
        assert re.fullmatch(r"\S+Z error memory-tracker: failed: \d+ problems found\n", done.stderr)
        first, *rest = done.stdout.splitlines()
        assert first == f"{home.store}: not sound"
        assert rest[0].startswith("  problem: ")
        assert all(re.match(r"  |host-\d+: |\d+ hosts?, ", text) for text in rest)
    done = verify(home, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["faults"]
    assert found["problems"] >= len(found["faults"])


def test_what_damage_leaves_is_read(home):
    """The records before a broken page are audited, and it is told that there are more."""
    home.import_csv(HEADER + "".join(line("a", 60 * i - 864000) for i in range(14000)))
    damage(home, 1)
    done = verify(home)
    assert done.returncode == 1
    told = re.search(r"^a: (\d+) records from .*\n  problem: damage hides further records$",
                     done.stdout, re.MULTILINE)
    assert told, done.stdout
    assert 0 < int(told[1]) < 14000
    [host] = json.loads(verify(home, "--json").stdout)["hosts"]
    assert host["is_complete"] is False
