"""What `cmake --install` puts where, and that bash finds its completion there."""

import os
import shutil
import subprocess

import pytest

from support import clean_environment

BUILD = os.environ.get("MT_BUILD_DIR")

INSTALLED = """\
bin/memory-api
bin/memory-courier
bin/memory-sampler
bin/memory-tracker
lib/memory-tracker/memory-tracker-store-http.so
lib/memory-tracker/memory-tracker-store-mongodb.so
share/bash-completion/completions/memory-api
share/bash-completion/completions/memory-courier
share/bash-completion/completions/memory-sampler
share/bash-completion/completions/memory-tracker
share/doc/memory-tracker/examples/cronjobs
share/man/man1/memory-api.1
share/man/man1/memory-courier.1
share/man/man1/memory-sampler.1
share/man/man1/memory-tracker.1
share/man/man5/memory-tracker.conf.5
"""


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    if BUILD is None:
        pytest.skip("MT_BUILD_DIR does not name the build")
    directory = tmp_path_factory.mktemp("prefix")
    done = subprocess.run(
        ["cmake", "--install", BUILD, "--prefix", directory], capture_output=True, text=True,
        check=False, timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return directory


def test_the_files_and_their_modes(prefix):
    found = sorted(path for path in prefix.rglob("*") if path.is_file())
    assert "".join(f"{path.relative_to(prefix)}\n" for path in found) == INSTALLED
    for path in found:
        assert path.stat().st_mode & 0o777 == (0o755 if path.parent.name == "bin" else 0o644)


def complete(prefix, home, *words):
    """What bash offers after words, the last of which is being typed."""
    script = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '_memory_tracker "$1" "${@: -1}" "${@: -2:1}"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    file = prefix / "share/bash-completion/completions" / words[0]
    environment = clean_environment(home.environment)
    environment["PATH"] = f"{prefix / 'bin'}:{environment['PATH']}"
    done = subprocess.run(
        [shutil.which("bash"), "--norc", "-c", script, "bash", file, *words], env=environment,
        capture_output=True, text=True, check=False, cwd=home.path, timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), words
    return sorted(done.stdout.split())


def test_subcommands_options_and_values(prefix, home):
    home.import_csv("host,timestamp,total,free\nweb-1,60,8,4\nweb-2,60,8,4\ndb-1,60,8,4\n")
    tracker = ["memory-tracker"]
    for words, expected in [
        ([*tracker, ""], "--help --version compact config export help hosts import logs prune spool verify"),
        ([*tracker, "e"], "export"),
        ([*tracker, "help", "h"], "help hosts"),
        ([*tracker, "logs", "--l"], "--limit --log-file --log-format --log-level"),
        ([*tracker, "logs", "--us"], "--used"),
        ([*tracker, "logs", "--used", ""], "available free htop procps3 sar"),
        ([*tracker, "logs", "--log-level", "e"], "error"),
        ([*tracker, "logs", "--log-format", "="], "json text"),
        ([*tracker, "logs", "--log-format", "=", "j"], "json"),
        ([*tracker, "logs", "--host", "web"], "web-1 web-2"),
        ([*tracker, "logs", "--json", "--c"], "--config --csv"),
        ([*tracker, "logs", ""], ""),
        ([*tracker, "import", "im"], "import.csv"),
        ([*tracker, "export", "--output", "imp"], "import.csv"),
        ([*tracker, "prune", "--retention", "1"], "10GiB 1GiB 1y"),
        ([*tracker, "spool", ""], "flush rejected"),
        ([*tracker, "spool", "--di"], "--discard"),
        (["memory-courier", "--int"], "--interval"),
        (["memory-api", "--access-log", ""], "json off text"),
        (["memory-api", "--dr"], "--drain-delay"),
        (["memory-sampler", "--int"], "--interval"),
    ]:
        assert " ".join(complete(prefix, home, *words)) == expected, words
