"""memory-sampler --print says what /proc says: every line, and no line that is not there."""

import json
import subprocess

import pytest
from support import (FIELDS, FrozenProc, WholeProc, clean_environment, fields_from,
                     not_in_this_build, program_path, run, sanitizer, wait_until)

MEMINFO = "/proc/meminfo"
VMSTAT = "/proc/vmstat"
PRESSURE = "/proc/pressure/memory"
UPTIME = "/proc/uptime"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
ARCSTATS = "/proc/spl/kstat/zfs/arcstats"

# what the clock and the rest of /proc move between two runs
MOVING = ("timestamp",)


@pytest.fixture
def proc(tmp_path):
    return FrozenProc(tmp_path / "proc")


def printed(done):
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def without(record, *names):
    return {name: value for name, value in record.items() if name not in (*MOVING, *names)}


def freeze(proc):
    proc.copy(MEMINFO, VMSTAT, PRESSURE, UPTIME, BOOT_ID)


def numbered_meminfo(first=1 << 33, step=1_000_003):
    """The lines of this machine's meminfo, each with a number of its own, beyond 32 bits."""
    with open(MEMINFO, encoding="ascii") as file:
        names = [line.split(":")[0] for line in file]
    for field in fields_from("MEMINFO"):
        if field.key not in names:
            names.append(field.key)
    lines = []
    for index, name in enumerate(names):
        value = first + index * step
        if name.startswith("HugePages_"):
            lines.append(f"{name}: {100 + index}")
        elif name == "Hugepagesize":
            lines.append(f"{name}: 2048 kB")
        elif name == "MemAvailable":
            lines.append(f"{name}: {first - 7} kB")
        else:
            lines.append(f"{name}: {value} kB")
    return "\n".join(lines) + "\n"


def numbered_vmstat(first=1 << 33):
    with open(VMSTAT, encoding="ascii") as file:
        names = [line.split()[0] for line in file]
    return "".join(f"{name} {first + 7919 * index}\n" for index, name in enumerate(names))


def meminfo_values(text):
    """The test's own reading, through another program, of what the fields should be."""
    rows = subprocess.run(["awk", '{ sub(":", "", $1); print $1, $2 }'], input=text, text=True,
                          capture_output=True, check=True).stdout
    lines = dict(row.split() for row in rows.splitlines())
    values = {field.name: int(lines[field.key]) if field.key in lines else None
              for field in fields_from("MEMINFO")}
    if values["hugetlb_free"] is not None:
        values["hugetlb_free"] *= int(lines["Hugepagesize"])
    return values


def vmstat_values(text):
    lines = dict(row.split() for row in text.splitlines())
    values = {field.name: int(lines[field.key]) if field.key in lines else None
              for field in fields_from("VMSTAT")}
    for field in fields_from("VMSTAT_SUM"):
        parts = [int(value) for name, value in lines.items() if name.startswith(field.key)]
        values[field.name] = sum(parts) if parts else None
    return values


def pressure_values(text):
    lines = {row.split()[0]: row.split("total=")[1] for row in text.splitlines()}
    return {field.name: int(lines[field.key]) if field.key in lines else None
            for field in fields_from("PSI")}


def assert_fields(record, expected):
    assert {name: record[name] for name in expected} == expected


def test_every_field_is_there_in_order():
    record = printed(run("memory-sampler", "--print", "--host", "a-host", "--interval", "30s"))
    assert list(record) == ["host", "timestamp", "boot_id", *(field.name for field in FIELDS)]
    assert record["host"] == "a-host"
    assert record["interval_s"] == 30


def test_frozen_files_of_this_machine(proc):
    freeze(proc)
    record = printed(proc.run("memory-sampler", "--print"))
    seen = {path: proc.run("/bin/cat", path).stdout for path in proc.files}
    assert_fields(record, meminfo_values(seen[MEMINFO]))
    assert_fields(record, vmstat_values(seen[VMSTAT]))
    assert_fields(record, pressure_values(seen[PRESSURE]))
    assert record["uptime_s"] == int(float(seen[UPTIME].split()[0]))
    assert record["boot_id"] == seen[BOOT_ID].strip()
    assert record["mem_total"] > 0 and record["mem_available"] > 0


def test_no_number_is_taken_for_another(proc):
    meminfo = numbered_meminfo()
    vmstat = numbered_vmstat()
    proc[MEMINFO] = meminfo
    proc[VMSTAT] = vmstat
    proc[PRESSURE] = "".join(f"{kind} avg10=1.50 avg60=2.50 avg300=3.50 total={total}\n"
                             for kind, total in (("some", 1 << 40), ("full", (1 << 40) - 1)))
    proc[UPTIME] = "98765432.99 12345.00\n"
    proc[BOOT_ID] = "01234567-89AB-cdef-0123-456789abcdef\n"
    done = proc.run("memory-sampler", "--print")
    record = printed(done)
    assert done.stderr == ""
    expected = {**meminfo_values(meminfo), **vmstat_values(vmstat), "psi_some_us": 1 << 40,
                "psi_full_us": (1 << 40) - 1, "uptime_s": 98765432}
    numbers = [value for value in expected.values() if value is not None]
    assert len(set(numbers)) == len(numbers)
    assert_fields(record, expected)
    assert record["boot_id"] == "01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize("path, numbered", [(MEMINFO, numbered_meminfo), (VMSTAT, numbered_vmstat)])
def test_a_missing_line_is_a_missing_field_and_nothing_else(proc, path, numbered):
    freeze(proc)
    whole = numbered()
    lines = whole.splitlines(keepends=True)
    proc[path] = whole
    before = printed(proc.run("memory-sampler", "--print"))
    values = meminfo_values if path == MEMINFO else vmstat_values
    sources = ("MEMINFO",) if path == MEMINFO else ("VMSTAT", "VMSTAT_SUM")
    keys = [field.key for field in fields_from(*sources)]
    tried = 0
    for index, line in enumerate(lines):
        name = line.split()[0].rstrip(":")
        if name == "MemTotal" or (path == VMSTAT and not name.startswith(tuple(keys))):
            continue
        tried += 1
        proc[path] = "".join(lines[:index] + lines[index + 1:])
        record = printed(proc.run("memory-sampler", "--print"))
        if name == "Hugepagesize":
            assert record["hugetlb_free"] is None
            assert without(record, "hugetlb_free") == without(before, "hugetlb_free")
        else:
            # a known name turns its field null (a sum loses that part), an unknown one changes nothing
            expected = values(proc[path])
            assert_fields(record, expected)
            changed = {field for field in record if record[field] != before[field]} - set(MOVING)
            assert changed == {field.name for field in fields_from(*sources)
                               if field.key == name
                               or (field.source == "VMSTAT_SUM" and name.startswith(field.key))}
    assert tried >= len(keys) - 1


def test_vmstat_without_any_part_of_a_sum(proc):
    freeze(proc)
    proc[VMSTAT] = "".join(line for line in numbered_vmstat().splitlines(keepends=True)
                           if not line.startswith("allocstall"))
    assert printed(proc.run("memory-sampler", "--print"))["allocstall"] is None


@pytest.mark.parametrize("kind, field", [("some", "psi_some_us"), ("full", "psi_full_us")])
def test_a_missing_pressure_line(proc, kind, field):
    freeze(proc)
    before = printed(proc.run("memory-sampler", "--print"))
    lines = proc[PRESSURE].decode().splitlines(keepends=True)
    proc[PRESSURE] = "".join(line for line in lines if not line.startswith(kind))
    record = printed(proc.run("memory-sampler", "--print"))
    assert record[field] is None
    assert without(record, field) == without(before, field)


def test_missing_files(proc):
    proc.copy(MEMINFO, VMSTAT)
    proc[PRESSURE] = None
    proc[BOOT_ID] = None
    done = proc.run("memory-sampler", "--print", "--log-level", "debug")
    record = printed(done)
    assert record["psi_some_us"] is None and record["psi_full_us"] is None
    assert record["boot_id"] is None
    assert f"cannot read {PRESSURE}" in done.stderr and f"cannot read {BOOT_ID}" in done.stderr
    assert proc.run("memory-sampler", "--print").stderr == ""


def test_an_old_kernel_without_mem_available(proc):
    freeze(proc)
    proc[MEMINFO] = "MemTotal: 8010000 kB\nMemFree: 120000 kB\nBuffers: 40000 kB\nCached: 300 kB\n"
    record = printed(proc.run("memory-sampler", "--print"))
    present = {field.name for field in fields_from("MEMINFO") if record[field.name] is not None}
    assert present == {"mem_total", "mem_free", "buffers", "cached"}


@pytest.mark.parametrize("available", [0, 8_010_001, 8_010_000, 1])
def test_mem_available_is_what_the_file_says(proc, available):
    # libproc2 would say MemFree for the first two
    freeze(proc)
    proc[MEMINFO] = f"MemTotal: 8010000 kB\nMemFree: 120000 kB\nMemAvailable: {available} kB\n"
    assert printed(proc.run("memory-sampler", "--print"))["mem_available"] == available


def test_a_vmstat_longer_than_libproc2_reads(proc):
    freeze(proc)
    text = "".join(f"nr_something_of_the_future_{i} 4711\n" for i in range(400)) + numbered_vmstat()
    proc[VMSTAT] = text
    assert_fields(printed(proc.run("memory-sampler", "--print")), vmstat_values(text))


def test_lines_that_make_no_sense(proc):
    proc.copy(MEMINFO)
    proc[VMSTAT] = "oom_kill minus one\npswpin 5\npswpout 99999999999999999999\n"
    proc[PRESSURE] = "some avg10=nan total=-1\n\x00\xff\x1b[31m\n"
    proc[UPTIME] = "soon\n"
    proc[BOOT_ID] = "none\n"
    done = proc.run("memory-sampler", "--print")
    record = printed(done)
    assert record["pswpin"] == 5
    absent = ("oom_kill", "pswpout", "psi_some_us", "psi_full_us", "uptime_s", "boot_id")
    assert {name: record[name] for name in absent} == dict.fromkeys(absent)
    warnings = done.stderr.splitlines()
    assert len(warnings) == 5
    for warning, evidence in zip(warnings, ("oom_kill minus one", "pswpout 999", "some avg10=nan",
                                            "soon", "none")):
        assert " warning memory-sampler: /proc/" in warning and evidence in warning


@pytest.mark.parametrize("meminfo, missing", [
    ("", "MemTotal"),
    ("MemFree: 5 kB\nMemAvailable: 5 kB\n", "MemTotal"),
    ("MemTotal: 0 kB\nMemFree: 0 kB\n", "MemTotal"),
    ("MemTotal: lots\nMemFree: 5 kB\n", "MemTotal"),
    ("MemTotal: 5 kB\nCached: 1 kB\n", "MemAvailable or MemFree"),
    ("\x01" * 9000, "MemTotal"),
])
def test_a_meminfo_that_tells_nothing_is_an_error_with_its_evidence(proc, home, meminfo, missing):
    freeze(proc)
    proc[MEMINFO] = meminfo
    for arguments in (["--print"], []):
        done = proc.run("memory-sampler", *arguments, env=home.environment)
        assert done.returncode == 1
        assert done.stdout == ""
        line = done.stderr.splitlines()[-1]
        assert f"/proc/meminfo has no usable line {missing}; it begins: " in line
        assert meminfo.split("\n")[0][:20].replace("\x01", "\\x01") in line
    assert not home.db.exists() and not home.spool.exists()


def test_no_proc_at_all(tmp_path, home):
    if sanitizer():
        not_in_this_build("a sanitized program needs /proc/self")
    done = WholeProc(tmp_path / "proc").run("memory-sampler", env=home.environment)
    assert done.returncode == 1
    assert "cannot read /proc/meminfo: No such file or directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not home.db.exists()


def test_zfs(tmp_path):
    if sanitizer():
        not_in_this_build("a sanitized program needs /proc/self")
    proc = WholeProc(tmp_path / "proc")
    proc.copy(MEMINFO, VMSTAT)
    proc[ARCSTATS] = ("13 1 0x01 147 39984 8013573370 2070650000000\n"
                      "name                            type data\n"
                      "c                               4    4294967296\n"
                      "c_min                           4    789710848\n"
                      "size                            4    123456789\n")
    record = printed(proc.run("memory-sampler", "--print"))
    assert record["zfs_arc_size"] == 123456789 // 1024
    assert record["zfs_arc_min"] == 789710848 // 1024
    assert record["boot_id"] is None and record["uptime_s"] is None
    proc[ARCSTATS] = proc[ARCSTATS].replace("c_min ", "c_mid ")
    again = printed(proc.run("memory-sampler", "--print"))
    assert again["zfs_arc_min"] is None
    assert without(again, "zfs_arc_min") == without(record, "zfs_arc_min")


CONSTANT = ("mem_total", "swap_total", "commit_limit", "hugetlb")


def read_live():
    with open(MEMINFO, encoding="ascii") as meminfo, open(VMSTAT, encoding="ascii") as vmstat:
        values = {**meminfo_values(meminfo.read()), **vmstat_values(vmstat.read())}
    with open(PRESSURE, encoding="ascii") as pressure:
        values.update(pressure_values(pressure.read()))
    return values


def test_live_files_between_two_readings():
    counters = {field.name for field in FIELDS if field.kind == "COUNTER"}

    def bracketed():
        before = read_live()
        done = run("memory-sampler", "--print")
        after = read_live()
        record = printed(done)
        for name in before:
            if before[name] is None:
                assert record[name] is None
            elif name in CONSTANT:
                assert record[name] == before[name]
            elif name in counters:
                assert before[name] <= record[name] <= after[name], name
        # gauges go up and down; the machine has to be calm for a moment to compare them
        slack = 4096
        return all(min(before[name], after[name]) - slack <= record[name]
                   <= max(before[name], after[name]) + slack
                   for name in before if before[name] is not None and name not in counters)

    wait_until(bracketed, 60, "a record between two readings of /proc/meminfo")


def test_print_needs_neither_store_nor_outbox(tmp_path):
    nowhere = tmp_path / "missing/deep"
    done = run("memory-sampler", "--print", "--store", f"sqlite:{nowhere}/memory.db", "--spool",
               nowhere / "spool.db")
    printed(done)
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_print_to_a_full_disk_is_a_failure():
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([program_path("memory-sampler"), "--print"], stdout=full, text=True,
                              stderr=subprocess.PIPE, env=clean_environment(), check=False)
    assert done.returncode == 1
    assert "standard output" in done.stderr
