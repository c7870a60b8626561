"""The stand-in for the image mongo, outside a container: a server with users and roles, and mongosh."""

import functools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pymongo
import pytest

from .engines import testbed_program
from .environment import ROOT
from .waiting import scaled, wait_until

USERS_SCRIPT = ROOT / "docker/mongodb-users.js"


@functools.cache
def mongod_program():
    """Path of the stand-in as script/test has built it; without it the running test is skipped."""
    program = testbed_program("mongodb")
    if program is None:
        pytest.skip("the tests' MongoDB has not been built; run tests/testbed/build mongodb")
    return program


class Mongod:
    """Started and stopped as often as one likes; close() ends it and removes all that it had.

    What a container would have in /data/db, /docker-entrypoint-initdb.d and /run/secrets is in
    directories of its own; ROOT_PASSWORD is the administrator's.
    """

    ROOT_PASSWORD = "r00t / p@ss"

    def __init__(self):
        # not pytest's directory: a path to a socket is at most 107 bytes long
        self.directory = Path(tempfile.mkdtemp(prefix="mt-mongod-"))
        for name in "data", "scripts", "secrets", "tmp":
            (self.directory / name).mkdir()
        self.log_path = self.directory / "log"
        self.shell = self.directory / "mongosh"
        self.shell.symlink_to(mongod_program())
        self.secret("mt_mongodb_root_password", self.ROOT_PASSWORD)
        self.settings = {
            "MONGO_INITDB_ROOT_USERNAME": "root",
            "MONGO_INITDB_ROOT_PASSWORD_FILE": str(self.directory / "secrets/mt_mongodb_root_password"),
        }
        self.process = None
        self.port = None

    def secret(self, name, text):
        (self.directory / "secrets" / name).write_text(text + "\n")

    def script(self, path):
        """Lays a script where the first start finds it."""
        shutil.copy(path, self.directory / "scripts")

    @property
    def environment(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MONGO_INITDB_")}
        return {
            **kept, **self.settings, "TMPDIR": str(self.directory / "tmp"),
            "MT_INITDB_DIRECTORY": str(self.directory / "scripts"),
            "MT_SECRETS_DIRECTORY": str(self.directory / "secrets"),
        }

    def launch(self, *arguments):
        """Starts it, waits for nothing."""
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                # it ends with the test, however that ends
                ["/usr/bin/setpriv", "--pdeathsig", "KILL", mongod_program(), "mongod", "--bind_ip", "127.0.0.1",
                 "--port", "0", "--dbpath", self.directory / "data", *arguments],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )
        return self

    def start(self, *arguments):
        """Starts it and waits until it serves everybody, with the users that the scripts made."""
        fresh = not any((self.directory / "data").iterdir())
        self.launch(*arguments)
        self.port = wait_until(lambda: self.listening("init process complete" if fresh else ""), 60, "mongod")
        return self

    def listening(self, after=""):
        """The port that it says it listens on, after saying the text given."""
        assert self.process.poll() is None, self.log()
        said = self.log()
        if after not in said:
            return None
        for line in said[said.index(after):].splitlines():
            if '"Waiting for connections"' in line:
                return json.loads(line)["attr"]["port"]
        return None

    def log(self):
        return self.log_path.read_text()

    def wait(self):
        """Waits for its end; the exit code."""
        process, self.process = self.process, None
        return process.wait(scaled(60))

    def stop(self):
        self.process.terminate()
        return self.wait()

    def mongosh(self, *arguments, address=None, typed=""):
        """Runs mongosh, by default without a user; address is user[:password]@[/?options]."""
        user, _, rest = (address or "@").partition("@")
        uri = f"mongodb://{user + '@' if user else ''}127.0.0.1:{self.port}{rest or '/test'}"
        return subprocess.run(
            [self.shell, "--quiet", "--norc", uri, *arguments], env=self.environment,
            input=typed, capture_output=True, text=True, timeout=scaled(60), check=False,
        )

    def run_users_script(self, **options):
        """docker/mongodb-users.js by hand."""
        return self.mongosh(USERS_SCRIPT, **options)

    def client(self, user=None, password=None, source=None):
        """A client that knows nothing of Memory Tracker; the caller closes it (with)."""
        given = {} if user is None else {"username": user, "password": password, "authSource": source or "admin"}
        return pymongo.MongoClient("127.0.0.1", self.port, serverSelectionTimeoutMS=30000, **given)

    def root(self):
        return self.client("root", self.ROOT_PASSWORD)

    def close(self):
        try:
            if self.process is not None:
                self.process.kill()
                self.wait()
        finally:
            shutil.rmtree(self.directory)
