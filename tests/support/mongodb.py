"""A server of MongoDB's protocol for tests: FerretDB, of which a test may have its own."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import pymongo
import pytest

from .environment import ROOT
from .waiting import scaled


def ferretdb_program():
    """Path of FerretDB as script/test has built it; without it the running test is skipped."""
    given = os.environ.get("MT_FERRETDB")
    if given:
        return given
    done = subprocess.run(
        [ROOT / "tests/testbed/build", "ferretdb", "--print"],
        capture_output=True, text=True, check=False,
    )
    if done.returncode != 0:
        pytest.skip("FerretDB has not been built; run tests/testbed/build ferretdb")
    return done.stdout.strip()


def mongodb_uri(port, database, credentials="", **options):
    """mongodb://[credentials@]127.0.0.1:PORT/DATABASE?options; paths and the like may stand in options."""
    query = "?" + urlencode(options, quote_via=quote, safe="/:") if options else ""
    user = credentials + "@" if credentials else ""
    return f"mongodb://{user}127.0.0.1:{port}/{database}{query}"


class Ferret:
    """A FerretDB that keeps its port and its databases when it is killed and started again."""

    def __init__(self, certificates=None, client_certificates=True):
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = Path(tempfile.mkdtemp(prefix="mt-ferretdb-", dir=memory))
        self.port = 0
        self.process = None
        self.arguments = []
        self.certificates = certificates
        if certificates is not None:
            self.arguments = [
                "--tls-cert", certificates.path("server.pem"),
                "--tls-key", certificates.path("server.key"),
            ]
            if client_certificates:
                self.arguments += ["--tls-ca", certificates.path("ca.pem")]
        self.names = 0

    def start(self):
        self.process = subprocess.Popen(
            [ferretdb_program(), "--dir", self.directory, "--listen", f"127.0.0.1:{self.port}",
             *self.arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        line = self.process.stdout.readline()
        assert line, f"FerretDB ended with exit code {self.process.wait(scaled(30))}"
        self.port = urlsplit(line.strip()).port
        return self

    def kill(self):
        """Ends it with SIGKILL; what it acknowledged is still there when it starts again."""
        self.process.kill()
        self.stop()

    def stop(self):
        process, self.process = self.process, None
        process.stdin.close()
        process.wait(scaled(30))
        process.stdout.close()

    def close(self):
        try:
            if self.process is not None:
                self.stop()
        finally:
            shutil.rmtree(self.directory)

    def new_database(self):
        self.names += 1
        return f"history_{self.names}"

    def uri(self, database, **options):
        return mongodb_uri(self.port, database, **options)

    def client(self):
        """A client that knows nothing of Memory Tracker; the caller closes it (with)."""
        options = {}
        if self.certificates is not None:
            options = {
                "tls": True,
                "tlsCAFile": str(self.certificates.path("ca.pem")),
                "tlsCertificateKeyFile": str(self.certificates.path("client.pem")),
            }
        return pymongo.MongoClient("127.0.0.1", self.port, serverSelectionTimeoutMS=30000, **options)

    def documents(self, database, collection="memory_log"):
        """Every document as it stands there, in the order of _id's time and host."""
        with self.client() as client:
            found = list(client[database][collection].find())
        return sorted(found, key=lambda document: (document["_id"]["t"], document["_id"]["h"]))


@pytest.fixture
def start_ferret():
    """start_ferret(certificates=None, client_certificates=True) -> a running Ferret of this test's own."""
    started = []

    def start(*arguments, **options):
        ferretdb_program()
        started.append(Ferret(*arguments, **options))
        return started[-1].start()

    yield start
    for ferret in started:
        ferret.close()


@pytest.fixture(scope="module")
def ferret():
    """The Ferret that a file's tests share; each takes a database of its own and leaves it running."""
    ferretdb_program()
    shared = Ferret()
    try:
        yield shared.start()
    finally:
        shared.close()


@pytest.fixture
def mongodb_home(home, ferret):
    """A Home whose store is a new database of the shared Ferret; home.database is its name."""
    home.database = ferret.new_database()
    home.store = ferret.uri(home.database)
    return home
