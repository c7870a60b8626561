"""Random questions to the program and to FastAPI: status and body equal byte for byte."""

import json
import os
import random
import socket
import subprocess
from pathlib import Path

import pytest

from questions import questions
from support import http_exchange, reference_python, scaled

HERE = Path(__file__).parent
NOW = 1647039541


@pytest.fixture
def start_reference():
    """start_reference("ask" or "serve") -> a process of reference_app.py."""
    python = reference_python()
    if python is None:
        pytest.skip("MT_REFERENCE_PYTHON names no Python that has FastAPI; script/test makes one")
    started = []

    def start(how):
        process = subprocess.Popen(
            [str(python), str(HERE / "reference_app.py"), how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.stdin.close()
        process.stdout.close()
        assert process.wait(scaled(30)) == 0


@pytest.fixture
def random_questions(capsys):
    """random_questions(count) -> as many different query strings; says how to have them again."""
    seed = int(os.environ.get("MT_DIFFERENTIAL_SEED", random.SystemRandom().randrange(2**32)))
    with (HERE / "memory-logs.jsonl").open(encoding="utf-8") as file:
        known = [json.loads(line)["query"].encode("latin-1") for line in file]

    def make(count):
        with capsys.disabled():
            print(f"\nMT_DIFFERENTIAL_SEED={seed} MT_DIFFERENTIAL_QUERIES={count}")
        return questions(random.Random(seed), count, known)

    return make


@pytest.fixture
def api(home, start_api):
    home.import_csv((HERE / "rows.csv").read_text())
    # the reference may take its time to start
    return start_api(clock=home.clock(NOW), client_timeout=3600)


def test_random_questions_have_the_reference_answers(api, start_reference, random_questions):
    count = int(os.environ.get("MT_DIFFERENTIAL_QUERIES", "5000"))
    reference = start_reference("ask")
    statuses = set()
    with api.connect() as connection:
        for query in random_questions(count):
            # a server ends the target at a `#`, and here none stands before the reference
            reference.stdin.write(query.partition(b"#")[0].hex().encode() + b"\n")
            reference.stdin.flush()
            status, body = json.loads(reference.stdout.readline())
            answer = http_exchange(connection, b"/memory-logs?" + query)
            assert (answer.status, answer.text) == (status, body), query
            statuses.add(answer.status)
    assert statuses == {200, 422}


PATHS = [
    b"/memory-logs", b"/memory-logs/", b"/memory%2dlogs", b"/memory%2Dlogs%2F", b"/%6demory-logs/",
    b"http://localhost/memory-logs", b"http://localhost:8000/memory-logs/", b"/memory-logs#", b"/memory-logs/#?limit=0",
    b"/memory-logs%3Flimit=0", b"/memory%252Dlogs", b"//memory-logs", b"/memory-logs//", b"/./memory-logs", b"/memory+logs",
    b"/memory-logs%00", b"/memory-logs;x", b"/Memory-logs", b"/memory-logs%", b"/memory-logs%2", b"/x/../memory-logs",
]


def test_the_reference_behind_its_own_server_agrees(api, start_reference, random_questions):
    """uvicorn's reading of targets, which takes printable ASCII only. Its 404 has other words than ours."""
    reference = start_reference("serve")
    port = int(reference.stdout.readline())
    targets = [path + query for path in PATHS for query in (b"", b"?", b"?limit=1", b"?limit=0&skip=x")]
    targets += [b"/memory-logs/?" + query for query in random_questions(1000) if query.isascii()]
    statuses = set()
    with api.connect() as ours, socket.create_connection(("127.0.0.1", port), scaled(30)) as theirs:
        for target in targets:
            expected = http_exchange(theirs, target)
            answer = http_exchange(ours, target)
            assert answer.status == expected.status, target
            assert expected.status == 404 or answer.body == expected.body, target
            statuses.add(answer.status)
    assert statuses == {200, 404, 422}
