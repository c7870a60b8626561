"""The sampler that one writes in an hour: psutil and sqlite3, durable as SQLite is by default."""

import sqlite3
import sys
import time

import psutil

memory = psutil.virtual_memory()
database = sqlite3.connect(sys.argv[1])
database.execute("CREATE TABLE IF NOT EXISTS memory_log(timestamp INTEGER PRIMARY KEY, total, free, used)")
with database:
    database.execute(
        "INSERT OR IGNORE INTO memory_log VALUES(?, ?, ?, ?)",
        (int(time.time()), memory.total >> 20, memory.available >> 20, (memory.total - memory.available) >> 20),
    )
