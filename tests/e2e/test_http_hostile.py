"""A store of http:// whose server, or what stands in between, does not do what it should."""

import gzip
import json
import socket
import ssl

import pytest

from support import (
    Certificates, HttpServer, answer, not_in_this_build, outcomes, run, sanitizer,
)

TOKEN = "a-token-that-nobody-may-see"
OK = {"status": "ok"}
HEADER = "host,timestamp,mem_total,mem_free"
PROMPT = b"<html><body>Please log in</body></html>"


def environment(server, scheme="http", options="", host="127.0.0.1"):
    return {
        "MEMORY_TRACKER_STORE": f"{scheme}://{TOKEN}@{host}:{server.port}{options}",
        "MEMORY_TRACKER_ALLOW_INSECURE_TLS": "yes",
    }


def check_secret(done):
    assert TOKEN not in done.stdout + done.stderr
    assert done.stderr.count("\n") <= 1, done.stderr


def ask(server, *arguments, **options):
    """`memory-tracker hosts` on the server's store."""
    done = run("memory-tracker", "hosts", *arguments, env=environment(server, **options))
    check_secret(done)
    return done


def push(server, tmp_path, count=1):
    """`memory-tracker import` of so many records."""
    source = tmp_path / "rows.csv"
    source.write_text("".join(
        line + "\n" for line in [HEADER, *(f"h,{60 * i},4000,1000" for i in range(count))]))
    done = run("memory-tracker", "import", source, env=environment(server))
    check_secret(done)
    return done


def send_and_close(data):
    def respond(_, connection):
        connection.sendall(data)
    return respond


ANSWERS = [
    # name, answer, exit code, words
    ("login page", answer(200, PROMPT, "text/html"), 3, "not a memory-api's"),
    ("empty", answer(200), 3, "not a memory-api's"),
    ("other json", answer(200, {"status": "fine"}), 3, "not a memory-api's"),
    ("redirect", answer(302, location="http://127.0.0.1:1/login"), 3, "redirect"),
    ("unknown token", answer(401, {"detail": "Unauthorized."}), 4, "STORE_TOKEN_FILE"),
    ("wrong scope", answer(403, {"detail": "this token may append only"}), 4,
     "this token may append only"),
    ("no tokens", answer(404, {"detail": "Not Found."}), 4, "no TOKENS are configured"),
    ("proxy without service", answer(404, b"404 page not found", "text/plain"), 3, "text/plain"),
    ("too many", answer(429, b"slow down", "text/plain"), 3, "too many requests"),
    ("crashed", answer(500, {"detail": "Internal server error."}), 3, "Internal server error."),
    ("gateway", answer(502, PROMPT, "text/html"), 3, "502"),
    ("missing", answer(503, {"detail": "no store yet", "error": "MISSING"}), 3,
     "store missing: store http://127.0.0.1"),
    ("corrupt", answer(500, {"detail": "bad page", "error": "CORRUPT"}), 1, "bad page"),
    ("locked", answer(503, {"detail": "locked", "error": "BUSY"}, retry_after=3600), 3, "locked"),
    ("its own cancel", answer(503, {"detail": "given up", "error": "CANCELLED"}), 3, "given up"),
    ("escapes", answer(503, {"detail": "\x1b[2Jred\r\n\x9b31m", "error": "FULL"}), 3, "[2Jred"),
]


@pytest.mark.parametrize("reply, code, words", [row[1:] for row in ANSWERS],
                         ids=[row[0] for row in ANSWERS])
def test_each_answer_has_its_error(reply, code, words):
    with HttpServer(lambda request, connection: reply) as server:
        done = ask(server)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert not set(map(chr, [*range(0, 10), *range(11, 32), *range(0x7F, 0xA0)])) & set(done.stderr)
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert all(TOKEN not in request.target for request in server.requests)


def test_a_redirect_is_not_followed():
    with HttpServer(lambda *_: answer(200, OK)) as other:
        moved = answer(302, location=f"http://127.0.0.1:{other.port}/store/ping")
        with HttpServer(lambda *_: moved) as server:
            assert ask(server).returncode == 3
    assert other.requests == []


BROKEN = [
    # name, the bytes before the end of the connection, words
    ("nothing", b"", "Empty reply"),
    ("garbage", bytes(range(256)) * 16, "HTTP/0.9"),
    ("half a head", b"HTTP/1.1 200 OK\r\nContent-Ty", ""),
    ("half a body", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{\"stat", ""),
    ("half a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n{\"st", ""),
    ("not gzip", answer(200, b"plain as it is", content_encoding="gzip"), ""),
    ("headers for ever", b"HTTP/1.1 200 OK\r\n" + b"X-Filler: 1234567890\r\n" * 100000, ""),
]


@pytest.mark.parametrize("data, words", [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_what_is_no_http_is_unavailable(data, words):
    with HttpServer(send_and_close(data)) as server:
        done = ask(server)
    assert (done.returncode, done.stdout) == (3, "")
    assert f"store http://127.0.0.1:{server.port}: open: " in done.stderr
    assert words in done.stderr


def endless(_, connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        connection.sendall(b"[" * 65536)


def bomb(_, connection):
    packed = gzip.compress(bytes(16 * 1024 * 1024))
    connection.sendall(answer(200, packed, content_encoding="gzip"))


@pytest.mark.parametrize("respond", [endless, bomb])
def test_an_answer_without_end_ends_here(respond):
    with HttpServer(respond) as server:
        done = ask(server)
    assert done.returncode == 3
    assert "does not end" in done.stderr


@pytest.mark.parametrize("lines, words", [
    (b'{"name":"a","records":1,"first":1,"last":1,"future":0,"interval_s":60}', "no end"),
    (b'{"name":"a","records":1}\n', "first"),
    (PROMPT + b"\n", "no JSON"),
])
def test_hosts_that_did_not_come_whole(lines, words):
    def respond(request, _):
        return answer(200, OK if request.path == "/store/ping" else lines)

    with HttpServer(respond) as server:
        done = ask(server)
    assert done.returncode == 3
    assert words in done.stderr


def record(second, host="h"):
    return json.dumps({"host": host, "timestamp": second, "mem_total": 4, "mem_free": 1}) + "\n"


@pytest.mark.parametrize("body, words", [
    (record(60) + record(60), "out of order"),
    (record(120) + record(60), "out of order"),
    (record(60) + record(120)[:-1], "no end"),
    (record(60) + '{"host":"h","timestamp":60.5}\n', "timestamp"),
    ("".join(record(second) for second in range(20001)), "too many"),
], ids=["twice", "backwards", "cut", "no integer", "too many"])
def test_records_that_cannot_be(body, words):
    def respond(request, _):
        return answer(200, OK if request.path == "/store/ping" else body.encode())

    with HttpServer(respond) as server:
        done = run("memory-tracker", "export", env=environment(server))
    check_secret(done)
    assert done.returncode == 3
    assert words in done.stderr


def take(request, _):
    """A store that has room for everything."""
    return answer(200, outcomes(request.records()))


@pytest.mark.parametrize("said, words", [
    ([], "0 outcomes for 1 records"),
    ([{"verdict": "new", "timestamp": 1, "text": ""}], "of another record"),
    ([{"verdict": "moved", "timestamp": 0, "text": ""}], "of another record"),
    ([{"verdict": "rejected", "timestamp": 0, "text": ""}], "of another record"),
    ([{"verdict": "perhaps", "timestamp": 0, "text": ""}], "verdict"),
])
def test_outcomes_that_are_not_of_these_records(tmp_path, said, words):
    def respond(request, connection):
        if request.records():
            return answer(200, {"outcomes": said})
        return take(request, connection)

    with HttpServer(respond) as server:
        done = push(server, tmp_path)
    assert done.returncode == 3
    assert words in done.stderr


def test_a_store_that_takes_no_pushes_says_so(tmp_path):
    with HttpServer(lambda *_: answer(405, {"detail": "Method Not Allowed."})) as server:
        done = push(server, tmp_path)
    assert done.returncode == 4
    assert "no TOKENS are configured" in done.stderr


def test_an_answer_that_is_lost_is_no_success(tmp_path):
    stored = set()

    def respond(request, connection):
        stored.update(record["timestamp"] for record in request.records())
        return None if request.records() else take(request, connection)

    with HttpServer(respond) as server:
        done = push(server, tmp_path, 3)
    assert done.returncode == 3
    assert stored == {0, 60, 120}


def test_a_body_that_is_too_large_is_halved(tmp_path):
    taken = []

    def respond(request, connection):
        if len(request.records()) > 70:
            return answer(413, PROMPT, "text/html")
        taken.extend(request.records())
        return take(request, connection)

    with HttpServer(respond) as server:
        done = push(server, tmp_path, 300)
    assert done.returncode == 0, done.stderr
    assert [each["timestamp"] for each in taken] == [60 * i for i in range(300)]


def test_a_server_that_takes_nothing_is_told_of(tmp_path):
    def respond(request, connection):
        return answer(413, b"") if request.records() else take(request, connection)

    with HttpServer(respond) as server:
        done = push(server, tmp_path, 5)
    assert done.returncode == 3
    assert "too large" in done.stderr
    assert [len(request.records()) for request in server.requests] == [0, 5, 2, 1]


def test_a_busy_store_is_asked_again(tmp_path):
    replies = [
        answer(503, {"detail": "locked", "error": "BUSY"}),
        answer(503, {"detail": "queue is full", "error": "OVERLOADED"}, retry_after=1),
        answer(429, b"slow down", "text/plain"),
    ]

    def respond(request, connection):
        return replies.pop(0) if replies and request.records() else take(request, connection)

    with HttpServer(respond) as server:
        done = push(server, tmp_path, 3)
    assert done.returncode == 0, done.stderr
    assert [len(request.records()) for request in server.requests] == [0, 3, 3, 3, 3]


def test_bodies_are_small_enough_for_most_proxies(tmp_path):
    with HttpServer(take) as server:
        done = push(server, tmp_path, 2500)
    assert done.returncode == 0, done.stderr
    sizes = [len(request.records()) for request in server.requests]
    assert sum(sizes) == 2500
    assert max(sizes) <= 1000
    assert all(len(request.body) <= 1024 * 1024 for request in server.requests)
    assert all(int(request.headers["content-length"]) < 100000 for request in server.requests)
    # one connection, kept alive
    assert len(server.connections) == 1


def test_a_server_that_is_silent_is_waited_for_ten_seconds():
    if sanitizer():
        not_in_this_build("ten seconds of waiting are the same in every build")

    def respond(*_):
        server.closing.wait()

    with HttpServer(respond) as server:
        done = ask(server)
    assert done.returncode == 3
    assert "timed out after 10" in done.stderr


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("tls") / "certificates")


def no_hosts(request, _):
    return answer(200, OK if request.path == "/store/ping" else b"")


def ask_secure(server, options="", host="127.0.0.1"):
    return ask(server, scheme="https", options=options, host=host)


def test_a_server_is_known_by_its_authority(certificates):
    options = f"?tlsCAFile={certificates.path('ca.pem')}"
    with HttpServer(no_hosts, certificates) as server:
        done = ask_secure(server, options)
        assert done.returncode == 0, done.stderr
        done = ask_secure(server)
        assert done.returncode == 4
        assert "is not trusted" in done.stderr
        assert "tlsCAFile" in done.stderr
        done = ask_secure(server, "?tlsAllowInvalidCertificates=true")
        assert done.returncode == 0, done.stderr


def test_a_certificate_of_another_name_is_refused(tmp_path):
    foreign = Certificates(tmp_path / "foreign", names="DNS:elsewhere.example")
    with HttpServer(no_hosts, foreign) as server:
        done = ask_secure(server, f"?tlsCAFile={foreign.path('ca.pem')}")
    assert done.returncode == 4
    assert "is not trusted" in done.stderr
    assert server.requests == []


def test_a_client_may_show_a_certificate(certificates):
    ca = f"?tlsCAFile={certificates.path('ca.pem')}"
    with HttpServer(no_hosts, certificates, want_client=True) as server:
        done = ask_secure(server, f"{ca}&tlsCertificateKeyFile={certificates.path('client.pem')}")
        assert done.returncode == 0, done.stderr
        count = len(server.requests)
        assert count > 0
        assert ask_secure(server, ca).returncode == 3
        assert len(server.requests) == count


@pytest.mark.parametrize("option", ["tlsCAFile", "tlsCertificateKeyFile"])
def test_files_of_tls_that_are_of_no_use(certificates, tmp_path, option):
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("no certificate\n")
    with HttpServer(no_hosts, certificates) as server:
        for path in [rubbish, tmp_path / "nowhere.pem"]:
            done = ask_secure(server, f"?{option}={path}")
            assert done.returncode == 4, done.stderr
            assert option in done.stderr
    assert server.requests == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_tls_is_refused(certificates):
    with HttpServer(no_hosts, certificates) as server:
        server.context.minimum_version = ssl.TLSVersion.TLSv1
        server.context.maximum_version = ssl.TLSVersion.TLSv1_1
        server.context.set_ciphers("ALL:@SECLEVEL=0")
        done = ask_secure(server, f"?tlsCAFile={certificates.path('ca.pem')}")
    assert done.returncode == 3
    assert server.requests == []


def test_neither_proxies_nor_netrc_see_anything(tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password something\n")
    with HttpServer(lambda *_: answer(502)) as proxy, HttpServer(no_hosts) as server:
        url = f"http://127.0.0.1:{proxy.port}"
        done = run("memory-tracker", "hosts", env={
            **environment(server), "HOME": tmp_path, "http_proxy": url, "ALL_PROXY": url,
        })
    assert done.returncode == 0, done.stderr
    assert proxy.requests == []
    assert all(request.headers["authorization"] == f"Bearer {TOKEN}" for request in server.requests)


def test_without_a_token_there_is_no_such_header():
    with HttpServer(no_hosts) as server:
        done = run("memory-tracker", "hosts",
                   env={"MEMORY_TRACKER_STORE": f"http://127.0.0.1:{server.port}/some/prefix/"})
    assert done.returncode == 3
    assert "authorization" not in server.requests[0].headers
    assert server.requests[0].target == "/some/prefix/store/ping"


def test_a_refused_connection_is_unavailable():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = run("memory-tracker", "hosts",
               env={"MEMORY_TRACKER_STORE": f"http://127.0.0.1:{port}"})
    assert done.returncode == 3
    assert f"store http://127.0.0.1:{port}: open: " in done.stderr
