"""GET /memory-logs: answers a second, bytes, and how long one waits."""

import gzip

from load import latency, rate
from results import LESS, MORE, SUBJECT, Row, interleave
from servers import LONG, SHORT, Api, Ceiling, Nginx, Reference, wait_for

NAMES = {SHORT: "limit=10", LONG: "limit=99,999"}
GZIP = "Accept-Encoding: gzip"
PERCENTILES = ("50", "90", "99", "99.9", "100")


def all_servers(bench):
    """The contestants, each answering the same bytes, started once. What cannot be had is left out."""
    if not bench.servers:
        bench.servers = start_all(bench, bench.stack)
    return bench.servers


def start_all(bench, stack):
    api = stack.enter_context(Api(bench, bench.histories.store("sealed", "usual", 1, bench.year)))
    warm_up(api)
    bodies = {}
    root = bench.scratch / "static"
    root.mkdir(exist_ok=True)
    for question, name in ((SHORT, "short.json"), (LONG, "long.json")):
        status, headers, body = api.get(question)
        assert status == 200 and body.startswith(b"[{"), headers
        bodies[question] = root / name
        bodies[question].write_bytes(body)
        (root / f"{name}.gz").write_bytes(gzip.compress(body, 6))
    servers = [api, stack.enter_context(Ceiling(bench, bodies, api.get(SHORT)[1]))]
    if bench.has("nginx"):
        servers.append(stack.enter_context(Nginx(bench, bodies)))
    if bench.has("reference"):
        servers.append(stack.enter_context(
            Reference(bench, bench.histories.reference("usual", bench.year))))
    length, ceiling = (sum(len(name) + len(value) for name, value in server.get(SHORT)[1].items())
                       for server in servers[:2])
    assert length == ceiling, f"the ceiling's headers have {ceiling} bytes, ours {length}"
    for server in servers:
        for question, path in bodies.items():
            assert server.get(question)[2] == path.read_bytes(), f"{server.name} answers something else"
    return servers


def warm_up(api):
    """Until the window holds what is asked for: an answer then takes no longer than the one before."""
    api.get(LONG)
    wait_for(lambda: api.get(LONG)[0] == 200, "long answers")
    api.bench.warm(lambda: rate(api.bench, api, LONG, 4, 2))


def seconds_for(bench, server, question):
    """Long enough for some answers of the slowest."""
    slow = server.name == "reference" and question == LONG
    return bench.seconds(10 if slow else 3)


def compare_rates(bench, case, question, wanted):
    rows = {n: Row(case, f"{NAMES[question]}, {n} connection{'s' if n > 1 else ''}", "requests/s", MORE, wanted)
            for n in bench.connections()}
    servers = all_servers(bench)
    for connections in rows:
        contestants = {}
        for server in servers:
            bench.warm(lambda: rate(bench, server, question, connections, 1))

            def measure(server=server, connections=connections):
                return {connections: rate(bench, server, question, connections,
                                          seconds_for(bench, server, question))}

            contestants[server.name] = measure
        interleave(bench, contestants, bench.rounds(5), {connections: rows[connections]})
    return list(rows.values())


def tail(bench):
    """limit=10 against the ceiling, a static file and the reference"""
    return compare_rates(bench, "tail", SHORT, {"ceiling": 0.95, "reference": 50})


def full(bench):
    """limit=99,999 against the same"""
    return compare_rates(bench, "full", LONG, {"ceiling": 0.90, "reference": 400})


def compressed(bench):
    """limit=99,999 with gzip: bytes and rate against identity"""
    size = Row("gzip", "limit=99,999, bytes of the body", "bytes", LESS, {"identity": 0.125}, is_timed=False)
    speed = Row("gzip", "limit=99,999, 4 connections, gzip", "requests/s", MORE, {"identity": 0.5})
    servers = {server.name: server for server in all_servers(bench)}
    api = servers[SUBJECT]
    plain = api.get(LONG)[2]
    for name in [name for name in (SUBJECT, "nginx") if name in servers]:
        _, headers, body = servers[name].get(LONG, **{"Accept-Encoding": "gzip"})
        if headers.get("content-encoding") == "gzip":
            assert gzip.decompress(body) == plain
        elif name == SUBJECT:
            size.notes.append("it does not compress")
        size.add(name, len(body))
    size.add("identity", len(plain))

    def measure(server, header):
        return lambda: {0: rate(bench, server, LONG, 4, bench.seconds(3), header)}

    contestants = {SUBJECT: measure(api, GZIP), "identity": measure(api, None)}
    if "nginx" in servers:
        contestants["nginx"] = measure(servers["nginx"], GZIP)
    for one in contestants.values():
        bench.warm(one)
    interleave(bench, contestants, bench.rounds(5), {0: speed})
    return [size, speed]


def validators(bench):
    """limit=10 and 99,999 that did not change: 304"""
    rows = {question: Row("validators", f"{NAMES[question]}, 4 connections, not modified", "requests/s", MORE)
            for question in NAMES}
    api = all_servers(bench)[0]
    for question, row in rows.items():
        tag = api.get(question)[1].get("etag")
        if tag is None:
            raise RuntimeError("it gives no ETag")
        assert api.get(question, **{"If-None-Match": tag})[0] == 304

        def measure(header, question=question):
            return lambda: {question: rate(bench, api, question, 4, bench.seconds(3), header)}

        interleave(bench, {SUBJECT: measure(f"If-None-Match: {tag}"), "200": measure(None)},
                   bench.rounds(5), {question: row})
    return list(rows.values())


def capacity(bench, server, question):
    """Requests a second that it can answer."""
    if bench.options.quick:
        return 100
    return rate(bench, server, question, 64, seconds_for(bench, server, question))


def waiting(bench):
    """open loop at half of capacity: percentiles of the time from when a request was due"""
    rows = {}
    servers = all_servers(bench)
    for question, name in NAMES.items():
        mine = {p: Row("latency", f"{name}, 64 connections, half of capacity, "
                       + (f"{p} %" if p != "100" else "longest"), "µs", LESS,
                       most_spread=float("inf")) for p in PERCENTILES}
        contestants = {}
        for server in servers:
            half = capacity(bench, server, question) / 2
            for row in mine.values():
                row.notes.append(f"{server.name}: {half:,.0f} requests/s" if half > 100
                                 else f"{server.name}: {half:.2f} requests/s")

            def measure(server=server, half=half, question=question):
                # of few requests, too, there are some
                seconds = 0.2 if bench.options.quick else max(seconds_for(bench, server, question), 4 / half)
                return latency(bench, server, question, 64, half, seconds)

            contestants[server.name] = measure
        interleave(bench, contestants, bench.rounds(3), mine)
        rows.update({(question, p): row for p, row in mine.items()})
    return list(rows.values())
