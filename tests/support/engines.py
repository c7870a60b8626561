"""Container engines for tests: each a machine of its own as far as a stack can tell.

    with Engines(count=3) as engines:
        engines.swarm()
        engines[0].docker("stack", "deploy", ...)
        engines.outside(["curl", "http://10.77.0.1/"])

All live in one World (world.py): nothing of them is in the machine's network or is left behind.
"""

import concurrent.futures
import functools
import os
import subprocess
from pathlib import Path

import pytest

from .environment import ROOT, clean_environment
from .waiting import scaled, wait_until
from .world import SYSTEM_PATH, World, WorldError, find_tool, missing_for_a_world

TOOLS = ("docker", "dockerd", "containerd", "containerd-shim-runc-v2", "runc", "iptables")
SUBNET = "10.77.0"
CLIENT = 100
SWITCH = 254


@functools.cache
def testbed_program(name):
    """Path of a program that tests/testbed/build makes, or None while it has not been built."""
    done = subprocess.run(
        [ROOT / "tests/testbed/build", name, "--print"], capture_output=True, text=True, check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else None


def need_engines():
    """Skips the running test where there can be no engines."""
    reason = missing_for_a_world(*TOOLS)
    if reason:
        pytest.skip(f"no container engines: {reason}")


def run(argv, check, input=None, env=None, cwd=None, timeout=120):  # pylint: disable=W0622
    """subprocess.run for text whose failure, where it matters, shows what the command said."""
    argv = [str(word) for word in argv]
    done = subprocess.run(
        argv, input=input, stdin=subprocess.DEVNULL if input is None else None, env=env, cwd=cwd,
        capture_output=True, text=True, errors="replace", timeout=scaled(timeout), check=False,
    )
    if check:
        assert done.returncode == 0, (
            f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done


class Engine:
    """One engine and the machine it is on: its name, its address, its network."""

    def __init__(self, world, name, address, options=(), data=None):
        self.world = world
        self.name = name
        self.address = address
        self.directory = world.directory / name
        self.directory.mkdir()
        self.data = data or world.directory / "disk" / name
        self.socket = self.directory / "sock"
        self.options = list(options)
        self.process = None
        self.namespaces = {"net": name, "uts": name} if address else {}

    # clients

    def environment(self, client="old"):
        """An environment in which `docker`, `docker compose` and `docker-compose` talk to this
        engine; HOME is a directory of the engine's own."""
        home = self.directory / "home"
        programs = self.directory / f"bin-{client}"
        if not programs.is_dir():
            programs.mkdir()
            (programs / "docker").symlink_to(docker_client(client))
            plugins = home / ".docker/cli-plugins"
            plugins.mkdir(parents=True, exist_ok=True)
            compose = testbed_program("compose")
            if compose and not (plugins / "docker-compose").exists():
                (plugins / "docker-compose").symlink_to(compose)
        return clean_environment({
            "DOCKER_HOST": f"unix://{self.socket}",
            "HOME": home,
            "PATH": f"{programs}:{os.environ.get('PATH', '')}:{SYSTEM_PATH}",
        })

    def docker(self, *args, check=True, input=None, env=None, client="old",  # pylint: disable=W0622
               cwd=None, timeout=300):
        """Runs docker with args; client "old" is Debian's, "new" is built from Go modules."""
        return run(
            [docker_client(client), *args], check, input=input, cwd=cwd, timeout=timeout,
            env={**self.environment(client), **(env or {})},
        )

    def compose(self, *args, version=2, check=True, cwd=None, env=None, timeout=300):
        """Runs Compose: version 1 is Debian's docker-compose, 2 is built from Go modules."""
        return run(
            [compose_program(version), *args], check, cwd=cwd, timeout=timeout,
            env={**self.environment(), **(env or {})},
        )

    # the machine

    def command(self, argv):
        """argv as a command that executes it on this machine: in its network, under its name, and
        with the pids that `docker inspect` shows. What is started so ends with the engines."""
        return self.world.command(argv, **self.namespaces)

    def inside(self, argv, check=False, input=None, env=None, cwd=None,  # pylint: disable=W0622
               timeout=60):
        """Runs a command on this machine: inside(["curl", "http://127.0.0.1:8000/"])."""
        return run(self.command(argv), check, input=input, env=env, cwd=cwd, timeout=timeout)

    def process_file(self, pid, name):
        """Text of /proc/PID/NAME for a pid as `docker inspect` shows it."""
        return self.world.path(f"/proc/{pid}/{name}").read_text()

    def cut(self):
        """Pulls the network cable."""
        self.world.run(["ip", "link", "set", f"to-{self.name}", "down"])

    def mend(self):
        """Puts the network cable back."""
        self.world.run(["ip", "link", "set", f"to-{self.name}", "up"])

    # the engine

    def start(self):
        """Starts the engine and waits until it answers."""
        self.begin()
        self.wait_ready()
        return self

    def begin(self):
        log = open(self.directory / "log", "ab")
        (self.directory / "pid").unlink(missing_ok=True)
        with log:
            self.process = subprocess.Popen(
                self.command([
                    "dockerd", "--data-root", self.data,
                    "--exec-root", self.directory / "exec", "--pidfile", self.directory / "pid",
                    "--host", f"unix://{self.socket}",
                    "--containerd", self.world.directory / "containerd/sock",
                    "--containerd-namespace", self.name,
                    "--containerd-plugins-namespace", f"{self.name}-plugins",
                    # no service manager is asked, whatever the machine has
                    "--exec-opt", "native.cgroupdriver=cgroupfs",
                    "--cgroup-parent", f"/{self.world.name}-{self.name}",
                    *self.options,
                ]),
                env=engine_environment(), cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )

    def wait_ready(self):
        def answers():
            if self.process.poll() is not None:
                raise AssertionError(
                    f"the engine of {self.name} ended with exit code {self.process.returncode}, "
                    f"log:\n{self.log()}"
                )
            return self.docker("version", check=False).returncode == 0

        try:
            wait_until(answers, 60)
        except AssertionError as error:
            raise AssertionError(f"no engine on {self.name}: {error}\n{self.log()}") from error

    def log(self, lines=40):
        """The end of the engine's own log."""
        text = (self.directory / "log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def stop(self):
        """Stops the engine as a machine that is shut down does: containers first, in order."""
        pid = (self.directory / "pid").read_text()
        self.world.run(["kill", "-TERM", pid])
        self.process.wait(scaled(60))

    def crash(self):
        """Kills engine and containers of this machine as a power cut does; start() brings them
        back with what was on disk."""
        def mine():
            """The engine, its shims, and all that descends from those; not what containerd runs to
            clear up behind a shim."""
            processes = self.world.processes()
            found = set()
            for pid, (_, argv) in processes.items():
                program = os.path.basename(argv[0]) if argv else ""
                if (program == "dockerd" and str(self.directory / "pid") in argv
                        or program.startswith("containerd-shim") and argv[-1] != "delete"
                        and argv[argv.index("-namespace") + 1] in (self.name, self.name + "-plugins")):
                    found.add(pid)
            while True:
                more = {pid for pid, (parent, _) in processes.items() if parent in found} - found
                if not more:
                    return found
                found |= more

        # the engine first: it restarts what dies
        killed = sorted(mine())
        while killed:
            self.world.kill(killed)
            killed = sorted(mine())
        self.process.wait(scaled(30))
        # containerd, which is not of this machine alone, clears up behind the shims; where it has not
        # yet, a container cannot start again
        tasks = self.world.directory / "containerd/state/io.containerd.runtime.v2.task" / self.name
        wait_until(lambda: not (tasks.exists() and any(tasks.iterdir())), 30, "containerd to clear up")

    def load(self, *names):
        """Puts images that images.py has built into this engine."""
        from . import images  # pylint: disable=C0415

        for archive in images.archives(names):
            done = self.docker("load", "--quiet", "--input", archive, check=False)
            if done.returncode != 0:
                # seen once on a machine under load, the same archive before and after without error
                print(f"docker load {archive}, once more after: {done.stderr}\n{self.disk()}\n"
                      f"{self.log()}")
                self.docker("load", "--quiet", "--input", archive)

    def disk(self):
        """How full the disks are that an engine writes to, for whoever looks into a failure."""
        return self.inside(["df", "--human-readable", self.data, self.world.directory]).stdout


class Engines:
    """Engines on machines of their own in one network, 10.77.0.N, named node1, node2, ...; options
    are more arguments of dockerd."""

    def __init__(self, count=1, options=()):
        self.count = count
        self.options = options
        self.nodes = []
        self.world = None
        self.containerd = None

    def __enter__(self):
        need_engines()
        try:
            self.world = World()
        except WorldError as error:
            pytest.skip(f"no container engines: {error}")
        try:
            self.lay_network()
            self.containerd = start_containerd(self.world)
            for node in self.nodes:
                node.begin()
            for node in self.nodes:
                node.wait_ready()
            # where files that are deployed as they are look for the engine, a Swarm's manager here
            self.world.run(["ln", "-s", self.nodes[0].socket, "/run/docker.sock"])
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.world.close()
        for process in [self.containerd, *(node.process for node in self.nodes)]:
            if process is not None:
                process.wait(scaled(30))

    def load(self, *names):
        """Puts images that images.py has built into every engine."""
        with concurrent.futures.ThreadPoolExecutor(self.count) as pool:
            for loaded in [pool.submit(node.load, *names) for node in self.nodes]:
                loaded.result()

    def __getitem__(self, index):
        return self.nodes[index]

    def __iter__(self):
        return iter(self.nodes)

    def __len__(self):
        return len(self.nodes)

    def lay_network(self):
        """A switch, and what is plugged into it: a machine for each engine, and a client."""
        world = self.world
        world.run(["ip", "link", "add", "switch", "type", "bridge"])
        world.run(["ip", "address", "add", f"{SUBNET}.{SWITCH}/24", "dev", "switch"])
        world.run(["ip", "link", "set", "switch", "up"])
        numbers = {f"node{i}": i for i in range(1, self.count + 1)}
        for name, number in {**numbers, "client": CLIENT}.items():
            world.add_namespace("net", name)
            world.add_namespace("uts", name)
            world.run(["hostname", name], uts=name)
            world.run([
                "ip", "link", "add", f"to-{name}", "master", "switch", "type", "veth",
                "peer", "name", "eth0", "netns", world.directory / f"{name}.net",
            ])
            world.run(["ip", "link", "set", f"to-{name}", "up"])
            for command in (
                ["ip", "link", "set", "lo", "up"],
                ["ip", "address", "add", f"{SUBNET}.{number}/24", "dev", "eth0"],
                ["ip", "link", "set", "eth0", "up"],
            ):
                world.run(command, net=name)
            if name != "client":
                self.nodes.append(Engine(world, name, f"{SUBNET}.{number}", self.options))

    def outside_command(self, argv):
        """argv as a command that executes it on the client machine, for subprocess.Popen."""
        return self.world.command(argv, net="client", uts="client")

    def outside(self, argv, check=False, input=None, env=None, cwd=None,  # pylint: disable=W0622
                timeout=60):
        """Runs a command on a machine of the network that has no engine, 10.77.0.100."""
        return run(self.outside_command(argv), check, input=input, env=env, cwd=cwd, timeout=timeout)

    def swarm(self):
        """Makes a Swarm of them, node1 its manager; returns when all are ready."""
        manager = self.nodes[0]
        manager.docker("swarm", "init", "--advertise-addr", manager.address)
        token = manager.docker("swarm", "join-token", "-q", "worker").stdout.strip()
        for node in self.nodes[1:]:
            node.docker(
                "swarm", "join", "--advertise-addr", node.address, "--token", token,
                f"{manager.address}:2377",
            )
        wait_until(lambda: self.ready_nodes() == {node.name for node in self.nodes}, 60)

    def ready_nodes(self):
        """Names of the Swarm's nodes that are ready, as the manager sees it."""
        lines = self.nodes[0].docker("node", "ls", "--format", "{{.Hostname}} {{.Status}}").stdout
        return {line.split()[0] for line in lines.splitlines() if line.split()[1] == "Ready"}


def docker_client(client):
    """Path of the docker client "old" (Debian's) or "new" (built from Go modules)."""
    if client == "old":
        return Path("/usr/bin/docker")
    program = testbed_program("docker")
    if program is None:
        pytest.skip("the new docker client has not been built; run tests/testbed/build docker")
    return program


def compose_program(version):
    """Path of Compose 1 (Debian's) or 2 (built from Go modules)."""
    program = find_tool("docker-compose") if version == 1 else testbed_program("compose")
    if program is None:
        pytest.skip(
            "docker-compose is not installed" if version == 1
            else "Compose has not been built; run tests/testbed/build compose"
        )
    return program


def engine_environment():
    """What an engine gets to see: the same everywhere, no proxies, no settings of anybody's."""
    return {"PATH": SYSTEM_PATH, "HOME": "/", "LC_ALL": "C.UTF-8"}


def start_containerd(world, data=None):
    """The world's containerd, which its engines share."""
    directory = world.directory / "containerd"
    directory.mkdir()
    config = directory / "config.toml"
    config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    with open(directory / "log", "ab") as log:
        process = subprocess.Popen(
            world.command([
                "containerd", "--config", config, "--root", data or world.directory / "disk/containerd",
                "--state", directory / "state", "--address", directory / "sock",
            ]),
            env=engine_environment(), cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )
    try:
        wait_until(lambda: (directory / "sock").exists() or process.poll() is not None, 30)
        assert process.poll() is None, f"containerd ended with exit code {process.returncode}"
    except AssertionError as error:
        raise AssertionError(f"{error}\n{(directory / 'log').read_text()[-4000:]}") from error
    return process
