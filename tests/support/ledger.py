"""Records that must be in the history: taken in the samplers' containers, and written down."""

import threading
import time

from .stack import SAMPLER, SAMPLER_USER
from .waiting import wait_until

# cron's own records have 60
FIRST_MARK = 1000


class Ledger:
    """Samples on every node, beside cron, while it is entered.

    Each run of the sampler gets an INTERVAL that no other has, which the record keeps: that mark is
    written down if the run ended with 0, and then has to be in the history exactly once. A host has
    one record a second: where cron's, or that of a container's start, was of the same second, it
    stands for both.
    """

    # a host has one record a second; this leaves the machine some peace
    PAUSE_S = 2.5
    # when cron samples itself
    SECONDS_OF_CRON = {57, 58, 59, 0, 1, 2}
    # what lies between the beginning of `docker exec` and the sampler's look at the clock, at most
    LATENCY_S = 4

    def __init__(self, stack):
        self.stack = stack
        self.lock = threading.Lock()
        self.last_mark = FIRST_MARK
        # {host: {mark: when that run began}}
        self.taken = {node.name: {} for node in stack.engines}
        self.failed = {node.name: [] for node in stack.engines}
        self.ending = threading.Event()
        self.threads = []

    def __enter__(self):
        self.threads = [
            threading.Thread(target=self.work, args=(node,)) for node in self.stack.engines]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def work(self, node):
        while not self.ending.wait(self.PAUSE_S):
            if int(time.time()) % 60 not in self.SECONDS_OF_CRON:
                self.sample(node)

    def sample(self, node):
        """One run on that node; whether it ended with 0."""
        with self.lock:
            self.last_mark += 1
            mark = self.last_mark
        # one that is healthy has taken its first sample
        running = self.stack.containers(node, SAMPLER, healthy=True)
        if not running:
            return False
        begin = time.time()
        done = node.docker("exec", "--user", SAMPLER_USER, running[0], "memory-sampler",
                           "--interval", str(mark), check=False)
        with self.lock:
            if done.returncode == 0:
                self.taken[node.name][mark] = begin
            else:
                self.failed[node.name].append(f"{time.time():.1f} {done.returncode} {done.stderr}")
        return done.returncode == 0

    def counts(self):
        with self.lock:
            return {host: len(marks) for host, marks in self.taken.items()}

    def wait_for_more(self, nodes, more=2, timeout=60):
        """Until each of these nodes has taken that many more samples."""
        before = self.counts()
        self.stack.wait(
            lambda: all(self.counts()[node.name] >= before[node.name] + more for node in nodes),
            timeout, f"samples on {[node.name for node in nodes]}; failed: {self.failed}")

    def written_down(self):
        """{(host, mark): when that run began}"""
        with self.lock:
            return {(host, mark): when for host, marks in self.taken.items()
                    for mark, when in marks.items()}

    def missing(self, records):
        """What was written down and is not in the history."""
        found = {(record["host"], record["interval_s"]) for record in records}
        others = {(record["host"], record["timestamp"]) for record in records
                  if record["interval_s"] < FIRST_MARK}
        missing = set()
        for (host, mark), begin in self.written_down().items():
            seconds = [(host, int(begin) + i) for i in range(self.LATENCY_S + 1)]
            if (host, mark) in found:
                continue
            if same := [second for second in seconds if second in others]:
                others.discard(same[0])
            else:
                missing.add((host, mark))
        return missing

    def wait_delivered(self, timeout=90):
        """Until all that is written down by now has arrived; returns the history."""
        wanted = self.written_down()
        history = []

        def arrived():
            history[:] = self.stack.export()
            return not set(wanted) & self.missing(history)
        try:
            wait_until(arrived, timeout, f"{len(wanted)} records to arrive", longest_pause=2)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.about_missing(history)}") from None
        return list(history)

    def about_missing(self, history):
        """What is known of records that did not arrive."""
        wanted = self.written_down()
        lines = []
        for host, mark in sorted(self.missing(history)):
            lines.append(f"{host} {mark}, taken at {wanted[host, mark]:.1f}")
        hosts = {host for host, _ in self.missing(history)}
        lines += [f"in the history: {record['host']} {record['timestamp']} {record['interval_s']}"
                  for record in history if record["host"] in hosts]
        for node in self.stack.engines:
            if node.name in hosts:
                done = self.stack.execute(node, SAMPLER, "memory-tracker", "spool", "--json",
                                          user=SAMPLER_USER, check=False)
                lines.append(f"outbox of {node.name}: {done.stdout}{done.stderr}")
        return "\n".join(lines)

    @staticmethod
    def doubled(records):
        """Marks and seconds of a host that are in the history more than once."""
        marks = [(record["host"], record["interval_s"]) for record in records
                 if record["interval_s"] > FIRST_MARK]
        seconds = [(record["host"], record["timestamp"]) for record in records]
        return [each for kind in (marks, seconds) for each in set(kind) if kind.count(each) > 1]
