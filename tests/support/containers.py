"""Containers of one image each, and what the images themselves hold."""

import io
import json
import tarfile
import time

from .waiting import wait_until

# what every container of ours does without
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
# what cron needs of that, and where it and the sampler's entry point write
CRON = ("--cap-add", "SETUID", "--cap-add", "SETGID", "--tmpfs", "/run")
USER = 65532


class Container:
    """A container on an engine, from `docker run --detach OPTION... IMAGE WORD...`."""

    def __init__(self, node, *arguments):
        self.node = node
        self.begun = int(time.time())
        self.id = node.docker("run", "--detach", *arguments).stdout.strip()

    def inspect(self, what):
        """A part of `docker inspect`, such as .State.Pid."""
        text = self.node.docker("inspect", "--format", "{{json " + what + "}}", self.id).stdout
        return json.loads(text)

    @property
    def pid(self):
        return self.inspect(".State.Pid")

    def log(self):
        done = self.node.docker("logs", self.id)
        return done.stdout + done.stderr

    def exec(self, *argv, user=USER, check=True, options=()):
        return self.node.docker("exec", "--user", str(user), *options, self.id, *argv, check=check)

    def wait_log(self, text, timeout=30):
        wait_until(lambda: text in self.log(), timeout, f"{text!r} in the log of {self.id}",
                   longest_pause=0.5)

    def wait_health(self, health, timeout=60):
        wait_until(lambda: self.inspect(".State.Health.Status") == health, timeout,
                   f"{self.id} to be {health}", longest_pause=0.5)

    def wait_end(self, timeout=30):
        """Waits until it ended by itself; the exit code."""
        wait_until(lambda: self.inspect(".State.Status") == "exited", timeout, f"{self.id} to end",
                   longest_pause=0.5)
        return self.inspect(".State.ExitCode")

    def stop(self, seconds=10):
        """`docker stop`; the exit code, and the signals that the engine had to send for it."""
        self.node.docker("stop", "--time", str(round(seconds)), self.id)
        events = self.node.docker(
            "events", "--since", str(self.begun - 1), "--until", str(int(time.time()) + 1),
            "--filter", f"container={self.id}", "--filter", "event=kill",
            "--format", "{{.Actor.Attributes.signal}}").stdout
        return self.inspect(".State.ExitCode"), events.split()

    def path(self, name):
        """A file of the container, for a test that is not in it, while it runs."""
        return self.node.world.path(f"/proc/{self.pid}/root{name}")

    def processes(self):
        """{pid: {name: value} of /proc/PID/status} of all that runs in it."""
        lines = self.node.docker("top", self.id, "-eo", "pid").stdout.split()[1:]
        found = {}
        for pid in lines:
            status = self.node.process_file(pid, "status")
            found[int(pid)] = dict(line.split(":\t", 1) for line in status.splitlines())
        return found

    def process(self, name):
        """(pid, status) of its one process of that name."""
        (found,) = [item for item in self.processes().items() if item[1]["Name"] == name]
        return found

    def root_mount(self):
        """The options of its root file system."""
        for line in self.node.process_file(self.pid, "mountinfo").splitlines():
            fields = line.split()
            if fields[4] == "/":
                return fields[5].split(",")
        raise AssertionError("no root in mountinfo")

    def remove(self):
        self.node.docker("rm", "--force", "--volumes", self.id, check=False)


class Content:
    """The files of an image, from `docker save`: what each layer put there, the latest last."""

    def __init__(self, archive):
        self.files = {}
        self.texts = {}
        with tarfile.open(archive) as saved:
            (manifest,) = json.load(saved.extractfile("manifest.json"))
            for layer in manifest["Layers"]:
                with tarfile.open(fileobj=io.BytesIO(saved.extractfile(layer).read())) as files:
                    self.add(files)
        assert "usr/bin/memory-tracker" in self.files

    def add(self, layer):
        for member in layer:
            name = member.name.removeprefix("./").rstrip("/")
            assert ".wh." not in name, f"{name}: a layer takes away what is below it"
            self.files[name] = member
            if member.isfile():
                self.texts[name] = layer.extractfile(member).read()
