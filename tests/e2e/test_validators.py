"""ETag, If-None-Match, Cache-Control, Vary and gzip of GET /memory-logs, by sockets and by curl."""

import gzip
import json
import random
import subprocess
import zlib

import pytest

from support import http_exchange
from support.clients import fill
from support.waiting import wait_until

HOUR = 3600
DAY = 86400
NOW = 1647039541
GZIP = {"Accept-Encoding": "gzip"}

# in the window, in the window once it has grown, and from the store each time
PAGES = ["", "?limit=1", "?limit=600&skip=7", "?limit=5000", "?skip=999999999999", "?limit=10&skip=20000"]


def rows(*numbers):
    lines = "".join(f"{NOW - HOUR + n},8192,{n % 8192},{8192 - n % 8192}\n" for n in numbers)
    return f"timestamp,total,free,used\n{lines}"


def assert_validated(answer, status=200):
    assert answer.status == status, answer.head
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["vary"].lower() == "accept-encoding"
    tag = answer.headers["etag"]
    # of packed bytes, which depend on how the window is cut, it promises the content only
    opaque = tag.removeprefix("W/")
    assert opaque[0] == opaque[-1] == '"' and len(opaque) > 10
    assert tag.startswith("W/") == opaque.endswith('-gzip"')
    return tag


@pytest.fixture
def api(home, start_api):
    fill(home, 30_000)
    return start_api(threads=2)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_one_tag_wherever_it_comes_from(home, start_api, api, page):
    target = f"/memory-logs{page}"
    first = api.get(target)
    tag = assert_validated(first)
    # too little for the window to grow, on loops of its own, and after a restart
    other = start_api(threads=1, window_memory="1MiB")
    for _ in range(20):
        for one in api, other:
            answer = one.get(target)
            assert assert_validated(answer) == tag
            assert answer.body == first.body
    head = api.get(target, "HEAD")
    assert assert_validated(head) == tag
    assert head.body == b""
    assert head.headers["content-length"] == str(len(first.body))


@pytest.mark.parametrize("page", PAGES)
def test_who_has_it_already_gets_no_body(api, page):
    target = f"/memory-logs{page}"
    tag = assert_validated(api.get(target))
    with api.connect() as connection:
        for value in tag, f"W/{tag}", f'"a", {tag} , W/"b"', "*":
            for method in "GET", "HEAD":
                answer = http_exchange(connection, target, method, {"If-None-Match": value})
                assert assert_validated(answer, 304) == tag
                assert answer.body == b""
                for name in "content-type", "content-encoding", "transfer-encoding":
                    assert name not in answer.headers
        # the connection is as good as before
        for value in '"other"', tag[:-1], tag.strip('"'), "":
            answer = http_exchange(connection, target, headers={"If-None-Match": value})
            assert assert_validated(answer) == tag
            assert len(answer.body) == int(answer.headers["content-length"])
        old = {"If-Modified-Since": "Sun, 06 Nov 2044 08:49:37 GMT"}
        assert http_exchange(connection, target, headers=old).status == 200


def test_other_answers_are_not_validated(api):
    for target in "/memory-logs?limit=0", "/healthz", "/readyz", "/nothing":
        answer = api.get(target, headers={"If-None-Match": "*", **GZIP})
        assert answer.status in (200, 404, 422)
        assert answer.headers["cache-control"] == "no-store"
        for name in "etag", "content-encoding", "last-modified", "accept-ranges":
            assert name not in answer.headers, target
    refused = api.get("/memory-logs", "POST", headers={"If-None-Match": "*"})
    assert (refused.status, refused.headers["cache-control"]) == (405, "no-store")


@pytest.mark.parametrize("page", PAGES)
def test_odd_conditions(api, page):
    """As RFC 9110 has it, or where it leaves that open the whole answer."""
    target = f"/memory-logs{page}"
    plain = api.get(target)
    tag = assert_validated(plain)
    others = ", ".join(f'"{n:016x}-a", W/"{n:016x}-a-gzip"' for n in range(2000))
    with api.connect() as connection:
        for headers, status in [
            ({"If-None-Match": f"{others}, {tag}"}, 304),
            ({"If-None-Match": f"{others}, , {tag}"}, 304),
            ({"If-None-Match": others}, 200),
            # a list may come in several lines
            ({"If-None-Match": f'"a"\r\nIf-None-Match: {tag}\r\nIf-None-Match: W/"b", "c"'}, 304),
            ({"If-None-Match": f'{tag}\r\nIf-None-Match: "a"'}, 304),
            ({"If-None-Match": '"b"\r\nIf-None-Match: "a"'}, 200),
            ({"If-None-Match": f'{tag}\r\nIf-None-Match: *'}, 200),
            ({"If-None-Match": f"{others}, {tag} x"}, 200),
            # weakly compared, and to be answered before anything is cut out or is older
            ({"If-None-Match": f"W/{tag}", "Range": "bytes=0-9", "If-Range": tag}, 304),
            ({"Range": "bytes=0-9"}, 200),
            ({"Range": "bytes=0-9", "If-Range": tag}, 200),
            ({"Range": "bytes=999999999-"}, 200),
            ({"If-Modified-Since": "Sun, 06 Nov 2044 08:49:37 GMT", "If-None-Match": '"a"'}, 200),
            # what is compressed is another representation
            ({"If-None-Match": f'W/"{tag.strip(chr(34))}-gzip"'}, 200),
        ]:
            for method in "GET", "HEAD":
                answer = http_exchange(connection, target, method, headers)
                assert assert_validated(answer, status) == tag, headers
                assert answer.body == (plain.body if (method, status) == ("GET", 200) else b"")


def test_a_tag_changes_with_the_history(home, start_api):
    home.import_csv(rows(-2 * DAY, 0, 60, 120))
    api = start_api(clock=home.clock(NOW), threads=2)
    seen = {}
    with api.connect() as connection:

        def ask(target, **headers):
            return http_exchange(connection, target, headers=headers)

        tag = ask("/memory-logs").headers["etag"]
        for number in 180, 181, 90, 5, 240:
            home.import_csv(rows(number))
            answer = ask("/memory-logs", **{"If-None-Match": tag})
            assert answer.status == 200
            assert f'"timestamp":{NOW - HOUR + number},' in answer.text
            assert answer.body not in seen.values()
            tag = answer.headers["etag"]
            assert tag not in seen
            seen[tag] = answer.body
            assert ask("/memory-logs", **{"If-None-Match": tag}).status == 304
        # what arrives elsewhere leaves a page as it is
        tag = ask("/memory-logs?limit=1").headers["etag"]
        home.import_csv(rows(7))
        assert ask("/memory-logs?limit=1", **{"If-None-Match": tag}).status == 304
        # and what went is not in the history any more
        tag = ask("/memory-logs?limit=100").headers["etag"]
        done = home.run("memory-tracker", "prune", "--before", str(NOW - DAY))
        assert done.returncode == 0, done.stderr
        answer = ask("/memory-logs?limit=100", **{"If-None-Match": tag})
        assert answer.status == 200
        assert f'"timestamp":{NOW - HOUR - 2 * DAY},' not in answer.text


def test_the_same_question_over_and_over(home, start_api):
    """However it is asked, and whatever was asked before: what is there now."""
    numbers = list(range(0, 1200, 60))
    home.import_csv(rows(*numbers))
    api = start_api(threads=1)
    chance = random.Random(1)
    tags = {}
    lengths = {True: set(), False: set()}
    with api.connect() as connection:
        for turn in range(1500):
            if turn % 50 == 49:
                numbers.append(numbers[-1] + 60)
                # the very same question right before and after
                before = http_exchange(connection, "/memory-logs?limit=1").json()
                home.import_csv(rows(numbers[-1]))
                after = http_exchange(connection, "/memory-logs?limit=1").json()
                assert after[0]["timestamp"] - before[0]["timestamp"] == 60
            # some pages are large enough to be compressed
            limit, skip = chance.choice([(10, 0), (10, 0), (10, 5), (16, 0), (17, 0), (20, 0), (2, 0)])
            target = f"/memory-logs?limit={limit}" + (f"&skip={skip}" if skip else "")
            content = tuple(numbers[:len(numbers) - skip][-limit:])
            method = chance.choice(["GET", "GET", "GET", "HEAD"])
            known = chance.choice([None, None, '"other"', tags.get(content, "*")])
            headers = {**({"If-None-Match": known} if known else {}), **chance.choice([{}, GZIP])}
            answer = http_exchange(connection, target, method, headers)
            packed = answer.headers.get("content-encoding") == "gzip"
            # what is compressed has a tag of its own
            is_same = known == "*" or (known == tags.get(content, "") and "gzip" not in answer.headers["etag"])
            tag = assert_validated(answer, 304 if is_same else 200)
            if "gzip" not in tag:
                assert tags.setdefault(content, tag) == tag
            if is_same or method == "HEAD":
                assert answer.body == b""
                continue
            body = gzip.decompress(answer.body) if packed else answer.body
            if "Accept-Encoding" in headers:
                lengths[packed].add(len(body))
            assert [entry["timestamp"] - NOW + HOUR for entry in json.loads(body)] == list(content)
    assert max(lengths[False]) < 1024 <= min(lengths[True])


def test_the_same_question_when_a_record_of_the_future_has_come(home, start_api):
    clock = home.clock(NOW)
    home.import_csv("timestamp,total,free,used\n" + "".join(f"{NOW + ahead},8,4,4\n" for ahead in (0, 301, 302)))
    api = start_api(clock=clock, threads=1)
    with api.connect() as connection:
        for seconds, last in [(0, 0), (0, 0), (1, 301), (1, 301), (2, 302), (0, 0)]:
            clock.set(NOW + seconds)
            answer = http_exchange(connection, "/memory-logs?limit=1")
            assert answer.json()[0]["timestamp"] == NOW + last, seconds


@pytest.mark.parametrize("page", PAGES)
def test_gzip_is_the_same_bytes_when_unpacked(home, start_api, api, page):
    target = f"/memory-logs{page}"
    plain = api.get(target)
    other = start_api(threads=1, window_memory="1MiB")
    tags = set()
    for one in (api, other) * 3:
        packed = one.get(target, headers=GZIP)
        tags.add(assert_validated(packed))
        if len(plain.body) < 1024:
            assert "content-encoding" not in packed.headers
            assert packed.body == plain.body
            assert tags == {plain.headers["etag"]}
            continue
        assert packed.headers["content-encoding"] == "gzip"
        # one member, and nothing after it
        member = zlib.decompressobj(31)
        assert member.decompress(packed.body) == plain.body
        assert member.eof and member.unused_data == b""
        assert gzip.decompress(packed.body) == plain.body
        head = one.get(target, "HEAD", GZIP)
        assert head.headers["content-encoding"] == "gzip"
        assert assert_validated(head) in tags
        assert head.body == b""
        # another representation, with a tag of its own
        assert plain.headers["etag"] not in tags
        assert one.get(target, headers={"If-None-Match": plain.headers["etag"], **GZIP}).status == 200
        for known in packed.headers["etag"], packed.headers["etag"].removeprefix("W/"):
            again = one.get(target, headers={"If-None-Match": known, **GZIP})
            assert assert_validated(again, 304) in tags
        assert one.get(target, headers={"If-None-Match": packed.headers["etag"]}).status == 200
    assert len(tags) == 1


@pytest.mark.parametrize(
    "accepts, packs",
    [
        ("gzip", True), ("GZIP;q=0.5", True), ("deflate, gzip, br", True), ("*", True), ("gzip;q=1, *;q=0", True),
        ("br\r\nAccept-Encoding: gzip", True), ("gzip;q=0", False), ("identity", False), ("br", False), ("*;q=0", False),
        ("gzip;q=0, *", False), ("identity;q=1, gzip;q=0.2", False), ("", False),
    ],
)  # fmt: skip
def test_gzip_is_for_those_who_accept_it(api, accepts, packs):
    answer = api.get("/memory-logs?limit=100", headers={"Accept-Encoding": accepts})
    assert_validated(answer)
    assert (answer.headers.get("content-encoding") == "gzip") == packs
    body = gzip.decompress(answer.body) if packs else answer.body
    assert len(json.loads(body)) == 100


def test_curl_understands_it(api):
    for page in "limit=3", "limit=777", "limit=29999", "limit=30000":
        url = f"{api.url}/memory-logs?{page}"
        plain = subprocess.run(["curl", "-sS", "--fail", url], check=True, capture_output=True).stdout
        packed = subprocess.run(
            ["curl", "-sS", "--fail", "--compressed", url], check=True, capture_output=True
        )
        assert packed.stdout == plain
        assert len(json.loads(plain)) == int(page.split("=")[1])


def test_a_client_on_each_loop_sees_one_history(home, start_api):
    fill(home, 3000)
    for threads in 1, 2, 4:
        api = start_api(threads=threads)
        connections = [api.connect() for _ in range(4 * threads)]
        tags = set()
        for target in "/memory-logs", "/memory-logs?limit=2000", "/memory-logs?limit=2500":
            for connection in connections:
                tags.add((target, http_exchange(connection, target).headers["etag"]))
        assert len(tags) == 3
        for connection in connections:
            connection.close()
        wait_until(lambda: api.get("/memory-logs?limit=2500").status == 200)
