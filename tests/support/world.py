"""A world of its own for tests that start engines: mount, process and network namespaces.

Whatever is started in it, is mounted in it or is connected in it ends with it, and it ends with the
test, however that ends: a keeper, which is no child of the test, waits for the end of a pipe. This
file is also the keeper's program and that of the world's first process.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PREFIX = "mt-world-"
CGROUPS = Path("/sys/fs/cgroup")
# of which only what is written takes room
DISK_BYTES = 32 << 30
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
# what a world needs; without one of them there is none
TOOLS = ("unshare", "nsenter", "ip", "mount", "mkfs.ext4")


class WorldError(Exception):
    """A world could not be made; says why."""


def find_tool(name):
    return shutil.which(name, path=SYSTEM_PATH)


def missing_for_a_world(*tools):
    """Why there can be no world with these tools, or None."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [tool for tool in (*TOOLS, *tools) if find_tool(tool) is None]
    if missing:
        return "not installed: " + ", ".join(missing)
    return None


class World:
    """Namespaces, and a directory that is removed with them. Of the machine's network nothing is
    in it unless network="machine"."""

    def __init__(self, network="own"):
        sweep()
        self.directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.name = self.directory.name
        # locked before it has the name that sweep() looks for
        with open(self.directory / "lock.new", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.rename(lock.name, self.directory / "lock")
            self.keeper = subprocess.Popen(
                [sys.executable, "-S", __file__, "keep", self.directory, network],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[lock.fileno()], text=True,
                env={**os.environ, "PATH": SYSTEM_PATH},
            )
        answer = self.keeper.stdout.readline()
        if not answer.startswith("ready "):
            self.close()
            raise WorldError(answer.strip() or "the keeper ended")
        self.first = int(answer.split()[1])

    def close(self):
        """Ends the world; returns when nothing of it is left."""
        self.keeper.stdin.close()
        left = self.keeper.stdout.read()
        self.keeper.stdout.close()
        self.keeper.wait()
        assert not left, left

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def add_namespace(self, kind, name):
        """Makes a namespace ("net" or "uts") that command() finds by its name."""
        path = self.directory / f"{name}.{kind}"
        path.touch()
        self.run(["unshare", f"--{kind}={path}", "true"])

    def command(self, argv, net=None, uts=None):
        """argv as a command that executes it in the world, in namespaces by add_namespace()."""
        inside = f"/proc/{self.first}/root{self.directory}"
        net = f"--net={inside}/{net}.net" if net else "--net"
        uts = [f"--uts={inside}/{uts}.uts"] if uts else []
        return [
            "nsenter", f"--target={self.first}", "--mount", "--pid", net, *uts, "--",
            *map(str, argv),
        ]

    def run(self, argv, **options):
        """Runs a command of the test's own in the world; its failure is one of the test's."""
        done = subprocess.run(
            self.command(argv, **options), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False,
        )
        if done.returncode != 0:
            raise WorldError(f"{' '.join(map(str, argv))}: {done.stderr or done.returncode}")
        return done.stdout

    def path(self, path):
        """A path as those in the world see it, /proc for example, for a reader outside."""
        return Path(f"/proc/{self.first}/root") / str(path).lstrip("/")

    def processes(self):
        """pid -> (parent's pid, argv) of every process there, with the pids that count there."""
        found = {}
        for entry in self.path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                stat = (entry / "stat").read_text()
                argv = (entry / "cmdline").read_text(errors="replace").split("\0")[:-1]
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[int(entry.name)] = (int(stat.rpartition(")")[2].split()[1]), argv)
        return found

    def kill(self, pids):
        if pids:
            subprocess.run(
                self.command(["sh", "-c", 'kill -KILL "$@" 2>&1 || :', "kill", *pids]),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True,
            )


def sweep():
    """Removes what is left of worlds whose keepers were killed; those that live hold a lock."""
    for directory in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        try:
            with open(directory / "lock", "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(directory)
        except OSError:
            # alive, just being made or removed, another's, or not yet dead: the next one's business
            continue


def remove(directory):
    """Removes a world's directory and the control groups that are called after it."""
    for hierarchy in [CGROUPS, *CGROUPS.glob("*")]:
        for group in hierarchy.glob(directory.name + "*"):
            for path, _, _ in os.walk(group, topdown=False):
                os.rmdir(path)
    shutil.rmtree(directory)


def mount_disk(directory):
    """Mounts a disk at DIRECTORY/disk, of a file that ends with the world: without a journal, never
    forced out, and gone at once instead of file by file. Where there are no such disks it is an
    ordinary folder."""
    disk = directory / "disk"
    disk.mkdir()
    image = directory / "disk.new"
    with open(image, "wb") as file:
        file.truncate(DISK_BYTES)
    for command in (
        ["mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", "-E", "lazy_itable_init=1,nodiscard",
         image],
        ["mount", "-o", "loop,noatime,nobarrier", image, disk],
    ):
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
            break
    image.unlink()


def first_process(directory, network):
    """The world's init: prepares it, reaps, and ends, with all others, when its pipe does."""
    resolver = Path("/etc/resolv.conf").resolve()
    servers = resolver.read_bytes() if resolver.is_file() else b""
    # what engines leave in /run, they leave here
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
    if resolver.is_relative_to("/run"):
        resolver.parent.mkdir(parents=True)
        resolver.write_bytes(servers)
    if network == "own":
        mount_disk(directory)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    os.read(0, 1)


def child_of(parent):
    """The one child of a process, or None."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(stat.rpartition(")")[2].split()[1]) == parent:
                return int(entry.name)
    return None


def keep(directory, network):
    """The keeper: outlives whoever started it, for as long as it takes to clear up."""
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    log = open(directory / "world.log", "w+b")
    own = ["--net"] if network == "own" else []
    world = subprocess.Popen(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=slave", *own, "--",
         sys.executable, "-S", __file__, "first", directory, network],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
    )
    answer = world.stdout.readline()
    first = child_of(world.pid)
    if answer == b"ready\n" and first is not None:
        say(f"ready {first}")
        os.read(0, 1)
        # with the first process the kernel ends all of them, and only then is it gone itself
        os.kill(first, signal.SIGKILL)
    else:
        log.seek(0)
        say("no namespaces: " + log.read().decode().strip().replace("\n", "; "))
    world.stdin.close()
    world.wait()
    for attempt in range(50):
        try:
            remove(directory)
            break
        except OSError as error:
            # mounts and control groups take the kernel a moment
            if attempt == 49:
                say(f"{directory} could not be removed: {error}")
            time.sleep(0.1)


def say(line):
    """To whoever started the keeper, if it still lives."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        return


if __name__ == "__main__":
    {"keep": keep, "first": first_process}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
