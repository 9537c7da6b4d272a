"""zonerelay against the real daemon: what docs/CONTROL.md promises is what comes."""
import json
import os
import re
import shutil
import signal
import subprocess
import threading

import pytest

from world import ROOT, World

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")
RAFT = ROOT / "tests/data/fabric/raft-edge-1"
BFT = ROOT / "tests/data/fabric/bft-edge"
TOP = 10


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One Fabric channel, all of it anchored."""
    with World(tmp_path_factory.mktemp("online"), BUILD) as made:
        blocks = made.add_fabric_edge("edge-1", "raft-1", RAFT / "0.block")
        for path in RAFT.glob("*.block"):
            shutil.copy(path, blocks)
        made.start()
        made.wait_anchored({"raft-1": TOP + 1})
        made.wait(lambda: made.ask("chains", "show", "raft-1")["anchored_next"] == TOP + 1, "anchored, as the spool says")
        yield made


def documented(title):
    """The keys of the first object that stands under a heading of docs/CONTROL.md."""
    text = (ROOT / "docs/CONTROL.md").read_text()
    section = re.search(rf"^(?:### |\*\*){title}.*?\n\n((?:    .*\n|\n)+)", text, re.M | re.S).group(1)
    depth, keys, word = 0, [], None
    for token in re.findall(r'"[^"]*"|[{}\[\]:,]', section):
        if token in "{[":
            depth += 1
        elif token in "}]":
            depth -= 1
            if depth == 0:
                break
        elif token == ":" and depth == 1:
            keys.append(word)
        word = token.strip('"')
    return set(keys)


def test_each_answer_has_the_keys_that_are_documented(world):
    chain = documented("chain")
    assert {"name", "epoch", "anchored_next", "agent"} <= chain
    assert set(world.ask("chains", "list")["chains"][0]) >= chain
    assert set(world.ask("chains", "show", "raft-1")) >= chain | documented("chains show")
    for title, words in [("status", ["status"]), ("anchors list, anchors show", ["anchors", "list"]),
                         ("reconcile", ["reconcile"]), ("log level", ["log", "level"])]:
        keys = documented(title)
        assert keys and set(world.ask(*words)) >= keys, title
    for words, key in [(["pending"], "pending"), (["gaps"], "gaps"), (["quarantine", "list"], "items"),
                       (["evidence", "list"], "evidence"), (["audit", "list"], "audit"),
                       (["dictionary", "list"], "dictionaries")]:
        assert isinstance(world.ask(*words)[key], list), words


def test_what_is_anchored_reconciles(world):
    found = world.ask("reconcile")
    assert found["differences"] == 0
    assert found["chains"][0]["main_chain"]["anchored_next"] == TOP + 1


def test_every_page_can_be_read_by_people(world):
    for words in (["status"], ["chains", "list"], ["chains", "show", "raft-1"], ["pending"], ["gaps"],
                  ["anchors", "list"], ["anchors", "show", "1"], ["quarantine", "list"], ["evidence", "list"],
                  ["reconcile"], ["log", "level"], ["audit", "list"], ["audit", "verify"],
                  ["dictionary", "list"]):
        result = world.cli(*words)
        assert result.stdout.strip() and not result.stderr, words
        assert "{" not in result.stdout, "no JSON in a page"


def test_a_page_leads_to_the_next(world):
    first = world.ask("anchors", "list", "--limit", "1")
    assert len(first["anchors"]) == 1
    if first["next"] is not None:
        second = world.ask("anchors", "list", "--limit", "1", "--after", str(first["next"]))
        assert [anchor["seq"] for anchor in second["anchors"]] in ([], [first["anchors"][0]["seq"] + 1])


def test_a_proof_is_fetched_and_convinces(world):
    path = world.folder / "five.proof"
    world.cli("proof", "get", "raft-1", "5", "--out", path)
    result = world.run("zonerelay", "proof", "verify", path, "--trusted", world.trusted)
    assert result.stdout.endswith("OK: block 5 of chain raft-1 is anchored on the main chain\n")


def test_freezing_is_tried_done_seen_and_written_down(world):
    before = len(world.ask("audit", "list")["audit"])
    tried = world.ask("chains", "freeze", "raft-1", "--reason", "a look", "--dry-run")
    assert tried["dry_run"] is True and tried["audit"] is None
    assert world.ask("chains", "show", "raft-1")["state"] == "active"
    done = world.ask("chains", "freeze", "raft-1", "--reason", "a look")
    assert done["dry_run"] is False and done["what"] == tried["what"]
    status = world.cli("status", check=False)
    assert status.returncode == 3 and "raft-1 is frozen" in status.stdout
    world.ask("chains", "unfreeze", "raft-1", "--reason", "seen enough")
    audit = world.ask("audit", "list")["audit"]
    assert [item["reason"] for item in audit[before:]] == ["a look", "seen enough"]
    assert world.ask("audit", "verify")["ok"] is True


def test_a_chain_is_added_while_the_daemon_runs(world):
    result = world.cli("chains", "add", "bft-1", "--config", world.folder / "gateway.yaml", "--format", "fabric",
                       "--trust", BFT / "0.block", "--agents", "edge-9", "--reason", "a new site")
    assert "the daemon has read it" in result.stdout
    world.wait(lambda: "bft-1" in world.chain_states() and world.chain_states()["bft-1"]["state"] == "active", "enrolled")


def test_a_reload_with_a_mistake_keeps_what_was_in_force(world):
    path = world.folder / "gateway.yaml"
    good = path.read_text()
    path.write_text(good + "\nnonsense: 1\n")
    try:
        result = world.cli("config", "reload", "--reason", "try", "--json", check=False)
        assert result.returncode == 1
        assert "nonsense" in result.stdout
    finally:
        path.write_text(good)
    assert world.ask("chains", "show", "raft-1")["state"] == "active"


def test_what_does_not_exist_is_said(world):
    for words in (["chains", "show", "nobody"], ["anchors", "show", "999999"], ["quarantine", "show", "77"],
                  ["resync", "nobody", "1..2", "--reason", "x"],
                  ["proof", "get", "raft-1", "999", "--out", world.folder / "none"]):
        result = world.cli(*words, check=False)
        assert result.returncode in (1, 3), words
        assert result.stderr.startswith("zonerelay: "), words


def test_a_watcher_sees_what_happens(world):
    process = subprocess.Popen([str(world.program("zonerelay")), "watch", "--json", "--events",
                                world.folder / "events.sock"], stdout=subprocess.PIPE, text=True)
    try:
        # The subscription takes a moment, and what happens before it is missed.
        seen = []
        reader = threading.Thread(target=lambda: seen.append(json.loads(process.stdout.readline())))
        reader.start()
        for _ in range(50):
            world.cli("chains", "freeze", "raft-1", "--reason", "watch this")
            world.cli("chains", "unfreeze", "raft-1", "--reason", "watch this")
            if not reader.is_alive():
                break
        reader.join(10)
        assert seen[0]["event"] in ("chain-frozen", "chain-unfrozen")
        assert seen[0]["number"] > 0 and seen[0]["time_ms"] > 0 and seen[0]["data"]["chain"] == "raft-1"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    assert process.returncode == 0
