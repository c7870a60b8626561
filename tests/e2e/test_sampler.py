"""memory-sampler keeps each record: in the store, or in the outbox until the store takes it."""

import json
import os
import re
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from support import (FrozenProc, assert_sound, clean_environment, connect, not_in_this_build,
                     program_path, run, sanitizer, scaled, stored, wait_until)
from support.frozen import unshare

T = 1647033600  # 2022-03-11T21:20:00Z


def sample(home, *args, clock=None, **options):
    """A run that has to end well; what it said."""
    done = home.run("memory-sampler", *args, clock=clock, **options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr


def messages(stderr):
    """Log lines without their time."""
    lines = stderr.splitlines()
    for line in lines:
        assert re.match(r"\d{4,5}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \w+ memory-sampler: ", line), line
    return [line.split(" ", 1)[1].replace("memory-sampler: ", "", 1) for line in lines]


def only_message(stderr):
    lines = messages(stderr)
    assert len(lines) == 1, stderr
    return lines[0]


def timestamps(home):
    return [record["timestamp"] for record in stored(home.db)]


def break_store(home):
    """Puts a text file where the store should be; repair_store brings back what was there."""
    if home.db.exists():
        home.db.rename(home.path / "kept.db")
    home.db.write_text("this is no database, and longer than a header of one hundred bytes; " * 10)


def repair_store(home):
    home.db.unlink()
    if (home.path / "kept.db").exists():
        (home.path / "kept.db").rename(home.db)


def test_a_run_stores_one_record_and_says_nothing(home):
    before = int(time.time())
    assert sample(home) == ""
    after = int(time.time())
    (record,) = stored(home.db)
    assert record["host"] == socket.gethostname()
    assert before <= record["timestamp"] <= after
    assert record["interval_s"] == 60
    assert record["mem_total"] > record["mem_available"] > 0
    assert record["uptime_s"] > 0
    assert not home.spool.exists()
    assert sorted(path.name for path in home.path.iterdir() if path.is_file()) == [
        "memory.db", *(["memory.db-journal"] if (home.path / "memory.db-journal").exists() else [])]
    # for the owner and the group, and for nobody else
    assert home.db.stat().st_mode & 0o777 == 0o640
    assert_sound(home.db)


def test_what_is_stored_is_what_print_shows(home, tmp_path):
    proc = FrozenProc(tmp_path / "proc")
    proc.copy("/proc/meminfo", "/proc/vmstat", "/proc/pressure/memory", "/proc/uptime")
    clock = home.clock(T)
    shown = json.loads(proc.run("memory-sampler", "--print", clock=clock).stdout)
    done = proc.run("memory-sampler", env=home.environment, clock=clock)
    assert (done.returncode, done.stderr) == (0, "")
    (record,) = stored(home.db)
    assert shown.pop("timestamp") == record["timestamp"] == T
    assert shown.pop("host") == record["host"]
    shown.pop("boot_id")
    assert shown == {name: record[name] for name in shown}
    assert sum(value is not None for value in shown.values()) > 25


@pytest.fixture
def at_uptime(home, tmp_path):
    """at_uptime(seconds, clock) runs a sampler to which the kernel says that uptime."""
    proc = FrozenProc(tmp_path / "proc")

    def run_at(seconds, clock):
        proc["/proc/uptime"] = f"{seconds}.00 1.00\n"
        done = proc.run("memory-sampler", "--host", "h", env=home.environment, clock=clock)
        assert done.returncode == 0, done.stderr
        return done.stderr

    return run_at


def test_a_second_run_in_the_same_second_is_a_repeat(home, at_uptime):
    clock = home.clock(T)
    assert at_uptime(100, clock) == ""
    assert only_message(at_uptime(100, clock)) == f"info second {T} of host h is recorded already"
    assert timestamps(home) == [T]


def test_a_clock_that_stands_still_loses_nothing(home, at_uptime):
    clock = home.clock(T)
    assert at_uptime(100, clock) == ""
    for minute in (1, 2, 3):
        assert only_message(at_uptime(100 + 60 * minute, clock)) == (
            f"warning second {T} of host h is taken, the record is kept at {T + minute}: "
            "the clock stepped back, or two machines have this name")
    assert [(r["timestamp"], r["uptime_s"]) for r in stored(home.db)] == [
        (T, 100), (T + 1, 160), (T + 2, 220), (T + 3, 280)]
    # also a moved record is recognised when it comes again
    assert "is recorded already" in only_message(at_uptime(220, clock))
    assert len(timestamps(home)) == 4


def test_a_clock_that_steps_back_an_hour_loses_nothing(home, at_uptime):
    clock = home.clock(T)
    uptime = 10_000
    for minute in range(3):
        clock.set(T + 60 * minute)
        assert at_uptime(uptime + 60 * minute, clock) == ""
    clock.set(T - 3600)
    assert at_uptime(uptime + 180, clock) == ""
    # an hour later the same seconds come again
    for minute in range(3):
        clock.set(T + 60 * minute)
        assert "is taken, the record is kept at" in only_message(
            at_uptime(uptime + 3600 + 60 * minute, clock))
    assert sorted(r["uptime_s"] for r in stored(home.db)) == [
        10_000, 10_060, 10_120, 10_180, 13_600, 13_660, 13_720]
    assert timestamps(home) == [T - 3600, T, T + 1, T + 60, T + 61, T + 120, T + 121]


def test_samplers_at_once_lose_nothing(home, tmp_path):
    clock = home.clock(T)
    environment = {**clean_environment(home.environment), **clock.environment}
    running = []
    for number in range(8):
        proc = FrozenProc(tmp_path / f"proc{number}")
        proc["/proc/uptime"] = f"{1000 + number}.00 1.00\n"
        running.append(subprocess.Popen(
            proc.command(program_path("memory-sampler", clock), "--host", "h"), env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    for process in running:
        _, errors = process.communicate(timeout=scaled(60))
        assert process.returncode == 0, errors
    assert timestamps(home) == list(range(T, T + 8))
    assert {r["uptime_s"] for r in stored(home.db)} == set(range(1000, 1008))
    assert_sound(home.db)


def start_sampler(home, clock, *args):
    return subprocess.Popen(
        [program_path("memory-sampler", clock), *map(str, args)],
        env={**clean_environment(home.environment), **clock.environment},
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def has_open(process, path):
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            if os.readlink(descriptor) == str(path):
                return True
        except FileNotFoundError:
            continue  # closed since it was listed
    return False


def test_a_locked_store_is_waited_for(home):
    sample(home, clock=home.clock(T))
    with connect(home.db) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        clock = home.clock(T + 60)
        process = start_sampler(home, clock)
        wait_until(lambda: has_open(process, home.db), what="the sampler to open the store")
        connection.execute("ROLLBACK")
        _, errors = process.communicate(timeout=scaled(60))
    assert (process.returncode, errors) == (0, "")
    assert timestamps(home) == [T, T + 60]
    assert not home.spool.exists()


def test_a_store_that_stays_locked_sends_the_record_to_the_outbox(home):
    clock = home.clock(T)
    sample(home, clock=clock)
    clock.set(T + 60)
    no_spool = home.path / "directory"
    no_spool.mkdir()
    begin = time.monotonic()
    with connect(home.db) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        kept = start_sampler(home, clock)
        lost = start_sampler(home, clock, "--spool", no_spool)
        message = only_message(kept.communicate(timeout=scaled(60))[1])
        loss = only_message(lost.communicate(timeout=scaled(60))[1])
        connection.execute("ROLLBACK")
    # long enough for any honest writer, and well before the next run
    assert 19 < time.monotonic() - begin < scaled(40)
    assert kept.returncode == 0
    assert message.startswith("warning store locked: ")
    assert message.endswith(f"; the record waits in the outbox {home.spool}, 1 waiting")
    assert lost.returncode == 3
    assert loss.startswith("error store locked: ")
    assert "nor does the outbox take the record, which is lost" in loss and str(no_spool) in loss
    assert timestamps(home) == [T]
    clock.set(T + 120)
    assert only_message(sample(home, clock=clock)) == (
        f"info outbox {home.spool}: 1 delivered, 0 waiting")
    assert timestamps(home) == [T, T + 60, T + 120]


def test_a_broken_store_fills_the_outbox_until_it_is_repaired(home):
    clock = home.clock(T)
    sample(home, clock=clock)
    break_store(home)
    broken = home.db.read_bytes()
    for minute in range(1, 6):
        clock.set(T + 60 * minute)
        message = only_message(sample(home, clock=clock))
        assert message.startswith("warning not a database: ")
        assert str(home.db) in message
        assert message.endswith(f"; the record waits in the outbox {home.spool}, {minute} waiting")
    assert home.db.read_bytes() == broken
    repair_store(home)
    clock.set(T + 360)
    assert only_message(sample(home, clock=clock)) == (
        f"info outbox {home.spool}: 5 delivered, 0 waiting")
    assert timestamps(home) == [T + 60 * minute for minute in range(7)]
    clock.set(T + 420)
    assert sample(home, clock=clock) == ""
    assert_sound(home.db)
    assert_sound(home.spool)


def test_a_record_from_the_outbox_is_the_record_that_was_sampled(home, tmp_path):
    proc = FrozenProc(tmp_path / "proc")
    proc.copy("/proc/meminfo", "/proc/vmstat", "/proc/pressure/memory", "/proc/uptime")
    clock = home.clock(T)
    shown = json.loads(proc.run("memory-sampler", "--print", clock=clock).stdout)
    break_store(home)
    done = proc.run("memory-sampler", env=home.environment, clock=clock)
    assert done.returncode == 0
    repair_store(home)
    clock.set(T + 60)
    sample(home, clock=clock)
    record = stored(home.db)[0]
    del shown["boot_id"]
    assert shown == {name: record[name] for name in shown}


def newer_schema(home):
    with connect(home.db) as connection:
        connection.execute("PRAGMA user_version = 1000")


def foreign(home):
    home.db.unlink()
    with connect(home.db) as connection:
        connection.execute("CREATE TABLE somebody_elses (data)")


def corrupt(home):
    size = home.db.stat().st_size
    with home.db.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xA5" * (size - 4096))


def directory(home):
    home.db.unlink()
    home.db.mkdir()


@pytest.mark.parametrize("damage, cause", [
    (newer_schema, "newer schema: "),
    (foreign, "not a database: "),
    (corrupt, "store corrupt: "),
    (directory, None),
])
def test_whatever_is_wrong_with_the_store_the_record_is_kept(home, damage, cause):
    clock = home.clock(T)
    sample(home, clock=clock)
    damage(home)
    before = home.db.read_bytes() if home.db.is_file() else None
    clock.set(T + 60)
    message = only_message(sample(home, clock=clock))
    assert "; the record waits in the outbox" in message
    assert cause is None or message.startswith(f"warning {cause}")
    if before is not None:
        assert home.db.read_bytes() == before
    # to a new store goes what waited for the old one
    shutil.rmtree(home.db) if home.db.is_dir() else home.db.unlink()
    clock.set(T + 120)
    sample(home, clock=clock)
    assert timestamps(home) == [T + 60, T + 120]


def test_a_missing_directory(home):
    store = home.path / "not" / "there" / "memory.db"
    message = only_message(sample(home, "--store", f"sqlite:{store}"))
    assert message.startswith("warning store missing: ")
    assert str(store) in message and message.endswith(" 1 waiting")


def in_namespace(script, *argv, env):
    if unshare() is None:
        pytest.skip("no private mount namespace to be had (needs root or user namespaces)")
    return subprocess.run([*unshare(), "sh", "-c", f'{script} && exec "$@"', "sh",
                           *map(str, argv)], env=clean_environment(env), capture_output=True,
                          text=True, timeout=scaled(60), check=False)


def test_a_read_only_mount(home):
    place = home.path / "readonly"
    place.mkdir()
    environment = {**home.environment, "MEMORY_TRACKER_STORE": f"sqlite:{place}/memory.db"}
    sample(home, env=environment, clock=home.clock(T))
    before = (place / "memory.db").read_bytes()
    done = in_namespace(f"mount --bind {place} {place} && mount -o remount,bind,ro {place}",
                        program_path("memory-sampler"), env=environment)
    assert done.returncode == 0, done.stderr
    message = only_message(done.stderr)
    assert message.startswith("warning store read-only: ")
    assert message.endswith(" 1 waiting")
    assert (place / "memory.db").read_bytes() == before


def test_a_full_disk(home):
    place = home.path / "small"
    place.mkdir()
    environment = {**home.environment, "MEMORY_TRACKER_STORE": f"sqlite:{place}/memory.db"}
    done = in_namespace(f"mount -t tmpfs -o size=16k none {place}", program_path("memory-sampler"),
                        env=environment)
    assert done.returncode == 0, done.stderr
    message = only_message(done.stderr)
    assert message.startswith("warning disk full: ")
    assert message.endswith(" 1 waiting")


def test_a_file_size_limit_does_no_damage(home):
    clock = home.clock(T)
    sample(home, clock=clock)
    clock.set(T + 60)
    done = subprocess.run(
        [program_path("memory-sampler", clock)], capture_output=True, text=True, check=False,
        # a build that counts coverage cannot write its counts then, either, and says so
        env={**clean_environment(home.environment), **clock.environment,
             "GCOV_ERROR_FILE": os.devnull},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
    assert done.returncode in (1, 3), done.stderr
    assert "nor does the outbox take the record, which is lost" in only_message(done.stderr)
    assert_sound(home.db)
    assert timestamps(home) == [T]


def test_an_outbox_that_is_full_refuses_and_says_so(home):
    clock = home.clock(T)
    break_store(home)
    for minute in range(2):
        clock.set(T + 60 * minute)
        sample(home, "--spool-limit", "2", clock=clock)
    for minute in (2, 3):
        clock.set(T + 60 * minute)
        done = home.run("memory-sampler", "--spool-limit", "2", clock=clock)
        assert done.returncode == 4  # what the store's error has: not a database
        message = only_message(done.stderr)
        assert message.startswith("error not a database: ")
        assert "nor does the outbox take the record, which is lost" in message
        assert f"dropped so far: {minute - 1}; " in message
        assert str(home.db) in message and str(home.spool) in message
    with connect(home.spool) as connection:
        assert connection.execute("SELECT dropped FROM counter").fetchall() == [(2,)]
    repair_store(home)
    clock.set(T + 600)
    assert ": 2 delivered, 0 waiting" in only_message(sample(home, clock=clock))
    assert timestamps(home) == [T, T + 60, T + 600]


def test_neither_store_nor_outbox(home):
    break_store(home)
    home.spool.mkdir()
    done = home.run("memory-sampler")
    assert done.returncode == 4
    message = only_message(done.stderr)
    assert message.startswith("error not a database: ")
    assert str(home.db) in message and str(home.spool) in message


def test_a_broken_outbox_does_not_stop_the_store(home):
    clock = home.clock(T)
    home.spool.write_text("no outbox " * 100)
    message = only_message(sample(home, clock=clock))
    assert message.startswith("warning not a database: ") and str(home.spool) in message
    assert timestamps(home) == [T]


def test_records_for_another_store_are_told_and_kept(home):
    clock = home.clock(T)
    break_store(home)
    sample(home, clock=clock)
    other = f"sqlite:{home.path}/other.db"
    clock.set(T + 60)
    assert only_message(sample(home, "--store", other, clock=clock)) == (
        f"warning outbox {home.spool}: 1 waiting for {home.store}, not for the store in use; "
        f"`memory-tracker spool flush --from '{home.store}'` sends them to it")
    repair_store(home)
    clock.set(T + 120)
    assert ": 1 delivered, 0 waiting" in only_message(sample(home, clock=clock))
    assert timestamps(home) == [T, T + 120]
    assert [r["timestamp"] for r in stored(home.path / "other.db")] == [T + 60]


def test_a_relative_store_is_another_one_in_another_directory(home):
    clock = home.clock(T)
    here, there = home.path / "here", home.path / "there"
    for directory in (here, there):
        directory.mkdir()
    (here / "m.db").write_text("this is no database " * 50)
    store = ("--store", "sqlite:m.db")
    assert " 1 waiting" in only_message(home.run("memory-sampler", *store, cwd=here, clock=clock).stderr)
    clock.set(T + 60)
    done = home.run("memory-sampler", *store, cwd=there, clock=clock)
    assert f"1 waiting for sqlite:{here}/m.db, not" in only_message(done.stderr)
    (here / "m.db").unlink()
    clock.set(T + 120)
    done = home.run("memory-sampler", "--store", "sqlite:./m.db", cwd=here, clock=clock)
    assert "1 delivered, 0 waiting" in only_message(done.stderr)
    assert [r["timestamp"] for r in stored(here / "m.db")] == [T, T + 120]
    assert [r["timestamp"] for r in stored(there / "m.db")] == [T + 60]


def test_a_record_that_no_store_would_take_is_told_once_and_set_aside(home):
    clock = home.clock(T)
    break_store(home)
    for minute in range(3):
        clock.set(T + 60 * minute)
        sample(home, clock=clock)
    with connect(home.spool) as connection:
        connection.execute("UPDATE waiting SET timestamp = -5 WHERE timestamp = ?", (T + 60,))
    repair_store(home)
    clock.set(T + 180)
    lines = messages(sample(home, clock=clock))
    assert lines == [
        f"info outbox {home.spool}: 2 delivered, 0 waiting",
        f"warning outbox {home.spool}: 1 refused by the store for good and set aside"]
    assert timestamps(home) == [T, T + 120, T + 180]
    with connect(home.spool) as connection:
        ((timestamp, reason),) = connection.execute("SELECT timestamp, reason FROM rejected")
    assert timestamp == -5 and "timestamp -5: must be" in reason
    clock.set(T + 240)
    assert sample(home, clock=clock) == ""


def test_the_outbox_is_delivered_in_order_beside_other_samplers(home):
    clock = home.clock(T)
    break_store(home)
    for minute in range(40):
        clock.set(T + 60 * minute)
        sample(home, clock=clock)
    repair_store(home)
    clock.set(T + 3600)
    running = [start_sampler(home, clock, "--host", f"h{number}") for number in range(3)]
    for process in running:
        _, errors = process.communicate(timeout=scaled(60))
        assert process.returncode == 0, errors
    assert [r["timestamp"] for r in stored(home.db) if not r["host"].startswith("h")
            or r["host"] == socket.gethostname()] == [T + 60 * minute for minute in range(40)]
    assert timestamps(home)[40:] == [T + 3600] * 3


def test_a_clock_beyond_reason_is_a_failure(home):
    done = home.run("memory-sampler", clock=home.clock(253402300800))
    assert done.returncode == 1
    assert "timestamp 253402300800: must be from 0 to 253402300799" in only_message(done.stderr)
    assert not home.db.exists() and not home.spool.exists()


def test_it_needs_no_privileges():
    if os.geteuid() == 0 and sanitizer():
        not_in_this_build("the sanitizer's libraries may not be readable for everybody")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        program = shutil.copy(program_path("memory-sampler"), place)
        options = {}
        if os.geteuid() == 0:
            os.chown(place, 65534, 65534)
            options = {"user": 65534, "group": 65534, "extra_groups": []}
        done = subprocess.run(
            [program, "--store", f"sqlite:{place}/memory.db", "--spool", place / "spool.db"],
            # a build that measures coverage writes its counts there, where this user may
            env=clean_environment({"GCOV_PREFIX": place}), capture_output=True, text=True,
            check=False, cwd=place, **options)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert len(stored(place / "memory.db")) == 1


def test_closed_standard_streams_do_no_damage(home):
    clock = home.clock(T)
    break_store(home)
    sample(home, clock=clock)
    repair_store(home)
    for minute in (1, 2):
        clock.set(T + 60 * minute)
        done = subprocess.run(
            ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", program_path("memory-sampler", clock),
             "--log-level", "debug"],
            env={**clean_environment(home.environment), **clock.environment}, check=False)
        assert done.returncode == 0
    assert_sound(home.db)
    assert timestamps(home) == [T, T + 60, T + 120]


def test_json_logs_and_log_file(home):
    break_store(home)
    log = home.path / "sampler.log"
    assert sample(home, "--log-format", "json", "--log-file", log) == ""
    (line,) = log.read_text().splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["program"]) == ("warning", "memory-sampler")
    assert "1 waiting" in entry["message"]
    assert log.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("arguments, environment, code, text", [
    (["--pint"], {}, 2, "unknown option --pint; did you mean --print?; see memory-sampler --help"),
    (["--print=yes"], {}, 2, "--print takes no value"),
    (["now"], {}, 2, "unexpected argument 'now'"),
    (["--interval", "0"], {}, 2, "--interval"),
    (["--host", "a b"], {}, 2, "a b"),
    ([], {"MEMORY_TRACKER_INTERVAL": "never"}, 4, "never"),
    ([], {"MEMORY_TRACKER_STOER": "x"}, 4, "did you mean MEMORY_TRACKER_STORE?"),
    ([], {"MEMORY_TRACKER_STORE": "ftp://nowhere"}, 4, "ftp://nowhere"),
    (["--config", "/nonexistent.conf"], {}, 4, "/nonexistent.conf"),
])
def test_wrong_use_stops_before_anything_is_written(home, arguments, environment, code, text):
    done = home.run("memory-sampler", *arguments, env=environment)
    assert done.returncode == code
    assert done.stdout == ""
    message = only_message(done.stderr)
    assert message.startswith("error ") and text in message
    assert not home.db.exists() and not home.spool.exists()


def test_help_and_version():
    shown = run("memory-sampler", "--help")
    assert shown.returncode == 0 and shown.stderr == ""
    for word in ("--print", "--store", "--spool", "--spool-limit", "--host", "--interval",
                 "--log-level", "Exit status", "Examples:"):
        assert word in shown.stdout
    version = run("memory-sampler", "--version")
    assert re.fullmatch(r"memory-sampler \d+\.\d+\.\d+\n", version.stdout)
