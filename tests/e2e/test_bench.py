"""script/bench: every case's machinery works on tiny histories, and noise is not called a good run.

Nothing here looks at how fast anything is.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from support import ROOT, clean_environment, not_in_this_build, program_path, reference_python, sanitizer, scaled

sys.path.insert(0, str(ROOT / "bench"))
# pylint: disable=wrong-import-position
import machine  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402
from cases_http import judge_by_cost  # noqa: E402
from histories import Histories, content_of  # noqa: E402
from run import CASES, GOOD, MISSED, NOISY, judge  # noqa: E402


def still_running(work):
    """Command lines of programs that work in that directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().decode(errors="replace").replace("\0", " "))
        except OSError:
            continue
    return [line for line in found if f"{work}/" in line and "bench/run.py" not in line]


@pytest.fixture
def bench(tmp_path):
    """bench(argument...) -> (exit code, standard output, JSON) of a quick run with this build."""
    if sanitizer():
        not_in_this_build("nothing is measured with a sanitizer")
    work = tmp_path / "work"
    work.mkdir()
    unpacked = ROOT / "build/bench/debian"
    if unpacked.exists():
        (work / "debian").symlink_to(unpacked)
    python = reference_python()
    if python is not None:
        (work / "venv").symlink_to(python.parents[1])

    def run(*arguments):
        done = subprocess.run(
            ["/usr/bin/python3", "-B", ROOT / "bench/run.py", "--quick", "--build", program_path("x").parents[1],
             "--work", work, "--json", tmp_path / "run.json", *arguments],
            env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=scaled(180), check=False)
        assert done.returncode in (GOOD, MISSED, NOISY), done.stdout + done.stderr
        left = [path.name for path in work.iterdir() if path.name.startswith("run-")]
        assert not left
        assert not still_running(work)
        # without it the bench itself broke, and the status is that of Python
        assert (tmp_path / "run.json").exists(), done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr, json.loads((tmp_path / "run.json").read_text())

    return run


def test_every_case_works(bench, tmp_path):
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{report.BEGIN}\nof another day\n{report.END}\nafter\n")
    code, output, whole = bench("--write-docs", "--document", document)
    assert code == GOOD and not whole["failed"], output
    if os.environ.get("CI") == "true":
        assert not whole["left_out"]
    assert {row["case"] for row in whole["rows"]} == set(CASES)
    for row in whole["rows"]:
        place = f"{row['case']}, {row['what']}"
        assert row["subject"] in row["contestants"], place
        for name, contestant in row["contestants"].items():
            assert contestant["min"] <= contestant["median"] <= contestant["max"], place
            assert all(math.isfinite(run) for run in contestant["runs"]), (place, name)
        assert row["what"] in output
    # what is measured is measured with each of the contestants
    expected = {"memory-tracker", "ceiling", "nginx", "reference"} - set(whole["left_out"])
    for case in ["tail", "full", "latency"]:
        for row in whole["rows"]:
            assert row["case"] != case or set(row["contestants"]) == expected
    assert set(whole["took_s"]) == set(CASES) and whole["versions"]["libsqlite3-0"]
    # and what servers and who asks them used of their CPUs is known
    for row in whole["rows"]:
        if row["unit"] == "requests/s" and row["case"] in ["tail", "full", "gzip", "validators"]:
            assert all(contestant["busy"] for contestant in row["contestants"].values()), row["what"]
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "of another day" not in text
    for name in CASES:
        assert f"\n### {name}, " in text
    for wanted in ["| tail | limit=10, 4 connections, against ceiling | at least 0.95 |",
                   "| full | limit=99,999, 4 connections, against reference | at least 400 |",
                   "| gzip | limit=99,999, bytes of the body, against identity | at most 0.125 |",
                   "| sampler | CPU of one sample, durable, against python | at most 0.05 |",
                   "| size | a year of one host, usual | at most 15 MB |",
                   "| year | a year of `used` to hourly min, mean, max | aim: at most 5,000 µs |",
                   "| growth | limit=10 over HTTP, 4 connections: 3e3 records, 30 hosts, against 1e3 records, 1 host |"]:
        assert wanted in text, text


def test_what_is_kept_is_made_anew_when_it_changed(tmp_path):
    if sanitizer():
        not_in_this_build("nothing is measured with a sanitizer")
    said = []
    bench = SimpleNamespace(work=tmp_path, scratch=tmp_path, here=ROOT / "bench", say=said.append,
                            programs=program_path("x").parents[1] / "bench")
    histories = Histories(bench)
    made = []

    def make(path):
        made.append(path)
        path.mkdir()
        (path / "file").write_text("12")

    def keep():
        return histories.keep("name", make)

    # the same build makes the same again
    assert keep() == Histories(bench).keep("name", make) == keep() and len(made) == 1
    (keep() / "file").write_text("123")
    assert (keep() / "file").read_text() == "12" and len(made) == 2
    assert "name is not as it was made" in said
    # what another made is not used
    histories.directory.rename(histories.directory.with_name("other"))
    Histories(bench).keep("name", make)
    assert len(made) == 3 and [path.name for path in (tmp_path / "histories").iterdir()] == [
        histories.directory.name]
    # and another it is that makes other files
    store = tmp_path / "store.db"
    names = []
    for profile, records in [("busy", 100), ("busy", 100), ("usual", 100), ("busy", 101)]:
        subprocess.run([bench.programs / "history", "sealed", f"sqlite:{store}", profile, "1", str(records),
                        "1600000000"], check=True)
        names.append(content_of(store))
        store.unlink()
    assert names[0] == names[1] and len(set(names)) == 3


def test_a_noisy_machine_is_refused(bench):
    code, output, whole = bench("--assume-noise", "0.5,0.75", "size", "sampler")
    assert code == NOISY == whole["exit_code"]
    assert "too noisy" in output
    for text in ["the hypervisor took 0.50 cores", "other programs used 0.75 cores"]:
        assert text in output
        assert any(text in line for line in whole["verdict"])


def a_row(**options):
    row = results.Row("case", "what", "µs", options.pop("better", results.MORE), **options)
    for value in [100, 102, 101]:
        row.add(results.SUBJECT, value)
    return row


def verdict(*rows, failed=None, left_out=(), load_cpu=0):
    bench = SimpleNamespace(options=SimpleNamespace(quick=False, assume_noise=None), left_out=left_out,
                            server_cpu=1, load_cpu=load_cpu)
    return judge(bench, rows, failed or {})[0]


def test_what_a_run_is_worth():
    row = a_row(wanted={"other": 0.95})
    for value in [100, 103, 102]:
        row.add("other", value)
    assert verdict(row) == GOOD
    assert verdict(row, left_out=["nginx"]) == MISSED
    assert verdict(row, failed={"tail": "why"}) == MISSED
    assert verdict(row, load_cpu=1) == NOISY
    row.wanted["other"] = 1.5
    assert verdict(row) == MISSED
    assert verdict(a_row(better=results.LESS, wanted={None: 101})) == GOOD
    assert verdict(a_row(better=results.LESS, wanted={None: 100})) == MISSED


@pytest.mark.parametrize("stolen, others, expected", [
    (0, 0, GOOD), (0.01, 0.05, GOOD), (0.5, 0, NOISY), (0, 0.5, NOISY),
])
def test_who_else_used_the_machine(stolen, others, expected):
    row = a_row()
    row.disturb(stolen, others)
    row.disturb(0, 0)
    assert verdict(row) == expected


def test_runs_that_lie_apart_are_noise():
    row = a_row()
    row.add(results.SUBJECT, 150)
    assert verdict(row) == NOISY
    assert any("apart" in reason for reason in row.noise())
    # a few of many are not
    assert machine.spread([100] * 30 + [300]) == 0
    # the interval of the sign test, as tables of it have it
    assert machine.middle(range(5)) == list(range(5))
    assert machine.middle(range(8)) == list(range(8))
    assert machine.middle(range(9)) == list(range(1, 8))
    assert machine.middle(range(40)) == list(range(13, 27))


@pytest.mark.parametrize("theirs, expected, said", [
    # all rounds say the same, however far they lie apart
    ([80, 100, 105], GOOD, "met"), ([150, 200, 250], MISSED, "missed"),
    # they do not, but lie close together
    ([100, 104, 108], GOOD, "met (2 of 3 rounds met it)"),
    ([80, 104, 120], NOISY, "met (2 of 3 rounds met it)"),
])
def test_rounds_that_contradict_each_other(theirs, expected, said):
    row = a_row(wanted={"other": 0.95})
    for value in theirs:
        row.add("other", value)
    assert verdict(row) == expected
    assert report.judged(row, "other") == said
    assert said in report.verdict_as_text([row])


def test_who_asks_may_be_the_limit():
    """Then what an answer costs the server is judged by the same bound."""
    def rows(*shares):
        speed = results.Row("case", "what", "requests/s", results.MORE, wanted={"ceiling": 0.95})
        cost = results.Row("case", "cost", "µs an answer", results.LESS)
        for name, cpu_us in [(results.SUBJECT, 12), ("ceiling", 10)]:
            speed.add(name, results.Asked(100000, cpu_us, *shares))
            cost.add(name, cpu_us)
        judge_by_cost(speed, cost)
        return speed, cost

    assert verdict(*rows(0.99, 0.9)) == GOOD
    assert verdict(*rows(0.6, 0.6)) == GOOD
    speed, cost = rows(0.8, 1.0)
    assert verdict(speed, cost) == MISSED and speed.is_met("ceiling")
    assert "80% / 100%" in report.row_as_text(speed) and "who asks was the limit" in report.row_as_text(cost)


def test_the_ratio_is_that_of_the_rounds():
    """A machine that gets slower while it measures does so for all."""
    row = results.Row("case", "what", "µs", results.MORE)
    for ours, theirs in [(100, 200), (50, 100), (20, 40)]:
        row.add(results.SUBJECT, ours)
        row.add("other", theirs)
    assert row.ratio("other") == 0.5


def test_a_disturbed_round_is_measured_again():
    noise = iter([(0, 0), (0.9, 0), (0, 0), (0, 0)])
    watch = SimpleNamespace(begin=lambda: None, end=lambda: next(noise), assumed=None)
    bench = SimpleNamespace(watch=watch, options=SimpleNamespace(quick=False))
    figures = iter(range(1, 100))
    row = results.Row("case", "what", "µs", results.MORE)
    results.interleave(bench, {results.SUBJECT: lambda: {0: next(figures)}}, 3, {0: row})
    assert row.runs[results.SUBJECT] == [1, 3, 4]
    assert not [reason for reason in row.noise() if "hypervisor" in reason]


def test_a_disturbed_turn_is_measured_again():
    noise = [(0.02, 0), (0.9, 0), (0, 0.5), (0.04, 0.06), (0.9, 0), (0.3, 0), (0.9, 0.9)]
    watch = SimpleNamespace(begin=lambda: None, end=iter(noise).__next__, assumed=None)
    quiet = results.Quiet(SimpleNamespace(watch=watch), 3)
    turn = iter("abcdefg").__next__
    assert [quiet.measure(turn) for _ in range(4)] == ["a", "d", "f", "g"]
    assert quiet.disturbances == [(0.02, 0), (0.04, 0.06), (0.3, 0), (0.9, 0.9)]
    # who was disturbed most says whether the round is a good one
    assert results.worst({"a": [(0.1, 0), (0.3, 0)], "b": [(0, 0.5)]}) == pytest.approx((0.2, 0.5))


def test_usage():
    for arguments, message in [
        (["nonsense"], "unknown case 'nonsense'"), (["--records", "5"], "at least 1e4"),
        (["--quick", "--write-docs"], "--quick are nothing"), (["--nonsense"], "--nonsense"),
    ]:
        done = subprocess.run([ROOT / "script/bench", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and message in done.stderr, done.stderr
    done = subprocess.run([ROOT / "script/bench", "--list"], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(CASES)
    done = subprocess.run([ROOT / "script/bench", "--help"], capture_output=True, text=True, check=True)
    for option in ["--list", "--quick", "--json", "--records", "--cores", "--write-docs", "--prepare"]:
        assert f"\n  {option}" in done.stdout


def test_the_document_takes_what_was_measured(tmp_path):
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{report.BEGIN}\nof another day\n{report.END}\nafter\n")

    def write(day, machine_now, *rows):
        return report.write_document(document, {
            "machine": {**machine_now, "server_cpu": 1, "load_cpu": 0}, "time": f"{day}T00:00:00+00:00",
            "versions": {"memory-tracker": "1.2", "commit": "abc", "gcc": "4"}, "took_s": {"tail": 61.2},
            "left_out": ["nginx"], "failed": {}, "rows": rows}, ["tail", "full", "year"])

    def row(case, median, noise=()):
        empty = dict.fromkeys(["runs", "ratio", "ratios", "busy", "wanted", "verdict"], "")
        return {"case": case, "what": "limit=10", "unit": "requests/s", "notes": ["a note"], "noise": noise,
                "is_timed": True, "stolen": 0.03, "others": 0.01,
                "lines": [{**empty, "contestant": "memory-tracker", "median": median, "runs": "990 to 1,010"},
                          {**empty, "contestant": "ceiling", "median": "1,020", "ratio": "0.98",
                           "wanted": "at least 0.95", "verdict": "met"}],
                "verdicts": [(case, "limit=10, against ceiling", "at least 0.95", "0.98", "", f"met by {median}")]}

    here = machine.describe(tmp_path)
    assert here["disk"] and here["kernel"]
    assert write("2026-01-01", here, row("full", "1,000"), row("tail", "2,000"), row("year", "3", ["why"])) == [
        "full", "tail", "year"]
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "of another day" not in text
    assert "| limit=10 (requests/s) | memory-tracker | 1,000 | 990 to 1,010 |" in text
    assert "| ceiling | 1,020 |  | 0.98 | at least 0.95 | met |" in text
    assert "Versions: memory-tracker 1.2, commit abc, gcc 4.\nLeft out: nginx.\n" in text
    assert "Measured in 61 s at abc." in text and here["disk"] in text
    assert "| tail | limit=10, against ceiling | at least 0.95 | 0.98 |  | met by 2,000 |" in text
    assert text.index("### tail, 2026-01-01") < text.index("### full, 2026-01-01")
    # what noise was in is marked, until there is something better, and never replaces that
    assert text.count(report.NOISY) == 1 and f"### year, 2026-01-01\n\n{report.NOISY}: limit=10: why." in text
    assert write("2026-01-02", here, row("year", "4"), row("tail", "5", ["why"])) == ["year"]
    again = document.read_text()
    assert report.NOISY not in again
    assert "### tail, 2026-01-01" in again and "| 2,000 |" in again and "### year, 2026-01-02" in again
    assert "| met by 2,000 |" in again and "| met by 4 |" in again and "| met by 3 |" not in again
    assert again.index("| met by 2,000 |") < again.index("| met by 1,000 |") < again.index("| met by 4 |")
    # figures of two machines do not stand in one table
    write("2026-01-03", {**here, "cpu": "another"}, row("tail", "6"))
    last = document.read_text()
    assert "### tail, 2026-01-03" in last and "2026-01-01" not in last and "### year" not in last
    assert last.count("| met by") == 1
    assert report.BEGIN in (ROOT / "docs/performance.md").read_text()


def test_pinning_reads_lists_of_cpus():
    assert machine.list_of_cpus("0-2,5\n") == [0, 1, 2, 5]
    server, load = machine.choose_cpus()
    allowed = os.sched_getaffinity(0)
    assert {server, load} <= allowed and (server != load or len(allowed) == 1)
