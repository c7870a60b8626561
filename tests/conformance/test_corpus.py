"""The corpus over real sockets: status and body equal byte for byte, on both paths."""

import json
from pathlib import Path

import pytest

from support import http_exchange

HERE = Path(__file__).parent
# the second after the last record of the history, so that no clock has a say
NOW = 1647039541


def corpus():
    with (HERE / "memory-logs.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(params=["sqlite", "mongodb"])
def api(request, home, start_api):
    if request.param == "mongodb":
        request.getfixturevalue("mongodb_home")
        assert home.store.startswith("mongodb://")
    home.import_csv((HERE / "rows.csv").read_text())
    return start_api(clock=home.clock(NOW))


@pytest.mark.parametrize("path", [b"/memory-logs", b"/memory-logs/"])
def test_every_answer_is_the_corpus_answer(api, path):
    lines = corpus()
    assert len(lines) == 846
    wrong = []
    with api.connect() as connection:
        for line in lines:
            target = path + b"?" + line["query"].encode("latin-1")
            answer = http_exchange(connection, target)
            assert answer.headers["content-type"] == "application/json"
            if (answer.status, answer.body) != (line["status"], line["body"].encode()):
                wrong.append((target, answer.status, answer.body[:300]))
    assert not wrong, f"{len(wrong)} of {len(lines)} differ, such as {wrong[:3]}"


def test_no_question_mark_is_an_empty_query(api):
    first = corpus()[0]
    assert first["query"] == ""
    for path in "/memory-logs", "/memory-logs/":
        assert api.get(path).text == first["body"]
