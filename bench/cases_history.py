"""What a history weighs, what a year of it costs to sum up, and how that grows."""

import http.client
import json
import shutil
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from cases_programs import first_answers
from histories import size_of
from load import output_of, rate
from results import LESS, MORE, SUBJECT, Row, interleave
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
    rows = {name: Row("year", f"{text} to hourly min, mean, max", "µs", LESS, {"prometheus": 1.0})
            for name, text in (("mem_available", "a year of one field"), ("used", "a year of `used`"))}
    for row in rows.values():
        row.notes.append("the aim is 5,000 µs")
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
    "skip": ("limit=10, skip nine tenths", 40),
    "host": ("limit=10 of one host", 200),
    "full": ("limit=99,999", 7),
    "append": ("append a sample", 60),
}


def growth(bench):
    """the cost of limit=10, skip, host, 99,999, a sample and start from 1e4 to 1e7 records, 1 to 1,000 hosts"""
    points = bench.growth_points()
    # each takes a core, and minutes where it is large
    with ThreadPoolExecutor(2) as pool:
        paths = dict(zip(points, pool.map(
            lambda point: bench.histories.store("sealed", "usual", point[1], point[0]), points)))
    rows = [store_call_row(bench, call, paths) for call in CALLS]
    first = Row("growth", "exec to first answer", "ms", LESS, subject=named(*points[-1]), most_spread=0.5)
    interleave(bench, {named(*point): lambda path=path: {0: first_answers(bench, path, 1)[0]}
                       for point, path in paths.items()}, bench.rounds(7), {0: first})
    return [*rows, first, *http_rows(bench, paths)]


def store_call_row(bench, call, paths):
    largest = named(*list(paths)[-1])
    name, rounds = CALLS[call]
    row = Row("growth", name, "µs", LESS, subject=largest,
              # fsync takes what the disk takes
              most_spread=float("inf") if call == "append" else 0.5)
    stores = paths
    if call == "append":
        # what is measured again should be as large as it was
        stores = {}
        for point, path in paths.items():
            stores[point] = bench.scratch / path.name
            shutil.copy(path, stores[point])
    with bench.undisturbed([row]):
        text = output_of(pinned(bench.server_cpu, [
            bench.programs / "store_calls", "host=node-0001" if call == "host" else call,
            bench.rounds(rounds), *(f"sqlite:{path}" for path in stores.values())]))
    for line in text.splitlines():
        number, took, _ = map(int, line.split())
        row.add(named(*list(stores)[number]), took)
    if call == "append":
        for path in stores.values():
            path.unlink()
    return row


def http_rows(bench, paths):
    """limit=10 over HTTP: what is wanted is that the largest are as fast as the smallest."""
    points = list(paths)
    smallest = points[0]
    rows = []
    with ExitStack() as stack:
        most_records = max(points, key=lambda point: (point[0], -point[1]))
        most_hosts = max(points, key=lambda point: (point[1], -point[0]))
        servers = {point: stack.enter_context(Api(bench, paths[point]))
                   for point in {smallest, most_records, most_hosts}}
        for point in dict.fromkeys([most_records, most_hosts]):
            row = Row("growth", f"limit=10 over HTTP, 4 connections: {named(*point)}", "requests/s", MORE,
                      {named(*smallest): 0.9}, subject=named(*point))
            contestants = {
                named(*one): lambda one=one: {0: rate(bench, servers[one], SHORT, 4, bench.seconds(3))}
                for one in (point, smallest)}
            for measure in contestants.values():
                bench.warm(measure)
            interleave(bench, contestants, bench.rounds(5), {0: row})
            rows.append(row)
    return rows
