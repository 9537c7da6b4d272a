"""What is wrong before the first connection, or at a reload: configuration, files it names, and the spool."""
import hashlib
import re
import shutil
import signal
import struct

import pytest

from link_peer import Ended, LinkPeer
from pki import make_pki
from siege import BUILD, Siege
from world import World, yaml_text

MISTAKES = """\
zone: "two words"
listen: ["127.0.0.1:99999"]
tls:
  certificate: pki/gateway.pem
limits:
  links: many
  block: 64 parsecs
  batch: 1 KiB
  handshake-timeout: -3 s
  credit: 1 MiB
  credit: 2 MiB
idle-timeout: 3 s
spool:
  dir: spool
  size: 1 MiB
receipts: []
main-chain:
  endpoints: ["ftp://x"]
log: { level: loud }
classes:
  odd: { policy: most, priority: 0 }
chains:
  - { name: a/b, format: ledger, trust: x, agents: [e1] }
  - { name: c1, format: ledger, trust: x, agents: [] }
  - { name: c2, format: ledger, agents: [e1], class: nobody }
  - { name: c2, format: ledger, trust: x, agents: ["e 1"] }
"""

# Line of each mistake, and a word of what is said about it.
EXPECTED = {1: "zone must be a name", 2: "listen must be", 6: "whole number", 7: "size with its unit", 8: "from 64 KiB",
            9: "duration", 11: "given twice", 12: "did you mean", 15: "spool.size", 16: "group of keys", 18: "https://",
            19: "log.level", 21: "policy", 23: "chains[].name", 24: "list of 1 to 64", 25: "no class nobody",
            26: "given twice"}


def footprint(folder):
    """Names, sizes, times of change and hashes: whether anything but the locks was touched."""
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in folder.iterdir() if path.name not in ("lock.mdb", "owner.lock")}


@pytest.fixture
def world(tmp_path):
    """A world that was prepared and is not running."""
    with World(tmp_path, BUILD) as made:
        made.prepare()
        yield made


def daemon(world, *options, check=False):
    return world.run("zonerelayd", "--config", world.folder / "gateway.yaml", *options, check=check, timeout=20)


# ---- configuration ----

def test_every_mistake_is_told_at_once_with_its_place_and_the_spool_is_untouched(world):
    before = footprint(world.folder / "spool")
    path = world.folder / "gateway.yaml"
    path.write_text(MISTAKES)
    for result, status in ((daemon(world, "--check"), 78), (daemon(world), 78),
                           (world.run("zonerelay", "config", "check", path, check=False), 1)):
        assert result.returncode == status
        told = re.findall(r"gateway\.yaml:(\d+):(\d+): (.*)", result.stderr + result.stdout)
        for line, words in EXPECTED.items():
            assert any(int(at) == line and words in text for at, _, text in told), (line, words, told)
        assert all(int(column) >= 1 for _, column, _ in told)
    assert footprint(world.folder / "spool") == before


@pytest.mark.parametrize("text, words", [
    ("zone: [\n", ":2:1: is not YAML"), ("", "is empty"), ("- a\n- b\n", ":1:1: must be a group of keys"),
    ("zone: &a x\nlisten: [*a]\n", "anchors are not used"), ("zone: x\x01y\n", ":1:8: is not YAML"),
    ("zone: {" * 200, "nested too deeply"), ("zone: " + "x" * 5000 + "\n", ":1:7: zone must have at most"),
])
def test_a_file_that_is_not_ours_is_refused_with_its_place(world, text, words):
    (world.folder / "gateway.yaml").write_text(text)
    result = daemon(world, "--check")
    assert result.returncode == 78 and words in result.stderr, result.stderr


def test_what_the_configuration_names_is_looked_at_too(world):
    keys = world.folder / "pki"
    world.pki.issue_agent("x")
    (world.folder / "no.block").write_bytes(b"\x0a\x01x")
    (world.folder / "noise").write_bytes(b"\0\1\2")
    before = footprint(world.folder / "spool")
    wrong = [({"tls": {"certificate": keys / "nobody.pem"}}, "nobody.pem"),
             ({"tls": {"key": keys / "agent-x.key"}}, "key"),
             ({"tls": {"ca": world.folder / "noise"}}, "noise"),
             ({"tls": {"crl": [str(world.folder / "noise")]}}, "noise"),
             ({"tls": {"groups": "P-1000"}}, "group"),
             ({"receipts": {"key": keys / "gateway.key"}}, "receipts"),
             ({"main-chain": {"adapter": "pigeon"}}, "pigeon"),
             ({"listen": ["localhost:7443"]}, "localhost")]
    for change, words in wrong:
        settings = {**world.gateway_settings}
        for section, values in change.items():
            settings[section] = {**settings[section], **values} if isinstance(values, dict) else values
        (world.folder / "gateway.yaml").write_text(yaml_text(settings) + "\n")
        for result in (daemon(world, "--check"), daemon(world)):
            assert result.returncode not in (0, 66) and words in result.stderr, (change, result.returncode, result.stderr)
    for chain, words in (({"format": "ledger", "trust": "no.block"}, "tq-1"), ({"format": "ledger", "trust": "none"}, "none"),
                         ({"format": "bitcoin", "trust": "no.block"}, "bitcoin")):
        world.chains = [{"name": "tq-1", "agents": ["x"], **chain}]
        world.write_gateway()
        result = daemon(world, "--check")
        assert result.returncode == 78 and words in result.stderr, (chain, result.stderr)
    assert footprint(world.folder / "spool") == before


# ---- the spool ----

def test_a_missing_spool_is_refused_and_not_made(world):
    shutil.rmtree(world.folder / "spool")
    for _ in range(2):
        result = daemon(world)
        assert result.returncode == 66 and "no spool" in result.stderr and "spool init" in result.stderr
    assert not (world.folder / "spool").exists()
    (world.folder / "spool").mkdir()  # As a mount point without its disk.
    assert daemon(world).returncode == 66
    assert not list((world.folder / "spool").iterdir())


def test_a_spool_that_is_none_is_refused_and_left_alone(world):
    data = world.folder / "spool" / "data.mdb"
    good = data.read_bytes()
    for wrong in (b"", b"not a store".ljust(8192, b"\0"), bytes(16) + b"\xff" * 240 + good[256:]):
        data.write_bytes(wrong)
        before = footprint(world.folder / "spool")
        result = daemon(world)
        assert result.returncode not in (0, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS), result
        assert "start-failed" in result.stderr and "spool" in result.stderr, result.stderr
        assert footprint(world.folder / "spool") == before or data.read_bytes() == wrong


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def identity_at(data):
    """Where the row that says what the file is begins, and its size without the checksum."""
    at = data.index(b"ZRs1\x0fzonerelay-spool")
    return at, 4 + 1 + 15 + 4 + 16 + 8 + 8 + 1


def test_a_spool_of_another_version_is_refused_by_both_numbers(world):
    path = world.folder / "spool" / "data.mdb"
    data = bytearray(path.read_bytes())
    at, size = identity_at(data)

    def checksum():
        return struct.pack(">I", crc32c(b"\xffidentity" + data[at:at + size]))
    assert data[at + size:at + size + 4] == checksum(), "this test no longer knows the row"
    assert data[at + 20:at + 24] == struct.pack(">I", 1)
    data[at + 20:at + 24] = struct.pack(">I", 7)
    data[at + size:at + size + 4] = checksum()
    path.write_bytes(data)
    before = footprint(world.folder / "spool")
    for result in (daemon(world), world.run("zonerelay", "spool", "stat", world.folder / "spool", check=False)):
        assert result.returncode not in (0, 66)
        assert "version 7" in result.stderr and "version 1" in result.stderr, result.stderr
    assert footprint(world.folder / "spool") == before


def test_a_second_daemon_on_the_same_spool_is_refused(tmp_path):
    with Siege(tmp_path) as siege:
        with siege.unharmed(anchored=True):
            result = daemon(siege.world)
            assert result.returncode not in (0, 66) and "start-failed" in result.stderr
            assert "another process" in result.stderr or "in use" in result.stderr, result.stderr


def restart(world, agent):
    world.edges[agent].stop()
    world.edges[agent].start()


def test_an_agent_keeps_away_from_a_store_that_it_has_not_pinned(tmp_path):
    """The spool is replaced by an empty one: the agent must not hand over again what may be anchored."""
    with World(tmp_path, BUILD) as world:
        home = world.add_ledger_edge("edge-1", "meter-1", source={"input": "file", "path": tmp_path / "entries",
                                                                   "block-entries": 2})
        (tmp_path / "entries").write_text("".join(f"reading {index}\n" for index in range(8)))
        world.start()
        world.wait(lambda: world.audit().get("meter-1", {}).get("blocks", 0) >= 4, "four blocks are anchored")
        before = world.audit()["meter-1"]["blocks"]
        assert home.exists()
        world.gateway.stop()
        (tmp_path / "spool").rename(tmp_path / "spool-old")
        world.init_spool()
        at = len(world.gateway.log())
        world.gateway.start()
        restart(world, "edge-1")  # It would wait as long as the last goodbye asked it to.
        world.gateway.wait_log("this is not the store that you have pinned", 20, at)
        world.wait(lambda: world.metrics().get("zonerelay_hello_refused_total", 0) >= 1, "it is counted")
        assert world.metrics()["zonerelay_blocks_received_total"] == 0
        world.gateway.stop()
        shutil.rmtree(tmp_path / "spool")
        (tmp_path / "spool-old").rename(tmp_path / "spool")
        world.gateway.start()
        with (tmp_path / "entries").open("a") as more:
            more.write("".join(f"reading {index}\n" for index in range(8, 12)))
        restart(world, "edge-1")
        world.wait_anchored({"meter-1": before + 2})


# ---- reloads ----

@pytest.fixture(scope="module")
def siege(tmp_path_factory):
    with Siege(tmp_path_factory.mktemp("reload"), ["bad"]) as made:
        with made.carrying("bad") as link:
            link.store(made.chains["bad"].blocks)
        made.stored["bad"] = 1
        yield made


def reload(siege, log):
    at = len(siege.world.gateway.log())
    siege.world.gateway.signal(signal.SIGHUP)
    siege.world.gateway.wait_log(log, start=at)


def test_a_reload_of_a_broken_configuration_keeps_the_old_one(siege):
    path = siege.world.folder / "gateway.yaml"
    good = path.read_text()
    failed = 'config_reloads_total{result="failed"}'
    pki = siege.world.folder / "pki"
    with siege.carrying("bad") as link:
        for text in (good + "nonsense: 1\n", "", "zone: [", good.replace("gateway.pem", "nobody.pem"),
                     good.replace("receipts.key", "gateway.key")):
            path.write_text(text)
            with siege.unharmed("reload-failed", failed):
                reload(siege, "reload-failed")
        path.write_text(good)
        crl = (pki / "crl.pem").read_text()
        (pki / "crl.pem").write_text("noise")
        with siege.unharmed("reload-failed", failed):
            reload(siege, "reload-failed")
        (pki / "crl.pem").write_text(crl)
        with siege.unharmed(metric='config_reloads_total{result="ok"}'):
            reload(siege, " reloaded ")
        link.send({"ping": {"number": 3}})
        assert link.expect("pong")["number"] == 3
    # Nor does a part of it come into force: what is new beside the mistake is not said to who comes next.
    path.write_text(good.replace("gateway.pem", "nobody.pem") + "heartbeat: \"77 s\"\n")
    with siege.unharmed("reload-failed", failed):
        reload(siege, "reload-failed")
    path.write_text(good)
    with siege.carrying("bad") as link:
        assert link.welcome["limits"]["heartbeat_ms"] != 77000
    at = siege.world.gateway.log()
    assert "config-error" in at and "there is no key nonsense" in at


def test_a_change_of_the_ca_cuts_those_whom_the_new_one_does_not_know(siege, tmp_path):
    """With both CAs in the file everybody stays; with the new one alone only its own agents do."""
    pki, world = siege.world.pki, siege.world
    other = make_pki(tmp_path / "pki", agents=["mallory"], zone=world.zone)
    old_ca, old_crl = pki.ca.read_text(), pki.crl.read_text()

    def from_other():
        return LinkPeer(world.gateway_port, other.certificate("agent-mallory"), other.key("agent-mallory"), pki.ca)
    try:
        pki.ca.write_text(old_ca + other.ca.read_text())
        pki.crl.write_text(old_crl + other.crl.read_text())
        with siege.unharmed():
            reload(siege, " reloaded ")
        with from_other() as link:
            link.hello([])
            pki.ca.write_text(old_ca)
            pki.crl.write_text(old_crl)
            with siege.unharmed("link-revoked agent=mallory", 'connections_ended_total{reason="wrong-ca"}'):
                reload(siege, " reloaded ")
                link.expect_end(timeout=5)
        with pytest.raises((Ended, OSError)):
            with from_other() as link:
                link.hello([])
    finally:
        pki.ca.write_text(old_ca)
        pki.crl.write_text(old_crl)
