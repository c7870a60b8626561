"""Fixtures of all tests that run the real programs, and what a skipped test means."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from support import Api, Home
from support.environment import NOT_IN_THIS_BUILD
from support.mongodb import ferret, mongodb_home, start_ferret  # noqa: F401

# what ctest reads as "skipped" (SKIP_RETURN_CODE in tests/CMakeLists.txt)
SKIPPED_EXIT_CODE = 77


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Gives this run a temporary folder of its own, which is removed unless a test failed.

    The folder that pytest would take is shared by all its runs, and each that begins closes it to
    other users: to a program that a test of another run has just started as nobody, too.
    """
    if config.option.basetemp is None:
        config.own_folder = Path(tempfile.mkdtemp(prefix="mt-"))
        config.option.basetemp = str(config.own_folder / "t")


def pytest_unconfigure(config):
    own = getattr(config, "own_folder", None)
    session = config.pluginmanager.get_plugin("session")
    if own is not None and (session is None or not session.testsfailed):
        shutil.rmtree(own, ignore_errors=True)


@pytest.fixture
def home(tmp_path):
    """A Home: an empty directory with names for a store and an outbox."""
    return Home(tmp_path)


@pytest.fixture
def start_api(home):
    """start_api(store=None, clock=None, arguments=(), **settings) -> Api that accepts connections.

    settings are names of Memory Tracker's settings in lower case, such as threads=2. Without
    listen= it takes a free port of 127.0.0.1. wrapper is a command that executes it. What still
    runs at the end of the test is stopped and has to exit with its expected_exit (0; None: any).
    """
    started = []

    def start(store=None, clock=None, arguments=(), ready=True, wrapper=(), **settings):
        settings = {"store": store or home.store, "listen": "127.0.0.1:0", **settings}
        environment = {f"MEMORY_TRACKER_{name.upper()}": value for name, value in settings.items()}
        directory = home.path / f"api{len(started)}"
        directory.mkdir()
        api = Api(directory, arguments, environment, clock, wrapper)
        started.append(api)
        if ready:
            api.wait_ready(len(str(settings["listen"]).split(",")))
        return api

    yield start
    failures = []
    for api in started:
        stopped_here = api.process.poll() is None
        code = api.stop()
        if stopped_here and api.expected_exit is not None and code != api.expected_exit:
            failures.append(f"exit code {code}, log:\n{api.log()}")
    assert not failures, "\n".join(failures)


def pytest_sessionfinish(session, exitstatus):
    """A file whose tests were all skipped is a skipped suite; with CI=true any such skip fails."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus != pytest.ExitCode.OK or reporter is None:
        return
    reasons = [str(report.longrepr[2]) for report in reporter.stats.get("skipped", [])]
    unwanted = [reason for reason in reasons if NOT_IN_THIS_BUILD not in reason]
    if unwanted and os.environ.get("CI") == "true":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif reasons and not reporter.stats.get("passed"):
        session.exitstatus = SKIPPED_EXIT_CODE
