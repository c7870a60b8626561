"""memory-api on a store that is a server's, while that server is away and when it is back."""

import re
import signal

import pytest
from support import scaled, wait_until
from support.proxy import Proxy, black_hole, cut, pass_on, say, say_after_write

T = 1647033600
IN_MEMORY = re.compile(r"the newest (\d+) records are in memory")


@pytest.fixture
def proxy(ferret):
    with Proxy(ferret.port) as proxy:
        yield proxy


@pytest.fixture
def start(mongodb_home, ferret, proxy, start_api):
    """start(**settings) -> an Api behind the proxy, which has read the history into memory."""

    def start(wait=True, options="", **settings):
        store = mongodb_home.store.replace(f":{ferret.port}/", f":{proxy.port}/")
        api = start_api(store=store + options, **settings)
        if wait:
            wait_until(lambda: IN_MEMORY.search(api.log()), 30, "history in memory")
        return api

    return start


def store_minutes(home, *minutes, host="a"):
    """A record of each minute after T, whose total is as many MiB."""
    lines = [f"{host},{T + 60 * minute},{minute * 1024},0\n" for minute in minutes]
    home.import_csv("host,timestamp,mem_total,mem_available\n" + "".join(lines))


def totals(response):
    assert response.status == 200, response.text
    return [entry["total"] for entry in response.json()]


def wait_for_totals(api, expected):
    """What a store on a server got is in the answers a second later."""
    return wait_until(
        lambda: totals(r := api.get("/memory-logs")) == expected and r, 30, f"totals {expected}"
    )


def assert_away(response):
    assert response.status == 503
    assert response.json() == {"detail": "Service unavailable."}
    assert int(response.headers["retry-after"]) > 0
    assert "age" not in response.headers


def wait_away(api):
    """Waits until /readyz says that the store is away, and returns that answer."""
    return wait_until(lambda: (r := api.get("/readyz")).status == 503 and r, 30, "503 of /readyz")


def wait_back(api):
    wait_until(lambda: api.get("/readyz").status == 200, 30, "200 of /readyz")


def test_memory_answers_while_the_store_is_away(mongodb_home, proxy, start):
    store_minutes(mongodb_home, 1, 2, 3)
    api = start()
    response = api.get("/memory-logs")
    assert totals(response) == [1, 2, 3] and "age" not in response.headers
    proxy.refuse()
    # from the first request on, whether the store is known to be away or not
    response = api.get("/memory-logs?limit=2")
    assert totals(response) == [2, 3]
    assert 0 <= int(response.headers.get("age", 0)) <= 60
    unready = wait_away(api)
    assert 0 <= int(api.get("/memory-logs").headers["age"]) <= 60
    assert unready.json()["status"] == "unavailable"
    assert f"127.0.0.1:{proxy.port}" in unready.json()["reason"]
    assert int(unready.headers["retry-after"]) > 0
    assert totals(api.get("/memory-logs?limit=1&skip=1")) == [2]
    assert totals(api.get("/memory-logs?limit=99999&skip=3")) == []
    assert api.get("/memory-logs?limit=0").status == 422
    assert api.get("/healthz").status == 200
    # as old as what it knows
    wait_until(lambda: int(api.get("/memory-logs").headers["age"]) >= 1, 30, "Age: 1")
    head = api.get("/memory-logs", method="HEAD")
    assert head.status == 200 and int(head.headers["age"]) >= 1 and head.body == b""

    # what arrives meanwhile is there as soon as the store is
    store_minutes(mongodb_home, 4)
    proxy.listen()
    wait_back(api)
    response = api.get("/memory-logs")
    assert totals(response) == [1, 2, 3, 4] and "age" not in response.headers
    lines = [line for line in api.log().splitlines() if "store" in line and "serving" not in line]
    assert [line for line in lines if " warning " in line] == [lines[1]]
    assert "store unavailable: " in lines[1] and lines[2].endswith("the store answers again")
    assert len(lines) == 3


def test_after_the_limit_it_is_silent(mongodb_home, proxy, start):
    store_minutes(mongodb_home, 1)
    api = start(stale_limit=2)
    proxy.refuse()
    ages = []

    def silent():
        response = api.get("/memory-logs")
        if response.status == 200:
            # none for as long as it may still take what it knows for all there is
            ages.append(int(response.headers.get("age", 0)))
        return response if response.status != 200 else None

    assert_away(wait_until(silent, 30, "503"))
    assert ages and ages == sorted(ages) and set(ages) <= {0, 1, 2}
    assert wait_away(api)
    proxy.listen()
    wait_back(api)
    assert totals(api.get("/memory-logs")) == [1]


def test_with_a_limit_of_nothing_memory_never_answers(mongodb_home, proxy, start):
    store_minutes(mongodb_home, 1)
    api = start(stale_limit=0)
    assert totals(api.get("/memory-logs")) == [1]
    proxy.refuse()
    wait_away(api)
    assert_away(api.get("/memory-logs"))


def test_a_store_that_is_away_from_the_start(mongodb_home, proxy, start):
    store_minutes(mongodb_home, 1)
    proxy.refuse()
    api = start(wait=False)
    wait_away(api)
    assert_away(api.get("/memory-logs"))
    proxy.listen()
    wait_back(api)
    assert totals(api.get("/memory-logs")) == [1]


def test_a_store_that_is_there_a_moment_later(mongodb_home, proxy, start_api, ferret):
    """As a container's network is: who asks as soon as the API listens has an answer."""
    store_minutes(mongodb_home, 1)
    proxy.refuse()
    api = start_api(store=mongodb_home.store.replace(f":{ferret.port}/", f":{proxy.port}/"),
                    ready=False)
    wait_until(lambda: "store unavailable: " in api.log(), 30, "the first attempt")
    proxy.listen()
    api.wait_ready(1)
    assert totals(api.get("/memory-logs")) == [1]


def test_an_end_while_the_store_is_awaited(mongodb_home, proxy, start_api, ferret):
    proxy.refuse()
    api = start_api(store=mongodb_home.store.replace(f":{ferret.port}/", f":{proxy.port}/"),
                    ready=False)
    wait_until(lambda: "store unavailable: " in api.log(), 30, "the first attempt")
    assert api.stop() == 0


def test_pushes_make_a_store_that_nobody_made_yet(mongodb_home, start, tmp_path):
    """To wait for it to be there would be to wait for ever: pushes are all that makes it."""
    tokens = tmp_path / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text("any append any-host-token-0123456789\n")
    api = start(wait=False, tokens=tokens)
    assert "holds no history" in wait_away(api).json()["reason"]
    source = tmp_path / "in.csv"
    source.write_text(f"host,timestamp,mem_total,mem_available\na,{T},1024,0\n")
    done = mongodb_home.run("memory-tracker", "import", source,
                            "--store", f"http://any-host-token-0123456789@127.0.0.1:{api.port}")
    assert done.returncode == 0, done
    wait_back(api)
    assert totals(api.get("/memory-logs")) == [1]


def test_a_store_that_swallows_everything(mongodb_home, proxy, start):
    store_minutes(mongodb_home, 1, 2)
    api = start()
    proxy.on("*", act=black_hole)
    response = api.get("/memory-logs")
    assert totals(response) == [1, 2]
    wait_away(api)
    assert int(api.get("/memory-logs").headers["age"]) >= 0
    # once that is known, no request is passed on any more
    silent = len(proxy.seen)
    for _ in range(30):
        assert totals(api.get("/memory-logs")) == [1, 2]
        assert api.get("/readyz").status == 503
    assert len(proxy.seen) - silent < 30
    proxy.clear()
    wait_back(api)
    assert "age" not in api.get("/memory-logs").headers


def test_it_ends_in_time_while_the_store_swallows_everything(mongodb_home, proxy, start):
    store_minutes(mongodb_home, 1)
    api = start()
    proxy.on("*", act=black_hole)
    wait_away(api)
    assert api.stop(signal.SIGTERM, timeout=20) == 0


def test_single_cuts_are_not_seen_from_outside(mongodb_home, proxy, start):
    store_minutes(mongodb_home, 1, 2)
    api = start()
    for _ in range(10):
        proxy.on("find", act=cut, times=1)
        assert totals(api.get("/memory-logs")) == [1, 2]


def test_a_server_that_is_killed_and_started_again(mongodb_home, start_ferret, start_api):
    ferret = start_ferret()
    home = mongodb_home
    home.store = ferret.uri("history")
    store_minutes(home, 1, 3)
    api = start_api()
    wait_until(lambda: IN_MEMORY.search(api.log()), 30, "history in memory")
    ferret.kill()
    assert totals(api.get("/memory-logs")) == [1, 3]
    wait_away(api)
    ferret.start()
    # late, and of another host
    store_minutes(home, 2)
    store_minutes(home, 4, host="b")
    wait_back(api)
    response = wait_for_totals(api, [1, 2, 3, 4])
    assert "age" not in response.headers


def test_late_records_reach_memory(mongodb_home, proxy, start):
    store_minutes(mongodb_home, 1, 5)
    api = start()
    store_minutes(mongodb_home, 3)
    store_minutes(mongodb_home, 5, host="b")
    wait_for_totals(api, [1, 3, 5, 5])
    polled = len(proxy.seen)
    # each look for what is new takes a few messages: these are several looks
    wait_until(lambda: len(proxy.seen) >= polled + 20, 30, "polls")
    proxy.refuse()
    wait_away(api)
    response = api.get("/memory-logs")
    assert totals(response) == [1, 3, 5, 5] and "age" in response.headers


def pose_as_secondary(proxy):
    """From now on the server behind the proxy is one; returns the options of a URI to read from it."""
    here = f"127.0.0.1:{proxy.port}"
    secondary = {"setName": "rs0", "hosts": [here], "me": here, "ismaster": False, "secondary": True}
    proxy.on("isMaster", "ismaster", "hello",
             act=say_after_write(lambda reply: {**reply, **secondary}))
    return "?replicaSet=rs0&readPreference=secondary"


def test_what_only_one_of_two_members_has_yet_is_kept(mongodb_home, proxy, start):
    """One of them tells the place in the order of arrival, the other one the history up to there."""
    store_minutes(mongodb_home, 1, 2, 3)
    options = pose_as_secondary(proxy)

    def without_newest(reply):
        batch = reply["cursor"]["firstBatch"]
        return {**reply, "cursor": {**reply["cursor"], "firstBatch": batch[1:]}}

    polls = []

    def lag(link):
        sort = link.message.command.get("sort")
        polls.extend([sort] if sort == {"arrival_us": 1} else [])
        is_scan = sort == {"_id.t": -1, "_id.h": -1}
        (say_after_write(without_newest) if is_scan else pass_on)(link)

    proxy.on("find", act=lag)
    api = start(options=options)
    assert IN_MEMORY.search(api.log()).group(1) == "2"
    # a poll asks three times at most, and may have begun already
    wait_until(lambda: len(polls) > 9, 30, "polls")
    proxy.refuse()
    assert totals(api.get("/memory-logs")) == [1, 2, 3]


def test_a_member_that_lags_is_no_reason_to_read_all_anew(mongodb_home, proxy, start):
    """The record that the API has come to is not there yet, but on the primary it is."""
    store_minutes(mongodb_home, 1, 2, 3)
    api = start(options=pose_as_secondary(proxy))
    lags = []

    def lag(link):
        command = link.message.command
        asks_the_secondary = command.get("$readPreference", {}).get("mode") == "secondary"
        if len(lags) == 5 or "arrival_us" not in command["filter"] or not asks_the_secondary:
            return pass_on(link)
        lags.append(command)
        empty = {"id": 0, "ns": f"{command['$db']}.{command['find']}", "firstBatch": []}
        return say({"ok": 1.0, "cursor": empty})(link)

    proxy.on("find", act=lag)
    wait_until(lambda: len(lags) == 5, 30, "polls of the member that lags")
    store_minutes(mongodb_home, 4)
    wait_until(lambda: totals(api.get("/memory-logs")) == [1, 2, 3, 4], 30, "the next minute")
    assert len(IN_MEMORY.findall(api.log())) == 1, api.log()


def test_a_history_that_was_pruned_is_read_anew(mongodb_home, ferret, proxy, start):
    store_minutes(mongodb_home, 1, 2)
    api = start()
    with ferret.client() as client:
        client.drop_database(mongodb_home.database)
    store_minutes(mongodb_home, 7)
    wait_until(lambda: len(IN_MEMORY.findall(api.log())) >= 2, 30, "history read anew")
    proxy.refuse()
    assert totals(api.get("/memory-logs")) == [7]
