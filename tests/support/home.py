"""A directory of its own for a test, with a store and an outbox in it."""

import json
import os
import re
import shutil
import subprocess

from .environment import clean_environment
from .programs import Clock, program_path, run


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

    def as_nobody(self, *arguments):
        """Runs memory-tracker as a user who may read this home, and write nothing in it."""
        # from where nobody can reach it
        program = shutil.copy(program_path("memory-tracker"), self.path / "memory-tracker")
        self.path.chmod(0o555)
        nobody = {"user": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        for directory in self.path.parents[:2]:
            directory.chmod(directory.stat().st_mode | 0o011)
        done = subprocess.run(
            [program, *arguments], env=clean_environment(self.environment), capture_output=True,
            text=True, check=False, timeout=120, cwd="/", **nobody,
        )
        self.path.chmod(0o755)
        # a build that measures coverage cannot write its figures as nobody, and says so
        done.stderr = re.sub(r"^profiling:.*\n", "", done.stderr, flags=re.MULTILINE)
        return done

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
