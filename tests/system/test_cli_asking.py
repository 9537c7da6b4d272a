"""zonerelay against a daemon whose answers are written down: what is sent, and what is shown."""
import json
import os
import signal
import subprocess

import pytest

from world import ROOT

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")


class Daemon:
    def __init__(self, folder):
        self.folder = folder
        self.socket, self.events = folder / "control.sock", folder / "events.sock"
        program = os.path.join(BUILD, "tests", "fake_daemon")
        self.process = subprocess.Popen([program, self.socket, self.events, folder], stdin=subprocess.PIPE)

    def stop(self):
        self.process.stdin.close()
        assert self.process.wait(10) == 0

    def answers(self, **answer):
        (self.folder / "answer.json").write_text(json.dumps(answer))

    def cli(self, *words, **options):
        command = [os.path.join(BUILD, "relay/cli/zonerelay"), *map(str, words)]
        return subprocess.run([*command, "--socket", self.socket], capture_output=True, text=True, check=False,
                              timeout=30, **options)

    def requests(self):
        return [json.loads(line) for line in (self.folder / "requests").read_text().splitlines()]


@pytest.fixture
def daemon(tmp_path):
    made = Daemon(tmp_path)
    made.answers(exit_status=0, json={})
    yield made
    made.stop()


CHAIN = {"name": "tq-0001", "state": "frozen", "class": "default", "next_height": 12, "anchored_next": 10,
         "pending_blocks": 2, "quarantined_blocks": 0, "held_bytes": 2048, "agent": None, "last_received_ms": 0}


def test_the_words_are_sent_and_the_answer_is_a_table(daemon):
    daemon.answers(exit_status=0, json={"chains": [CHAIN], "total": 1, "next": "tq-0001"})
    result = daemon.cli("chains", "list", "--limit", 1, "--class", "default")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["CHAIN", "STATE", "CLASS", "NEXT", "ANCHORED", "PENDING", "QUARANTINE", "HELD", "AGENT",
                                "LAST", "RECEIVED"]
    assert lines[1].split() == ["tq-0001", "frozen", "default", "12", "10", "2", "0", "2.0", "KiB", "-", "never"]
    assert lines[2] == "more: --after tq-0001"
    assert "\x1b" not in result.stdout, "no colours where nobody looks"
    request = daemon.requests()[-1]
    assert request["words"] == ["chains", "list", "--class", "default", "--limit", "1", "--"]
    assert (request["reason"], request["dry_run"], request["id_size"]) == ("", False, 16)


def test_json_is_passed_on_in_one_line(daemon):
    daemon.answers(exit_status=3, json={"chains": [CHAIN], "next": None})
    result = daemon.cli("chains", "list", "--json")
    assert result.returncode == 3
    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout) == {"chains": [CHAIN], "next": None}


def test_reason_and_dry_run_go_beside_the_words(daemon):
    daemon.answers(exit_status=0, json={"changed": 1, "dry_run": True, "what": ["tq-0001 frozen"], "audit": None})
    result = daemon.cli("chains", "freeze", "tq-0001", "--hold-delivery", "--reason", "work on it", "--dry-run")
    assert result.returncode == 0
    assert "- tq-0001 frozen" in result.stdout
    request = daemon.requests()[-1]
    assert request["words"] == ["chains", "freeze", "--hold-delivery", "--", "tq-0001"]
    assert (request["reason"], request["dry_run"]) == ("work on it", True)


def test_an_error_is_a_sentence_and_a_status(daemon):
    daemon.answers(exit_status=1, error="there is no chain tq-9")
    result = daemon.cli("chains", "show", "tq-9")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "zonerelay: there is no chain tq-9\n"
    result = daemon.cli("chains", "show", "tq-9", "--json")
    assert json.loads(result.stdout) == {"error": "there is no chain tq-9"}


def test_an_answer_that_is_no_json_is_a_failure(daemon):
    daemon.answers(exit_status=0, text="{torn")
    result = daemon.cli("status")
    assert result.returncode == 1 and "is no JSON" in result.stderr


def test_attachments_go_and_come(daemon):
    folder = daemon.folder
    (folder / "genesis").write_text("a new beginning")
    daemon.cli("chains", "renew", "tq-0001", "--trust", folder / "genesis", "--reason", "rebuilt")
    assert daemon.requests()[-1]["attachment"] == "a new beginning"
    (folder / "d.zdict").write_text("words")
    daemon.cli("dictionary", "add", folder / "d.zdict", "--reason", "smaller")
    assert daemon.requests()[-1]["attachment"] == "words"
    result = daemon.cli("chains", "renew", "tq-0001", "--trust", "/nonexistent", "--reason", "rebuilt")
    assert result.returncode == 1

    daemon.answers(exit_status=0, json={"chain": "tq-0001", "height": 5}, attachment="a proof")
    result = daemon.cli("proof", "get", "tq-0001", 5, "--out", folder / "p")
    assert result.returncode == 0 and (folder / "p").read_text() == "a proof"
    result = daemon.cli("proof", "get", "tq-0001", 5, "--out", folder / "p")
    assert result.returncode == 1 and "not replaced" in result.stderr
    result = daemon.cli("proof", "get", "tq-0001", 5, "--out", "-", "--json")
    assert result.stdout == "a proof"
    assert daemon.cli("proof", "get", "tq-0001", 5).returncode == 2


def test_handing_over_has_two_ends(daemon):
    folder = daemon.folder
    daemon.answers(exit_status=0, json={"changed": 1}, attachment="bundle")
    words = ["chains", "move", "tq-0001", "--reason", "new gateway"]
    assert daemon.cli(*words).returncode == 2
    assert daemon.cli(*words, "--out", folder / "b", "--in", folder / "b").returncode == 2
    assert daemon.cli(*words, "--out", folder / "b").returncode == 0
    assert (folder / "b").read_text() == "bundle"
    assert daemon.cli(*words, "--in", folder / "b").returncode == 0
    assert daemon.requests()[-1]["attachment"] == "bundle"


def test_a_failed_answer_writes_no_file(daemon):
    daemon.answers(exit_status=1, error="not anchored yet", attachment="nothing")
    result = daemon.cli("proof", "get", "tq-0001", 5, "--out", daemon.folder / "p")
    assert result.returncode == 1 and not (daemon.folder / "p").exists()


def test_a_chain_that_the_daemon_refuses_leaves_no_file(daemon):
    folder = daemon.folder
    zone = folder / "zone.yaml"
    zone.write_text("zone: iii\nlisten: ['127.0.0.1:7443']\ntls: {certificate: a, key: a, ca: a}\n"
                    "spool: {dir: s}\nreceipts: {key: r, certificate: r}\n"
                    "main-chain: {endpoints: ['http://127.0.0.1:1']}\n")
    genesis = ROOT / "tests/data/fabric/raft-edge-1/0.block"
    words = ["chains", "add", "raft-1", "--config", zone, "--format", "fabric", "--trust", genesis, "--agents", "e",
             "--reason", "new"]
    daemon.answers(exit_status=1, error="not today")
    result = daemon.cli(*words)
    assert result.returncode == 1 and "the daemon refused to reload: not today" in result.stderr
    assert not list((folder / "chains.d").iterdir())
    daemon.answers(exit_status=0, json={"chains_added": 1})
    result = daemon.cli(*words)
    assert result.returncode == 0 and "the daemon has read it" in result.stdout
    assert daemon.requests()[-1]["words"] == ["config", "reload"]
    assert daemon.requests()[-1]["reason"] == "new"


def watch(daemon, *words, lines=5, stop=signal.SIGINT):
    """The first lines of a watch, which is then interrupted."""
    process = subprocess.Popen([os.path.join(BUILD, "relay/cli/zonerelay"), "watch", *words, "--events", daemon.events],
                               stdout=subprocess.PIPE, text=True)
    found = [process.stdout.readline() for _ in range(lines)]
    process.send_signal(stop)
    process.communicate(timeout=10)
    assert process.returncode == 0
    return found


def test_events_are_watched_until_interrupted(daemon):
    lines = watch(daemon)
    assert all(line.startswith("2026-") for line in lines)
    assert {line.split(" ", 1)[1] for line in lines} == {"batch-stored chain=a from=1\n", "chain-frozen chain=b\n"}


def test_events_can_be_chosen_and_come_as_json(daemon):
    lines = [json.loads(line) for line in watch(daemon, "chain-frozen", "--json", stop=signal.SIGTERM)]
    assert {line["event"] for line in lines} == {"chain-frozen"}
    numbers = [line["number"] for line in lines]
    assert numbers == sorted(numbers) and len(set(numbers)) == len(numbers)
    assert lines[0]["data"] == {"chain": "b"}
