"""Modules that are missing, broken or of another build are told apart and never used."""

import shutil
import subprocess

import pytest

from support import ROOT, program_path, run

SOURCE = """
#include "store/ops.h"
extern const struct mt_store_module mt_store_module;
const struct mt_store_module mt_store_module = {%s};
"""


@pytest.fixture
def module(tmp_path):
    """Programs in a prefix of their own; called with C text, their mongodb module is made of that."""
    (tmp_path / "bin").mkdir()
    place = tmp_path / "lib/memory-tracker"
    place.mkdir(parents=True)
    for program in ["memory-tracker", "memory-api"]:
        shutil.copy(program_path(program), tmp_path / "bin" / program)
    path = place / "memory-tracker-store-mongodb.so"

    def ask(initializer=None, program=("memory-tracker", "hosts")):
        if initializer is not None:
            source = tmp_path / "module.c"
            source.write_text(SOURCE % initializer)
            subprocess.run(
                ["cc", "-shared", "-fPIC", f"-I{ROOT}/memory_tracker", f"-I{tmp_path}", "-o", path, source],
                check=True,
            )
        copy = tmp_path / "bin" / program[0]
        return run(copy, *program[1:], "--store", "mongodb://127.0.0.1:1/x"), path

    (tmp_path / "base").mkdir()
    (tmp_path / "base/version.h").write_text('#define MT_VERSION "0"\n')
    return ask


def test_a_missing_module_is_named(module):
    done, path = module()
    assert done.returncode == 4
    assert str(path) in done.stderr.replace("bin/../", "")
    assert "the mongodb store is a module of its own, which is not installed: install " in done.stderr
    assert "or take the image whose tag ends in -full" in done.stderr


def test_the_api_does_not_start_without_its_module(module):
    done, path = module(program=("memory-api", "--listen", "127.0.0.1:0"))
    assert done.returncode == 4
    assert "the mongodb store is a module of its own, which is not installed" in done.stderr
    assert done.stdout == ""


def test_a_file_that_is_no_module(module):
    _, path = module()
    path.write_bytes(b"no library" * 100)
    done, _ = module()
    assert done.returncode == 4
    assert "cannot load the mongodb store" in done.stderr


def test_a_module_of_another_version(module):
    done, _ = module('.version = "0.0.0 7"')
    assert done.returncode == 4
    assert "is of version 0.0.0 7" in done.stderr
    assert "install both from one build" in done.stderr


def test_a_module_that_knows_other_fields(module):
    done, path = module('.version = "?"')
    version = done.stderr.split("this program of ")[1].split(";")[0]
    done, _ = module(f'.version = "{version}", .fields = "mem_total "')
    assert done.returncode == 4
    assert "knows other fields" in done.stderr
