"""Histories to measure on, made once and kept: of this build's stores, and the same of the others."""

import hashlib
import os
import shutil
import sqlite3
import struct
import subprocess
import time
from contextlib import closing
from pathlib import Path

from load import output_of

SADC = "/usr/lib/sysstat/sadc"
# what decides what is in the files that are kept, besides what this build makes of them; made by
# others they are made anew
SOURCES = ("bench/history.c", "bench/model.[ch]", "bench/histories.py")
MAKERS = ("libsqlite3-0", "libzstd1", "sysstat")
# a small history that tells builds apart: its records and the second in which it ends
SAMPLE, SAMPLE_END = 12000, 1600000000
# seconds of a block of Prometheus, as in history.c
SPAN_S = 486 * 3600


def size_of(path):
    """Bytes on disk of a file or of all that is in a directory."""
    path = Path(path)
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def versions_of(packages):
    """Debian's versions of those that are installed, a line each: "NAME VERSION"."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages],
                          capture_output=True, text=True, check=False)
    return done.stdout


def trace_of(path):
    """What changes when somebody writes to a file, or to any in a directory."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return "".join(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}\n" for file in files)


def remove(path):
    shutil.rmtree(path, ignore_errors=True)
    if not path.is_dir():
        path.unlink(missing_ok=True)


def content_of(store):
    """A hash of what is in an SQLite file of ours, and of its size, but for what is drawn by lot."""
    found = hashlib.sha256(str(size_of(store)).encode())
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        for line in database.iterdump():
            if not line.startswith('INSERT INTO "meta"'):
                found.update(line.encode())
    return found.hexdigest()


def generation(bench):
    """A name for how histories are made: by these sources, and by a build that makes these files."""
    root = bench.here.parent
    found = hashlib.sha256(versions_of(MAKERS).encode())
    for pattern in SOURCES:
        files = sorted(root.glob(pattern))
        assert files, pattern
        for path in files:
            found.update(path.read_bytes())
    for how in ("sealed", "loose"):
        sample = bench.scratch / f"{how}.sample.db"
        output_of([bench.programs / "history", how, f"sqlite:{sample}", "busy", 3, SAMPLE, SAMPLE_END])
        found.update(content_of(sample).encode())
        sample.unlink()
    return found.hexdigest()[:12]


class Histories:
    def __init__(self, bench):
        self.bench = bench
        self.directory = bench.work / "histories" / generation(bench)
        if not self.directory.exists():
            if self.directory.parent.exists():
                bench.say("the histories were made in another way: they are made anew")
            shutil.rmtree(self.directory.parent, ignore_errors=True)
            self.directory.mkdir(parents=True)
        # before any thread asks for it
        self.end()

    def keep(self, name, make):
        """The file or directory of that name; made by make(path) unless it is there as it was made."""
        path = self.directory / name
        trace = path.with_name(f"{name}.trace")
        if path.exists() and not (trace.exists() and trace.read_text() == trace_of(path)):
            self.bench.say(f"{name} is not as it was made")
            remove(path)
        if not path.exists():
            started = time.monotonic()
            unfinished = path.with_name(f"{name}.new")
            remove(unfinished)
            make(unfinished)
            # SQLite leaves it empty
            unfinished.with_name(f"{unfinished.name}-journal").unlink(missing_ok=True)
            trace.write_text(trace_of(unfinished).replace(unfinished.name, name))
            unfinished.rename(path)
            # nobody writes it out while something is measured
            os.sync()
            self.bench.say(f"made {name} in {time.monotonic() - started:.1f} s, {size_of(path) / 1e6:.1f} MB")
        return path

    def end(self):
        """The second in which all histories end: about when the first was made."""
        path = self.directory / "end"
        if not path.exists():
            path.write_text(f"{int(time.time()) // 60 * 60 - 60}\n")
        return int(path.read_text())

    def generate(self, how, place, profile, hosts, records):
        output_of([self.bench.programs / "history", how, place, profile, hosts, records, self.end()])

    def store(self, how, profile, hosts, records):
        """An SQLite file of ours, how: sealed or loose."""
        return self.keep(f"{how}-{profile}-{hosts}-{records}.db",
                         lambda path: self.generate(how, f"sqlite:{path}", profile, hosts, records))

    def reference(self, profile, records):
        """The file of the FastAPI reference, with the numbers of the same history."""
        source = self.store("loose", profile, 1, records)

        def make(path):
            database = sqlite3.connect(path)
            database.execute("ATTACH ? AS history", (str(source),))
            database.execute("CREATE TABLE memory_log(timestamp INTEGER PRIMARY KEY, total INTEGER,"
                             " free INTEGER, used INTEGER)")
            database.execute(
                "INSERT INTO main.memory_log SELECT timestamp, mem_total / 1024, mem_available / 1024,"
                " mem_total / 1024 - mem_available / 1024 FROM history.memory_log ORDER BY timestamp")
            database.commit()
            database.close()

        return self.keep(f"reference-{profile}-{records}.db", make)

    def prometheus(self, profile, records):
        """A data directory of Prometheus, back-filled by promtool, a block at a time."""

        def make(path):
            texts = path.with_name(path.name + ".txt")
            shutil.rmtree(texts, ignore_errors=True)
            texts.mkdir()
            path.mkdir()
            self.generate("openmetrics", texts, profile, 1, records)
            for text in sorted(texts.iterdir()):
                output_of([self.bench.tool("promtool"), "tsdb", "create-blocks-from", "openmetrics",
                           f"--max-block-duration={SPAN_S}s", "--quiet", text, path])
            shutil.rmtree(texts)

        return self.keep(f"prometheus-{profile}-{records}", make)

    def sar(self, records):
        """A directory of sysstat's daily files; each record is one that sadc wrote, at another time."""

        def make(path):
            path.mkdir()
            sample = self.bench.scratch / "sa.sample"
            sample.unlink(missing_ok=True)
            sizes = []
            for _ in range(2):
                subprocess.run([SADC, "1", "1", sample], check=True)
                sizes.append(sample.stat().st_size)
            data = sample.read_bytes()
            head, record = data[:2 * sizes[0] - sizes[1]], bytearray(data[sizes[0]:])
            first = self.end() // 60 - records + 1
            day = None
            with_day = None
            for minute in range(first, first + records):
                if minute // 1440 != day:
                    if with_day:
                        with_day.close()
                    day = minute // 1440
                    with_day = (path / f"sa{day}").open("wb")
                    with_day.write(head)
                # struct record_header: uptime_cs, ust_time, extra_next, record_type, hour, minute, second
                struct.pack_into("=QQ", record, 0, (minute - first + 1) * 6000, minute * 60)
                record[21:24] = bytes([minute // 60 % 24, minute % 60, 0])
                with_day.write(record)
            with_day.close()

        return self.keep(f"sar-{records}", make)
