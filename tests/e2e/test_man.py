"""The man pages say what --help says, no less and no more."""

import json
import re

import pytest

from support import ROOT, run

PAGES = ROOT / "docs/man"
SUBCOMMANDS = ["logs", "hosts", "import", "export", "verify", "compact", "prune", "spool", "config"]


def help_options(*command):
    """{"--limit": "COUNT", "--json": ""} from --help."""
    done = run(*command, "--help")
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^  (--[a-z-]+) ?(\S*)$", done.stdout, re.MULTILINE))


def man_options(text):
    """The same from mdoc source: `.It Fl -limit Ar COUNT`."""
    found = re.findall(r"^\.It Fl -([a-z-]+)(?: Ar (\S+))?$", text, re.MULTILINE)
    assert len(found) == len({name for name, _ in found}), "an option is described twice"
    return {f"--{name}": placeholder for name, placeholder in found}


def section(text, heading):
    """What stands under a .Sh or .Ss line, up to the next of its kind."""
    kind = heading[:3]
    after = text.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"^(?:\.Sh|{re.escape(kind)}) ", after, maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize("program", ["memory-sampler", "memory-api"])
def test_a_program_and_its_page(program):
    text = (PAGES / f"{program}.1").read_text()
    options = help_options(program)
    assert len(options) > 5
    assert man_options(text) == options


def test_the_courier_takes_what_the_sampler_takes():
    own = man_options((PAGES / "memory-courier.1").read_text())
    assert own == {"--tend": ""}
    options = man_options((PAGES / "memory-sampler.1").read_text())
    assert options.pop("--print") == options.pop("--health-check") == ""
    assert help_options("memory-courier") == {**options, **own}


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_a_subcommand_and_its_section(name):
    text = (PAGES / "memory-tracker.1").read_text()
    heading = f".Ss {name}" + {"import": " Ar FILE", "spool": " Op Cm flush | rejected"}.get(name, "")
    common = man_options(section(text, ".Sh OPTIONS OF ALL SUBCOMMANDS"))
    own = man_options(section(text, heading))
    assert not set(common) & set(own)
    assert {**common, **own} == help_options("memory-tracker", name)


def test_the_page_has_every_subcommand():
    text = (PAGES / "memory-tracker.1").read_text()
    headings = re.findall(r"^\.Ss ([a-z]+)", section(text, ".Sh SUBCOMMANDS"), re.MULTILINE)
    listed = re.findall(r"^  ([a-z]+) +\S", run("memory-tracker").stdout.split("Options:")[0], re.MULTILINE)
    assert sorted(headings) == sorted(set(listed) - {"help"})


def test_every_setting_and_its_default():
    text = (PAGES / "memory-tracker.conf.5").read_text()
    rows = json.loads(run("memory-tracker", "config", "--json").stdout)["settings"]
    defaults = {row["name"]: row["value"] for row in rows}
    body = section(text, ".Sh SETTINGS")
    described = re.findall(r"^\.It Ev (\S+)\n((?:(?!\.It Ev).*\n)*)", body, re.MULTILINE)
    names = [name for name, _ in described]
    assert len(names) == len(set(names))
    table = (ROOT / "memory_tracker/base/setting.def").read_text()
    secrets = [name for name, row in re.findall(r"^MT_SETTING\((\w+),(.*?)\)$", table, re.MULTILINE | re.DOTALL)
               if "MT_SETTING_SECRET" in row]
    files = {name + "_FILE" for name in defaults if name.removeprefix("MEMORY_TRACKER_") in secrets}
    assert len(files) == len(secrets) > 1
    assert set(names) == set(defaults) | files
    for name, said in described:
        default = re.search(r"^Default:\n\.Li (\S+)$", said, re.MULTILINE)
        if default:
            assert default[1].replace("\\-", "-") == defaults[name], name
        else:
            assert "default" in said or name.endswith("_FILE"), name


def test_every_option_of_a_mongodb_uri():
    text = (PAGES / "memory-tracker.conf.5").read_text()
    table = (ROOT / "memory_tracker/store/uri_option.def").read_text()
    known = re.findall(r"^MT_URI_OPTION\((\w+), MONGODB", table, re.MULTILINE)
    assert len(known) > 40
    body = text.split("\n.Sh OPTIONS OF A MONGODB URI\n")[1].split("\n.Sh ")[0]
    described = re.findall(r"^\.It Li (\w+)= Ns Ar \S+$", body, re.MULTILINE)
    assert sorted(described) == sorted(known)


def test_the_table_of_settings_in_help_has_the_same_defaults():
    rows = json.loads(run("memory-tracker", "config", "--json").stdout)["settings"]
    defaults = {row["name"]: row["value"] for row in rows}
    for program in ("memory-sampler", "memory-api"):
        said = re.findall(
            r"^  --([a-z-]+) \S+\n.*\(default: (\S+)\)$", run(program, "--help").stdout, re.MULTILINE
        )
        assert said
        for option, value in said:
            name = option.upper().replace("-", "_")
            assert defaults[name if name.startswith("DOCDB_") else f"MEMORY_TRACKER_{name}"] == value


@pytest.mark.parametrize("page", sorted(path.name for path in PAGES.iterdir()))
def test_a_page_has_its_sections(page):
    text = (PAGES / page).read_text()
    headings = re.findall(r"^\.Sh (.+)$", text, re.MULTILINE)
    for heading in ("NAME", "DESCRIPTION", "ENVIRONMENT", "FILES", "EXIT STATUS", "EXAMPLES", "SEE ALSO"):
        assert heading in headings


def test_formulas_are_all_described():
    text = (PAGES / "memory-tracker.1").read_text()
    said = run("memory-tracker", "logs", "--used", "?").stderr
    names = re.findall(r"[a-z0-9]+", re.search(r"give (.*?);", said)[1].replace(" or ", ", "))
    assert len(names) == 5
    for name in names:
        assert f".It Cm {name}\n" in text
