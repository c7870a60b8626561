"""Hostile clients: slow, idle, endless, malformed and many. Others are served all the while."""

import contextlib
import os
import random
import resource
import socket
import struct
import threading

import pytest

from support import http_exchange, sanitizer, wait_until
from support.api import read_response
from support.clients import Polite, descriptors, fill, is_closed, resident_kib
from support.database import connect as database

TARGET = "/memory-logs?limit=3"

# the whole answer: more than any socket buffer takes
LARGE = b"GET /memory-logs?limit=99999 HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def filled(home):
    fill(home, 100)
    return home


@contextlib.contextmanager
def others_served(api):
    """Somebody else is served without fault meanwhile, and no descriptor is left in the end."""
    assert api.get(TARGET).status == 200
    before = descriptors(api.process)
    with Polite(api, TARGET):
        yield
    # workers may have opened the store for the first time
    wait_until(lambda: descriptors(api.process) <= before + 3 * 4, what="descriptors to be closed")


def connect(api, count):
    connections = [api.connect() for _ in range(count)]
    for connection in connections:
        connection.setblocking(False)
    return connections


def close_all(connections):
    for connection in connections:
        connection.close()


def drip(connection, byte):
    """Sends one byte, if the connection still takes it."""
    with contextlib.suppress(OSError):
        connection.send(byte)


def test_slow_headers(filled, start_api):
    api = start_api(client_timeout=1)
    with others_served(api):
        slow = connect(api, 30)
        for connection in slow:
            connection.send(b"GET /memory-logs HTTP/1.1\r\nX: ")

        def all_closed():
            for connection in slow:
                drip(connection, b"x")
            return all(is_closed(connection) for connection in slow)

        wait_until(all_closed, what="slow clients to be cut off")
        close_all(slow)


def test_slow_bodies(filled, start_api):
    api = start_api(client_timeout=1)
    with others_served(api):
        slow = connect(api, 10)
        for connection in slow:
            connection.send(b"POST /memory-logs HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")
        wait_until(
            lambda: [drip(connection, b"x") for connection in slow]
            and all(is_closed(connection) for connection in slow),
            what="slow clients to be cut off",
        )
        close_all(slow)


def test_idle_clients(filled, start_api):
    api = start_api(client_timeout=1)
    with others_served(api):
        idle = connect(api, 30)
        for connection in idle[:10]:
            connection.setblocking(True)
            assert http_exchange(connection, TARGET).status == 200
            connection.setblocking(False)
        wait_until(lambda: all(is_closed(connection) for connection in idle))
        close_all(idle)


def test_half_closed_clients_get_their_answers(filled, start_api):
    api = start_api(client_timeout=3600)
    expected = api.get(TARGET).body
    with others_served(api):
        for count in (1, 3):
            with api.connect() as connection:
                connection.sendall(f"GET {TARGET} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * count)
                connection.shutdown(socket.SHUT_WR)
                with connection.makefile("rb") as stream:
                    for _ in range(count):
                        assert read_response(stream, "GET").body == expected
                    assert stream.read() == b""


@pytest.mark.parametrize(
    "unit", [b"X: y\r\n", b"y", b"X-Long: " + b"z" * 8000 + b"\r\n", b"\r\n x"], ids=range(4)
)
def test_endless_headers(filled, start_api, unit):
    api = start_api(client_timeout=3600)
    before = resident_kib(api.process)
    with others_served(api), api.connect() as connection:
        connection.sendall(b"GET /memory-logs HTTP/1.1\r\nX: ")
        answer = b""
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                connection.sendall(unit * (1_000_000 // len(unit)))
        with contextlib.suppress(ConnectionError):
            answer = connection.recv(12)
        assert answer in (b"", b"HTTP/1.1 400")
        assert is_closed(connection)
    if not sanitizer():
        wait_until(lambda: resident_kib(api.process) < before + 8 * 1024, what="memory to be freed")


def garbage():
    dice = random.Random(3)
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)  # a TLS greeting
    yield b"\x00" * 5000
    yield b"SSH-2.0-OpenSSH_9.2\r\n\r\n"
    yield b"GET\r\n\r\n"
    yield b"GET /memory-logs\r\n\r\n"
    yield b"GET /memory-logs HTTP/2.0\r\n\r\n"
    yield b"GET  /memory-logs HTTP/1.1\r\n\r\n"
    yield b"GET /a\x00b HTTP/1.1\r\n\r\n"
    yield b"GET /memory-logs HTTP/1.1\r\nX\x00: y\r\n\r\n"
    yield b"GET /memory-logs HTTP/1.1\r\n: y\r\n\r\n"
    yield b"GET /memory-logs HTTP/1.1\r\nX: y\x00z\r\n\r\n"
    for length in (1, 10, 100, 1000, 10_000):
        yield dice.randbytes(length) + b"\r\n\r\n"


def test_garbage(filled, start_api):
    api = start_api(client_timeout=3600)
    with others_served(api):
        for text in garbage():
            with api.connect() as connection:
                answer = b""
                with contextlib.suppress(ConnectionError):
                    connection.sendall(text)
                    connection.shutdown(socket.SHUT_WR)
                    while piece := connection.recv(4096):
                        answer += piece
                assert answer == b"" or answer.startswith(b"HTTP/1.1 400 "), text


@pytest.mark.parametrize(
    "target",
    [
        b"/memory-logs%00?limit=1",
        b"/memory-logs/../memory-logs",
        b"/\xff\xfe?limit=\xff",
        b"//",
        b"/%",
        b"/%2",
        b"?",
        b"?limit=1",
        b"http://",
        b"http:///",
        b"://x",
        b"..",
    ],
)
def test_odd_targets_are_answered(filled, start_api, target):
    api = start_api()
    with api.connect() as connection:
        response = http_exchange(connection, target)
        assert response.status == 404
        assert response.json() == {"detail": "Not Found."}
    assert "warning" not in api.log()


def test_odd_values_are_answered(filled, start_api):
    api = start_api()
    with api.connect() as connection:
        for query in (b"limit=%00", b"limit=\xff", b"limit=%FF%FE", b"limit=" + b"9" * 300_000):
            response = http_exchange(connection, b"/memory-logs?" + query)
            assert response.status == 422
            assert response.json()["detail"][0]["loc"] == ["query", "limit"]


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_clients_that_never_read_are_cut_off(home, start_api, kind):
    fill(home, 99_999)
    listen = "127.0.0.1:0" if kind == "tcp" else f"unix:{home.path}/s"
    # answers from the window would take no memory of their own; and long enough that several answers
    # are held at a time where a busy machine makes them slowly
    api = start_api(listen=listen, client_timeout=5, threads=2, workers=1, window_memory="1MiB")
    for _ in range(3):
        # a sanitized build on a busy machine may not make it within the server's own time limit
        answer = wait_until(lambda: (whole := api.get("/memory-logs?limit=99999")).status == 200 and whole)
        assert len(answer.json()) == 99_999
    memory = resident_kib(api.process)
    files = descriptors(api.process)
    with others_served(api):
        # each costs the only worker seconds in a sanitized build, and others have to be served in time
        deaf = connect(api, 6 if sanitizer() else 12)
        for connection in deaf:
            connection.send(LARGE)
        wait_until(lambda: resident_kib(api.process) > memory + 20 * 1024, what="answers to be made")
        # they are still there, and hear nothing: what counts is what the server has let go
        wait_until(lambda: descriptors(api.process) < files + 4, what="clients to be cut off")
        close_all(deaf)
    if not sanitizer():
        wait_until(lambda: resident_kib(api.process) < memory + 8 * 1024, what="memory to be freed")


def test_clients_that_pipeline_and_never_read_are_cut_off(filled, start_api):
    api = start_api(client_timeout=1)
    with others_served(api), api.connect() as connection:
        connection.setblocking(False)
        requests = b"GET /memory-logs?limit=100 HTTP/1.1\r\nHost: a\r\n\r\n" * 100

        def cut_off():
            try:
                while connection.send(requests):
                    pass
            except BlockingIOError:
                return False
            except ConnectionError:
                return True

        wait_until(cut_off, what="the client that never reads to be cut off")


def test_a_slow_reader_is_served_to_the_end(home, start_api):
    fill(home, 99_999)
    api = start_api(client_timeout=1)
    pace = threading.Event()
    with others_served(api), socket.socket() as connection:
        # so small that the server's kernel never gets rid of a whole segment at once
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        connection.connect(("127.0.0.1", api.port))
        connection.sendall(LARGE)
        # takes several times the client timeout in all, but never pauses for as long
        body = b""
        with connection.makefile("rb") as stream:
            length = int(read_response(stream, "HEAD").headers["content-length"])
            while len(body) < length:
                pace.wait(0.05)
                body += stream.read(min(64 * 1024, length - len(body)))
    assert body == api.get("/memory-logs?limit=99999").body


def test_vanishing_clients(home, start_api):
    fill(home, 20_000)
    api = start_api(client_timeout=3600)
    reset = struct.pack("ii", 1, 0)
    with others_served(api):
        for turn in range(60):
            connection = api.connect()
            connection.sendall(LARGE)
            if turn % 2 == 0:
                connection.recv(100)
            if turn % 3 == 0:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            connection.close()


def test_a_client_that_is_gone_makes_no_more_work(home, start_api):
    fill(home, 100)
    api = start_api(listen=f"unix:{home.path}/s", workers=1, log_level="debug", access_log="json")
    assert api.get("/readyz").status == 200

    def is_noticed():
        with database(home.db) as other, api.connect() as first:
            other.execute("BEGIN EXCLUSIVE")
            # the one worker waits for the lock for two seconds, and the second request for the worker
            first.sendall(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
            second = api.connect()
            second.sendall(b"GET /readyz?second HTTP/1.1\r\nHost: a\r\n\r\n")
            second.close()
            with first.makefile("rb") as stream:
                assert read_response(stream, "GET").status == 503
        return "a client did not wait" in api.log()

    # the server looks once a second, where the machine is slow also less often
    wait_until(is_noticed, what="the server to look at its clients")
    wait_until(lambda: '"target":"/readyz?second","status":503' in api.log())


def test_running_out_of_descriptors_ends_nothing(filled, start_api):
    api = start_api(client_timeout=3600, threads=2, workers=1)
    assert api.get(TARGET).status == 200
    limits = resource.prlimit(api.process.pid, resource.RLIMIT_NOFILE)
    few = descriptors(api.process) + 5
    resource.prlimit(api.process.pid, resource.RLIMIT_NOFILE, (few, limits[1]))
    kept = api.connect()
    assert http_exchange(kept, TARGET).status == 200
    idle = connect(api, 20)
    wait_until(lambda: "no descriptor or memory for another client" in api.log())
    before = cpu_ticks(api.process)
    burn_a_second()
    assert cpu_ticks(api.process) - before < os.sysconf("SC_CLK_TCK") / 4
    assert http_exchange(kept, TARGET).status == 200
    close_all(idle)
    assert api.get(TARGET).status == 200
    resource.prlimit(api.process.pid, resource.RLIMIT_NOFILE, limits)
    kept.close()
    with others_served(api):
        pass


def test_clients_over_the_cap_wait_and_are_served(filled, start_api):
    api = start_api(max_connections=20, client_timeout=1, threads=2)
    before = descriptors(api.process)
    idle = connect(api, 100)
    assert api.get(TARGET).status == 200, "served once idle clients before it were cut off"
    assert descriptors(api.process) <= before + 20 + 2 + 3 * 4
    assert "as many clients as --max-connections allows" in api.log()
    close_all(idle)
    with others_served(api):
        pass


def test_thousands_of_clients(filled, start_api):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3000
    if hard < wanted + 200:
        pytest.skip(f"needs {wanted + 200} open files, the hard limit is {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 200), hard))
    try:
        api = start_api(max_connections=2000, client_timeout=3, threads=2)
        before = resident_kib(api.process)
        idle = connect(api, wanted)
        assert api.get(TARGET).status == 200
        wait_until(lambda: all(is_closed(connection) for connection in idle), timeout=60)
        close_all(idle)
        with others_served(api):
            pass
        if not sanitizer():
            assert resident_kib(api.process) < before + 32 * 1024
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def cpu_ticks(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as stream:
        fields = stream.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def burn_a_second():
    """Goes on until this process has had a second of CPU time: others had their share meanwhile."""
    start = os.times().user
    while os.times().user - start < 1:
        pass


def test_waiting_at_the_cap_burns_no_cpu(filled, start_api):
    api = start_api(max_connections=5, client_timeout=3600, threads=2)
    idle = connect(api, 50)
    wait_until(lambda: "--max-connections allows" in api.log())
    before = cpu_ticks(api.process)
    burn_a_second()
    assert cpu_ticks(api.process) - before < os.sysconf("SC_CLK_TCK") / 4
    close_all(idle)
