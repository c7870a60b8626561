"""HEALTH_FILE and memory-sampler --health-check: others see whether the sampler does its work."""

import os
import subprocess
import time

import pytest
from support import clean_environment, connect, program_path, scaled, stored

T = 1647033600  # 2022-03-11T21:20:00Z


@pytest.fixture
def health(home):
    """A Home whose sampler has a HEALTH_FILE, its .health."""
    home.health = home.path / "healthy"
    return home


def sample(home, *args, clock=None, env=None):
    """A run that has to end well; what it said."""
    done = home.run("memory-sampler", "--host", "h", *args, clock=clock,
                    env={"MEMORY_TRACKER_HEALTH_FILE": home.health, **(env or {})})
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr


def check(home, *args, clock=None, env=None):
    """(exit status, what it said without the log's stamp)"""
    done = home.run("memory-sampler", "--health-check", *args, clock=clock,
                    env={"MEMORY_TRACKER_HEALTH_FILE": home.health, **(env or {})})
    assert (done.stdout == "") != (done.stderr == ""), done
    assert (done.stdout + done.stderr).count("\n") == 1, done
    return done.returncode, done.stdout or done.stderr.split(" ", 1)[1]


def test_a_record_in_the_store_is_a_sign_of_life(health):
    before = int(time.time())
    assert sample(health) == ""
    seconds, place = health.health.read_text().splitlines()[0].split()
    assert place == "store"
    assert before <= int(seconds) <= time.time()
    assert health.health.stat().st_mode & 0o7777 == 0o644
    assert int(health.health.stat().st_mtime) in range(before, int(time.time()) + 1)
    status, said = check(health)
    assert (status, said) in [(0, f"last record {age} s ago\n") for age in range(60)]


def test_a_record_in_the_outbox_is_one_too(health):
    clock = health.clock(T)
    # the longer line first, so that the shorter one has to remove its rest
    health.db.mkdir()
    assert "the record waits in the outbox" in sample(health, clock=clock)
    assert health.health.read_text() == f"{T} outbox\n"
    health.db.rmdir()
    clock.set(T + 60)
    sample(health, clock=clock)
    assert health.health.read_text() == f"{T + 60} store\n"


def test_it_is_given_before_the_courier_runs(health):
    clock = health.clock(T)
    said = sample(health, "--store", "http://127.0.0.1:9/", clock=clock)
    assert "warning memory-courier: store unavailable: " in said
    assert health.health.read_text() == f"{T} outbox\n"


def test_a_record_that_is_lost_or_only_shown_is_none(health):
    health.db.mkdir()
    health.spool.mkdir()
    done = health.run("memory-sampler", "--health-file", health.health)
    assert done.returncode != 0
    assert health.run("memory-sampler", "--print", "--health-file", health.health).returncode == 0
    assert not health.health.exists()


@pytest.mark.parametrize("interval", [60, 300])
def test_what_is_too_old(health, interval):
    clock = health.clock(T)
    limit = 2 * interval + 30
    sample(health, clock=clock)
    for age in [0, 12, limit - 1]:
        clock.set(T + age)
        assert check(health, "--interval", interval, clock=clock) == (
            0, f"last record {age} s ago\n")
    for age in [limit, limit + 3600]:
        clock.set(T + age)
        assert check(health, "--interval", interval, clock=clock) == (
            1, f"error memory-sampler: failed: last record {age} s ago, and the limit is {limit} s "
               "(2 * INTERVAL + 30); see the log of memory-sampler\n")


def test_a_clock_that_stepped_back(health):
    clock = health.clock(T)
    sample(health, clock=clock)
    clock.set(T - 149)
    assert check(health, clock=clock) == (0, "last record 0 s ago\n")
    clock.set(T - 150)
    status, said = check(health, clock=clock)
    assert status == 1
    assert f"the last record is of {T}, which is to come: the clock stepped back" in said
    sample(health, clock=clock)
    assert check(health, clock=clock) == (0, "last record 0 s ago\n")


def test_no_record_yet_and_no_setting(health):
    status, said = check(health)
    assert status == 1
    assert f"no record yet: there is no {health.health}; see the log of memory-sampler" in said
    done = health.run("memory-sampler", "--health-check")
    assert done.returncode == 4
    assert "--health-check needs HEALTH_FILE" in done.stderr
    done = health.run("memory-sampler", "--health-check", "--print")
    assert done.returncode == 2
    assert not health.db.exists()


@pytest.mark.parametrize("content", ["", "\n", "now store\n", "12", "99999999999999999999 store\n"])
def test_a_file_of_somebody_else_is_no_sign_of_life(health, content):
    health.health.write_text(content)
    status, said = check(health)
    assert status == 1
    assert "is not memory-sampler's" in said


def make_symlink(path, other):
    path.symlink_to(other)


def make_hard_link(path, other):
    path.hardlink_to(other)


def make_pipe(path, _):
    os.mkfifo(path)


def make_directory(path, _):
    path.mkdir()


@pytest.mark.parametrize("trap", [make_symlink, make_hard_link, make_pipe, make_directory])
def test_what_lies_in_its_place_is_left_alone_and_costs_no_record(health, trap):
    other = health.path / "other"
    other.write_text("precious")
    other.chmod(0o600)
    trap(health.health, other)
    said = sample(health)
    assert f"warning memory-sampler: cannot write HEALTH_FILE {health.health}: " in said
    assert said.endswith("; the record is safe in the store\n")
    assert said.count("\n") == 1
    assert (other.read_text(), other.stat().st_mode & 0o777) == ("precious", 0o600)
    assert len(stored(health.db)) == 1
    assert check(health)[0] == 1


def test_where_it_cannot_be_written_the_record_is_safe(health):
    health.health = health.path / "missing" / "healthy"
    said = sample(health)
    assert f"cannot write HEALTH_FILE {health.health}: No such file or directory" in said
    assert len(stored(health.db)) == 1


def test_it_is_written_in_place_as_a_full_disk_allows(health):
    clock = health.clock(T)
    sample(health, clock=clock)
    inode = health.health.stat().st_ino
    clock.set(T + 60)
    sample(health, clock=clock)
    assert health.health.stat().st_ino == inode
    assert health.health.read_text() == f"{T + 60} store\n"


def test_who_checks_may_be_another_user_and_needs_no_secret(health):
    """As in a container, where the check is root's that may read nothing of other users."""
    secret = health.path / "secret"
    secret.write_text(f"{health.store}\n")
    secret.chmod(0o400)
    sample(health)
    environment = clean_environment({
        "MEMORY_TRACKER_HEALTH_FILE": health.health,
        "MEMORY_TRACKER_STORE_FILE": secret,
        "MEMORY_TRACKER_LOG_FILE": health.path / "log",
    })
    if os.geteuid() == 0:
        # the directories above are for root alone, and it lies in them
        health.path.chmod(0o755)
        environment["MEMORY_TRACKER_HEALTH_FILE"] = "healthy"
        environment["MEMORY_TRACKER_STORE_FILE"] = "secret"
        other = {"user": 65534, "group": 65534, "extra_groups": []}
    else:
        secret.chmod(0)
        other = {}
    unreadable = subprocess.run(
        [program_path("memory-sampler"), "--print"], env=environment, cwd=health.path,
        capture_output=True, text=True, timeout=scaled(60), check=False, **other)
    assert unreadable.returncode == 4, unreadable
    user = other.get("user", os.geteuid())
    assert (f"let this user (uid {user}) read it, or run as its owner (uid {os.geteuid()}): "
            "Permission denied" in unreadable.stderr)
    done = subprocess.run(
        [program_path("memory-sampler"), "--health-check"], env=environment, cwd=health.path,
        capture_output=True, text=True, timeout=scaled(60), check=False, **other)
    assert done.returncode == 0, done
    assert done.stdout.startswith("last record ")
    assert not (health.path / "log").exists()


def test_it_waits_for_no_lock_and_no_store(health):
    sample(health)
    with connect(health.db) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert check(health)[0] == 0
        connection.execute("ROLLBACK")
