"""
Ten samplers of ten hosts through an hour of minutes, with the server of their store up and down at
random: every record that was sampled is stored once, at its second, none is missing and none doubled.

Wall time is a file, so that a minute takes as long as its twenty processes. The samplers are the
programs themselves; what they stored is looked at with a client that knows nothing of them.
"""

import collections
import concurrent.futures
import os
import random
import signal
import threading
import time

import pytest
from support import Clock, Home, Proxy, assert_sound, connect, sanitizer, wait_until
from support.proxy import black_hole, cut, cut_after_write, fail_with, garbage, slow

T = 1647033600
HOSTS = [f"host-{number}" for number in range(10)]
MINUTES = int(os.environ.get("MT_HOUR_MINUTES", "6" if sanitizer() else "60"))
SEED = int(os.environ.get("MT_HOUR_SEED", "20260604"))
AT_ONCE = 4
# seconds for a courier whose server swallows everything: three quarters of it
INTERVAL = 2


class Fleet:
    """The hosts: an outbox and a clock each, and what was sampled."""

    def __init__(self, path, store, **environment):
        self.environment = environment
        self.homes = {}
        self.clocks = {}
        for host in HOSTS:
            (path / host).mkdir()
            self.homes[host] = Home(path / host)
            self.homes[host].store = store
            self.clocks[host] = Clock(path / host / "clock", T)
        self.sampled = set()
        self.failures = []
        self.warnings = 0
        self.last_log = {}
        self.pool = concurrent.futures.ThreadPoolExecutor(AT_ONCE)

    def sample(self, host, second, settings):
        self.clocks[host].set(second)
        done = self.homes[host].run("memory-sampler", "--host", host, clock=self.clocks[host],
                                    env={**settings, **self.environment}, timeout=60)
        return host, done.returncode, done.stderr

    def minute(self, number, **settings):
        """Every host samples once."""
        second = T + 60 * number
        settings = {f"MEMORY_TRACKER_{name.upper()}": value for name, value in settings.items()}
        runs = [self.pool.submit(self.sample, host, second, settings) for host in HOSTS]
        for run in concurrent.futures.as_completed(runs):
            host, code, log = run.result()
            self.sampled.add((host, second))
            self.warnings += "waiting since" in log
            self.last_log[host] = log
            if code != 0:
                self.failures.append((host, number, code, log))

    def left(self, what):
        """What the outboxes hold, told by SQLite."""
        left = 0
        for home in self.homes.values():
            with connect(home.spool) as database:
                left += database.execute(f"SELECT {what}").fetchone()[0]
        return left

    def finish(self, number):
        """Minutes until nothing waits: one, where the machine is not too busy for it."""
        for minute in range(number, number + 30):
            self.minute(minute, interval=20)
            if self.left("count(*) FROM waiting") == 0:
                break
        self.pool.shutdown()


class Faults:
    """What may happen to a server. Each fault lasts whole minutes, and says how many."""

    def __init__(self, chance):
        self.chance = chance
        self.later = []
        self.lock = threading.Lock()

    def soon(self, act):
        """In the middle of what the samplers of this minute do, wherever that is."""
        def alone():
            with self.lock:
                act()

        timer = threading.Timer(self.chance.uniform(0, 0.5), alone)
        timer.start()
        self.later.append(timer)

    def settle(self):
        for timer in self.later:
            timer.join()
        self.later.clear()

    def none(self):
        return 1

    def clear(self):
        """No message meets with a fault any more."""

    def end(self):
        """Up and well; some of it again only while the next minute's samplers run."""
        self.settle()
        self.clear()
        if self.chance.random() < 0.5:
            self.soon(self.restore)
        else:
            self.restore()

    def finish(self):
        self.settle()
        self.clear()
        self.restore()


class MongodbFaults(Faults):
    """A server behind a proxy."""

    def __init__(self, ferret, proxy, chance):
        super().__init__(chance)
        self.ferret = ferret
        self.proxy = proxy

    def kill(self):
        if self.ferret.process is not None:
            self.ferret.kill()

    def killed(self):
        self.soon(self.kill)
        return self.chance.randint(1, 4)

    def refused(self):
        self.soon(self.proxy.refuse)
        return self.chance.randint(1, 4)

    def black_hole(self):
        self.proxy.on(self.chance.choice(["*", "insert"]), act=black_hole)
        return 1

    def cut_after_write(self):
        self.proxy.on("insert", act=cut_after_write, after=self.chance.randint(0, 5),
                      times=self.chance.randint(1, 12))
        return self.chance.randint(1, 2)

    def cut(self):
        self.proxy.on("*", act=cut, after=self.chance.randint(0, 20), times=self.chance.randint(1, 9))
        return 1

    def slow(self):
        self.proxy.on("*", act=slow(self.chance.uniform(0.01, 0.1)))
        return 1

    def garbage(self):
        self.proxy.on("*", act=garbage, after=self.chance.randint(0, 9), times=3)
        return 1

    def not_primary(self):
        self.proxy.on("insert", act=fail_with(10107, "NotWritablePrimary"))
        return 1

    def clear(self):
        self.proxy.clear()

    def restore(self):
        if self.ferret.process is None:
            self.ferret.start()
        if self.proxy.listener is None:
            self.proxy.listen()

    KINDS = {Faults.none: 4, killed: 3, refused: 2, black_hole: 1, cut_after_write: 3, cut: 2, slow: 1,
             garbage: 1, not_primary: 1}


def go_through(fleet, faults, chance, minutes, look):
    """Returns how many minutes each fault had."""
    kinds, weights = zip(*faults.KINDS.items())
    count = collections.Counter()
    number = 0
    while number < minutes:
        kind = chance.choices(kinds, weights)[0]
        for _ in range(min(kind(faults), minutes - number)):
            fleet.minute(number, interval=INTERVAL)
            count[kind.__name__] += 1
            number += 1
            look()
        faults.end()
    faults.finish()
    return count


def look_at(api, fleet):
    """Whatever the API says meanwhile, it is true: nothing twice, in order, or that it cannot tell."""
    response = api.get("/memory-logs?limit=99999")
    if response.status == 200:
        seconds = [entry["timestamp"] for entry in response.json()]
        assert seconds == sorted(seconds)
        assert len(seconds) <= len(fleet.sampled)
        assert all(times <= len(HOSTS) for times in collections.Counter(seconds).values())
    else:
        assert response.status == 503 and int(response.headers["retry-after"]) > 0


def assert_all_there(fleet, there, api):
    """there: a (host, second, uptime) for each record that is there, in any order."""
    keys = collections.Counter((host, second) for host, second, _ in there)
    lost = fleet.sampled - keys.keys()
    doubled = sum(keys.values()) - len(fleet.sampled - lost)
    print(f"sampled {len(fleet.sampled)}, delivered {len(there)}, doubled {doubled}, "
          f"lost {len(lost)}; {fleet.warnings} runs left records waiting")
    assert not fleet.failures, fleet.failures[0]
    assert not lost and not doubled, [fleet.last_log[host] for host, _ in sorted(lost)[:1]]
    # at each host's second stands what was sampled then: the machine grew older meanwhile
    for host in HOSTS:
        ages = [uptime for name, _, uptime in sorted(there) if name == host]
        assert ages == sorted(ages)
    assert fleet.left("count(*) FROM waiting") == 0
    assert fleet.left("count(*) FROM rejected") == 0
    assert fleet.left("sum(dropped) FROM counter") == 0
    wait_until(lambda: api.get("/readyz").status == 200, 30, "200 of /readyz")
    expected = sorted(second for _, second in fleet.sampled)
    # of a store on a server the API knows within a second what is new
    wait_until(lambda: shown(api) == expected, 30, "all records to be shown")


def shown(api):
    return [entry["timestamp"] for entry in api.get("/memory-logs?limit=99999").json()]


@pytest.fixture
def chance():
    print(f"MT_HOUR_SEED={SEED} MT_HOUR_MINUTES={MINUTES}")
    return random.Random(SEED)


def test_ten_hosts_through_an_hour_of_mongodb(tmp_path, start_ferret, start_api, chance):
    ferret = start_ferret()
    with Proxy(ferret.port) as proxy:
        store = ferret.uri("history").replace(f":{ferret.port}/", f":{proxy.port}/")
        fleet = Fleet(tmp_path, store)
        api = start_api(store=store)
        begin = time.monotonic()
        count = go_through(fleet, MongodbFaults(ferret, proxy, chance), chance, MINUTES,
                           lambda: look_at(api, fleet))
        print(f"{time.monotonic() - begin:.0f} s; minutes by what happened: {dict(count)}")
        fleet.finish(MINUTES)
        there = [(document["_id"]["h"], document["_id"]["t"], document["uptime_s"])
                 for document in ferret.documents("history")]
        assert_all_there(fleet, there, api)
        assert fleet.homes[HOSTS[0]].run("memory-tracker", "verify").returncode == 0


class HttpFaults(Faults):
    """Another memory-api, which is killed and started again, or stands still."""

    def __init__(self, start, chance):
        super().__init__(chance)
        self.start = start
        self.api = start()

    def kill(self):
        if self.api is not None:
            self.api.kill()
            self.api = None

    def killed(self):
        self.soon(self.kill)
        return self.chance.randint(1, 3)

    def black_hole(self):
        with self.lock:
            self.restore()
            self.api.process.send_signal(signal.SIGSTOP)
        return 1

    def restore(self):
        if self.api is None:
            self.api = self.start()
        self.api.process.send_signal(signal.SIGCONT)

    KINDS = {Faults.none: 2, killed: 3, black_hole: 1}


def test_ten_hosts_through_an_outage_of_another_api(tmp_path, home, start_api, chance):
    token = "a-token-of-the-test-it-is"
    tokens = tmp_path / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text(f"all admin {token}\n")
    listen = ["127.0.0.1:0"]

    def start():
        api = start_api(home.store, listen=listen[0], tokens=tokens)
        listen[0] = f"127.0.0.1:{api.port}"
        return api

    faults = HttpFaults(start, chance)
    fleet = Fleet(tmp_path, f"http://{listen[0]}", MEMORY_TRACKER_STORE_TOKEN=token)
    api = start_api(f"http://{listen[0]}", store_token=token)
    count = go_through(fleet, faults, chance, -(-MINUTES // 3), lambda: look_at(api, fleet))
    print(f"minutes by what happened: {dict(count)}")
    fleet.finish(MINUTES)
    there = [(record["host"], record["timestamp"], record["uptime_s"])
             for record in home.records()]
    assert_all_there(fleet, there, api)
    assert_sound(home.db)
