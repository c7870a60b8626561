"""
A record whose append returned before a request began is in the answer to that request, on every
event loop, however often one tries: a million answers with --kill-points 2200.
"""

import os
import subprocess
import tempfile

import pytest
from support import clean_environment, program_path, sanitizer, scaled

ROUNDS = int(os.environ.get("MT_KILL_POINTS", "100")) * (10 if sanitizer() else 50)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_what_was_acknowledged_is_in_the_next_answer_of_each_loop(start_api, threads):
    rounds = max(100, ROUNDS // 3)
    # where a disk would make each append take ten times as long as all the rest
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        store = f"sqlite:{directory}/memory.db"
        # there is no store before the first append
        api = start_api(store=store, threads=threads)
        done = subprocess.run(
            [program_path("freshness", clock=True), store, str(api.port), str(4 * threads), str(rounds)],
            env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=scaled(60 + rounds / 50), check=False,
        )  # fmt: skip
        assert api.stop() == 0
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{4 * threads * rounds} answers\n"
