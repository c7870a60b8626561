"""The images that tests deploy, built once for all tests and runs that want the same.

The project's own by script/image; under the names of official ones what tests/testbed/Dockerfile
makes of Debian's packages and of tests/testbed/build's programs. An engine for nothing else builds
them, on the machine's network, and keeps its layers in the testbed's cache.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .engines import Engine, need_engines, start_containerd, testbed_program
from .environment import ROOT
from .world import World, WorldError, find_tool

TESTBED = ROOT / "tests/testbed"
# name -> the program of tests/testbed/build that is in it
OFFICIAL = {"traefik:v3.7.9": "traefik", "haproxy:2.6": None, "mongo:8.0": "mongodb"}
BASE = "debian:bookworm-slim"
# above so many bytes the builder's old layers go
LAYERS_BYTES = 8_000_000_000
# of earlier sources so many sets of archives stay
KEPT_SETS = 3


def version():
    """The version of CMakeLists.txt, which is the images' tag."""
    text = (ROOT / "CMakeLists.txt").read_text()
    return re.search(r"project\(memory-tracker VERSION ([0-9.]+)", text)[1]


def project_images():
    """Names of the project's images."""
    tag = version()
    return [
        f"memory_tracker-api:{tag}", f"memory_tracker-api:{tag}-full",
        f"memory_tracker-sampler:{tag}", f"memory_tracker-sampler:{tag}-full",
        f"memory_tracker-all-in-one:{tag}",
    ]


def archives(names):
    """Paths of archives for `docker load`, one for each name; builds what is not there."""
    known = [*OFFICIAL, *project_images()]
    for name in names:
        assert name in known, f"no image {name!r}; there are {', '.join(known)}"
    sets = []
    if any(name in OFFICIAL for name in names):
        sets.append(OfficialSet())
    if any(name not in OFFICIAL for name in names):
        sets.append(ProjectSet())
    found = {}
    for wanted in sets:
        found.update(wanted.ready())
    return [found[name] for name in names]


def cache():
    given = os.environ.get("MT_TESTBED_CACHE")
    if given:
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME", "/var/tmp")) / ".cache"
    return Path(home) / "memory-tracker-testbed"


@contextlib.contextmanager
def builder():
    """The engine that builds, with the base image in it; one test at a time may use it. Builds on it
    take --network host: it has no network but the machine's."""
    need_engines()
    base = base_archive()
    place = cache() / "builder"
    place.mkdir(parents=True, exist_ok=True)
    with open(place / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            world = World(network="machine")
        except WorldError as error:
            pytest.skip(f"no container engines: {error}")
        with contextlib.ExitStack() as ends:
            containerd = []
            ends.callback(lambda: [process.wait() for process in containerd])
            ends.enter_context(world)
            containerd.append(start_containerd(world, place / "containerd"))
            engine = Engine(world, "builder", None, data=place / "data", options=[
                "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false",
                "--ip-masq=false",
            ])
            engine.start()
            ends.callback(engine.stop)
            import_base(engine, base)
            yield engine
            prune_layers(engine)


def base_archive():
    """The tar file of tests/testbed/build-base, made where there is none."""
    if find_tool("debootstrap") is None:
        pytest.skip("no container images: not installed: debootstrap")
    done = subprocess.run(
        [TESTBED / "build-base"], capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def import_base(engine, archive):
    mark = f"base:{digest(archive.name, archive.stat().st_mtime_ns)}"
    if engine.docker("image", "inspect", mark, check=False).returncode != 0:
        # by name: what was built on it keeps its layers, which go with prune_layers
        old = engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "base").stdout.split()
        if old:
            engine.docker("rmi", *old)
        engine.docker("import", "--change", 'CMD ["bash"]', archive, mark)
    engine.docker("tag", mark, BASE)


def prune_layers(engine):
    """Keeps the builder's folder small: of a source of days ago nothing, of today's some."""
    engine.docker("container", "prune", "--force")
    for age in (["--filter", "until=48h"], []):
        lines = engine.docker("system", "df", "--format", "{{json .}}").stdout.splitlines()
        images = next(json.loads(line) for line in lines if '"Images"' in line)
        if human_bytes(images["Size"]) < LAYERS_BYTES:
            return
        engine.docker("image", "prune", "--force", *age)


def human_bytes(text):
    """1.5GB -> 1500000000, as docker writes sizes."""
    number, unit = re.fullmatch(r"([0-9.]+)([kMGT]?)B", text).groups()
    return float(number) * 1000 ** " kMGT".index(unit or " ")


def git(*args):
    return subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, *args],
        capture_output=True, text=True, check=True,
    ).stdout


def digest(*parts):
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


class ImageSet:
    """Images that are built together, under a key of all that they are made of."""

    prefix = ""

    def key(self):
        raise NotImplementedError

    def build(self, engine):
        """Builds the images and returns their names."""
        raise NotImplementedError

    def ready(self):
        """name -> path of its archive."""
        place = cache() / "images"
        place.mkdir(parents=True, exist_ok=True)
        index = place / f"{self.prefix}-{self.key()}.json"
        found = self.read(index)
        if found is None:
            with builder() as engine:
                # another may have built them while this one waited
                found = self.read(index)
                if found is None:
                    self.save(engine, self.build(engine), index)
                    found = self.read(index)
                    self.prune(place)
        return found

    @staticmethod
    def read(index):
        try:
            files = json.loads(index.read_text())
            os.utime(index)
        except FileNotFoundError:
            return None
        found = {name: index.parent / file for name, file in files.items()}
        return found if all(path.exists() for path in found.values()) else None

    @staticmethod
    def save(engine, names, index):
        files = {}
        for name in names:
            image = engine.docker("image", "inspect", "--format", "{{.Id}}", name).stdout.strip()
            # a name is in the archive, too
            files[name] = f"{digest(name, image)}.tar"
            path = index.parent / files[name]
            if not path.exists():
                engine.docker("save", "--output", f"{path}.new", name)
                os.rename(f"{path}.new", path)
        new = index.with_suffix(".new")
        new.write_text(json.dumps(files))
        new.rename(index)

    def prune(self, place):
        """Removes the sets that were not asked for lately, and archives that are in no set."""
        sets = sorted(place.glob(f"{self.prefix}-*.json"), key=lambda path: -path.stat().st_mtime)
        for index in sets[KEPT_SETS:]:
            if index.stat().st_mtime < time.time() - 3600:
                index.unlink()
        used = set()
        for index in place.glob("*.json"):
            used.update(json.loads(index.read_text()).values())
        for path in [*place.glob("*.tar"), *place.glob("*.new")]:
            if path.name not in used:
                path.unlink()


class OfficialSet(ImageSet):
    """Stand-ins under the names of official images."""

    prefix = "official"

    def __init__(self):
        self.programs = {}
        for program in filter(None, OFFICIAL.values()):
            self.programs[program] = testbed_program(program)
            if self.programs[program] is None:
                pytest.skip(f"{program} has not been built; run tests/testbed/build {program}")

    def files(self):
        return sorted(TESTBED.glob("images/*"))

    def key(self):
        return digest(
            base_archive().name, *self.programs.values(), *(path.read_text() for path in self.files()),
        )

    def build(self, engine):
        context = engine.directory / "official"
        context.mkdir()
        for path in self.files():
            shutil.copy(path, context)
        for name, path in self.programs.items():
            shutil.copy(path, context / name)
        for name in OFFICIAL:
            engine.docker(
                "build", "--network", "host", "--target", name.split(":")[0], "--tag", name, context,
                timeout=900,
            )
        return list(OFFICIAL)


class ProjectSet(ImageSet):
    """The project's images, as script/image builds them."""

    prefix = "project"

    # the files' times; those of the last commit would be others with each
    SOURCE_DATE_EPOCH = "1700000000"

    def key(self):
        # what reaches the builder, but for the tests, which are in no image; not the commit, which is in
        # a label only, and would have every run build anew
        sources = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines()
                   if line.startswith("!") and line != "!tests"]
        names = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--",
                    "Dockerfile", "script/image", *sources)
        parts = [base_archive().name]
        for name in sorted(set(names.split("\0"))):
            path = ROOT / name
            if name and path.is_file():
                parts += [name, path.stat().st_mode & 0o111, hashlib.sha256(path.read_bytes()).hexdigest()]
        assert len(parts) > 300, "the builder gets hardly anything"
        return digest(*parts)

    def build(self, engine):
        done = subprocess.run(
            [ROOT / "script/image", "--no-test", "--", "--network", "host"],
            env={**engine.environment(), "SOURCE_DATE_EPOCH": self.SOURCE_DATE_EPOCH},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=3600,
            check=False,
        )
        assert done.returncode == 0, f"script/image:\n{done.stdout[-2000:]}{done.stderr[-6000:]}"
        return project_images()


def main():
    """Builds all that the tests of containers need, so that they need not wait: script/test's way."""
    for program in ("docker", "compose", *filter(None, OFFICIAL.values())):
        subprocess.run([TESTBED / "build", program], check=True)
    try:
        for name, path in {**OfficialSet().ready(), **ProjectSet().ready()}.items():
            print(f"{name}  {path.stat().st_size / 1e6:.1f} MB  {path}")
    except pytest.skip.Exception as reason:
        sys.exit(f"images: {reason}")


if __name__ == "__main__":
    main()
