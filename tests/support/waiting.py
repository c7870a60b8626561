"""Waiting for a condition, never for a time."""

import os
import time


def scaled(seconds):
    """A time limit, longer where the build is slow (sanitizers, valgrind)."""
    return seconds * float(os.environ.get("MT_TIMEOUT_SCALE", "1"))


def wait_until(condition, timeout=30, what="", longest_pause=0.1):
    """Calls condition until it gives something true and returns that; fails after timeout seconds.

    longest_pause is between two calls, where one costs more than most.
    """
    deadline = time.monotonic() + scaled(timeout)
    pause = 0.002
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {scaled(timeout):g} s in vain for {what or condition}")
        time.sleep(pause)
        pause = min(pause * 1.5, longest_pause)
