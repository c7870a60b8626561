"""The stack files as docker's own clients read them, and what must stand in them. No engine runs."""

import hashlib
import re
import subprocess

import pytest
import yaml
from support import ROOT, clean_environment
from support.engines import docker_client, run

STACKS = {
    "mongodb": ["docker-compose-deploy.yml"],
    "http": ["docker-compose-deploy-http.yml"],
    "traefik": ["docker/traefik.yml"],
    "https": ["docker/traefik.yml", "docker/traefik-https.yml"],
}
OWN = ["mongodb", "http"]
FILES = sorted({name for names in STACKS.values() for name in names})
APR1 = "$apr1$abcdefgh$6lNtIeqtkVaaYK4mCrGAc."
BCRYPT = "$2y$08$N0aQXbHpQ3PpAEO0fK0c1uJmsHlAvvnTJbq9MwT6Hq7b3VSR3Ng9K"
# what the client made of a stack, for all tests
READ = {}
LOGIN = {"USERNAME": "hadi", "HASHED_PASSWORD": APR1}

# of a service, what `docker stack` acts upon and warns of nothing
OBEYED = {
    "cap_add", "cap_drop", "command", "configs", "deploy", "environment", "healthcheck", "hostname", "image",
    "logging", "networks", "ports", "read_only", "secrets", "stop_grace_period", "ulimits", "user", "volumes",
}

# ${NAME}, ${NAME-default}, ${NAME:?message}; not $$
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?:(:?[-?])([^}]*))?\}")


@pytest.fixture(name="docker")
def fixture_docker(tmp_path):
    """docker(client, *args, **variables): runs a client that has no engine."""

    def docker(client, *args, cwd=ROOT, **variables):
        environment = clean_environment({
            "HOME": tmp_path, "DOCKER_HOST": f"unix://{tmp_path}/none", **variables,
        })
        for name in set(named_variables()) - set(variables):
            environment.pop(name, None)
        return run([docker_client(client), *args], check=False, env=environment, cwd=cwd)

    return docker


@pytest.fixture(name="config")
def fixture_config(docker):
    """config(stack, **variables): the stack as the new client reads it."""

    def config(stack, **variables):
        key = (stack, *sorted(variables.items()))
        if key not in READ:
            done = docker("new", "stack", "config", *files_of(stack), **variables)
            assert (done.returncode, done.stderr) == (0, ""), done.stderr
            READ[key] = done.stdout
        return yaml.safe_load(READ[key])

    return config


def files_of(stack):
    return [word for name in STACKS[stack] for word in ("-c", name)]


def deploy_without_engine(docker, names, **options):
    """What the old client says of a file: it has no `stack config`, but reads before it connects."""
    done = docker("old", "stack", "deploy", *(w for name in names for w in ("-c", name)), "x", **options)
    assert done.returncode == 1
    return done.stderr.strip()


def accepted(stderr):
    return re.fullmatch(r"Cannot connect to the Docker daemon at unix://\S+\. Is the docker daemon running\?",
                        stderr) is not None


def source(name):
    """A file as YAML, with its variables as they are."""
    return yaml.safe_load((ROOT / name).read_text())


def named_variables():
    """{variable: default, or None where it has none} of all files that people deploy."""
    found = {}
    for file in [*FILES, "docker-compose-dev.yml"]:
        for line in (ROOT / file).read_text().splitlines():
            for name, kind, value in VARIABLE.findall(line.partition(" # ")[0]):
                if line.lstrip().startswith("#"):
                    continue
                if kind in ("-", ":-"):
                    assert found.setdefault(name, value) == value, f"two defaults of {name}"
                else:
                    assert found.setdefault(name) is None
    return found


def services_of(config, stack):
    return config(stack, **LOGIN)["services"].items()


@pytest.mark.parametrize("stack", STACKS)
def test_new_client_takes_all(config, stack):
    assert config(stack, **LOGIN)["services"]


def test_no_key_is_dropped_without_a_word():
    """As `depends_on` and the short `tmpfs` would be, which clients read and forget."""
    for file in FILES:
        for name, service in source(file)["services"].items():
            assert set(service) <= OBEYED, f"{file}: {name}"
            assert all(isinstance(volume, dict) for volume in service.get("volumes", [])), name


@pytest.mark.parametrize("stack", STACKS)
def test_old_client_takes_all(docker, stack):
    stderr = deploy_without_engine(docker, STACKS[stack], **LOGIN)
    assert accepted(stderr), stderr


def test_what_clients_do_not_take_is_seen(docker, tmp_path):
    """The test above would notice."""
    text = (ROOT / "docker/traefik.yml").read_text().replace("./socket-proxy.cfg", "/dev/null")
    path = tmp_path / "stack.yml"
    for old, new, expected in [
        ("    read_only: true\n", "    read_only: true\n    security_opt: [no-new-privileges]\n",
         "Ignoring unsupported options: security_opt"),
        ('version: "3.9"', "", "unsupported Compose file version: 1.0"),
        ("    read_only: true\n", "    read_only: true\n    mem_limit: 64m\n", "mem_limit"),
    ]:
        assert old in text
        path.write_text(text.replace(old, new, 1))
        stderr = deploy_without_engine(docker, [path])
        assert expected in stderr and not accepted(stderr), stderr


@pytest.mark.parametrize("client", ["old", "new"])
@pytest.mark.parametrize("stack", OWN)
def test_without_user_or_hash_nothing_is_deployed(docker, client, stack):
    command = ["deploy"] if client == "old" else ["config"]
    words = ["stack", *command, *files_of(stack), *(["x"] if client == "old" else [])]
    for name in LOGIN:
        for value in [None, ""]:
            given = {key: text for key, text in LOGIN.items() if key != name}
            if value is not None:
                given[name] = value
            done = docker(client, *words, **given)
            assert done.returncode == 1
            assert f"required variable {name} is missing a value: set USERNAME and HASHED_PASSWORD as " \
                ".env.example tells" in done.stderr, done.stderr
            assert APR1 not in done.stderr


@pytest.mark.parametrize("client", ["old", "new"])
def test_env_file_is_not_read(docker, client, tmp_path):
    """.env.example says so; whoever relies on it is refused, not deployed without a password."""
    (tmp_path / "stack.yml").write_text((ROOT / "docker-compose-deploy-http.yml").read_text())
    (tmp_path / ".env").write_text(f"USERNAME=hadi\nHASHED_PASSWORD='{APR1}'\n")
    done = docker(client, "stack", "deploy", "-c", "stack.yml", "x", cwd=tmp_path)
    assert done.returncode == 1
    assert "required variable" in done.stderr


@pytest.mark.parametrize("stack", OWN)
@pytest.mark.parametrize("hashed", [APR1, BCRYPT])
def test_labels(config, stack, hashed):
    service = config(stack, USERNAME="hadi", HASHED_PASSWORD=hashed)["services"]["memory_tracker-api"]
    assert "labels" not in service, "Traefik reads those of the service: deploy.labels"
    assert service["deploy"]["labels"] == {
        "memory-tracker.user": "hadi",
        "traefik.enable": "true",
        "traefik.swarm.network": "mt-public",
        "traefik.http.middlewares.api-auth.basicauth.users": f"hadi:{hashed}",
        "traefik.http.middlewares.api-auth.basicauth.removeheader": "true",
        "traefik.http.middlewares.api-ratelimit.ratelimit.average": "5",
        "traefik.http.middlewares.api-ratelimit.ratelimit.period": "1m",
        "traefik.http.middlewares.api-ratelimit.ratelimit.burst": "5",
        "traefik.http.routers.memory_tracker-http.rule":
            "Host(`logger.hadido.ir`) && (Path(`/memory-logs`) || Path(`/memory-logs/`))",
        "traefik.http.routers.memory_tracker-http.middlewares": "api-ratelimit,api-auth",
        "traefik.http.routers.memory_tracker-http.service": "memory_tracker",
        "traefik.http.services.memory_tracker.loadbalancer.server.port": "8000",
    }


@pytest.mark.parametrize("stack", OWN)
def test_labels_by_variables(config, stack):
    read = config(stack, MT_HOST="memory.example.org", MT_PUBLIC_NETWORK="edge", MT_LOCAL_NETWORK="inner",
                  TRAEFIK_NETWORK_LABEL="traefik.docker.network", **LOGIN)
    labels = read["services"]["memory_tracker-api"]["deploy"]["labels"]
    assert labels["traefik.docker.network"] == "edge"
    assert "traefik.swarm.network" not in labels, "with both Traefik skips the service"
    assert labels["traefik.http.routers.memory_tracker-http.rule"].startswith("Host(`memory.example.org`) && ")
    assert {name: network["name"] for name, network in read["networks"].items()} == {
        "mt-local": "inner", "mt-public": "edge"}


def test_both_stacks_say_the_same():
    """What both have is written twice, since `docker stack` knows no `extends`."""
    mongodb, http = (source(STACKS[stack][0])["services"] for stack in OWN)
    different = {"image", "environment", "secrets"}
    sampler = [{key: value for key, value in services["memory_tracker-sampler"].items()
                if key not in different} for services in (mongodb, http)]
    assert sampler[0] == sampler[1]
    api = [{key: value for key, value in services["memory_tracker-api"].items()
            if key not in different | {"volumes", "deploy"}} for services in (mongodb, http)]
    assert api[0] == api[1]
    deploy = [{key: value for key, value in services["memory_tracker-api"]["deploy"].items()
               if key not in {"replicas", "placement"}} for services in (mongodb, http)]
    assert deploy[0] == deploy[1]


def given_to(services, name):
    return {service: given["environment"][name] for service, given in services.items()
            if name in given.get("environment", {})}


@pytest.mark.parametrize("stack, service", [("mongodb", "memory_tracker-sampler"), ("http", "memory_tracker-api")])
def test_how_much_is_kept_is_said_to_who_removes(config, stack, service):
    """With MongoDB the API may only read; without it no sampler has the file."""
    for variables, kept in [({}, ""), ({"RETENTION": ""}, ""), ({"RETENTION": "90d"}, "90d")]:
        services = config(stack, **variables, **LOGIN)["services"]
        assert given_to(services, "MEMORY_TRACKER_RETENTION") == {service: kept}


def test_how_much_is_kept_is_said_to_the_samplers_of_compose():
    services = source("docker-compose-dev.yml")["services"]
    assert given_to(services, "MEMORY_TRACKER_RETENTION") == dict.fromkeys(
        ["memory_tracker-sampler", "memory_tracker-sampler-mongodb"], "${RETENTION-}")


def test_answers_fit_into_the_memory_of_an_api():
    """Beside them: 64 MiB of pushed bodies, 64 MiB of the kernel's buffers, and the program itself."""
    unit = {"M": 1, "m": 1, "G": 1024, "MiB": 1}

    def mebibytes(text):
        number, letters = re.fullmatch(r"(\d+)([A-Za-z]+)", text).groups()
        return int(number) * unit[letters]

    apis = 0
    for file in [*(STACKS[stack][0] for stack in OWN), "docker-compose-dev.yml"]:
        for name, service in source(file)["services"].items():
            if "-api" not in name:
                continue
            apis += 1
            limit = service.get("mem_limit") or service["deploy"]["resources"]["limits"]["memory"]
            answers = sum(mebibytes(service["environment"][f"MEMORY_TRACKER_{which}_MEMORY"])
                          for which in ("RESPONSE", "WINDOW"))
            assert answers + 64 + 64 + 32 <= mebibytes(limit), f"{file}: {name}"
    assert apis == 4


def test_images(config):
    version = re.search(r"project\(memory-tracker VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())[1]
    images = {
        name: [service["image"] for _, service in services_of(config, name)] for name in STACKS
    }
    assert images["mongodb"] == [f"memory_tracker-api:{version}-full",
                                 f"memory_tracker-sampler:{version}-full", "mongo:8.0"]
    assert images["http"] == [f"memory_tracker-api:{version}", f"memory_tracker-sampler:{version}"]
    assert sorted(images["traefik"]) == ["haproxy:2.6", "traefik:v3.7.9"]
    elsewhere = config("http", REGISTRY="registry.example.org/mt/", TAG="9.9", **LOGIN)["services"]
    assert [service["image"] for service in elsewhere.values()] == [
        "registry.example.org/mt/memory_tracker-api:9.9",
        "registry.example.org/mt/memory_tracker-sampler:9.9"]


@pytest.mark.parametrize("stack", STACKS)
def test_every_service_is_confined(config, stack):
    for name, service in services_of(config, stack):
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        expected = ["SETUID", "SETGID"] if name == "memory_tracker-sampler" else None
        assert service.get("cap_add") == expected, name
        if name != "memory_tracker-sampler":
            user = {"mongodb": "999:999", "socket-proxy": "0:0"}.get(name, "65532:65532")
            assert service["user"] == user, name
        assert service["logging"]["driver"] == "json-file", name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
        assert "healthcheck" in service or name == "socket-proxy"
        deploy = service["deploy"]
        assert set(deploy["resources"]["limits"]) == {"cpus", "memory", "pids"}, name
        assert float(deploy["resources"]["limits"]["cpus"]) <= 1, f"{name}: a node of one CPU rejects that"
        assert int(deploy["resources"]["reservations"]["memory"]) < int(
            deploy["resources"]["limits"]["memory"]), name
        assert deploy["endpoint_mode"] == "dnsrr", name
        assert deploy["restart_policy"]["condition"] == "any", name
        assert deploy["update_config"]["failure_action"] == "rollback", name
        for port in service.get("ports", []):
            assert port["mode"] == "host", "behind Swarm's own port every client has one address"
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert (volume["source"], volume["read_only"]) == ("/var/run/docker.sock", True)


@pytest.mark.parametrize("stack", OWN)
def test_networks(config, stack):
    networks = {name: sorted(service["networks"]) for name, service in services_of(config, stack)}
    assert networks.pop("memory_tracker-api") == ["mt-local", "mt-public"]
    assert networks and all(names == ["mt-local"] for names in networks.values())


@pytest.mark.parametrize("stack", OWN)
def test_secrets_are_files_of_one_user(config, stack):
    read = config(stack, SECRETS_VERSION="v7", **LOGIN)
    for name, secret in read["secrets"].items():
        assert secret == {"external": True, "name": f"{name}_v7"}
    used = set()
    for name, service in read["services"].items():
        user = "999" if name == "mongodb" else "65532"
        for secret in service["secrets"]:
            used.add(secret["source"])
            assert secret == {"source": secret["source"], "target": secret["source"],
                              "uid": user, "gid": user, "mode": 0o400}, name
    assert used == set(read["secrets"])


@pytest.mark.parametrize("stack", STACKS)
def test_no_secret_in_environment_or_command(config, stack):
    for name, service in services_of(config, stack):
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|HASH", key):
                assert value.startswith("/run/secrets/"), f"{name}: {key}"
            assert not re.search(r"//[^/\s]*@", str(value)), f"{name}: {key}"
        assert APR1 not in str(service.get("environment")) + str(service.get("command"))


def test_templates_stand_where_swarm_fills_them_in(config):
    for stack in STACKS:
        for name, service in services_of(config, stack):
            allowed = {key: service.pop(key, None) for key in ("hostname", "environment")}
            assert "{{" not in str(service), name
            if name == "memory_tracker-sampler":
                assert allowed["hostname"] == "{{.Node.Hostname}}"


@pytest.mark.parametrize("stack", STACKS)
def test_configs_change_their_name_with_their_text(stack):
    found = {}
    for name in STACKS[stack]:
        for key, config in source(name).get("configs", {}).items():
            file = (ROOT / name).parent / config["file"]
            found[key] = config["name"]
            digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
            assert config["name"].endswith(f"_{digest}"), (
                f"{file.name} has changed, and Swarm replaces no config under the same name: in {name} "
                f"its name must end in _{digest}")
    assert found or stack == "http"


def test_mongosh_leaves_its_logs_in_memory():
    """It writes one each time, below HOME, which is the database's volume where nobody says otherwise."""
    for file in ["docker-compose-deploy.yml", "docker-compose-dev.yml"]:
        service = source(file)["services"]["mongodb"]
        said = service["healthcheck"]["test"]
        assert any("mongosh" in word for word in said)
        assert "HOME=/tmp" in " ".join(said) or service.get("environment", {}).get("HOME") == "/tmp", file
        assert "/tmp" in [*service.get("tmpfs", []), *(
            volume["target"] for volume in service["volumes"] if "tmpfs" in volume)], file


def test_what_compose_starts_is_for_machines_of_any_size():
    """The engine of a machine with one CPU refuses more; a large one has more CPUs than pids_limit."""
    services = source("docker-compose-dev.yml")["services"]
    assert {name: service.get("cpus") for name, service in services.items()} == dict.fromkeys(services, 1)


def test_compose_builds_what_the_dockerfile_has():
    """docker-compose-dev.yml builds without script/image, and gives the result the same names."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    stages = re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.MULTILINE)
    version = re.search(r"project\(memory-tracker VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())[1]
    assert set(re.findall(r"^ARG VERSION=(.*)$", dockerfile, re.MULTILINE)) == {version}
    built = {}
    for service in source("docker-compose-dev.yml")["services"].values():
        if "build" in service:
            assert service["build"]["target"] in stages
            built[service["image"]] = service["build"]["target"]
    assert built == {
        "${REGISTRY-}memory_tracker-%s:${TAG:-%s}%s" % (name, version, kind): name + kind
        for name in ("api", "sampler") for kind in ("", "-full")}


def seconds(text):
    minutes, rest = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", text).groups()
    return 60 * int(minutes or 0) + int(rest or 0)


def test_update_of_the_api_waits_for_traefik(config):
    traefik = dict(services_of(config, "traefik"))["traefik"]["environment"]
    refresh = int(traefik["TRAEFIK_PROVIDERS_SWARM_REFRESHSECONDS"])
    for stack in OWN:
        api = dict(services_of(config, stack))["memory_tracker-api"]
        drain = int(api["environment"]["MEMORY_TRACKER_DRAIN_DELAY"])
        check = api["healthcheck"]
        update = api["deploy"]["update_config"]
        assert refresh < drain
        # 20 seconds and CLIENT_TIMEOUT are the longest that a drain takes after that
        assert drain + 30 < seconds(api["stop_grace_period"])
        assert update["order"] == "start-first"
        assert seconds(update["monitor"]) >= seconds(check["interval"]) * check["retries"]
        assert check["test"] == ["CMD", "memory-api", "--health-check"]


def test_example_of_the_environment():
    """.env.example names every variable with its default, and the shell that loads it gets the hash."""
    variables = named_variables()
    text = (ROOT / ".env.example").read_text()
    given = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", text, re.MULTILINE))
    assert set(given) == set(variables)
    example_only = {"USERNAME", "HASHED_PASSWORD", "REGISTRY", "CERT_RESOLVER", "ACME_EMAIL"}
    for name, default in variables.items():
        if name not in example_only:
            assert given[name].strip("'") == default, name
    assert {name for name, default in variables.items() if default is None} == set(LOGIN)
    text = text.replace("HASHED_PASSWORD=''", f"HASHED_PASSWORD='{BCRYPT}'")
    script = "set -eua\n" + text + 'printf "%s:%s" "$USERNAME" "$HASHED_PASSWORD"'
    for shell in ["sh", "bash"]:
        done = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == (f"hadi:{BCRYPT}", "")
