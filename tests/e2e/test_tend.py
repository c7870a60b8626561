"""Finished days are sealed and old ones removed: by the sampler's courier, by the API, by hand."""

import json
import random
import re
import subprocess
import time

import pytest
from support import (FrozenProc, assert_sound, clean_environment, connect, program_path, scaled,
                     wait_until)

DAY = 86400
T = 1647043200  # 2022-03-12T00:00:00Z
ADMIN = "admin-0123456789abcdef"


NOISE = ["mem_free", "buffers", "cached", "s_reclaimable", "s_unreclaim", "shmem", "anon_pages", "mapped",
         "page_tables", "kernel_stack", "percpu", "dirty", "writeback", "committed_as", "swap_free"]


def fill(home, first, days, hosts=("h",), step=600, noise=()):
    """Whole days of records, every ten minutes, from the second `first` on; noise does not compress."""
    chance = random.Random(first)
    lines = [",".join(["host,timestamp,boot_id,uptime_s,mem_total,mem_available", *noise])]
    lines += [
        f"{host},{second},,{second - first},16384000,{8000000 + second % 7919}"
        + "".join(f",{chance.randrange(16384000)}" for _ in noise)
        for second in range(first, first + days * DAY, step) for host in hosts
    ]
    home.import_csv("\n".join(lines) + "\n")


def sealed(home):
    """The days of blocks, each as often as there are hosts."""
    with connect(home.db) as connection:
        return [row[0] for row in connection.execute("SELECT day FROM block ORDER BY day")]


def loose(home):
    with connect(home.db) as connection:
        return [row[0] for row in connection.execute("SELECT timestamp FROM memory_log ORDER BY 1")]


def days(*seconds):
    return [second // DAY for second in seconds]


def timestamps(home):
    return [record["timestamp"] for record in home.records()]


def sample(home, second, *args, **options):
    done = home.run("memory-sampler", "--host", "h", *args, clock=home.clock(second), **options)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return [line.split(" ", 1)[1] for line in done.stderr.splitlines()]


def hour(home, *args):
    """The minute of an hour in which this host's sampler looks whether days are to be sealed."""
    fill(home, T, 1)
    for minute in range(60):
        sample(home, T + DAY + 7200 + 60 * minute, *args)
        if sealed(home):
            return minute
    raise AssertionError("no minute of the hour did it")


def test_the_sampler_has_finished_days_sealed_once_an_hour(home):
    minute = hour(home)
    assert sealed(home) == days(T)
    before = timestamps(home)
    # what came late stays loose until the hour is over
    fill(home, T + 30, 1, step=7200)
    late = [second for second in range(T + 30, T + DAY, 7200)]
    for later in range(minute + 1, minute + 60):
        assert sample(home, T + DAY + 7200 + 60 * later) == []
    assert loose(home)[:len(late)] == late
    sample(home, T + DAY + 7200 + 60 * (minute + 60))
    assert min(loose(home)) > T + DAY
    assert sorted({*before, *late}) == timestamps(home)[:len(before) + len(late)]
    assert_sound(home.db)
    done = home.run("memory-tracker", "verify")
    assert done.returncode == 0, done.stdout


def test_a_run_a_day_looks_each_time(home):
    fill(home, T, 3)
    assert sample(home, T + 4 * DAY, "--interval", "86400") == [
        f"info memory-courier: store sqlite:{home.db}: 3 days of hosts sealed (432 records)"]
    assert sealed(home) == days(T, T + DAY, T + 2 * DAY)
    # one day is nothing to tell
    assert sample(home, T + 5 * DAY + 7200, "--interval", "86400") == []
    assert len(sealed(home)) == 4


def fnv(text):
    value = 2166136261
    for byte in text.encode():
        value = (value ^ byte) * 16777619 % (1 << 32)
    return value


def test_a_run_that_took_long_leaves_it_to_another(home):
    """The next one would begin before the courier's time is over."""
    fill(home, T, 1)
    looks = T + 2 * DAY - fnv("h") % 3600
    clock = home.clock(looks)
    with connect(home.db) as connection:
        connection.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        sampler = subprocess.Popen(
            [program_path("memory-sampler", clock=True), "--host", "h", "--interval", "8"],
            env={**clean_environment(home.environment), **clock.environment})
        # an eighth of the interval
        wait_until(lambda: time.monotonic() > begun + 1.5 and sampler.poll() is None)
        connection.execute("COMMIT")
    assert sampler.wait(scaled(60)) == 0
    assert (loose(home)[-1], sealed(home)) == (looks, [])
    sample(home, looks + 1, "--interval", "8")
    assert sealed(home) == days(T)


def test_a_day_is_not_sealed_before_two_hours_are_over(home):
    fill(home, T, 1)
    sample(home, T + DAY + 7199, "--interval", "86400")
    assert sealed(home) == []
    sample(home, T + DAY + 7200, "--interval", "86400")
    assert sealed(home) == days(T)


def test_retention_of_the_sampler(home):
    fill(home, T, 5)
    (line,) = sample(home, T + 6 * DAY, "--interval", "86400", "--retention", "3d")
    assert line == (f"info memory-courier: store sqlite:{home.db}: 2 days of hosts sealed (288 records),"
                    " 432 records of 2022-03-12 to 2022-03-14 removed by RETENTION")
    assert timestamps(home)[0] == T + 3 * DAY
    assert sealed(home) == days(T + 3 * DAY, T + 4 * DAY)


def test_what_fails_costs_neither_the_record_nor_the_exit_code(home):
    fill(home, T, 1)
    sample(home, T + 2 * DAY, "--interval", "86400")
    with connect(home.db) as connection:
        connection.execute("UPDATE block_column SET data = x'00' WHERE id % 64 > 2 AND data IS NOT NULL")
    fill(home, T + 30, 1, step=7200)
    (line,) = sample(home, T + 3 * DAY, "--interval", "86400")
    assert line.startswith("critical memory-courier: store corrupt: ") and "2022-03-12" in line
    assert line.endswith("; no record is lost, finished days are sealed, and old ones removed, later")
    assert loose(home)[-1] == T + 3 * DAY
    # and it goes by its time all the same, also where not even its seconds can be read
    with connect(home.db) as connection:
        connection.execute("UPDATE block_column SET data = x'00' WHERE id % 64 = 0")
    sample(home, T + 4 * DAY, "--interval", "86400", "--retention", "1d")
    assert timestamps(home) == [T + 3 * DAY, T + 4 * DAY]


def test_without_a_courier(home, tmp_path):
    alone = tmp_path / "memory-sampler"
    alone.write_bytes(program_path("memory-sampler", clock=True).read_bytes())
    alone.chmod(0o755)
    clock = home.clock(T + 2 * DAY)
    fill(home, T, 1)
    done = subprocess.run([alone, "--interval", "86400"],
                          env={**clean_environment(home.environment), **clock.environment},
                          capture_output=True, text=True, timeout=scaled(60))
    assert done.returncode == 0
    assert re.fullmatch(r"\S+ error memory-sampler: cannot execute .*/memory-courier: No such file.*;"
                        r" finished days are not sealed, and RETENTION is not applied\n", done.stderr)
    assert loose(home)[-1] == T + 2 * DAY


@pytest.fixture
def tokens(home):
    path = home.path / "tokens"
    path.write_text(f"admin admin {ADMIN}\n")
    path.chmod(0o600)
    return path


def test_the_api_tends_the_store_that_others_push_to(home, start_api, tokens):
    fill(home, T, 6, hosts=("a", "b"))
    api = start_api(clock=home.clock(T + 7 * DAY), tokens=tokens, retention="4d")
    wait_until(lambda: "removed by RETENTION" in api.log())
    assert "store: 6 days of hosts sealed (864 records), 864 records of 2022-03-12 to 2022-03-14" in api.log()
    assert sealed(home) == days(*[T + i * DAY for i in (3, 3, 4, 4, 5, 5)])
    assert loose(home) == []
    assert api.stop() == 0


def test_the_api_leaves_a_store_alone_that_nobody_pushes_to(home, start_api):
    fill(home, T, 2)
    api = start_api(clock=home.clock(T + 7 * DAY), retention="1d")
    assert api.get("/memory-logs").status == 200
    assert api.stop() == 0
    assert sealed(home) == [] and len(loose(home)) == 288


def test_the_api_stops_at_once_in_the_midst_of_it(home, start_api, tokens):
    fill(home, T, 120, hosts=("a", "b"), step=3600)
    api = start_api(clock=home.clock(T + 121 * DAY), tokens=tokens)
    wait_until(lambda: sealed(home))
    assert api.stop() == 0
    assert len(sealed(home)) < 240
    assert len(timestamps(home)) == 240 * 24
    assert_sound(home.db)


def test_a_store_that_is_not_there_yet_is_none(home, start_api, tokens):
    api = start_api(tokens=tokens, retention="1d")
    assert api.get("/healthz").status == 200
    assert api.stop() == 0
    assert not home.db.exists()


def test_by_hand(home):
    clock = home.clock(T + 5 * DAY + 7200)

    def tracker(*args, status=0):
        done = home.run("memory-tracker", *args, clock=clock)
        assert done.returncode == status, done.stderr
        return done.stdout or done.stderr

    fill(home, T, 5)
    before = home.records()
    assert re.fullmatch(r"5 host-days sealed, 720 records: \d+\.\d [KM]iB before, \d+\.\d KiB now\n",
                        tracker("compact"))
    assert re.fullmatch(r"nothing sealed: \d+\.\d KiB\n", tracker("compact"))
    report = json.loads(tracker("compact", "--json"))
    assert report == {"days": 0, "records": 0, "size_before": report["size"], "size": report["size"],
                      "is_done": True}
    assert home.records() == before
    assert tracker("prune", "--before", "2022-03-13", "--dry-run") == (
        "would remove 144 records of 2022-03-12\n")
    assert home.records() == before
    assert tracker("prune", "--before", "2022-03-14T23:59:59") == (
        "removed 288 records of 2022-03-12 to 2022-03-13\n")
    assert home.records() == before[288:]
    assert tracker("prune", "--before", "2022-03-14T23:59:59") == "nothing removed\n"
    assert json.loads(tracker("prune", "--retention", "2d", "--json")) == {
        "dry_run": False, "records": 144, "from": T + 2 * DAY, "to": T + 3 * DAY,
        "size_before": None, "size": None, "is_done": True}
    assert home.records() == before[432:]
    assert re.fullmatch(r"would remove nothing: \d+\.\d KiB\n",
                        tracker("prune", "--retention", "1MiB", "--dry-run"))
    # the present day is never removed
    assert "removed 288 records" in tracker("prune", "--before", "2030-01-01")
    fill(home, T + 5 * DAY, 1)
    assert tracker("prune", "--before", "2030-01-01") == "nothing removed\n"
    assert "nothing says what is to go: give --before TIME or RETENTION" in tracker("prune", status=2)
    assert "exclude each other" in tracker("prune", "--before", "1", "--retention", "1d", status=2)
    assert "--before: bad value 'never'" in tracker("prune", "--before", "never", status=2)
    assert "--retention: bad value '90'" in tracker("prune", "--retention", "90", status=2)
    home.db.rename(home.path / "away")
    for words in ["compact"], ["prune", "--retention", "1d"], ["prune", "--before", "1", "--dry-run"]:
        assert "store missing" in tracker(*words, status=3)
    assert not home.db.exists()


def test_by_hand_a_size_seals_first_and_takes_whole_days(home):
    clock = home.clock(T + 51 * DAY)
    fill(home, T, 50, hosts=[f"host-{i}" for i in range(4)], step=1200, noise=NOISE)
    size = home.db.stat().st_size
    done = home.run("memory-tracker", "prune", "--retention", "1MiB", "--json", clock=clock)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["size"] <= 1 << 20 < report["size_before"] < size
    assert home.db.stat().st_size <= 1 << 20
    assert loose(home) == []
    there = timestamps(home)
    assert there[0] == report["to"] and report["to"] % DAY == 0
    assert report["records"] + len(there) == 4 * 50 * 72
    # no day more than it takes: one of them takes about that much
    assert report["size"] + 2 * report["size"] // (len(there) // 288) > 1 << 20


def test_the_courier_applies_retention_to_a_mongodb_once_an_hour(mongodb_home):
    home = mongodb_home
    for day in range(5):
        assert sample(home, T + day * DAY, "--interval", "86400") == []
    # nothing is removed by who knows of no RETENTION, nor within the hour
    (line,) = sample(home, T + 5 * DAY, "--interval", "86400", "--retention", "2d")
    assert re.fullmatch(r"info memory-courier: store mongodb://\S+: 3 records of 2022-03-12 to 2022-03-14"
                        r" removed by RETENTION", line)
    assert timestamps(home) == [T + 3 * DAY, T + 4 * DAY, T + 5 * DAY]
    said = [sample(home, T + 6 * DAY + 60 * minute, "--retention", "2d") for minute in range(60)]
    assert [len(lines) for lines in said].count(1) == 1 and sum(len(lines) for lines in said) == 1


def test_by_hand_through_another_memory_api(home, start_api, tokens):
    fill(home, T, 3)
    clock = home.clock(T + 2 * DAY + 7200)
    api = start_api(clock=clock, tokens=tokens)
    wait_until(lambda: "2 days of hosts sealed" in api.log())
    store = api.url.replace("://", f"://{ADMIN}@")

    def tracker(*args):
        done = home.run("memory-tracker", *args, "--store", store, clock=clock)
        assert done.returncode == 0, done.stderr
        assert ADMIN not in done.stdout + done.stderr + api.log()
        return done.stdout

    # what it seals is the server's own business
    assert re.fullmatch(r"nothing sealed: \d+\.\d KiB\n", tracker("compact"))
    assert tracker("prune", "--retention", "1d", "--dry-run") == "would remove 144 records of 2022-03-12\n"
    assert tracker("prune", "--retention", "1d") == "removed 144 records of 2022-03-12\n"
    assert re.fullmatch(r"nothing removed: \d+\.\d KiB\n", tracker("prune", "--retention", "1MiB"))
    assert timestamps(home)[0] == T + DAY
