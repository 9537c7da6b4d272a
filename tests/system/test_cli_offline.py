"""zonerelay without a daemon: blocks, evidence, configuration, certificates, the spool's own tools."""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import time

import pytest

from world import ROOT, SLOW, World, yaml_text

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")
RAFT = ROOT / "tests/data/fabric/raft-edge-1"
GENESIS = RAFT / "0.block"
TOP = 10


@pytest.fixture
def world(tmp_path):
    with World(tmp_path, BUILD) as made:
        yield made


@pytest.fixture
def blocks(tmp_path):
    """A copy of the channel's blocks, to be damaged."""
    folder = tmp_path / "blocks"
    folder.mkdir()
    for path in RAFT.glob("*.block"):
        shutil.copy(path, folder)
    return folder


def cli(world, *words):
    return world.run("zonerelay", *words, check=False)


def answer(world, *words):
    """(exit status, the one line of JSON)."""
    result = cli(world, *words, "--json")
    assert result.stdout.count("\n") == 1, result.stdout
    return result.returncode, json.loads(result.stdout)


def wait_for(condition, timeout=20):
    deadline = time.monotonic() + timeout * SLOW
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---- blocks verify ----


def verify(world, *words):
    return cli(world, "blocks", "verify", "--format", "fabric", "--trust", GENESIS, *words)


def test_good_blocks_are_one_line_each(world, blocks):
    result = verify(world, blocks)
    assert result.returncode == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [int(line[0]) for line in lines] == list(range(TOP + 1))
    assert all(len(line) == 3 and len(line[1]) == 64 and line[2] == "OK" for line in lines)


def test_a_damaged_block_is_bad_and_the_others_are_judged_as_before(world, blocks):
    path = blocks / "4.block"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    result = verify(world, blocks)
    assert result.returncode == 4
    bad = [line for line in result.stdout.splitlines() if " BAD " in line]
    assert len(bad) == 1
    assert sum(" OK" in line for line in result.stdout.splitlines()) == TOP


def test_a_file_that_is_no_block_is_bad(world, blocks):
    (blocks / "extra.block").write_bytes(b"nothing of the kind")
    result = verify(world, blocks)
    assert result.returncode == 4
    assert result.stdout.splitlines()[-1].startswith("- ")
    assert " BAD " in result.stdout.splitlines()[-1]


def test_missing_heights_are_said_and_are_no_success(world, blocks):
    (blocks / "3.block").unlink()
    (blocks / "4.block").unlink()
    result = verify(world, blocks)
    assert "blocks 3 to 4 are missing" in result.stderr
    assert result.returncode == 3
    status, found = answer(world, "blocks", "verify", "--format", "fabric", "--trust", GENESIS, blocks)
    assert status == 3
    assert found["missing"] == [[3, 4]]


def test_blocks_verify_in_json(world, blocks):
    (blocks / "10.block").write_bytes((blocks / "10.block").read_bytes()[:-5])
    status, found = answer(world, "blocks", "verify", "--format", "fabric", "--trust", GENESIS, "--policy", "tail",
                           blocks)
    assert status == 4
    assert (found["ok"], found["bad"]) == (TOP, 1)
    assert [block["height"] for block in found["blocks"] if block["ok"]] == list(range(TOP))


def test_another_chains_blocks_are_bad(world):
    result = cli(world, "blocks", "verify", "--format", "fabric", "--trust", GENESIS, ROOT / "tests/data/fabric/bft-edge")
    assert result.returncode == 4
    assert " OK" not in result.stdout


def test_blocks_verify_is_told_what_it_needs(world, blocks):
    for words, sentence in [
            (["--format", "fabric", blocks], '"blocks verify" needs --trust FILE'),
            (["--format", "paper", "--trust", GENESIS, blocks], "paper is no format"),
            (["--format", "fabric", "--trust", GENESIS, "--policy", "some", blocks], "--policy is all or tail"),
            (["--format", "fabric", "--trust", GENESIS], "usage: zonerelay blocks verify PATH..."),
    ]:
        result = cli(world, "blocks", "verify", *words)
        assert result.returncode == 2
        assert sentence in result.stderr
    assert cli(world, "blocks", "verify", "--format", "fabric", "--trust", "/nonexistent", blocks).returncode == 1
    assert cli(world, "blocks", "verify", "--format", "fabric", "--trust", blocks / "3.block", blocks).returncode == 1


# ---- proof verify ----


@pytest.fixture(scope="module")
def proved(tmp_path_factory):
    """A folder with a proof of block 5, from an agent whose blocks are anchored; nothing runs any more."""
    folder = tmp_path_factory.mktemp("proved")
    with World(folder, BUILD) as made:
        blocks = made.add_fabric_edge("edge-1", "raft-1", GENESIS)
        for path in RAFT.glob("*.block"):
            shutil.copy(path, blocks)
        made.prepare()
        made.devchain.start()
        made.gateway.spawn()
        made.edges["edge-1"].start()
        made.wait_anchored({"raft-1": TOP + 1})
        wait_for(lambda: made.run("zonerelay-edge", "proof", "raft-1", "5", folder / "block.proof", "--config",
                                  folder / "edge-1.yaml", check=False).returncode == 0)
        made.stop()
        yield made


def test_a_proof_convinces_whoever_trusts_only_the_main_chain(proved):
    path = proved.folder / "block.proof"
    result = cli(proved, "proof", "verify", path, "--trusted", proved.trusted, "--block", RAFT / "5.block")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    kinds = [line.split(":")[0] for line in lines]
    assert kinds[-1] == "OK" and {"block", "entry", "anchor", "main chain"} <= set(kinds)
    assert lines[-1] == "OK: block 5 of chain raft-1 is anchored on the main chain"
    status, found = answer(proved, "proof", "verify", path, "--trusted", proved.trusted)
    assert status == 0
    assert (found["ok"], found["chain"], found["height"]) == (True, "raft-1", 5)
    assert len(found["checks"]) >= 4
    assert verify(proved, RAFT).stdout.splitlines()[5].split()[1] == found["hash"]


def test_the_zone_file_says_whom_to_trust(proved):
    path = proved.folder / "block.proof"
    assert cli(proved, "proof", "verify", path, "--config", proved.folder / "gateway.yaml").returncode == 0
    result = cli(proved, "proof", "verify", path, "--config", "/nonexistent")
    assert result.returncode == 2 and "whom to trust?" in result.stderr


def test_a_flipped_byte_proves_nothing(proved):
    data = (proved.folder / "block.proof").read_bytes()
    path = proved.folder / "flipped.proof"
    for place in sorted({0, 1, len(data) - 1, *range(7, len(data), max(1, len(data) // 60))}):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1:])
        result = cli(proved, "proof", "verify", path, "--trusted", proved.trusted)
        assert result.returncode == 4, f"byte {place} of {len(data)}: {result.stdout}"
        assert not any(line.startswith("OK") for line in result.stdout.splitlines())
    for torn in (b"", data[:-1], data + b"x"):
        path.write_bytes(torn)
        assert cli(proved, "proof", "verify", path, "--trusted", proved.trusted).returncode == 4


def test_a_proof_of_another_block_or_by_another_main_chain_proves_nothing(proved):
    path = proved.folder / "block.proof"
    result = cli(proved, "proof", "verify", path, "--trusted", proved.trusted, "--block", RAFT / "6.block")
    assert result.returncode == 4 and "NOT PROVED: the block in" in result.stderr
    other = proved.folder / "other"
    proved.run("zonerelay-devchain", "init", "--dir", other)
    result = cli(proved, "proof", "verify", path, "--trusted", other / "trusted.pem")
    assert result.returncode == 4
    assert cli(proved, "proof", "verify", path, "--trusted", GENESIS).returncode != 0
    assert cli(proved, "proof", "verify", "/nonexistent", "--trusted", proved.trusted).returncode == 1


def test_blocks_come_out_of_the_spool_as_they_went_in(proved):
    spool, out = proved.folder / "spool", proved.folder / "out"
    status, found = answer(proved, "spool", "export", "raft-1", "0..2,5,9..", spool, "--out", out)
    assert (status, found["blocks"], found["missing"]) == (0, 6, 0)
    for height in (0, 1, 2, 5, 9, 10):
        assert (out / f"raft-1_{height}.block").read_bytes() == (RAFT / f"{height}.block").read_bytes()
    assert len(list(out.iterdir())) == 6
    status, found = answer(proved, "spool", "export", "raft-1", "8..99", spool, "--out", out)
    assert (status, found["blocks"]) == (0, 3)
    status, found = answer(proved, "spool", "stat", spool)
    assert status == 0
    assert found["blocks"]["received"] == found["blocks"]["anchored"] == TOP + 1


# ---- spool verify, backup, restore, salvage ----


@pytest.fixture
def spool(proved, tmp_path):
    """A copy of the spool, to be damaged."""
    shutil.copytree(proved.folder / "spool", tmp_path / "spool")
    return tmp_path / "spool"


def test_a_good_spool_verifies(proved, spool):
    result = cli(proved, "spool", "verify", spool)
    assert result.returncode == 0 and result.stdout.endswith(": 0 faults\n")
    status, found = answer(proved, "spool", "verify", spool)
    assert status == 0
    assert (found["ok"], found["chains"], found["blocks"], found["faults"]) == (True, 1, TOP + 1, [])


def damage(spool, what):
    """Flips a bit of a batch's payload, which lies in pages of its own."""
    path = spool / "data.mdb"
    data = bytearray(path.read_bytes())
    at = data.find(what)
    assert at > 0
    data[at + len(what) // 2] ^= 0x40
    path.write_bytes(data)


def payload_of(spool):
    """Bytes from the middle of a compressed batch: its zstd frame is stored as it arrived."""
    data = (spool / "data.mdb").read_bytes()
    at = data.find(b"\x28\xb5\x2f\xfd")
    assert at > 0
    return data[at:at + 200]


def test_a_damaged_spool_is_found_out(proved, spool):
    damage(spool, payload_of(spool))
    result = cli(proved, "spool", "verify", spool)
    assert result.returncode == 4
    assert "raft-1" in result.stdout or "batches" in result.stdout
    status, found = answer(proved, "spool", "verify", spool)
    assert status == 4 and found["fault_count"] == len(found["faults"]) > 0
    export = cli(proved, "spool", "export", "raft-1", "0..", spool, "--out", spool.parent / "out")
    assert export.returncode == 4


def test_a_backup_restores_to_the_same_blocks(proved, spool, tmp_path):
    backup = tmp_path / "backup"
    status, found = answer(proved, "spool", "backup", spool, "--out", backup)
    assert status == 0 and found["bytes"] == backup.stat().st_size and found["chains"] == 1
    assert cli(proved, "spool", "backup", spool, "--out", backup).returncode == 1, "not replaced"
    assert cli(proved, "spool", "backup", spool, "--out", tmp_path / "x", "--chain", "nobody").returncode == 1
    assert cli(proved, "spool", "backup", spool).returncode == 2

    restored = tmp_path / "restored"
    result = cli(proved, "spool", "restore", restored, "--in", backup, "--size", "64 MiB", "--no-allocate")
    assert result.returncode == 0, result.stderr
    before, after = (answer(proved, "spool", "stat", folder)[1] for folder in (spool, restored))
    assert before["store_uuid"] == after["store_uuid"] and before["blocks"] == after["blocks"]
    assert before["restored_ms"] == 0 and after["restored_ms"] > 0
    assert cli(proved, "spool", "verify", restored).returncode == 0
    status, found = answer(proved, "spool", "export", "raft-1", "0..", restored, "--out", tmp_path / "out")
    assert (status, found["blocks"]) == (0, TOP + 1)
    assert (tmp_path / "out/raft-1_7.block").read_bytes() == (RAFT / "7.block").read_bytes()
    again = cli(proved, "spool", "restore", restored, "--in", backup, "--size", "64 MiB", "--no-allocate")
    assert again.returncode == 1, "there is a spool already"


def test_a_backup_goes_through_a_pipe(proved, spool, tmp_path):
    program = str(proved.program("zonerelay"))
    with subprocess.Popen([program, "spool", "backup", str(spool), "--out", "-", "--pace", "64 MiB"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as out:
        run = subprocess.run([program, "spool", "restore", str(tmp_path / "piped"), "--in", "-", "--size", "64 MiB",
                              "--no-allocate", "--json"], stdin=out.stdout, capture_output=True, check=False)
    assert run.returncode == 0 and json.loads(run.stdout)["chains"] == 1


def test_a_torn_or_damaged_backup_is_refused(proved, spool, tmp_path):
    backup = tmp_path / "backup"
    answer(proved, "spool", "backup", spool, "--out", backup)
    data = backup.read_bytes()
    for wrong in (data[:-1], data[:len(data) // 2], data[:len(data) // 2] + b"?" + data[len(data) // 2 + 1:], b"none"):
        backup.write_bytes(wrong)
        result = cli(proved, "spool", "restore", tmp_path / "r", "--in", backup, "--size", "64 MiB", "--no-allocate")
        assert result.returncode == 4, result.stderr
        assert cli(proved, "spool", "stat", tmp_path / "r").returncode == 1
    assert cli(proved, "spool", "restore", tmp_path / "r", "--in", "/nonexistent", "--size", "64 MiB").returncode == 1


def test_what_is_whole_can_be_salvaged(proved, spool, tmp_path):
    salvaged = tmp_path / "salvaged"
    # Both roots of the tree are gone: nothing but the raw pages is left.
    with open(spool / "data.mdb", "r+b") as file:
        file.write(b"\0" * 8192)
    assert cli(proved, "spool", "stat", spool).returncode == 1
    status, found = answer(proved, "spool", "salvage", spool, "--out", salvaged)
    assert (status, found["damaged"], found["chains"]) == (0, 0, 1) and found["batches"] > 0
    result = cli(proved, "spool", "restore", tmp_path / "r", "--in", salvaged, "--size", "64 MiB", "--no-allocate")
    assert result.returncode == 0, result.stderr
    status, found = answer(proved, "spool", "export", "raft-1", "0..", tmp_path / "r", "--out", tmp_path / "out")
    assert (status, found["blocks"]) == (0, TOP + 1)


# ---- evidence verify ----


def make_fork(world):
    """A ledger that signs two blocks of height 1: its genesis, and both of them."""
    home = world.add_ledger_edge("e1", "meter-1", suite="sm3-sm2", source={
        "input": "file", "path": world.folder / "e1" / "entries", "block-interval": "50 ms"})
    world.write_edge("e1")
    config = world.folder / "e1.yaml"
    world.run("zonerelay-edge", "ledger", "init", "--config", config)
    shutil.copytree(home, world.folder / "kept")
    found = []
    for branch in ("one", "other"):
        (home / "entries").write_text(f"reading of {branch} branch\n")
        agent = world.edges["e1"].spawn()
        wait_for(lambda: any(chain.get("entries_sealed", 0) >= 1 for chain in world.edge_status("e1").get("chains", [])))
        agent.stop()
        world.run("zonerelay-edge", "ledger", "export", "meter-1", world.folder / branch, "--config", config)
        found.append((world.folder / branch / "1.block").read_bytes())
        shutil.rmtree(home)
        shutil.copytree(world.folder / "kept", home)
    return home / "genesis.block", found


def bundle(genesis, epoch, blocks, height=1, name=b"meter-1", form=b"ledger"):
    def short(data):
        return bytes([len(data)]) + data

    def long(data):
        return struct.pack(">I", len(data)) + data
    return (b"ZRv1" + short(form) + short(name) + epoch + struct.pack(">Q", height) + long(genesis.read_bytes()) +
            b"".join(long(block) for block in blocks))


def test_evidence_of_a_fork_convinces_and_nothing_else_does(world):
    genesis, blocks = make_fork(world)
    assert blocks[0] != blocks[1]
    status, found = answer(world, "blocks", "verify", "--format", "ledger", "--trust", genesis, genesis)
    assert status == 0
    epoch = bytes.fromhex(found["blocks"][0]["hash"])
    path = world.folder / "bundle"
    path.write_bytes(bundle(genesis, epoch, blocks))

    result = cli(world, "evidence", "verify", path)
    assert result.returncode == 0
    assert "two validly signed blocks of height 1" in result.stdout
    assert "nothing here vouches for" in result.stdout
    status, found = answer(world, "evidence", "verify", path, "--trust", genesis)
    assert (status, found["ok"], found["pinned"], found["chain"]) == (0, True, True, "meter-1")
    assert len(set(found["hashes"])) == 2

    for wrong in (bundle(genesis, epoch, [blocks[0], blocks[0]]),      # One block twice.
                  bundle(genesis, epoch, blocks, height=2),            # Of another height.
                  bundle(genesis, epoch, [blocks[0], blocks[1][:-1]]),  # Torn.
                  bundle(genesis, epoch, blocks) + b"x", b"ZRv1", b""):
        path.write_bytes(wrong)
        assert cli(world, "evidence", "verify", path).returncode == 4
    assert cli(world, "evidence", "verify", "/nonexistent").returncode == 1


def test_evidence_under_another_trust_set_proves_nothing(world):
    genesis, blocks = make_fork(world)
    other = World(world.folder / "elsewhere", BUILD)
    other.add_ledger_edge("e1", "meter-1", suite="sm3-sm2", source={"input": "file", "path": other.folder / "entries"})
    other.write_edge("e1")
    other.run("zonerelay-edge", "ledger", "init", "--config", other.folder / "e1.yaml")
    path = world.folder / "bundle"
    path.write_bytes(bundle(genesis, bytes(32), blocks))
    result = cli(world, "evidence", "verify", path, "--trust", other.folder / "e1/genesis.block")
    assert result.returncode == 4


# ---- configuration ----


def configured(world):
    """A zone with one Fabric chain, whose files are all there."""
    world.init_devchain()
    world.grant("raft-1", "fabric", GENESIS, ["edge-1"])
    world.write_gateway()
    return world.folder / "gateway.yaml"


def test_a_whole_zone_passes_config_check(world):
    path = configured(world)
    result = cli(world, "config", "check", path)
    assert (result.returncode, result.stdout) == (0, f"{path}: OK, 1 chains\n")
    assert 'see "zonerelay spool init"' in result.stderr
    status, found = answer(world, "config", "check", "--config", path)
    assert (status, found) == (0, {"ok": True, "errors": [], "dropped": 0})


def test_config_check_reports_everything_at_once_with_its_line(world):
    configured(world)
    settings = dict(world.gateway_settings)
    settings["tls"] = dict(settings["tls"], key=world.folder / "pki/receipts.key")
    settings["receipts"] = dict(settings["receipts"], certificate=world.folder / "pki/gateway.pem")
    settings["main-chain"] = dict(settings["main-chain"], trusted=[str(GENESIS)], ca="missing.pem")
    settings["main-chain"]["adapter"] = "pigeon"
    settings["chains"] = [
        {"name": "a", "format": "paper", "trust": GENESIS, "agents": ["edge-1"]},
        {"name": "b", "format": "fabric", "trust": RAFT / "3.block", "agents": ["edge-1"]},
        {"name": "c", "format": "fabric", "trust": GENESIS, "agents": ["edge-1"], "epoch": "ab" * 32},
    ]
    path = world.folder / "bad.yaml"
    path.write_text(yaml_text(settings) + "\n")
    before = sorted(item.name for item in world.folder.iterdir())
    status, found = answer(world, "config", "check", path)
    assert status == 1 and not found["ok"]
    lines = path.read_text().splitlines()
    blamed = {lines[error["line"] - 1].split(":")[0].strip(" -"): error["text"] for error in found["errors"]}
    assert set(blamed) == {"certificate", "adapter", "ca", "trusted", "format", "trust"}
    assert "pigeon is not known" in blamed["adapter"]
    assert "paper is not known to this program; it has: ledger, fabric" in blamed["format"]
    assert len(found["errors"]) == 8
    assert before == sorted(item.name for item in world.folder.iterdir()), "checking changes nothing"


def test_config_check_of_mistakes_in_the_file_itself(world):
    path = world.folder / "bad.yaml"
    path.write_text("zone: a b\nzone: c\nlimit: 5\n")
    result = cli(world, "config", "check", path)
    assert result.returncode == 1
    assert f"{path}:1:7: zone must be a name" in result.stderr
    assert f"{path}:2:1: zone is given twice; first in line 1" in result.stderr
    assert f"{path}:3:1: there is no key limit; did you mean limits?" in result.stderr


def test_the_other_programs_files_can_be_checked(world):
    world.add_fabric_edge("edge-1", "raft-1", GENESIS)
    world.write_edge("edge-1")
    assert cli(world, "config", "check", world.folder / "edge-1.yaml", "--program", "edge").returncode == 0
    path = world.folder / "main.yaml"
    path.write_text("dir: devchain\n")
    assert cli(world, "config", "check", path, "--program", "devchain").returncode == 0
    path.write_text("dir: devchain\ntls: {certificate: nothing.pem, key: nothing.key, ca: ca.pem}\n")
    assert cli(world, "config", "check", path, "--program", "devchain").returncode == 1
    assert cli(world, "config", "check", path, "--program", "toaster").returncode == 2


@pytest.mark.parametrize("sample, program", [("iii-zone", "gateway"), ("edge", "edge"), ("iv-zone", "devchain")])
def test_each_sample_passes_with_paths_of_its_own(world, sample, program):
    """The samples of the project, once the files that they name are there."""
    world.init_devchain()
    world.add_ledger_edge("edge-1", "tq-0002")
    world.write_edge("edge-1")
    world.run("zonerelay-edge", "ledger", "init", "--config", world.folder / "edge-1.yaml")
    world.pki.issue_agent("edge-1")
    folder = world.folder / "etc"
    for name, source in {
            "pki/gateway.pem": "pki/gateway.pem", "pki/gateway.key": "pki/gateway.key", "pki/zone-ca.pem": "pki/ca.pem",
            "pki/zone-ca.crl": "pki/crl.pem", "pki/receipts.pem": "pki/receipts.pem",
            "pki/receipts.key": "pki/receipts.key", "pki/zone-iv-ca.pem": "pki/ca.pem",
            "pki/gateway-iv.pem": "pki/gateway.pem", "pki/gateway-iv.key": "pki/gateway.key",
            "pki/main-chain-keys.pem": "devchain/trusted.pem", "pki/edge.pem": "pki/agent-edge-1.pem",
            "pki/edge.key": "pki/agent-edge-1.key", "pki/tq-0002.key": "edge-1/seal.key",
            "trust/tq-0002.block": "edge-1/genesis.block"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(world.folder / source, folder / name)
    shutil.copy(GENESIS, folder / "trust/tq-0001.block")
    text = (ROOT / f"config/{sample}.yaml").read_text().replace("/var/lib/fabric", str(folder))
    (folder / "blocks/tq-0001").mkdir(parents=True)
    path = folder / f"{sample}.yaml"
    path.write_text(text)
    result = cli(world, "config", "check", path, "--program", program)
    assert result.returncode == 0, result.stderr


def test_config_show_masks_passwords_and_says_where_values_came_from(world):
    path = configured(world)
    path.write_text(path.read_text().replace('main-chain:\n', 'main-chain:\n  proxy: "http://u:hush@p:1"\n'))
    result = cli(world, "config", "show", path, "--effective")
    assert result.returncode == 0
    assert "hush" not in result.stdout and '"http://***@p:1"' in result.stdout
    assert "# default" in result.stdout and f"# {path}:" in result.stdout
    short = cli(world, "config", "show", path).stdout
    assert "# default" not in short and "idle-timeout" not in short and "limits:" not in short
    status, found = answer(world, "config", "show", path)
    assert status == 0 and found["yaml"] == result.stdout


# ---- certificates ----


def test_certificates_are_listed_with_when_they_expire(world):
    path = configured(world)
    status, found = answer(world, "certs", "--config", path)
    assert status == 0
    assert {item["key"] for item in found["certificates"]} >= {"tls.certificate", "tls.ca", "tls.crl",
                                                             "receipts.certificate"}
    assert {item["state"] for item in found["certificates"]} == {"valid"}
    result = cli(world, "certs", "--config", path, "--within", "9999 d")
    assert result.returncode == 3
    assert "expires soon" in result.stdout
    assert cli(world, "certs", "--config", path, "--within", "soon").returncode == 2


# ---- the spool ----


def test_a_spool_is_made_once_and_described(world):
    path = configured(world)
    result = cli(world, "spool", "init", "--config", path, "--no-allocate")
    assert result.returncode == 0, result.stderr
    assert "made an empty spool of 128.0 MiB" in result.stdout
    again = cli(world, "spool", "init", "--config", path, "--no-allocate")
    assert again.returncode == 1
    status, found = answer(world, "spool", "stat", world.folder / "spool")
    assert status == 0
    assert found["limit_bytes"] == 128 << 20 and found["chains"] == 0 and found["full"] is False
    assert "used_bytes" in cli(world, "spool", "stat", "--config", path).stdout
    assert cli(world, "spool", "stat", world.folder / "nowhere").returncode == 1
    assert cli(world, "spool", "stat", "--config", "/nonexistent").returncode == 2
    assert cli(world, "spool", "init", world.folder / "s2", "--size", "many").returncode == 2


def test_exporting_a_chain_that_is_not_there_fails(world):
    path = configured(world)
    world.run("zonerelay", "spool", "init", "--config", path, "--no-allocate")
    words = ["spool", "export", "raft-1", "--config", path, "--out", world.folder / "out"]
    assert cli(world, *words, "0..5").returncode == 1
    assert cli(world, *words, "5..0").returncode == 2


# ---- chains add ----


def add(world, name="raft-2", *more, trust=GENESIS):
    return cli(world, "chains", "add", name, "--config", world.folder / "gateway.yaml", "--format", "fabric",
               "--trust", trust, "--agents", "edge-1,edge-2", "--reason", "a new site", *more)


def test_a_chain_is_added_to_the_folder_of_chains(world):
    path = configured(world)
    folder = world.folder / "chains.d"
    dry = add(world, "raft-2", "--dry-run")
    assert dry.returncode == 0 and "would be written" in dry.stdout
    assert not list(folder.glob("*"))

    result = add(world)
    assert result.returncode == 0, result.stderr
    assert "no daemon runs" in result.stdout
    assert sorted(item.name for item in folder.iterdir()) == ["raft-2.block", "raft-2.yaml"]
    assert (folder / "raft-2.block").read_bytes() == GENESIS.read_bytes()
    assert cli(world, "config", "check", path).stdout.endswith("OK, 2 chains\n")
    shown = cli(world, "config", "show", path).stdout
    assert "agents: [edge-1, edge-2]" in shown

    assert "is in the zone file already" in add(world).stderr
    assert "is in the zone file already" in add(world, "raft-1").stderr


def test_a_chain_that_cannot_be_pinned_leaves_no_file(world):
    configured(world)
    result = add(world, trust=RAFT / "3.block")
    assert result.returncode == 1
    assert not list((world.folder / "chains.d").glob("*"))
    result = add(world, "raft-2", "--class", "gold", "--json")
    assert result.returncode == 1 and "there is no class gold" in result.stderr
    assert "has mistakes" in json.loads(result.stdout)["error"]
    assert not list((world.folder / "chains.d").glob("*"))


def test_chains_add_takes_only_words(world):
    configured(world)
    for words in (["raft-2", "--class", "a: b"], ["../x"], ["raft-2", "--epoch", "{}"]):
        assert add(world, *words).returncode != 0
    assert not list(world.folder.glob("chains.d/*"))
    assert add(world, "raft-2", "--dry-run", "--agents", "x").returncode == 2  # Given twice.


# ---- dictionary train ----


def test_a_dictionary_is_trained_from_a_folder(world, blocks):
    out = world.folder / "fabric.zdict"
    status, found = answer(world, "dictionary", "train", blocks, "--out", out, "--size", "8 KiB")
    assert status == 0
    assert found["samples"] == TOP + 1 and 0 < found["bytes"] <= 8192
    assert out.stat().st_size == found["bytes"]
    first = out.read_bytes()
    assert cli(world, "dictionary", "train", blocks, "--out", out).returncode == 1  # Not replaced.
    out.unlink()
    assert answer(world, "dictionary", "train", blocks, "--out", out, "--size", "8 KiB")[1]["hash"] == found["hash"]
    assert out.read_bytes() == first
    assert cli(world, "dictionary", "train", blocks, "--out", out, "--size", "1 GiB").returncode == 2


# ---- words ----


def commands(world):
    lines = cli(world, "help").stdout.splitlines()
    texts = [line[2:33] for line in lines if line.startswith("  ")]
    return [[word for word in text.split() if word.islower()] for text in texts]


def test_every_command_has_help(world):
    found = commands(world)
    assert len(found) > 45
    for words in found:
        result = cli(world, *words, "--help")
        assert result.returncode == 0, words
        assert result.stdout.startswith(f"usage: zonerelay {' '.join(words)}")
        assert cli(world, "help", *words).stdout == result.stdout


def test_every_command_refuses_an_option_that_does_not_exist(world):
    for words in commands(world):
        result = cli(world, *words, "--no-such-option")
        assert result.returncode == 2, words
        assert "--no-such-option: no such option" in result.stderr


def test_commands_for_the_daemon_say_that_none_runs(world):
    result = cli(world, "status", "--socket", world.folder / "none.sock")
    assert result.returncode == 1
    assert "does zonerelayd run?" in result.stderr and result.stdout == ""
    status, found = answer(world, "chains", "list", "--socket", world.folder / "none.sock")
    assert status == 1 and "does zonerelayd run?" in found["error"]
    watch = cli(world, "watch", "--events", world.folder / "none.sock")
    assert watch.returncode == 1


def test_what_changes_something_asks_why(world):
    result = cli(world, "chains", "freeze", "raft-1")
    assert result.returncode == 2
    assert "--reason" in result.stderr


def test_version_names_what_it_can_do(world):
    status, found = answer(world, "version")
    assert status == 0
    assert found["formats"] == ["ledger", "fabric"] and "sha256-p256" in found["suites"]
    assert cli(world, "--version").stdout.startswith("zonerelay ")


def complete(world, *words):
    script = (f"eval \"$({world.program('zonerelay')} completions bash)\"; COMP_WORDS=({' '.join(words)}); "
              f"COMP_CWORD={len(words) - 1}; _zonerelay; echo \"${{COMPREPLY[@]}}\"")
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split()


def test_bash_completes_words_and_options(world):
    assert "quarantine" in complete(world, "zonerelay", "qu")
    assert complete(world, "zonerelay", "quarantine", "re") == ["release", "reject"]
    assert complete(world, "zonerelay", "chains", "list", "--cl") == ["--class"]
    assert complete(world, "zonerelay", "status", "--js") == ["--json"]


def test_a_result_that_cannot_be_written_is_no_success(world):
    if not pathlib.Path("/dev/full").exists():
        pytest.skip("skipped: there is no /dev/full")
    with open("/dev/full", "wb") as full:
        result = subprocess.run([str(world.program("zonerelay")), "version"], stdout=full, stderr=subprocess.PIPE,
                                check=False)
    assert result.returncode == 1
    assert b"cannot be written" in result.stderr
