"""The shipped stack files on a swarm of the tests' engines, deployed as README.md says."""

import collections
import ipaddress
import json
import os
import resource
import secrets
import subprocess
import sys

from .engines import CLIENT, SUBNET
from .environment import ROOT
from .waiting import wait_until

NAME = "memory-tracker"
MONGODB = "docker-compose-deploy.yml"
HTTP = "docker-compose-deploy-http.yml"
HOST = "logger.hadido.ir"
USER, PASSWORD = "hadi", "do"
API = "memory_tracker-api"
SAMPLER = "memory_tracker-sampler"
SECRETS_VERSION = "v1"
# who samples, in the containers
SAMPLER_USER = "memory-tracker"
# states of a task that runs no more
ENDED = {"complete", "shutdown", "failed", "rejected", "orphaned", "remove"}

Answer = collections.namedtuple("Answer", "status headers text")


def limits_of_this_machine():
    """Variables of .env.example for a machine that is a container itself and has less to give."""
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return {"MONGO_NOFILE": str(most_files)} if 0 <= most_files < 64000 else {}


class Visitors:
    """Clients outside of the swarm, each with an address of its own: the limit is by address."""

    NETWORK = ipaddress.ip_network("10.78.0.0/16")
    # those of Load come from the upper half
    FIRST_OF_LOADS = NETWORK[1 << 15]

    def __init__(self, engines):
        self.engines = engines
        self.count = 0
        self.loads = 0
        # all of these addresses are the client's, and the nodes know the way there
        engines.outside(["ip", "route", "replace", "local", str(self.NETWORK), "dev", "lo"],
                        check=True)
        for node in engines:
            node.inside(["ip", "route", "replace", str(self.NETWORK), "via", f"{SUBNET}.{CLIENT}"],
                        check=True)

    def new(self):
        self.count += 1
        return str(self.NETWORK[self.count])

    def new_load(self):
        """The first of many addresses that nobody else takes."""
        self.loads += 1
        assert self.loads <= 8
        return str(self.FIRST_OF_LOADS + (self.loads - 1) * 4096)

    def get(self, url, *options, address=None):
        """curl's Answer from a new address; status 0 and its complaint where there is no answer."""
        done = self.engines.outside(
            ["curl", "-sS", "-i", "-m", "20", "--interface", address or self.new(), *options, url],
            check=False)
        if done.returncode != 0:
            return Answer(0, {}, done.stderr)
        head, _, text = done.stdout.replace("\r\n", "\n").partition("\n\n")
        lines = head.split("\n")
        headers = {name.lower(): value.strip()
                   for name, _, value in (line.partition(":") for line in lines[1:])}
        return Answer(int(lines[0].split()[1]), headers, text)


class Load:
    """Requests through Traefik from hundreds of addresses, five from each; see load.py."""

    def __init__(self, stack):
        program = os.path.join(os.path.dirname(__file__), "load.py")
        self.process = subprocess.Popen(
            stack.engines.outside_command([
                sys.executable, program, stack.url, HOST, f"{USER}:{PASSWORD}",
                stack.visitors.new_load()]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.result = None

    def __enter__(self):
        return self

    def wait_for_more(self, count):
        """Until so many more requests have been answered, one way or the other."""
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline(), "the load has ended"

    def __exit__(self, *_):
        try:
            out, err = self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
        assert self.process.returncode == 0, err
        self.result = json.loads(out)


class Stack:
    """One of the shipped files and docker/traefik.yml on a swarm; node 1 is its manager.

    Everything comes from the files as they are: what they ask for (networks, labels, secrets,
    variables) is made here with the commands of README.md. store_node has the history.
    """

    def __init__(self, engines, file, store_node, environment=None):
        self.engines = engines
        self.manager = engines[0]
        self.file = file
        self.store_node = store_node
        self.visitors = Visitors(engines)
        self.url = f"http://{self.manager.address}/memory-logs/"
        self.secrets = self.new_secrets()
        hashed = subprocess.run(["openssl", "passwd", "-apr1", "-stdin"], input=PASSWORD,
                                capture_output=True, text=True, check=True).stdout.strip()
        self.environment = {
            "USERNAME": USER, "HASHED_PASSWORD": hashed, **limits_of_this_machine(),
            **(environment or {}),
        }

    def new_secrets(self):
        if self.file == MONGODB:
            uri = "mongodb://{}:{}@mongodb/memory_tracker"
            return {
                "mt_mongodb_root_password": secrets.token_hex(16),
                "mt_sampler_store": uri.format("sampler", secrets.token_hex(16)),
                "mt_api_store": uri.format("api", secrets.token_hex(16)),
            }
        token = secrets.token_hex(32)
        return {"mt_tokens": f"samplers append {token}\n", "mt_push_token": token}

    def docker(self, *arguments, **options):
        return self.manager.docker(*arguments, **options)

    def prepare(self):
        """What a swarm needs before it can take the stack."""
        present = self.docker("network", "ls", "--format", "{{.Name}}").stdout.split()
        for network in {"mt-local", "mt-public"} - set(present):
            self.docker("network", "create", "--driver", "overlay", network)
        label = "memory-tracker.mongodb" if self.file == MONGODB else "memory-tracker.history"
        self.docker("node", "update", "--label-add", f"{label}=true", self.store_node.name)
        for name, text in self.secrets.items():
            self.docker("secret", "create", f"{name}_{SECRETS_VERSION}", "-", input=text)

    def deploy_traefik(self):
        self.deploy_file("docker/traefik.yml", "traefik")

    def deploy(self):
        self.deploy_file(self.file, NAME)

    def deploy_file(self, file, name):
        self.docker("stack", "deploy", "--resolve-image", "never", "-c", str(ROOT / file), name,
                    env=self.environment)

    def remove(self):
        """Removes the stack; returns once no container of it is left on any node."""
        self.docker("stack", "rm", NAME)
        self.wait(lambda: not any(self.containers(node, everything=True) for node in self.engines),
                  60, "the containers of the stack to be gone")

    def services(self):
        """{service: (running tasks, wanted tasks)}"""
        listed = self.docker("service", "ls", "--format", "{{.Name}} {{.Replicas}}",
                             "--filter", f"label=com.docker.stack.namespace={NAME}").stdout
        found = {}
        for line in listed.splitlines():
            name, replicas = line.split()[:2]
            running, wanted = replicas.split("/")
            found[name.removeprefix(NAME + "_")] = (int(running), int(wanted))
        return found

    def is_running(self):
        found = self.services()
        return found and all(running == wanted > 0 for running, wanted in found.values())

    def wait_running(self, timeout=120):
        self.wait(self.is_running, timeout, "all tasks to run")

    def wait_answering(self, timeout=60):
        """Traefik looks for tasks every few seconds."""
        self.wait(lambda: self.get().status == 200, timeout, "a 200 through Traefik")

    def wait_tasks(self, service, nodes, timeout=60):
        """Until exactly these nodes have a running task of the service."""
        wanted = sorted(node.name for node in nodes)

        def running():
            listed = self.docker("service", "ps", f"{NAME}_{service}", "--filter",
                                 "desired-state=running", "--format",
                                 "{{.Node}} {{.CurrentState}}").stdout
            return sorted(line.split()[0] for line in listed.splitlines()
                          if line.split()[1] == "Running") == wanted
        self.wait(running, timeout, f"{service} on {wanted}")

    def tasks(self, service):
        """The ids of the tasks of a service that are meant to run."""
        return set(self.docker("service", "ps", "--quiet", "--no-trunc", "--filter",
                               "desired-state=running", f"{NAME}_{service}").stdout.split())

    def wait_ended(self, tasks, timeout=120):
        """Until none of these tasks has a container any more that runs."""
        def has_ended(task):
            done = self.docker("inspect", "--type", "task", "--format", "{{.Status.State}}", task,
                               check=False)
            if done.returncode == 0:
                return done.stdout.strip() in ENDED
            # one that is forgotten has ended; what was not to be learned says nothing
            return any(said in done.stderr
                       for said in [f"task {task} not found", f"No such task: {task}"])
        self.wait(lambda: all(map(has_ended, tasks)), timeout, "the old tasks to end")

    def inspect(self, service):
        return json.loads(self.docker("service", "inspect", f"{NAME}_{service}").stdout)[0]

    def wait_node(self, node, state, timeout=60):
        self.wait(lambda: self.docker("node", "ls", "--filter", f"name={node.name}", "--format",
                                      "{{.Status}}").stdout.strip() == state,
                  timeout, f"{node.name} to be {state}")

    def containers(self, node, service=None, everything=False, healthy=False):
        """The ids of the stack's containers on a node that run; or all, or the healthy ones."""
        label = (f"com.docker.swarm.service.name={NAME}_{service}" if service
                 else f"com.docker.stack.namespace={NAME}")
        done = node.docker("ps", "--quiet", "--no-trunc", *(["--all"] if everything else []),
                           *(["--filter", "health=healthy"] if healthy else []),
                           "--filter", f"label={label}", check=False)
        # an engine that is down has none
        return done.stdout.split() if done.returncode == 0 else []

    def execute(self, node, service, *command, user=None, check=True):
        """Runs a command in the service's container on that node."""
        found = self.wait(lambda: self.containers(node, service), 60, f"{service} on {node.name}")
        return node.docker("exec", *(["--user", user] if user else []), found[0], *command,
                           check=check)

    def api_node(self):
        """A node that has an API."""
        return next(node for node in self.engines if self.containers(node, API))

    def hosts(self):
        """What memory-tracker hosts says, in an API's container."""
        done = self.execute(self.api_node(), API, "memory-tracker", "hosts", "--json")
        return json.loads(done.stdout)

    def export(self):
        """All records of the history, read by the program in an API's container."""
        done = self.execute(self.api_node(), API, "memory-tracker", "export", "--json")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def get(self, query="", *options, url=None, **keywords):
        """Asks through Traefik, with the password unless curl gets other options."""
        return self.visitors.get((url or self.url) + query, "-H", f"Host: {HOST}",
                                 *(options or ["-u", f"{USER}:{PASSWORD}"]), **keywords)

    def wait(self, condition, timeout, what):
        """wait_until, and what the swarm says where it was in vain."""
        try:
            return wait_until(condition, timeout, what, longest_pause=0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.report()}") from None

    def report(self):
        names = self.docker("service", "ls", "--quiet", check=False).stdout.split()
        parts = [self.docker("node", "ls", check=False), self.docker("service", "ls", check=False)]
        if names:
            parts.append(self.docker("service", "ps", "--no-trunc", "--format",
                                     "{{.Name}} {{.Node}} {{.CurrentState}} {{.Error}}", *names,
                                     check=False))
        parts += [self.docker("service", "logs", "--tail", "15", name, check=False, timeout=20)
                  for name in names]
        return "\n".join(part.stdout + part.stderr for part in parts)
