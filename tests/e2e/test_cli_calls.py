"""A table of calls of memory-tracker, each with its whole output.

All run against the same history at the same instant. In the error lines the time of day is left out:
they begin with the level.
"""

import re
import textwrap

import pytest

from support import Home

NOW = 1798707600  # 2026-12-31T09:00:00Z

# two hosts; one has parts of formulas, one a record dated in the future
HISTORY = """\
host,timestamp,boot_id,uptime_s,mem_total,mem_free,mem_available,buffers,cached,s_reclaimable,s_unreclaim,shmem
web-1,1798707420,0f5a2c1e-9b7d-4e6f-8a3b-1c2d3e4f5a6b,1000,8388608,1048576,4194304,102400,2097152,204800,51200,307200
db-1,1798707421,,,16777216,,8388608,,,,,
web-1,1798707480,0f5a2c1e-9b7d-4e6f-8a3b-1c2d3e4f5a6b,1060,8388608,1048000,4193280,102400,2097152,204800,51200,307200
db-1,1798707481,,,16777216,,8387584,,,,,
web-1,1798707540,0f5a2c1e-9b7d-4e6f-8a3b-1c2d3e4f5a6b,1120,8388608,1046000,4192256,102400,2097152,204800,51200,307200
db-1,1798710000,,,16777216,,8386560,,,,,
"""

LOGS = """\
TIME                  HOST   TOTAL/MiB  FREE/MiB  USED/MiB
2026-12-31T08:57:00Z  web-1       8192      4096      4096
2026-12-31T08:57:01Z  db-1       16384      8192      8192
2026-12-31T08:58:00Z  web-1       8192      4095      4097
2026-12-31T08:58:01Z  db-1       16384      8191      8193
2026-12-31T08:59:00Z  web-1       8192      4094      4098
"""

EXPORT_HEADER = (
    "host,timestamp,boot_id,uptime_s,interval_s,mem_total,mem_free,mem_available,buffers,cached,"
    "s_reclaimable,s_unreclaim,shmem,anon_pages,mapped,page_tables,kernel_stack,percpu,dirty,"
    "writeback,committed_as,commit_limit,swap_total,swap_free,swap_cached,zswap,zswapped,hugetlb,"
    "hugetlb_free,zfs_arc_size,zfs_arc_min,psi_some_us,psi_full_us,oom_kill,pgmajfault,pswpin,"
    "pswpout,allocstall,pgscan_direct,workingset_refault_anon,workingset_refault_file\n"
)

SEE = "; see memory-tracker"
COUNT = "give a whole number from"
TIME = "give Unix seconds or UTC as 2026-11-21 or 2026-11-21T09:00:00Z"
HOST = "give a name of 1 to 255 bytes without spaces and control characters"

# (arguments, exit status, standard output, standard error)
CALLS = [
    ("--version", 0, "memory-tracker 0.1.0\n", ""),
    ("logs --version", 0, "memory-tracker 0.1.0\n", ""),
    ("lgos", 2, "", f"error unknown subcommand 'lgos'; did you mean logs?{SEE} --help"),
    ("help lgos", 2, "", f"error unknown subcommand 'lgos'; did you mean logs?{SEE} --help"),
    ("frobnicate", 2, "", f"error unknown subcommand 'frobnicate'{SEE} --help"),
    ("", 0, None, ""),
    (
        "--limit 3 logs", 2, "",
        f"error unknown option --limit; options follow the subcommand{SEE} --help",
    ),
    ("logs", 0, LOGS, ""),
    ("logs --limit 99999999999", 0, LOGS, ""),
    ("logs --limit all", 0, LOGS, ""),
    (
        "logs --limit=2", 0,
        """\
        TIME                  HOST   TOTAL/MiB  FREE/MiB  USED/MiB
        2026-12-31T08:58:01Z  db-1       16384      8191      8193
        2026-12-31T08:59:00Z  web-1       8192      4094      4098
        """,
        "",
    ),
    (
        "logs --limit 1 --skip 1", 0,
        """\
        TIME                  HOST  TOTAL/MiB  FREE/MiB  USED/MiB
        2026-12-31T08:58:01Z  db-1      16384      8191      8193
        """,
        "",
    ),
    ("logs --skip 5", 0, "TIME  HOST  TOTAL/MiB  FREE/MiB  USED/MiB\n", ""),
    ("logs --skip 5 --json", 0, "[]\n", ""),
    ("logs --skip 5 --csv", 0, "timestamp,host,total,free,used\n", ""),
    (
        "logs --host db-1 --limit 2", 0,  # a host that is named shows its future, too
        """\
        TIME                  HOST  TOTAL/MiB  FREE/MiB  USED/MiB
        2026-12-31T08:58:01Z  db-1      16384      8191      8193
        2026-12-31T09:40:00Z  db-1      16384      8190      8194
        """,
        "",
    ),
    (
        "logs --host db-2", 0, "TIME  HOST  TOTAL/MiB  FREE/MiB  USED/MiB\n",
        "warning no records of host 'db-2'; memory-tracker hosts lists all",
    ),
    (
        "logs --limit 2 --used htop", 0,
        """\
        TIME                  HOST   TOTAL/MiB  FREE/MiB  USED/MiB
        2026-12-31T08:58:01Z  db-1       16384      8191         -
        2026-12-31T08:59:00Z  web-1       8192      4094      5122
        """,
        "",
    ),
    (
        "logs --limit 2 --used procps3 --json", 0,
        """\
        [
        {"host":"db-1","timestamp":1798707481,"total":16384,"free":8191,"used":null},
        {"host":"web-1","timestamp":1798707540,"total":8192,"free":4094,"used":4822}
        ]
        """,
        "",
    ),
    (
        "logs --limit 2 --used sar --csv", 0,
        """\
        timestamp,host,total,free,used
        1798707481,db-1,16384,8191,
        1798707540,web-1,8192,4094,4772
        """,
        "",
    ),
    (
        "logs --limit 1 --used free --csv", 0,
        """\
        timestamp,host,total,free,used
        1798707540,web-1,8192,4094,7170
        """,
        "",
    ),
    (
        "logs --limit 0", 2, "",
        f"error --limit: bad value '0': {COUNT} 1, or all{SEE} logs --help",
    ),
    (
        "logs --limit -1", 2, "",
        f"error --limit: bad value '-1': {COUNT} 1, or all{SEE} logs --help",
    ),
    (
        "logs --limit ten", 2, "",
        f"error --limit: bad value 'ten': {COUNT} 1, or all{SEE} logs --help",
    ),
    ("logs --limit=", 2, "", f"error --limit: bad value '': {COUNT} 1, or all{SEE} logs --help"),
    ("logs --limit", 2, "", f"error --limit needs a value{SEE} logs --help"),
    ("logs --limit 1 --limit 2", 2, "", f"error --limit is given twice{SEE} logs --help"),
    (
        "logs --skip 1.5", 2, "",
        f"error --skip: bad value '1.5': {COUNT} 0{SEE} logs --help",
    ),
    (
        "logs --used hotp", 2, "",
        "error --used: bad value 'hotp': give available, free, procps3, htop or sar"
        f"{SEE} logs --help",
    ),
    (
        "logs --json --csv", 2, "",
        f"error --json and --csv exclude each other; keep one{SEE} logs --help",
    ),
    (["logs", "--host", "a b"], 2, "", f"error --host: bad value 'a b': {HOST}{SEE} logs --help"),
    ("logs --hots a", 2, "", f"error unknown option --hots; did you mean --host?{SEE} logs --help"),
    ("logs web-1", 2, "", f"error unexpected argument 'web-1'{SEE} logs --help"),
    (
        "logs --store mysql:x", 2, "",
        "error --store: bad value 'mysql:x': give sqlite:PATH (for example "
        "sqlite:/var/lib/memory-tracker/memory.db), mongodb://HOST/DATABASE, "
        f"mongodb+srv://HOST/DATABASE, http://HOST or https://HOST{SEE} logs --help",
    ),
    (
        "hosts", 0,
        """\
        HOST   RECORDS  FIRST                 LAST                   AGE  FUTURE
        db-1         3  2026-12-31T08:57:01Z  2026-12-31T09:40:00Z     -       1
        web-1        3  2026-12-31T08:57:00Z  2026-12-31T08:59:00Z  1min       0
        """,
        "",
    ),
    (
        "hosts --json", 0,
        """\
        [
        {"host":"db-1","records":3,"first":1798707421,"last":1798710000,"age_s":-2400,"future":1},
        {"host":"web-1","records":3,"first":1798707420,"last":1798707540,"age_s":60,"future":0}
        ]
        """,
        "",
    ),
    (
        "export --host web-1 --from 2026-12-31T08:59:00Z", 0,
        EXPORT_HEADER + "web-1,1798707540,0f5a2c1e-9b7d-4e6f-8a3b-1c2d3e4f5a6b,1120,,8388608,"
        "1046000,4192256,102400,2097152,204800,51200,307200,,,,,,,,,,,,,,,,,,,,,,,,,,,,\n",
        "",
    ),
    ("export --from 1798710001", 0, EXPORT_HEADER, ""),
    ("export --json --to 1798707420", 0, "", ""),
    (
        "export --json --csv", 2, "",
        f"error --json and --csv exclude each other; keep one{SEE} export --help",
    ),
    (
        "export --from yesterday", 2, "",
        f"error --from: bad value 'yesterday': {TIME}{SEE} export --help",
    ),
    (
        "export --to 2026-02-30", 2, "",
        f"error --to: bad value '2026-02-30': {TIME}{SEE} export --help",
    ),
    (
        "export --from 2026-11-22 --to 2026-11-21", 2, "",
        f"error --to: bad value '2026-11-21': must be later than --from{SEE} export --help",
    ),
    (
        "verify", 0,
        """\
        STORE: sound
        db-1: 3 records from 2026-12-31T08:57:01Z to 2026-12-31T09:40:00Z
          warning: 1 record dated in the future
        web-1: 3 records from 2026-12-31T08:57:00Z to 2026-12-31T08:59:00Z
        2 hosts, 6 records: 0 problems, 1 warning
        """,
        "",
    ),
    ("import", 2, "", f"error missing argument: FILE{SEE} import --help"),
    ("import a b", 2, "", f"error unexpected argument 'b'{SEE} import --help"),
    (
        ["import", "x.csv", "--host", ""], 2, "",
        f"error --host: bad value '': {HOST}{SEE} import --help",
    ),
    ("import a -h", 2, "", f"error unknown option -h; options are long, as in --help{SEE} import --help"),
    (
        "config --config /nonexistent/x", 4, "",
        "error bad configuration: cannot read /nonexistent/x: No such file or directory",
    ),
]


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("history"))
    home.import_csv(HISTORY)
    return home


def plain(home, text):
    """Lines of a log without their time and program; the store's path as STORE."""
    text = text.replace(home.store, "STORE")
    return re.sub(r"^\S+Z (\w+) memory-tracker: ", r"\1 ", text, flags=re.MULTILINE)


def words(arguments):
    return arguments if isinstance(arguments, list) else arguments.split()


@pytest.mark.parametrize("call", CALLS, ids=lambda call: " ".join(words(call[0])) or "(none)")
def test_call(history, call):
    arguments, status, out, err = call
    done = history.run("memory-tracker", *words(arguments), clock=history.clock(NOW))
    assert plain(history, done.stderr) == (err + "\n" if err else "")
    assert done.returncode == status
    if out is not None:
        assert plain(history, done.stdout) == textwrap.dedent(out)


def test_the_overview_lists_every_subcommand(history):
    done = history.run("memory-tracker", "--help")
    assert done.returncode == 0
    assert done.stdout == history.run("memory-tracker").stdout
    assert done.stdout == history.run("memory-tracker", "help").stdout
    listed = re.findall(r"^  ([a-z]+) +\S", done.stdout.split("Options:")[0], re.MULTILINE)
    assert listed == ["logs", "hosts", "import", "export", "verify", "compact", "prune", "spool",
                      "config", "help"]


@pytest.mark.parametrize("name", ["logs", "hosts", "import", "export", "verify", "spool", "config"])
def test_help_is_the_same_in_both_spellings(history, name):
    done = history.run("memory-tracker", name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: memory-tracker {name} [OPTION...]")
    assert done.stdout == history.run("memory-tracker", "help", name).stdout


def test_an_empty_store(home):
    home.import_csv("timestamp,total,free,used\n")
    for arguments, expected in [
        (["logs"], "TIME  HOST  TOTAL/MiB  FREE/MiB  USED/MiB\n"),
        (["logs", "--json"], "[]\n"),
        (["hosts"], "HOST  RECORDS  FIRST  LAST  AGE  FUTURE\n"),
        (["hosts", "--json"], "[]\n"),
        (["export"], EXPORT_HEADER),
        (["export", "--json"], ""),
        (["verify"], f"{home.store}: sound\n0 hosts, 0 records: 0 problems, 0 warnings\n"),
    ]:
        done = home.run("memory-tracker", *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, expected, ""), arguments


@pytest.mark.parametrize("arguments", [["logs"], ["hosts"], ["verify"], ["export"]])
def test_a_missing_store_is_one_line_and_status_3(home, arguments):
    done = home.run("memory-tracker", *arguments)
    assert done.returncode == 3
    assert done.stdout == ""
    assert re.fullmatch(rf"\S+ error memory-tracker: store missing: .*{home.db}.*\n", done.stderr)
    assert not home.db.exists()
