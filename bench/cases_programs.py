"""What the programs themselves cost: the sampler's minute, the API's start and memory."""

import shutil
import time

from histories import SADC
from load import output_of
from results import LESS, SUBJECT, Row, interleave
from servers import LONG, SHORT, Api, clean_environment

AGED = "memory-tracker, a year old"


def sampler(bench):
    """CPU, peak and time of one sample, against sadc, free and Python"""
    cpu = Row("sampler", "CPU of one sample, durable", "µs", LESS, {"sadc": 1.0, "python": 0.05})
    peak = Row("sampler", "peak resident size", "KiB", LESS, {None: 2560}, is_timed=False)
    wall = Row("sampler", "time from start to end", "µs", LESS, most_spread=float("inf"))
    aged = bench.scratch / "aged.db"
    shutil.copy(bench.histories.store("sealed", "usual", 1, bench.year), aged)

    def ours(store):
        return [bench.bin / "memory-sampler", "--store", f"sqlite:{store}",
                "--spool", bench.scratch / "spool.db", "--host", "bench"]

    commands = {SUBJECT: ours(bench.scratch / "sampled.db"), AGED: ours(aged)}
    if bench.has("sadc"):
        commands["sadc"] = [SADC, "1", "1", bench.scratch / "sa"]
    commands["free"] = ["free", "-k"]
    if bench.has("psutil"):
        commands["python"] = ["/usr/bin/python3", bench.here / "python_sampler.py", bench.scratch / "python.db"]
    names = list(commands)
    words = [word for command in commands.values() for word in ["--", *command]]

    def measure(rounds):
        text = output_of([bench.programs / "cpu_time", rounds, bench.server_cpu, *words],
                         env=clean_environment())
        return [tuple(map(int, line.split())) for line in text.splitlines()]

    # each makes its file, and is read from disk
    measure(1)
    with bench.undisturbed([cpu, peak, wall]):
        found = measure(bench.rounds(40))
    for name, spent, kib, took, status in found:
        assert status == 0, f"{names[name]} exited with {status}"
        cpu.add(names[name], spent)
        peak.add(names[name], kib)
        wall.add(names[name], took)
    return [cpu, peak, wall]


def first_answers(bench, history, rounds):
    """Milliseconds from exec to the first answer, of each round."""
    socket = bench.scratch / f"{history.stem}.sock"
    text = output_of([
        "taskset", "-c", bench.load_cpu, bench.programs / "first_answer", rounds, bench.server_cpu,
        socket, SHORT, bench.bin / "memory-api", "--store", f"sqlite:{history}",
        "--listen", f"unix:{socket}", "--threads", 2, "--log-level", "error"], env=clean_environment())
    return [int(line) / 1000 for line in text.split()]


def start(bench):
    """exec to first answer on a year of history, and what is resident then"""
    history = bench.histories.store("sealed", "usual", 1, bench.year)
    first = Row("start", "exec to first answer, a year of history, 2 loops", "ms", LESS, {None: 20})
    idle = Row("start", "resident when idle, 2 loops", "KiB", LESS, {None: 8 * 1024}, is_timed=False)
    loop = Row("start", "each further loop", "KiB", LESS, most_spread=float("inf"), is_timed=False)
    window = Row("start", "each 10,000 records of the window", "KiB", LESS, most_spread=float("inf"),
                 is_timed=False)
    first_answers(bench, history, 1)
    interleave(bench, {SUBJECT: lambda: {0: first_answers(bench, history, 1)[0]}}, bench.rounds(20), {0: first})

    def measure():
        sizes = {threads: resident(bench, history, threads) for threads in (2, 8)}
        return {"idle": sizes[2][0], "loop": (sizes[8][0] - sizes[2][0]) / 6,
                "window": (sizes[2][1] - sizes[2][0]) / (min(99999, bench.year) / 10000)}

    interleave(bench, {SUBJECT: measure}, bench.rounds(3), {"idle": idle, "loop": loop, "window": window})
    return [first, idle, loop, window]


def resident(bench, history, threads):
    """(KiB after a short answer, KiB after a long one), each when nothing was asked for a while."""
    with Api(bench, history, threads) as api:
        api.get(SHORT)
        bench.warm(lambda: time.sleep(2))
        before = api.resident_kib()
        for _ in range(3):
            api.get(LONG)
            bench.warm(lambda: time.sleep(1))
        return before, api.resident_kib()
