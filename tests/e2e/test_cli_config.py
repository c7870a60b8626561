"""memory-tracker config: every value, masked, and where it comes from."""

import json


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
    assert "STORE is given twice" in done.stderr
    _, values = settings(home, "--store-file", secret)
    assert values["MEMORY_TRACKER_STORE"] == (home.store, "--store-file")


def test_a_bad_file_is_status_4_with_its_line(home):
    file = home.path / "m.conf"
    file.write_text("\nMEMORY_TRACKER_LOG_LEVLE=info\n")
    done = home.run("memory-tracker", "config", "--config", file)
    assert done.returncode == 4
    assert f"{file}:2" in done.stderr
    assert "did you mean MEMORY_TRACKER_LOG_LEVEL?" in done.stderr
