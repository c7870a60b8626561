"""What is measured, and with what: names and versions, for who reads the figures."""

import re
import subprocess

from histories import versions_of

PACKAGES = ("libh2o-evloop-dev", "libsqlite3-0", "libzstd1", "sysstat", "procps", "python3")
WHEELS = ("fastapi", "pydantic", "uvicorn", "gunicorn")


def words_of(command):
    """What a command says of itself; "" if it cannot be run."""
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout + done.stderr


def commit_of(root):
    """The commit that the sources are, marked if they are more than that; "" if they are not under git."""
    git = ["git", "-C", root]
    commit = re.match(r"[0-9a-f]{7,}$", words_of([*git, "rev-parse", "--short", "HEAD"]).strip())
    if not commit:
        return ""
    changed = words_of([*git, "status", "--porcelain", "--untracked-files=no", "--", "memory_tracker", "bench",
                        "cmake", "CMakeLists.txt", "CMakePresets.json"])
    return commit.group() + (" with changes" if changed.strip() else "")


def versions(bench):
    """{name: version} of what there is."""
    found = {"memory-tracker": words_of([bench.bin / "memory-api", "--version"]).split()[-1:]}
    found["commit"] = [commit_of(bench.here.parent)]
    found["gcc"] = words_of(["gcc", "-dumpfullversion"]).split()
    for line in versions_of(PACKAGES).splitlines():
        name, _, version = line.partition(" ")
        found[name] = [version]
    for name in ("nginx", "prometheus"):
        if bench.tool(name):
            found[name] = re.findall(r"(?:/|version )(\d[\w.+~-]*)",
                                     words_of([bench.tool(name), "-v" if name == "nginx" else "--version"]))
    if bench.reference_python.exists():
        program = f"import importlib.metadata as m; print(*[m.version(name) for name in {WHEELS}])"
        found.update(zip(WHEELS, ([one] for one in words_of([bench.reference_python, "-c", program]).split())))
    return {name: values[0] for name, values in found.items() if values and values[0]}
