"""The sampler under valgrind: no invalid access, no leak, no descriptor left open."""

import subprocess

import pytest

from support import clean_environment, not_in_this_build, sanitizer
from support.environment import test_bin_dir
from support.waiting import scaled

VALGRIND = ["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full",
            "--show-leak-kinds=definite,indirect,possible", "--errors-for-leak-kinds=definite,possible",
            "--track-fds=yes", "--track-origins=yes"]


@pytest.fixture
def sampler(home):
    if sanitizer():
        not_in_this_build("valgrind and sanitizers do not mix")

    def start(*arguments, env=None):
        # the statically linked program would hide its malloc from valgrind
        done = subprocess.run(
            [*VALGRIND, test_bin_dir() / "memory-sampler-shared", *arguments],
            env=clean_environment({**home.environment, **(env or {})}), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=scaled(120), check=False,
        )
        assert done.returncode != 99, done.stderr
        return done

    return start


def test_print(sampler):
    done = sampler("--print")
    assert done.returncode == 0 and '"mem_total":' in done.stdout, done.stderr


def test_first_and_second_record(sampler, home):
    for _ in range(2):
        done = sampler()
        assert done.returncode == 0, done.stderr
    assert 1 <= len(home.records()) <= 2


def test_outbox_and_delivery(sampler, home):
    home.db.write_bytes(b"this is not a database, and long enough to be read as a header" * 20)
    done = sampler()
    assert done.returncode == 0 and "outbox" in done.stderr, done.stderr
    home.db.unlink()
    done = sampler()
    assert done.returncode == 0, done.stderr
    assert len(home.records()) == 2


def test_usage_error(sampler):
    assert sampler("--nonsense").returncode == 2


def test_bad_store(sampler):
    assert sampler(env={"MEMORY_TRACKER_STORE": "nothing:known"}).returncode == 4
