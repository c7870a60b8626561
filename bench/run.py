"""script/bench, when everything is built: measures the cases, prints a table and JSON, and judges."""

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import cases_history
import cases_http
import cases_programs
import report
from histories import SADC, Histories
from machine import Watch, choose_cpus, describe
from versions import versions

CASES = {
    "tail": cases_http.tail,
    "full": cases_http.full,
    "gzip": cases_http.compressed,
    "validators": cases_http.validators,
    "latency": cases_http.waiting,
    "sampler": cases_programs.sampler,
    "start": cases_programs.start,
    "size": cases_history.size,
    "year": cases_history.year,
    "growth": cases_history.growth,
}
YEAR = 365 * 1440
GOOD, MISSED, USAGE, NOISY = 0, 1, 2, 3


class Bench:
    """What the cases need: the machine, the programs, the histories."""

    here = Path(__file__).resolve().parent

    def __init__(self, options):
        self.options = options
        self.work = options.work
        self.bin = options.build / "bin"
        self.programs = options.build / "bench"
        self.reference_python = self.work / "venv/bin/python"
        self.server_cpu, self.load_cpu = options.cores or choose_cpus()
        self.watch = Watch(options.assume_noise)
        self.year = 3000 if options.quick else YEAR
        self.work.mkdir(parents=True, exist_ok=True)
        self.scratch = Path(tempfile.mkdtemp(prefix="run-", dir=self.work))
        self.histories = Histories(self)
        self.left_out = []
        self.servers = []
        self.stack = ExitStack()

    def close(self):
        """Ends all servers."""
        self.servers = []
        self.stack.close()

    def say(self, text):
        print(f"  {text}", file=sys.stderr, flush=True)

    def rounds(self, usual):
        return 1 if self.options.quick else usual

    def seconds(self, usual):
        """How long a server is asked."""
        return 0.2 if self.options.quick else usual

    def connections(self):
        return (4,) if self.options.quick else (1, 4, 64)

    def warm(self, measure):
        """Once before it counts."""
        if not self.options.quick:
            measure()

    def growth_points(self):
        """[(records, hosts)], the smallest first and the largest last."""
        if self.options.quick:
            return [(1000, 1), (3000, 1), (3000, 30)]
        most = self.options.records
        records = [10**power for power in range(4, 9) if 10**power <= most]
        middle = min(10**6, most)
        return [*((one, 1) for one in records), *((middle, hosts) for hosts in (10, 100, 1000)),
                *([(most, 1000)] if most > middle else [])]

    def tool(self, name):
        """A program that was unpacked, not installed, or one that is installed."""
        unpacked = [self.work / f"debian/{package}/{folder}/{name}"
                    for package in ("nginx", "prometheus") for folder in ("usr/sbin", "usr/bin")]
        for path in unpacked:
            if path.exists():
                return path
        return shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")

    def has(self, contestant):
        """It can be started. If not that is noted, and the run is none of all contestants."""
        there = {
            "nginx": lambda: self.tool("nginx"),
            "prometheus": lambda: self.tool("prometheus") and self.tool("promtool"),
            "reference": self.reference_python.exists,
            "sadc": lambda: Path(SADC).exists(),
            "psutil": lambda: subprocess.run(["/usr/bin/python3", "-c", "import psutil"],
                                             capture_output=True, check=False).returncode == 0,
        }[contestant]()
        if not there and contestant not in self.left_out:
            self.left_out.append(contestant)
        return bool(there)


def two_numbers(convert):
    def parse(text):
        first, second = map(convert, text.split(","))
        return first, second
    return parse


def parse_options(arguments):
    usage = "script/bench [OPTION...] [CASE...]; see script/bench --help"
    parser = argparse.ArgumentParser(prog="script/bench", usage=usage, add_help=False)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--records", type=lambda text: int(float(text)), default=10**7)
    parser.add_argument("--cores", type=two_numbers(int))
    parser.add_argument("--write-docs", action="store_true")
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--document", type=Path)
    parser.add_argument("--build", type=Path, default=Bench.here.parent / "build/release")
    parser.add_argument("--work", type=Path, default=Bench.here.parent / "build/bench")
    parser.add_argument("--assume-noise", type=two_numbers(float))
    options = parser.parse_args(arguments)
    for name in options.cases:
        if name not in CASES:
            parser.error(f"unknown case '{name}'; see script/bench --list")
    if options.records < 10**4:
        parser.error("--records needs at least 1e4")
    if options.write_docs and options.quick and not options.document:
        parser.error("the figures of --quick are nothing to --write-docs")
    options.document = options.document or Bench.here.parent / "docs/performance.md"
    options.build, options.work = options.build.resolve(), options.work.resolve()
    return options


def prepare(bench):
    """Makes all histories that are not there, the largest first."""
    make = bench.histories
    work = [lambda point=point: make.store("sealed", "usual", point[1], point[0])
            for point in reversed(bench.growth_points())]
    if bench.has("prometheus"):
        work.append(lambda: make.prometheus("usual", bench.year))
    work += [lambda how=how, profile=profile: make.store(how, profile, 1, bench.year)
             for how in ("sealed", "loose") for profile in cases_history.PROFILES]
    if bench.has("sadc"):
        work.append(lambda: make.sar(bench.year))
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(one) for one in work]:
            done.result()
    if bench.has("reference"):
        make.reference("usual", bench.year)


def measure(bench, names):
    """([Row], {case: why it could not be measured}, {case: seconds})."""
    rows, failed, took = [], {}, {}
    for name in names:
        print(f"== {name}: {CASES[name].__doc__}", file=sys.stderr, flush=True)
        begin = time.monotonic()
        if CASES[name].__module__ != cases_http.__name__:
            # who is not asked is not to disturb
            bench.close()
        try:
            found = CASES[name](bench)
        except (RuntimeError, AssertionError, OSError, subprocess.SubprocessError) as error:
            failed[name] = str(error) or repr(error)
            bench.say(f"failed: {failed[name]}")
            continue
        finally:
            took[name] = round(time.monotonic() - begin, 1)
        bench.say(f"took {took[name]:.0f} s")
        for row in found:
            print(report.row_as_text(row), flush=True)
        rows.extend(found)
    return rows, failed, took


def judge(bench, rows, failed):
    """(exit code, [the verdict's lines])."""
    noise = [f"{row.case}, {row.what}: {reason}" for row in rows for reason in row.noise()]
    lines = [f"failed: {name}: {reason}" for name, reason in failed.items()]
    lines += [f"left out: {name}" for name in bench.left_out]
    if bench.server_cpu == bench.load_cpu:
        noise.append("servers and who asks them share the only CPU")
    if noise and (not bench.options.quick or bench.options.assume_noise):
        lines += ["The machine was too noisy; this run is not a good one:", *(f"  {text}" for text in noise)]
        return NOISY, lines
    missed = [f"{row.case}, {row.what}" for row in rows for met in row.verdicts().values() if not met]
    if bench.options.quick:
        lines.append("A quick run: the machinery works, the figures say nothing.")
        return MISSED if failed else GOOD, lines
    lines += [f"missed: {text}" for text in missed]
    if missed or failed or bench.left_out:
        return MISSED, lines
    return GOOD, [*lines, "A good run: all that is wanted is there."]


def main():
    options = parse_options(sys.argv[1:])
    if options.list:
        for name, case in CASES.items():
            print(f"{name:<12} {case.__doc__}")
        return GOOD
    if options.check:
        return GOOD
    # servers end and files go, too, where it is ended from outside
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(128 + signal.SIGTERM))
    bench = Bench(options)
    try:
        if options.prepare:
            prepare(bench)
            return GOOD
        facts = {"machine": describe(bench.work), "versions": versions(bench)}
        rows, failed, facts["took_s"] = measure(bench, options.cases or list(CASES))
        code, verdict = judge(bench, rows, failed)
    finally:
        bench.close()
        shutil.rmtree(bench.scratch, ignore_errors=True)
    print("\n".join(["", report.verdict_as_text(rows), "", *verdict]))
    whole = report.as_json(bench, facts, rows, failed, verdict, code)
    if options.json:
        options.json.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.write_docs:
        written = report.write_document(options.document, whole, list(CASES))
        bench.say(f"{options.document.name} has the figures of: {', '.join(written) or 'nothing'}")
    return code


if __name__ == "__main__":
    os.environ["LC_ALL"] = "C.UTF-8"
    # one of the contestants is ended by a signal that dumps core
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
