"""Programs that see files of /proc as a test wrote them, in a mount namespace of their own."""

import functools
import os
import shutil
import subprocess

import pytest

from .environment import clean_environment
from .programs import program_path
from .waiting import scaled


@functools.cache
def unshare():
    """The command that gives a program its own mounts, or None where that is not allowed."""
    for command in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
        probe = command + ["mount", "--bind", "/proc/uptime", "/proc/meminfo"]
        if shutil.which("unshare") and subprocess.run(probe, capture_output=True).returncode == 0:
            return command
    return None


class FrozenProc:
    """Files that stand over those of /proc; each is a str, bytes, or None for "not there"."""

    # whose directory can be emptied, so that the file is missing
    REMOVABLE = {"/proc/pressure/memory": "/proc/pressure",
                 "/proc/sys/kernel/random/boot_id": "/proc/sys/kernel/random"}

    def __init__(self, directory):
        if unshare() is None:
            pytest.skip("no private mount namespace to be had (needs root or user namespaces)")
        self.directory = directory
        self.directory.mkdir()
        self.files = {}

    def __setitem__(self, path, content):
        assert content is not None or path in self.REMOVABLE
        self.files[path] = content

    def __getitem__(self, path):
        return self.files[path]

    def copy(self, *paths):
        """Freezes files as they are now."""
        for path in paths:
            with open(path, "rb") as file:
                self.files[path] = file.read()

    def command(self, *argv):
        """What runs argv with these files in place."""
        steps = []
        for number, (path, content) in enumerate(self.files.items()):
            if content is None:
                steps.append(f"mount -t tmpfs none {self.REMOVABLE[path]}")
                continue
            source = self.directory / str(number)
            source.write_bytes(content if isinstance(content, bytes) else content.encode())
            steps.append(f"mount --bind '{source}' {path}")
        script = " && ".join(steps + ['exec "$@"'])
        return [*unshare(), "sh", "-c", script, "sh", *map(str, argv)]

    def run(self, program, *args, env=None, timeout=60, clock=None):
        """run() of a program of the build, or of any other given by its path."""
        path = program if os.sep in str(program) else program_path(program, clock)
        environment = clean_environment(env)
        if clock is not None:
            environment.update(clock.environment)
        return subprocess.run(self.command(path, *args), env=environment, capture_output=True,
                              stdin=subprocess.DEVNULL, text=True, timeout=scaled(timeout),
                              check=False)


class WholeProc(FrozenProc):
    """A /proc that has nothing but the given files (a sanitized program cannot live in it)."""

    def __setitem__(self, path, content):
        self.files[path] = content

    def command(self, *argv):
        root = self.directory / "root"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for path, content in self.files.items():
            target = root / path.removeprefix("/proc/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.encode())
        script = f"mount --bind '{root}' /proc && exec \"$@\""
        return [*unshare(), "sh", "-c", script, "sh", *map(str, argv)]
