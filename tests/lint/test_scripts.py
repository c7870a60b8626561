"""Shell scripts under shellcheck, Python files compiled, man pages under mandoc."""

import ast
import os
import subprocess

from support import ROOT


def scripts():
    """Every executable text file with a shell in its first line, and what they source."""
    found = []
    for folder in ["script", ".ci", "cron", "docker", "tests"]:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and (
                path.suffix in {".sh", ".bash"} or path.read_bytes()[:20].startswith(
                    (b"#!/bin/bash", b"#!/bin/sh"))
            ):
                found.append(path)
    return found


def test_shellcheck():
    names = [str(path.relative_to(ROOT)) for path in scripts()]
    assert {"script/run", "script/test", "script/bench", "docker/start", ".ci/run"} <= set(names)
    done = subprocess.run(
        ["shellcheck", "--external-sources", *names],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stdout


def test_what_is_typed_is_executable():
    for name in ["script/run", "script/test", "script/image", "script/bench", ".ci/run"]:
        assert os.access(ROOT / name, os.X_OK), name


def test_bash_completion_parses():
    for path in sorted((ROOT / "docs").rglob("*completion*")):
        if path.is_file():
            subprocess.run(["bash", "-n", path], check=True)


def test_python_parses():
    files = [path for folder in ["tests", "bench"] for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 50
    for path in files:
        ast.parse(path.read_text(), str(path))


def test_man_pages():
    pages = sorted((ROOT / "docs/man").glob("*.[0-9]"))
    assert len(pages) >= 3
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *pages],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )
    # "referenced manual not found": the pages of a program that is not installed here
    wrong = [line for line in done.stdout.splitlines() if "referenced manual not found" not in line]
    assert not wrong, "\n".join(wrong)


def test_the_cron_file_is_one_that_cron_reads():
    text = (ROOT / "cron/cronjobs").read_text()
    assert text.endswith("\n")
    jobs = [
        line for line in text.splitlines()
        if line and not line.startswith("#") and "=" not in line.split()[0]
    ]
    assert len(jobs) == 1
    fields = jobs[0].split(None, 6)
    assert fields[:6] == ["*"] * 5 + ["memory-tracker"]
    assert "%" not in fields[6]
