"""What the tests of both stack files do on three nodes."""

import contextlib
import json
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from .engines import Engines, docker_client
from .images import archives, version
from .stack import API, MONGODB, NAME, SAMPLER, Load, Stack
from .waiting import wait_until


# as the files have it, Traefik looks four times a minute, and the API goes on for 20 s
SOONER = {"TRAEFIK_REFRESH_SECONDS": "2", "DRAIN_DELAY": "5"}


def images(file):
    """(every node's, the store's node's, the manager's): the images that a stack needs there."""
    tag = version() + ("-full" if file == MONGODB else "")
    every = [f"{SAMPLER}:{tag}", f"{API}:{tag}"]
    return every, ["mongo:8.0"] if file == MONGODB else [], ["traefik:v3.7.9", "haproxy:2.6"]


@contextlib.contextmanager
def three_nodes(file, store_on):
    """A Stack that runs and answers on three nodes; it is gone afterwards."""
    every, stores, managers = images(file)
    # if they have to be built, that is before there are engines
    archives([*every, *stores, *managers])
    with Engines(count=3) as engines:
        wanted = {node: list(every) for node in engines}
        wanted[engines[0]] += managers
        wanted[engines[store_on]] += stores
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: node.load(*wanted[node]), engines))
        engines.swarm()
        # a node is down after three of these; 5 s by default
        engines[0].docker("swarm", "update", "--dispatcher-heartbeat", "2s")
        stack = Stack(engines, file, engines[store_on], SOONER)
        stack.prepare()
        stack.deploy_traefik()
        stack.deploy()
        stack.wait_running()
        stack.wait_answering()
        yield stack


def node_memory():
    """MemTotal of this machine, which all nodes are on, in KiB."""
    with open("/proc/meminfo", encoding="ascii") as meminfo:
        return int(next(line for line in meminfo if line.startswith("MemTotal:")).split()[1])


def assert_one_history(stack, ledger):
    """All nodes under their names, through Traefik and by the programs in a container."""
    names = sorted(node.name for node in stack.engines)
    stack.wait_tasks(SAMPLER, stack.engines)
    ledger.wait_for_more(stack.engines)
    known = ledger.wait_delivered()
    assert ledger.doubled(known) == []
    assert sorted({record["host"] for record in known}) == names
    assert {record["mem_total"] for record in known} == {node_memory()}
    listed = stack.hosts()
    assert [each["host"] for each in listed] == names
    for each in listed:
        assert each["records"] >= sum(record["host"] == each["host"] for record in known)

    def answered():
        answer = stack.get("?limit=99999")
        assert answer.status == 200, answer
        seconds = Counter(record["timestamp"] for record in json.loads(answer.text))
        return seconds if Counter(record["timestamp"] for record in known) <= seconds else None
    seconds = stack.wait(answered, 10, "the API to know what is stored")
    # nothing comes from elsewhere
    assert seconds <= Counter(record["timestamp"] for record in stack.export())
    assert stack.get("", "--no-netrc").status == 401


def assert_cron_samples(stack, undisturbed):
    """Cron's own records, on nodes whose containers are the first ones."""
    def ticks():
        of_cron = [record["host"] for record in stack.export() if record["interval_s"] == 60]
        # the first of each host is that of the container's start
        return all(of_cron.count(node.name) >= 2 for node in undisturbed)
    stack.wait(ticks, 90, "cron's own records")


def assert_update_fails_nothing(stack, ledger, capsys):
    """A rolling update of the API, while hundreds of clients ask through Traefik."""
    before = stack.tasks(API)
    with Load(stack) as load:
        load.wait_for_more(20)
        stack.docker("service", "update", "--force", "--detach", f"{NAME}_{API}")
        stack.wait_ended(before)
        load.wait_for_more(50)
    with capsys.disabled():
        print(f"\nupdate: {load.result['sent']} requests sent, {len(load.result['failed'])} failed")
    assert load.result["failed"] == []
    assert load.result["sent"] >= 100 and load.result["kept"] >= 20
    assert not before & stack.tasks(API)
    stack.wait_running()
    assert ledger.doubled(ledger.wait_delivered()) == []


class Ends:
    """How the stack's containers end meanwhile: codes is {container: (service, exit code)}."""

    def __init__(self, stack):
        self.stack = stack
        self.codes = {}
        self.watchers = []

    def watch(self, node):
        program = [docker_client("old"), "events", "--since", str(int(time.time())), "--filter",
                   "event=die", "--format", "{{json .Actor}}"]
        watcher = subprocess.Popen(
            program, env=node.environment(), stdout=subprocess.PIPE, text=True)
        thread = threading.Thread(target=self.read, args=(watcher.stdout,))
        thread.start()
        self.watchers.append((watcher, thread))

    def read(self, lines):
        for line in lines:
            actor = json.loads(line)
            attributes = actor["Attributes"]
            if attributes.get("com.docker.stack.namespace") == NAME:
                service = attributes["com.docker.swarm.service.name"].removeprefix(NAME + "_")
                self.codes[actor["ID"]] = (service, int(attributes["exitCode"]))

    def __enter__(self):
        for node in self.stack.engines:
            self.watch(node)
        return self

    def wait_all(self, ids):
        """Until each of these containers has ended."""
        wait_until(lambda: set(ids) <= set(self.codes), 30, f"the ends of {ids}")

    def __exit__(self, *_):
        for watcher, thread in self.watchers:
            watcher.terminate()
            thread.join()
            watcher.wait()


def assert_history_outlives_the_stack(stack, ledger):
    """stack rm: all end by themselves, none is left; deployed again, the history is there."""
    ledger.stop()
    known = ledger.wait_delivered()
    running = [each for node in stack.engines for each in stack.containers(node)]
    services = set(stack.services())
    with Ends(stack) as ends:
        stack.remove()
        ends.wait_all(running)
    assert {service for service, _ in ends.codes.values()} == services
    # 137 would be SIGKILL, at the end of the grace period
    assert [end for end in ends.codes.values() if end[1] not in (0, 143)] == []
    stack.deploy()
    stack.wait_running()
    stack.wait_answering()
    history = stack.export()
    assert [record for record in known if record not in history] == []
    assert ledger.doubled(history) == []
