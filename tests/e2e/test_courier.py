"""Where the store is a server's: the outbox first, then memory-courier delivers it, each record once."""

import fcntl
import json
import os
import re
import shutil
import signal
import struct
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import (Proxy, WholeProc, assert_sound, clean_environment, connect, mongodb_uri,
                     not_in_this_build, program_path, sanitizer, scaled, wait_until)
from support.frozen import unshare
from support.proxy import black_hole, cut_after_write, fail_with, slow

T = 1647033600  # 2022-03-11T21:20:00Z
SINCE = "2022-03-11T21:20:00Z"

# for runs that find a server that says nothing: they end after two seconds; a good server may need more
QUICK = ("--interval", "2", "--host", "h")


def messages(stderr):
    """Log lines without their time: "warning memory-courier: ..."."""
    return [line.split(" ", 1)[1] for line in stderr.splitlines()]


def sample(home, minute, *args, interval=60, **options):
    """The sampler at that minute, which has to end well; what it and the courier said."""
    done = home.run("memory-sampler", "--interval", interval, "--host", "h", *args,
                    clock=home.clock(T + 60 * minute), **options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return messages(done.stderr)


def only(lines):
    (line,) = lines
    return line


def waiting(home):
    with connect(home.spool) as connection:
        return [row[0] for row in connection.execute("SELECT timestamp FROM waiting ORDER BY id")]


def spool(home, *args):
    return home.run("memory-tracker", "spool", *args)


def multiply(home, count):
    """Records of count minutes more wait behind the one that waits already."""
    with connect(home.spool) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(waiting)")]
        rest = ",".join(name for name in columns if name not in ("id", "timestamp", "uptime_s"))
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            f"INSERT INTO waiting(timestamp, uptime_s, {rest}) "
            f"SELECT timestamp + 60 * i, uptime_s + 60 * i, {rest} FROM n, waiting ORDER BY i",
            (count,))
        connection.commit()


@pytest.fixture
def proxied(mongodb_home, ferret):
    """The Home of a store behind a Proxy, which is its .proxy."""
    with Proxy(ferret.port) as proxy:
        mongodb_home.proxy = proxy
        mongodb_home.store = mongodb_uri(proxy.port, mongodb_home.database)
        yield mongodb_home


@pytest.fixture
def timestamps(ferret):
    """timestamps(home): what the server has, in order."""
    return lambda home: [doc["_id"]["t"] for doc in ferret.documents(home.database)]


def test_a_minute_goes_to_the_server_and_nothing_is_said(mongodb_home, timestamps):
    assert sample(mongodb_home, 0) == []
    assert sample(mongodb_home, 1) == []
    assert timestamps(mongodb_home) == [T, T + 60]
    assert waiting(mongodb_home) == []
    debug = sample(mongodb_home, 2, "--log-level", "debug")
    assert debug[-1] == f"debug memory-courier: outbox {mongodb_home.spool}: 1 delivered"
    assert_sound(mongodb_home.spool)


def test_an_outage_is_told_each_minute_and_delivered_in_order(proxied, timestamps, ferret):
    assert sample(proxied, 0) == []
    proxied.proxy.refuse()
    for minute in range(1, 6):
        line = only(sample(proxied, minute))
        assert line.startswith("warning memory-courier: store unavailable: "), line
        assert line.endswith(
            f"; outbox {proxied.spool}: {minute} waiting since 2022-03-11T21:21:00Z"), line
    assert waiting(proxied) == [T + 60 * minute for minute in range(1, 6)]
    proxied.proxy.listen()
    assert only(sample(proxied, 6)) == (
        f"info memory-courier: outbox {proxied.spool}: 6 delivered")
    assert timestamps(proxied) == [T + 60 * minute for minute in range(7)]
    assert waiting(proxied) == []
    assert sample(proxied, 7) == []


def test_a_long_outage_is_delivered_in_batches(proxied, timestamps):
    proxied.proxy.refuse()
    sample(proxied, 0)
    multiply(proxied, 1499)
    proxied.proxy.listen()
    done = proxied.run("memory-courier", "--interval", "60")
    assert done.returncode == 0
    assert only(messages(done.stderr)) == (
        f"info memory-courier: outbox {proxied.spool}: 1500 delivered")
    assert timestamps(proxied) == [T + 60 * minute for minute in range(1500)]
    assert proxied.proxy.seen.count("insert") < 20


@pytest.mark.parametrize("act", [black_hole, cut_after_write])
def test_an_answer_that_never_comes_is_no_loss_and_no_double(proxied, timestamps, act):
    proxied.proxy.on("insert", act=act)
    for minute in range(2):
        line = only(sample(proxied, minute, interval=2))
        assert re.match(r"warning memory-courier: (store unavailable|deadline passed): ", line), line
        assert line.endswith(f"; outbox {proxied.spool}: {minute + 1} waiting since {SINCE}")
    proxied.proxy.clear()
    assert only(sample(proxied, 2)) == (
        f"info memory-courier: outbox {proxied.spool}: 3 delivered")
    assert timestamps(proxied) == [T, T + 60, T + 120]


def start_courier(home, *args):
    return subprocess.Popen(
        [program_path("memory-courier"), *args], env=clean_environment(home.environment),
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_a_courier_that_is_killed_in_mid_batch(proxied, timestamps):
    proxied.proxy.refuse()
    sample(proxied, 0)
    multiply(proxied, 99)
    proxied.proxy.listen()
    # the first batch is stored, and of the second nobody hears
    stuck = proxied.proxy.on("insert", act=black_hole, after=1)
    process = start_courier(proxied)
    wait_until(lambda: stuck.hits, what="the courier to send its second batch")
    process.kill()
    process.communicate(timeout=scaled(60))
    assert len(waiting(proxied)) == 50
    proxied.proxy.clear()
    done = proxied.run("memory-courier")
    assert "50 delivered" in only(messages(done.stderr))
    assert timestamps(proxied) == [T + 60 * minute for minute in range(100)]


def test_sigterm_ends_it_after_the_batch_in_hand(proxied, timestamps):
    proxied.proxy.refuse()
    sample(proxied, 0)
    multiply(proxied, 199)
    proxied.proxy.listen()
    rule = proxied.proxy.on("insert", act=slow(1))
    process = start_courier(proxied)
    wait_until(lambda: rule.hits, what="the courier to send its first batch")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=scaled(60))
    assert process.returncode == 0
    assert only(messages(errors)) == (
        f"warning memory-courier: cancelled: interrupted; outbox {proxied.spool}: "
        "150 waiting since 2022-03-11T22:10:00Z")
    assert timestamps(proxied) == [T + 60 * minute for minute in range(50)]


def test_what_an_operator_has_to_do_is_an_error_and_nothing_is_set_aside(proxied, timestamps):
    proxied.proxy.on("insert", act=fail_with(13, "Unauthorized", "not authorized on it"))
    for minute in range(2):
        line = only(sample(proxied, minute))
        assert line.startswith("error memory-courier: permission denied: "), line
        assert line.endswith(f"; outbox {proxied.spool}: {minute + 1} waiting since {SINCE}"), line
    assert json.loads(spool(proxied, "--json").stdout)["set_aside"] == 0
    proxied.proxy.clear()
    assert "3 delivered" in only(sample(proxied, 2))
    assert timestamps(proxied) == [T, T + 60, T + 120]


def test_a_record_that_is_refused_for_good_blocks_no_other(proxied, timestamps):
    proxied.proxy.refuse()
    for minute in range(3):
        sample(proxied, minute)
    with connect(proxied.spool) as connection:
        connection.execute("UPDATE waiting SET timestamp = -5 WHERE timestamp = ?", (T + 60,))
    proxied.proxy.listen()
    lines = sample(proxied, 3)
    assert len(lines) == 3
    assert lines[0].startswith("warning memory-courier: second -5 of host h is refused by the store "
                               "for good and set aside: timestamp -5: must be")
    assert lines[1].endswith(": 1 set aside; memory-tracker spool rejected shows them")
    assert lines[2].endswith(": 3 delivered")
    assert timestamps(proxied) == [T, T + 120, T + 180]
    assert sample(proxied, 4) == []
    (reject,) = json.loads(spool(proxied, "rejected", "--json").stdout)
    assert (reject["host"], reject["timestamp"]) == ("h", -5)
    assert "timestamp -5: must be" in reject["reason"]


def test_a_full_outbox_loses_the_newest_and_says_so(proxied, timestamps):
    limit = ("--spool-limit", "3")
    proxied.proxy.refuse()
    for minute in range(3):
        sample(proxied, minute, *limit)
    for minute in (3, 4):
        done = proxied.run("memory-sampler", *QUICK, *limit, clock=proxied.clock(T + 60 * minute))
        assert done.returncode == 3
        first, last = messages(done.stderr)
        # it was tried to make room first
        assert first.startswith("warning memory-courier: ") and "3 waiting since" in first
        assert last.startswith(
            "error memory-sampler: outbox full: the outbox does not take the record, which is lost: "
            f"outbox {proxied.spool}: holds 3 records, as many as it may; "
            f"dropped so far: {minute - 2}; "), last
    assert waiting(proxied) == [T, T + 60, T + 120]
    proxied.proxy.listen()
    # room is made before the record of this minute comes, so that it is not lost
    assert "3 delivered" in only(sample(proxied, 5, *limit))
    assert waiting(proxied) == [T + 300]
    assert "2 delivered" in only(sample(proxied, 6, *limit))
    assert timestamps(proxied) == [T, T + 60, T + 120, T + 300, T + 360]
    assert json.loads(spool(proxied, "--json").stdout)["dropped"] == 2


def test_a_setting_without_effect_is_told_once_a_minute(home):
    said = sample(home, 0, env={"MEMORY_TRACKER_STORE": "http://127.0.0.1:9/",
                                "DOCDB_HOST": "elsewhere"})
    assert len(said) == 2
    assert said[0] == ("warning memory-sampler: both STORE (MEMORY_TRACKER_STORE) and DOCDB_HOST "
                       "(DOCDB_HOST) are given: STORE wins")
    assert said[1].startswith("warning memory-courier: store unavailable: ")


@contextmanager
def lock_held(home):
    """Another courier is at work."""
    with open(f"{home.spool}.courier", "w", encoding="ascii") as file:
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock)
        yield


def test_two_couriers_never_work_at_once(mongodb_home, timestamps):
    home = mongodb_home
    sample(home, 0)
    with lock_held(home):
        # the record is safe, and the other one is not waited for
        lines = sample(home, 1, "--log-level", "debug")
        assert lines[-1] == (
            f"debug memory-courier: outbox {home.spool}: another process delivers it now")
        assert sample(home, 2) == []
        assert waiting(home) == [T + 60, T + 120]
        assert json.loads(spool(home, "--json").stdout)["courier"] is True
        done = spool(home, "flush")
        assert done.returncode == 3
        assert "another process delivers it now" in only(messages(done.stderr))
        assert timestamps(home) == [T]
    assert json.loads(spool(home, "--json").stdout)["courier"] is False
    assert "3 delivered" in only(sample(home, 3))
    assert timestamps(home) == [T, T + 60, T + 120, T + 180]


def test_couriers_at_once_deliver_each_record_once(proxied, timestamps):
    proxied.proxy.refuse()
    sample(proxied, 0)
    multiply(proxied, 399)
    proxied.proxy.listen()
    running = [start_courier(proxied) for _ in range(4)]
    lines = []
    for process in running:
        _, errors = process.communicate(timeout=scaled(60))
        assert process.returncode == 0, errors
        lines += messages(errors)
    # a late one may have found nothing at all
    assert only(lines).endswith(": 400 delivered")
    assert timestamps(proxied) == [T + 60 * minute for minute in range(400)]


def test_a_changed_store_is_told_and_not_guessed(mongodb_home, ferret, timestamps):
    home = mongodb_home
    with Proxy(ferret.port) as proxy:
        former = f"mongodb://127.0.0.1:{proxy.port}/former"
    for minute in range(2):
        sample(home, minute, "--store", former)
    line = only(sample(home, 2))
    assert line == (
        f"warning memory-courier: outbox {home.spool}: 2 waiting for {former}, not for the store in "
        f"use; `memory-tracker spool flush --from '{former}'` sends them to it")
    assert timestamps(home) == [T + 120]
    done = spool(home, "flush")
    assert done.returncode == 1
    assert f"2 waiting for {former}" in done.stderr
    # what the line says can be typed
    typed = re.search("`(.*)`", line)[1]
    path = f"{program_path('x').parent}:{os.environ['PATH']}"
    done = subprocess.run(["sh", "-c", typed], env={**clean_environment(home.environment), "PATH": path},
                          capture_output=True, text=True, check=False, timeout=scaled(60))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("2 delivered to mongodb://127.0.0.1:")
    assert timestamps(home) == [T, T + 60, T + 120]
    assert sample(home, 3) == []


def test_flush_of_a_store_that_is_away_moves_nothing(mongodb_home, ferret):
    home = mongodb_home
    with Proxy(ferret.port) as proxy:
        former = f"mongodb://127.0.0.1:{proxy.port}/former"
        away = f"mongodb://127.0.0.1:{proxy.port}/away?serverSelectionTimeoutMS=500"
    sample(home, 0, "--store", former)
    done = spool(home, "flush", "--from", former, "--store", away)
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    (place,) = json.loads(spool(home, "--json").stdout)["destinations"]
    assert (place["destination"], place["waiting"]) == (former, 1)


def test_a_server_that_says_nothing_does_not_hold_the_minute(proxied):
    proxied.proxy.on("*", act=black_hole)
    process = subprocess.Popen(
        [program_path("memory-sampler"), *QUICK], env=clean_environment(proxied.environment),
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    # two seconds is its budget; ten would be the driver's patience for one call
    _, errors = process.communicate(timeout=scaled(9))
    assert process.returncode == 0
    assert only(messages(errors)).startswith("warning memory-courier: "), errors


SECRET = "s3cr3t-pa55"


def test_no_secret_leaves_its_file(proxied):
    uri = mongodb_uri(proxied.proxy.port, proxied.database, credentials=f"{SECRET}u:{SECRET}")
    (proxied.path / "store").write_text(uri + "\n")
    proxied.proxy.on("*", act=black_hole)
    environment = clean_environment({"MEMORY_TRACKER_SPOOL": proxied.spool})
    typed = [*QUICK, "--store-file", str(proxied.path / "store"), "--log-level", "debug"]
    process = subprocess.Popen([program_path("memory-sampler"), *typed], env=environment,
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    command_line = Path(f"/proc/{process.pid}/cmdline")
    wait_until(lambda: command_line.read_bytes().startswith(b"memory-courier\0"),
               what="the sampler to become the courier")
    assert command_line.read_bytes().decode().split("\0")[:-1] == ["memory-courier", *typed]
    _, errors = process.communicate(timeout=scaled(60))
    assert process.returncode == 0
    assert "1 waiting since" in errors
    assert SECRET not in errors
    written = [path for path in proxied.path.iterdir() if path.name.startswith("spool.db")]
    assert len(written) >= 2
    for path in written:
        assert SECRET.encode() not in path.read_bytes(), path
    (place,) = json.loads(home_spool(proxied, environment))["destinations"]
    assert place["destination"] == f"mongodb://127.0.0.1:{proxied.proxy.port}/{proxied.database}"


def home_spool(home, environment):
    return subprocess.run(
        [program_path("memory-tracker"), "spool", "--json", "--store-file", home.path / "store"],
        env=environment, capture_output=True, text=True, check=True, timeout=scaled(60)).stdout


def run_copy(home, *names):
    """Runs a sampler that has only these programs beside it."""
    place = home.path / "bin"
    place.mkdir(exist_ok=True)
    for name in names:
        shutil.copy(program_path(name), place)
    return subprocess.run(
        [place / "memory-sampler", *QUICK], capture_output=True, text=True, check=False,
        # elsewhere, and with no help from PATH
        env={**clean_environment(home.environment), "PATH": str(program_path("x").parent)},
        cwd=program_path("x").parent, timeout=scaled(60))


def test_the_courier_inherits_no_open_file(mongodb_home):
    place = mongodb_home.path / "bin"
    place.mkdir()
    (place / "memory-courier").write_text("#!/bin/sh\nexec /bin/ls -l /proc/self/fd >&2\n")
    (place / "memory-courier").chmod(0o755)
    done = run_copy(mongodb_home, "memory-sampler")
    assert done.returncode == 0
    opened = dict(re.findall(r" (\d+) -> (.*)$", done.stderr, re.MULTILINE))
    # what ls itself has open is the directory
    assert sorted(opened) == ["0", "1", "2", "3"] and opened["3"].startswith("/proc/")
    assert len(waiting(mongodb_home)) == 1


def test_without_the_courier_the_record_is_safe(mongodb_home):
    done = run_copy(mongodb_home, "memory-sampler")
    assert done.returncode == 0
    assert only(messages(done.stderr)) == (
        f"error memory-sampler: cannot execute {mongodb_home.path}/bin/memory-courier: No such file "
        "or directory; install it beside memory-sampler; the record waits in the outbox")
    assert len(waiting(mongodb_home)) == 1


def test_the_working_directory_is_no_place_for_a_courier(mongodb_home, tmp_path):
    """Also where /proc does not tell what lies beside the sampler."""
    if sanitizer():
        not_in_this_build("a sanitized program needs /proc/self")
    proc = WholeProc(tmp_path / "proc")
    proc.copy("/proc/meminfo", "/proc/vmstat")
    (tmp_path / "memory-courier").write_text("#!/bin/sh\necho whoever >&2\n")
    (tmp_path / "memory-courier").chmod(0o755)
    done = proc.run("/bin/sh", "-c", f"cd {tmp_path} && exec {program_path('memory-sampler')}",
                    env=mongodb_home.environment)
    assert done.returncode == 0, done
    assert only(messages(done.stderr)) == (
        "error memory-sampler: cannot execute memory-courier: No such file or directory; install "
        "it beside memory-sampler; the record waits in the outbox")
    assert len(waiting(mongodb_home)) == 1


def test_without_the_module_the_record_is_safe(mongodb_home):
    done = run_copy(mongodb_home, "memory-sampler", "memory-courier")
    assert done.returncode == 0
    line = only(messages(done.stderr))
    assert line.startswith("error memory-courier: bad configuration: the mongodb store is a module of "
                           "its own, which is not installed: ")
    assert f"; outbox {mongodb_home.spool}: 1 waiting since " in line
    assert len(waiting(mongodb_home)) == 1


def test_a_read_only_outbox_is_an_error(mongodb_home):
    home = mongodb_home
    if unshare() is None:
        pytest.skip("no private mount namespace to be had (needs root or user namespaces)")
    place = home.path / "readonly"
    place.mkdir()
    home.spool = place / "spool.db"
    sample(home, 0)
    before = home.spool.read_bytes()
    for program, status, words in [
            ("memory-sampler", 3, "the outbox does not take the record, which is lost"),
            ("memory-courier", 3, "spool.db.courier")]:
        done = subprocess.run(
            [*unshare(), "sh", "-c",
             f'mount --bind {place} {place} && mount -o remount,bind,ro {place} && exec "$@"', "sh",
             program_path(program), *QUICK],
            env=clean_environment(home.environment), capture_output=True, text=True, check=False,
            timeout=scaled(60))
        assert done.returncode == status, done.stderr
        line = only(messages(done.stderr))
        assert line.startswith(f"error {program}: store read-only: ") and words in line
    assert home.spool.read_bytes() == before


def test_a_broken_outbox_is_an_error(mongodb_home):
    mongodb_home.spool.write_text("no outbox " * 100)
    for program in ("memory-sampler", "memory-courier"):
        done = mongodb_home.run(program)
        assert done.returncode == 4
        line = only(messages(done.stderr))
        assert line.startswith(f"error {program}: not a database: ")
        assert str(mongodb_home.spool) in line


def test_the_courier_by_hand(home):
    done = home.run("memory-courier", "--log-level", "debug")
    assert done.returncode == 0
    assert only(messages(done.stderr)) == (
        f"debug memory-courier: outbox {home.spool}: there is none, nothing waits")
    assert not home.spool.exists() and not home.db.exists()
    # what waits for a local store it delivers as well
    home.db.write_text("this is no database " * 50)
    assert " 1 waiting" in only(sample(home, 0))
    home.db.unlink()
    done = home.run("memory-courier", "--log-level", "debug")
    assert (done.returncode, only(messages(done.stderr))) == (
        0, f"debug memory-courier: outbox {home.spool}: 1 delivered")
    assert [record["timestamp"] for record in home.records()] == [T]
    for arguments, text in [(["--print"], "unknown option --print"), (["x"], "unexpected argument 'x'")]:
        done = home.run("memory-courier", *arguments)
        assert done.returncode == 2
        assert text in only(messages(done.stderr))
