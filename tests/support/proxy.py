"""
A proxy before a server of MongoDB's protocol that does what networks and clusters do at their worst.

It understands the messages that pass, so that a fault happens to the message it is meant for: rules
name a command (insert, find, isMaster ...) and what is done to it. Without rules it only passes on.
"""

import collections
import random
import socket
import struct
import threading

import bson

from .waiting import scaled

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
HEADER = struct.Struct("<iiii")

# a message: its bytes, its number, its kind, and the command in it with its first name
Message = collections.namedtuple("Message", "data number kind command name")


class Cut(Exception):
    """The connection ends here."""


def read_exactly(connection, count):
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise Cut
        data += part
    return data


def read_document(data, offset):
    size = struct.unpack_from("<i", data, offset)[0]
    return bson.decode(data[offset:offset + size]), offset + size


def read_message(connection):
    head = read_exactly(connection, HEADER.size)
    length, number, _, kind = HEADER.unpack(head)
    data = head + read_exactly(connection, length - HEADER.size)
    command = {}
    if kind == OP_MSG:
        offset = HEADER.size + 4
        while data[offset] == 1:
            # a sequence of documents, such as those to insert
            offset += 1 + struct.unpack_from("<i", data, offset + 1)[0]
        command, _ = read_document(data, offset + 1)
    elif kind == OP_QUERY:
        offset = data.index(b"\0", HEADER.size + 4) + 1 + 8
        command, _ = read_document(data, offset)
    return Message(data, number, kind, command, next(iter(command), ""))


def answer_to(message, document):
    """The bytes of an answer as a server would send it."""
    body = bson.encode(document)
    if message.kind == OP_QUERY:
        kind, body = OP_REPLY, struct.pack("<iqii", 8, 0, 0, 1) + body
    else:
        kind, body = OP_MSG, struct.pack("<i", 0) + b"\0" + body
    return HEADER.pack(HEADER.size + len(body), 1, message.number, kind) + body


def pass_on(link):
    link.client.sendall(link.ask_server())


def cut(link):
    """The message is lost, and the connection with it."""
    raise Cut


def cut_after_write(link):
    """The server does what was asked for; nobody hears of it."""
    link.ask_server()
    raise Cut


def black_hole(link):
    """Nothing ever comes back; the connection stays."""
    link.proxy.closing.wait()
    raise Cut


def garbage(link):
    """Bytes that are no message, the same ones every time."""
    link.client.sendall(random.Random(4).randbytes(4096))
    raise Cut


def part_of(count):
    """The first count bytes of the answer, then the end."""
    def act(link):
        link.client.sendall(link.ask_server()[:count])
        raise Cut
    return act


def slow(seconds):
    """The answer takes its time, but comes."""
    def act(link):
        answer = link.ask_server()
        link.proxy.closing.wait(scaled(seconds))
        link.client.sendall(answer)
    return act


def say(document):
    """This answer in place of the server's, which never sees the message."""
    def act(link):
        link.client.sendall(answer_to(link.message, document))
    return act


def fail_with(code, name, text="as the test wants it"):
    return say({"ok": 0.0, "errmsg": text, "code": code, "codeName": name})


def say_after_write(change):
    """The server does what was asked for; its answer, a dict, goes through change() first."""
    def act(link):
        reply = link.ask_server()
        if link.message.kind == OP_MSG:
            document, _ = read_document(reply, HEADER.size + 5)
        else:
            document, _ = read_document(reply, HEADER.size + 20)
        link.client.sendall(answer_to(link.message, change(document)))
    return act


class Rule:
    def __init__(self, commands, act, after, times):
        self.commands = commands
        self.act = act
        self.after = after
        self.times = times
        self.hits = 0


class Link(threading.Thread):
    """One client's connection and the one to the server that belongs to it."""

    def __init__(self, proxy, client):
        super().__init__(daemon=True)
        self.proxy = proxy
        self.client = client
        self.server = None
        self.message = None

    def tell_server(self):
        """Passes the message on."""
        if self.server is None:
            self.server = socket.create_connection(("127.0.0.1", self.proxy.server_port), 60)
            self.proxy.remember(self.server)
        self.server.sendall(self.message.data)

    def ask_server(self):
        """Passes the message on and returns the bytes of the answer."""
        self.tell_server()
        return read_message(self.server).data

    def run(self):
        try:
            while True:
                self.message = read_message(self.client)
                self.proxy.action_for(self.message.name)(self)
        except (Cut, OSError):
            pass
        finally:
            for connection in filter(None, [self.client, self.server]):
                self.proxy.forget(connection)


class Proxy:
    """Listens on self.port for a server on server_port (which may change); use as `with Proxy(port)`."""

    def __init__(self, server_port):
        self.server_port = server_port
        self.port = 0
        self.lock = threading.Lock()
        self.rules = []
        self.seen = []
        self.connections = set()
        self.closing = threading.Event()
        self.listener = None
        self.accepting = None

    def __enter__(self):
        self.listen()
        return self

    def __exit__(self, kind, error, trace):
        self.closing.set()
        self.refuse()

    def on(self, *commands, act, after=0, times=None):
        """
        From now on does act to these commands ("*": to all); the first `after` of them pass, and
        after `times` (None: never) the rule is spent. Returns the rule, whose hits count.
        """
        rule = Rule(commands, act, after, times)
        with self.lock:
            self.rules.append(rule)
        return rule

    def clear(self):
        """Only passes on again; connections that are stuck end."""
        with self.lock:
            self.rules.clear()
        self.closing.set()
        self.cut_all()
        self.closing = threading.Event()

    def action_for(self, name):
        with self.lock:
            self.seen.append(name)
            for rule in self.rules:
                if name not in rule.commands and "*" not in rule.commands:
                    continue
                if rule.after > 0:
                    rule.after -= 1
                elif rule.times is None or rule.hits < rule.times:
                    rule.hits += 1
                    return rule.act
        return pass_on

    def remember(self, connection):
        with self.lock:
            self.connections.add(connection)

    def forget(self, connection):
        with self.lock:
            self.connections.discard(connection)
        connection.close()

    def cut_all(self):
        with self.lock:
            for connection in self.connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def refuse(self):
        """Connections are refused from now on, and those that are there end."""
        if self.listener is not None:
            listener, self.listener = self.listener, None
            # wakes the thread that accepts
            listener.shutdown(socket.SHUT_RDWR)
            self.accepting.join()
            listener.close()
        self.cut_all()

    def listen(self):
        """Listens (again), always on the same port."""
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        self.accepting = threading.Thread(target=self.accept, args=[self.listener], daemon=True)
        self.accepting.start()

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.remember(client)
            Link(self, client).start()
