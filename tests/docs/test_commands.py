"""Every command in the documents runs, and prints what it is said to print.

```console blocks hold commands after `$ ` and what they print; `...` stands for anything. They run in
order, in a fresh copy of the sources with the programs in PATH, a history in ./var, and a memory-api
that answers on localhost:8000. A ```sh block says in its fence why it is not run, or where it is typed
(support/documents.py); its syntax is checked.
"""

import os
import shutil
import sqlite3
import subprocess
import time

import pytest

from support import ROOT, clean_environment, program_path, scaled
from support.documents import DOCUMENTS, PLACES, blocks, commands, matches


@pytest.fixture
def sandbox(home, start_api):
    """The directory and environment that the documents' reader has."""
    directory = home.path / "clone"
    ignore = shutil.ignore_patterns("build", "var", ".git", "__pycache__", ".cache")
    shutil.copytree(ROOT, directory, symlinks=True, ignore=ignore)
    (directory / "var").mkdir()
    store = f"sqlite:{directory}/var/memory.db"
    now = int(time.time())
    csv = "timestamp,total,free,used\n" + "".join(
        f"{now - 60 * i},8192,{4000 + i},{4192 - i}\n" for i in range(20, 0, -1))
    (directory / "old.csv").write_text(csv)
    environment = clean_environment({
        "MEMORY_TRACKER_STORE": store,
        "MEMORY_TRACKER_SPOOL": directory / "var/spool.db",
        "DESTDIR": home.path / "root",
        "PATH": f"{home.path}/shims:{program_path('x').parent}:{os.environ['PATH']}",
    })
    if shutil.which("ccache"):
        # what another copy has compiled is the same here
        environment.update(CMAKE_C_COMPILER_LAUNCHER="ccache", CCACHE_BASEDIR=str(directory),
                           CCACHE_NOHASHDIR="1")
    for command in [["memory-tracker", "import", directory / "old.csv"], ["memory-sampler"]]:
        subprocess.run([program_path(command[0]), *command[1:]], env=environment, check=True,
                       capture_output=True)
    shutil.copy(directory / "var/memory.db", directory / "memory.db")
    original = sqlite3.connect(directory / "memory_tracker.db")
    original.execute("CREATE TABLE memory_log(timestamp INTEGER, total INTEGER, free INTEGER, used INTEGER)")
    original.execute("INSERT INTO memory_log VALUES(1647033600, 8192, 4097, 4095)")
    original.commit()
    original.close()
    # the tokens of docs/api.md
    tokens = directory / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text("web1 host:web1 6f0b2c1d8f0e4d5ea7f3c1b2a4958677\n"
                      "collector append 0a1b2c3d4e5f60718293a4b5c6d7e8f9\n")
    api = start_api(store, tokens=tokens)
    environment["MEMORY_TRACKER_LISTEN"] = f"127.0.0.1:{api.port}"
    shims = home.path / "shims"
    shims.mkdir()
    (shims / "curl").write_text(
        f'#!/bin/sh\nexec /usr/bin/curl --connect-to localhost:8000:127.0.0.1:{api.port} "$@"\n')
    (shims / "curl").chmod(0o755)
    return directory, environment


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_run(document, request):
    runnable = [block.text for block in blocks(document)
                if block.language == "console" and not block.place]
    if not runnable:
        return
    directory, environment = request.getfixturevalue("sandbox")
    for text in runnable:
        for command, expected in commands(text):
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command], cwd=directory, env=environment,
                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=scaled(250), check=False,
            )
            assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
            if expected.strip():
                assert matches(expected, done.stdout), f"$ {command}\n{done.stdout}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_blocks_that_do_not_run_say_why(document):
    for block in blocks(document):
        name = f"{document}: ```{block.language} {block.reason}\n{block.text}"
        assert block.language in {"console", "sh", "json", "csv", "text"}, name
        if block.language == "sh":
            assert block.reason, f"why does this not run? {name}"
            subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
        else:
            assert block.place or not block.reason, name
        assert block.place in PLACES or "typed" not in block.reason, name


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_fence_is_one_of_a_block(document):
    fences = [line for line in (ROOT / document).read_text().splitlines() if "```" in line]
    assert len(fences) == 2 * len(blocks(document)), fences


def test_the_wildcard():
    assert matches("a ... c", "a b c\n")
    assert matches("...", "")
    assert not matches("a ... c", "a b d")
    assert not matches("a.c", "abc")
