"""One node, the stack files as they are shipped, and the real Traefik: who gets which answer, and what
the containers may do. Times that an operator can choose are short."""

import base64
import json
import re
import subprocess
import sys
import time

import pytest

from support.engines import Engines
from support.environment import ROOT
from support.images import OFFICIAL, project_images
from support.stack import (API, HOST, HTTP, MONGODB, NAME, PASSWORD, SAMPLER, SAMPLER_USER, USER,
                           Stack)

QUICK = {"TRAEFIK_REFRESH_SECONDS": "1", "DRAIN_DELAY": "2"}
SETGID, SETUID = 1 << 6, 1 << 7

# in a container's network: the addresses that Docker's resolver knows for each name. It asks servers
# outside, which are not there, for those that it does not know.
LOOK_UP = r"""
import json, socket, struct, sys
names = sys.argv[1:]
found = {name: [] for name in names}
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
    asked.connect(("127.0.0.11", 53))
    for number, name in enumerate(names):
        labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
        asked.send(struct.pack("!6H", number, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1")
    asked.settimeout(2)
    answered = 0
    while answered < len(names):
        try:
            answer = asked.recv(4096)
        except TimeoutError:
            break
        answered += 1
        number, _, _, count, _, _ = struct.unpack("!6H", answer[:12])
        at = answer.index(b"\0", 12) + 5
        for _ in range(count):
            # a name in full or a pointer to one, ten bytes, the address
            at = (at + 2 if answer[at] >= 192 else answer.index(b"\0", at) + 1) + 14
            found[names[number]].append(socket.inet_ntoa(answer[at - 4:at]))
print(json.dumps(found))
"""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], sys.argv[2]), float(sys.argv[3]))"


@pytest.fixture(scope="module")
def engines():
    with Engines(count=1) as engines:
        engines[0].load(*OFFICIAL, *(name for name in project_images() if "all-in-one" not in name))
        engines.swarm()
        yield engines


def deploy_and_time(stack):
    """Deploys; how long the first 200 took."""
    began = time.monotonic()
    stack.deploy()
    stack.wait_answering(120)
    seconds = time.monotonic() - began
    stack.wait_running()
    return seconds


@pytest.fixture(scope="module")
def http_stack(engines):
    """Without MongoDB; the hash is bcrypt."""
    hashed = subprocess.run(
        ["perl", "-e", "print crypt($ARGV[0], $ARGV[1])", PASSWORD, "$2b$05$MemoryTrackerTest.abce"],
        capture_output=True, text=True, check=True).stdout
    assert len(hashed) == 60
    http_stack = Stack(engines, HTTP, engines[0], {**QUICK, "HASHED_PASSWORD": hashed})
    http_stack.prepare()
    http_stack.deploy_traefik()
    http_stack.seconds = deploy_and_time(http_stack)
    return http_stack


@pytest.fixture(scope="module")
def stack(engines, http_stack):
    """With MongoDB, in the place of the other; the hash is apr1."""
    http_stack.remove()
    stack = Stack(engines, MONGODB, engines[0], QUICK)
    stack.visitors = http_stack.visitors
    stack.prepare()
    stack.seconds = deploy_and_time(stack)
    return stack


class Container:
    """A running container as the node sees it."""

    def __init__(self, node, inspected):
        self.node = node
        self.inspected = inspected
        self.id = inspected["Id"]
        self.pid = inspected["State"]["Pid"]
        self.service = inspected["Config"]["Labels"]["com.docker.swarm.service.name"]
        self.addresses = {name: network["IPAddress"]
                          for name, network in inspected["NetworkSettings"]["Networks"].items()}

    def processes(self):
        listed = self.node.docker("top", self.id, "-eo", "pid").stdout.split()
        return [int(word) for word in listed[1:]]

    def read(self, pid, name):
        """/proc/PID/NAME of one of its processes, "" if that has just ended."""
        try:
            return self.node.process_file(pid, name)
        except (FileNotFoundError, ProcessLookupError):
            return ""

    def inside(self, *argv):
        """A command of this machine in the container's network."""
        return self.node.inside(["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *argv])

    def look_up(self, *names):
        """{name: addresses} of those that are known in its networks."""
        done = self.inside(sys.executable, "-c", LOOK_UP, *names)
        assert done.returncode == 0, done.stderr
        return {name: set(addresses) for name, addresses in json.loads(done.stdout).items() if addresses}

    def connects(self, address, port, patience=10):
        done = self.inside(sys.executable, "-c", CONNECT, address, port, patience)
        return done.returncode == 0

    def status(self, url, *options):
        return self.inside("curl", "-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", *options,
                           url).stdout


def containers(node):
    """{service: Container}, one of each, of all that runs on the node."""
    ids = node.docker("ps", "--quiet", "--no-trunc").stdout.split()
    found = [Container(node, each) for each in json.loads(node.docker("inspect", *ids).stdout)]
    return {each.service: each for each in found}


def statuses(stack, count, password=PASSWORD, address=None):
    """What that many requests in a row get, from one new address."""
    done = stack.engines.outside(
        ["curl", "-s", "-m", "20", "--interface", address or stack.visitors.new(), "-o", "/dev/null",
         "-w", "%{http_code} ", "-H", f"Host: {HOST}", "-u", f"{USER}:{password}",
         f"{stack.url}?limit=[1-{count}]"], check=True)
    return done.stdout.split()


def assert_answers(stack, capsys):
    """The records of the history, and the node's memory rather than the container's."""
    with capsys.disabled():
        print(f"\n{stack.file}: the first 200 came {stack.seconds:.0f} s after the deploy")
    stack.execute(stack.manager, SAMPLER, "memory-sampler", user=SAMPLER_USER)

    def answered():
        stored = stack.export()[-10:]
        answer = stack.get()
        assert answer.status == 200
        given = json.loads(answer.text)
        times = [record["timestamp"] for record in stored]
        return given if times and [record["timestamp"] for record in given] == times else None

    given = stack.wait(answered, 30, "what is stored to be answered")
    total = stack.manager.inside(["awk", "/^MemTotal:/ { print $2 }", "/proc/meminfo"]).stdout
    assert {record["total"] for record in given} == {int(total) // 1024}
    assert all(record["total"] == record["free"] + record["used"] for record in given)
    assert [each["host"] for each in stack.hosts()] == [stack.manager.name]
    for options in [["--no-netrc"], ["-u", f"{USER}:wrong"], ["-u", f"other:{PASSWORD}"], ["-u", f"{USER}:"]]:
        answer = stack.get("", *options)
        assert (answer.status, answer.headers["www-authenticate"][:5]) == (401, "Basic"), options


def secret_words(stack):
    """What nobody may get to see: each secret, and the passwords of URIs."""
    words = set()
    for text in stack.secrets.values():
        words.add(text.strip())
        words |= set(re.findall(r"\w{32,}", text))
    # the header of a request with the password
    words.add(base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
    return words


def what_can_be_seen(stack):
    """{where: text} of all that Docker tells, and of every process's environment and command line."""
    node = stack.manager
    seen = {}
    for kind, listing in [("service", ["service", "ls"]), ("container", ["ps", "--all"]),
                          ("config", ["config", "ls"]), ("secret", ["secret", "ls"]),
                          ("image", ["images"]), ("network", ["network", "ls"]), ("node", ["node", "ls"])]:
        ids = sorted(set(node.docker(*listing, "--quiet").stdout.split()))
        seen[kind] = node.docker(kind, "inspect", *ids).stdout
    for service in node.docker("service", "ls", "--format", "{{.Name}}").stdout.split():
        tasks = node.docker("service", "ps", "--quiet", "--no-trunc", service).stdout.split()
        seen[f"tasks of {service}"] = node.docker("inspect", "--type", "task", *tasks).stdout
        logs = node.docker("service", "logs", service)
        seen[f"log of {service}"] = logs.stdout + logs.stderr
    for service, container in containers(node).items():
        for pid in container.processes():
            for name in ["environ", "cmdline"]:
                seen[f"{name} of {pid} of {service}"] = container.read(pid, name)
    return seen


def assert_no_secret_shows(stack):
    seen = what_can_be_seen(stack)
    for word in secret_words(stack):
        assert [where for where, text in seen.items() if word in text] == []
    # the hash is what Traefik compares with; it is in the label, and nowhere else
    hashed = stack.environment["HASHED_PASSWORD"]
    assert [where for where, text in seen.items() if hashed in text] == ["service"]
    # it has been looked at: requests with a password were logged, and the names of secrets are no secret
    log = seen["log of traefik_traefik"]
    assert f'"RequestHost":"{HOST}"' in log and f'"ClientUsername":"{USER}"' in log
    for name in stack.secrets:
        assert f"{name}_v1" in seen["service"] and f"{name}_v1" in seen["secret"]
    assert "MEMORY_TRACKER_STORE" in seen["container"]
    # as files they belong to the one user who needs them
    for service, container in containers(stack.manager).items():
        user = {"mongodb": "999", "traefik_traefik": None, "traefik_socket-proxy": None}.get(
            service.removeprefix(f"{NAME}_"), "65532")
        folder = f"/proc/{container.pid}/root/run/secrets"
        listed = stack.manager.inside(["sh", "-c", f"stat -c '%n %u:%g %a' {folder}/*"])
        lines = listed.stdout.splitlines()
        assert bool(lines) == bool(user), service
        for line in lines:
            assert re.fullmatch(rf"{folder}/mt_\w+ {user}:{user} 400", line), service


def identity(status):
    """(real, effective, saved and file system uid), all capability sets, of /proc/PID/status."""
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return (fields["Uid"].split(), fields["Gid"].split(),
            {name: int(fields[name], 16) for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]})


def assert_confined(stack, writable):
    """Users, capabilities and mounts of every process, from /proc; limits of every container."""
    users = {"mongodb": "999", "socket-proxy": "0"}
    found = containers(stack.manager)
    assert set(found) == {f"{NAME}_{name}" for name in writable} | {
        "traefik_traefik", "traefik_socket-proxy"}
    for service, container in found.items():
        name = service.split("_", 1)[1]
        seen = 0
        for pid in container.processes():
            status = container.read(pid, "status")
            if "Uid" not in status:
                continue
            uids, gids, sets = identity(status)
            seen += 1
            if name == SAMPLER:
                assert sets["CapBnd"] == SETUID | SETGID
                if set(uids) == {"0"}:
                    # the init, the entry point and cron
                    assert sets["CapEff"] == SETUID | SETGID
                    assert re.match(r"tini|/bin/sh|sh|cron|/usr/sbin/cron|CRON|sleep", container.read(
                        pid, "cmdline").replace("\0", " ")), container.read(pid, "cmdline")
                else:
                    assert set(uids) == set(gids) == {"65532"}
                    assert sets["CapEff"] == sets["CapPrm"] == 0
            else:
                user = users.get(name, "65532")
                assert set(uids) == {user}, service
                assert set(gids) == {user}, service
                assert sets == dict.fromkeys(sets, 0), service
        assert seen, service
        assert_mounts(container, name, writable.get(name, set()))
        host = container.inspected["HostConfig"]
        assert host["Memory"] > 0 and host["NanoCpus"] > 0 and host["PidsLimit"] > 0, service
        assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}, service
        assert not host["Privileged"] and not host["PidMode"] and host["CapDrop"] == ["ALL"], service


def assert_mounts(container, name, writable):
    """Where the container can write: nowhere but in its volumes and tmpfs."""
    places = {}
    for line in container.read(container.pid, "mountinfo").splitlines():
        words = line.split()
        places[words[4]] = words[5].split(",")
    assert "ro" in places["/"], name
    open_places = {place for place, options in places.items() if "rw" in options}
    # what Docker has in each container: no place for files, or one of 64 MiB for shared memory
    assert {place for place in open_places
            if not re.match(r"/(dev|proc|sys)(/|$)", place)} == set(writable), name
    done = container.node.inside(["touch", f"/proc/{container.pid}/root/usr/written"])
    assert done.returncode != 0 and "Read-only file system" in done.stderr, name


def test_without_mongodb_answers(http_stack, capsys):
    assert_answers(http_stack, capsys)


def test_without_mongodb_networks_are_separate(http_stack):
    found = containers(http_stack.manager)
    traefik, api, sampler = (found[name] for name in [
        "traefik_traefik", f"{NAME}_{API}", f"{NAME}_{SAMPLER}"])
    assert set(api.addresses) == {"mt-local", "mt-public"}
    assert set(sampler.addresses) == {"mt-local"}
    assert set(traefik.look_up(SAMPLER, API)) == {API}
    assert not traefik.connects(api.addresses["mt-local"], 8000, patience=1)
    assert sampler.look_up(API) == {API: {api.addresses["mt-local"]}}
    # who may push has a token, the password is not one
    push = ["-X", "POST", "-H", "Content-Type: application/x-ndjson", "-d", "{}"]
    assert sampler.status(f"http://{api.addresses['mt-local']}:8000/memory-logs", *push) == "401"
    assert http_stack.get("", *push, "-u", f"{USER}:{PASSWORD}").status == 401


def test_without_mongodb_no_secret_shows(http_stack):
    assert_no_secret_shows(http_stack)


def test_without_mongodb_confined(http_stack):
    assert_confined(http_stack, {
        API: {"/tmp", "/var/lib/memory-tracker"},
        SAMPLER: {"/run", "/var/lib/memory-tracker"},
    })


def test_answers(stack, capsys):
    assert_answers(stack, capsys)


def test_limit_counts_each_client_for_itself(stack):
    """Five in a row, whoever asks again after that is refused; nobody else is."""
    address = stack.visitors.new()
    assert statuses(stack, 7, address=address) == ["200"] * 5 + ["429"] * 2
    refused = stack.get(address=address)
    assert refused.status == 429
    assert 0 < int(refused.headers["retry-after"]) <= 12
    assert stack.get().status == 200


def test_limit_counts_wrong_passwords(stack):
    address = stack.visitors.new()
    assert statuses(stack, 7, "wrong", address) == ["401"] * 5 + ["429"] * 2
    # a right guess is not told from a wrong one
    assert statuses(stack, 1, PASSWORD, address) == ["429"]


def test_nothing_else_is_outside(stack):
    login = ["-u", f"{USER}:{PASSWORD}"]
    address = stack.visitors.new()
    assert stack.visitors.get(stack.url, "-H", "Host: other.example.org", *login, address=address).status == 404
    assert stack.visitors.get(stack.url, *login, address=address).status == 404
    for path in ["/", "/healthz", "/readyz", "/store/ping", "/store/records", "/memory-logs/x", "/memory-log",
                 "/healthz?/memory-logs", "/memory-logs/../healthz", "/memory-logs/..%2fhealthz",
                 "/memory-logs;/healthz", "/ping", "/api/rawdata", "/dashboard/"]:
        answer = stack.get("", "--path-as-is", *login, address=address,
                           url=f"http://{stack.manager.address}{path}")
        assert answer.status in (400, 404), path
        assert "www-authenticate" not in answer.headers, path
    # and none of these counted
    assert stack.get(address=address).status == 200


def test_networks_are_separate(stack):
    """From Traefik's network the store has neither a name nor an address."""
    found = containers(stack.manager)
    traefik, api = found["traefik_traefik"], found[f"{NAME}_{API}"]
    mongodb, sampler = found[f"{NAME}_mongodb"], found[f"{NAME}_{SAMPLER}"]
    assert set(api.addresses) == {"mt-local", "mt-public"}
    assert set(mongodb.addresses) == set(sampler.addresses) == {"mt-local"}
    assert set(traefik.addresses) == {"mt-public", "traefik_socket"}
    assert set(found["traefik_socket-proxy"].addresses) == {"traefik_socket"}
    hidden = ["mongodb", f"{NAME}_mongodb", "tasks.mongodb", SAMPLER, f"{NAME}_{SAMPLER}"]
    known = traefik.look_up(*hidden, API)
    assert set(known) == {API}
    assert api.addresses["mt-public"] in known[API]
    assert api.look_up("mongodb") == {"mongodb": {mongodb.addresses["mt-local"]}}
    assert traefik.connects(api.addresses["mt-public"], 8000)
    assert api.connects(mongodb.addresses["mt-local"], 27017)
    for address, port in [(mongodb.addresses["mt-local"], 27017), (api.addresses["mt-local"], 8000)]:
        assert not traefik.connects(address, port, patience=1)
    # nor has anybody but Traefik the way to the engine
    proxy = found["traefik_socket-proxy"].addresses["traefik_socket"]
    assert traefik.connects(proxy, 2375)
    for other in [api, sampler, mongodb]:
        assert set(other.look_up("socket-proxy", API)) == {API}
        assert not other.connects(proxy, 2375, patience=1)


def test_mongodb_asks_for_a_password(stack):
    question = "db.getSiblingDB('memory_tracker').memory_log.countDocuments({})"
    refused = stack.execute(stack.manager, "mongodb", "mongosh", "--quiet", "--eval", question, check=False)
    assert refused.returncode != 0
    assert "requires authentication" in refused.stdout + refused.stderr


def test_socket_proxy_lets_traefik_read_and_nobody_write(stack):
    found = containers(stack.manager)
    traefik = found["traefik_traefik"]
    address = found["traefik_socket-proxy"].addresses["traefik_socket"]
    assert traefik.look_up("socket-proxy") == {"socket-proxy": {address}}
    url = f"http://{address}:2375"
    node = stack.docker("info", "--format", "{{.Swarm.NodeID}}").stdout.strip()
    service = stack.docker("service", "ls", "--quiet").stdout.split()[0]
    for path in ["/_ping", "/version", "/services", "/tasks", "/networks", f"/nodes/{node}"]:
        assert traefik.status(f"{url}/v1.41{path}") == "200", path
    assert traefik.status(f"{url}/_ping", "--head") == "200"
    for path in ["/secrets", "/configs", "/containers/json", "/containers/create", "/images/json", "/info",
                 "/nodes", "/swarm", "/swarm/unlockkey", "/system/df", "/events", "/volumes", "/plugins",
                 f"/services/{service}", f"/services/{service}/logs", f"/nodes/{node}/update", "/tasks/x/logs",
                 "/services/../secrets", "/version/..%2fsecrets", "/nodes/..", "/", "//secrets"]:
        assert traefik.status(f"{url}/v1.41{path}", "--path-as-is") == "403", path
        assert traefik.status(url + path, "--path-as-is") == "403", path
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "get"]:
        for path in ["/services/create", "/containers/create", "/services", "/_ping", f"/nodes/{node}"]:
            assert traefik.status(url + path, "-X", method) in ("400", "403"), f"{method} {path}"

    # whatever the node has
    proxy = found["traefik_socket-proxy"]
    threads = [re.search(r"^Threads:\t(\d+)$", proxy.read(pid, "status"), re.MULTILINE)[1]
               for pid in proxy.processes()]
    assert threads and set(threads) == {"1"}

    def log():
        done = stack.docker("service", "logs", "traefik_socket-proxy")
        return done.stdout + done.stderr

    # who tried what he may not is told; who may, thousands of times a day, is not
    stack.wait(lambda: '"POST /containers/create HTTP' in log(), 10, "the refusal in the log")
    assert "GET /v1.41/version HTTP" not in log()


def test_no_secret_shows(stack):
    assert_no_secret_shows(stack)


def test_confined(stack):
    assert_confined(stack, {
        API: {},
        SAMPLER: {"/run", "/var/lib/memory-tracker"},
        "mongodb": {"/data/db", "/data/configdb", "/tmp"},
    })


def test_https(stack):
    """docker/traefik-https.yml on top: port 80 sends to 443, which asks for the password."""
    stack.docker("node", "update", "--label-add", "memory-tracker.certificates=true", stack.manager.name)
    stack.docker("stack", "deploy", "--resolve-image", "never", "-c", str(ROOT / "docker/traefik.yml"),
                 "-c", str(ROOT / "docker/traefik-https.yml"), "traefik", env=stack.environment)
    secure = ["-k", "--resolve", f"{HOST}:443:{stack.manager.address}"]
    login = ["-u", f"{USER}:{PASSWORD}"]
    url = f"https://{HOST}/memory-logs/?limit=1"

    stack.wait(lambda: stack.visitors.get(url, *secure, *login).status == 200, 60, "a 200 by https")
    answer = stack.visitors.get(url, *secure, *login)
    assert len(json.loads(answer.text)) == 1
    assert stack.visitors.get(url, *secure).status == 401
    sent = stack.get("?limit=1", *login)
    assert (sent.status, sent.headers["location"]) == (301, url)
    # nobody vouches for Traefik's own certificate
    assert stack.visitors.get(url, *secure[1:]).status == 0
    hello = ["openssl", "s_client", "-connect", f"{stack.manager.address}:443", "-servername", HOST,
             "-cipher", "ALL:@SECLEVEL=0"]
    for version, accepted in [("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)]:
        done = stack.engines.outside([*hello, version], input="")
        assert ("Cipher is (NONE)" not in done.stdout) == accepted, done.stdout + done.stderr
    # the key's place is Traefik's alone, though Traefik is not root
    traefik = containers(stack.manager)["traefik_traefik"]
    assert_mounts(traefik, "traefik", {"/var/tmp"})
    stored = stack.manager.inside(["stat", "-c", "%u %a", f"/proc/{traefik.pid}/root/var/tmp/acme.json"])
    assert stored.stdout.split() == ["65532", "600"]


def test_api_outlives_mongodb(stack):
    """Swarm kills what is unhealthy, and an API without its store is not."""
    api = containers(stack.manager)[f"{NAME}_{API}"]
    before = set(stack.containers(stack.manager, API))
    stack.docker("service", "scale", "--detach", f"{NAME}_mongodb=0")
    stack.wait(lambda: not stack.containers(stack.manager, "mongodb"), 60, "MongoDB to stop")
    stack.wait(lambda: api.status("http://127.0.0.1:8000/readyz") == "503", 30, "the API to notice")
    assert stack.manager.docker("exec", api.id, "memory-api", "--health-check").returncode == 0
    # what it knows it goes on telling
    assert api.status("http://127.0.0.1:8000/memory-logs/") == "200"
    assert set(stack.containers(stack.manager, API)) == before
