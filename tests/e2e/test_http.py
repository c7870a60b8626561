"""Every route over a real socket: status, headers, body; GET and HEAD; what the store's ailments look like."""

import json

import pytest

from support import http_exchange, wait_until

NOW = 1647039541
ROWS = "timestamp,total,free,used\n1647039480,8192,4390,3802\n1647039540,8192,4358,3834\n"
ENTRIES = [
    {"timestamp": 1647039480, "total": 8192, "free": 4390, "used": 3802},
    {"timestamp": 1647039540, "total": 8192, "free": 4358, "used": 3834},
]
HISTORY = json.dumps(ENTRIES, separators=(",", ":"))
REFUSAL = (
    '{"detail":[{"type":"greater_than","loc":["query","limit"],"msg":"Input should be greater than 0",'
    '"input":"0","ctx":{"gt":0},"url":"https://errors.pydantic.dev/2.6/v/greater_than"}]}'
)
NOT_FOUND = '{"detail":"Not Found."}'
NOT_ALLOWED = '{"detail":"Method Not Allowed."}'
UNAVAILABLE = '{"detail":"Service unavailable."}'
INTERNAL = '{"detail":"Internal server error."}'


@pytest.fixture
def api(home, start_api):
    home.import_csv(ROWS)
    return start_api(clock=home.clock(NOW))


def assert_answer(answer, status, body, asked="", **headers):
    """Status, body, the headers every answer has, and no header that this one must not have."""
    assert (answer.status, answer.text) == (status, body), asked
    assert answer.version == "HTTP/1.1", asked
    assert answer.headers["content-type"] == "application/json", asked
    assert answer.headers["content-length"] == str(len(body.encode())), asked
    assert "transfer-encoding" not in answer.headers, asked
    for name in "allow", "retry-after":
        assert answer.headers.get(name) == headers.get(name.replace("-", "_")), (asked, name)


GOOD = [
    ("/memory-logs", HISTORY),
    ("/memory-logs/", HISTORY),
    ("/memory-logs?limit=1", HISTORY[:1] + HISTORY[HISTORY.index("},") + 2:]),
    ("/memory-logs/?limit=1&skip=1", HISTORY[: HISTORY.index("},") + 1] + "]"),
    ("/memory-logs?skip=2", "[]"),
    ("/memory-logs/?skip=123456789012345678901234567890", "[]"),
    ("/memory-logs?", HISTORY),
    ("/memory-logs?unknown=1&Limit=0", HISTORY),
    ("/memory%2Dlogs%2f", HISTORY),
    ("/memory-logs?skip=2#&skip=x", "[]"),
    ("/memory-logs#?limit=0", HISTORY),
    ("http://localhost/memory-logs", HISTORY),
    ("http://localhost:8000/memory-logs/?limit=9", HISTORY),
    ("/healthz", '{"status":"ok"}'),
    ("/healthz/?limit=0", '{"status":"ok"}'),
    ("/readyz", '{"status":"ready"}'),
    ("/readyz/", '{"status":"ready"}'),
]


def test_good_questions(api):
    for target, body in GOOD:
        assert_answer(api.get(target), 200, body, target)


def test_head_is_get_without_its_body(api):
    targets = [target for target, _ in GOOD]
    targets += ["/memory-logs?limit=0", "/memory-logs/?limit=0", "/", "/nowhere"]
    with api.connect() as connection:
        for target in targets:
            expected = http_exchange(connection, target)
            head = http_exchange(connection, target, "HEAD")
            # a body after the head would be taken for the next answer
            after = http_exchange(connection, "/healthz")
            assert (head.status, head.body) == (expected.status, b""), target
            assert head.headers["content-length"] == str(len(expected.body)), target
            for headers in head.headers, expected.headers:
                assert headers.pop("date"), target
            assert head.headers == expected.headers, target
            assert_answer(after, 200, '{"status":"ok"}', target)


def test_bad_parameters(api):
    for path in "/memory-logs", "/memory-logs/":
        assert_answer(api.get(path + "?limit=0"), 422, REFUSAL, path)
        both = api.get(path + "?skip=x&limit=100000")
        assert both.status == 422
        assert [(e["loc"], e["type"], e["input"]) for e in both.json()["detail"]] == [
            (["query", "limit"], "less_than", "100000"),
            (["query", "skip"], "int_parsing", "x"),
        ]


NOWHERE = [
    "/", "/memory-log", "/memory-logs//", "//memory-logs", "/memory-logs/x", "/MEMORY-LOGS", "/./memory-logs",
    "/x/../memory-logs", "/memory-logs/.", "/memory-logs%00", "/memory%252Dlogs", "/memory-logs%3Flimit=1", "/health", "*",
    "http://localhost", "http://localhost?/memory-logs", "http://localhost#/memory-logs", "#", "memory-logs", b"/memory-logs\xe9",
]


def test_paths_that_lead_nowhere(api):
    for target in NOWHERE:
        assert_answer(api.get(target), 404, NOT_FOUND, target)
        assert_answer(api.get(target, "POST"), 404, NOT_FOUND, target)


def test_other_methods(api):
    targets = [
        "/memory-logs", "/memory-logs/", "/memory-logs?limit=0", "/healthz", "/healthz/", "/readyz", "/readyz/",
    ]
    for method in "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "BREW":
        for target in targets:
            answer = api.get(target, method)
            assert_answer(answer, 405, NOT_ALLOWED, f"{method} {target}", allow="GET, HEAD")


def test_errors_keep_the_connection(api):
    with api.connect() as connection:
        for _ in range(2):
            assert_answer(http_exchange(connection, "/nowhere"), 404, NOT_FOUND)
            assert_answer(http_exchange(connection, "/memory-logs?limit=0"), 422, REFUSAL)
            refused = http_exchange(connection, "/memory-logs", "POST")
            assert_answer(refused, 405, NOT_ALLOWED, allow="GET, HEAD")
            assert "close" not in refused.headers.get("connection", "")
            assert_answer(http_exchange(connection, "/memory-logs"), 200, HISTORY)


def rest_of(connection):
    """What comes until the other side closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_connection_close_closes(api):
    with api.connect() as connection:
        answer = http_exchange(connection, "/memory-logs", headers={"Connection": "close"})
        assert_answer(answer, 200, HISTORY)
        assert answer.headers["connection"] == "close"
        assert rest_of(connection) == b""


def test_a_body_is_answered_and_ends_the_connection(api):
    # were the body taken for the next request, there would be a second answer
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    for method, status, body in (b"POST", 405, NOT_ALLOWED), (b"GET", 200, HISTORY):
        with api.connect() as connection:
            connection.sendall(
                b"%s /memory-logs HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
                % (method, len(smuggled), smuggled)
            )
            everything = rest_of(connection)
        assert everything.startswith(b"HTTP/1.1 %d " % status)
        assert everything.count(b"HTTP/1.1 ") == 1
        assert b"\r\nconnection: close\r\n" in everything.lower()
        assert everything.endswith(b"\r\n\r\n" + body.encode())


def test_http_1_0_closes_unless_asked_not_to(api):
    with api.connect() as connection:
        answer = http_exchange(connection, "/memory-logs", version="HTTP/1.0")
        assert_answer(answer, 200, HISTORY)
        assert rest_of(connection) == b""
    with api.connect() as connection:
        for _ in range(2):
            answer = http_exchange(
                connection, "/memory-logs", version="HTTP/1.0", headers={"Connection": "keep-alive"}
            )
            assert_answer(answer, 200, HISTORY)
            assert answer.headers["connection"] == "keep-alive"


def test_pipelined_questions_are_answered_in_order(api):
    targets = ["/memory-logs?limit=1", "/healthz", "/memory-logs?limit=0", "/memory-logs", "/nowhere", "/readyz"]
    with api.connect() as connection:
        connection.sendall(b"".join(
            b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target.encode() for target in targets[:-1]
        ))
        last = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % targets[-1].encode()
        connection.sendall(last)
        everything = rest_of(connection)
    expected = [api.get(target) for target in targets]
    at = 0
    for answer in expected:
        assert everything[at:].startswith(b"HTTP/1.1 %d " % answer.status)
        at = everything.index(b"\r\n\r\n", at) + 4
        assert everything[at:at + len(answer.body)] == answer.body
        at += len(answer.body)
    assert at == len(everything)


def test_long_questions_are_answered_in_full(api):
    for unit, count, inputs in [
        (b"9", 4301, ["9" * 4301]),
        (b"%00", 10000, ["\0" * 10000]),
        (b"\xff", 50000, ["\xff" * 50000]),
        (b"&", 100000, [""]),
        (b"&skip=x", 20000, ["", "x"]),
        (b"&limit=%FF", 10000, ["\ufffd"]),
    ]:
        answer = api.get(b"/memory-logs?limit=" + unit * count)
        assert answer.status == 422, unit
        assert answer.headers["content-length"] == str(len(answer.body)), unit
        assert [error["input"] for error in answer.json()["detail"]] == inputs, unit


def test_the_answer_of_every_limit_is_as_long_as_it_says(home, start_api):
    rows = [f"{1647000000 + 60 * i},8192,{i % 8193},{8192 - i % 8193}" for i in range(5000)]
    home.import_csv("timestamp,total,free,used\n" + "\n".join(rows) + "\n")
    api = start_api(clock=home.clock(1647000000 + 60 * 5000))
    for limit in 1, 2, 999, 1024, 1025, 4999, 5000, 5001, 99999:
        answer = api.get(f"/memory-logs?limit={limit}")
        assert answer.status == 200
        entries = answer.json()
        assert len(entries) == min(limit, 5000)
        assert answer.text == json.dumps(entries, separators=(",", ":"))
        assert [e["timestamp"] for e in entries] == [
            1647000000 + 60 * i for i in range(5000 - len(entries), 5000)
        ]
        assert all(e["total"] == e["free"] + e["used"] for e in entries)


def test_a_store_that_is_missing_and_then_comes(home, start_api):
    api = start_api(clock=home.clock(NOW))
    for target in "/memory-logs", "/memory-logs/":
        assert_answer(api.get(target), 503, UNAVAILABLE, retry_after="5")
    unready = api.get("/readyz")
    assert unready.status == 503
    assert unready.headers["retry-after"] == "5"
    assert unready.json()["status"] == "unavailable"
    assert str(home.db) in unready.json()["reason"]
    # what needs no store goes on
    assert_answer(api.get("/healthz"), 200, '{"status":"ok"}')
    assert_answer(api.get("/memory-logs?limit=0"), 422, REFUSAL)
    assert str(home.db) in api.log()

    home.import_csv(ROWS)
    wait_until(lambda: api.get("/readyz").status == 200, what="the store to be found")
    assert_answer(api.get("/memory-logs"), 200, HISTORY)


def test_a_store_that_is_no_database(home, start_api):
    home.db.write_bytes(b"this is a shopping list, not a database\n" * 100)
    api = start_api(clock=home.clock(NOW))
    assert_answer(api.get("/memory-logs"), 500, INTERNAL)
    unready = api.get("/readyz/")
    assert (unready.status, unready.headers["retry-after"]) == (503, "5")
    assert "not a database" in unready.json()["reason"]
    assert "shopping" not in unready.text
    assert_answer(api.get("/healthz/"), 200, '{"status":"ok"}')


def test_failures_are_logged_once_not_once_a_request(home, start_api):
    api = start_api(clock=home.clock(NOW))
    for _ in range(20):
        assert api.get("/memory-logs").status == 503
    assert len([line for line in api.log().splitlines() if str(home.db) in line and "serving" not in line]) == 1


def test_readyz_turns_away_while_draining(home, start_api):
    home.import_csv(ROWS)
    api = start_api(clock=home.clock(NOW), drain_delay=60)
    api.expected_exit = None
    api.process.terminate()
    wait_until(lambda: api.get("/readyz").status == 503, what="draining")
    assert_answer(
        api.get("/readyz"), 503, '{"status":"draining","reason":"the program is stopping"}', retry_after="5"
    )
    assert_answer(api.get("/memory-logs"), 200, HISTORY)
    assert_answer(api.get("/healthz"), 200, '{"status":"ok"}')


def test_a_store_that_is_removed_and_replaced(home, start_api, api):
    assert_answer(api.get("/memory-logs"), 200, HISTORY)
    for path in home.path.glob(home.db.name + "*"):
        path.unlink()
    # an open file outlives its name, but not for long
    wait_until(lambda: api.get("/memory-logs").status == 503, what="the loss to be noticed")
    home.import_csv("timestamp,total,free,used\n1647039540,4096,1024,3072\n")
    # each worker finds out for itself, within a second
    new = '[{"timestamp":1647039540,"total":4096,"free":1024,"used":3072}]'
    wait_until(
        lambda: all(api.get("/memory-logs").text == new for _ in range(20)),
        what="all workers to use the new store",
    )


def test_a_record_is_in_the_next_answer(home, api):
    for i in range(20):
        home.import_csv(f"timestamp,total,free,used\n{1647039300 + i},8192,4000,4192\n")
        assert len(api.get("/memory-logs?limit=100").json()) == len(ENTRIES) + i + 1
