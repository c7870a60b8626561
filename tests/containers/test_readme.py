"""What the documents say to type on a laptop, at the builder and on a Swarm is typed there, as it
stands, by a person at a terminal; the transcripts are in the build's folder `transcripts`.

The fences of the blocks name the place (support/documents.py). What a person does besides is done
here: answer the questions for a password, and wait until a service that was started is there.
"""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from support import ROOT, wait_until
from support.documents import DOCUMENTS, PLACES, blocks, matches, typed_blocks
from support.engines import Engines
from support.images import OFFICIAL, builder, project_images
from support.stack import HOST, NAME, Visitors, limits_of_this_machine
from support.terminal import Terminal

USER = "hadi"
PASSWORDS = ["do", "better"]
# of a task's specification, what a deploy changes
MADE_OF = ["Image", "Env", "Secrets", "Configs"]
# on a Swarm with clients of its own neither would be as quick
HASTE = {"TRAEFIK_REFRESH_SECONDS": "2", "DRAIN_DELAY": "3"}


@pytest.fixture
def clone(tmp_path):
    """A clone of the repository."""
    ignore = shutil.ignore_patterns("build", "var", ".git", "__pycache__", ".cache")
    return shutil.copytree(ROOT, tmp_path / "memory-tracker", symlinks=True, ignore=ignore)


class Reader:
    """Types all that is typed at a place.

    new_terminal() opens a terminal there. prepare(command) waits for what the command needs, and
    gives the questions that it asks with the answers.
    """

    def __init__(self, new_terminal, prepare=lambda command: ()):
        self.new_terminal = new_terminal
        self.prepare = prepare
        self.terminals = [new_terminal()]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for terminal in self.terminals:
            terminal.close()

    def type_all(self, place):
        found = typed_blocks(place)
        assert found, place
        try:
            for block in found:
                self.type(block)
        finally:
            self.publish(place)

    def type(self, block):
        if block.how == "after Ctrl-C":
            self.terminals[0].interrupt()
        for command, expected in block.commands():
            answers = self.prepare(command)
            if block.how == "and left running":
                self.terminals[-1].start(command)
                self.terminals.append(self.new_terminal())
                continue
            status, printed = self.terminals[-1].type(command, answers)
            # on a busy machine a minute's allowance comes back while the line is typed: once more
            if "429" in expected and "429" not in printed:
                status, printed = self.terminals[-1].type(command, ())
            assert status == 0, f"exit code {status}\n$ {command}\n{printed}"
            assert not expected.strip() or matches(expected, printed), (
                f"{block.document}\n$ {command}\n{printed}\n-- and not:\n{expected}")

    def transcript(self):
        for terminal in self.terminals[:-1]:
            terminal.look()
        return "\n".join(terminal.transcript for terminal in self.terminals)

    def publish(self, place):
        """Shows what was typed and printed, and keeps it with the build."""
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.transcript())
        print(f"\n=== typed at {place}\n{text}")
        folder = Path(os.environ.get("MT_BUILD_DIR", ROOT / "build/dev")) / "transcripts"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{place.replace(' ', '-')}.txt").write_text(text)


def test_every_place_of_the_documents_is_one_where_this_types():
    found = {block.place for document in DOCUMENTS for block in blocks(document)} - {None}
    assert found == set(PLACES)
    here = Path(__file__).read_text()
    for place in PLACES:
        assert here.count(f'type_all("{place}")') == 1, place


def test_at_the_builder(tmp_path):
    """What images.py has built from the same sources, this engine has not to build again."""
    docker = tmp_path / "docker"
    # it has no network but the machine's
    docker.write_text('#!/bin/sh\n[ "$1" != build ] || { shift; set -- build --network host "$@"; }\n'
                      'exec /usr/bin/docker "$@"\n')
    docker.chmod(0o755)
    with builder() as engine:
        environment = engine.environment()
        environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
        with Reader(lambda: Terminal(environment, ROOT, timeout=1200)) as reader:
            reader.type_all("the builder")
            printed = reader.transcript()
    built = {name: float(size) for name, size in re.findall(r"^(\S+)  ([0-9.]+) MB$", printed, re.M)}
    assert sorted(built) == sorted(project_images()), printed
    readme = (ROOT / "README.md").read_text()
    table = re.findall(r"^\| `(memory_tracker-\S+)` \|.*\| (\d+) MB \|$", readme, re.M)
    assert [name for name, _ in table] == list(built)
    for name, size in table:
        assert float(size) == pytest.approx(built[name], rel=0.15), name


def test_on_a_laptop(clone):
    with Engines(count=1) as engines:
        node = engines[0]
        node.load(*project_images())

        def new_terminal():
            return Terminal(node.environment(), clone, node.command([]))

        def prepare(command):
            if command.startswith("curl"):
                curl = shlex.split(command)
                wait_until(lambda: node.inside(curl).stdout.startswith("[{"), 90, command)
            return ()

        with Reader(new_terminal, prepare) as reader:
            reader.type_all("a laptop")


class Swarm:
    """A fresh machine, and a person at another one who has it as DOCKER_HOST."""

    def __init__(self, engines, clone):
        self.engines = engines
        self.node = engines[0]
        self.clone = clone
        self.visitors = Visitors(engines)
        self.passwords = None
        self.password = None
        self.environment = {
            **self.node.environment(), **HASTE, **limits_of_this_machine(),
            "DOCKER_SOCKET": str(self.node.socket)}
        # there is no name server
        curlrc = Path(self.environment["HOME"]) / ".curlrc"
        curlrc.write_text(f'resolve = "{HOST}:80:{self.node.address}"\n')

    def begin_anew(self, terminal):
        """As README.md begins: what there is to be typed does not go on from the last upgrade."""
        self.passwords = iter(PASSWORDS)
        command = 'export HASHED_PASSWORD="$(openssl passwd -apr1)"'
        terminal.type(f"unset SECRETS_VERSION TAG; {command}", self.prepare(command))

    def new_terminal(self):
        self.passwords = iter(PASSWORDS)
        return Terminal(self.environment, self.clone, self.engines.outside_command([]))

    def prepare(self, command):
        if "openssl passwd" in command or "htpasswd" in command:
            self.password = next(self.passwords)
            questions = (["New password: ", "Re-type new password: "] if "htpasswd" in command
                         else ["Password: ", "Verifying - Password: "])
            return [(question, self.password) for question in questions]
        if command.startswith("export TAG="):
            self.make_version(command.removeprefix("export TAG="))
        if "docker ps" in command or "docker secret rm" in command or "curl" in command:
            self.wait(self.is_running, "all replicas to be there")
        if "spool flush" in command:
            self.wait(self.can_flush, "the sampler of this minute to have delivered")
        if "curl" in command:
            self.wait(self.has_a_record, "the first record")
            self.wait(self.is_answering, "a 200 through Traefik")
        return ()

    def make_version(self, tag):
        """The next version, which is none yet: the same images under its name."""
        for name in project_images():
            self.node.docker("tag", name, re.sub(r":[0-9.]+", f":{tag}", name))

    def wait(self, condition, what):
        try:
            wait_until(condition, 180, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.report()}") from None

    def inspect(self, names, template):
        """What docker inspect says of each, read as JSON lines."""
        if not names:
            return []
        done = self.node.docker("inspect", "--format", template, *names, check=False)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def services(self):
        """{id: what its containers are to be made of}"""
        listed = self.node.docker("service", "ls", "--quiet").stdout.split()
        found = [self.node.docker("service", "inspect", "--format", "{{json .Spec.TaskTemplate.ContainerSpec}}",
                                  service).stdout for service in listed]
        return dict(zip(listed, map(json.loads, found)))

    def is_running(self):
        """Every replica is there, and none from before the last deploy."""
        replicas = self.node.docker("service", "ls", "--format", "{{.Replicas}}").stdout.split()
        if not replicas or any(len(set(each.split("/"))) != 1 for each in replicas):
            return False
        for service, wanted in self.services().items():
            tasks = self.node.docker("service", "ps", "--quiet", "--no-trunc", "--filter",
                                     "desired-state=running", service).stdout.split()
            for spec, state in zip(self.inspect(tasks, "{{json .Spec.ContainerSpec}}"),
                                   self.inspect(tasks, "{{json .Status.State}}")):
                if state != "running" or any(spec.get(key) != wanted.get(key) for key in MADE_OF):
                    return False
        return True

    def has_a_record(self):
        api = self.node.docker("ps", "--quiet", "--filter", f"name={NAME}_memory_tracker-api")
        done = self.node.docker("exec", api.stdout.split()[0], "memory-tracker", "hosts", "--json",
                                check=False)
        return done.returncode == 0 and json.loads(done.stdout) != []

    def can_flush(self):
        """Whether nobody else delivers at this moment; who is told so asks again."""
        sampler = self.node.docker("ps", "--quiet", "--filter", f"name={NAME}_memory_tracker-sampler")
        return self.node.docker("exec", "--user", "memory-tracker", sampler.stdout.split()[0],
                                "memory-tracker", "spool", "flush", check=False).returncode == 0

    def is_answering(self):
        """Whether Traefik knows every API and the password, and each API its store."""
        asked = ["-H", f"Host: {HOST}", "-u", f"{USER}:{self.password}"]
        url = f"http://{self.node.address}/memory-logs/"
        # it asks the APIs in turn; each time from another address
        return all(self.visitors.get(url, *asked).status == 200 for _ in range(4))

    def report(self):
        names = self.node.docker("service", "ls", "--format", "{{.Name}}").stdout.split()
        parts = [self.node.docker("service", "ps", "--no-trunc", "--format",
                                  "{{.Name}} {{.CurrentState}} {{.Error}}", *names, check=False)]
        parts += [self.node.docker("service", "logs", "--tail", "15", name, check=False, timeout=20)
                  for name in names]
        return "\n".join(part.stdout + part.stderr for part in parts)


def test_on_a_swarm(clone):
    with Engines(count=1) as engines:
        engines[0].load(*OFFICIAL, *project_images())
        swarm = Swarm(engines, clone)
        with Reader(swarm.new_terminal, swarm.prepare) as reader:
            reader.type_all("a Swarm")
            swarm.begin_anew(reader.terminals[-1])
            reader.type_all("a Swarm without MongoDB")
