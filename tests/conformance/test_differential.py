"""Random questions to the program and to FastAPI: status and body equal byte for byte."""

import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from questions import questions
from support import http_exchange, reference_python

HERE = Path(__file__).parent
NOW = 1647039541


class Reference:
    """FastAPI in a process of its own."""

    def __init__(self, python):
        self.process = subprocess.Popen(
            [str(python), str(HERE / "reference_app.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, query):
        """The status and the body it answers to a query string."""
        self.process.stdin.write(query.hex().encode() + b"\n")
        self.process.stdin.flush()
        status, body = json.loads(self.process.stdout.readline())
        return status, body.encode("utf-8")

    def close(self):
        self.process.stdin.close()
        return self.process.wait(30)


@pytest.fixture
def reference():
    python = reference_python()
    if python is None:
        pytest.skip("MT_REFERENCE_PYTHON names no Python that has FastAPI; script/test makes one")
    reference = Reference(python)
    yield reference
    assert reference.close() == 0


def known_queries():
    with (HERE / "memory-logs.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line)["query"].encode("latin-1") for line in file]


def test_random_questions_have_the_reference_answers(home, start_api, reference, capsys):
    count = int(os.environ.get("MT_DIFFERENTIAL_QUERIES", "5000"))
    seed = int(os.environ.get("MT_DIFFERENTIAL_SEED", random.SystemRandom().randrange(2**32)))
    with capsys.disabled():
        print(f"\nMT_DIFFERENTIAL_SEED={seed} MT_DIFFERENTIAL_QUERIES={count}")
    home.import_csv((HERE / "rows.csv").read_text())
    api = start_api(clock=home.clock(NOW))
    statuses = set()
    with api.connect() as connection:
        for query in questions(random.Random(seed), count, known_queries()):
            expected = reference.ask(query)
            answer = http_exchange(connection, b"/memory-logs?" + query)
            assert (answer.status, answer.body) == expected, f"seed {seed}, query {query!r}"
            statuses.add(answer.status)
    assert statuses == {200, 422}
