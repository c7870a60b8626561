"""memory-tracker export: exact round trips, and files that are whole or not there."""

import json
import os
import random
import resource
import signal
import subprocess
import uuid

import pytest

from support import (
    Home, clean_environment, not_in_this_build, program_path, sanitizer, wait_until,
)

SUMMARY = "timestamp,total,free,used\n"
LETTERS = ["a", "Z", "9", "-", ".", ",", '"', "'", ";", "\\", "ä", "€", "😀", "/"]


def columns(home):
    return home.run("memory-tracker", "export").stdout.splitlines()[0].split(",")


def quoted(cell):
    return '"' + cell.replace('"', '""') + '"' if set(cell) & set(',"') else cell


def random_history(names, seed, count):
    """CSV lines in export's own order and form."""
    rng = random.Random(seed)
    hosts = ["".join(rng.choices(LETTERS, k=rng.randint(1, 30))) for _ in range(7)]
    seconds = rng.sample(range(0, 253402300800), count // 2)
    keys = {(rng.choice(seconds), rng.choice(hosts)) for _ in range(count)}
    lines = []
    for second, host in sorted(keys, key=lambda key: (key[0], key[1].encode())):
        cells = {"host": quoted(host), "timestamp": str(second)}
        if rng.random() < 0.7:
            cells["boot_id"] = str(uuid.UUID(int=rng.getrandbits(128)))
        for name in names[3:]:
            if rng.random() < 0.7:
                cells[name] = str(rng.choice([0, 1, 2**53, rng.randrange(2**rng.randint(1, 53))]))
        cells["mem_total"] = str(rng.randint(1, 2**40))
        cells.setdefault("mem_available", "0")
        lines.append(",".join(cells.get(name, "") for name in names) + "\n")
    return lines


@pytest.mark.parametrize("seed", range(5))
def test_what_is_exported_is_imported_exactly(home, seed):
    home.import_csv(SUMMARY)
    names = columns(home)
    lines = random_history(names, seed, 400)
    shuffled = list(lines)
    random.Random(seed).shuffle(shuffled)
    header = ",".join(names) + "\n"
    home.import_csv(header + "".join(shuffled))
    done = home.run("memory-tracker", "export")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines(keepends=True) == [header, *lines]
    again = Home(home.path / "again")
    again.path.mkdir()
    imported = again.run("memory-tracker", "import", "-", stdin=done.stdout)
    assert imported.returncode == 0, imported.stderr
    assert again.run("memory-tracker", "export").stdout == done.stdout
    check_json(home, names, lines)


def check_json(home, names, lines):
    """The same records as JSON lines."""
    done = home.run("memory-tracker", "export", "--json")
    assert done.returncode == 0
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [list(record) for record in found] == [names] * len(lines)
    for record, line in zip(found, lines):
        cells = ["" if record[name] is None else quoted(str(record[name])) for name in names]
        assert ",".join(cells) + "\n" == line


def test_logs_csv_is_read_back(home):
    home.import_csv("host," + SUMMARY + "a,60,8,4,4\nb,60,16,5,11\n")
    text = home.run("memory-tracker", "logs", "--csv", "--used", "sar").stdout
    done = home.run("memory-tracker", "import", "-", stdin=text)
    assert done.stdout == "imported 0 records (2 repeats, 0 conflicts) for 2 hosts\n"


def test_ranges_and_hosts(home):
    home.import_csv(
        "host," + SUMMARY + "".join(f"{h},{60 * i},8,4,4\n" for i in range(10) for h in "ab")
    )

    def keys(*arguments):
        done = home.run("memory-tracker", "export", "--json", *arguments)
        assert done.returncode == 0, done.stderr
        return [(r["timestamp"], r["host"]) for r in map(json.loads, done.stdout.splitlines())]

    everything = [(60 * i, h) for i in range(10) for h in "ab"]
    assert keys() == everything
    assert keys("--from", "60", "--to", "180") == everything[2:6]
    assert keys("--from", "1970-01-01T00:08:01") == everything[18:]
    assert keys("--to", "1970-01-01T00:01Z") == everything[:2]
    assert keys("--host", "b") == everything[1::2]
    assert keys("--host", "b", "--from", "540") == [(540, "b")]
    assert keys("--host", "c") == []


def test_a_file_appears_whole(home):
    home.import_csv(SUMMARY + "60,8,4,4\n")
    expected = home.run("memory-tracker", "export").stdout
    file = home.path / "out.csv"
    done = home.run("memory-tracker", "export", "--output", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert file.read_text() == expected
    mask = os.umask(0)
    os.umask(mask)
    assert file.stat().st_mode & 0o777 == 0o666 & ~mask
    # replaced through a link, with its mode kept
    file.chmod(0o600)
    file.write_text("old")
    link = home.path / "link.csv"
    link.symlink_to(file)
    assert home.run("memory-tracker", "export", "--output", link).returncode == 0
    assert link.is_symlink()
    assert file.read_text() == expected
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_failure_leaves_what_stood_there(home):
    home.import_csv(SUMMARY + "".join(f"{60 * i},8,4,4\n" for i in range(5000)))
    file = home.path / "out.csv"
    file.write_text("old")
    before = sorted(home.path.iterdir())

    def limit():
        # a write beyond it fails with EFBIG, as a full disk would with ENOSPC
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        [program_path("memory-tracker"), "export", "--output", file],
        env=clean_environment(home.environment), preexec_fn=limit, capture_output=True, text=True,
        check=False, timeout=60,
    )
    assert done.returncode == 1
    assert f"cannot write to {file}: File too large" in done.stderr
    assert file.read_text() == "old"
    assert sorted(home.path.iterdir()) == before


@pytest.fixture(scope="module")
def long_history(tmp_path_factory):
    """A store of which an export is more than 8 MiB, or takes as long; not to be written to."""
    home = Home(tmp_path_factory.mktemp("long"))
    names = ["mem_total", "mem_available", "cached", "buffers", "shmem", "pswpin", "pswpout", "oom_kill"]
    home.import_csv(
        "timestamp," + ",".join(names) + "\n"
        + "".join(f"{60 * i}" + f",{2**52 + i}" * 8 + "\n" for i in range(15000 if sanitizer() else 60000))
    )
    return home


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_what_stood_there(long_history, number):
    home = long_history
    file = home.path / "out.csv"
    before = sorted(home.path.iterdir())
    with subprocess.Popen(
        [program_path("memory-tracker"), "export", "--output", file],
        env=clean_environment(home.environment), stderr=subprocess.PIPE, text=True,
    ) as process:
        wait_until(lambda: sorted(home.path.iterdir()) != before, what="the temporary file")
        process.send_signal(number)
        err = process.communicate(timeout=60)[1]
    if process.returncode == 0:
        pytest.fail("the export ended before the signal came; it needs a longer history")
    assert process.returncode == 1
    assert "cancelled" in err
    assert sorted(home.path.iterdir()) == before


def test_full_and_missing_places(home):
    home.import_csv(SUMMARY + "60,8,4,4\n")
    for arguments, expected in [
        (["--output", "/dev/full"], "cannot write to /dev/full: No space left on device"),
        (["--output", "/nonexistent/x"], "cannot write to /nonexistent/x: No such file"),
        (["--output", home.path], "Is a directory"),
        (["--output", home.db], f"{home.db} is a database and stays as it is"),
    ]:
        done = home.run("memory-tracker", "export", *arguments)
        assert done.returncode == 1, arguments
        assert expected in done.stderr
        assert done.stderr.count("\n") == 1
    assert len(home.records()) == 1


@pytest.mark.parametrize(
    "arguments", [["export"], ["logs"], ["hosts"], ["config"], ["verify"], ["--help"], ["--version"]]
)
def test_a_full_standard_output(home, arguments):
    home.import_csv(SUMMARY + "60,8,4,4\n")
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run(
            [program_path("memory-tracker"), *arguments],
            env=clean_environment(home.environment), stdout=full, stderr=subprocess.PIPE, text=True,
            check=False, timeout=60,
        )
    assert done.returncode == 1
    assert "cannot write to standard output: No space left on device" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["export"], ["export", "--json"], ["logs", "--limit", "all"], ["hosts"], ["--help"], ["logs", "--help"]],
    ids=" ".join,
)
def test_a_reader_that_leaves_is_no_failure(home, arguments):
    home.import_csv(SUMMARY + "".join(f"{60 * i},8,4,4\n" for i in range(3000)))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [program_path("memory-tracker"), *arguments], env=clean_environment(home.environment),
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_memory_stays_bounded(long_history):
    if sanitizer():
        not_in_this_build("sanitizers keep freed memory")

    def peak_kib(*arguments):
        process = subprocess.Popen(
            [program_path("memory-tracker"), *arguments], env=clean_environment(long_history.environment),
            stdout=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss

    base = peak_kib("logs", "--limit", "1")
    for arguments in (["export"], ["export", "--json"], ["logs", "--limit", "all"]):
        assert peak_kib(*arguments) < base + 4 * 1024, arguments
