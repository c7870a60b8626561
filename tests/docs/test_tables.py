"""What the documents say in tables is what the program's tables say."""

import pathlib
import re
import subprocess

import pytest

from support import ROOT, program_path


def rows(document, first_header):
    """The rows of the table whose first column has that header, as lists of cells."""
    lines = (ROOT / document).read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first_header} |"))
    found = []
    for line in lines[start + 2:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    assert found
    return found


def macro_rows(path, macro):
    """The arguments of every MACRO(...) of a .def file, as text without quotes."""
    text = re.sub(r"/\*.*?\*/", "", (ROOT / path).read_text(), flags=re.DOTALL)
    found = []
    for body in re.findall(rf"^{macro}\((.*?)\)$", text, flags=re.DOTALL | re.MULTILINE):
        cells = re.findall(r'"(?:[^"\\]|\\.)*"|[^,\s][^,]*', body)
        found.append([cell.strip().strip('"') for cell in cells])
    assert found
    return found


def unticked(cell):
    return cell.replace("`", "")


def test_settings_of_the_readme():
    documented = {unticked(name): (unticked(default), unticked(text))
                  for name, default, text in rows("README.md", "setting")}
    real = {row[0]: ("" if row[3] == "NULL" else row[3], row[-1])
            for row in macro_rows("memory_tracker/base/setting.def", "MT_SETTING")}
    assert list(documented) == list(real)
    for name, (default, text) in real.items():
        assert documented[name][0] == default, name
        assert documented[name][1].startswith(text), name


def test_options_of_a_mongodb_uri_are_all_that_the_driver_has():
    headers = subprocess.run(["pkg-config", "--variable=includedir", "libmongoc-1.0"],
                             capture_output=True, text=True, check=True).stdout.strip()
    header = next(pathlib.Path(headers).glob("**/mongoc-uri.h")).read_text()
    driver = set(re.findall(r'#define MONGOC_URI_\w+\s*(?:\\\n)?\s*"(\w+)"', header))
    assert len(driver) > 40
    table = (ROOT / "memory_tracker/store/uri_option.def").read_text()
    ours = re.findall(r"^MT_URI_(?:OPTION|REFUSED)\((\w+),", table, re.MULTILINE)
    assert driver <= {name.lower() for name in ours}


def test_fields_of_the_record():
    documented = [unticked(row[0]) for row in rows("docs/record.md", "name")[:3]]
    assert documented == ["host", "timestamp", "boot_id"]
    text = (ROOT / "docs/record.md").read_text()
    documented = re.findall(r"^\| `(\w+)` \| (gauge|counter|state) \| (\w+) \|", text, re.MULTILINE)
    real = [(row[1], row[2].lower(), row[3])
            for row in macro_rows("memory_tracker/record/field.def", "MT_FIELD")]
    assert documented == real


def test_parameters_of_the_api():
    documented = [[unticked(cell) for cell in row] for row in rows("docs/api.md", "parameter")]
    table = []
    for _, name, kind, least, below, default, text in macro_rows(
        "memory_tracker/api/parameter.def", "MT_PARAMETER"
    ):
        assert kind == "INTEGER"
        bounds = f"> {least} if given" if below == "MT_UNBOUNDED" else f"{least} < {name} < {below}"
        table.append([name, f"integer, {bounds}: {text}", "none" if default == "0" else default])
    assert documented == table


def test_parameters_of_the_store_protocol():
    documented = [[unticked(cell) for cell in row] for row in rows("docs/api.md", "store parameter")]
    table = []
    for _, name, kind, above, _, default, choices, text in macro_rows(
        "memory_tracker/api/parameter.def", "MT_STORE_PARAMETER"
    ):
        words = choices.split("|")
        rule = {
            "INTEGER": "integer >= 0" if above == "-1" else "integer",
            "UNSIGNED": "unsigned",
            "CHOICE": " or ".join(words),
            "FIELDS": "names",
        }[kind]
        default = {"MT_REQUIRED": "must be given", "MT_FIELD_ALL": "all"}.get(default, default)
        if kind == "CHOICE":
            default = words[int(default)] if len(words) > 1 else "none given"
        if name == "now":
            default = "none given"
        table.append([name, f"{rule}: {text}", default])
    assert documented == table


def test_paths_of_the_api():
    documented = [unticked(row[0]) for row in rows("docs/api.md", "path")]
    router = (ROOT / "memory_tracker/api/router.c").read_text()
    assert documented == re.findall(r'^    \{"(/[^"]*)", ', router, flags=re.MULTILINE)


def test_errors_of_the_operations_manual():
    names = {row[1] for row in macro_rows("memory_tracker/base/error.def", "MT_ERROR")}
    documented = [row[0] for row in rows("docs/operations.md", "name")]
    assert set(documented) <= names
    # the store's errors are those that an operator meets
    store = {"store locked", "disk full", "store read-only", "store missing", "permission denied",
             "not a database", "newer schema", "store corrupt", "store unavailable"}
    assert store <= set(documented)


def options_of(command):
    done = subprocess.run([program_path(command[0]), *command[1:], "--help"],
                          capture_output=True, text=True, check=True)
    options = re.findall(r"^  --([a-z-]+)", done.stdout, re.MULTILINE)
    assert {"help", "version", "config"} <= set(options)
    return options


def subcommands():
    done = subprocess.run([program_path("memory-tracker"), "--help"],
                          capture_output=True, text=True, check=True)
    names = re.findall(r"^  ([a-z]+)\s", done.stdout, re.MULTILINE)
    assert {"logs", "hosts", "import", "export", "verify", "config"} <= set(names)
    return names


@pytest.mark.parametrize("program", ["memory-sampler", "memory-api", "memory-tracker"])
def test_every_option_is_in_the_man_page(program):
    page = (ROOT / f"docs/man/{program}.1").read_text()
    documented = set(re.findall(r"\bFl -([a-z-]+)", page))
    commands = [[program]]
    if program == "memory-tracker":
        commands = [[program, name] for name in subcommands() if name != "help"]
    for command in commands:
        for option in options_of(command):
            assert option in documented, f"{' '.join(command)} --{option}"


def test_every_subcommand_is_in_the_man_page():
    page = (ROOT / "docs/man/memory-tracker.1").read_text()
    for name in subcommands():
        assert re.search(rf"\b{name}\b", page), name


def test_the_version_is_the_projects():
    project = (ROOT / "CMakeLists.txt").read_text()
    version = re.search(r"VERSION (\d+\.\d+\.\d+) LANGUAGES", project).group(1)
    for program in ["memory-sampler", "memory-api", "memory-tracker"]:
        done = subprocess.run([program_path(program), "--version"],
                              capture_output=True, text=True, check=True)
        assert done.stdout == f"{program} {version}\n"
    assert f"\n## {version}" in (ROOT / "CHANGES.md").read_text()


def test_packages_of_the_readme():
    line = re.search(r"^apt-get install (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    listed = re.search(r"^build_packages=\((.*?)\)", (ROOT / "script/packages.sh").read_text(),
                       re.MULTILINE | re.DOTALL).group(1).split()
    # the rest is on every Debian, or what script/run itself uses
    assert set(listed) - set(line.group(1).split()) <= {"ca-certificates", "procps", "util-linux"}
    assert set(line.group(1).split()) <= set(listed)


def test_documents_name_files_that_exist():
    documents = [ROOT / name for name in ["README.md", "CONTRIBUTING.md", "SECURITY.md",
                                          "CHANGES.md"]] + sorted((ROOT / "docs").glob("*.md"))
    for document in documents:
        text = document.read_text()
        for name in re.findall(r"(?<![\w/])(?:docker|docs|memory_tracker|tests|script|cron)/[\w./-]*\w", text):
            assert (ROOT / name).exists(), f"{document.name}: {name}"


STACKS = ["docker-compose-deploy.yml", "docker-compose-deploy-http.yml"]


@pytest.mark.parametrize("stack", STACKS)
def test_labels_of_the_readme_are_those_of_the_stack(stack):
    text = (ROOT / stack).read_text()
    labels = re.findall(r"^        - ((?:traefik|memory-tracker)\.\S+?)=", text, re.MULTILINE)
    labels += re.findall(r"^        - \$\{TRAEFIK_NETWORK_LABEL:-(\S+?)\}=", text, re.MULTILINE)
    documented = [unticked(name).split("=")[0] for name, *_ in rows("README.md", "label")]
    assert len(labels) > 8
    assert sorted(documented) == sorted(label.removeprefix("traefik.") for label in labels)


def variables(file):
    """{name: default, or None where the file refuses to go without} of what a file takes."""
    found = re.findall(r"\$\{(\w+)(:?[-?])?([^}]*)\}", (ROOT / file).read_text())
    return {name: None if "?" in operator else default for name, operator, default in found if operator}


def test_variables_of_the_readme_are_those_of_the_stacks():
    known = {name: default for stack in STACKS for name, default in variables(stack).items()}
    example = (ROOT / ".env.example").read_text()
    documented = {unticked(name): unticked(default)
                  for name, default, _ in rows("README.md", "variable")}
    assert {name for name, default in known.items() if default is None} <= set(documented)
    for name, default in documented.items():
        assert default == (known[name] or "none"), name
    for file in [*STACKS, "docker/traefik.yml", "docker/traefik-https.yml"]:
        for name in variables(file):
            assert re.search(rf"^#?{name}=", example, re.MULTILINE), f"{file}: {name}"
