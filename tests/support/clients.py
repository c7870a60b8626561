"""Clients of memory-api: polite ones, and what a test wants to know of the process they talk to."""

import os
import threading
from pathlib import Path

from .api import http_exchange
from .programs import program_path

FIRST_TIMESTAMP = 1_647_033_600

# databases that fill() made, by number of records
made = {}
# importing a larger one takes seconds, many in a sanitized build: the build keeps it
KEPT_FROM = 10_000


def kept_path(count):
    """Where the build keeps a database of count records by its memory-tracker, or None."""
    if count < KEPT_FROM or "MT_BUILD_DIR" not in os.environ:
        return None
    program = program_path("memory-tracker").stat()
    return Path(os.environ["MT_BUILD_DIR"], "filled", f"{count}-{program.st_mtime_ns}.db")


def fill(home, count):
    """Makes a store of count records, one a minute, oldest at FIRST_TIMESTAMP."""
    kept = kept_path(count)
    if count not in made and kept is not None and kept.exists():
        made[count] = kept.read_bytes()
    if count in made:
        home.db.write_bytes(made[count])
        return
    rows = "".join(
        f"{FIRST_TIMESTAMP + 60 * i},{16000 + i % 7},{8000 + i % 5},{8000 + i % 7 - i % 5}\n"
        for i in range(count)
    )
    home.import_csv("timestamp,total,free,used\n" + rows)
    made[count] = home.db.read_bytes()
    if kept is not None:
        kept.parent.mkdir(exist_ok=True)
        for older in kept.parent.glob(f"{count}-*.db"):
            older.unlink(missing_ok=True)
        new = kept.with_suffix(f".{os.getpid()}")
        new.write_bytes(made[count])
        new.rename(kept)


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def resident_kib(process):
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def is_closed(connection):
    """The other side has ended this non-blocking connection; what it sent before is dropped."""
    try:
        while connection.recv(1 << 16):
            pass
        return True
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


class Polite:
    """A client that goes on asking, on new and on kept connections, and notes what went wrong.

    with Polite(api, "/memory-logs?limit=2"): ... fails if any answer was not status 200 and equal
    to the first, or if there was none.
    """

    def __init__(self, api, target):
        self.api = api
        self.target = target
        self.expected = api.get(target).body
        self.answers = 0
        self.failures = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.ask)

    def ask(self):
        while not self.stopping.is_set() and not self.failures:
            try:
                with self.api.connect() as connection:
                    for _ in range(3):
                        response = http_exchange(connection, self.target)
                        if response.status != 200 or response.body != self.expected:
                            self.failures.append(response.head)
                        self.answers += 1
            except OSError as error:
                self.failures.append(repr(error))
            # it asks hundreds of times a second, and leaves the processors to those that it watches
            self.stopping.wait(0.005)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, error, trace):
        self.stopping.set()
        self.thread.join()
        if kind is None:
            assert not self.failures, self.failures
            assert self.answers > 0
