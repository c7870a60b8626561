"""Asking the servers: as fast as they answer (wrk), and at a rate that does not wait for them."""

import json
import os
import re
import subprocess
import time

from machine import time_of
from results import Asked
from servers import pinned

# in seconds; the reference needs half a second for a long answer, times the connections that wait
TIMEOUT = "120s"


def output_of(command, env=None):
    """What a command prints; it has to succeed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=env, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")
    return done.stdout


def output_and_time_of(command):
    """(what a command prints, its seconds, its CPU seconds); it has to succeed."""
    begin = time.monotonic()
    with subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        took = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {text}")
    return text, took, usage.ru_utime + usage.ru_stime


def asked(bench, server, question, connections, seconds, header=None):
    """What wrk on the other CPU is answered, as Asked."""
    url = f"http://127.0.0.1:{server.port}{server.target(question)}"
    headers = ["-H", header] if header else []
    before = time_of(server.process.pid)
    text, took, client = output_and_time_of(pinned(bench.load_cpu, [
        "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", TIMEOUT, *headers, url]))
    spent = time_of(server.process.pid) - before
    wrong = re.search(r"Non-2xx or 3xx responses: \d+|Socket errors: .*", text)
    server.settle()
    if wrong:
        raise RuntimeError(f"{server.name}: {wrong.group()}")
    rate = float(re.search(r"^Requests/sec:\s+([\d.]+)", text, re.MULTILINE).group(1))
    answers = int(re.search(r"^\s+(\d+) requests in", text, re.MULTILINE).group(1))
    return Asked(rate, spent * 1e6 / max(answers, 1), spent / took, client / took)


def rate(*arguments):
    """Answers a second; arguments as of asked()."""
    return asked(*arguments).rate


def latency(bench, server, question, connections, rate_asked, seconds):
    """{"50": microseconds, ...} at so many requests a second, counted from when each was due."""
    text = output_of(pinned(bench.load_cpu, [
        bench.programs / "open_loop", server.port, connections, f"{rate_asked:.2f}", f"{seconds:g}",
        server.target(question)]))
    server.settle()
    found = json.loads(text)
    if found["refused"] or found["answered"] < found["asked"]:
        raise RuntimeError(f"{server.name} at {rate_asked:.0f} requests/s: {text}")
    return found["took_us"]
