"""A directory of its own for a test, with a store and an outbox in it."""

import json

from .programs import Clock, run


class Home:
    def __init__(self, path):
        self.path = path
        self.db = path / "memory.db"
        self.store = f"sqlite:{self.db}"
        self.spool = path / "spool.db"

    @property
    def environment(self):
        return {"MEMORY_TRACKER_STORE": self.store, "MEMORY_TRACKER_SPOOL": self.spool}

    def clock(self, seconds):
        return Clock(self.path / "clock", seconds)

    def run(self, program, *args, env=None, **options):
        """run() with this home's store and outbox."""
        return run(program, *args, env={**self.environment, **(env or {})}, **options)

    def records(self):
        """Every record of the store, oldest first, as `memory-tracker export` gives them."""
        done = self.run("memory-tracker", "export", "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def import_csv(self, text):
        """Imports CSV text into the store."""
        source = self.path / "import.csv"
        source.write_text(text)
        done = self.run("memory-tracker", "import", source, timeout=300)
        assert done.returncode == 0, done.stderr
        return done
