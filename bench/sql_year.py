"""Hourly minimum, mean and maximum by plain SQL over rows: sql_year.py FILE EXPRESSION; prints microseconds."""

import sqlite3
import sys
import time

database = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
question = (f"SELECT timestamp / 3600 * 3600, min({sys.argv[2]}), avg({sys.argv[2]}), max({sys.argv[2]})"
            " FROM memory_log GROUP BY timestamp / 3600")
for _ in range(2):
    begin = time.perf_counter()
    rows = database.execute(question).fetchall()
    took = time.perf_counter() - begin
print(int(took * 1e6), len(rows))
