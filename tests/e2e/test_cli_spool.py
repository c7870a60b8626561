"""memory-tracker spool: what waits, delivering it now, and what a store refused."""

import json
import re
import shutil
import sqlite3
import textwrap

import pytest
from support import Clock, assert_sound, connect, run, stored

T = 1647033600  # 2022-03-11T21:20:00Z


@pytest.fixture
def outbox(home):
    """A Home in whose outbox two records wait for its store, which is broken, and one for another."""
    home.clock_now = home.clock(T)
    for minute, store in enumerate([home.store, home.store, f"sqlite:{home.path}/no/ne/m.db"]):
        home.clock_now.set(T + 60 * minute)
        home.db.write_text("this is no database " * 50)
        done = home.run("memory-sampler", "--store", store, "--host", "h", clock=home.clock_now)
        assert done.returncode == 0 and "waits in the outbox" in done.stderr
    home.db.unlink()
    home.clock_now.set(T + 3600)
    return home


def spool(home, *args, **options):
    return home.run("memory-tracker", "spool", *args, clock=home.clock_now, **options)


def plain(home, text):
    """Log lines without time and program; the test's directory as HOME."""
    text = re.sub(r"^\S+Z (\w+) memory-tracker: ", r"\1 ", text, flags=re.MULTILINE)
    return re.sub(r" +", " ", text.replace(str(home.path), "HOME"))


def test_the_list(outbox):
    done = spool(outbox)
    assert (done.returncode, done.stderr) == (0, "")
    assert plain(outbox, done.stdout) == textwrap.dedent("""\
        DESTINATION WAITING OLDEST NEWEST AGE SET ASIDE
        sqlite:HOME/memory.db 2 2022-03-11T21:20:00Z 2022-03-11T21:21:00Z 1h00min 0
        sqlite:HOME/no/ne/m.db 1 2022-03-11T21:22:00Z 2022-03-11T21:22:00Z 58min 0
        outbox HOME/spool.db: 3 waiting of at most 43200, 0 set aside, 0 dropped; no courier is at work
        """)


def test_the_list_as_json(outbox):
    done = spool(outbox, "--json", "--spool-limit", "7")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "outbox": str(outbox.spool), "waiting": 3, "limit": 7, "set_aside": 0, "dropped": 0,
        "courier": False,
        "destinations": [
            {"destination": outbox.store, "waiting": 2, "set_aside": 0, "oldest": T,
             "newest": T + 60, "age_s": 3600},
            {"destination": f"sqlite:{outbox.path}/no/ne/m.db", "waiting": 1, "set_aside": 0,
             "oldest": T + 120, "newest": T + 120, "age_s": 3480},
        ],
    }


def test_looking_changes_nothing(outbox):
    before = outbox.spool.read_bytes()
    for args in ([], ["--json"], ["rejected"], ["rejected", "--json"]):
        assert spool(outbox, *args).returncode == 0
    assert outbox.spool.read_bytes() == before


def test_flush_delivers_what_waits_for_the_store_in_use(outbox):
    done = spool(outbox, "flush")
    assert done.returncode == 1
    assert plain(outbox, done.stdout) == "2 delivered to sqlite:HOME/memory.db\n"
    assert plain(outbox, done.stderr) == (
        "error failed: 1 waiting for sqlite:HOME/no/ne/m.db, not for the store in use; "
        "`memory-tracker spool flush --from 'sqlite:HOME/no/ne/m.db'` sends them to it\n")
    assert [r["timestamp"] for r in stored(outbox.db)] == [T, T + 60]
    done = spool(outbox, "flush", "--from", f"sqlite:{outbox.path}/no/ne/m.db")
    assert (done.returncode, done.stderr) == (0, "")
    assert plain(outbox, done.stdout) == "1 delivered to sqlite:HOME/memory.db\n"
    assert [r["timestamp"] for r in stored(outbox.db)] == [T, T + 60, T + 120]
    done = spool(outbox, "flush")
    assert (done.returncode, done.stdout) == (0, f"0 delivered to {outbox.store}\n")
    assert plain(outbox, spool(outbox).stdout) == (
        "outbox HOME/spool.db: 0 waiting of at most 43200, 0 set aside, 0 dropped; "
        "no courier is at work\n")
    assert_sound(outbox.spool)


def test_flush_to_the_former_store(outbox):
    (outbox.path / "no/ne").mkdir(parents=True)
    done = spool(outbox, "flush", "--store", f"sqlite:{outbox.path}/no/ne/m.db")
    assert plain(outbox, done.stdout) == "1 delivered to sqlite:HOME/no/ne/m.db\n"
    # what waits for the one in the settings is another matter, but waits
    assert done.returncode == 1
    assert [r["timestamp"] for r in stored(outbox.path / "no/ne/m.db")] == [T + 120]


def test_a_store_that_is_away(outbox):
    done = spool(outbox, "flush", "--store", f"sqlite:{outbox.path}/no/ne/m.db")
    assert (done.returncode, done.stdout) == (3, "")
    message = plain(outbox, done.stderr)
    assert message.startswith("error store missing: ") and message.endswith("; 1 waiting\n")


def test_nothing_waits_where_there_is_no_outbox(home):
    home.clock_now = Clock(home.path / "clock", T)
    said = f"nothing waits: there is no outbox {home.spool}\n"
    for args, expected in [
            ([], said), (["flush"], said), (["rejected"], "nothing is set aside\n"),
            (["rejected", "--json"], "[]\n"), (["rejected", "--retry"], "0 waiting again\n"),
            (["rejected", "--discard"], "0 discarded\n")]:
        done = spool(home, *args)
        assert (done.returncode, done.stdout, done.stderr) == (0, expected, ""), args
    assert json.loads(spool(home, "--json").stdout)["destinations"] == []
    assert not home.spool.exists() and not home.db.exists()


def set_one_aside(outbox):
    with connect(outbox.spool) as connection:
        connection.execute("UPDATE waiting SET timestamp = -5 WHERE timestamp = ?", (T,))
        connection.execute("DELETE FROM waiting WHERE timestamp = ?", (T + 120,))
    done = spool(outbox, "flush")
    assert done.returncode == 0
    assert done.stdout == f"1 delivered to {outbox.store}, 1 set aside\n"
    assert "second -5 of host h is set aside: timestamp -5: must be" in done.stderr


def test_what_was_set_aside_can_wait_again(outbox):
    set_one_aside(outbox)
    lines = plain(outbox, spool(outbox, "rejected").stdout).splitlines()
    assert lines[0] == "TIME HOST DESTINATION REASON"
    assert lines[1].startswith("? h sqlite:HOME/memory.db timestamp -5: must be from 0 to")
    assert len(lines) == 2
    (reject,) = json.loads(spool(outbox, "rejected", "--json").stdout)
    assert sorted(reject) == ["destination", "host", "id", "reason", "timestamp"]
    assert plain(outbox, spool(outbox).stdout).splitlines()[1] == (
        "sqlite:HOME/memory.db 0 - - - 1")
    with connect(outbox.spool) as connection:
        connection.execute("UPDATE rejected SET timestamp = ?", (T,))
    assert spool(outbox, "rejected", "--retry").stdout == "1 waiting again\n"
    done = spool(outbox, "flush")
    assert (done.returncode, done.stdout) == (0, f"1 delivered to {outbox.store}\n")
    assert [r["timestamp"] for r in stored(outbox.db)] == [T, T + 60]


def test_what_was_set_aside_can_be_discarded(outbox):
    set_one_aside(outbox)
    assert spool(outbox, "rejected", "--discard").stdout == "1 discarded\n"
    assert spool(outbox, "rejected").stdout == "nothing is set aside\n"
    assert json.loads(spool(outbox, "--json").stdout)["set_aside"] == 0


@pytest.mark.parametrize("arguments, text", [
    (["lfush"], "unknown action 'lfush'; give flush, rejected or nothing"),
    (["flush", "x"], "unexpected argument 'x'"),
    (["--retry"], "--retry does not go with spool"),
    (["flush", "--json"], "--json does not go with spool flush"),
    (["rejected", "--from", "x"], "--from does not go with spool rejected"),
    (["rejected", "--retry", "--discard"], "--retry and --discard exclude each other; keep one"),
    (["flush", "--from", "sqlite:/nowhere.db"],
     "--from: nothing waits for 'sqlite:/nowhere.db'; memory-tracker spool lists what waits"),
    # neither does it show what somebody typed by mistake
    (["flush", "--from", "mongodb://u:hidden@h/db"], "--from: nothing waits for 'mongodb://h/db'"),
])
def test_wrong_use(outbox, arguments, text):
    before = outbox.spool.read_bytes()
    done = spool(outbox, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    message = plain(outbox, done.stderr)
    assert message.startswith("error " + text) and "hidden" not in message
    assert message.endswith("; see memory-tracker spool --help\n")
    assert outbox.spool.read_bytes() == before


def test_a_broken_outbox(outbox):
    outbox.spool.write_text("no outbox " * 100)
    for args in ([], ["flush"], ["rejected"], ["rejected", "--retry"]):
        done = spool(outbox, *args)
        assert (done.returncode, done.stdout) == (4, ""), args
        assert "not a database" in done.stderr and str(outbox.spool) in done.stderr


def test_nothing_in_the_outbox_steers_a_terminal(outbox):
    with connect(outbox.spool) as connection:
        connection.execute("UPDATE waiting SET destination = 'sqlite:/\x1b[31m\nä\x9b2J'")
        connection.commit()
    done = spool(outbox)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].startswith("sqlite:/?[31m?ä?2J ")
    assert len(done.stdout.splitlines()) == 3
    assert json.loads(spool(outbox, "--json").stdout)["destinations"][0]["waiting"] == 3


def test_the_summary_of_a_copy_is_that_of_the_outbox(outbox):
    """No lock and no sampler are needed to look into a copy."""
    copy = outbox.path / "copy.db"
    shutil.copy(outbox.spool, copy)
    copy.chmod(0o440)
    done = run("memory-tracker", "spool", "--json", "--spool", copy)
    assert json.loads(done.stdout)["waiting"] == 3
    assert sqlite3.connect(copy).execute("SELECT count(*) FROM waiting").fetchone() == (3,)
