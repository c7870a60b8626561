"""memory-tracker import: what it takes, what it refuses, and that it is all or nothing."""

import os
import pty
import re
import resource
import signal
import sqlite3
import subprocess

import pytest

from support import (
    clean_environment, not_in_this_build, program_path, run, sanitizer, wait_until,
)

START = 1647033600  # 2022-03-11T21:20:00Z
HEADER = "timestamp,total,free,used\n"


def minutes(count, start=START):
    return [f"{start + 60 * i},8192,{4000 + i % 97},{4192 - i % 97}\n" for i in range(count)]


def import_file(home, content, *arguments, name="in.csv"):
    file = home.path / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        file.write_text(content, newline="")
    return file, home.run("memory-tracker", "import", file, *arguments)


def log_lines(done):
    """Standard error without the time and the program, as (level, text)."""
    return re.findall(r"^\S+Z (\w+) memory-tracker: (.*)$", done.stderr, re.MULTILINE)


def assert_nothing_stored(home):
    done = home.run("memory-tracker", "logs", "--json", "--limit", "all")
    assert (done.returncode, done.stdout) in ((0, "[]\n"), (3, ""))


def test_the_summary_form(home):
    _, done = import_file(home, HEADER + "".join(minutes(1000)), "--host", "web-1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "imported 1000 records (0 repeats, 0 conflicts) for 1 host\n"
    records = home.records()
    assert len(records) == 1000
    assert {record["host"] for record in records} == {"web-1"}
    assert [record["timestamp"] for record in records] == [START + 60 * i for i in range(1000)]
    first = records[0]
    assert (first["mem_total"], first["mem_available"]) == (8192 * 1024, 4000 * 1024)
    assert first["mem_free"] is None and first["boot_id"] is None


@pytest.mark.parametrize(
    "text",
    [
        "timestamp,total,free,used\r\n60,8,4,4\r\n120,8,5,3\r\n",
        "\ufefftimestamp,total,free,used\n60,8,4,4\n120,8,5,3\n",
        "timestamp,total,free,used\n60,8,4,4\n120,8,5,3",
        "timestamp,total,free,used\n\n60,8,4,4\n\n\n120,8,5,3\n\n",
        "free,timestamp,total\n4,60,8\n5,120,8\n",
        'timestamp,"total",free,used\n"60",8,4,4\n120,"8",5,3\n',
        "host,timestamp,total,free,used\nhere,60,8,4,4\nhere,120,8,5,3\n",
    ],
    ids=["crlf", "bom", "no last newline", "empty lines", "other order", "quotes", "host column"],
)
def test_forms_of_csv(home, text):
    _, done = import_file(home, text, "--host", "here")
    assert (done.returncode, done.stderr) == (0, "")
    found = [(r["host"], r["timestamp"], r["mem_available"]) for r in home.records()]
    assert found == [("here", 60, 4096), ("here", 120, 5120)]


def test_the_host_is_option_then_setting_then_machine(home):
    text = HEADER + "60,8,4,4\n"
    import_file(home, text, "--host", "from-option")
    done = home.run(
        "memory-tracker", "import", home.path / "in.csv", env={"MEMORY_TRACKER_HOST": "from-setting"}
    )
    assert done.returncode == 0
    import_file(home, text)
    hosts = {record["host"] for record in home.records()}
    assert hosts == {"from-option", "from-setting", os.uname().nodename}


def test_a_repeat_changes_nothing(home):
    text = HEADER + "".join(minutes(300))
    import_file(home, text)
    before = home.records()
    _, done = import_file(home, text)
    assert done.stdout == "imported 0 records (300 repeats, 0 conflicts) for 1 host\n"
    assert done.returncode == 0
    _, done = import_file(home, HEADER + "".join(minutes(310)))
    assert done.stdout == "imported 10 records (300 repeats, 0 conflicts) for 1 host\n"
    assert home.records()[:300] == before


def test_conflicts_are_left_out_and_told(home):
    import_file(home, HEADER + "".join(minutes(20)))
    before = home.records()
    other = minutes(21)
    for i in range(7):
        other[i] = f"{START + 60 * i},8192,1,8191\n"
    file, done = import_file(home, HEADER + "".join(other))
    assert done.returncode == 1
    assert done.stdout == "imported 1 record (13 repeats, 7 conflicts) for 1 host\n"
    lines = log_lines(done)
    assert len(lines) == 5 + 1
    for i in range(5):
        level, text = lines[i]
        assert level == "warning"
        assert text.startswith(f"{file}:{i + 2}: left out: ")
    assert "7 records left out" in lines[5][1]
    assert home.records()[:20] == before


def test_a_file_that_contradicts_itself(home):
    """The first of two different records of one second is kept, the other one reported."""
    text = HEADER + "60,8,4,4\n60,8,5,3\n60,8,4,4\n"
    file, done = import_file(home, text)
    assert done.returncode == 1
    assert done.stdout == "imported 1 record (1 repeat, 1 conflict) for 1 host\n"
    assert log_lines(done)[0][1].startswith(f"{file}:3: left out: ")
    assert [record["mem_available"] for record in home.records()] == [4096]


# (content, line, what the message has to say)
BAD = {
    "letters": (HEADER + "60,8,4,4\n120,8,x,3\n", 3, "free 'x'"),
    "negative": (HEADER + "60,8,-4,4\n", 2, "free '-4'"),
    "fraction": (HEADER + "60,8,4.5,3.5\n", 2, "free '4.5'"),
    "free above total": (HEADER + "60,8,9,0\n", 2, "free '9'"),
    "too few cells": (HEADER + "60,8,4,4\n120,8,5\n", 3, "3 cells"),
    "too many cells": (HEADER + "60,8,4,4,4\n", 2, "5 cells"),
    "empty cell": (HEADER + "60,,4,4\n", 2, "total ''"),
    "time as text": (HEADER + "2022-03-11T21:20:00Z,8,4,4\n", 2, "timestamp '2022-03-11T21:20:00Z'"),
    "a blank": (HEADER + "60, 8,4,4\n", 2, "total ' 8'"),
    "open quote": (HEADER + '60,8,"4,4\n', 2, "quote"),
    "nul bytes": (HEADER.encode() + b"60,8,4\0,4\n", 2, "free '4"),
    "no utf-8": (b"host," + HEADER.encode() + b"\xff\xfe,60,8,4,4\n", 2, "host"),
    "unknown column": ("timestamp,totla,free,used\n60,8,4,4\n", 1, "did you mean 'total'?"),
    "column twice": ("timestamp,total,total\n60,8,4\n", 1, "'total' twice"),
    "missing column": ("timestamp,total\n60,8\n", 1, "no column 'free'"),
    "no header": ("60,8,4,4\n120,8,5,3\n", 1, "unknown column '60'"),
    "not csv": (b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0", 1, "unknown column"),
    "a huge line": (HEADER + "60,8,4,4\n" + "1" * 10_000_000 + "\n", 3, "more than 65536 bytes"),
    "far in the future": (HEADER + "253402300800,8,4,4\n", 2, "timestamp"),
    "total of zero": (HEADER + "60,0,0,0\n", 2, "mem_total"),
    "host with a blank": ("host," + HEADER + "a b,60,8,4,4\n", 2, "host 'a b'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_named_and_nothing_imported(home, name):
    content, line, expected = BAD[name]
    file, done = import_file(home, content)
    assert done.returncode == 1
    assert done.stdout == ""
    level, text = log_lines(done)[0]
    assert level == "error"
    assert f"bad data: {file}:{line}: " in text
    assert expected in text
    assert_nothing_stored(home)


def test_many_bad_lines_are_counted(home):
    good = minutes(50)
    file, done = import_file(home, HEADER + "".join(line + "oops\n" for line in good))
    assert done.returncode == 1
    lines = log_lines(done)
    assert len(lines) == 5 + 1
    for i in range(5):
        assert f"{file}:{2 * i + 3}: " in lines[i][1]
    assert lines[5][1] == f"bad data: {file}: 50 bad lines, the first 5 are shown; nothing was imported"
    assert_nothing_stored(home)


@pytest.mark.parametrize("content", [b"", b"\n\r\n\n"], ids=["nothing", "empty lines"])
def test_an_empty_file(home, content):
    file, done = import_file(home, content)
    assert done.returncode == 1
    assert str(file) in done.stderr
    assert len(log_lines(done)) == 1


def test_a_header_alone_is_no_mistake(home):
    _, done = import_file(home, HEADER)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "imported 0 records (0 repeats, 0 conflicts) for 0 hosts\n"


def test_files_that_cannot_be_read(home):
    for path, expected in [
        (home.path / "missing.csv", "No such file or directory"),
        (home.path, "is a directory"),
        ("/proc/self/mem", "cannot read /proc/self/mem"),
    ]:
        done = home.run("memory-tracker", "import", path)
        assert done.returncode == 1, path
        assert len(log_lines(done)) == 1
        assert expected in done.stderr
        assert_nothing_stored(home)


def test_an_unreadable_file(home):
    file = home.path / "in.csv"
    file.write_text(HEADER + "60,8,4,4\n")
    file.chmod(0)
    # root reads everything
    done = home.as_nobody("import", file)
    assert done.returncode == 1
    assert f"cannot read {file}: Permission denied" in done.stderr


def test_standard_input_and_other_pipes(home):
    text = HEADER + "".join(minutes(5000))
    done = home.run("memory-tracker", "import", "-", "--host", "a", stdin=text)
    assert done.stdout == "imported 5000 records (0 repeats, 0 conflicts) for 1 host\n"
    done = home.run("memory-tracker", "import", "-", "--host", "b", stdin=HEADER + "60,8,4\n")
    assert done.returncode == 1
    assert "bad data: standard input:2: 3 cells" in done.stderr
    fifo = home.path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(
        [program_path("memory-tracker"), "import", fifo, "--host", "c"],
        env=clean_environment(home.environment), stdout=subprocess.PIPE, text=True,
    ) as process:
        fifo.write_text(text)
        assert process.communicate(timeout=60)[0].startswith("imported 5000 records")
    assert len(home.records()) == 10000


def test_the_temporary_copy_of_a_pipe_has_its_place(home):
    done = home.run("memory-tracker", "import", "-", stdin=HEADER, env={"TMPDIR": "/nonexistent"})
    assert done.returncode == 1
    assert "/nonexistent/memory-tracker." in done.stderr
    assert "TMPDIR" in done.stderr


def old_database(path, rows, schema="timestamp INTEGER, total INTEGER, free INTEGER, used INTEGER"):
    with sqlite3.connect(path) as db:
        db.execute(f"CREATE TABLE memory_log({schema})")
        db.executemany("INSERT INTO memory_log VALUES (?,?,?,?)", rows)
    db.close()


def test_an_sqlite_file_of_the_original(home):
    old = home.path / "old.db"
    old_database(old, [(START + 60 * i, 8192, 4000 + i % 97, 4192 - i % 97) for i in range(1000)])
    before = old.read_bytes()
    done = home.run("memory-tracker", "import", old, "--host", "a")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "imported 1000 records (0 repeats, 0 conflicts) for 1 host\n"
    # the same history as CSV is a repeat of it
    _, done = import_file(home, HEADER + "".join(minutes(1000)), "--host", "a")
    assert done.stdout == "imported 0 records (1000 repeats, 0 conflicts) for 1 host\n"
    assert old.read_bytes() == before
    assert sorted(p.name for p in home.path.iterdir() if p.name.startswith("old")) == ["old.db"]


def test_values_of_other_types_in_an_sqlite_file(home):
    old = home.path / "old.db"
    old_database(old, [(60.0, "8", 4.0, 4), ("120", 8.0, "5", 3.0)], "timestamp, total, free, used")
    done = home.run("memory-tracker", "import", old)
    assert (done.returncode, done.stderr) == (0, "")
    assert [(r["timestamp"], r["mem_available"]) for r in home.records()] == [(60, 4096), (120, 5120)]


@pytest.mark.parametrize(
    "row, expected",
    [
        ((60.5, 8, 4, 4), "timestamp '60.5'"),
        ((60, None, 4, 4), "total ''"),
        ((60, 8, "4 GiB", 4), "free '4 GiB'"),
        ((1e300, 8, 4, 4), "timestamp '1"),
        ((60, 8, b"\xff\0,", 4), "free '"),
        (("2022-03-11 21:20:00", 8, 4, 4), "timestamp '2022-03-11 21:20:00'"),
    ],
    ids=["fraction", "null", "text", "too large", "blob", "iso time"],
)
def test_a_bad_row_is_named_by_its_id(home, row, expected):
    old = home.path / "old.db"
    old_database(old, [(0, 8, 4, 4), row], "timestamp, total, free, used")
    done = home.run("memory-tracker", "import", old)
    assert done.returncode == 1
    assert f"bad data: {old}: row 2: {expected}" in done.stderr
    assert_nothing_stored(home)


def test_sqlite_files_that_are_of_no_use(home):
    other = home.path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE memory_log(id INTEGER, mem INTEGER)")
    db.close()
    cut = home.path / "cut.db"
    old_database(cut, [(START + 60 * i, 8192, 4000, 4192) for i in range(5000)])
    os.truncate(cut, cut.stat().st_size // 2)
    stub = home.path / "stub.db"
    stub.write_bytes(b"SQLite format 3\0")
    for path, expected in [
        (other, "without a table memory_log(timestamp,total,free,used)"),
        (cut, "damaged"),
        (stub, str(stub)),
    ]:
        done = home.run("memory-tracker", "import", path)
        assert done.returncode == 1, path
        assert len(log_lines(done)) == 1, done.stderr
        assert expected in done.stderr
        assert_nothing_stored(home)


@pytest.mark.parametrize("page", [3, 10])
def test_a_damaged_sqlite_file_is_one_error(home, page):
    """Damage that counting the rows does not meet ends the first reading; it is no bad row."""
    damaged = home.path / "damaged.db"
    old_database(damaged, [(START + 60 * i, 8192, 4000, 4192) for i in range(5000)])
    content = bytearray(damaged.read_bytes())
    cells = (page - 1) * 4096 + 8
    assert content[cells - 8] == 13, "not a leaf of the table"
    content[cells : cells + 52] = b"\xff" * 52
    damaged.write_bytes(content)
    done = home.run("memory-tracker", "import", damaged)
    assert done.returncode == 1
    (line,) = log_lines(done)
    assert "the file is damaged" in line[1] and "row" not in line[1]
    assert_nothing_stored(home)


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_line_that_is_too_long_has_its_number(home, end):
    text = HEADER + "60,8,4,4\n" + "9" * 70000 + end
    done = home.run("memory-tracker", "import", "-", stdin=text)
    assert done.returncode == 1
    (long, summary) = log_lines(done)
    assert long[1].startswith("bad data: standard input:3: a line of more than ")
    assert summary[1] == "bad data: standard input: 1 bad line; nothing was imported"
    assert_nothing_stored(home)


def test_an_sqlite_file_through_a_pipe(home):
    old = home.path / "old.db"
    old_database(old, [(60, 8, 4, 4)])
    done = subprocess.run(
        [program_path("memory-tracker"), "import", "-"], input=old.read_bytes(),
        env=clean_environment(home.environment), capture_output=True, check=False, timeout=60,
    )
    assert done.returncode == 1
    assert b"name the file itself" in done.stderr


def test_a_store_of_this_program_is_refused_as_input(home):
    import_file(home, HEADER + "60,8,4,4\n")
    done = home.run("memory-tracker", "import", home.db)
    assert done.returncode == 1
    assert "export and import" in done.stderr
    assert len(home.records()) == 1


def read_terminal(fd):
    """Everything until the other side is closed."""
    text = b""
    while True:
        try:
            piece = os.read(fd, 65536)
        except OSError:  # EIO: closed
            return text.decode()
        if not piece:
            return text.decode()
        text += piece


def test_a_terminal_gets_a_progress_bar(home):
    file = home.path / "in.csv"
    file.write_text(HEADER + "".join(minutes(20000)))
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [program_path("memory-tracker"), "import", file],
        env=clean_environment(home.environment), stdout=subprocess.PIPE, stderr=terminal, text=True,
    ) as process:
        os.close(terminal)
        text = read_terminal(controller)
        out = process.communicate(timeout=60)[0]
    os.close(controller)
    assert process.returncode == 0
    assert out == "imported 20000 records (0 repeats, 0 conflicts) for 1 host\n"
    drawn = re.findall(
        r"\r(checking|importing) +(\d+)% \[([#.]{20})\] (\d+) records, \d+/s, ETA \d+:\d\d\x1b\[K",
        text,
    )
    importing = [int(percent) for verb, percent, _, _ in drawn if verb == "importing"]
    assert importing
    assert importing == sorted(importing)
    assert text.endswith("\r\x1b[K")


def test_ctrl_c_between_batches(home):
    file = home.path / "in.csv"
    file.write_text(HEADER + "".join(minutes(30000)))
    process = subprocess.Popen(
        [program_path("memory-tracker"), "import", file], env=clean_environment(home.environment),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    with process:
        wait_until(lambda: stored(home) > 0, what="the first batch")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    told = re.search(
        r"cancelled: after (\d+) of 30000 records \(the same import again completes it\): "
        r"interrupted\n$", err,
    )
    assert told, err
    assert stored(home) == int(told[1]) > 0
    done = home.run("memory-tracker", "import", file)
    assert done.returncode == 0
    assert done.stdout == (
        f"imported {30000 - int(told[1])} records ({told[1]} repeats, 0 conflicts) for 1 host\n"
    )


def test_a_disk_that_fills_up(home):
    """What was acknowledged stays, the line says how far it came, and a repeat completes it."""
    file = home.path / "in.csv"
    file.write_text(HEADER + "".join(minutes(20000)))

    def limit():
        # a write beyond it fails with EFBIG, as a full disk would with ENOSPC
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    done = subprocess.run(
        [program_path("memory-tracker"), "import", file], env=clean_environment(home.environment),
        preexec_fn=limit, capture_output=True, text=True, check=False, timeout=60,
    )
    assert done.returncode in (1, 3)
    told = re.search(r": after (\d+) of 20000 records \(the same import again", done.stderr)
    assert told, done.stderr
    assert stored(home) == int(told[1]) > 0
    assert home.run("memory-tracker", "verify").returncode == 0
    done = home.run("memory-tracker", "import", file)
    assert done.stdout == (
        f"imported {20000 - int(told[1])} records ({told[1]} repeats, 0 conflicts) for 1 host\n"
    )


def stored(home):
    done = home.run("memory-tracker", "hosts", "--json")
    found = re.search(r'"records":(\d+)', done.stdout)
    return int(found[1]) if found else 0


def test_memory_stays_bounded(home):
    """A large file is not kept in memory."""
    if sanitizer():
        not_in_this_build("sanitizers keep freed memory")
    file = home.path / "in.csv"
    with file.open("w", encoding="ascii") as out:
        out.write("timestamp,mem_total,mem_available,cached,buffers,shmem,pswpin,pswpout,pgmajfault\n")
        out.writelines(f"{60 * i}" + f",{2**52 + i}" * 8 + "\n" for i in range(60000))
    assert file.stat().st_size > 8 * 1024 * 1024
    small = home.path / "small.csv"
    small.write_text(HEADER + "60,8,4,4\n")

    def peak_kib(path, database):
        process = subprocess.Popen(
            [program_path("memory-tracker"), "import", path, "--store", f"sqlite:{database}"],
            env=clean_environment(), stdout=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss

    assert peak_kib(file, home.path / "a.db") < peak_kib(small, home.path / "b.db") + 4 * 1024


def test_a_store_that_cannot_be_written(home):
    home.import_csv(HEADER + "60,8,4,4\n")
    done = run(
        "memory-tracker", "import", home.path / "import.csv",
        "--store", "sqlite:/proc/nonexistent/memory.db",
    )
    assert done.returncode in (3, 4)
    assert "/proc/nonexistent" in done.stderr
