"""The agent without a gateway: what it keeps, what it says, what it refuses."""
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from producer import Producer, block_entries
from world import ROOT, SLOW, Failure, World, free_port, yaml_text

sys.path.insert(0, str(ROOT / "tests/support"))
import meter_gen  # noqa: E402

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")
RAFT = ROOT / "tests/data/fabric/raft-edge-1"


@pytest.fixture
def world(tmp_path):
    with World(tmp_path, BUILD) as made:
        yield made


def prepare(world, agent):
    world.write_edge(agent)
    config = world.folder / f"{agent}.yaml"
    if world.edge_settings[agent]["chains"][0]["format"] == "ledger":
        world.run("zonerelay-edge", "ledger", "init", "--config", config)
    return config


def chain_of(world, agent):
    status = world.edge_status(agent)
    return status["chains"][0] if status else {}


def wait(condition, what, timeout=20):
    deadline = time.monotonic() + timeout * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"not within {timeout} s: {what}")
        time.sleep(0.03)


def ledger_entries(world, agent, name, out):
    """Every entry of the ledger's blocks, in order, read from an export."""
    world.run("zonerelay-edge", "ledger", "export", name, out, "--config", world.folder / f"{agent}.yaml")
    heights = sorted(int(path.stem) for path in out.glob("*.block"))
    assert heights == list(range(len(heights)))
    return [entry for height in heights[1:] for entry in block_entries((out / f"{height}.block").read_bytes())]


def test_every_acknowledged_entry_is_in_the_ledger_after_kill_9(world):
    """A producer streams while the agent is killed at random moments, again and again."""
    source = {"input": "socket", "path": world.folder / "e1" / "entries.sock", "block-interval": "50 ms"}
    world.add_ledger_edge("e1", "meter-1", suite="sha256-ed25519", source=source)
    prepare(world, "e1")
    agent = world.edges["e1"]
    chance = random.Random(20260105)
    acked = {}
    number = 0
    for _ in range(12):
        agent.spawn()
        wait(source["path"].exists, "the socket")
        producer = wait(lambda: connected(source["path"]), "a connection")
        killer = threading.Timer(0.05 + chance.random() * 0.4, agent.kill)
        killer.start()
        try:
            while True:
                for _ in range(20):
                    number += 1
                    producer.send(b"entry %d" % number)
                for _ in range(20):
                    if producer.answer() is None:
                        raise OSError("ended")
        except OSError:
            while producer.answer() is not None:
                pass  # What was answered before the end still counts.
        killer.join()
        producer.close()
        assert not set(acked.values()) & set(producer.acked.values()), "a number was given twice"
        acked.update(producer.acked)
    assert len(acked) > 100, "the agent was killed before it could do anything"

    agent.spawn()
    wait(lambda: chain_of(world, "e1").get("running", True) and
         chain_of(world, "e1").get("entries") == chain_of(world, "e1").get("entries_sealed") != 0, "all is sealed")
    agent.stop()
    entries = ledger_entries(world, "e1", "meter-1", world.folder / "out")
    for entry, place in acked.items():
        assert entries[place] == entry
    assert entries == sorted(entries, key=lambda entry: int(entry.split()[1])), "the order was lost"
    assert len(set(entries)) == len(entries)


def connected(path):
    try:
        return Producer(path)
    except OSError:
        return None


def test_a_producer_is_told_what_is_no_entry(world):
    source = {"input": "socket", "path": world.folder / "e1" / "entries.sock", "entry-size": "100 B"}
    world.add_ledger_edge("e1", "meter-1", suite="sha256-p256", source=source)
    prepare(world, "e1")
    world.edges["e1"].spawn()
    wait(source["path"].exists, "the socket")
    producer = wait(lambda: connected(source["path"]), "a connection")
    producer.send(b"good")
    producer.send(b"x" * 101)
    producer.send(b"never looked at")
    assert producer.answer() == (0, 0)
    assert producer.answer() == (1, 0)
    assert producer.answer() is None
    other = Producer(source["path"])
    other.send(b"x" * 100)
    other.socket.shutdown(1)  # Half closed: the answer still comes.
    assert other.answer() == (0, 1)
    assert other.answer() is None
    # Torn, and gone without a word: no harm to others.
    torn = Producer(source["path"])
    torn.socket.sendall(b"\0\0\0\x09half")
    torn.close()
    last = Producer(source["path"])
    last.send(b"still here")
    assert last.answer() == (0, 2)


def test_many_producers_get_their_own_numbers(world):
    source = {"input": "socket", "path": world.folder / "e1" / "entries.sock"}
    world.add_ledger_edge("e1", "meter-1", suite="sha256-ed25519", source=source)
    prepare(world, "e1")
    world.edges["e1"].spawn()
    wait(source["path"].exists, "the socket")
    wait(lambda: connected(source["path"]), "a connection").close()
    numbers = []

    def stream(name):
        producer = Producer(source["path"])
        for i in range(200):
            producer.send(b"%d of %d" % (i, name))
        for _ in range(200):
            assert producer.answer()[0] == 0
        assert list(producer.acked.values()) == sorted(producer.acked.values())
        numbers.extend(producer.acked.values())

    threads = [threading.Thread(target=stream, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1200))


def test_a_day_of_readings_becomes_a_block_a_quarter_hour_even_through_kill_9(world):
    csv = world.folder / "readings.csv"
    csv.write_text(meter_gen.HEADER + "\n")
    source = {"input": "csv", "path": csv, "csv": {"columns": ["time=1", "meter=2", "kwh=3", "watts=6"]}}
    world.add_ledger_edge("e1", "meter-1", suite="sm3-sm2", source=source)
    prepare(world, "e1")
    agent = world.edges["e1"].spawn()
    chance = random.Random(7)
    with open(csv, "a", encoding="ascii") as file:
        for count, line in enumerate(meter_gen.lines(7, 1.01), 1):
            file.write(line + "\n")
            if count % 120 == 0:
                file.flush()
                time.sleep(0.02)
            if chance.random() < 0.006:
                agent.kill()
                agent.spawn()
    wait(lambda: chain_of(world, "e1").get("entries_sealed", 0) >= 1440, "a day is sealed")
    agent.stop()
    entries = ledger_entries(world, "e1", "meter-1", world.folder / "out")
    readings = [json.loads(entry) for entry in entries]
    expected = [line.split(",") for line in meter_gen.lines(7, 1.01)][:len(readings)]
    assert [[one["time"], one["meter"], one["kwh"], one["watts"]] for one in readings] == \
        [[fields[0], fields[1], fields[2], fields[5]] for fields in expected]
    for height in range(1, 97):
        data = (world.folder / "out" / f"{height}.block").read_bytes()
        assert len(block_entries(data)) == 15


def test_standard_input_that_ends_is_sealed_at_once(world):
    world.add_ledger_edge("e1", "meter-1", suite="sha256-p256", source={"input": "stdin"})
    config = prepare(world, "e1")
    process = subprocess.Popen([world.program("zonerelay-edge"), "--config", config], stdin=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    process.stdin.write(b"one\ntwo\nthree without end")
    process.stdin.close()
    wait(lambda: chain_of(world, "e1").get("next") == 2, "the block")
    process.terminate()
    assert process.wait(10) == 0
    assert ledger_entries(world, "e1", "meter-1", world.folder / "out") == [b"one", b"two", b"three without end"]


def test_a_full_ledger_takes_nothing_more_and_loses_nothing(world):
    source = {"input": "socket", "path": world.folder / "e1" / "entries.sock", "size": "1 MiB",
              "block-bytes": "64 KiB", "block-interval": "100 ms"}
    world.add_ledger_edge("e1", "meter-1", suite="sha256-ed25519", source=source)
    prepare(world, "e1")
    agent = world.edges["e1"].spawn()
    producer = wait(lambda: source["path"].exists() and connected(source["path"]), "a connection")
    producer.socket.settimeout(2)
    for number in range(4000):
        producer.send(b"%06d" % number + b"x" * 1000)
        if producer.answer() is None:
            break
    assert 100 < len(producer.acked) < 2000
    assert "full" in chain_of(world, "e1")["problem"]
    # What is open can still be sealed, and the agent restarts on the full store.
    wait(lambda: chain_of(world, "e1")["entries"] == chain_of(world, "e1")["entries_sealed"], "all is sealed")
    agent.kill()
    agent.spawn()
    wait(lambda: chain_of(world, "e1").get("entries", 0) >= len(producer.acked), "the agent is back")
    agent.stop()
    entries = ledger_entries(world, "e1", "meter-1", world.folder / "out")
    for entry, place in producer.acked.items():
        assert entries[place] == entry


def test_a_lost_ledger_store_is_not_begun_anew(world):
    world.add_ledger_edge("e1", "meter-1", source={"input": "stdin"})
    config = prepare(world, "e1")
    subprocess.run(["rm", "-r", world.folder / "e1" / "ledger"], check=True)
    result = world.run("zonerelay-edge", "run", "--config", config, check=False)
    assert result.returncode == 66
    assert "store was lost" in result.stderr


def test_a_second_agent_on_the_same_store_is_refused(world):
    world.add_ledger_edge("e1", "meter-1", source={"input": "csv", "path": world.folder / "none.csv"})
    config = prepare(world, "e1")
    world.edges["e1"].spawn()
    wait(lambda: world.edge_status("e1").get("running"), "the agent")
    result = world.run("zonerelay-edge", "--config", config, check=False)
    assert result.returncode == 69
    assert str(world.edges["e1"].process.pid) in result.stderr
    assert world.edge_status("e1")["running"]


def test_status_is_known_with_and_without_the_agent(world):
    folder = world.add_fabric_edge("e1", "raft-1", RAFT / "0.block")
    config = prepare(world, "e1")
    before = world.run("zonerelay-edge", "status", "--config", config, check=False)
    assert before.returncode == 3 and "not running" in before.stdout
    agent = world.edges["e1"].spawn()
    for height in range(11):
        (folder / f"{height}.block").write_bytes((RAFT / f"{height}.block").read_bytes())
    wait(lambda: chain_of(world, "e1").get("next") == 11, "eleven blocks")
    text = world.run("zonerelay-edge", "status", "--config", config, check=False)
    assert text.returncode == 3 and "offline" in text.stdout
    assert world.edge_status("e1")["link"] in ("down", "connecting")
    agent.signal(signal.SIGUSR1)
    agent.wait_log(" state {")
    assert agent.stop() == 0
    stored = world.edge_status("e1")
    assert stored["running"] is False and stored["chains"][0]["next"] == 11
    assert stored["chains"][0]["tip"] == \
        "".join(json.loads(json.dumps(stored["chains"][0]["tip"])))


def test_what_is_wrong_on_the_command_line_or_in_the_file_is_said(world):
    world.add_fabric_edge("e1", "raft-1", RAFT / "0.block")
    config = prepare(world, "e1")

    def edge(*words):
        return world.run("zonerelay-edge", *words, check=False)

    assert edge("--help").returncode == 0
    for verb in ("run", "status", "receipts", "proof", "unpin", "ledger init", "config check"):
        assert verb in edge("--help").stdout
    assert edge("--version").stdout.startswith("zonerelay-edge ")
    assert edge("--config", config, "config", "check").returncode == 0
    assert "raft-1" in edge("--config", config, "config", "show").stdout
    for words in (["nonsense"], ["--nonsense"], ["receipts"], ["proof", "a", "b"], ["ledger"],
                  ["--config", config, "receipts", "other"], ["--config", config, "proof", "raft-1", "x", "f"],
                  ["--config", config, "ledger", "init", "raft-1"], ["--config", config, "unpin", "other"]):
        assert edge(*words).returncode == 2, words
    for words in (["receipts", "raft-1"], ["proof", "raft-1", "0", "f"], ["unpin", "raft-1"],
                  ["ledger", "export", "raft-1", "out"]):
        result = edge("--config", config, *words)
        assert result.returncode == 1 and result.stderr, words
    bad = world.folder / "bad.yaml"
    bad.write_text(yaml_text(dict(world.edge_settings["e1"], nonsense=1, batch={"wait": "soon"})) + "\n")
    for words, status in ((["run"], 78), (["config", "check"], 1)):
        result = edge("--config", bad, *words)
        assert result.returncode == status
        assert result.stderr.count("bad.yaml:") == 2, "all mistakes at once"
    assert not (world.folder / "e1" / "state").exists() or edge("--config", config, "status").returncode == 3


def test_an_unusable_certificate_does_not_stop_a_ledger(world):
    source = {"input": "socket", "path": world.folder / "e1" / "entries.sock"}
    world.add_ledger_edge("e1", "meter-1", suite="sha256-p256", source=source)
    world.edge_settings["e1"]["tls"]["certificate"] = world.folder / "missing.pem"
    prepare(world, "e1")
    world.edges["e1"].spawn()
    producer = wait(lambda: source["path"].exists() and connected(source["path"]), "a connection")
    producer.send(b"one")
    assert producer.answer() == (0, 0)
    assert "missing.pem" in wait(lambda: world.edge_status("e1")["last_error"], "the reason")


def test_the_agent_stays_small(world):
    """What a device with little memory has to give: with a fabric chain followed and waiting."""
    folder = world.add_fabric_edge("e1", "raft-1", RAFT / "0.block")
    for height in range(11):
        (folder / f"{height}.block").write_bytes((RAFT / f"{height}.block").read_bytes())
    prepare(world, "e1")
    agent = world.edges["e1"].spawn()
    wait(lambda: chain_of(world, "e1").get("next") == 11, "eleven blocks")
    status = open(f"/proc/{agent.process.pid}/status", encoding="ascii").read()
    memory = {line.split(":")[0]: int(line.split()[1]) for line in status.splitlines() if line.endswith(" kB")}
    if "__asan_init" not in subprocess.run(["nm", "-D", world.program("zonerelay-edge")], capture_output=True,
                                           text=True, check=True).stdout:
        assert memory["RssAnon"] < 8 * 1024
    needed = subprocess.run(["ldd", world.program("zonerelay-edge")], capture_output=True, text=True,
                            check=True).stdout
    for library in ("libcurl", "libnng", "libjansson"):
        assert library not in needed


def test_routes_are_tried_in_turn(world):
    world.add_fabric_edge("e1", "raft-1", RAFT / "0.block")
    ports = [free_port(), free_port()]
    world.edge_settings["e1"]["gateway"]["routes"] = [{"address": f"127.0.0.1:{port}"} for port in ports]
    world.edge_settings["e1"]["log"] = {"level": "debug"}
    prepare(world, "e1")
    agent = world.edges["e1"].spawn()
    at = agent.wait_log(f"link-dial address=127.0.0.1:{ports[0]}")
    at = agent.wait_log(f"link-dial address=127.0.0.1:{ports[1]}", start=at)
    agent.wait_log(f"link-dial address=127.0.0.1:{ports[0]}", start=at)
