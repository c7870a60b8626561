"""Where the checkout, the build and the reference are."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# the exact words that let a skip pass where every skip is a failure (CI=true)
NOT_IN_THIS_BUILD = "not in this build: "


def bin_dir():
    return Path(os.environ.get("MT_BIN_DIR", ROOT / "build/dev/bin")).resolve()


def variants_dir():
    return Path(os.environ.get("MT_TEST_BIN_DIR", bin_dir().parent / "tests")).resolve()


def single_threaded_build():
    """The build that programs without threads come from, where only threads are looked at, or None."""
    build = os.environ.get("MT_SINGLE_THREADED_BUILD")
    return Path(build).resolve() if build else None


def sanitizer():
    """What the build under test is sanitized for, such as "thread"; "" for none."""
    return os.environ.get("MT_SANITIZE", "")


def not_in_this_build(reason):
    """Skips the running test because it has no meaning in this kind of build."""
    pytest.skip(NOT_IN_THIS_BUILD + reason)


def reference_python():
    """The interpreter that has the FastAPI reference, as script/test makes it, or None."""
    path = Path(os.environ.get("MT_REFERENCE_PYTHON", ROOT / "build/venv/bin/python"))
    return path if path.exists() else None


def clean_environment(extra=None):
    """This process's environment without settings of Memory Tracker, plus extra."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MEMORY_TRACKER_", "DOCDB_")) and name != "MT_TEST_CLOCK_FILE"
    }
    environment["TZ"] = "UTC"
    environment["LC_ALL"] = "C.UTF-8"
    environment.update({name: str(value) for name, value in (extra or {}).items()})
    return environment
