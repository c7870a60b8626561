"""Requests from many addresses, one after the other from each worker, until its input ends.

    load.py URL HOST USER:PASSWORD FIRST_ADDRESS

runs in a client's network namespace, where every address from FIRST_ADDRESS on may be bound. A
limit that counts by address lets five requests of each pass, so every address makes five and is
never used again: half of the workers on one connection that is kept, half on a new one each time.
A line with a number is answered by a line once so many more requests have been made. At the end it
prints {"sent": N, "kept": N, "statuses": {"200": N}, "failed": [...]}.
"""

import base64
import http.client
import ipaddress
import itertools
import json
import sys
import threading
import time
from urllib.parse import urlsplit

REQUESTS_OF_AN_ADDRESS = 5
WORKERS = 4
# between two requests of a worker; the others fill the gaps
PAUSE_S = 0.04
# longer than any answer takes, shorter than a test waits
TIMEOUT_S = 15


class Load:
    def __init__(self, url, host, credentials, first_address):
        parts = urlsplit(url)
        self.server = (parts.hostname, parts.port or 80)
        self.path = parts.path
        self.headers = {
            "Host": host,
            "Authorization": "Basic " + base64.b64encode(credentials.encode()).decode(),
        }
        first = ipaddress.ip_address(first_address)
        self.addresses = (str(first + i) for i in itertools.count())
        self.lock = threading.Lock()
        self.counted = threading.Condition(self.lock)
        self.ending = threading.Event()
        self.sent = 0
        self.kept = 0
        self.statuses = {}
        self.failed = []

    def next_address(self):
        with self.lock:
            return next(self.addresses)

    def ask(self, connection, address):
        """One request; whether the connection may be used for another."""
        reused = connection.sock is not None
        problem = None
        status = None
        begin = time.monotonic()
        try:
            connection.request("GET", self.path, headers=self.headers)
            answer = connection.getresponse()
            body = answer.read()
            status = answer.status
            if status != 200:
                problem = f"{status} {body[:200]!r}"
            elif not (records := json.loads(body)) or "timestamp" not in records[0]:
                problem = f"200 with {body[:200]!r}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = repr(error)
        with self.lock:
            self.sent += 1
            self.counted.notify_all()
            self.kept += reused
            self.statuses[str(status)] = self.statuses.get(str(status), 0) + 1
            if problem:
                took = time.monotonic() - begin
                self.failed.append(f"{time.time():.2f} {address} after {took:.2f} s, "
                                   f"{'kept' if reused else 'new'} connection: {problem}")
        return problem is None

    def work(self, keep):
        while not self.ending.is_set():
            address = self.next_address()
            connection = None
            for _ in range(REQUESTS_OF_AN_ADDRESS):
                if connection is None:
                    connection = http.client.HTTPConnection(
                        *self.server, timeout=TIMEOUT_S, source_address=(address, 0))
                if not self.ask(connection, address) or not keep:
                    connection.close()
                    connection = None
                if self.ending.wait(PAUSE_S):
                    break
            if connection is not None:
                connection.close()

    def obey(self, lines):
        for line in lines:
            with self.lock:
                wanted = self.sent + int(line)
                while self.sent < wanted:
                    self.counted.wait()
                print(self.sent, flush=True)

    def run(self, lines):
        workers = [threading.Thread(target=self.work, args=(i % 2 == 0,)) for i in range(WORKERS)]
        for worker in workers:
            worker.start()
        self.obey(lines)
        self.ending.set()
        for worker in workers:
            worker.join()
        return {name: getattr(self, name) for name in ("sent", "kept", "statuses", "failed")}


if __name__ == "__main__":
    print(json.dumps(Load(*sys.argv[1:]).run(sys.stdin)))
