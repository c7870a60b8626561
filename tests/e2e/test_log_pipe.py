"""Log lines that nobody reads: they may be lost, the minute may not."""

import fcntl
import os
import re
import subprocess

import pytest
from support import clean_environment, connect, program_path, scaled, stored

T = 1647033600  # 2022-03-11T21:20:00Z


class Pipe:
    """A FIFO, with or without a reader that reads only when it is told to."""

    def __init__(self, path, has_reader=True):
        self.path = path
        os.mkfifo(path)
        self.reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if has_reader else None

    def fill(self):
        """Not even one more byte fits; a full pipe would wait for its reader."""
        writer = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        for size in (4096, 1):
            try:
                while True:
                    os.write(writer, b"x" * size)
            except BlockingIOError:
                pass
        os.close(writer)

    def read(self):
        taken = b""
        try:
            while chunk := os.read(self.reader, 1 << 16):
                taken += chunk
        except BlockingIOError:
            pass
        return taken.decode()

    def close(self):
        if self.reader is not None:
            os.close(self.reader)


@pytest.fixture
def make_pipe(home):
    made = []

    def make(has_reader=True):
        made.append(Pipe(home.path / f"log{len(made)}", has_reader))
        return made[-1]

    yield make
    for pipe in made:
        pipe.close()


def sample(home, *args, clock, **options):
    """A run, which has to end within the minute."""
    return subprocess.run(
        [program_path("memory-sampler", clock), "--host", "h", "--health-file",
         home.path / "healthy", *map(str, args)],
        env={**clean_environment(home.environment), **clock.environment},
        stdin=subprocess.DEVNULL, text=True, check=False, timeout=scaled(50),
        **{"stderr": subprocess.PIPE, **options})


def waiting(home):
    with connect(home.spool) as connection:
        return [row[0] for row in connection.execute("SELECT timestamp FROM waiting ORDER BY id")]


def test_a_log_without_reader_costs_no_minute(home, make_pipe):
    pipe = make_pipe(has_reader=False)
    done = sample(home, "--log-file", pipe.path, "--log-level", "debug", clock=home.clock(T))
    assert done.returncode == 0
    lines = [line.split(" ", 1)[1] for line in done.stderr.splitlines()]
    assert lines[0] == (
        f"warning memory-sampler: nobody reads the log file {pipe.path}, which is a pipe; lines go "
        "to standard error")
    assert lines[-1] == f"debug memory-sampler: stored second {T} of host h"
    assert [record["timestamp"] for record in stored(home.db)] == [T]


def test_a_log_whose_reader_sleeps_costs_lines_but_no_minute(home, make_pipe):
    pipe = make_pipe()
    pipe.fill()
    home.db.mkdir()
    clock = home.clock(T)
    done = sample(home, "--log-file", pipe.path, clock=clock)
    assert (done.returncode, done.stderr) == (0, "")
    assert waiting(home) == [T]
    assert (home.path / "healthy").read_text() == f"{T} outbox\n"
    assert set(pipe.read()) == {"x"}
    # as soon as it reads, it is told again
    clock.set(T + 60)
    assert sample(home, "--log-file", pipe.path, clock=clock).returncode == 0
    assert re.fullmatch(r"\S+ warning memory-sampler: .* 2 waiting\n", pipe.read())


def test_a_standard_error_that_nobody_reads_costs_no_minute(home, make_pipe):
    pipe = make_pipe()
    writer = os.open(pipe.path, os.O_WRONLY)
    pipe.fill()
    home.db.mkdir()
    done = sample(home, clock=home.clock(T), stderr=writer)
    # it is the caller's, who may not expect it to be non-blocking from now on
    assert fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK == 0
    os.close(writer)
    assert done.returncode == 0
    assert waiting(home) == [T]
    assert set(pipe.read()) == {"x"}


def test_a_reader_that_goes_away_costs_no_minute(home, make_pipe):
    pipe = make_pipe()
    writer = os.open(pipe.path, os.O_WRONLY)
    os.close(pipe.reader)
    pipe.reader = None
    home.db.mkdir()
    done = sample(home, "--log-file", pipe.path, clock=home.clock(T), stderr=writer)
    os.close(writer)
    assert done.returncode == 0
    assert waiting(home) == [T]


def test_a_courier_that_cannot_tell_ends_and_leaves_the_way_free(home, make_pipe):
    pipe = make_pipe()
    pipe.fill()
    done = sample(home, "--log-file", pipe.path, "--store", "http://127.0.0.1:9/",
                  clock=home.clock(T))
    assert (done.returncode, done.stderr) == (0, "")
    assert waiting(home) == [T]
    # the next one may take its place
    lock = os.open(f"{home.spool}.courier", os.O_RDWR)
    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(lock)
