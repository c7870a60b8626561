"""What the programs themselves cost: the sampler's minute, the API's start and memory."""

import shutil

from histories import SADC
from load import output_of, rate
from results import LESS, SUBJECT, Row, in_batches, interleave
from servers import SHORT, Api, clean_environment, wait_for

AGED = "memory-tracker, a year old"
FEW_LOOPS, MANY_LOOPS = 2, 18


def cpu_times(bench, commands, rounds):
    """[(name, CPU µs, peak KiB, µs from start to end)] of the commands, each once in a second."""
    names = list(commands)
    words = [word for command in commands.values() for word in ["--", *command]]
    text = output_of([bench.programs / "cpu_time", rounds, bench.server_cpu, *words], env=clean_environment())
    found = []
    for number, spent, kib, took, status in (map(int, line.split()) for line in text.splitlines()):
        assert status == 0, f"{names[number]} exited with {status}"
        found.append((number, spent, kib, took))
    # in the order of the commands, each one's runs in the order of the rounds
    return [(names[number], *figures) for number, *figures in sorted(found, key=lambda one: one[0])]


def sampler_command(bench, store):
    return [bench.bin / "memory-sampler", "--store", f"sqlite:{store}", "--spool", bench.scratch / "spool.db",
            "--host", "bench"]


def sampler(bench):
    """CPU, peak and time of one sample, against sadc, free and Python"""
    wanted = {"sadc": 1.0, "python": 0.05}
    cpu = Row("sampler", "CPU of one sample, durable", "µs", LESS, wanted)
    old = Row("sampler", "the same, onto a year of history", "µs", LESS, wanted, subject=AGED)
    peak = Row("sampler", "peak resident size", "KiB", LESS, {None: 2560}, is_timed=False)
    wall = Row("sampler", "time from start to end", "µs", LESS, most_spread=float("inf"))
    aged = bench.scratch / "aged.db"
    shutil.copy(bench.histories.store("sealed", "usual", 1, bench.year), aged)
    commands = {SUBJECT: sampler_command(bench, bench.scratch / "sampled.db"), AGED: sampler_command(bench, aged)}
    if bench.has("sadc"):
        commands["sadc"] = [SADC, "1", "1", bench.scratch / "sa"]
    commands["free"] = ["free", "-k"]
    if bench.has("psutil"):
        commands["python"] = ["/usr/bin/python3", bench.here / "python_sampler.py", bench.scratch / "python.db"]
    rows = {"cpu": cpu, "old": old, "peak": peak, "wall": wall}

    def measure():
        found = []
        for name, spent, kib, took in cpu_times(bench, commands, bench.rounds(len(commands) * 2)):
            figures = {"cpu": spent, "peak": kib, "wall": took}
            if name not in (SUBJECT, "free"):
                figures["old"] = spent
            found.append((name, figures))
        return found

    # each makes its file, and is read from disk
    cpu_times(bench, commands, 1)
    in_batches(bench, measure, bench.rounds(4), rows)
    return list(rows.values())


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
    first_answers(bench, history, 1)
    interleave(bench, {SUBJECT: lambda: {0: first_answers(bench, history, 1)[0]}}, bench.rounds(20), {0: first})
    return [first, *sizes(bench, history)]


def sizes(bench, history):
    """What is resident, and what each thing adds to it: differences of what is of the process alone."""
    most = min(99999, bench.year)
    fewer = most // 4
    what = {
        "idle": "resident when idle, 2 loops",
        "full": f"resident with a window of {most:,} records, 2 loops",
        "loop": "each further loop",
        "window": "each 10,000 records of the window",
        "packed": "each 10,000 records of the window, compressed as well",
    }
    rows = {name: Row("start", text, "KiB", LESS, {None: 8 * 1024} if name == "idle" else None,
                      most_spread=float("inf"), is_timed=False) for name, text in what.items()}
    rows["loop"].notes.append(f"a further loop: what {MANY_LOOPS} loops take more than {FEW_LOOPS} after they have"
                              " answered")
    rows["window"].notes.append(f"10,000 records: what a window of {most:,} takes more than one of {fewer:,}")

    def measure():
        idle = of_idle(bench, history)
        few, many = (of_loops(bench, history, loops) for loops in (FEW_LOOPS, MANY_LOOPS))
        small, large = (of_window(bench, history, records) for records in (fewer, most))
        per = 10000 / (most - fewer)
        return {"idle": idle[0], "full": large[0][0],
                "loop": (many[1] - few[1]) / (MANY_LOOPS - FEW_LOOPS),
                "window": (large[0][1] - small[0][1]) * per, "packed": (large[1][1] - small[1][1]) * per}

    interleave(bench, {SUBJECT: measure}, bench.rounds(4), rows)
    return list(rows.values())


def still(bench):
    """Seconds without a change after which a size is one that stays."""
    return 0.1 if bench.options.quick else 1.5


def of_idle(bench, history):
    """Sizes of a server that was asked once."""
    with Api(bench, history, 2) as api:
        return api.settled_sizes_kib(still(bench))


def of_loops(bench, history, loops):
    """Sizes of a server whose loops have each answered short questions and have nothing more to do."""
    with Api(bench, history, loops) as api:
        api.unpin()
        # whichever loop is free takes the next
        for _ in range(bench.rounds(2)):
            rate(bench, api, SHORT, 16 * loops, 1)
        return api.settled_sizes_kib(still(bench))


def of_window(bench, history, records):
    """Sizes of a server with so many records in its window, and with their compressed form."""
    question = f"/memory-logs?limit={records}"
    with Api(bench, history, 2) as api:
        fill_window(api, question)
        plain = api.settled_sizes_kib(still(bench))
        for _ in range(3):
            api.get(question, **{"Accept-Encoding": "gzip"})
        return plain, api.settled_sizes_kib(still(bench))


def fill_window(api, question):
    """Asks until the answer comes from memory, which costs a fraction of one that a worker reads."""
    if api.bench.options.quick:
        # so few records are there from the beginning
        api.get(question)
        return

    def cost():
        before = api.spent_ns()
        length = len(api.get(question)[2])
        api.settle()
        assert length > 1000
        return api.spent_ns() - before

    first = cost()
    wait_for(lambda: cost() < first / 3, "a window that is filled")
