"""A running memory-api, and talking to it byte for byte."""

import json
import re
import signal
import socket
import subprocess

from .environment import clean_environment
from .programs import program_path
from .waiting import scaled, wait_until


class Response:
    """status, headers (names in lower case; the last of a repeated one), body (bytes)."""

    def __init__(self, head, body):
        lines = head.decode("latin-1").split("\r\n")
        self.version, status, self.reason = (lines[0].split(" ", 2) + [""])[:3]
        self.status = int(status)
        self.head = head
        self.headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        self.body = body

    @property
    def text(self):
        return self.body.decode("utf-8")

    def json(self):
        return json.loads(self.body)


def read_response(stream, method):
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            raise ConnectionError(f"closed after {bytes(head)!r}")
        head += line
    response = Response(bytes(head[:-4]), b"")
    length = response.headers.get("content-length")
    if method != "HEAD" and response.status not in (204, 304):
        response.body = stream.read() if length is None else stream.read(int(length))
    return response


def http_exchange(connection, target, method="GET", headers=None, version="HTTP/1.1"):
    """Sends one request on a connected socket and reads its answer. target: str or raw bytes."""
    target = target.encode("ascii") if isinstance(target, str) else target
    lines = [method.encode() + b" " + target + b" " + version.encode()]
    for name, value in {"Host": "localhost", **(headers or {})}.items():
        lines.append(f"{name}: {value}".encode("latin-1"))
    connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
    with connection.makefile("rb") as stream:
        return read_response(stream, method)


class Api:
    """Started by the fixture start_api, which also stops it."""

    def __init__(self, directory, arguments, environment, clock=None, wrapper=()):
        self.out_path = directory / "api.out"
        self.log_path = directory / "api.log"
        self.addresses = []
        self.expected_exit = 0
        environment = clean_environment(environment)
        if clock is not None:
            environment.update(clock.environment)
        with self.out_path.open("wb") as out, self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*map(str, wrapper), str(program_path("memory-api", clock)), *map(str, arguments)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
            )

    def wait_ready(self, count):
        """Waits until it says that it listens on count addresses."""

        def listening():
            assert self.process.poll() is None, f"memory-api ended: {self.log()}"
            lines = re.findall(r"^listening on (.+)\n", self.out_path.read_text(), re.MULTILINE)
            return lines if len(lines) == count else None

        self.addresses = wait_until(listening, 30, "memory-api to listen")

    @property
    def url(self):
        """The first TCP address, as http://127.0.0.1:PORT."""
        return next(address for address in self.addresses if address.startswith("http://"))

    @property
    def port(self):
        return int(self.url.rsplit(":", 1)[1])

    def connect(self, timeout=30):
        """A socket connected to the first listening address."""
        address = self.addresses[0]
        if address.startswith("unix:"):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(scaled(timeout))
            connection.connect(address[len("unix:"):])
            return connection
        host, port = address[len("http://"):].rsplit(":", 1)
        return socket.create_connection((host.strip("[]"), int(port)), scaled(timeout))

    def get(self, target, method="GET", headers=None):
        """One request on a connection of its own."""
        with self.connect() as connection:
            return http_exchange(
                connection, target, method, {"Connection": "close", **(headers or {})}
            )

    def log(self):
        return self.log_path.read_text()

    def stop(self, number=signal.SIGTERM, timeout=30):
        """Sends a signal, waits for the end and returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(scaled(timeout))

    def kill(self):
        """Ends it at once; the fixture then asks for no exit code."""
        self.expected_exit = None
        return self.stop(signal.SIGKILL)
