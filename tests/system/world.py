"""world.py -- a main chain, a gateway and its agents, for system tests and the demo.

Everything lives in one folder and listens on loopback, on ports that were free a moment ago. Each
program is a Process: started, stopped, killed and started again, its log kept in the folder.

    with World(folder, build) as world:
        world.add_fabric_edge("edge-1", "raft-1", blocks)
        world.start()
        world.wait_anchored({"raft-1": 11})
        world.gateway.kill(); world.gateway.start()

A World makes its configuration files from what was added; world.gateway_settings and each edge's
settings are nested dictionaries that a test may change before start() (or before a reload).
"""
import http.client
import contextlib
import itertools
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pki

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS_TO_STOP = 20
# Sanitizers and busy machines take longer: every limit of a wait is multiplied by this.
SLOW = float(os.environ.get("ZR_SLOW", "1"))


class Failure(Exception):
    """What went wrong, in a sentence; the logs are in the folder."""


def candidate_ports():
    """In chance order, below those that the system gives to outgoing connections; each of the test runner's
    workers has its own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    first = 10000 + 2500 * (worker % 8)
    return itertools.cycle(random.sample(range(first, first + 2500), 2500))


PORTS = candidate_ports()


def free_port():
    while True:
        port = next(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue  # Somebody else's.
            return port


def yaml_text(value, indent=0):
    """Enough YAML for our files: nested dictionaries and lists of plain values."""
    pad = "  " * indent
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += [f"{pad}{key}:", yaml_text(item, indent + 1)]
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            lines.append(f"{pad}{key}:")
            for one in item:
                text = yaml_text(one, indent + 2)
                lines.append(f"{pad}  - {text.lstrip()}")
        elif isinstance(item, list):
            lines.append(f"{pad}{key}: [{', '.join(json.dumps(one) for one in item)}]")
        elif isinstance(item, bool):
            lines.append(f"{pad}{key}: {'true' if item else 'false'}")
        elif isinstance(item, int):
            lines.append(f"{pad}{key}: {item}")
        else:
            lines.append(f"{pad}{key}: {json.dumps(str(item), ensure_ascii=False)}")
    return "\n".join(lines)


class Process:
    """One of our programs, with a log file of its own that restarts append to."""

    def __init__(self, world, name, program, arguments, ready=None):
        self.world = world
        self.name = name
        self.program = program
        self.arguments = arguments
        self.ready = ready  # Called until it returns true.
        self.log_path = world.folder / f"{name}.log"
        self.process = None
        self.environment = {}
        self.prefix = []  # What runs it instead of being run by us: strace, for one.

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def spawn(self):
        assert not self.running
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, str(self.world.program(self.program)), *map(str, self.arguments)], cwd=self.world.folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **self.environment})
        return self

    def start(self, timeout=30):
        self.spawn()
        if self.ready is None:
            return self
        deadline = time.monotonic() + timeout * SLOW
        while not self.ready():
            if not self.running:
                raise Failure(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise Failure(f"{self.name} is not ready after {timeout} s:\n{self.tail()}")
            time.sleep(0.02)
        return self

    def stop(self, timeout=SECONDS_TO_STOP):
        """SIGTERM, and its exit status. One that does not end is killed and is a failure."""
        if not self.running:
            return self.process.returncode if self.process else None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failure(f"{self.name} did not end {timeout} s after SIGTERM:\n{self.tail()}") from None

    def kill(self):
        """SIGKILL: as a power cut would end it, but for the page cache."""
        if self.running:
            self.process.kill()
            self.process.wait()

    def signal(self, number):
        self.process.send_signal(number)

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def tail(self, lines=25):
        return "\n".join(self.log().splitlines()[-lines:])

    def wait_log(self, text, timeout=15, start=0):
        """Waits until text stands in the log after position start; gives the position after it."""
        deadline = time.monotonic() + timeout * SLOW
        while True:
            at = self.log().find(text, start)
            if at >= 0:
                return at + len(text)
            if time.monotonic() > deadline:
                raise Failure(f'{self.name} did not log "{text}" within {timeout} s:\n{self.tail()}')
            time.sleep(0.05)


class World:
    def __init__(self, folder, build, zone="demo", suite="sha256-p256"):
        self.folder = pathlib.Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.build = pathlib.Path(build).resolve()
        self.zone = zone
        self.pki = pki.make_pki(self.folder / "pki", zone=zone)
        self.edges = {}
        self.edge_settings = {}
        self.chains = []  # As in the zone file.
        self.at_stop = []  # Called first when the world ends.
        self.devchain_port = free_port()
        self.gateway_port = free_port()
        self.http_port = free_port()
        self.suite = suite
        self.gateway_settings = self._gateway_settings()
        self.devchain = self._devchain()
        self.gateway = Process(self, "gateway", "zonerelayd", ["--config", self.folder / "gateway.yaml"],
                               ready=self.gateway_ready)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    # ---- programs ----

    def program(self, name):
        for place in (f"relay/{name}", f"relay/cli/{name}", f"relay/edge/{name}", f"adapters/mainchain/devchain/{name}",
                      f"adapters/mainchain/{name}"):
            if (self.build / place).exists():
                return self.build / place
        raise Failure(f"{name} is not built in {self.build}")

    def run(self, program, *arguments, check=True, timeout=60, **options):
        """Runs one of our programs to its end."""
        result = subprocess.run([str(self.program(program)), *map(str, arguments)], capture_output=True,
                                text=True, timeout=timeout * SLOW, check=False, cwd=self.folder, **options)
        if check and result.returncode != 0:
            raise Failure(f"{program} {' '.join(map(str, arguments))} ended with {result.returncode}:\n"
                          f"{result.stdout}{result.stderr}")
        return result

    def cli(self, *words, check=True, timeout=60):
        """An operator's command against the running gateway."""
        return self.run("zonerelay", *words, "--socket", self.folder / "control.sock", check=check,
                        timeout=timeout)

    def ask(self, *words, timeout=60):
        """The same with --json, as an object. Exit statuses above 2 are answers too."""
        result = self.cli(*words, "--json", check=False, timeout=timeout)
        if not result.stdout.strip():
            raise Failure(f"zonerelay {' '.join(map(str, words))} ended with {result.returncode}: {result.stderr}")
        return json.loads(result.stdout)

    # ---- the main chain ----

    def _devchain(self):
        folder = self.folder / "devchain"
        return Process(self, "devchain", "zonerelay-devchain",
                       ["--dir", folder, "--listen", f"127.0.0.1:{self.devchain_port}", "--block-interval-ms", 200],
                       ready=lambda: self.main_chain("/v1/status") is not None)

    def init_devchain(self):
        self.run("zonerelay-devchain", "init", "--dir", self.folder / "devchain", "--suite", self.suite)

    @property
    def trusted(self):
        return self.folder / "devchain" / "trusted.pem"

    def main_chain(self, path, body=None):
        """An answer of the main chain's API as an object; None where nobody answers."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.devchain_port}{path}",
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(request, timeout=5) as answer:
                return json.loads(answer.read() or b"{}")
        except (OSError, http.client.HTTPException):  # Also one that was killed in the middle of its answer.
            return None

    def main_chain_bytes(self, path):
        """An answer of the main chain's API that is no JSON."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.devchain_port}{path}", timeout=5 * SLOW) as answer:
            return answer.read()

    def audit(self):
        """What the main chain holds, by chain name: blocks, duplicates, gaps, anchored ranges."""
        answer = self.main_chain("/v1/audit")
        return {chain["name"]: chain for chain in answer["chains"]} if answer else {}

    # ---- the gateway ----

    def _gateway_settings(self):
        keys = self.folder / "pki"
        return {
            "zone": self.zone,
            "listen": [f"127.0.0.1:{self.gateway_port}"],
            "tls": {"certificate": keys / "gateway.pem", "key": keys / "gateway.key", "ca": keys / "ca.pem",
                    "crl": [str(keys / "crl.pem")]},
            "receipts": {"key": keys / "receipts.key", "certificate": keys / "receipts.pem"},
            "spool": {"dir": self.folder / "spool", "size": "128 MiB", "reserve": "16 MiB",
                      "quarantine-size": "16 MiB"},
            "main-chain": {"adapter": "http", "endpoints": [f"http://127.0.0.1:{self.devchain_port}"],
                           "trusted": [str(self.trusted)], "anchor-interval": "300 ms", "poll-interval": "100 ms",
                           "retry-min": "100 ms", "retry-max": "1 s", "answer-timeout": "5 s"},
            "control": {"socket": self.folder / "control.sock", "events": self.folder / "events.sock"},
            "http": {"listen": [f"127.0.0.1:{self.http_port}"]},
            "log": {"level": "info"},
        }

    def write_gateway(self):
        settings = dict(self.gateway_settings, chains=self.chains)
        if not self.chains:
            del settings["chains"]
        (self.folder / "gateway.yaml").write_text(yaml_text(settings) + "\n")

    def init_spool(self):
        self.run("zonerelay", "spool", "init", "--config", self.folder / "gateway.yaml")

    def gateway_on_copy(self):
        """(process, port) of a second gateway, not started: on folder/spool-2, with sockets of its own."""
        port = free_port()
        settings = dict(self.gateway_settings, chains=self.chains, listen=[f"127.0.0.1:{port}"],
                        spool={**self.gateway_settings["spool"], "dir": self.folder / "spool-2"},
                        control={"socket": self.folder / "control-2.sock", "events": self.folder / "events-2.sock"},
                        http={"listen": [f"127.0.0.1:{free_port()}"]})
        path = self.folder / "gateway-2.yaml"
        path.write_text(yaml_text(settings) + "\n")
        return Process(self, "gateway-2", "zonerelayd", ["--config", path]), port

    @contextlib.contextmanager
    def watching(self):
        """A dictionary that holds the newest data of each event, by its name, while the gateway is watched."""
        watch = subprocess.Popen([str(self.program("zonerelay")), "watch", "--json", "--events",
                                  str(self.folder / "events.sock")], stdout=subprocess.PIPE, text=True)
        seen = {}
        reader = threading.Thread(target=lambda: [seen.update({event["event"]: event["data"]})
                                                  for event in map(json.loads, watch.stdout)])
        reader.start()
        try:
            time.sleep(0.5)  # A subscription has no answer to wait for.
            yield seen
        finally:
            watch.kill()
            watch.wait()
            reader.join()

    def http(self, path):
        """(status, text) of the gateway's HTTP listener; (0, "") where nobody answers."""
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"http://127.0.0.1:{self.http_port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""

    def gateway_ready(self):
        return self.http("/healthz")[0] == 200

    def metrics(self):
        """All samples: "name{labels}" -> value."""
        samples = {}
        for line in self.http("/metrics")[1].splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples

    # ---- edges ----

    def _add_edge(self, agent, chain, **settings):
        keys = self.folder / "pki"
        if not self.pki.certificate(f"agent-{agent}").exists():
            self.pki.issue_agent(agent)
        self.edge_settings[agent] = {
            "gateway": {"name": f"zonerelay:gateway/{self.zone}",
                        "routes": [{"address": f"127.0.0.1:{self.gateway_port}"}],
                        "retry-min": "100 ms", "retry-max": "1 s"},
            "tls": {"certificate": keys / f"agent-{agent}.pem", "key": keys / f"agent-{agent}.key",
                    "ca": keys / "ca.pem"},
            "state": {"dir": self.folder / agent / "state"},
            "batch": {"wait": "200 ms"},
            "status": {"socket": self.folder / agent / "status.sock"},
            "log": {"level": "info"},
            "chains": [chain],
            **settings,
        }
        (self.folder / agent).mkdir(exist_ok=True)
        self.edges[agent] = Process(self, agent, "zonerelay-edge",
                                    ["run", "--config", self.folder / f"{agent}.yaml"])
        return self.edges[agent]

    def grant(self, name, form, trust, agents, **settings):
        self.chains.append({"name": name, "format": form, "trust": trust, "agents": list(agents), **settings})

    def add_fabric_edge(self, agent, name, trust, folder=None, **chain):
        """An agent that reads a folder of blocks (made empty unless it exists)."""
        folder = pathlib.Path(folder or self.folder / agent / "blocks")
        folder.mkdir(parents=True, exist_ok=True)
        self.grant(name, "fabric", trust, [agent])
        self._add_edge(agent, {"name": name, "format": "fabric", "trust": trust,
                               "source": {"type": "fabric-dir", "dir": folder, "scan-interval": "100 ms"}, **chain})
        return folder

    def add_ledger_edge(self, agent, name, suite="sm3-sm2", source=None, **chain):
        """An agent that keeps a ledger; its input is a growing CSV file unless source says more."""
        home = self.folder / agent
        home.mkdir(exist_ok=True)
        key = home / "seal.key"
        algorithm = {"sm3-sm2": "sm2", "sha256-p256": "p256", "sha256-ed25519": "ed25519"}[suite]
        pki.run("openssl", "genpkey", *pki.ALGORITHMS[algorithm]["key"], "-out", key)
        trust = home / "genesis.block"
        self.grant(name, "ledger", trust, [agent])
        self._add_edge(agent, {"name": name, "format": "ledger", "trust": trust,
                               "source": {"type": "ledger", "dir": home / "ledger", "size": "32 MiB", "suite": suite,
                                          "key": key, "scan-interval": "100 ms", **(source or {})}, **chain})
        return home

    def write_edge(self, agent):
        (self.folder / f"{agent}.yaml").write_text(yaml_text(self.edge_settings[agent]) + "\n")

    def edge_status(self, agent):
        result = self.run("zonerelay-edge", "status", "--json", "--config", self.folder / f"{agent}.yaml", check=False)
        return json.loads(result.stdout) if result.stdout.strip() else {}

    # ---- all of it ----

    def prepare(self):
        """Configuration, stores, and the genesis of each ledger: everything short of running."""
        self.init_devchain()
        for agent in self.edges:
            self.write_edge(agent)
            chain = self.edge_settings[agent]["chains"][0]
            if chain["format"] == "ledger":
                self.run("zonerelay-edge", "ledger", "init", "--config", self.folder / f"{agent}.yaml")
        self.write_gateway()
        self.init_spool()

    def start(self):
        self.prepare()
        self.devchain.start()
        self.gateway.start()
        for edge in self.edges.values():
            edge.start()

    def stop(self):
        for call in self.at_stop:
            call()
        problems = []
        for process in [*self.edges.values(), self.gateway, self.devchain]:
            try:
                process.stop()
            except Failure as failure:
                problems.append(str(failure))
        if problems:
            raise Failure("\n".join(problems))

    def chain_states(self):
        """Of all chains, page by page."""
        states, page = {}, self.ask("chains", "list")["chains"]
        while page:
            states.update((chain["name"], chain) for chain in page)
            page = self.ask("chains", "list", "--after", page[-1]["name"])["chains"]
        return states

    def wait(self, condition, what, timeout=60):
        deadline = time.monotonic() + timeout * SLOW
        while True:
            value = condition()
            if value:
                return value
            for process in [self.devchain, self.gateway, *self.edges.values()]:
                if process.process is not None and process.process.poll() not in (None, 0, -signal.SIGKILL):
                    raise Failure(f"{process.name} ended with {process.process.returncode}:\n{process.tail()}")
            if time.monotonic() > deadline:
                raise Failure(f"not within {timeout} s: {what}\n{self.gateway.tail()}")
            time.sleep(0.1)

    def wait_anchored(self, blocks, timeout=60):
        """Until the main chain holds that many blocks of each chain, each once, without a hole."""
        def reached():
            held = self.audit()
            return all(held.get(name, {}).get("blocks", 0) >= count for name, count in blocks.items())
        self.wait(reached, f"anchored: {blocks}, but {({n: c['blocks'] for n, c in self.audit().items()})}", timeout)
        for name, chain in self.audit().items():
            if chain["duplicates"] or chain["gaps"]:
                raise Failure(f"{name} on the main chain: {chain['duplicates']} duplicates, gaps {chain['gaps']}")
