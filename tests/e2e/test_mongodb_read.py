"""Reading a store of MongoDB through what servers do to long answers."""

import json
import subprocess
from pathlib import Path

import pytest
from support import clean_environment, program_path
from support.proxy import Proxy, fail_with

HOSTS = ["a", "b", "c"]
MINUTES = 800


@pytest.fixture
def proxy(ferret):
    with Proxy(ferret.port) as proxy:
        yield proxy


@pytest.fixture
def history(mongodb_home, ferret, proxy):
    """A Home whose store, behind the proxy, has more than two batches: MINUTES of each of HOSTS."""
    mongodb_home.import_csv("host,timestamp,mem_total,mem_available\na,60,8,4\n")
    documents = [
        {"_id": {"h": host, "t": 60 * minute}, "arrival_us": 60 * minute, "mem_total": 8, "mem_free": 4}
        for minute in range(2, MINUTES + 1) for host in HOSTS
    ]
    with ferret.client() as client:
        client[mongodb_home.database].memory_log.insert_many(documents)
    mongodb_home.keys = [(60, "a")] + [(60 * minute, host) for minute in range(2, MINUTES + 1)
                                       for host in HOSTS]
    mongodb_home.store = mongodb_home.store.replace(f":{ferret.port}/", f":{proxy.port}/")
    return mongodb_home


def keys(text):
    return [(record["timestamp"], record["host"]) for record in map(json.loads, text.splitlines())]


def test_an_answer_that_the_server_forgot_goes_on_where_it_was(history, proxy):
    forgotten = proxy.on("getMore", act=fail_with(43, "CursorNotFound"), times=2)
    done = history.run("memory-tracker", "export", "--json")
    assert done.returncode == 0, done.stderr
    assert forgotten.hits == 2
    assert keys(done.stdout) == history.keys


def test_also_within_bounds(history, proxy):
    forgotten = proxy.on("getMore", act=fail_with(43, "CursorNotFound"), times=1)
    done = history.run("memory-tracker", "logs", "--limit", "2100", "--skip", "100", "--json")
    assert done.returncode == 0, done.stderr
    assert forgotten.hits == 1
    assert [entry["timestamp"] for entry in json.loads(done.stdout)] == \
        [timestamp for timestamp, _ in history.keys[-2200:-100]]


def test_other_errors_in_the_middle_end_it(history, proxy):
    proxy.on("getMore", act=fail_with(11601, "Interrupted"))
    done = history.run("memory-tracker", "export", "--json")
    assert done.returncode == 3
    assert "store unavailable" in done.stderr
    assert keys(done.stdout) == history.keys[:len(done.stdout.splitlines())]


def test_the_driver_does_not_warn_of_the_shared_memory_of_a_process_that_was_killed(history):
    script = 'touch "/dev/shm/mongoc-$$" && echo $$ && exec "$0" hosts'
    done = subprocess.run(
        ["sh", "-c", script, program_path("memory-tracker")],
        env=clean_environment(history.environment), capture_output=True, text=True, timeout=60,
        check=False,
    )
    Path(f"/dev/shm/mongoc-{done.stdout.split()[0]}").unlink()
    assert (done.returncode, done.stderr) == (0, "")
