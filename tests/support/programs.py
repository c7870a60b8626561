"""Running the programs of the build under test."""

import subprocess

from .environment import bin_dir, clean_environment, single_threaded_build, variants_dir
from .waiting import scaled


class Clock:
    """A wall clock in a file, for the test variants of the programs: clock.set(1647033600)."""

    def __init__(self, path, seconds):
        self.path = path
        self.set(seconds)

    def set(self, seconds):
        # renamed into place: a program never reads half a time
        new = self.path.with_name(self.path.name + ".new")
        new.write_text(f"{seconds}\n")
        new.rename(self.path)

    @property
    def environment(self):
        return {"MT_TEST_CLOCK_FILE": str(self.path)}


def program_path(program, clock=None):
    """Path of memory-sampler, memory-api or memory-tracker; with a clock, of its test variant."""
    plain = single_threaded_build()
    if plain is not None and program != "memory-api":
        return plain / ("bin" if clock is None else "tests") / program
    return (bin_dir() if clock is None else variants_dir()) / program


def run(program, *args, env=None, stdin=None, timeout=60, clock=None, cwd=None, text=True):
    """Runs a program to its end, with no settings in its environment but those in env."""
    environment = clean_environment(env)
    if clock is not None:
        environment.update(clock.environment)
    return subprocess.run(
        [str(program_path(program, clock)), *map(str, args)],
        env=environment,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=text,
        timeout=scaled(timeout),
        cwd=cwd,
        check=False,
    )
