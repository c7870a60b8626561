"""The images: what they hold, and what their containers do on an engine."""

import hashlib
import json
import os
import re
import sqlite3
import stat
import subprocess
import time

import pytest

from support import ROOT, images, scaled, wait_until
from support.containers import CRON, HARDENED, USER, Container, Content

VERSION = images.version()
API = f"memory_tracker-api:{VERSION}"
SAMPLER = f"memory_tracker-sampler:{VERSION}"
ALL_IN_ONE = f"memory_tracker-all-in-one:{VERSION}"
IMAGES = (API, f"{API}-full", SAMPLER, f"{SAMPLER}-full", ALL_IN_ONE)
WITH_CRON = (SAMPLER, f"{SAMPLER}-full", ALL_IN_ONE)
SETUID_AND_SETGID = 1 << 7 | 1 << 6
DATA = "/var/lib/memory-tracker"
# for a container that does without a network; its health is known in tests' time, while the images'
# own interval is that of test_dev.py
ALONE = (*HARDENED, "--network", "none", "--health-interval", "1s")
# for a sampler, with a volume that goes with it
SAMPLING = (*ALONE, *CRON, "--volume", DATA)


@pytest.fixture(scope="module")
def contents():
    return {name: Content(archive) for name, archive in zip(IMAGES, images.archives(IMAGES))}


@pytest.fixture
def start(node):
    """start(IMAGE, OPTION...): a container that is removed in the end."""
    started = []

    def start_one(image, *options, command=()):
        started.append(Container(node, *options, image, *command))
        return started[-1]

    yield start_one
    for container in started:
        container.remove()


@pytest.fixture
def no_cron(tmp_path):
    """Options for a container whose crontab has no line, so that its samples are the test's."""
    path = tmp_path / "crontab"
    path.write_text("")
    path.chmod(0o644)
    return ("--volume", f"{path}:/etc/crontab:ro")


@pytest.fixture(scope="module")
def lasting(node):
    """A sampler that runs while the other tests do, until its second minute."""
    container = Container(node, *SAMPLING, "--memory", "64m", "--hostname", "lasting", SAMPLER)
    yield container
    container.remove()


def records(container):
    lines = container.exec("memory-tracker", "export", "--json").stdout.splitlines()
    return [json.loads(line) for line in lines]


def test_the_images_hold_what_they_need_and_nothing_more(contents):
    tools = {"gcc", "cc", "ld", "as", "cmake", "apt", "apt-get", "dpkg", "perl", "python3", "crontab",
             "su", "mount", "bash"}
    for name, content in contents.items():
        programs = {os.path.basename(path) for path in content.files
                    if path.startswith(("usr/bin/", "usr/sbin/"))}
        assert "memory-tracker" in programs
        assert not programs & tools, name
        shells = programs & {"sh", "dash"}
        assert shells == ({"sh", "dash"} if name in WITH_CRON else set()), name
        wrong = [path for path, file in content.files.items()
                 if path.endswith((".h", ".a", ".o", ".la", ".pc")) or "zoneinfo" in path
                 or file.isfile() and file.mode & (stat.S_ISUID | stat.S_ISGID)
                 or file.isfile() and file.mode & stat.S_IWOTH]
        assert not wrong, (name, wrong)
        modules = {path.rpartition("store-")[2] for path in programs_modules(content)}
        assert modules == ({"http.so", "mongodb.so"} if name.endswith("-full")
                           else {"http.so"} if name == SAMPLER else set()), name


def programs_modules(content):
    return [path for path in content.files
            if path.startswith("usr/lib/memory-tracker/memory-tracker-store-")]


def test_everybody_but_the_sampler_owns_no_file(contents):
    for name, content in contents.items():
        owned = {path for path, file in content.files.items() if (file.uid, file.gid) != (0, 0)}
        assert owned == {"var/lib/memory-tracker"}, name
        directory = content.files["var/lib/memory-tracker"]
        assert (directory.uid, directory.gid) == (USER, USER)
        assert re.search(f"^memory-tracker:x:{USER}:{USER}:",
                         content.texts["etc/passwd"].decode(), re.MULTILINE)


def test_scanners_find_the_packages_and_readers_their_licences(contents):
    for name, content in contents.items():
        packages = {path.rpartition("/")[2]: text.decode()
                    for path, text in content.texts.items() if "/status.d/" in path}
        assert {"base-files", "libc6", "libsqlite3-0"} <= set(packages), name
        assert ("libmongoc-1.0-0" in packages) == name.endswith("-full")
        for package, status in packages.items():
            assert f"Package: {package}\n" in status and "\nVersion: " in status
            assert len(content.texts[f"usr/share/doc/{package}/copyright"]) > 100
        assert b"Apache License" in content.texts["usr/share/doc/memory-tracker/copyright"]
        assert b"bookworm" in content.texts["usr/lib/os-release"]


def test_the_sbom_lists_every_package_and_every_file(contents):
    own = "usr/share/doc/memory-tracker/sbom.spdx.json"
    for name, content in contents.items():
        sbom = json.loads(content.texts[own])
        assert sbom["spdxVersion"] == "SPDX-2.3" and sbom["SPDXID"] == "SPDXRef-DOCUMENT"
        packages = {package["name"]: package for package in sbom["packages"]}
        installed = {path.rpartition("/")[2]: text.decode()
                     for path, text in content.texts.items() if "/status.d/" in path}
        for package, status in installed.items():
            found = packages[package]["versionInfo"]
            assert f"\nVersion: {found}\n" in status
        assert packages["memory-tracker"]["licenseConcluded"] == "Apache-2.0"
        assert packages["memory-tracker"]["versionInfo"] == VERSION
        # itself and Memory Tracker
        assert len(packages) == len(installed) + 2, name
        listed = {file["fileName"].removeprefix("./"): file for file in sbom["files"]}
        there = {path for path in content.texts
                 if path != own and not path.startswith("usr/share/common-licenses/")}
        assert set(listed) == there, name
        for path, file in listed.items():
            sums = {sum_["algorithm"]: sum_["checksumValue"] for sum_ in file["checksums"]}
            text = content.texts[path]
            assert sums == {"SHA1": hashlib.sha1(text).hexdigest(),
                            "SHA256": hashlib.sha256(text).hexdigest()}, (name, path)
        everything = sorted(hashlib.sha1(content.texts[path]).hexdigest() for path in there)
        (image,) = [package for package in sbom["packages"] if package["SPDXID"] == "SPDXRef-Image"]
        assert image["packageVerificationCode"]["packageVerificationCodeValue"] == hashlib.sha1(
            "".join(everything).encode()).hexdigest()
        ids = [thing["SPDXID"] for thing in (*sbom["packages"], *sbom["files"])]
        assert len(ids) == len(set(ids))
        assert all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", id_) for id_ in ids)
        known = {*ids, "SPDXRef-DOCUMENT"}
        contained = set()
        for relation in sbom["relationships"]:
            assert {relation["spdxElementId"], relation["relatedSpdxElement"]} <= known
            if relation["spdxElementId"] == "SPDXRef-Image":
                contained.add(relation["relatedSpdxElement"])
        assert contained == set(ids) - {"SPDXRef-Image"}, name


def test_the_files_have_the_time_of_the_source(contents, node):
    created = node.docker("inspect", "--format",
                          '{{index .Config.Labels "org.opencontainers.image.created"}}', API)
    for content in contents.values():
        times = {file.mtime for path, file in content.files.items() if file.isfile()}
        assert len(times) == 1
        assert time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(times.pop())) == created.stdout.strip()


def test_cron_has_the_line_that_every_installation_has(contents):
    def entries(text):
        return [line for line in text.splitlines() if line and not line.startswith("#")]

    here = entries((ROOT / "cron/cronjobs").read_text())
    for name in WITH_CRON:
        there = entries(contents[name].texts["etc/crontab"].decode())
        assert there[:-1] == here[:-1]
        assert there[-1] == "* * * * * memory-tracker /usr/lib/memory-tracker/sample"
        assert here[-1].startswith("* * * * * memory-tracker memory-sampler ")


@pytest.mark.parametrize("name", IMAGES)
def test_what_an_image_says_of_itself(node, name):
    config = json.loads(node.docker("inspect", "--format", "{{json .Config}}", name).stdout)
    labels = {key.removeprefix("org.opencontainers.image."): value
              for key, value in config["Labels"].items()}
    assert labels["title"] == name.partition(":")[0]
    assert labels["version"] == VERSION
    assert labels["licenses"] == "Apache-2.0"
    assert "base.name" not in labels, "it is made on none"
    assert labels["description"].startswith("Memory Tracker: ")
    assert re.fullmatch(r"[0-9a-f]{40}(-modified)?|unknown", labels["revision"])
    assert "source" in labels
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert "sh" not in config["Entrypoint"] and "/bin/sh" not in config["Entrypoint"]
    assert config["User"] == ("" if name in WITH_CRON else f"{USER}:{USER}")


# the API


@pytest.fixture
def history(node, tmp_path):
    """A volume with a history of one record."""
    name = tmp_path.name
    node.docker("volume", "create", name)
    node.docker("run", "--rm", *ALONE, *CRON, "--volume", f"{name}:{DATA}", SAMPLER,
                "memory-sampler", "--host", "first")
    return name


def test_the_api_needs_no_rights_and_writes_nowhere(start, history):
    api = start(API, *ALONE, "--volume", f"{history}:{DATA}:ro")
    api.wait_health("healthy")
    (status,) = api.processes().values()
    assert status["Name"] == "memory-api"
    assert status["Uid"].split() == status["Gid"].split() == [str(USER)] * 4
    assert status["Groups"].split() in ([], [str(USER)])
    for kind in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]:
        assert int(status[kind], 16) == 0, kind
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert "ro" in api.root_mount()
    assert [(mount["Destination"], mount["RW"]) for mount in api.inspect(".Mounts")] == [(DATA, False)]
    assert not api.inspect(".HostConfig.Tmpfs")
    assert [record["host"] for record in records(api)] == ["first"]
    assert api.exec("sh", "-c", ":", check=False).returncode != 0
    assert api.stop() == (0, ["15"])


def test_the_api_in_full_lives_without_its_store(start):
    api = start(f"{API}-full", *ALONE, "--env", "MEMORY_TRACKER_STORE=mongodb://127.0.0.1:1/")
    api.wait_health("healthy")
    assert "listening on http://0.0.0.0:8000" in api.log()


def test_small_images_say_which_ones_have_mongodb(start):
    store = ("--env", "MEMORY_TRACKER_STORE=mongodb://127.0.0.1:1/", "--hostname", "small")
    api = start(API, *ALONE, *store)
    sampler = start(SAMPLER, *SAMPLING, *store)
    assert api.wait_end() == 4
    assert sampler.wait_end() == 4
    for container in [api, sampler]:
        assert "mongodb" in container.log() and "-full" in container.log()


# the sampler


def test_only_cron_is_root_and_only_to_become_the_sampler(lasting):
    lasting.wait_health("healthy")
    users = {}
    for status in lasting.processes().values():
        users.setdefault(status["Name"], status)
    assert set(users) >= {"tini", "start", "cron", "cat"}
    for name in ["tini", "start", "cron"]:
        assert users[name]["Uid"].split()[0] == "0"
        assert int(users[name]["CapBnd"], 16) == SETUID_AND_SETGID
        assert int(users[name]["CapEff"], 16) == SETUID_AND_SETGID
    assert users["cat"]["Uid"].split() == [str(USER)] * 4
    assert users["cat"]["Groups"].split() in ([], [str(USER)])
    assert int(users["cat"]["CapEff"], 16) == 0
    assert {status["NoNewPrivs"] for status in users.values()} == {"1"}
    assert "ro" in lasting.root_mount()
    database = os.stat(lasting.path(f"{DATA}/memory.db"))
    assert (database.st_uid, database.st_gid) == (USER, USER)


def test_the_first_sample_does_not_wait_for_cron(start, no_cron):
    sampler = start(SAMPLER, *SAMPLING, *no_cron, "--env", "MEMORY_TRACKER_HOST=here")
    sampler.wait_health("healthy")
    assert [record["host"] for record in records(sampler)] == ["here"]
    assert sampler.log() == ""


def test_the_log_tells_the_end_of_a_store_that_was_away_at_the_start(start, no_cron, tmp_path):
    store = tmp_path / "store"
    store.mkdir(mode=0o755)
    sampler = start(SAMPLER, *SAMPLING, *no_cron, "--hostname", "here", "--volume", f"{store}:/store",
                    "--env", "MEMORY_TRACKER_STORE=sqlite:/store/memory.db")
    sampler.wait_log("1 waiting")
    os.chown(store, USER, USER)
    sampler.wait_log("sampler: outbox: 1 delivered to sqlite:/store/memory.db")
    assert [record["host"] for record in records(sampler)] == ["here"]


def test_a_sampler_that_stores_nothing_becomes_unhealthy(start, no_cron):
    sampler = start(SAMPLER, *SAMPLING, *no_cron, "--health-retries", "1", "--hostname", "here")
    sampler.wait_health("healthy")
    sign = sampler.path("/run/memory-tracker/healthy")
    written, place = sign.read_text().split()
    # as a sampler leaves it that has failed since
    sign.write_text(f"{int(written) - 600} {place}\n")
    sampler.wait_health("unhealthy")


def test_what_the_sampler_says_is_in_the_container_s_log(start, tmp_path):
    tmp_path.chmod(0o755)
    sampler = start(SAMPLER, *ALONE, *CRON, "--health-retries", "1", "--health-start-period", "1s",
                    "--hostname", "here", "--volume", f"{tmp_path}:{DATA}:ro")
    sampler.wait_log("error memory-sampler: ")
    assert "which is lost" in sampler.log()
    sampler.wait_health("unhealthy")


def test_settings_and_secrets_reach_the_sampler_by_a_file_of_its_own(start, no_cron, tmp_path):
    secret = tmp_path / "store"
    secret.write_text(f"sqlite:{DATA}/it's a \"test\".db\n")
    os.chown(secret, USER, USER)
    secret.chmod(0o400)
    sampler = start(SAMPLER, *SAMPLING, *no_cron, "--env", "MEMORY_TRACKER_HOST=here",
                    "--env", "MEMORY_TRACKER_STORE_FILE=/run/secrets/store", "--env", "OTHER=a'b\nc",
                    "--volume", f"{secret}:/run/secrets/store:ro")
    sampler.wait_health("healthy")
    assert stat.S_ISREG(os.stat(sampler.path(f"{DATA}/it's a \"test\".db")).st_mode)
    file = os.stat(sampler.path("/run/memory-tracker/environment"))
    assert (file.st_uid, stat.S_IMODE(file.st_mode)) == (USER, 0o600)
    text = sampler.path("/run/memory-tracker/environment").read_text()
    assert "MEMORY_TRACKER_HOST='here'" in text and "test" not in text


def test_stopping_is_not_left_to_the_engine(start, no_cron):
    sampler = start(SAMPLER, *SAMPLING, *no_cron, "--hostname", "here")
    sampler.wait_health("healthy")
    # later than that the engine would have to kill it
    assert sampler.stop(scaled(2)) == (0, ["15"])


def test_a_sampler_at_work_does_not_hold_up_the_stop(start, no_cron, tmp_path):
    os.chown(tmp_path, USER, USER)
    sampler = start(SAMPLER, *ALONE, *CRON, *no_cron, "--hostname", "here",
                    "--volume", f"{tmp_path}:{DATA}")
    sampler.wait_health("healthy")
    lock = sqlite3.connect(tmp_path / "memory.db", isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
        sampler.exec("/usr/lib/memory-tracker/sample", options=["--detach"])
        wait_until(lambda: "memory-sampler" in {
            status["Name"] for status in sampler.processes().values()})
        assert sampler.stop(scaled(2)) == (0, ["15"])
    finally:
        lock.close()


def test_a_log_that_nobody_takes_does_not_hold_up_the_sampler(start, no_cron):
    sampler = start(SAMPLER, *SAMPLING, *no_cron, "--hostname", "here",
                    "--env", "MEMORY_TRACKER_LOG_LEVEL=debug")
    sampler.wait_health("healthy")
    relay, _ = sampler.process("cat")
    sampler.node.world.run(["kill", "-STOP", str(relay)])
    # more than the pipe holds
    filled = sampler.exec("dd", "if=/dev/zero", "of=/run/memory-tracker.log", "oflag=nonblock",
                          "conv=notrunc", "bs=4096", "count=1000", check=False)
    assert "temporarily unavailable" in filled.stderr
    before = len(records(sampler))
    sampler.exec("/usr/lib/memory-tracker/sample", check=False)
    assert len(records(sampler)) == before + 1
    sampler.node.world.run(["kill", "-CONT", str(relay)])


@pytest.mark.parametrize("name, what", [("cron", "nothing samples any more"),
                                        ("cat", "nothing takes the sampler's log any more")])
def test_what_dies_takes_the_container_along(start, no_cron, name, what):
    sampler = start(SAMPLER, *SAMPLING, *no_cron, "--hostname", "here")
    sampler.wait_health("healthy")
    pid, _ = sampler.process(name)
    sampler.node.world.kill([pid])
    assert sampler.wait_end() == 1
    assert what in sampler.log()


@pytest.mark.parametrize("options, status, what", [
    (SAMPLING, 4, "--hostname NAME"),
    ((*SAMPLING, "--env", "MEMORY_TRACKER_INTERVAL=never"), 4, "MEMORY_TRACKER_INTERVAL"),
    ((*SAMPLING, "--env", "MEMORY_TRACKER_STORE_FILE=/none"), 4, "/none"),
    ((*SAMPLING, "--user", "65532"), 1, "leave out --user"),
    ((*ALONE, "--tmpfs", "/run", "--hostname", "here"), 1, "--cap-add SETUID --cap-add SETGID"),
    ((*ALONE, "--cap-add", "SETUID", "--cap-add", "SETGID", "--hostname", "here"), 1, "--tmpfs /run"),
])
def test_what_is_missing_is_told_at_once_with_what_to_type(start, options, status, what):
    sampler = start(SAMPLER, *options)
    assert sampler.wait_end() == status
    assert what in sampler.log()


def test_it_runs_without_the_options_that_make_it_safer(start, no_cron):
    sampler = start(SAMPLER, "--network", "none", "--health-interval", "1s", *no_cron,
                    "--hostname", "here")
    sampler.wait_health("healthy")
    sampler.node.docker("restart", sampler.id)
    wait_until(lambda: len(records(sampler)) == 2, what="the first sample after a restart",
               longest_pause=0.5)
    sampler.wait_health("healthy")


def test_other_commands_run_as_the_sampler_s_user(node):
    done = node.docker("run", "--rm", *ALONE, *CRON, SAMPLER, "memory-sampler", "--print", "--host", "x")
    assert json.loads(done.stdout)["host"] == "x"
    done = node.docker("run", "--rm", *ALONE, *CRON, SAMPLER, "id", "-u")
    assert done.stdout == f"{USER}\n"


# all in one


def test_all_in_one_serves_what_it_samples(node, start, no_cron):
    both = start(ALL_IN_ONE, *HARDENED, *CRON, *no_cron, "--health-interval", "1s", "--hostname",
                 "here", "--publish", "8000:8000", "--volume", f"all-in-one:{DATA}")
    both.wait_health("healthy")
    users = {status["Name"]: status["Uid"].split()[0] for status in both.processes().values()}
    assert users["memory-api"] == str(USER)
    answer = node.inside(["curl", "-sS", "http://127.0.0.1:8000/memory-logs/"], check=True)
    (record,) = json.loads(answer.stdout)
    assert record["timestamp"] == records(both)[0]["timestamp"]
    assert both.stop() == (0, ["15"])


def test_the_end_of_the_api_is_the_end_of_all_in_one(start, no_cron):
    both = start(ALL_IN_ONE, *SAMPLING, *no_cron, "--hostname", "here")
    both.wait_health("healthy")
    pid, _ = both.process("memory-api")
    both.node.world.kill([pid])
    assert both.wait_end() == 1
    assert "memory-api ended" in both.log()


# the script that builds them


def script(*arguments, **environment):
    done = subprocess.run([ROOT / "script/image", *arguments], capture_output=True, text=True,
                          env={**os.environ, **environment}, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_script_explains_itself():
    status, text = script("--help")
    assert status == 0
    for option in re.findall(r"^    (--[a-z-]+)\b", (ROOT / "script/image").read_text(), re.MULTILINE):
        assert f"  {option}" in text
    assert VERSION in text


@pytest.mark.parametrize("arguments, status, what", [
    (["--targets"], 2, "unknown option '--targets'"),
    (["--target", "apx"], 2, "unknown target 'apx'"),
    (["--tag"], 2, "--tag needs a value"),
    (["--tag", "a b"], 2, "'a b' cannot be a tag"),
    (["--tag", "latest"], 2, "not 'latest'"),
    (["--push"], 2, "--push needs --registry"),
    ([], 1, "no engine answers at unix:///nowhere"),
])
def test_the_script_says_what_is_wrong(arguments, status, what):
    done, text = script(*arguments, DOCKER_HOST="unix:///nowhere")
    assert done == status
    assert what in text


def test_the_script_says_where_a_base_image_comes_from(node):
    done = subprocess.run([ROOT / "script/image", "--base", "none.invalid/debian"], text=True,
                          capture_output=True, env=node.environment(), check=False)
    assert done.returncode == 1
    assert "cannot get the base image none.invalid/debian" in done.stderr
    assert "debootstrap" in done.stderr


def test_the_script_writes_down_what_an_image_holds(contents, tmp_path):
    with images.builder() as builder:
        done = subprocess.run(
            [ROOT / "script/image", "--no-test", "--target", "api", "--registry", "none.invalid/mt", "--sbom", tmp_path,
             "--", "--network", "host"],
            text=True, capture_output=True, check=False,
            env={**builder.environment(), "SOURCE_DATE_EPOCH": images.ProjectSet.SOURCE_DATE_EPOCH})
        assert done.returncode == 0, done.stderr
        containers = builder.docker("ps", "--all", "--quiet", "--filter", f"ancestor=none.invalid/mt/{API}")
        builder.docker("rmi", f"none.invalid/mt/{API}")
    assert containers.stdout == ""
    (file,) = tmp_path.iterdir()
    assert file.name == f"memory_tracker-api-{VERSION}.spdx.json"
    assert file.read_bytes() == contents[API].texts["usr/share/doc/memory-tracker/sbom.spdx.json"]


@pytest.mark.parametrize("url, suites", [
    # the base image has packages of all three, which those to come depend on
    ("http://snapshot.example.org/archive/debian/20260101T000000Z",
     ["bookworm", "bookworm-updates", "bookworm-security"]),
    ("http://mirror.invalid/of/mine", ["bookworm"]),
])
def test_packages_come_from_the_snapshot_alone(tmp_path, url, suites):
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\necho \"$@\"\n")
    apt.chmod(0o755)
    with images.builder() as builder:
        done = builder.docker(
            "run", "--rm", "--network", "none", "--volume", f"{ROOT}/docker:/source/docker:ro",
            "--volume", f"{ROOT}/script:/source/script:ro", "--volume", f"{apt}:/usr/local/bin/apt-get:ro",
            "--env", f"APT_SNAPSHOT={url}", images.BASE, "bash", "-euc",
            "/source/docker/install-packages image_packages && cat /etc/apt/sources.list /etc/apt/sources.list.d/* || :")
    lines = [line for line in done.stdout.splitlines() if line.startswith("deb ")]
    security = url.replace("/debian/", "/debian-security/")
    assert lines == [f"deb [check-valid-until=no] {security if 'security' in suite else url} {suite} main"
                     for suite in suites]
    assert "install tini" in done.stdout


def test_the_same_inputs_give_the_same_files(contents):
    """What was collected when the images were built is collected again, at another time."""
    tree = ("cd /root-of && find . -printf '%p %y %m %s %T@ %l\\n' | sort && "
            "find . -type f -exec sha256sum {} + | sort")
    inputs = (f"SOURCE_DATE_EPOCH={int(contents[API].files['usr/bin/memory-api'].mtime)}",
              f"VERSION={VERSION}")
    with images.builder() as builder:
        image = builder.docker(
            "build", "--network", "host", "--quiet", "--target", "collected",
            *(word for value in inputs for word in ("--build-arg", value)), ROOT, timeout=900,
        ).stdout.split()[-1]
        trees = builder.docker(
            "run", "--rm", "--network", "none", *(word for value in inputs for word in ("--env", value)),
            image, "sh", "-euc",
            f"({tree}) >/first; rm -r /root-of; docker/collect; ({tree}) >/second; "
            "cmp /first /second; wc -l </first").stdout
    assert int(trees) > 500


# last, since it takes a minute from the beginning


def test_cron_samples_the_node_s_memory_and_not_the_container_s(lasting):
    wait_until(lambda: len(records(lasting)) >= 2, 90, "cron's sample", longest_pause=1)
    with open("/proc/meminfo", encoding="ascii") as file:
        total = int(re.search(r"MemTotal: +(\d+)", file.read()).group(1))
    assert int(lasting.inspect(".HostConfig.Memory")) == 64 << 20
    for record in records(lasting):
        assert record["host"] == "lasting"
        assert record["mem_total"] == total
    # none of them is left unreaped
    assert "Z" not in {status["State"][0] for status in lasting.processes().values()}
    assert lasting.stop() == (0, ["15"])
