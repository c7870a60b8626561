"""memory-tracker beside other programs: samplers that go on, writers that hold the lock, stores it may only read."""

import re
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor

from support import clean_environment, program_path

SUMMARY = "timestamp,total,free,used\n"
START = 1647033600


def test_a_store_that_may_only_be_read(home):
    home.import_csv(SUMMARY + "".join(f"{START + 60 * i},8,4,4\n" for i in range(100)))
    home.db.chmod(0o444)
    before = {path.name: path.stat().st_size for path in home.path.iterdir()}
    for arguments, expected in [
        (["logs"], 11),
        (["logs", "--limit", "all"], 101),
        (["hosts"], 2),
        (["export"], 101),
        (["verify"], 3),
        (["verify", "--deep"], 3),
    ]:
        done = home.as_nobody(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments
        assert done.stdout.count("\n") == expected
    after = {path.name: path.stat().st_size for path in home.path.iterdir()}
    assert after.pop("memory-tracker") > 0
    assert after == before


def test_an_import_into_a_store_that_may_only_be_read(home):
    home.import_csv(SUMMARY + "60,8,4,4\n")
    before = home.db.read_bytes()
    home.db.chmod(0o444)
    (home.path / "import.csv").write_text(SUMMARY + "120,8,4,4\n")
    (home.path / "import.csv").chmod(0o444)
    done = home.as_nobody("import", str(home.path / "import.csv"))
    assert done.returncode in (3, 4)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert str(home.db) in done.stderr
    assert home.db.read_bytes() == before


def test_a_writer_that_does_not_let_go(home):
    """Reading waits for a bounded time, then says so in one line."""
    home.import_csv(SUMMARY + "60,8,4,4\n")
    names = ["logs", "hosts", "export", "verify"]
    db = sqlite3.connect(home.db, isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    with ThreadPoolExecutor(len(names)) as pool:
        waited = list(pool.map(lambda name: home.run("memory-tracker", name), names))
    db.execute("ROLLBACK")
    db.close()
    for name, done in zip(names, waited):
        assert done.returncode == 3, name
        assert done.stdout == ""
        assert re.fullmatch(r"\S+Z error memory-tracker: store locked: .*\n", done.stderr)
        assert home.run("memory-tracker", name).returncode == 0


def test_samples_arrive_while_a_history_is_imported(home):
    file = home.path / "history.csv"
    with file.open("w", encoding="ascii") as out:
        out.write("host," + SUMMARY)
        out.writelines(f"old,{START + 60 * i},8192,4000,4192\n" for i in range(20000))
    samples = 0
    with subprocess.Popen(
        [program_path("memory-tracker"), "import", file],
        env=clean_environment(home.environment), stdout=subprocess.PIPE, text=True,
    ) as process:
        while process.poll() is None or samples < 3:
            clock = home.clock(START + 60 * samples)
            done = home.run("memory-sampler", "--host", "live", clock=clock)
            assert (done.returncode, done.stderr) == (0, "")
            samples += 1
        assert process.communicate()[0].startswith("imported 20000 records (0 repeats")
    hosts = home.run("memory-tracker", "hosts").stdout
    assert re.search(rf"^live +{samples} ", hosts, re.MULTILINE), hosts
    assert re.search(r"^old +20000 ", hosts, re.MULTILINE), hosts
    assert not home.spool.exists()
