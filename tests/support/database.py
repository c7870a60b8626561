"""Looking into a store with SQLite itself, past the programs under test."""

import contextlib
import sqlite3


@contextlib.contextmanager
def connect(path, timeout=30):
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def stored(path):
    """Every record of a store of which nothing is sealed, a dict each, in the order of (timestamp, host)."""
    with connect(path) as connection:
        connection.row_factory = sqlite3.Row
        tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'block'"
        if connection.execute(tables).fetchone()[0] > 0:
            sealed = connection.execute("SELECT count(*) FROM block").fetchone()[0]
            assert sealed == 0, "days are sealed: memory-tracker export reads them"
        rows = connection.execute(
            "SELECT host.name AS host, memory_log.* FROM memory_log"
            " JOIN host ON host.id = memory_log.host_id ORDER BY timestamp, host.name"
        ).fetchall()
    return [dict(row) for row in rows]


def assert_sound(path):
    with connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
