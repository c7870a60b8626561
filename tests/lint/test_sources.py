"""C sources: formatted, and clean under clang-tidy (.clang-tidy has the exceptions and why)."""

import hashlib
import json
import os
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import ROOT

BUILD = Path(os.environ.get("MT_BUILD_DIR", ROOT / "build/dev"))
FOLDERS = ["memory_tracker", "tests", "bench"]


def c_files(folders=tuple(FOLDERS)):
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.[ch]"))]
    assert len(files) > 10
    return files


def test_format():
    done = subprocess.run(
        ["clang-format", "--dry-run", "-Werror", *c_files()],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """compile_commands.json for clang: without the flags that only gcc knows."""
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    for entry in commands:
        entry["command"] = re.sub(r" -fprofile\S*| -Werror(?= |$)", "", entry["command"])
    directory = tmp_path_factory.mktemp("tidy")
    (directory / "compile_commands.json").write_text(json.dumps(commands))
    return directory


@pytest.fixture(scope="module")
def clean():
    """A directory with a file for each compilation that was found clean, named by all it was made of."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(os.environ.get("MT_TESTBED_CACHE", f"{cache}/memory-tracker-testbed")) / "tidy"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def fingerprints(database):
    """What clang-tidy's verdict on a source depends on, as a hash, by path; of the first target."""
    tool = subprocess.run(["clang-tidy", "--version"], capture_output=True, check=True).stdout
    rules = (ROOT / ".clang-tidy").read_bytes()
    commands = {}
    for entry in json.loads((database / "compile_commands.json").read_text()):
        commands.setdefault(Path(entry["file"]), entry)

    def fingerprint(path):
        entry = commands[path]
        words = shlex.split(entry["command"])
        words = ["clang", *words[words.index("-o", 0) + 2:], *words[1:words.index("-o")]]
        words = [word for word in words if word != "-c"]
        # with comments, since some of them silence the checks
        text = subprocess.run(
            [*words, "-w", "-E", "-CC"], cwd=entry["directory"], capture_output=True, check=True
        ).stdout
        parts = [tool, rules, " ".join(words).encode(), text]
        whole = b"\0".join(parts).replace(str(BUILD).encode(), b"").replace(str(ROOT).encode(), b"")
        return hashlib.sha256(whole).hexdigest()

    return fingerprint


def test_clang_tidy(database, clean):
    fingerprint = fingerprints(database)

    # one file a run: the analyzer carries va_list states from one file to the next
    def tidy(path):
        known = clean / fingerprint(path)
        if known.exists():
            return ""
        done = subprocess.run(
            ["clang-tidy", "--quiet", "-p", database, path],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )
        found = "\n".join(
            line for line in done.stdout.splitlines() if " error: " in line or " warning: " in line
        )
        if not found and done.returncode == 0:
            known.touch()
        return found or (done.stderr if done.returncode != 0 else "")

    sources = [path for path in c_files(("memory_tracker",)) if path.suffix == ".c"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        findings = [text for text in pool.map(tidy, sources) if text]
    assert not findings, "\n" + "\n".join(findings)
