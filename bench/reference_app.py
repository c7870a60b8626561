"""GET /memory-logs as one writes it with FastAPI: rows of SQLite, a model, a response.

gunicorn runs it, see servers.py. REFERENCE_DATABASE names a file with the table
memory_log(timestamp INTEGER PRIMARY KEY, total, free, used).
"""

import os
import sqlite3
from typing import List, Optional

from fastapi import FastAPI, Query
from pydantic import BaseModel

app = FastAPI()
database = sqlite3.connect(f"file:{os.environ['REFERENCE_DATABASE']}?mode=ro", uri=True, check_same_thread=False)
database.row_factory = sqlite3.Row


class MemoryLog(BaseModel):
    timestamp: int
    total: int
    free: int
    used: int


@app.get("/memory-logs", response_model=List[MemoryLog])
async def memory_logs(
    limit: Optional[int] = Query(10, gt=0, lt=100000),
    skip: Optional[int] = Query(None, gt=0),
):
    rows = database.execute(
        "SELECT timestamp, total, free, used FROM memory_log ORDER BY timestamp DESC LIMIT ? OFFSET ?",
        (limit, skip or 0),
    ).fetchall()
    return [dict(row) for row in reversed(rows)]
