"""An HTTP server that answers whatever bytes a test wants, and remembers what it was asked."""

import gzip
import json
import socket
import ssl
import threading

STATUS = {200: "OK", 302: "Found"}


class Request:
    """method, target, headers (names in lower case), body (decompressed)."""

    def __init__(self, head, stream):
        lines = head.decode("latin-1").split("\r\n")
        self.head = head
        self.method, self.target, _ = lines[0].split(" ", 2)
        pairs = (line.split(":", 1) for line in lines[1:])
        self.headers = {name.strip().lower(): value.strip() for name, value in pairs}
        self.body = stream.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("content-encoding") == "gzip":
            self.body = gzip.decompress(self.body)

    @property
    def path(self):
        return self.target.partition("?")[0]

    def records(self):
        return [json.loads(line) for line in self.body.splitlines()]


def answer(status, body=b"", content_type="application/json", **headers):
    """The bytes of an answer; body may be an object, which becomes JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} {STATUS.get(status, 'Whatever')}", f"Content-Type: {content_type}"]
    fields = {"content_length": len(body), **headers}
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def outcomes(records):
    """What a store with room for everything answers to a push."""
    return {"outcomes": [
        {"verdict": "new", "timestamp": record["timestamp"], "text": ""} for record in records
    ]}


class HttpServer:
    """
    respond(request, connection) gives the bytes of an answer, or sends what it likes and gives
    None, after which the connection is closed. Use in a with statement.
    """

    def __init__(self, respond, certificates=None, want_client=False):
        self.respond = respond
        self.requests = []
        self.closing = threading.Event()
        self.context = None
        if certificates is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(
                certificates.path("server.pem"), certificates.path("server.key"))
            if want_client:
                self.context.verify_mode = ssl.CERT_REQUIRED
                self.context.load_verify_locations(certificates.path("ca.pem"))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = []
        self.threads = [threading.Thread(target=self.accept)]

    def __enter__(self):
        self.threads[0].start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.threads[0].join()
        self.listener.close()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self.threads[1:]:
            thread.join()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            thread = threading.Thread(target=self.serve, args=[connection])
            self.threads.append(thread)
            thread.start()

    def serve(self, connection):
        try:
            with connection:
                if self.context is None:
                    self.converse(connection)
                else:
                    with self.context.wrap_socket(connection, server_side=True) as secure:
                        self.converse(secure)
        except OSError:
            # the client went away, which is its right
            pass

    def converse(self, connection):
        with connection.makefile("rb") as stream:
            while not self.closing.is_set():
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = stream.readline()
                    if not line:
                        return
                    head += line
                request = Request(head[:-4], stream)
                self.requests.append(request)
                reply = self.respond(request, connection)
                if reply is None:
                    return
                connection.sendall(reply)
