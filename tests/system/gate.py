"""gate.py -- a gateway and its main chain; the agents are the test's own (tests/support/agent_client.py)."""
import json
import os
import pathlib
import sys

from world import ROOT, World

sys.path.insert(0, str(ROOT / "tests/support"))
from agent_client import Ledger  # noqa: E402

BUILD = pathlib.Path(os.environ.get("ZR_BUILD", ROOT / "build"))


class Gate(World):
    """A gateway and its main chain; the agents are ours."""

    def __init__(self, folder, build):
        super().__init__(folder, build)
        self.gateway_settings["spool"]["quarantine-size"] = "8 MiB"
        self.ledgers = {}

    def add_ledger(self, name, *agents, **settings):
        ledger = Ledger(self.folder / name)
        trust = self.folder / f"{name}.genesis"
        trust.write_bytes(ledger.blocks[0])
        for agent in agents:
            if not self.pki.certificate(f"agent-{agent}").exists():
                self.pki.issue_agent(agent)
        self.grant(name, "ledger", trust, agents, **settings)
        self.ledgers[name] = ledger
        return ledger

    def begin(self, main_chain=True):
        self.init_devchain()
        self.write_gateway()
        self.init_spool()
        if main_chain:
            self.devchain.start()
        self.gateway.start()
        for name in self.ledgers:
            self.gateway.wait_log(f"chain-enrolled chain={name}")

    def chain(self, name):
        chains = json.loads(self.http("/api/v1/chains")[1])["chains"]
        return next(chain for chain in chains if chain["name"] == name)
