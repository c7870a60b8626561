"""Asking the servers: as fast as they answer (wrk), and at a rate that does not wait for them."""

import json
import re
import subprocess

from servers import pinned

# in seconds; the reference needs half a second for a long answer, times the connections that wait
TIMEOUT = "120s"


def output_of(command, env=None):
    """What a command prints; it has to succeed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=env, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")
    return done.stdout


def rate(bench, server, question, connections, seconds, header=None):
    """Answers a second, of wrk on the other CPU."""
    url = f"http://127.0.0.1:{server.port}{server.targets[question]}"
    headers = ["-H", header] if header else []
    text = output_of(pinned(bench.load_cpu, [
        "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", TIMEOUT, *headers, url]))
    wrong = re.search(r"Non-2xx or 3xx responses: \d+|Socket errors: .*", text)
    server.settle()
    if wrong:
        raise RuntimeError(f"{server.name}: {wrong.group()}")
    return float(re.search(r"^Requests/sec:\s+([\d.]+)", text, re.MULTILINE).group(1))


def latency(bench, server, question, connections, asked, seconds):
    """{"50": microseconds, ...} at so many requests a second, counted from when each was due."""
    text = output_of(pinned(bench.load_cpu, [
        bench.programs / "open_loop", server.port, connections, f"{asked:.2f}", f"{seconds:g}",
        server.targets[question]]))
    server.settle()
    found = json.loads(text)
    if found["refused"] or found["answered"] < found["asked"]:
        raise RuntimeError(f"{server.name} at {asked:.0f} requests/s: {text}")
    return found["took_us"]
