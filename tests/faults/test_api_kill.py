"""
memory-api killed with SIGKILL at random times, while clients ask and samplers write.

Whatever it was doing, the store stays sound, samplers go on, the next memory-api comes up at the same
address, and its answers hold every record that a sampler acknowledged. No client ever sees a wrong
answer: it is whole, or the connection ended.
"""

import os
import random
import signal
import socket
import threading

from support import assert_sound, http_exchange
from support.clients import fill

T = 1_700_000_000
POINTS = max(5, int(os.environ.get("MT_KILL_POINTS", "200")) // 8)
SEED = int(os.environ.get("MT_KILL_SEED", "20260311"))
HISTORY = 5000


class Asker(threading.Thread):
    """Asks until the connection fails; answers must be whole and in order."""

    def __init__(self, api, target):
        super().__init__()
        self.api = api
        self.target = target
        self.answers = 0
        self.failures = []

    def run(self):
        try:
            with self.api.connect() as connection:
                while not self.failures:
                    self.check(http_exchange(connection, self.target))
        except TimeoutError:
            self.failures.append("no answer, and no end of the connection")
        except OSError:
            pass

    def check(self, response):
        if len(response.body) < int(response.headers["content-length"]):
            raise ConnectionError("cut short")
        times = [entry["timestamp"] for entry in response.json()]
        if response.status != 200 or not times or times != sorted(times):
            self.failures.append((response.status, response.body[:200]))
        self.answers += 1


def test_a_killed_api_leaves_everything_sound(home, start_api):
    print(f"MT_KILL_SEED={SEED}")
    dice = random.Random(SEED)
    clock = home.clock(T)
    listen = f"unix:{home.path}/api.sock"
    fill(home, HISTORY)
    acknowledged = []
    answers = 0
    for point in range(POINTS):
        api = start_api(listen=listen, threads=2, workers=2)
        askers = [
            Asker(api, f"/memory-logs?limit={limit}&skip=1")
            for limit in (1, 10, HISTORY - 1, HISTORY - 1)
        ]
        for asker in askers:
            asker.start()
        killer = threading.Timer(dice.uniform(0, 0.25), api.kill)
        killer.start()
        while killer.is_alive():
            clock.set(T + 60 * len(acknowledged))
            done = home.run("memory-sampler", clock=clock)
            assert done.returncode == 0, done.stderr
            acknowledged.append(T + 60 * len(acknowledged))
        killer.join()
        for asker in askers:
            asker.join()
            assert not asker.failures
            answers += asker.answers
        assert_sound(home.db)
        if point % 10 == 0:
            after = start_api(listen=listen, threads=1, workers=1)
            newest = after.get(f"/memory-logs?limit={len(acknowledged)}").json()
            assert [entry["timestamp"] for entry in newest] == acknowledged
            after.kill()
    assert answers > POINTS
    assert [record["timestamp"] for record in home.records()][HISTORY:] == acknowledged


def test_a_reader_that_never_comes_to_an_end_does_not_hold_a_stop_up_for_ever(home, start_api):
    fill(home, 99_999)
    api = start_api(client_timeout=1, threads=4)
    pace = threading.Event()
    with api.connect() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        reader.sendall(b"GET /memory-logs?limit=99999 HTTP/1.1\r\nHost: a\r\n\r\n")
        reader.recv(100)
        api.process.send_signal(signal.SIGTERM)
        # fast enough not to be cut off, and far too slow for the whole answer
        while reader.recv(16 * 1024):
            pace.wait(0.1)
            if api.process.poll() is not None:
                break
    assert api.stop() == 1
    api.expected_exit = 1
    assert "clients take too long to read their answers: ends with 1 connections open" in api.log()
