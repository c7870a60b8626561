"""memory-sampler under valgrind: no wrong access, no leak, on each of its ways."""

import shutil
import subprocess

import pytest
from support import Home, clean_environment, not_in_this_build, program_path, sanitizer, stored

FOUND = 98


@pytest.fixture
def sample(home):
    """sample(*args) -> exit code of a sampler in which valgrind finds nothing."""
    if sanitizer():
        not_in_this_build("valgrind and sanitizers exclude each other")
    assert shutil.which("valgrind"), "valgrind is needed"
    clock = home.clock(1647033600)

    def run_sample(*args, seconds=0):
        clock.set(1647033600 + seconds)
        done = subprocess.run(
            ["valgrind", "--quiet", f"--error-exitcode={FOUND}", "--leak-check=full",
             "--errors-for-leak-kinds=definite,possible", "--track-fds=no",
             program_path("memory-sampler-shared", clock), *map(str, args)],
            env={**clean_environment(home.environment), **clock.environment}, text=True,
            capture_output=True, timeout=240, check=False)
        assert done.returncode != FOUND and "== " not in done.stderr, done.stderr
        return done.returncode

    return run_sample


def test_it_sees_what_is_wrong(tmp_path):
    """Else a clean run would prove nothing."""
    source = tmp_path / "wrong.c"
    source.write_text("#include <stdlib.h>\nint main(void)\n"
                      "{ char *p = malloc(1); return p[1] == 7 ? 1 : 0; }\n")
    subprocess.run(["cc", "-g", "-o", tmp_path / "wrong", source], check=True)
    done = subprocess.run(["valgrind", "--quiet", f"--error-exitcode={FOUND}", tmp_path / "wrong"],
                          capture_output=True, check=False)
    assert done.returncode == FOUND


def test_print_help_and_mistakes(sample):
    assert sample("--print") == 0
    assert sample("--help") == 0
    assert sample("--pint") == 2
    assert sample("--interval", "0") == 2


def test_store_outbox_and_delivery(home: Home, sample):
    assert sample() == 0
    assert sample(seconds=60) == 0
    home.db.rename(home.path / "kept")
    home.db.write_text("no database " * 50)
    assert sample(seconds=120) == 0
    assert sample(seconds=180) == 0
    assert sample("--spool-limit", "1", seconds=240) == 4
    (home.path / "kept").rename(home.db)
    assert sample(seconds=300) == 0
    assert [r["timestamp"] - 1647033600 for r in stored(home.db)] == [0, 60, 120, 180, 300]
