"""The engines that the other tests of containers use: they do what they say and leave nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, clean_environment, wait_until
from support.engines import Engines, need_engines
from support.world import CGROUPS, World, sweep

# it runs until it is told not to
IMAGE = "mongo:8.0"


def trace_of(name, first):
    """What a world must have and must not leave: its directory's name and its namespaces."""
    spaces = set()
    for process in Path(f"/proc/{first}/root/proc").glob("[0-9]*"):
        try:
            spaces.update(os.readlink(process / "ns" / kind) for kind in ("net", "mnt", "pid"))
        except OSError:
            continue
    return name, spaces - {os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "mnt", "pid")}


def left_of(name, spaces):
    """What is left: processes, namespaces, mounts, disks, control groups, files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            links = {os.readlink(process / "ns" / kind) for kind in ("net", "mnt", "pid")}
        except OSError:
            continue
        if name in words or links & spaces:
            found.append(f"process {process.name} {words!r}")
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found += [str(path)] if name in path.read_text() else []
        except OSError:
            continue
    found += [str(path) for base in (CGROUPS, *CGROUPS.iterdir()) for path in base.glob(name + "*")]
    found += [str(path) for path in Path(os.environ.get("TMPDIR", "/tmp")).glob(name)]
    return found


def links():
    done = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True)
    return [line.split(":")[1] for line in done.stdout.splitlines()]


def reaches(engines, node):
    """Whether a client outside gets a connection to the node's part of the Swarm."""
    command = ["timeout", "2", "bash", "-c", f"</dev/tcp/{node.address}/7946"]
    return engines.outside(command).returncode == 0


def test_engines_are_machines_and_leave_nothing():
    before = links()
    with Engines(count=2) as engines:
        first, second = engines
        engines.swarm()
        for node in engines:
            node.load(IMAGE)
            node.docker("run", "--detach", "--restart=always", IMAGE)
            assert node.inside(["hostname"]).stdout.strip() == node.name
        trace = trace_of(engines.world.name, engines.world.first)
        # the switch's, two engines', two containers'
        assert len([space for space in trace[1] if space.startswith("net:")]) >= 5
        assert left_of(*trace)
        assert links() == before

        assert reaches(engines, second)
        second.cut()
        assert not reaches(engines, second)
        assert reaches(engines, first)
        second.mend()
        wait_until(lambda: reaches(engines, second))

        containers = [node.docker("ps", "--quiet").stdout.split() for node in engines]
        assert [len(names) for names in containers] == [1, 1]
        pid = first.docker("inspect", "--format", "{{.State.Pid}}", *containers[0]).stdout.strip()
        assert "CapBnd:" in first.process_file(pid, "status")
        second.crash()
        assert second.docker("ps", check=False).returncode != 0
        assert first.docker("ps", "--quiet").stdout.split() == containers[0]
        second.start()
        wait_until(lambda: second.docker("ps", "--quiet").stdout.split() == containers[1])
    assert not left_of(*trace)


@pytest.mark.parametrize("client", ["old", "new"])
def test_clients_talk_to_the_engine_they_are_for(engine, client):
    shown = engine.docker("info", "--format", "{{.Name}}", client=client)
    assert shown.stdout == "node1\n"
    told = subprocess.run(
        ["docker", "info", "--format", "{{.Name}}"], env=engine.environment(client),
        capture_output=True, text=True, check=True,
    )
    assert told.stdout == shown.stdout


@pytest.mark.parametrize("version", [1, 2])
def test_both_composes_run(engine, version, tmp_path):
    (tmp_path / "compose.yml").write_text(f"version: '3.8'\nservices: {{one: {{image: '{IMAGE}'}}}}\n")
    engine.compose("-f", "compose.yml", "up", "-d", version=version, cwd=tmp_path)
    try:
        assert len(engine.docker("ps", "--quiet").stdout.split()) == 1
    finally:
        engine.compose("-f", "compose.yml", "down", "-t", "0", version=version, cwd=tmp_path)


@pytest.fixture(name="engine", scope="module")
def fixture_engine():
    with Engines() as engines:
        engines[0].load(IMAGE)
        yield engines[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_of_a_killed_test(number):
    need_engines()
    program = (
        "from support.engines import Engines\n"
        "with Engines() as engines:\n"
        f"    engines[0].load({IMAGE!r})\n"
        f"    engines[0].docker('run', '--detach', {IMAGE!r})\n"
        "    print(engines.world.name, engines.world.first, flush=True)\n"
        "    input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env=clean_environment({"PYTHONPATH": ROOT / "tests"}),
    ) as test:
        name, first = test.stdout.readline().split()
        trace = trace_of(name, first)
        assert left_of(*trace)
        test.send_signal(number)
    wait_until(lambda: not left_of(*trace), 30, f"nothing of {name}")


def test_what_a_killed_keeper_left_is_removed_by_the_next():
    need_engines()
    world = World()
    trace = trace_of(world.name, world.first)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "keep" in words and str(world.directory) in words:
            os.kill(int(process.name), signal.SIGKILL)
    assert world.directory.exists()

    def removed():
        sweep()
        return not left_of(*trace)

    wait_until(removed)
    world.close()
