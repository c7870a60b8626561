"""script/run: a record at once, one more by cron, answers on HTTP, and nothing left after Ctrl-C."""

import json
import os
import re
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from support import ROOT, clean_environment, program_path, scaled, wait_until


def processes_that_name(text):
    """Processes with text in their command line or environment, this one excepted."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            words = (directory / "cmdline").read_bytes() + (directory / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in words and int(directory.name) != os.getpid():
            found.append((int(directory.name), words[:200]))
    return found


def crontab():
    done = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


class Run:
    def __init__(self, home, *arguments, under=(), **settings):
        self.data = home.path / "var"
        self.out_path = home.path / "run.out"
        with self.out_path.open("wb") as out:
            self.process = subprocess.Popen(
                [*under, ROOT / "script/run", "--bin", program_path("memory-api").parent,
                 "--data", self.data, *arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env=clean_environment(settings), start_new_session=True,
            )

    def output(self):
        return self.out_path.read_text()

    def wait_ready(self):
        def ready():
            assert self.process.poll() is None, self.output()
            return re.search(r"Stop: +Ctrl-C\n", self.output())

        wait_until(ready, 60, "script/run to be ready")
        return re.search(r"listening on (\S+)", self.output()).group(1)

    def end(self, number):
        """What Ctrl-C at a terminal does: the signal goes to the whole foreground group."""
        os.killpg(self.process.pid, number)
        return self.process.wait(scaled(30))

    def assert_nothing_left(self, killed=False):
        wait_until(lambda: not processes_that_name(str(self.data)), 10,
                   f"the end of {processes_that_name(str(self.data))}")
        left = [line for line in crontab() if str(self.data) in line]
        if killed and "this user's crontab" in self.output():
            # nobody could remove it; it finds out that its run has ended
            assert all(f"kill -0 {self.process.pid} " in line for line in left)
        else:
            assert not left


@pytest.fixture
def start_run(home):
    started = []

    def start(*arguments, **how):
        started.append(Run(home, *arguments, **how))
        return started[-1]

    yield start
    for run in started:
        if run.process.poll() is None:
            run.process.terminate()
            run.process.wait(scaled(30))


def records(url):
    with urllib.request.urlopen(f"{url}/memory-logs/", timeout=scaled(30)) as answer:
        return json.load(answer)


def test_samples_at_once_and_by_cron_until_ctrl_c(start_run):
    run = start_run("--port", "0")
    url = run.wait_ready()
    first = records(url)
    assert len(first) == 1
    assert first[0]["total"] == first[0]["free"] + first[0]["used"] > 0
    assert f"curl -s '{url}/memory-logs/'" in run.output()
    more = wait_until(lambda: records(url)[1:], 100, "cron's first record")
    assert more[0]["timestamp"] > first[0]["timestamp"]
    assert more[0]["total"] == first[0]["total"]
    assert run.end(signal.SIGINT) == 0, run.output()
    run.assert_nothing_left()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up the right to mount")
def test_settings_reach_the_users_crontab(start_run):
    """Without the right to mount, the line that cron runs stands in the user's crontab."""
    run = start_run(
        "--port", "0", under=("setpriv", "--bounding-set=-sys_admin"),
        MEMORY_TRACKER_HOST="web-1", MEMORY_TRACKER_LOG_LEVEL="debug",
    )
    run.wait_ready()
    (line,) = [line for line in crontab() if str(run.data) in line]
    for setting in ("HOST='web-1'", "LOG_LEVEL='debug'", f"STORE='sqlite:{run.data}/memory.db'"):
        assert f" MEMORY_TRACKER_{setting} " in line
    assert run.end(signal.SIGINT) == 0, run.output()
    run.assert_nothing_left()


def test_a_unix_socket_and_sigterm(start_run, home):
    run = start_run("--listen", f"unix:{home.path}/api.sock")
    assert run.wait_ready() == f"unix:{home.path}/api.sock"
    assert f"curl -s --unix-socket '{home.path}/api.sock'" in run.output()
    assert run.end(signal.SIGTERM) == 0, run.output()
    run.assert_nothing_left()


def test_killed_it_leaves_nothing_running(start_run):
    run = start_run("--port", "0")
    run.wait_ready()
    run.process.kill()
    run.process.wait(scaled(30))
    run.assert_nothing_left(killed=True)


def test_a_port_that_is_taken(start_run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = start_run("--port", str(port))
        assert run.process.wait(scaled(60)) not in (0, 2)
        assert f":{port}" in run.output()
    run.assert_nothing_left()


@pytest.mark.parametrize("arguments, text", [
    (["--colour"], "unknown option '--colour'"),
    (["--port"], "--port needs a value"),
])
def test_usage_errors(start_run, arguments, text):
    run = start_run(*arguments)
    assert run.process.wait(scaled(60)) == 2
    assert text in run.output() and "script/run --help" in run.output()
    run.assert_nothing_left()


def test_help():
    done = subprocess.run([ROOT / "script/run", "--help"], capture_output=True, text=True, check=True)
    assert "--port N" in done.stdout and "Examples:" in done.stdout
