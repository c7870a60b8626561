"""What the window answers is what a plain scan of the store would: however records arrive, however far
back one asks, whatever happens to the file, and whether the workers have time or not."""

import json
import random
import socket
import threading

import pytest

from support import http_exchange, sanitizer, wait_until
from support.api import read_response
from support.clients import FIRST_TIMESTAMP, fill
from support.database import connect as database

NOW = 1647039541
DAY = 86400


class History:
    """What was imported, and what the API has to say of it."""

    def __init__(self, home):
        self.home = home
        self.records = {}

    def add(self, keys):
        new = {key: 1024 + random.randrange(4096) for key in keys if key not in self.records}
        self.records.update(new)
        lines = [f"{host},{time},{total * 1024},{total // 2 * 1024}" for (time, host), total in new.items()]
        random.shuffle(lines)
        self.home.import_csv("host,timestamp,mem_total,mem_available\n" + "\n".join(lines) + "\n")

    def prune(self, before):
        done = self.home.run("memory-tracker", "prune", "--before", str(before))
        assert done.returncode == 0, done.stderr
        day = before - before % DAY
        self.records = {key: total for key, total in self.records.items() if key[0] >= day}

    def expected(self, limit, skip):
        shown = [
            {"timestamp": time, "total": total, "free": total // 2, "used": total - total // 2}
            for (time, host), total in sorted(self.records.items())
            if time <= NOW + 300
        ]
        end = max(0, len(shown) - skip)
        return shown[max(0, end - limit):end]


def assert_pages(history, connection):
    for limit, skip in [(1, 0), (10, 0), (10, 5), (700, 33), (5000, 0), (99_999, 0), (3, 2500), (9, 99_999)]:
        target = f"/memory-logs?limit={limit}" + (f"&skip={skip}" if skip else "")
        answer = http_exchange(connection, target)
        assert answer.status == 200
        assert answer.json() == history.expected(limit, skip), target


@pytest.mark.parametrize("settings", [{}, {"window_memory": "1MiB", "threads": 1}])
def test_pages_are_those_of_a_plain_scan_however_records_arrive(home, start_api, settings):
    random.seed(20260311)
    history = History(home)
    history.add((NOW - 60 * n, host) for n in range(1500) for host in ("a", "b"))
    api = start_api(clock=home.clock(NOW), **settings)
    with api.connect() as connection:
        assert_pages(history, connection)
        # newer ones, late ones of another host, a month that was brought in later, and the future
        history.add((NOW - 30 + n, f"h{n % 40}") for n in range(200))
        assert_pages(history, connection)
        history.add((NOW - 60 * random.randrange(1500) + random.randrange(60), "late") for _ in range(300))
        assert_pages(history, connection)
        history.add((NOW - 30 * DAY + 60 * n, "backfilled") for n in range(1000))
        assert_pages(history, connection)
        history.add((NOW + 3600 + 60 * n, "future") for n in range(50))
        assert_pages(history, connection)
        history.prune(NOW - 10 * DAY)
        assert_pages(history, connection)
        history.add((NOW - 60 * n - 1, f"host-{n % 1000:04}") for n in range(1000))
        assert_pages(history, connection)


def answered(api, target):
    """The answer; a sanitized build on a busy machine may need a second try to make one of 6 MB in time."""
    answer = api.get(target)
    return answer if answer.status == 200 or not sanitizer() else wait_until(
        lambda: (again := api.get(target)).status == 200 and again, what=target)


def test_it_grows_to_what_is_asked_and_stays_within_its_memory(home, start_api):
    fill(home, 99_999)
    api = start_api(threads=1, workers=1)
    whole = answered(api, "/memory-logs?limit=99998").body
    assert len(json.loads(whole)) == 99_998

    def is_in_memory():
        # the window can grow while this is made from the store
        answered(api, "/memory-logs?limit=99998")
        # no lock is needed for it then, and nothing can be read with one
        with database(home.db) as other:
            other.execute("BEGIN EXCLUSIVE")
            answer = api.get("/memory-logs?limit=99998")
            other.execute("ROLLBACK")
        return answer.status == 200 and answer.body == whole

    wait_until(is_in_memory, what="the window to grow")
    small = start_api(threads=1, workers=1, window_memory="1MiB")
    for _ in range(5):
        assert answered(small, "/memory-logs?limit=99998").body == whole


LARGE = b"GET /memory-logs?limit=99999 HTTP/1.1\r\nHost: a\r\n\r\n"


def deaf_client(api):
    """One that asked for 6 MB, and reads nothing of them but whether it gets them; None: it does not."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    connection.connect(("127.0.0.1", api.port))
    connection.sendall(LARGE)
    if connection.recv(12, socket.MSG_PEEK | socket.MSG_WAITALL) == b"HTTP/1.1 200":
        return connection
    connection.close()
    return None


def assert_room_ends(api, deaf, most):
    """While so many clients at most do not read theirs, there is no large answer more. Any other is as ever."""
    while (connection := deaf_client(api)) is not None:
        deaf.append(connection)
        assert len(deaf) <= most
    refused = api.get("/memory-logs?limit=99999")
    assert (refused.status, refused.json()) == (503, {"detail": "Service unavailable."})
    assert int(refused.headers["retry-after"]) > 0
    assert len(api.get("/memory-logs?limit=700").json()) == 700
    wait_until(lambda: "take all of RESPONSE_MEMORY" in api.log(), what="a line of the log")
    for connection in deaf:
        connection.close()
    wait_until(lambda: api.get("/memory-logs?limit=99999").status == 200, what="room for large answers")


def test_answers_from_the_store_take_no_more_than_their_memory(home, start_api):
    fill(home, 99_999)
    api = start_api(threads=1, window_memory="1MiB", response_memory="16MiB", client_timeout=600)
    assert_room_ends(api, [], 2)


def test_old_views_that_nobody_reads_take_no_more_than_their_memory(home, start_api):
    fill(home, 99_999)
    api = start_api(threads=1, window_memory="16MiB", response_memory="16MiB", client_timeout=600)

    def is_in_memory():
        api.get("/memory-logs?limit=99998")
        with database(home.db) as other:
            other.execute("BEGIN EXCLUSIVE")
            answer = api.get("/memory-logs?limit=99998")
            other.execute("ROLLBACK")
        return answer.status == 200

    wait_until(is_in_memory, what="the window to grow")
    deaf = []
    for second in 1, 2:
        deaf.append(deaf_client(api))
        # in each piece of the window one more: what the client holds is none of it any more
        late = [FIRST_TIMESTAMP + 60 * n + second for n in range(100, 99_999, 250)]
        home.import_csv("timestamp,total,free,used\n" + "".join(f"{time},2000,1000,1000\n" for time in late))
        assert f'"timestamp":{late[-1]},' in api.get("/memory-logs?limit=250").text
    # from here on, or already before the last one, large answers are copies
    assert_room_ends(api, deaf, 4)


def test_a_full_pool_does_not_hold_up_what_is_in_memory(home, start_api):
    fill(home, 20_000)
    api = start_api(threads=2, workers=1, log_level="debug")
    wait_until(lambda: "records are in memory" in api.log(), what="the window")
    newest = api.get("/memory-logs?limit=10").body
    with database(home.db) as other, api.connect() as quick:
        # far back, where only the store can answer: the worker waits for the lock, the others for it
        other.execute("BEGIN EXCLUSIVE")
        waiting = [api.connect() for _ in range(100)]
        for connection in waiting:
            connection.sendall(b"GET /memory-logs?limit=5&skip=19000 HTTP/1.1\r\nHost: a\r\n\r\n")
        refused = wait_until(
            lambda: (r := api.get("/memory-logs?limit=5&skip=19000")).status == 503 and r, what="503"
        )
        assert int(refused.headers["retry-after"]) > 0
        # nor does it that the worker has waited for the lock in vain
        assert read_response(waiting[0].makefile("rb"), "GET").status == 503
        for _ in range(200):
            answer = http_exchange(quick, "/memory-logs?limit=10")
            assert (answer.status, answer.body) == (200, newest)
        other.execute("ROLLBACK")
        for connection in waiting:
            connection.close()
    wait_until(lambda: api.get("/memory-logs?limit=5&skip=19000").status == 200, what="the pool to be free")


def test_a_replaced_file_is_the_history_from_then_on(home, start_api):
    other = home.db.with_name("other.db")
    fill(home, 300)
    home.db.rename(other)
    fill(home, 3000)
    api = start_api(threads=2)
    old = api.get("/memory-logs?limit=99999").json()
    assert len(old) == 3000
    stop = threading.Event()
    bad = []

    def keep_asking():
        with api.connect() as connection:
            while not stop.is_set():
                answer = http_exchange(connection, "/memory-logs?limit=99999")
                if answer.status not in (200, 503) or (
                    answer.status == 200 and len(answer.json()) not in (3000, 300, 301)
                ):
                    bad.append(answer)

    readers = [threading.Thread(target=keep_asking) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        other.rename(home.db)
        wait_until(lambda: len(api.get("/memory-logs?limit=99999").json()) == 300, what="the other file")
        # and goes on with it
        home.import_csv("timestamp,total,free,used\n1700000000,10,4,6\n")
        for _ in range(20):
            answer = api.get("/memory-logs?limit=1").json()
            assert answer == [{"timestamp": 1700000000, "total": 10, "free": 4, "used": 6}]
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not bad


def test_a_file_that_is_gone_is_not_answered_from_memory(home, start_api):
    fill(home, 100)
    api = start_api()
    assert api.get("/memory-logs").status == 200
    home.db.unlink()
    wait_until(lambda: api.get("/memory-logs").status == 503, what="the loss to be noticed")
    fill(home, 50)
    # a worker may have looked whether the file is still the same less than a second ago
    wait_until(
        lambda: (r := api.get("/memory-logs?limit=99")).status == 200 and len(r.json()) == 50, what="the new file"
    )
