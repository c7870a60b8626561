"""docker-compose-dev.yml, with Debian's docker-compose 1.29 and with Compose v2."""

import json
import re
import shutil

import pytest

from support import ROOT, wait_until
from support.images import version

FILE = "docker-compose-dev.yml"
TAG = version()
API = "memory_tracker-api"
IMAGES = (f"memory_tracker-api:{TAG}", f"memory_tracker-sampler:{TAG}")
FULL = tuple(f"{name}-full" for name in IMAGES)


class Project:
    """The file alone in a directory, as somebody has it who takes the images from a registry."""

    def __init__(self, node, compose_version, directory):
        self.node = node
        self.version = compose_version
        self.directory = directory
        shutil.copy(ROOT / FILE, directory)

    def compose(self, *arguments, env=None, check=True):
        return self.node.compose("--file", FILE, *arguments, version=self.version,
                                 cwd=self.directory, env=env, check=check)

    def containers(self, *options):
        return self.node.docker("ps", "--all", "--format", "{{.Names}}", *options).stdout.split()

    def get(self, port, host="127.0.0.1"):
        done = self.node.inside(["curl", "-sS", "-X", "GET", f"http://{host}:{port}/memory-logs/"])
        return json.loads(done.stdout) if done.returncode == 0 else []

    def hosts(self, port, api):
        """The hosts of the history that the API answers from, once it does."""
        shown = wait_until(lambda: self.get(port), 60, f"records on port {port}", longest_pause=0.5)
        (name,) = [name for name in self.containers() if re.search(f"{api}[-_]1$", name)]
        lines = self.node.docker("exec", name, "memory-tracker", "export", "--json").stdout
        records = [json.loads(line) for line in lines.splitlines()]
        assert {record["timestamp"] for record in shown} <= {record["timestamp"] for record in records}
        return {record["host"] for record in records}


@pytest.fixture
def project(node, request, tmp_path):
    found = Project(node, request.param, tmp_path)
    yield found
    found.compose("--profile", "mongodb", "down", "--volumes", check=False)


def remains(node):
    """Containers, volumes and networks, but for those that every engine has."""
    networks = set(node.docker("network", "ls", "--format", "{{.Name}}").stdout.split())
    return (
        node.docker("ps", "--all", "--quiet").stdout.split(),
        node.docker("volume", "ls", "--quiet").stdout.split(),
        networks - {"bridge", "host", "none"},
    )


both = pytest.mark.parametrize("project", [1, 2], indirect=True, ids=["compose1", "compose2"])


@both
def test_up_is_enough(engines, node, project):
    def from_outside():
        """What a machine elsewhere gets."""
        done = engines.outside(["curl", "-sS", "-X", "GET", f"http://{node.address}:8000/memory-logs/"])
        return json.loads(done.stdout) if done.returncode == 0 else []

    project.compose("up", "--detach")
    # the API waits for the first record, so it is there with the API
    assert project.hosts(8000, API) == {"dev"}
    for name in project.containers():
        state = json.loads(node.docker("inspect", name).stdout)[0]
        host = state["HostConfig"]
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert host["Memory"] > 0 and host["PidsLimit"] > 0
        assert host["LogConfig"]["Config"]["max-size"]
        status = node.process_file(state["State"]["Pid"], "status")
        assert "NoNewPrivs:\t1" in status
    # what is published is for this machine
    assert project.get(8000, node.address) == from_outside() == []
    # the history stays with its volume
    project.compose("down")
    assert not project.containers()
    project.compose("up", "--detach", env={"MEMORY_TRACKER_HOST": "other", "MT_PUBLISH": "0.0.0.0"})
    assert project.hosts(8000, API) == {"dev", "other"}
    assert from_outside()
    project.compose("down", "--volumes")
    assert remains(node) == ([], [], set())


@both
def test_the_profile_adds_a_mongodb(node, project):
    node.load("mongo:8.0", *FULL)
    project.compose("--profile", "mongodb", "up", "--detach")
    assert project.hosts(8001, f"{API}-mongodb") == {"dev"}
    assert project.hosts(8000, API) == {"dev"}
    (mongodb,) = [name for name in project.containers() if re.search("[-_]mongodb[-_]1$", name)
                  and "memory_tracker" not in name]
    state = json.loads(node.docker("inspect", mongodb).stdout)[0]
    assert not any(state["NetworkSettings"]["Ports"].values())
    project.compose("--profile", "mongodb", "down", "--volumes")
    assert remains(node) == ([], [], set())
