"""As in a container: process 1, a user without a name, and nothing to write to but the data."""

import json
import os
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest
from support import clean_environment, not_in_this_build, sanitizer, scaled
from support.environment import bin_dir
from support.frozen import unshare

UID = 54321  # nobody in /etc/passwd
TOKEN = "0123456789abcdef0123456789abcdef"

# all is read-only but /mnt, which is the directory $1, with the build $2 in it
SCRIPT = f"""
set -eu
mount --bind "$1" /mnt
mount --bind "$2" /mnt/build
mount -o remount,ro,bind /mnt/build
for directory in /tmp /var/tmp /run /dev/shm; do
    mount -t tmpfs -o ro none "$directory"
done
mount -o remount,ro,bind /
cd /
shift 2
exec setpriv --reuid={UID} --regid={UID} --clear-groups --no-new-privs "$@"
"""


class Bare:
    def __init__(self, path):
        self.path = path
        (path / "build").mkdir()
        os.chown(path, UID, UID)

    def start(self, program, *args, **settings):
        return subprocess.Popen(
            [*unshare(), "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SCRIPT,
             "sh", self.path, bin_dir().parent, f"/mnt/build/{bin_dir().name}/{program}", *args],
            env=clean_environment({f"MEMORY_TRACKER_{name.upper()}": value
                                   for name, value in settings.items()}),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, program, *args, **settings):
        process = self.start(program, *args, **settings)
        output, errors = process.communicate(timeout=scaled(60))
        return process.returncode, output, errors


def child_of(process):
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0])


@pytest.fixture
def bare(tmp_path):
    if unshare() is None or os.geteuid() != 0:
        pytest.skip("no private mount namespace to be had (needs root)")
    if sanitizer():
        not_in_this_build("a sanitizer writes where this has nothing to write to")
    return Bare(tmp_path)


def test_a_minute_goes_from_the_sampler_to_the_api(bare):
    tokens = bare.path / "tokens"
    tokens.write_text(f"h append {TOKEN}\n")
    tokens.chmod(0o400)
    os.chown(tokens, UID, UID)
    api = bare.start("memory-api", listen="127.0.0.1:0,unix:/mnt/api.sock", tokens="/mnt/tokens",
                     store="sqlite:/mnt/memory.db")
    try:
        lines = [api.stdout.readline(), api.stdout.readline()]
        url = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)\n", lines[0])[1]
        assert lines[1] == "listening on unix:/mnt/api.sock\n"
        status = Path(f"/proc/{child_of(api)}/status").read_text()
        assert f"\nUid:\t{UID}\t{UID}\t{UID}\t{UID}\n" in status
        assert re.search(r"^NSpid:.*\t1$", status, re.MULTILINE)

        assert bare.run("memory-sampler", host="h", store=url, store_token=TOKEN,
                        spool="/mnt/spool.db", health_file="/mnt/healthy") == (0, "", "")
        assert bare.run("memory-sampler", "--health-check", health_file="/mnt/healthy")[0] == 0
        assert bare.run("memory-api", "--health-check", listen="unix:/mnt/api.sock") == (0, "", "")
        with urllib.request.urlopen(f"{url}/memory-logs", timeout=scaled(30)) as answer:
            assert len(json.load(answer)) == 1
        status, output, errors = bare.run("memory-tracker", "verify",
                                          store="sqlite:/mnt/memory.db")
        assert status == 0, (output, errors)
        # what is process 1 gets no signal that it does not ask for
        os.kill(child_of(api), signal.SIGTERM)
        assert api.wait(timeout=scaled(30)) == 0
    finally:
        api.kill()
        _, errors = api.communicate(timeout=scaled(30))
    assert " error " not in errors and " warning " not in errors, errors
    assert {path.name for path in bare.path.iterdir()} <= {
        "build", "tokens", "memory.db", "memory.db-journal", "spool.db", "spool.db-journal",
        "spool.db.courier", "healthy"}


def test_the_sampler_as_process_1(bare):
    settings = {"host": "h", "store": "sqlite:/mnt/memory.db", "spool": "/mnt/spool.db"}
    assert bare.run("memory-sampler", **settings) == (0, "", "")
    status, output, errors = bare.run("memory-tracker", "logs", "--json", **{
        "store": settings["store"]})
    assert (status, errors) == (0, "")
    assert len(json.loads(output)) == 1
