"""The servers that are compared: each answers on a free port of 127.0.0.1, all on the same CPU."""

import http.client
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from machine import processes, time_of

HERE = Path(__file__).resolve().parent
START_S = 60
# how long the reference may work for those who are gone
PATIENCE_S = 1.0
# and how long it does nothing when it is done
STILL_S = 0.3
SHORT, LONG = "/memory-logs?limit=10", "/memory-logs?limit=99999"


def wait_for(condition, what, seconds=START_S):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.005)
    return result


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def pinned(cpu, command):
    return ["taskset", "-c", str(cpu), *map(str, command)]


def clean_environment(**settings):
    """The environment without settings of Memory Tracker."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("MEMORY_TRACKER_", "DOCDB_"))}
    return {**environment, **settings}


class Server:
    """Runs from `with` to its end. targets: {SHORT or LONG: the path that it is asked by}."""

    name = ""
    def __init__(self, bench):
        self.bench = bench
        self.port = 0
        self.process = None
        self.targets = {SHORT: SHORT, LONG: LONG}
        self.log = bench.scratch / f"{self.name}.log"

    def command(self):
        raise NotImplementedError

    def start(self):
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                pinned(self.bench.server_cpu, self.command()), stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, env=clean_environment(), cwd=self.bench.scratch,
            )

    def is_ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended:\n{self.log.read_text()}")
        try:
            return self.get(SHORT)[0] == 200
        except OSError:
            return False

    def __enter__(self):
        try:
            self.start()
            wait_for(self.is_ready, f"{self.name} to answer")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def unpin(self):
        """Its threads may run anywhere from now on: on one CPU, one of them would do all."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), os.sched_getaffinity(0))

    def target(self, question):
        """The path that it is asked by."""
        return self.targets.get(question, question)

    def settle(self):
        """Waits until it does nothing more for those who asked and are gone."""
        before = None
        while (now := time_of(self.process.pid)) != before:
            before = now
            time.sleep(0.05)

    def spent_ns(self):
        """CPU time of its threads, exactly."""
        spent = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            spent += int((task / "schedstat").read_text().split()[0])
        return spent

    def get(self, question, **headers):
        """(status, headers with names in lower case, body) of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_S)
        try:
            connection.request("GET", self.target(question), headers=headers)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def sizes_kib(self):
        """(resident, what of it is its own memory and no file's), counted page by page: the sums in
        its status may be some dozen pages behind."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return tuple(int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE).group(1))
                     for name in ("Rss", "Anonymous"))

    def settled_sizes_kib(self, still_s=1.0):
        """The same, when nothing of it has changed for a while."""
        before, since = None, time.monotonic()
        deadline = since + START_S
        while time.monotonic() - since < still_s and time.monotonic() < deadline:
            now = self.sizes_kib()
            if now != before:
                before, since = now, time.monotonic()
            time.sleep(0.05)
        return before


class Api(Server):
    name = "memory-tracker"

    def __init__(self, bench, history, threads=1):
        super().__init__(bench)
        self.history = history
        self.threads = threads
        self.port = free_port()

    def command(self):
        return [self.bench.bin / "memory-api", "--store", f"sqlite:{self.history}",
                "--listen", f"127.0.0.1:{self.port}", "--threads", self.threads]


class Ceiling(Server):
    """The HTTP library with constant answers: our bodies, under our headers."""

    name = "ceiling"
    # the library's own, or they differ from answer to answer
    LEFT_OUT = {"date", "server", "connection", "content-length"}

    def __init__(self, bench, bodies, headers):
        """bodies: {SHORT: file, LONG: file}."""
        super().__init__(bench)
        self.targets = {SHORT: "/short", LONG: "/long"}
        self.arguments = [f"{name}={value}" for name, value in headers.items() if name not in self.LEFT_OUT]
        self.arguments += [f"{self.targets[question]}={path}" for question, path in bodies.items()]

    def command(self):
        return [self.bench.programs / "ceiling", *self.arguments]

    def is_ready(self):
        text = self.log.read_text()
        self.port = int(text) if text.endswith("\n") else 0
        return super().is_ready()


class Nginx(Server):
    """The same bytes as static files; beside each its compressed form."""

    name = "nginx"

    def __init__(self, bench, bodies):
        super().__init__(bench)
        self.port = free_port()
        self.targets = {question: f"/{path.name}" for question, path in bodies.items()}
        root = bodies[SHORT].parent
        self.directory = bench.scratch / "nginx"
        self.directory.mkdir(exist_ok=True)
        temporary = "".join(
            f"    {kind}_temp_path {self.directory}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.directory / "nginx.conf").write_text(f"""daemon off;
pid {self.directory}/pid;
error_log stderr;
{"user root;" if os.getuid() == 0 else ""}
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
{temporary}    access_log off;
    types {{ application/json json; }}
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    open_file_cache max=16 inactive=1d;
    gzip_static on;
    server {{ listen 127.0.0.1:{self.port}; root {root}; }}
}}
""")

    def command(self):
        return [self.bench.tool("nginx"), "-c", self.directory / "nginx.conf", "-e", "stderr",
                "-p", self.directory]


class Reference(Server):
    """FastAPI on gunicorn with one uvicorn worker, on uvloop and httptools."""

    name = "reference"

    def __init__(self, bench, database):
        super().__init__(bench)
        self.port = free_port()
        self.database = database

    def command(self):
        return [self.bench.reference_python, "-m", "gunicorn", "--chdir", HERE, "--workers", 1,
                "--worker-class", "uvicorn.workers.UvicornWorker", "--bind", f"127.0.0.1:{self.port}",
                "--timeout", 600, "--log-level", "warning", "--env", f"REFERENCE_DATABASE={self.database}",
                "reference_app:app"]

    def settle(self):
        """It works on for half a minute for connections that are gone; then another takes its place."""
        before, since = None, time.monotonic()
        deadline = since + PATIENCE_S
        while time.monotonic() - since < STILL_S:
            if (now := time_of(self.process.pid)) != before:
                before, since = now, time.monotonic()
            if since > deadline:
                # gunicorn sees to it that there is another
                self.kill_worker()
                wait_for(self.is_ready, f"{self.name} to answer")
                return
            time.sleep(0.02)

    def kill_worker(self):
        """By its parent's eyes, so that its CPU time stays known."""
        for pid, (parent, _) in processes().items():
            if parent == self.process.pid:
                os.kill(pid, signal.SIGKILL)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            # or it would finish what nobody waits for; from now on there is not another
            self.process.send_signal(signal.SIGTERM)
            self.kill_worker()
        super().stop()
