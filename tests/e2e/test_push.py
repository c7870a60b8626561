"""POST /memory-logs: what is stored, what is refused, who may; in the bytes of the wire."""

import gzip
import json
import os
import sqlite3
import subprocess
import threading

import pytest

from support import http_exchange, run, wait_until
from support.api import read_response
from support.clients import Polite
from support.frozen import unshare

WEB1 = "web1-token-0123456789"
ANY = "any-host-token-0123456789"
READER = "reader-token-0123456789"
ADMIN = "admin-token-0123456789"
SECRETS = [WEB1, ANY, READER, ADMIN]
TOKENS = f"""\
# who may what
web1   host:web1 {WEB1}
any    append    {ANY}

reader read      {READER}
boss   admin     {ADMIN}
"""
NDJSON = "application/x-ndjson"
JSON = "application/json"
START = 1_647_033_600


def record(host="web1", minute=0, **fields):
    return {"host": host, "timestamp": START + 60 * minute,
            "boot_id": "01234567-89ab-cdef-0123-456789abcdef", "uptime_s": 1000 + 60 * minute,
            "mem_total": 8_388_608, "mem_available": 4_194_304, **fields}


def lines(records):
    return "".join(json.dumps(one) + "\n" for one in records).encode()


@pytest.fixture
def tokens(home):
    path = home.path / "tokens"
    path.touch(mode=0o600)
    path.write_text(TOKENS)
    return path


@pytest.fixture
def api(home, tokens, start_api):
    return start_api(tokens=tokens, log_level="debug", access_log="text")


def post(api, body, token=ANY, kind=NDJSON, target="/memory-logs", headers=None, method="POST"):
    given = {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}
    if token is not None:
        given["Authorization"] = f"Bearer {token}"
    if kind is None:
        del given["Content-Type"]
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    with api.connect() as connection:
        connection.sendall(f"{method} {target} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode() + body)
        with connection.makefile("rb") as stream:
            return read_response(stream, method)


def verdicts(answer):
    assert answer.status == 200, answer.text
    return [outcome["verdict"] for outcome in answer.json()["outcomes"]]


def wait_for(api, token, status):
    """Until every event loop gives a push with this token that status: each has tokens of its own."""
    body = lines([record()])
    wait_until(lambda: all(post(api, body, token).status == status for _ in range(12)),
               what=f"status {status}")


def stored(home):
    return [(one["host"], (one["timestamp"] - START) // 60) for one in home.records()]


def assert_refused(answer, status, detail, **headers):
    assert (answer.status, answer.json()) == (status, {"detail": detail})
    for name, value in headers.items():
        assert answer.headers.get(name.replace("_", "-")) == value


def test_without_tokens_nothing_can_be_pushed(home, start_api):
    home.import_csv("timestamp,total,free\n60,2,1\n")
    api = start_api()
    refused = post(api, b"{}")
    assert_refused(refused, 405, "Method Not Allowed.", allow="GET, HEAD")
    for name in "records", "changes", "token", "hosts", "prune", "size", "verify", "ping":
        assert_refused(api.get(f"/store/{name}"), 404, "Not Found.")
        assert_refused(post(api, b"", target=f"/store/{name}"), 404, "Not Found.")
    assert_refused(post(api, b"x" * 2000), 413, "Request Entity Too Large.")


@pytest.mark.parametrize("pack", [lambda body: body, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("kind", "write", "count"),
    [
        (NDJSON, lines, 1),
        (NDJSON, lines, 50),
        (NDJSON, lambda records: b"\r\n" + lines(records).replace(b"\n", b"\r\n\n").rstrip(), 3),
        (JSON, lambda records: json.dumps(records[0]).encode(), 1),
        (JSON, lambda records: json.dumps(records, indent=3).encode(), 50),
        ("Application/JSON; charset=utf-8", lambda records: json.dumps(records).encode(), 2),
        (NDJSON, lines, 0),
        (JSON, lambda records: b" [ ] ", 0),
    ],
)
def test_records_in_every_form(home, api, kind, write, count, pack):
    records = [record(minute=i) for i in range(count)]
    headers = {"Content-Encoding": "gzip"} if pack is gzip.compress else {}
    for verdict in "new", "repeat":
        answer = post(api, pack(write(records)), WEB1, kind, headers=headers)
        assert verdicts(answer) == [verdict] * count
        assert answer.headers["content-type"] == JSON
        assert answer.headers["connection"] == "close"
        assert [outcome["timestamp"] for outcome in answer.json()["outcomes"]] == [
            one["timestamp"] for one in records]
    assert stored(home) == [("web1", i) for i in range(count)]
    # and the next GET has them
    assert len(api.get("/memory-logs?limit=100").json()) == count


def test_each_record_has_its_verdict(home, api):
    records = [
        record(minute=1),
        record(minute=2),
        record(minute=1, uptime_s=7),
        record(minute=1),
        {"host": "web1", "timestamp": START},
        {"host": "web1", "timestamp": "now"},
        {"host": "web1", "timestamp": START, "mem_totl": 5},
        {"host": "sp ace", "timestamp": START},
        [7],
        record(minute=9, dirty=-1),
    ]
    outcomes = post(api, lines(records)).json()["outcomes"]
    assert [one["verdict"] for one in outcomes] == ["new", "new", "moved", "repeat"] + ["rejected"] * 6
    assert outcomes[2]["timestamp"] == START + 61
    assert [one["text"] for one in outcomes[4:]] == [
        "mem_total: must be known and more than 0",
        'timestamp "now": must be an integer (Unix seconds)',
        "member 'mem_totl': a record has none of that name; did you mean mem_total?",
        "host 'sp ace': must be 1 to 255 bytes of UTF-8 without spaces and control characters",
        "record [7]: must be an object",
        "dirty -1: must be from 0 to 2^53",
    ]
    assert len(home.records()) == 3
    again = post(api, lines([record(minute=2, uptime_s=8)]), target="/memory-logs?on_conflict=report")
    assert verdicts(again) == ["conflict"]
    assert len(home.records()) == 3


def test_a_token_of_a_host_is_for_that_host(home, api):
    records = [record(minute=1), record("db2", 1), record(minute=2), record("Web1", 1)]
    outcomes = post(api, lines(records), WEB1).json()["outcomes"]
    assert [one["verdict"] for one in outcomes] == ["new", "rejected", "new", "rejected"]
    assert outcomes[1]["text"] == "host 'db2': this token is for host 'web1'"
    assert stored(home) == [("web1", 1), ("web1", 2)]
    assert verdicts(post(api, lines(records), ANY)) == ["repeat", "new", "repeat", "new"]


def test_who_may_what(api):
    body = lines([record()])
    unknown = {"www_authenticate": "Bearer"}
    for token in [None, "", "wrong-token-0123456789", WEB1[:-1], WEB1 + "x", WEB1.upper()]:
        assert_refused(post(api, body, token), 401, "Unauthorized.", **unknown)
    for value in [WEB1, f"Basic {WEB1}", f"Bearer{WEB1}", f"Bearer {WEB1} {WEB1}", "Bearer"]:
        answer = post(api, body, None, headers={"Authorization": value})
        assert_refused(answer, 401, "Unauthorized.", **unknown)
    # one of two is not guessed
    both = {"Authorization": f"Bearer {WEB1}", "authorization": f"Bearer {ANY}"}
    assert_refused(post(api, body, None, headers=both), 401, "Unauthorized.", **unknown)
    assert_refused(post(api, body, READER), 403, "This token may not do that.")
    for token in WEB1, ANY:
        for target in "/store/records", "/store/verify":
            answer = api.get(target, headers={"Authorization": f"Bearer {token}"})
            assert_refused(answer, 403, "This token may not do that.")
        assert api.get("/store/ping", headers={"Authorization": f"Bearer {token}"}).status == 503
    assert_refused(post(api, b"", READER, target="/store/prune?before=0"), 403,
                   "This token may not do that.")
    assert verdicts(post(api, body, None, headers={"Authorization": f"bEaReR  {ADMIN}"})) == ["new"]
    assert post(api, b"", ADMIN, target="/store/prune?before=0").json() == {"pruned": 0}


def test_methods_and_kinds(api):
    answer = post(api, b"", method="PUT")
    assert_refused(answer, 405, "Method Not Allowed.", allow="GET, HEAD, POST")
    assert_refused(api.get("/store/prune"), 405, "Method Not Allowed.", allow="POST")
    assert_refused(post(api, b"", target="/store/ping"), 405, "Method Not Allowed.",
                   allow="GET, HEAD")
    for kind in None, "text/plain", "application/jsonx", "":
        assert_refused(post(api, b"{}", kind=kind), 415,
                       "Content-Type must be application/x-ndjson or application/json")
    for encoding in "br", "deflate", "gzip, gzip":
        assert_refused(post(api, b"{}", headers={"Content-Encoding": encoding}), 415,
                       "Content-Encoding must be gzip or none")
    wrong = post(api, b"", target="/memory-logs?on_conflict=drop")
    assert wrong.status == 422
    assert wrong.json()["detail"][0]["msg"] == "Input should be 'move' or 'report'"


@pytest.mark.parametrize(
    ("kind", "body", "detail"),
    [
        (NDJSON, lines([record()]) + b"nonsense\n", "line 2 is not JSON: "),
        (NDJSON, lines([record()])[:-9], "line 1 is not JSON: "),
        (NDJSON, json.dumps([record()], indent=1).encode(), "line 1 is not JSON: "),
        (JSON, b"", "element 1 is not JSON: "),
        (JSON, lines([record(), record()]), "element 1 is not JSON: "),
        (JSON, b"[" + lines([record()]), "the array has no end"),
        (JSON, b"[" + lines([record()]) + b",]", "element 2 is not JSON: "),
        (JSON, b"[" + lines([record()]) + b"}", "the array is not JSON: "),
        (JSON, b"[] []", "something follows the array"),
        (JSON, b'{"host":"\xff"}', "element 1 is not JSON: "),
    ],
)
def test_what_is_no_json_is_refused_whole(home, api, kind, body, detail):
    assert verdicts(post(api, b"")) == []
    answer = post(api, body, kind=kind)
    assert answer.status == 422
    assert answer.json()["detail"].startswith(detail)
    assert home.records() == []


def test_broken_gzip(home, api):
    packed = gzip.compress(lines([record()]))
    gzipped = {"Content-Encoding": "gzip"}
    for body in packed[:-1], packed[:20], b"", b"x" * 100, packed + b"x", lines([record()]):
        assert_refused(post(api, body, headers=gzipped), 422,
                       "the body is not gzip, damaged or cut off")
    assert verdicts(post(api, packed + packed, headers=gzipped)) == ["new", "repeat"]
    assert stored(home) == [("web1", 0)]


def test_bodies_have_limits(api):
    assert_refused(post(api, b"x" * (1024 * 1024 + 1)), 413, "Request Entity Too Large.")
    # the most that may be
    most = lines([record()])
    most += b"\n" * (1024 * 1024 - len(most))
    assert verdicts(post(api, most)) == ["new"]
    gzipped = {"Content-Encoding": "gzip"}
    full = gzip.compress(lines([record()]) + b"\n" * (16 * 1024 * 1024 - len(lines([record()]))))
    assert verdicts(post(api, full, headers=gzipped)) == ["repeat"]
    bomb = gzip.compress(b"\n" * (16 * 1024 * 1024 + 1))
    detail = "more than 16 MiB once unpacked; send fewer records at once"
    assert_refused(post(api, bomb, headers=gzipped), 413, detail)
    # a gigabyte, never unpacked
    assert_refused(post(api, gzip.compress(b"\n" * 1_000_000) * 1000, headers=gzipped), 413, detail)
    many = gzip.compress(lines([record()]) * 10_000)
    assert verdicts(post(api, many, headers=gzipped)) == ["repeat"] * 10_000
    over = gzip.compress(lines([record()]) * 10_001)
    assert_refused(post(api, over, headers=gzipped), 413, "more than 10000 records; send fewer at once")


def test_a_bomb_of_small_json_takes_no_memory_to_speak_of(api):
    post(api, b"")
    gzipped = {"Content-Encoding": "gzip"}
    for body in b"[" + b"[]," * 5_000_000 + b"[]]", b"[" * 10_000_000, b"[" + b"{}," * 5_000_000:
        answer = post(api, gzip.compress(body), kind=JSON, headers=gzipped)
        assert answer.status in (413, 422), answer.text
    if not os.environ.get("MT_SANITIZE"):
        peak = next(int(line.split()[1])
                    for line in open(f"/proc/{api.process.pid}/status", encoding="ascii")
                    if line.startswith("VmHWM:"))
        assert peak < 200 * 1024


def test_chunks_expectations_and_old_versions(home, api):
    body = lines([record(minute=i) for i in range(5000)])
    head = f"POST /memory-logs HTTP/1.%d\r\nHost: x\r\nAuthorization: Bearer {ANY}\r\nContent-Type: {NDJSON}\r\n"
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part)
                       for part in (body[i:i + 5000] for i in range(0, len(body), 5000)))
    for version, more, sent in [
        (1, "Transfer-Encoding: chunked\r\n", chunked + b"0\r\n\r\n"),
        (0, f"Content-Length: {len(body)}\r\n", body),
    ]:
        with api.connect() as connection:
            connection.sendall((head % version + more + "\r\n").encode() + sent)
            with connection.makefile("rb") as stream:
                assert len(verdicts(read_response(stream, "POST"))) == 5000
    # as curl does with bodies of more than 1 MiB
    with api.connect() as connection:
        expect = f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall((head % 1 + expect).encode())
        with connection.makefile("rb") as stream:
            assert read_response(stream, "HEAD").status == 100
            connection.sendall(body)
            assert verdicts(read_response(stream, "POST")) == ["repeat"] * 5000
    # no body at all, and no length
    with api.connect() as connection:
        connection.sendall((head % 1 + "\r\n").encode())
        with connection.makefile("rb") as stream:
            assert verdicts(read_response(stream, "POST")) == []
    assert len(home.records()) == 5000


def test_nothing_is_smuggled_behind_a_push(home, api):
    body = lines([record()])
    hidden = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    head = f"POST /memory-logs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANY}\r\nContent-Type: {NDJSON}\r\n"
    length = f"Content-Length: {len(body)}\r\n"
    for more in length, length + f"Content-Length: {len(body) + len(hidden)}\r\n":
        with api.connect() as connection:
            connection.sendall((head + more + "\r\n").encode() + body + hidden)
            with connection.makefile("rb") as stream:
                everything = stream.read()
        assert everything.count(b"HTTP/1.1 ") == 1
        assert everything.startswith(b"HTTP/1.1 200 ")
    assert stored(home) == [("web1", 0)]


def test_a_body_that_never_ends_is_cut_off(home, tokens, start_api):
    api = start_api(tokens=tokens, client_timeout=1)
    with api.connect() as connection:
        connection.sendall(f"POST /memory-logs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANY}\r\n"
                           f"Content-Type: {NDJSON}\r\nContent-Length: 1000\r\n\r\n".encode()
                           + lines([record()]))
        assert connection.recv(1) == b""
    assert not home.db.exists()


def test_many_long_bodies_at_once_are_bounded(home, tokens, start_api):
    # all are sent before the first ends, however long that takes
    api = start_api(tokens=tokens, threads=1, client_timeout=3600)
    head = (f"POST /memory-logs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANY}\r\n"
            f"Content-Type: {NDJSON}\r\nContent-Length: {1024 * 1024}\r\n\r\n").encode()
    connections = [api.connect() for _ in range(100)]
    try:
        for connection in connections:
            connection.sendall(head + b"\n" * (1024 * 1024 - 1))
        wait_until(lambda: "more pushed records at once" in api.log(), what="a warning")
        with Polite(api, "/healthz"):
            answers = []
            for connection in connections:
                try:
                    connection.sendall(b"\n")
                    with connection.makefile("rb") as stream:
                        answers.append(read_response(stream, "POST"))
                except ConnectionError:
                    answers.append(None)
        statuses = {answer.status for answer in answers if answer is not None}
        assert statuses == {200, 503}
        for answer in answers:
            if answer is not None and answer.status == 503:
                assert answer.json() == {"detail": "Service unavailable."}
                assert answer.headers["retry-after"] == "5"
    finally:
        for connection in connections:
            connection.close()
    assert verdicts(post(api, lines([record()]))) == ["new"]


def test_a_line_that_is_taken_out_counts_no_more(home, tokens, api):
    body = lines([record()])
    assert verdicts(post(api, body, WEB1)) == ["new"]
    tokens.write_text(TOKENS.replace(f"web1   host:web1 {WEB1}", ""))
    wait_for(api, WEB1, 401)
    assert verdicts(post(api, body, ANY)) == ["repeat"]
    # rotated: another file of that name
    other = home.path / "tokens.new"
    other.touch(mode=0o600)
    other.write_text("fresh append fresh-token-0123456789\n")
    other.rename(tokens)
    wait_for(api, ANY, 401)
    wait_for(api, "fresh-token-0123456789", 200)


def test_a_broken_file_keeps_the_tokens(tokens, api):
    body = lines([record()])
    assert verdicts(post(api, body, WEB1)) == ["new"]
    tokens.write_text(TOKENS + f"late admn {'late-token-0123456789'}\n")
    told = f"{tokens}:7: the scope (second word) must be host:NAME, append, read or admin; the last good ones count on"
    wait_until(lambda: told in api.log(), what="the error")
    assert verdicts(post(api, body, WEB1)) == ["repeat"]
    tokens.chmod(0o644)
    wait_until(lambda: f"type: chmod o-rw {tokens}" in api.log(), what="the error")
    tokens.unlink()
    wait_until(lambda: f"tokens {tokens}: cannot look at it" in api.log(), what="the error")
    assert verdicts(post(api, body, WEB1)) == ["repeat"]
    tokens.touch(mode=0o600)
    tokens.write_text(f"late admin {'late-token-0123456789'}\n")
    wait_for(api, "late-token-0123456789", 200)
    wait_for(api, WEB1, 401)
    wait_until(lambda: f"tokens {tokens}: read anew, 1 valid from now on" in api.log(), what="the news")
    errors = [line for line in api.log().splitlines() if " error " in line]
    assert len(errors) == 3, errors


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (None, 0o600, "tokens {path}: cannot open: No such file or directory"),
        (TOKENS, 0o644, "tokens {path}: everybody may read or change it (mode 0644); type: chmod o-rw {path}"),
        ("web1 append short\n", 0o600, "{path}:1: the token (third word) must be 16 to 512 letters"),
        ("\n\na append 0123456789abcdef\nb read 0123456789abcdef\n", 0o600,
         "{path}:4: the token (third word) stands on an earlier line"),
    ],
)
def test_a_broken_file_at_the_start(home, text, mode, said):
    path = home.path / "broken"
    if text is not None:
        path.touch()
        path.chmod(mode)
        path.write_text(text)
    done = home.run("memory-api", "--listen", "127.0.0.1:0", "--tokens", path)
    assert done.returncode == 4
    assert said.format(path=path) in done.stderr
    assert "0123456789abcdef" not in done.stderr


def test_a_locked_store_is_a_503(home, api):
    assert verdicts(post(api, lines([record()]))) == ["new"]
    locker = sqlite3.connect(home.db, isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    answer = post(api, lines([record(minute=1)]))
    assert answer.status == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["error"] == "BUSY"
    assert str(home.db) in answer.json()["detail"]
    locker.execute("ROLLBACK")
    locker.close()
    assert verdicts(post(api, lines([record(minute=1)]))) == ["new"]
    assert stored(home) == [("web1", 0), ("web1", 1)]


def test_a_store_that_cannot_be_written(home, tokens, start_api):
    # no directory can be made below a file
    home.db.write_text("")
    api = start_api(store=f"sqlite:{home.db}/below/memory.db", tokens=tokens)
    answer = post(api, lines([record()]))
    assert answer.status == 503
    assert answer.json()["error"] in ("MISSING", "UNAVAILABLE", "PERMISSION", "READ_ONLY")
    # and GET says no more than before
    assert_refused(api.get("/memory-logs"), 503, "Service unavailable.")


def test_a_store_on_a_read_only_mount(home, tokens, start_api):
    if unshare() is None:
        pytest.skip("no private mount namespace to be had (needs root or user namespaces)")
    mounted = home.path / "mounted"
    mounted.mkdir()
    home.import_csv("timestamp,total,free\n60,2,1\n")
    home.db.rename(mounted / "memory.db")
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    api = start_api(store=f"sqlite:{mounted}/memory.db", tokens=tokens,
                    wrapper=[*unshare(), "sh", "-c", script, mounted])
    answer = post(api, lines([record()]))
    assert answer.status == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json() == {
        "detail": f"store {mounted}/memory.db: cannot be written: Read-only file system",
        "error": "READ_ONLY"}
    assert len(api.get("/memory-logs").json()) == 1


def test_pushes_from_all_sides_store_each_record_once(home, api):
    hosts = [f"host{i}" for i in range(6)]
    failures = []

    def push(host):
        for minute in range(10):
            body = lines([record(host, minute), record("shared", minute)])
            for _ in range(100):
                answer = post(api, body)
                if answer.status == 200:
                    break
            if answer.status != 200 or not {"new", "repeat"} >= set(verdicts(answer)):
                failures.append(answer.text)

    threads = [threading.Thread(target=push, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sorted(stored(home)) == sorted(
        (host, minute) for host in [*hosts, "shared"] for minute in range(10))


def test_what_a_sampler_exports_can_be_pushed(home, tokens, start_api):
    assert home.run("memory-sampler").returncode == 0
    exported = home.run("memory-tracker", "export", "--json")
    other = start_api(store=f"sqlite:{home.path}/other.db", tokens=tokens)
    assert verdicts(post(other, exported.stdout.encode())) == ["new"]
    copied = home.run("memory-tracker", "export", "--json", "--store", f"sqlite:{home.path}/other.db")
    assert copied.stdout == exported.stdout


def test_no_token_is_in_any_log(home, api):
    post(api, lines([record()]), WEB1)
    post(api, b"nonsense", ANY)
    post(api, b"", "wrong-token-0123456789")
    api.get("/store/hosts", headers={"Authorization": f"Bearer {READER}"})
    wait_until(lambda: "GET /store/hosts" in api.log(), what="the access log")
    log = api.log()
    assert "token web1 pushed 1 records: 1 new" in log
    assert ' 200 ' in log and "token=web1" in log and "token=reader" in log
    for secret in [*SECRETS, "wrong-token-0123456789"]:
        assert secret not in log
    shown = run("memory-tracker", "config", env={"MEMORY_TRACKER_TOKENS": "/etc/tokens"}).stdout
    assert "TOKENS" in shown


def test_curl_pushes_a_large_file(home, tokens, api):
    path = home.path / "records.ndjson"
    path.write_bytes(lines([record(minute=i) for i in range(3000)]))
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "60", "-H", f"Authorization: Bearer {ANY}",
         "-H", f"Content-Type: {NDJSON}", "--data-binary", f"@{path}", f"{api.url}/memory-logs"],
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"new"') == 3000


def test_the_store_protocol(home, api):
    def ask(target, **headers):
        answer = api.get(target, headers={"Authorization": f"Bearer {READER}", **headers})
        assert answer.status == 200, answer.text
        return answer

    def rows(answer):
        assert answer.headers["content-type"] == NDJSON
        return [json.loads(line) for line in answer.body.splitlines()]

    records = [record(host, i, dirty=i) for i in range(30) for host in ("a", "b")]
    assert verdicts(post(api, lines(records))) == ["new"] * 60
    assert rows(ask("/store/records?now=1647100000")) == records
    assert [row["timestamp"] for row in rows(ask("/store/records?host=b&limit=2&skip=1&order=newest"))] \
        == [START + 60 * 28, START + 60 * 27]
    chosen = rows(ask(f"/store/records?host=a&host=c&from={START + 60}&to={START + 120}&fields=dirty"))
    assert [(row["host"], row["timestamp"], row["dirty"]) for row in chosen] == [("a", START + 60, 1)]
    assert not {"mem_total", "uptime_s"} & set(chosen[0])
    assert rows(ask("/store/records?hosts=none")) == []
    assert rows(ask("/store/records?host=a%00b")) == []
    assert rows(ask(f"/store/records?now={START - 1000}")) == []
    packed = ask("/store/records", **{"Accept-Encoding": "br;q=1, gzip;q=0.5"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == ask("/store/records").body
    assert "content-encoding" not in ask("/store/records", **{"Accept-Encoding": "gzip;q=0"}).headers

    head, *changes = rows(ask("/store/changes?limit=50"))
    assert head == {"reset": False, "generation": "0", "sequence": 0}
    assert [(row["record"]["host"], row["record"]["timestamp"]) for row in changes] == [
        (one["host"], one["timestamp"]) for one in records[:50]]
    for at in 0, 25, 49:
        place = f"generation={changes[at]['generation']}&sequence={changes[at]['sequence']}"
        head, *rest = rows(ask(f"/store/changes?{place}"))
        assert head["reset"] is False
        assert len(rest) == 59 - at
    token = ask("/store/token").json()
    assert rows(ask("/store/changes?generation={generation}&sequence={sequence}".format(**token))) == [
        {"reset": False, **token}]
    assert rows(ask("/store/changes?generation=18446744073709551615&sequence=3")) == [
        {"reset": True, **token}]
    assert rows(ask("/store/hosts?now=1647100000")) == [
        {"name": name, "records": 30, "first": START, "last": START + 29 * 60, "future": 0,
         "interval_s": 0} for name in "ab"]
    assert ask("/store/verify?deep=1").json() == {"findings": []}
    assert ask("/store/ping").json() == {"status": "ok"}
    pruned = post(api, b"", ADMIN, target=f"/store/prune?before={START + 60}")
    assert pruned.json() == {"pruned": 2}
    head = api.get("/store/records", "HEAD", {"Authorization": f"Bearer {READER}"})
    assert (head.status, head.body) == (200, b"")
    with api.connect() as connection:
        for _ in range(2):
            answer = http_exchange(connection, "/store/token", headers={"Authorization": f"Bearer {READER}"})
            assert answer.status == 200
