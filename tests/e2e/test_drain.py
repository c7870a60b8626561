"""SIGTERM: every request that was sent is answered, and then memory-api ends with status 0."""

import json
import signal
import socket
import sqlite3
import threading

import pytest

from support import http_exchange, wait_until
from support.api import read_response
from support.clients import fill

# no time limit of the program itself plays a part, unless a test sets it
PATIENT = {"client_timeout": 3600}


def begin_to_stop(api, number=signal.SIGTERM):
    api.process.send_signal(number)
    wait_until(lambda: f"signal {number}:" in api.log(), what="the signal to be noticed")


def turns_away(api):
    """A new client is refused, or waits in vain."""
    try:
        api.connect(timeout=0.25).close()
        return False
    except OSError:
        return True


def wait_for_exit(api):
    return api.stop(number=0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_idle_clients_hold_nothing_up(home, start_api, number):
    fill(home, 10)
    api = start_api(threads=2, **PATIENT)
    silent = [api.connect() for _ in range(20)]
    kept = [api.connect() for _ in range(20)]
    for connection in kept:
        assert http_exchange(connection, "/memory-logs").status == 200
    begin_to_stop(api, number)
    assert wait_for_exit(api) == 0
    for connection in silent + kept:
        assert connection.recv(100) == b""
        connection.close()


def test_an_answer_on_its_way_arrives_whole(home, start_api):
    fill(home, 99_999)
    api = start_api(**PATIENT)
    with api.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(b"GET /memory-logs?limit=99999 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
        begin_to_stop(api)
        wait_until(lambda: turns_away(api), what="new clients to be turned away")
        assert api.process.poll() is None
        body = stream.read().partition(b"\r\n\r\n")[2]
    assert len(json.loads(body)) == 99_999
    assert wait_for_exit(api) == 0


def test_a_request_half_sent_is_waited_for(home, start_api):
    fill(home, 10)
    api = start_api(**PATIENT)
    with api.connect() as connection:
        connection.sendall(b"GET /memory-logs HTTP/1.1\r\nHost:")
        # its first half is there once another request, sent later, is answered
        assert api.get("/healthz").status == 200
        begin_to_stop(api)
        connection.sendall(b" a\r\n\r\n")
        with connection.makefile("rb") as stream:
            response = read_response(stream, "GET")
    assert response.status == 200
    assert response.headers["connection"] == "close"
    assert len(response.json()) == 10
    assert wait_for_exit(api) == 0


def test_a_worker_at_its_job_is_waited_for(home, start_api):
    fill(home, 10)
    api = start_api(**PATIENT)
    assert api.get("/readyz").status == 200
    lock = sqlite3.connect(home.db, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    with api.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert api.get("/healthz").status == 200
        begin_to_stop(api)
        lock.execute("ROLLBACK")
        response = read_response(stream, "GET")
    lock.close()
    assert response.status == 200
    assert response.headers["connection"] == "close"
    assert wait_for_exit(api) == 0


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_who_waits_in_the_queue_is_still_served(home, start_api, kind):
    fill(home, 10)
    listen = "127.0.0.1:0" if kind == "tcp" else f"unix:{home.path}/s"
    api = start_api(listen=listen, max_connections=1, threads=2, **PATIENT)
    with api.connect() as first:
        assert http_exchange(first, "/healthz").status == 200
        first.sendall(b"GET /memory-logs HTTP/1.1\r\n")
        queued = [api.connect() for _ in range(10)]
        for connection in queued:
            connection.sendall(b"GET /memory-logs HTTP/1.1\r\nHost: a\r\n\r\n")
        begin_to_stop(api)
        assert api.process.poll() is None
        first.sendall(b"Host: a\r\n\r\n")
        for connection in [first, *queued]:
            with connection.makefile("rb") as stream:
                assert len(read_response(stream, "GET").json()) == 10
    for connection in queued:
        connection.close()
    assert wait_for_exit(api) == 0


def test_the_drain_delay_lets_balancers_turn_away_first(home, start_api):
    fill(home, 10)
    api = start_api(drain_delay=3600, **PATIENT)
    with api.connect() as kept:
        assert http_exchange(kept, "/readyz").status == 200
        # what was just asked is answered by another way
        assert http_exchange(kept, "/memory-logs").headers["connection"] == "keep-alive"
        begin_to_stop(api)
        last = http_exchange(kept, "/memory-logs")
        assert (last.status, last.headers["connection"]) == (200, "close")
        assert kept.recv(1) == b""
    ready = api.get("/readyz", headers={"Connection": "keep-alive"})
    assert ready.status == 503
    assert ready.json()["status"] == "draining"
    assert ready.headers["connection"] == "close"
    assert int(ready.headers["retry-after"]) > 0
    assert api.get("/healthz").status == 200
    assert len(api.get("/memory-logs").json()) == 10
    # who waited long enough sends a second signal
    assert api.stop() == 1
    api.expected_exit = 1


def test_after_the_drain_delay_it_ends_by_itself(home, start_api):
    api = start_api(drain_delay=1, **PATIENT)
    begin_to_stop(api)
    assert api.get("/healthz").status == 200
    assert wait_for_exit(api) == 0


def test_a_second_signal_ends_it_at_once(home, start_api):
    path = home.path / "s"
    api = start_api(listen=f"unix:{path}", **PATIENT)
    with api.connect() as stubborn:
        stubborn.sendall(b"GET /memory-logs HTTP/1.1\r\n")
        assert api.get("/healthz").status == 200
        begin_to_stop(api)
        assert api.process.poll() is None
        assert api.stop(signal.SIGINT) == 1
        api.expected_exit = 1
    assert "a second signal came: ends with 1 connections open" in api.log()
    assert not path.exists()


class Hammer(threading.Thread):
    """Sends requests as fast as it can until it is refused, and notes what became of each."""

    def __init__(self, api, kept):
        super().__init__()
        self.api = api
        self.kept = kept
        self.complete = 0
        self.retried = 0
        self.lost = []

    def run(self):
        while not self.lost:
            try:
                connection = self.api.connect()
            except OSError:
                return
            try:
                with connection:
                    self.use(connection)
            except OSError as error:
                self.lost.append(repr(error))

    def use(self, connection):
        request = b"GET /memory-logs?limit=100 HTTP/1.1\r\nHost: a\r\n\r\n"
        before = self.complete
        with connection.makefile("rb") as stream:
            while True:
                try:
                    connection.sendall(request)
                    first = stream.peek(1)
                except ConnectionError:
                    first = b""
                if not first:
                    # a kept connection that closes without a byte: HTTP lets clients ask again
                    if self.complete == before:
                        self.lost.append("no answer on a new connection")
                    self.retried += 1
                    return
                response = read_response(stream, "GET")
                if response.status != 200 or len(response.json()) != 100:
                    self.lost.append(response.head)
                self.complete += 1
                if response.headers["connection"] == "close" or not self.kept:
                    return


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_no_request_is_lost_while_clients_hammer(home, start_api, kind):
    fill(home, 100)
    for turn in range(5):
        listen = "127.0.0.1:0" if kind == "tcp" else f"unix:{home.path}/s{turn}"
        api = start_api(listen=listen, threads=2, **PATIENT)
        hammers = [Hammer(api, kept=i % 2 == 0) for i in range(8)]
        for hammer in hammers:
            hammer.start()
        wait_until(lambda: min(hammer.complete for hammer in hammers) > 20)
        assert api.stop() == 0
        for hammer in hammers:
            hammer.join()
        assert [lost for hammer in hammers for lost in hammer.lost] == []
        # the pause before idle connections are closed leaves hardly anything to ask again
        assert sum(hammer.retried for hammer in hammers) <= len(hammers)


def test_nothing_is_left_on_the_port(home, start_api):
    api = start_api(**PATIENT)
    port = api.port
    with api.connect() as connection:
        http_exchange(connection, "/healthz")
        assert api.stop() == 0
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 5):
        pass
    again = start_api(listen=f"127.0.0.1:{port}")
    assert again.get("/healthz").status == 200
