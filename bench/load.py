"""Asking the servers: as fast as they answer, and at a rate that does not wait for them."""

import json
import os
import subprocess
import time

from machine import time_of
from results import Asked
from servers import pinned

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


def words_to_ask(bench, server, question, connections, per_second, seconds, header, status):
    return pinned(bench.load_cpu, [
        bench.programs / "ask", server.port, connections, f"{per_second:.2f}", f"{seconds:g}", status,
        server.target(question), *([header] if header else [])])


def asked(bench, server, question, connections, seconds, header=None, status=200):
    """What somebody on the other CPU is answered who asks again as soon as there is an answer."""
    before = time_of(server.process.pid)
    text, took, client = output_and_time_of(
        words_to_ask(bench, server, question, connections, 0, seconds, header, status))
    spent = time_of(server.process.pid) - before
    server.settle()
    found = json.loads(text)
    if found["refused"]:
        raise RuntimeError(f"{server.name}: {text}")
    return Asked(found["answered"] / found["seconds"], spent * 1e6 / (found["answered"] or 1), spent / took,
                 client / took)


def rate(*arguments):
    """Answers a second; arguments as of asked()."""
    return asked(*arguments).rate


def latency(bench, server, question, connections, rate_asked, seconds):
    """{"50": microseconds, ...} at so many requests a second, counted from when each was due."""
    text = output_of(words_to_ask(bench, server, question, connections, rate_asked, seconds, None, 200))
    server.settle()
    found = json.loads(text)
    if found["refused"] or found["answered"] < found["asked"]:
        raise RuntimeError(f"{server.name} at {rate_asked:.0f} requests/s: {text}")
    return found["took_us"]
