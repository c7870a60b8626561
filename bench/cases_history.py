"""What a history weighs, what a year of it costs to sum up, and how that grows."""

import http.client
import json
import shutil
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from cases_http import plural
from cases_programs import cpu_times, first_answers, sampler_command
from histories import size_of
from load import asked, output_of
from results import LESS, MORE, SUBJECT, Row, in_batches, interleave
from servers import SHORT, Api, Server, free_port, pinned

PROFILES = ("calm", "usual", "busy")
HOUR = 3600


def size(bench):
    """bytes of a year on disk"""
    rows = []
    for profile in PROFILES:
        row = Row("size", f"a year of one host, {profile}", "MB", LESS,
                  {None: 15} if profile == "usual" else None)
        row.add(SUBJECT, size_of(bench.histories.store("sealed", profile, 1, bench.year)) / 1e6)
        row.add("rows in SQLite", size_of(bench.histories.store("loose", profile, 1, bench.year)) / 1e6)
        if profile == "usual":
            if bench.has("prometheus"):
                row.add("prometheus", size_of(bench.histories.prometheus(profile, bench.year)) / 1e6)
            if bench.has("sadc"):
                row.add("sar", size_of(bench.histories.sar(bench.year)) / 1e6)
                row.notes.append("sar keeps CPUs, disks and networks, too")
        rows.append(row)
    return rows


class Prometheus(Server):
    name = "prometheus"

    def __init__(self, bench, data):
        super().__init__(bench)
        self.port = free_port()
        # it may rewrite what it is given
        self.data = bench.scratch / "prometheus"
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.copytree(data, self.data)
        self.targets = {SHORT: "/-/ready"}
        (bench.scratch / "prometheus.yml").write_text("{}\n")

    def command(self):
        return [self.bench.tool("prometheus"), f"--config.file={self.bench.scratch}/prometheus.yml",
                f"--storage.tsdb.path={self.data}", "--storage.tsdb.retention.time=100y",
                f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=error"]

    def hours(self, expression, first, last):
        """The microseconds that the values of each whole hour took."""
        found = {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        begin = time.perf_counter()
        for function in ("min", "avg", "max"):
            query = urllib.parse.urlencode({"query": f"{function}_over_time({expression})", "start": first,
                                            "end": last, "step": HOUR})
            connection.request("GET", f"/api/v1/query_range?{query}")
            found[function] = connection.getresponse().read()
        took = (time.perf_counter() - begin) * 1e6
        connection.close()
        for text in found.values():
            answer = json.loads(text)
            assert answer["status"] == "success" and answer["data"]["result"], text[:300]
        return took


def year(bench):
    """a year to hourly minimum, mean and maximum by the store's call, against Prometheus, SQL and sadf"""
    sealed = bench.histories.store("sealed", "usual", 1, bench.year)
    loose = bench.histories.store("loose", "usual", 1, bench.year)
    rows = {name: Row("year", f"{text} to hourly min, mean, max", "µs", LESS, {"prometheus": 1.0}, aim=5000)
            for name, text in (("mem_available", "a year of one field"), ("used", "a year of `used`"))}
    prom_words = {"mem_available": "mem_available[1h]", "used": "(mem_total - mem_available)[1h:1m]"}
    sql_words = {"mem_available": "mem_available", "used": "mem_total - mem_available"}

    def store_call(name):
        text = output_of(pinned(bench.server_cpu, [
            bench.programs / "store_calls", f"year={name}", 5, f"sqlite:{sealed}"]))
        return sorted(int(line.split()[1]) for line in text.splitlines())[2]

    def sql(name):
        return int(output_of(pinned(bench.server_cpu, [
            "/usr/bin/python3", bench.here / "sql_year.py", loose, sql_words[name]])).split()[0])

    def sadf(directory):
        # the fifth column is kbavail; the sixth, kbmemused, takes as long
        program = ("{h=int($3/3600); v=$5; if (!(h in n) || v<lo[h]) lo[h]=v;"
                   " if (!(h in n) || v>hi[h]) hi[h]=v; n[h]++; s[h]+=v}"
                   ' END {for (h in n) print h*3600, lo[h], s[h]/n[h], hi[h]}')
        begin = time.perf_counter()
        output_of(pinned(bench.server_cpu, [
            "bash", "-c", 'for f in "$1"/sa*; do sadf -d -U "$f" -- -r; done | awk -F";" "$2"', "sadf",
            directory, program]))
        return dict.fromkeys(rows, (time.perf_counter() - begin) * 1e6)

    with ExitStack() as stack:
        contestants = {SUBJECT: lambda: {name: store_call(name) for name in rows},
                       "SQL over rows": lambda: {name: sql(name) for name in rows}}
        if bench.has("prometheus"):
            server = stack.enter_context(Prometheus(bench, bench.histories.prometheus("usual", bench.year)))
            last = bench.histories.end() // HOUR * HOUR
            first = last - bench.year * 60 // HOUR * HOUR
            contestants["prometheus"] = lambda: {
                name: server.hours(prom_words[name], first, last) for name in rows}
        if bench.has("sadc"):
            directory = bench.histories.sar(bench.year)
            contestants["sadf"] = lambda: sadf(directory)
        for measure in contestants.values():
            bench.warm(measure)
        interleave(bench, contestants, bench.rounds(5), rows)
    return list(rows.values())


def named(records, hosts):
    return f"{records:.0e}".replace("e+0", "e") + f" records, {hosts:,} host" + ("s" if hosts > 1 else "")


# each call: its name in the table, and how often it is made
CALLS = {
    "open": ("open the store", 200),
    "tail": ("limit=10", 200),
    "skip": ("limit=10, skip nine tenths", 15),
    "host": ("limit=10 of one host", 200),
    "full": ("limit=99,999", 9),
}


def growth_paths(bench):
    """{(records, hosts): the history}."""
    points = bench.growth_points()
    # each takes a core, and minutes where it is large
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(points, pool.map(
            lambda point: bench.histories.store("sealed", "usual", point[1], point[0]), points)))


def growth(bench):
    """the cost of limit=10, skip, host, 99,999, a sample and start from 1e4 to 1e7 records, 1 to 1,000 hosts"""
    paths = growth_paths(bench)
    rows = [store_call_row(bench, call, paths) for call in CALLS]
    # what is measured again should be as large as it was
    copies = {point: Path(shutil.copy(path, bench.scratch)) for point, path in paths.items()}
    rows += [store_call_row(bench, "append", copies), sample_row(bench, copies)]
    for path in copies.values():
        path.unlink()
    first = Row("growth", "exec to first answer", "ms", LESS, subject=named(*points_end(paths)), most_spread=0.5)
    interleave(bench, {named(*point): lambda path=path: {0: first_answers(bench, path, 1)[0]}
                       for point, path in paths.items()}, bench.rounds(9), {0: first})
    return [*rows, first, *http_rows(bench, paths)]


def points_end(paths):
    """The largest."""
    return list(paths)[-1]


def store_call_row(bench, call, paths):
    name, rounds = {**CALLS, "append": ("append a record, the disk included", 60)}[call]
    row = Row("growth", name, "µs", LESS, subject=named(*points_end(paths)),
              # fsync takes what the disk takes
              most_spread=float("inf") if call == "append" else 0.5)
    words = [bench.programs / "store_calls", "host=node-0001" if call == "host" else call,
             bench.rounds(rounds), *(f"sqlite:{path}" for path in paths.values())]
    names = [named(*point) for point in paths]

    def measure():
        lines = output_of(pinned(bench.server_cpu, words)).splitlines()
        return [(names[number], {0: took}) for number, took, _ in (map(int, line.split()) for line in lines)]

    in_batches(bench, measure, 1, {0: row})
    return row


def sample_row(bench, paths):
    """The sampler as a program."""
    row = Row("growth", "a sample, CPU of the sampler", "µs", LESS, subject=named(*points_end(paths)),
              most_spread=0.5)
    commands = {named(*point): sampler_command(bench, path) for point, path in paths.items()}

    def measure():
        return [(name, {0: spent}) for name, spent, _, _ in cpu_times(bench, commands, bench.rounds(12))]

    cpu_times(bench, commands, 1)
    in_batches(bench, measure, bench.rounds(2), {0: row})
    return row


def http_rows(bench, paths):
    """limit=10 over HTTP: what is wanted is that the largest are as fast as the smallest; and far back."""
    points = list(paths)
    smallest = points[0]
    most_records = max(points, key=lambda point: (point[0], -point[1]))
    most_hosts = max(points, key=lambda point: (point[1], -point[0]))
    larger = list(dict.fromkeys([most_records, most_hosts, points[-1]]))
    rows = []
    with ExitStack() as stack:
        servers = {point: stack.enter_context(Api(bench, paths[point])) for point in [smallest, *larger]}
        for connections in bench.connections():
            mine = {point: Row("growth", f"limit=10 over HTTP, {plural(connections, 'connection')}: {named(*point)}",
                               "requests/s", MORE, {named(*smallest): 0.9}, subject=named(*point))
                    for point in larger}
            contestants = {named(*point): lambda point=point: {
                one: asked(bench, servers[point], SHORT, connections, bench.seconds(2))
                for one in ([point] if point in mine else mine)} for point in servers}
            interleave_warm(bench, contestants, mine)
            rows += mine.values()
        deep = Row("growth", "limit=10, skip nine tenths, over HTTP, 4 connections", "requests/s", MORE,
                   subject=named(*points[-1]), most_spread=0.5)
        interleave_warm(bench, {named(*point): lambda point=point: {
            0: asked(bench, servers[point], f"{SHORT}&skip={point[0] * 9 // 10}", 4, bench.seconds(4))}
            for point in servers}, {0: deep}, 3)
    deep.notes.append("deep skips reach beyond the window but for the smallest history: a worker reads the store")
    return [*rows, deep]


def interleave_warm(bench, contestants, rows, rounds=5):
    for measure in contestants.values():
        bench.warm(measure)
    interleave(bench, contestants, bench.rounds(rounds), rows)
