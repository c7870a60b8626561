"""GET /memory-logs: answers a second, bytes, and how long one waits."""

import gzip

from load import asked, latency, rate
from results import LESS, MORE, SUBJECT, Quiet, Row, add_all, interleave, together, worst
from servers import LONG, SHORT, Api, Ceiling, Nginx, Reference, wait_for

NAMES = {SHORT: "limit=10", LONG: "limit=99,999"}
GZIP = "Accept-Encoding: gzip"
PERCENTILES = ("50", "90", "99", "99.9", "100")
# busier than that with the server less busy, and who asks is the limit
MOST_CLIENT = 0.95
# a round asks each server so often, so long, forwards and back
TURNS = 4
TURN_S = 1


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


def is_slow(server, question):
    """A turn is too short for it."""
    return server.name == "reference" and question == LONG


def seconds_for(bench, server, question):
    """Long enough for some answers of the slowest."""
    return bench.seconds(10 if is_slow(server, question) else 3)


def plural(count, what):
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def compare_rates(bench, case, question, wanted):
    rows = []
    servers = all_servers(bench)
    for connections in bench.connections():
        what = f"{NAMES[question]}, {plural(connections, 'connection')}"
        speed = Row(case, what, "requests/s", MORE, wanted)
        cost = Row(case, f"{what}: CPU of the server", "µs an answer", LESS)
        for server in servers:
            bench.warm(lambda: rate(bench, server, question, connections, 1))
        for _ in range(bench.rounds(9)):
            in_short_turns(bench, servers, question, connections, {"speed": speed, "cost": cost})
        judge_by_cost(speed, cost)
        rows += [speed, cost]
    return rows


def in_short_turns(bench, servers, question, connections, rows):
    """One round: what a machine does to one server for a second or two it does to all of them."""
    turns = [server for turn in range(1 if bench.options.quick else TURNS)
             for server in (servers if turn % 2 == 0 else reversed(servers))
             if turn == 0 or not is_slow(server, question)]
    quiet = Quiet(bench, 2 * len(turns))
    found = {server.name: [] for server in servers}
    disturbed = {server.name: [] for server in servers}
    for server in turns:
        seconds = seconds_for(bench, server, question) if is_slow(server, question) else bench.seconds(TURN_S)
        found[server.name].append(quiet.measure(asked, bench, server, question, connections, seconds))
        disturbed[server.name].append(quiet.disturbances[-1])
    whole = {name: together(measured) for name, measured in found.items()}
    add_all(rows, [(name, {"speed": one, "cost": one.cpu_us}) for name, one in whole.items()], worst(disturbed))


def judge_by_cost(speed, cost):
    """Where who asks is the limit the rates are alike, whatever an answer costs: then that decides, too."""
    for name in ("ceiling", SUBJECT):
        server, client = speed.shares(name)
        if client > MOST_CLIENT and server < MOST_CLIENT and "ceiling" in speed.wanted:
            cost.wanted = {"ceiling": 1 / speed.wanted["ceiling"]}
            cost.notes.append(f"{speed.what}: who asks was the limit of {name}, so the CPU of an answer is judged, too")


def tail(bench):
    """limit=10 against the ceiling, a static file and the reference"""
    return compare_rates(bench, "tail", SHORT, {"ceiling": 0.95, "reference": 50})


def full(bench):
    """limit=99,999 against the same"""
    return compare_rates(bench, "full", LONG, {"ceiling": 0.90, "reference": 400})


def compressed(bench):
    """limit=99,999 with gzip: bytes and rate against identity"""
    size = Row("gzip", "limit=99,999, bytes of the body", "bytes", LESS, {"identity": 0.125}, is_timed=False)
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
    rows = [size]
    for connections in bench.connections():
        row = Row("gzip", f"limit=99,999, {plural(connections, 'connection')}, gzip", "requests/s", MORE,
                  {"identity": 0.5})
        contestants = {SUBJECT: (api, GZIP, 200), "identity": (api, None, 200)}
        if "nginx" in servers:
            contestants["nginx"] = (servers["nginx"], GZIP, 200)
        compare_headers(bench, row, LONG, connections, contestants)
        rows.append(row)
    return rows


def compare_headers(bench, row, question, connections, contestants):
    """contestants: {name: (server, header of the request or None, status of the answer)}."""
    def measure(seconds, server, header, status):
        return lambda: {0: asked(bench, server, question, connections, bench.seconds(seconds), header, status)}

    for how in contestants.values():
        bench.warm(measure(1, *how))
    interleave(bench, {name: measure(2, *how) for name, how in contestants.items()},
               bench.rounds(5 if row.wanted else 3), {0: row})


def validators(bench):
    """limit=10 and 99,999 that did not change: 304 against 200, and against nginx's 304"""
    rows = []
    servers = {server.name: server for server in all_servers(bench)}
    api = servers[SUBJECT]
    for question, name in NAMES.items():
        size = Row("validators", f"{name}, not modified: bytes of the answer", "bytes", LESS, is_timed=False)
        conditions = {}
        for server in [servers[one] for one in (SUBJECT, "nginx") if one in servers]:
            _, headers, body = server.get(question)
            tag = headers.get("etag")
            if tag is None:
                raise RuntimeError(f"{server.name} gives no ETag")
            whole = length_of(headers, body)
            status, headers, body = server.get(question, **{"If-None-Match": tag})
            assert status == 304, server.name
            size.add(server.name, length_of(headers, body))
            if server is api:
                size.add("200", whole)
            conditions[server.name] = (server, f"If-None-Match: {tag}", 304)
        rows.append(size)
        for connections in bench.connections():
            row = Row("validators", f"{name}, {plural(connections, 'connection')}, not modified", "requests/s", MORE)
            compare_headers(bench, row, question, connections, {**conditions, "200": (api, None, 200)})
            rows.append(row)
    rows[0].notes.append("of ten records a 304 saves some hundred bytes, which cost next to nothing beside the"
                         " request and the answer as such; of 99,999 it saves all")
    return rows


def length_of(headers, body):
    """Bytes of an answer but for those of its first line."""
    return sum(len(f"{name}: {value}\r\n") for name, value in headers.items()) + 2 + len(body)


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
                found = latency(bench, server, question, 64, half, seconds)
                return {percentile: found[percentile] for percentile in PERCENTILES}

            contestants[server.name] = measure
        interleave(bench, contestants, bench.rounds(3), mine)
        rows.update({(question, p): row for p, row in mine.items()})
    return list(rows.values())
