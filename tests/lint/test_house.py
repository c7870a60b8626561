"""The house: who may use whom, and what stays in one room."""

import re

from support import ROOT

SOURCES = ROOT / "memory_tracker"

# arrows point down only
MAY_USE = {
    "base": set(),
    "record": {"base"},
    "proc": {"record", "base"},
    "store": {"record", "base"},
    "sampler": {"proc", "store", "record", "base"},
    "courier": {"store", "record", "base"},
    "api": {"store", "record", "base"},
    "cli": {"store", "record", "base"},
}

# a header, and the only places that may include it
ONLY_IN = {
    r"h2o(/.*)?\.h": {"api/server_loop.h"},
    r"api/server_loop\.h": {
        "api/server.c", "api/server_answer.c", "api/server_client.c", "api/server_exchange.c"},
    r"libproc2/.*": {"proc/procps.c"},
    r"pthread\.h": {"api/threads.c", "api/pool.c"},
    r"stdatomic\.h|threads\.h": {"api/threads.c"},
}
ONLY_IN_FOLDERS = {r"sqlite3\.h": {"store", "cli"}}

INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.MULTILINE)


def includes():
    """(file, name of what it includes) for every #include of the programs."""
    found = [
        (path.relative_to(SOURCES), name)
        for path in sorted(SOURCES.rglob("*.[ch]"))
        for name in INCLUDE.findall(path.read_text())
    ]
    assert found
    return found


def test_every_folder_has_its_place():
    folders = {path.name for path in SOURCES.iterdir() if path.is_dir()}
    assert folders == set(MAY_USE)


def test_arrows_point_down():
    wrong = [
        f"{path} includes {name}"
        for path, name in includes()
        if name.partition("/")[0] in MAY_USE
        and name.partition("/")[0] not in MAY_USE[path.parts[0]] | {path.parts[0]}
    ]
    assert not wrong


def test_headers_that_stay_in_one_file():
    for pattern, allowed in ONLY_IN.items():
        users = {str(path) for path, name in includes() if re.fullmatch(pattern, name)}
        assert users == allowed, pattern
    for pattern, allowed in ONLY_IN_FOLDERS.items():
        users = {path.parts[0] for path, name in includes() if re.fullmatch(pattern, name)}
        assert users <= allowed, pattern


def test_headers_guard_themselves():
    for path in sorted(SOURCES.rglob("*.h")):
        guard = "MT_" + re.sub(r"[/.]", "_", str(path.relative_to(SOURCES))).upper()
        text = path.read_text()
        assert f"#ifndef {guard}\n#define {guard}\n" in text, path


def test_no_file_is_large():
    """Sources and documents stay readable; recorded data and checksums may be as long as they are."""
    data = {"tests/conformance", "tests/fuzz/corpus"}
    large = []
    for folder in ["memory_tracker", "tests", "bench", "docs", "script", "cmake", "cron"]:
        for path in sorted((ROOT / folder).rglob("*")):
            place = str(path.relative_to(ROOT))
            if path.is_file() and path.suffix != ".pyc" and path.name != "go.sum" and not any(
                place.startswith(name + "/") for name in data
            ):
                # what a program wrote into a document is recorded data, too
                written = re.sub(rb"<!-- made by .*?<!-- end of ", b"", path.read_bytes(), flags=re.DOTALL)
                if len(written) > 32 * 1024:
                    large.append(place)
    assert not large


def test_texts_end_in_a_newline_and_hold_no_tabs_or_trailing_blanks():
    for pattern in ["memory_tracker/**/*.[ch]", "memory_tracker/**/*.def", "tests/**/*.[ch]",
                    "tests/**/*.py", "bench/*.[ch]", "bench/*.py", "docs/**/*.md", "script/*", "*.md", "cmake/*", "**/CMakeLists.txt"]:
        for path in sorted(ROOT.glob(pattern)):
            if not path.is_file() or "build" in path.relative_to(ROOT).parts:
                continue
            text = path.read_text()
            assert text.endswith("\n") and not text.endswith("\n\n"), path
            for number, line in enumerate(text.splitlines(), 1):
                assert "\t" not in line and line == line.rstrip(), f"{path}:{number}"
