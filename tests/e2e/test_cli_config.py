"""memory-tracker config: every value, masked, and where it comes from."""

import json

import pytest

from support import run


def settings(home, *arguments, env=None):
    done = home.run("memory-tracker", "config", "--json", *arguments, env=env)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found, {row["name"]: (row["value"], row["from"]) for row in found["settings"]}


def test_the_four_origins(home):
    file = home.path / "m.conf"
    file.write_text(
        "# a comment\nMEMORY_TRACKER_THREADS=3\nMEMORY_TRACKER_LOG_LEVEL=error\n"
        "MEMORY_TRACKER_LOG_FORMAT=json\n"
    )
    found, values = settings(
        home, "--config", file, "--log-level", "debug", env={"MEMORY_TRACKER_LOG_FORMAT": "text"}
    )
    assert found["file"] == str(file)
    assert found["file_was_read"] is True
    assert values["MEMORY_TRACKER_THREADS"] == ("3", f"{file}:2: MEMORY_TRACKER_THREADS")
    assert values["MEMORY_TRACKER_LOG_FORMAT"] == ("text", "MEMORY_TRACKER_LOG_FORMAT")
    assert values["MEMORY_TRACKER_LOG_LEVEL"] == ("debug", "--log-level")
    assert values["MEMORY_TRACKER_WORKERS"] == ("4", "default")


def test_the_table_is_aligned_and_names_the_file(home):
    file = home.path / "m.conf"
    file.write_text("")
    done = home.run("memory-tracker", "config", "--config", file)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[-3:] == ["", f"Store: {home.store}", f"Configuration file: {file} (read)"]
    header, *rows = lines[:-3]
    value, source = header.index("VALUE"), header.index("FROM")
    _, values = settings(home, "--config", file)
    assert [row[:value].rstrip() for row in rows] == list(values)
    for row in rows:
        expected = values[row[:value].rstrip()]
        assert (row[value:source].rstrip(), row[source:]) == expected


def test_a_secret_file_is_read_and_its_source_named(home):
    secret = home.path / "uri"
    secret.write_text(f"{home.store}\nsecond line\n")
    done = home.run(
        "memory-tracker", "config", "--json",
        env={"MEMORY_TRACKER_STORE": "sqlite:other", "MEMORY_TRACKER_STORE_FILE": secret},
    )
    assert done.returncode == 4
    assert " is given, too; keep one" in done.stderr
    _, values = settings(home, "--store-file", secret)
    assert values["MEMORY_TRACKER_STORE"] == (home.store, "--store-file")


def test_a_bad_file_is_status_4_with_its_line(home):
    file = home.path / "m.conf"
    file.write_text("\nMEMORY_TRACKER_LOG_LEVLE=info\n")
    done = home.run("memory-tracker", "config", "--config", file)
    assert done.returncode == 4
    assert f"{file}:2" in done.stderr
    assert "did you mean MEMORY_TRACKER_LOG_LEVEL?" in done.stderr


SECRET = "hUnter2"

# (option or None for the default store, further environment, what it means)
PLACES = [
    ("mongodb://u:hUnter2%40%3F@h1,H2:27018/?tlsCertificateKeyFilePassword=hUnter2", {},
     "mongodb://h1,h2:27018/memory_tracker"),
    ("mongodb+srv://u:hUnter2@c.example.org/db?collection=c", {},
     "mongodb+srv://c.example.org/db?collection=c"),
    ("https://hUnter2@h/prefix/", {}, "https://h/prefix"),
    ("https://h", {"MEMORY_TRACKER_STORE_TOKEN": "hUnter2"}, "https://h"),
    (None, {"DOCDB_HOST": "h", "DOCDB_PORT": "1", "DOCDB_USER": "u", "DOCDB_SECRET": "hUnter2@?/",
            "DOCDB_OPTIONS": "/test?ssl=true&tlsCertificateKeyFilePassword=hUnter2",
            "DOCDB_DATABASE_NAME": "db", "DOCDB_COLLECTION": "c", "DOCDB_MAX_DATA": "1000000"},
     "mongodb://h:1/db?collection=c"),
]


@pytest.mark.parametrize("store, extra, place", PLACES)
def test_the_place_is_shown_and_no_secret(store, extra, place):
    arguments = ["--store", store] if store else []
    for form in ([], ["--json"]):
        done = run("memory-tracker", "config", *form, *arguments, env=extra)
        assert (done.returncode, done.stderr) == (0, "")
        assert SECRET not in done.stdout
        assert "***" in done.stdout
    assert json.loads(done.stdout)["store"] == place
    for name in extra:
        row = next(row for row in json.loads(done.stdout)["settings"] if row["name"] == name)
        assert row["from"] == name


# every one of them with a secret in it, and what is said
MISTAKES = [
    ({"MEMORY_TRACKER_STORE": "mongodb://u:hUnter2@x@h"}, 4, "a special character in the user or the password"),
    ({"MEMORY_TRACKER_STORE": "mongodb://u:hUnter2?@h"}, 4, "an @ after the hosts"),
    ({"MEMORY_TRACKER_STORE": "mongodb://u:hUnter2@h/?w=0"}, 4, "option w: bad value '0'"),
    ({"MEMORY_TRACKER_STORE": "mongodb://u:hUnter2@h/?tlsInsecure=true"}, 4,
     "set MEMORY_TRACKER_ALLOW_INSECURE_TLS=yes"),
    ({"MEMORY_TRACKER_STORE": "http://hUnter2@h"}, 4, "a token over http:// to another machine"),
    ({"MEMORY_TRACKER_STORE": "mysql://u:hUnter2@h"}, 4, "bad value 'mysql://***@h'"),
    ({"MEMORY_TRACKER_STORE_TOKEN": "hUnter2 x"}, 4, "bad value '***'"),
    ({"DOCDB_HOST": "h", "DOCDB_SECRET": "hUnter2"}, 4, "set DOCDB_USER, too"),
    ({"DOCDB_HOST": "u:hUnter2@h"}, 4, "give HOST or HOST:PORT"),
    ({"DOCDB_OPTIONS": "/test?a=hUnter2 x"}, 4, "bad value '/test?***'"),
    ({"DOCDB_HOTS": "hUnter2"}, 4, "unknown setting DOCDB_HOTS; did you mean DOCDB_HOST?"),
]


@pytest.mark.parametrize("extra, status, said", MISTAKES)
def test_a_mistake_is_told_by_every_program_without_the_secret(extra, status, said):
    commands = [["memory-tracker", "config"], ["memory-tracker", "hosts"],
                ["memory-api", "--listen", "127.0.0.1:0"]]
    for command in commands:
        done = run(*command, env=extra)
        assert done.returncode == status, done.stderr
        assert said in done.stderr
        assert SECRET not in done.stdout + done.stderr


def test_store_wins_over_docdb_and_that_is_told(home):
    done = home.run("memory-tracker", "config", "--json", env={"DOCDB_HOST": "h"})
    assert done.returncode == 0
    assert json.loads(done.stdout)["store"] == home.store
    assert done.stderr.count("\n") == 1
    assert ("warning memory-tracker: both STORE (MEMORY_TRACKER_STORE) and DOCDB_HOST (DOCDB_HOST) "
            "are given: STORE wins") in done.stderr


def test_a_mistake_of_the_command_line_is_status_2():
    done = run("memory-tracker", "config", "--docdb-host", "h", "--docdb-options", "colour=red")
    assert done.returncode == 2
    assert "unknown option 'colour'" in done.stderr
    # what makes it so is still shown
    assert "--docdb-options" in done.stdout
