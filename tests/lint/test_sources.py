"""C sources: formatted, and clean under clang-tidy (.clang-tidy has the exceptions and why)."""

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import ROOT

BUILD = Path(os.environ.get("MT_BUILD_DIR", ROOT / "build/dev"))
FOLDERS = ["memory_tracker", "tests"]


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


def test_clang_tidy(database):
    # one file a run: the analyzer carries va_list states from one file to the next
    def tidy(path):
        done = subprocess.run(
            ["clang-tidy", "--quiet", "-p", database, path],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )
        found = "\n".join(
            line for line in done.stdout.splitlines() if " error: " in line or " warning: " in line
        )
        return found or (done.stderr if done.returncode != 0 else "")

    sources = [path for path in c_files(("memory_tracker",)) if path.suffix == ".c"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        findings = [text for text in pool.map(tidy, sources) if text]
    assert not findings, "\n" + "\n".join(findings)
