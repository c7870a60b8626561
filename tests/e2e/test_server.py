"""memory-api as an HTTP server: addresses, headers, connections, bodies, log, start and failure."""

import json
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import time

import pytest

from support import clean_environment, http_exchange, program_path, run, sanitizer, wait_until
from support.api import read_response
from support.clients import descriptors, fill

HAS_V6 = socket.has_ipv6 and any(
    "00000000000000000000000000000001" in line for line in open("/proc/net/if_inet6", encoding="ascii")
)


@pytest.fixture
def filled(home):
    fill(home, 100)
    return home


def ask_raw(api, text, shut=False):
    """Sends bytes as they are and returns everything that comes back until the end."""
    with api.connect() as connection:
        connection.sendall(text)
        if shut:
            connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            return stream.read()


def test_it_listens_on_every_address_and_says_so(filled, start_api):
    path = filled.path / "api.sock"
    listen = ["127.0.0.1:0", f"unix:{path}"] + (["[::1]:0"] if HAS_V6 else [])
    api = start_api(listen=",".join(listen))
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", api.addresses[0])
    assert api.addresses[1] == f"unix:{path}"
    bodies = []
    for i, address in enumerate(list(api.addresses)):
        api.addresses[0], api.addresses[i] = address, api.addresses[0]
        bodies.append(api.get("/memory-logs?limit=3").body)
    if HAS_V6:
        assert any(re.fullmatch(r"http://\[::1\]:[1-9]\d*", address) for address in api.addresses)
    assert bodies == [bodies[0]] * len(listen)
    assert len(json.loads(bodies[0])) == 3


def test_headers(filled, start_api):
    api = start_api()
    with api.connect() as connection:
        response = http_exchange(connection, "/memory-logs?limit=3")
        assert response.status == 200
        assert response.reason == "OK"
        assert response.headers["content-type"] == "application/json"
        assert response.headers["content-length"] == str(len(response.body))
        assert response.headers["server"] == "memory-tracker"
        assert response.headers["connection"] == "keep-alive"
        assert "date" in response.headers
        assert "transfer-encoding" not in response.headers
        assert "retry-after" not in response.headers
        head = http_exchange(connection, "/memory-logs?limit=3", "HEAD")
        assert head.status == 200
        assert head.headers["content-length"] == response.headers["content-length"]
        again = http_exchange(connection, "/memory-logs?limit=3")
        assert again.body == response.body


@pytest.mark.parametrize(
    ("method", "target", "status", "detail"),
    [
        ("GET", "/nowhere", 404, "Not Found."),
        ("GET", "*", 404, "Not Found."),
        ("POST", "/memory-logs", 405, "Method Not Allowed."),
        ("OPTIONS", "/healthz", 405, "Method Not Allowed."),
        ("CONNECT", "localhost:443", 404, "Not Found."),
        ("PRI", "/memory-logs/", 405, "Method Not Allowed."),
    ],
)
def test_what_there_is_not(filled, start_api, method, target, status, detail):
    api = start_api()
    with api.connect() as connection:
        response = http_exchange(connection, target, method)
        assert response.status == status
        assert response.json() == {"detail": detail}
        assert response.headers.get("allow") == ("GET, HEAD" if status == 405 else None)
        assert response.headers["connection"] == "keep-alive"
        assert http_exchange(connection, "/healthz").status == 200


@pytest.mark.parametrize("target", ["http://example.com", "HTTPS://example.com:80", ""])
def test_the_absolute_form_means_its_path(filled, start_api, target):
    api = start_api()
    expected = api.get("/memory-logs?limit=2").body
    assert api.get(target + "/memory-logs?limit=2").body == expected
    assert api.get("http://example.com?limit=2").status == 404
    assert "failed to normalize" not in api.log()


def test_versions_and_keeping_the_connection(filled, start_api):
    api = start_api()
    assert b"\r\nConnection: close\r\n" in ask_raw(api, b"GET /healthz HTTP/1.0\r\n\r\n")
    with api.connect() as connection:
        for _ in range(3):
            kept = http_exchange(
                connection, "/healthz", headers={"Connection": "keep-alive"}, version="HTTP/1.0"
            )
            assert kept.headers["connection"] == "keep-alive"
    assert api.get("/healthz").headers["connection"] == "close"
    # without Host, and with an upgrade to HTTP/2 offered
    assert ask_raw(api, b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").endswith(b'"ok"}')
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"}
    with api.connect() as connection:
        assert http_exchange(connection, "/healthz", headers=upgrade).status == 200
    assert ask_raw(api, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_pipelined_requests_are_answered_in_order(filled, start_api):
    api = start_api()
    targets = ["/memory-logs?limit=5", "/healthz", "/nowhere", "/memory-logs?limit=0"] * 50
    expected = [api.get(target).body for target in targets[:4]] * 50
    requests = "".join(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n" for target in targets)
    with api.connect() as connection:
        connection.sendall(requests.encode())
        with connection.makefile("rb") as stream:
            assert [read_response(stream, "GET").body for _ in targets] == expected


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 50\r\n\r\nhello",
    ],
)
@pytest.mark.parametrize(("method", "target", "status"), [
    ("POST", "/healthz", 405), ("GET", "/healthz", 200), ("GET", "/memory-logs?limit=3", 200),
])
def test_a_request_with_a_body_is_the_last_of_its_connection(filled, start_api, method, target, status, body):
    api = start_api(threads=1)
    # what was just asked is answered by another way
    assert api.get(target).status == 200
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = ask_raw(api, f"{method} {target} HTTP/1.1\r\nHost: a\r\n".encode() + body + smuggled)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    ("head", "status", "detail"),
    [
        (b"Content-Length: 50000000", 413, "Request Entity Too Large."),
        (b"Content-Length: -1", 400, "Invalid Request."),
        (b"Content-Length: 99999999999999999999999", 400, "Invalid Request."),
        (b"Transfer-Encoding: gzip", 400, "Invalid Request."),
        (b"Content-Length: 3\r\nExpect: something", 417, "Expectation Failed."),
    ],
)
def test_bodies_that_are_refused_while_they_are_sent(filled, start_api, head, status, detail):
    api = start_api()
    with api.connect() as connection:
        connection.sendall(b"POST /memory-logs HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n")
        # the answer must not be lost to a reset while the client still sends
        connection.sendall(b"x" * 3_000_000)
        with connection.makefile("rb") as stream:
            response = read_response(stream, "POST")
    assert response.status == status
    assert response.json() == {"detail": detail}
    assert response.headers["content-type"] == "application/json"
    assert response.headers["connection"] == "close"


def test_a_chunked_body_has_a_limit_and_a_form(filled, start_api):
    api = start_api()
    head = b"POST /memory-logs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b'{"detail":"Invalid Request."}' in ask_raw(api, head + b"zz\r\n")
    large = ask_raw(api, head + b"1000\r\n" + b"x" * 4096)
    assert b'{"detail":"Request Entity Too Large."}' in large


def test_expect_continue(filled, start_api):
    api = start_api()
    with api.connect() as connection:
        connection.sendall(
            b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        with connection.makefile("rb") as stream:
            assert read_response(stream, "HEAD").status == 100
            connection.sendall(b"hi")
            assert read_response(stream, "POST").status == 405


def test_a_query_may_be_long_but_not_endless(filled, start_api):
    api = start_api()
    assert api.get("/memory-logs?limit=2&" + "a" * 300_000).status == 200
    assert api.get("/healthz", headers={f"X-{i}": "x" for i in range(80)}).status == 200
    request = b"GET /healthz HTTP/1.1\r\n"
    too_many = b"".join(b"X-%d: x\r\n" % i for i in range(101))
    assert ask_raw(api, request + too_many + b"\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_missing_store_is_an_answer_and_recovery_needs_no_restart(home, start_api):
    api = start_api(workers=2)
    assert api.get("/healthz").status == 200
    for _ in range(20):
        response = api.get("/memory-logs")
        assert response.status == 503
        assert response.json() == {"detail": "Service unavailable."}
        assert int(response.headers["retry-after"]) > 0
    ready = api.get("/readyz")
    assert ready.status == 503
    assert str(home.db) in ready.json()["reason"]
    assert api.log().count(str(home.db)) == 2, "once at the start, once for all requests"
    fill(home, 3)
    wait_until(lambda: api.get("/readyz").status == 200, what="the store to be seen")
    wait_until(lambda: "the store answers again" in api.log())
    assert len(wait_until(lambda: api.get("/memory-logs").json())) == 3


def test_a_file_that_is_no_database_is_an_error_until_it_is_one(home, start_api):
    home.db.write_bytes(b"this is not a database, whatever its name says" * 100)
    api = start_api()
    response = api.get("/memory-logs")
    assert response.status == 500
    assert response.json() == {"detail": "Internal server error."}
    assert api.get("/readyz").status == 503
    home.db.unlink()
    fill(home, 2)
    wait_until(lambda: api.get("/memory-logs").status == 200, what="the new file to be seen")


def test_answers_wait_in_bounded_memory(home, start_api):
    fill(home, 99_999)
    # too much for the window, where answers take no memory of their own
    api = start_api(response_memory="16MiB", window_memory="1MiB", client_timeout=60, threads=2)
    request = b"GET /memory-logs?limit=99999 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    small = api.get("/memory-logs?limit=10").body
    connections = []
    streams = []

    def is_answered():
        connection = api.connect()
        connection.sendall(request)
        stream = connection.makefile("rb")
        answer = stream.readline()
        if answer == b"HTTP/1.1 200 OK\r\n":
            connections.append(connection)
            streams.append(stream)
            return True
        # a sanitized build on a busy machine may not make it within the server's own time limit
        assert sanitizer() and answer.startswith(b"HTTP/1.1 503 ")
        stream.close()
        connection.close()
        return False

    for _ in range(2):
        wait_until(is_answered, what="an answer of 6 MB")
    refused = api.get("/memory-logs?limit=99999")
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) > 0
    assert api.get("/memory-logs?limit=99999", "HEAD").status == 503
    assert api.get("/memory-logs?limit=10").body == small
    for connection, stream in zip(connections, streams):
        body = stream.read().partition(b"\r\n\r\n")[2]
        assert len(json.loads(body)) == 99_999
        stream.close()
        connection.close()
    wait_until(lambda: api.get("/memory-logs?limit=99999").status == 200, what="memory to be free")


def test_access_log_text(filled, start_api):
    api = start_api(access_log="text")
    with api.connect() as connection:
        port = connection.getsockname()[1]
        length = len(http_exchange(connection, "/memory-logs?limit=2").body)
        http_exchange(connection, b"/\xff\"\\", "HEAD")
    api.stop()
    stamp = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z access "
    client = rf"127\.0\.0\.1:{port} "
    assert re.search(stamp + client + rf'"GET /memory-logs\?limit=2" 200 {length} \d+ms$', api.log(), re.M)
    assert re.search(stamp + client + r'"HEAD /\\xff\\x22\\x5c" 404 0 \d+ms$', api.log(), re.M)


def test_access_log_json(filled, start_api):
    api = start_api(access_log="json", listen=f"unix:{filled.path}/s")
    api.get("/healthz?a=\"")
    api.get("/nowhere")
    with api.connect() as connection:
        connection.sendall(b"POST /x HTTP/1.1\r\nContent-Length: 99999\r\n\r\n")
        with connection.makefile("rb") as stream:
            assert read_response(stream, "POST").status == 413
    api.stop()
    lines = [json.loads(line) for line in api.log().splitlines() if line.startswith("{")]
    # each is written when its answer is done, by the loop of its connection: in any order
    assert sorted(
        (line["status"], line["method"], line["target"], line["remote"]) for line in lines
    ) == [
        (200, "GET", '/healthz?a="', "unix"),
        (404, "GET", "/nowhere", "unix"),
        (413, "POST", "/x", "unix"),
    ]
    assert all(line["bytes"] > 0 and line["duration_ms"] >= 0 for line in lines)


def test_the_access_log_counts_until_an_answer_is_sent(filled, start_api):
    api = start_api(listen=f"unix:{filled.path}/s", access_log="json", threads=1)
    requests = 2000
    count = [0, 0]

    def is_stuck():
        count[:] = [api.log().count('"status":200'), count[0]]
        return 0 < count[0] == count[1]

    with api.connect() as connection:
        connection.sendall(b"GET /memory-logs?limit=10 HTTP/1.1\r\nHost: a\r\n\r\n" * requests)
        # so many do not fit between the two
        wait_until(is_stuck)
        assert count[0] < requests
        since = time.monotonic()
        wait_until(lambda: time.monotonic() - since > 0.2, what="time to pass")
        with connection.makefile("rb") as stream:
            for _ in range(requests):
                assert read_response(stream, "GET").status == 200
    api.stop()
    lines = [json.loads(line) for line in api.log().splitlines() if '"status":200' in line]
    assert len(lines) == requests
    assert max(line["duration_ms"] for line in lines) >= 200


def test_no_access_log_unless_asked(filled, start_api):
    api = start_api()
    api.get("/nowhere")
    api.stop()
    assert "nowhere" not in api.log()


def test_it_says_what_it_serves(filled, start_api):
    api = start_api(threads=3, workers=2, max_connections=77)
    assert f"serving {filled.store} with 3 event loops and 2 workers to at most 77 clients" in api.log()


def test_an_address_in_use_ends_it_with_the_remedy(filled, start_api):
    api = start_api()
    done = run("memory-api", "--store", filled.store, "--listen", f"127.0.0.1:{api.port}")
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"cannot listen on http://127.0.0.1:{api.port}: Address already in use" in done.stderr
    assert "--listen" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert api.get("/healthz").status == 200


@pytest.mark.parametrize(
    ("arguments", "env", "status", "words"),
    [
        (["--listen", "nonsense"], {}, 2, "nonsense"),
        (["--threads", "0"], {}, 2, "from 1 to"),
        (["--health-chekc"], {}, 2, "--health-check"),
        (["extra"], {}, 2, "extra"),
        ([], {"MEMORY_TRACKER_LISTEN": "host:80"}, 4, "MEMORY_TRACKER_LISTEN"),
        ([], {"MEMORY_TRACKER_LISTNE": "127.0.0.1:0"}, 4, "MEMORY_TRACKER_LISTEN"),
        (["--listen", ",".join(["127.0.0.1:0"] * 17)], {}, 4, "more than 16"),
    ],
)
def test_bad_configuration_is_named(arguments, env, status, words):
    done = run("memory-api", *arguments, env=env)
    assert done.returncode == status
    assert words in done.stderr
    assert done.stdout == ""


def test_unix_socket_files(filled, start_api):
    path = filled.path / "api.sock"
    first = start_api(listen=f"unix:{path}")
    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660
    second = run("memory-api", "--listen", f"unix:{path}")
    assert second.returncode == 1
    assert "another program uses it" in second.stderr
    assert first.get("/healthz").status == 200
    first.kill()
    assert path.exists()
    again = start_api(listen=f"unix:{path}")
    assert again.get("/healthz").status == 200
    assert again.stop() == 0
    assert not path.exists()
    path.write_text("a file of somebody")
    refused = run("memory-api", "--listen", f"unix:{path}")
    assert refused.returncode == 1
    assert "not a socket" in refused.stderr
    assert path.read_text() == "a file of somebody"


def health_check(listen):
    return run("memory-api", "--health-check", env={"MEMORY_TRACKER_LISTEN": listen})


def test_health_check(filled, start_api):
    path = filled.path / "s"
    api = start_api(listen=f"0.0.0.0:0,unix:{path}" if not HAS_V6 else f"[::]:0,unix:{path}")
    port = api.addresses[0].rsplit(":", 1)[1]
    wildcard = f"[::]:{port}" if HAS_V6 else f"0.0.0.0:{port}"
    for listen in (wildcard, f"unix:{path}", f"unix:{path},127.0.0.1:1"):
        done = health_check(listen)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    api.stop()
    for listen in (wildcard, f"unix:{path}"):
        done = health_check(listen)
        assert done.returncode == 1
        assert f"no answer from {listen}" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    port_zero = health_check("127.0.0.1:0")
    assert port_zero.returncode == 1
    assert "any free one" in port_zero.stderr


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "answers 'HTTP/1.1 503 Service Unavailable'"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "answers 'SSH-2.0-OpenSSH_9.2'"),
        (b"", "answers ''"),
        (None, "no answer from"),
    ],
)
def test_health_check_of_something_else(answer, words):
    with socket.create_server(("127.0.0.1", 0)) as server:
        listen = f"127.0.0.1:{server.getsockname()[1]}"
        asking = subprocess.Popen(
            [program_path("memory-api"), "--health-check", "--listen", listen],
            env=clean_environment(), stderr=subprocess.PIPE, text=True,
        )
        with server.accept()[0] as connection:
            if answer is not None:
                connection.recv(4096)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
            assert words in asking.communicate(timeout=60)[1]
    assert asking.returncode == 1


def start_limited(home, soft, hard, *arguments):
    """memory-api with a limit of open files, and its standard error once it serves or ended."""

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    log = home.path / "limited.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [program_path("memory-api"), "--store", home.store, "--listen", "127.0.0.1:0", *arguments],
            env=clean_environment(), stdout=subprocess.DEVNULL, stderr=stream, preexec_fn=limit,
        )
    try:
        wait_until(lambda: "serving" in log.read_text() or process.poll() is not None)
        return log.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_the_limit_of_open_files_is_raised_and_then_respected(filled):
    arguments = ("--threads", "2", "--workers", "2")
    raised = start_limited(filled, 64, 4096, *arguments)
    assert "at most 1024 clients" in raised
    assert "limit of open files" not in raised
    clamped = start_limited(filled, 64, 256, *arguments)
    allowed = int(re.search(r"allows (\d+) connections, not the 1024", clamped)[1])
    assert 128 < allowed < 256
    assert f"at most {allowed} clients" in clamped
    assert "--max-connections" in clamped
    none = start_limited(filled, 24, 24, *arguments)
    assert "raise it" in none
    assert "serving" not in none


def test_it_opens_no_more_files_than_it_counts_on(filled, start_api):
    api = start_api(threads=2, workers=4)
    before = descriptors(api.process)
    for _ in range(50):
        assert api.get("/memory-logs").status == 200
    wait_until(lambda: descriptors(api.process) <= before + 3 * 4, what="descriptors to be closed")


def test_a_log_that_nobody_reads_keeps_no_client_waiting(filled, start_api):
    path = filled.path / "log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        api = start_api(log_file=path, access_log="text")
        with api.connect() as connection:
            for _ in range(2000):
                assert http_exchange(connection, "/healthz").status == 200
            taken = os.read(reader, 1 << 20)
            assert 0 < taken.count(b'"GET /healthz"') < 2000
            assert b"lost" not in taken
            assert http_exchange(connection, "/healthz?last").status == 200
        log = bytearray()

        def told():
            try:
                log.extend(os.read(reader, 1 << 16))
            except BlockingIOError:
                pass
            return b" lost" in log and b'"GET /healthz?last"' in log

        wait_until(told, what="the lost lines to be told")
        number = int(re.search(rb"(\d+) lines of the access log are lost", bytes(log))[1])
        assert (taken + log).count(b'"GET /healthz"') + number == 2000
    finally:
        os.close(reader)
