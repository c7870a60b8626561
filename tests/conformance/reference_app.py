"""GET /memory-logs as FastAPI answers it: the application, and a loop that puts questions to it.

Run with the Python that has the reference's packages. `ask` reads one query string a line, in hex, and writes for
each one line of JSON: [status, body]. `serve` serves the application by uvicorn on a free port, which it writes,
until its input ends. Not a test itself, and nothing of the program is in it.
"""

import asyncio
import csv
import json
import socket
import sys
import threading
from pathlib import Path
from typing import Optional

import fastapi
import pydantic
import starlette
import uvicorn
from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse

EXPECTED = {fastapi: "0.110.0", starlette: "0.36.3", pydantic: "2.6.3", uvicorn: "0.27.1"}

with (Path(__file__).parent / "rows.csv").open(encoding="ascii") as file:
    ROWS = [{name: int(cell) for name, cell in row.items()} for row in csv.DictReader(file)]

# both spellings of the path are routes of their own; other slashes are no path at all
app = FastAPI(redirect_slashes=False)


@app.get("/memory-logs")
@app.get("/memory-logs/")
def memory_logs(
    limit: Optional[int] = Query(10, gt=0, lt=100000),
    skip: Optional[int] = Query(None, gt=0),
):
    rows = ROWS[: len(ROWS) - skip if skip < len(ROWS) else 0] if skip else ROWS
    return JSONResponse(rows[-limit:])


async def ask(query, path="/memory-logs"):
    """The status and the body of one request, with no server in between."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    status, body = 0, bytearray()

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            body.extend(message.get("body", b""))

    await app(scope, receive, send)
    return status, bytes(body)


async def ask_lines():
    for line in sys.stdin:
        status, body = await ask(bytes.fromhex(line.strip()))
        print(json.dumps([status, body.decode("utf-8")]), flush=True)


def serve():
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http="httptools", log_level="warning"))

    def stop_at_end_of_input():
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=stop_at_end_of_input, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    server.run([listener])


if __name__ == "__main__":
    wrong = {m.__name__: m.__version__ for m, v in EXPECTED.items() if m.__version__ != v}
    if wrong:
        sys.exit(f"not the reference's versions: {wrong}")
    if sys.argv[1] == "serve":
        serve()
    else:
        asyncio.run(ask_lines())
