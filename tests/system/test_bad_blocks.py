"""What is wrong inside a batch: blocks, links, roots, signatures, compression; and heights out of place.

One gateway for all; each case has the link of "mallory" to itself and leaves its chain as it was.
"""
import struct

import pytest

from ledger_maker import LedgerChain, message, sha256
from link_peer import (CODEC_ZSTD, ROOT, Batch, each_field, frame, pack_blocks, raw_batch, varint,
                         zstd_frame)
from siege import MIB, Siege

BFT = ROOT / "tests/data/fabric/bft-edge"
DURABLE = 4  # Blocks of each chain that are there before anything bad comes.


@pytest.fixture(scope="module")
def siege(tmp_path_factory):
    made = Siege(tmp_path_factory.mktemp("blocks"), ["bad", "fork", "unsigned", "heights"])
    made.add_chain("quorum", LedgerChain("quorum", [b"Q" * 32, b"R" * 32, b"S" * 32], threshold=2))
    made.world.grant("bft", "fabric", BFT / "0.block", ["mallory"])
    with made:
        for name in ("bad", "fork", "unsigned", "heights", "quorum"):
            chain = made.chains[name]
            chain.grow(DURABLE - 1)
            with made.carrying(name) as link:
                link.store(chain.blocks)
            made.stored[name] = DURABLE
        yield made


def refused(link, batch, reason, action="HOLD"):
    body, answer = link.offer(batch)
    assert body == "reject", answer
    assert (answer["reason"], answer["action"]) == (f"REJECT_REASON_{reason}", f"REJECT_ACTION_{action}"), answer
    assert answer["next_height"] == DURABLE
    return answer


def quarantine(siege, name, batch, reason, reject=None, **bounds):
    """Offers a batch that must be refused, kept, told and counted; and the chain goes on."""
    reject = reject or reason.upper()
    kept = len(siege.quarantined(name))
    with siege.unharmed(f"batch-quarantined chain={name} ",
                        f'batches_rejected_total{{reason="{reject.lower()}"}}', **bounds):
        with siege.carrying(name) as link:
            answer = refused(link, batch, reject)
    items = siege.quarantined(name)
    assert len(items) == kept + 1 and items[-1]["reason"] == reason
    assert items[-1]["agent"] == "mallory" and items[-1]["from"] == batch.header["first_height"]
    out = siege.world.folder / f"item-{items[-1]['number']}"
    siege.world.cli("quarantine", "show", items[-1]["number"], "--out", out)
    assert out.read_bytes() == batch.payload, "not kept as it arrived"
    assert siege.world.chain_states()[name]["state"] == "active"
    return answer


# ---- blocks ----

def signed(chain, text, entries, seals=None):
    return message((1, text), (2, list(entries)), (3, seals or [chain.seal(chain.keys[0], text)]))


def variant(chain, raw, **header):
    """A batch of one block that claims to be the next one, whatever its bytes are."""
    return Batch(raw_batch([raw]), **{"first_height": DURABLE, "tip_hash": chain.make([b"x"]).hash, **header})


def long_length(raw):
    """The first length in two bytes instead of one: the same message to a lenient reader."""
    assert raw[:2] == b"\x0a\x5a"
    return b"\x0a\xda\x00" + raw[2:]


MALFORMED = {
    "truncated": lambda chain, good: good.raw[:-3],
    "only its header": lambda chain, good: good.raw[:92],
    "one byte": lambda chain, good: b"\x0a",
    "noise": lambda chain, good: bytes((index * 151 + 7) & 0xFF for index in range(700)),
    "trailing bytes": lambda chain, good: good.raw + b"\x00",
    "an unknown field": lambda chain, good: good.raw + message((9, b"more")),
    "a length in more bytes than needed": lambda chain, good: long_length(good.raw),
    "its fields in another order": lambda chain, good: (message((2, [b"x"])) + message((1, good.header))
                                                        + message((3, [chain.seal(chain.keys[0], good.header)]))),
    "an empty entry": lambda chain, good: signed(chain, chain.header([b"x", b""]), [b"x", b""]),
    "two headers": lambda chain, good: message((1, good.header)) + good.raw,
    "another magic": lambda chain, good: chain.make([b"x"], magic=b"ZRb2").raw,
    "no parent": lambda chain, good: chain.make([b"x"], parent=bytes(32)).raw,
    "an unknown kind": lambda chain, good: chain.make([b"x"], kind=7).raw,
    "a wrong data root": lambda chain, good: chain.make([b"x"], data_root=sha256(b"other")).raw,
    "a wrong entry count": lambda chain, good: chain.make([b"x"], count=2).raw,
    "no seal": lambda chain, good: message((1, good.header), (2, [b"x"])),
    "the same seal twice": lambda chain, good: signed(chain, good.header, [b"x"],
                                                      [chain.seal(chain.keys[0], good.header)] * 2),
    "seventeen seals": lambda chain, good: signed(chain, good.header, [b"x"],
                                                  [chain.seal(chain.keys[0], good.header)] * 17),
    "a trust set of no keys": lambda chain, good: chain.make([b"ZRt1\x02\x01\x00"], kind=1).raw,
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_block_is_kept_and_named(siege, what):
    chain = siege.chains["bad"]
    quarantine(siege, "bad", variant(chain, MALFORMED[what](chain, chain.make([b"x"]))), "malformed")


LINKS = {
    "a wrong parent": {"parent": b"\x11" * 32},
    "the height after the next": {"height": DURABLE + 1},
    "a height that is there already": {"height": DURABLE - 1},
}


@pytest.mark.parametrize("what", LINKS)
def test_a_block_that_does_not_follow_is_kept_and_named(siege, what):
    chain = siege.chains["bad"]
    fields = {"parent": chain.tip.hash, **LINKS[what]}
    block = chain.make([b"x"], **fields)
    batch = variant(chain, block.raw, tip_hash=block.hash)
    quarantine(siege, "bad", batch, "height" if "height" in what else "link", "LINK")


def test_a_height_beyond_two_to_the_63_inside_a_block_is_malformed(siege):
    chain = siege.chains["bad"]
    block = chain.make([b"x"], height=1 << 63, parent=chain.tip.hash)
    quarantine(siege, "bad", variant(chain, block.raw, tip_hash=block.hash), "malformed")


def test_a_block_of_another_epoch_is_refused(siege):
    """The same name, the same heights, signed well, but grown from another genesis."""
    other = LedgerChain("bad", [b"Z" * 32])
    other.grow(DURABLE)
    block = other.blocks[DURABLE]
    chain = siege.chains["bad"]
    quarantine(siege, "bad", variant(chain, block.raw, tip_hash=block.hash), "link")


def test_a_second_block_of_a_batch_that_does_not_follow_condemns_the_batch(siege):
    chain = siege.chains["bad"]
    first = chain.make([b"x"])
    second = chain.make([b"y"], height=DURABLE + 1, parent=b"\x22" * 32)
    answer = quarantine(siege, "bad", pack_blocks([first, second]), "link")
    assert answer["bad_height"] == DURABLE + 1


def test_signatures_that_do_not_count(siege):
    chain = siege.chains["bad"]
    good = chain.make([b"x"])
    stranger = LedgerChain("x", [b"stranger" * 4]).keys[0]
    seal = chain.seal(chain.keys[0], good.header)
    for seals in ([LedgerChain.seal(stranger, good.header)],                      # A signer nobody knows.
                  [seal[:-1] + bytes([seal[-1] ^ 1])],                            # A flipped bit.
                  [message((1, sha256(chain.keys[0].spki)), (2, stranger.sign(good.header)))],  # In another's name.
                  [chain.seal(chain.keys[0], chain.make([b"other"]).header)]):    # Of another block.
        raw = message((1, good.header), (2, [b"x"]), (3, seals))
        quarantine(siege, "bad", variant(chain, raw), "untrusted")
    quarantine(siege, "bad", variant(chain, chain.make([b"x"], suite=1).raw), "untrusted")  # Another suite.


def test_a_quorum_is_counted_in_signers_not_in_signatures(siege):
    chain = siege.chains["quorum"]
    good = chain.make([b"x"])
    one = chain.seal(chain.keys[0], good.header)
    for seals, reason in (([one], "untrusted"), ([one, one], "malformed")):
        quarantine(siege, "quorum", variant(chain, message((1, good.header), (2, [b"x"]), (3, seals))), reason)


def test_a_trust_set_that_nobody_in_force_has_sealed_changes_nothing(siege):
    chain = siege.chains["bad"]
    usurper = LedgerChain("bad", [b"U" * 32])
    entry = next(value for number, value in each_field(usurper.blocks[0].raw) if number == 2)
    change = chain.make([entry], kind=1, signers=usurper.keys)
    quarantine(siege, "bad", variant(chain, change.raw, tip_hash=change.hash), "untrusted")


# ---- Fabric: a quorum of consenters ----

def fabric_block(number, edit_signatures=None, edit=None):
    """One real BFT block; its signatures, or all of its bytes, may be edited."""
    raw = (BFT / f"{number}.block").read_bytes()
    if edit_signatures is None:
        return edit(raw) if edit else raw
    fields = list(each_field(raw))
    metadata = [value for _, value in each_field(fields[2][1])]
    parts = list(each_field(metadata[0]))
    signatures = edit_signatures([value for tag, value in parts if tag == 2])
    metadata[0] = message(*[(tag, value) for tag, value in parts if tag != 2], (2, signatures))
    inner = b"".join(b"\x0a" + varint(len(part)) + part for part in metadata)
    return b"".join(varint(tag << 3 | 2) + varint(len(value)) + value
                    for tag, value in [*fields[:2], (3, inner)])


FABRIC = {
    "one signature": (lambda: fabric_block(1, lambda all_of: all_of[:1]), "untrusted"),
    "one signer three times": (lambda: fabric_block(1, lambda all_of: all_of[:1] * 3), "untrusted"),
    "no signature": (lambda: fabric_block(1, lambda all_of: []), "untrusted"),
    "a transaction changed": (lambda: fabric_block(1, edit=lambda raw: flip(raw, len(raw) // 3)), "malformed"),
    "truncated": (lambda: fabric_block(1, edit=lambda raw: raw[:-7]), "malformed"),
    "trailing bytes": (lambda: fabric_block(1, edit=lambda raw: raw + b"\x5a\x00"), "malformed"),
}


def flip(raw, at):
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:]


@pytest.mark.parametrize("what", FABRIC)
def test_a_fabric_block_without_its_quorum_is_refused(siege, what):
    make, reason = FABRIC[what]
    genesis = (BFT / "0.block").read_bytes()
    world = siege.world
    epoch = bytes.fromhex(world.chain_states()["bft"]["epoch"])
    hello = {"name": "bft", "epoch": epoch}
    kept = len(siege.quarantined("bft"))
    with siege.unharmed("batch-quarantined chain=bft ", f'batches_rejected_total{{reason="{reason}"}}'):
        with siege.link("mallory") as link:
            place = link.hello([hello])["chains"][0]
            if not place.get("next_height"):
                body, answer = link.offer(Batch(raw_batch([genesis]), first_height=0, tip_hash=epoch))
                assert body == "ack", answer
                siege.foreign["bft"] = [genesis]
            raw = make()
            body, answer = link.offer(Batch(raw_batch([raw]), first_height=1, tip_hash=bytes(32)))
    assert body == "reject" and answer["reason"] == f"REJECT_REASON_{reason.upper()}", answer
    assert len(siege.quarantined("bft")) == kept + 1


# ---- batches ----

def good_batch(siege, **header):
    """The next good block; each time another, since what is in quarantine already is not kept twice."""
    siege.numbers = getattr(siege, "numbers", 0) + 1
    return pack_blocks([siege.chains["bad"].make([f"fine {siege.numbers}".encode() * 30])], **header)


def wrapped(siege, make, **header):
    """The next good block in a payload that make() writes from the raw batch."""
    good = good_batch(siege)
    payload = make(good.payload)
    return Batch(payload, **{**good.header, "codec": CODEC_ZSTD, "size": len(payload), **header})


def raw_of(siege):
    return good_batch(siege).payload


COMPRESSION = {
    "trailing bytes": lambda raw: zstd_frame(raw) + b"\x00",
    "a second frame": lambda raw: zstd_frame(raw) + zstd_frame(b""),
    "a skippable frame in front": lambda raw: struct.pack("<II", 0x184D2A50, 4) + b"skip" + zstd_frame(raw),
    "no checksum": lambda raw: zstd_frame(raw, checksum=False),
    "a wrong checksum": lambda raw: zstd_frame(raw, wrong_checksum=True),
    "no content size": lambda raw: zstd_frame(raw, content_size=False),
    "another content size": lambda raw: zstd_frame(raw, size=len(raw) + 1),
    "a dictionary id": lambda raw: zstd_frame(raw, dictionary_id=0x1234567),
    "truncated": lambda raw: zstd_frame(raw)[:-1],
    "not zstd": lambda raw: raw,
    "a bomb that says it is small": lambda raw: zstd_frame(b"\0" * 8, size=len(raw), repeat=128 << 20),
    "a bomb that says nothing": lambda raw: zstd_frame(b"\0" * 8, content_size=False, repeat=128 << 20),
}


@pytest.mark.parametrize("what", COMPRESSION)
def test_a_payload_that_is_not_one_whole_zstd_frame_is_malformed(siege, what):
    quarantine(siege, "bad", wrapped(siege, COMPRESSION[what]), "malformed")


def test_a_bomb_within_the_limits_costs_what_the_limits_say(siege):
    """16 MiB of zeros in 600 bytes is allowed to arrive; it is inflated once, and is no block."""
    raw_size = 16 * MIB
    bomb = Batch(zstd_frame(b"\0", repeat=raw_size), first_height=DURABLE, raw_size=raw_size, codec=CODEC_ZSTD)
    assert len(bomb.payload) < 1024
    quarantine(siege, "bad", bomb, "malformed", grows_max=2 * raw_size + 16 * MIB)


BATCHES = {
    "bytes behind the last block": lambda siege: Batch(raw_of(siege) + b"\0\0", first_height=DURABLE),
    "a block of length 0": lambda siege: Batch(bytes(4) + raw_of(siege), first_height=DURABLE),
    "a block longer than the batch": lambda siege: Batch(struct.pack(">I", 1 << 30) + raw_of(siege), first_height=DURABLE),
    "fewer blocks than it says": lambda siege: good_batch(siege, block_count=2),
    "more blocks than it says": lambda siege: pack_blocks([siege.chains["bad"].make([b"1"]),
                                                           siege.chains["bad"].make([b"2"], height=DURABLE + 1)], block_count=1),
    "another tip than it says": lambda siege: good_batch(siege, tip_hash=b"\x33" * 32),
    "another raw size than it says": lambda siege: good_batch(siege, raw_size=1000),
}


@pytest.mark.parametrize("what", BATCHES)
def test_a_batch_that_is_not_what_its_header_says_is_malformed(siege, what):
    quarantine(siege, "bad", BATCHES[what](siege), "malformed")


TOO_LARGE = {
    "raw size above the limit": {"raw_size": 1 << 30},
    "compressed size above the limit": {"size": 1 << 30},
    "too many blocks": {"block_count": 65535},
    "an unknown codec": {"codec": 3},
}


@pytest.mark.parametrize("what", TOO_LARGE)
def test_a_header_beyond_the_limits_is_refused_before_memory_is_taken(siege, what):
    with siege.unharmed("batch-too-large", 'batches_rejected_total{reason="too-large"}', grows_max=2 * MIB):
        with siege.carrying("bad") as link:
            refused(link, good_batch(siege, **TOO_LARGE[what]), "TOO_LARGE")


def test_a_payload_of_another_hash_is_refused_and_not_blamed_on_the_chain(siege):
    kept = len(siege.quarantined("bad"))
    with siege.unharmed("batch-refused", 'batches_rejected_total{reason="malformed"}'):
        with siege.carrying("bad") as link:
            body, answer = link.offer(good_batch(siege), content=b"\x44" * 32)
            assert body == "reject" and answer["reason"] == "REJECT_REASON_MALFORMED", answer
    assert len(siege.quarantined("bad")) == kept


def test_an_unknown_dictionary_is_refused_and_the_agent_may_go_on_without(siege):
    with siege.unharmed("batch-refused", 'batches_rejected_total{reason="dictionary"}'):
        with siege.carrying("bad") as link:
            refused(link, good_batch(siege, dictionary=b"\x55" * 32), "DICTIONARY", "RESUME")
            link.send({"dictionary_wanted": {"dictionary": b"\x55" * 32}})
            assert not link.expect("dictionary").get("data")
            # Good bytes under a payload that no dictionary of ours can have made.
            link.send({"ping": {"number": 5}})
            assert link.expect("pong")["number"] == 5


# ---- heights ----

def test_a_height_from_the_past_is_acked_again_and_counted(siege):
    chain = siege.chains["heights"]
    with siege.unharmed(metric="blocks_duplicate_total"):
        with siege.carrying("heights") as link:
            for blocks in (chain.blocks, chain.blocks[1:3], chain.blocks[-1:]):
                body, answer = link.offer(pack_blocks(blocks))
                assert body == "ack" and answer["durable_next"] == DURABLE and "custody" not in answer, answer
    assert not siege.quarantined("heights")


def test_a_batch_that_is_partly_known_is_asked_for_again(siege):
    chain = siege.chains["heights"]
    with siege.unharmed("batch-refused", 'batches_rejected_total{reason="gap"}'):
        with siege.carrying("heights") as link:
            refused(link, pack_blocks([*chain.blocks[1:DURABLE], chain.make([b"new"])]), "GAP", "RESUME")


def test_a_height_from_the_future_is_answered_with_where_to_go_on(siege):
    chain = siege.chains["heights"]
    with siege.unharmed("batch-refused", 'batches_rejected_total{reason="gap"}'):
        with siege.carrying("heights") as link:
            for height in (DURABLE + 1, DURABLE + 100000, (1 << 63) - 1):
                refused(link, pack_blocks([chain.make([b"x"])], first_height=height), "GAP", "RESUME")


@pytest.mark.parametrize("first, count", [(1 << 63, 1), ((1 << 63) - 1, 2), ((1 << 64) - 1, 1)])
def test_a_height_beyond_two_to_the_63_ends_the_link(siege, first, count):
    chain = siege.chains["heights"]
    with siege.unharmed("frame-bad", "protocol_errors_total"):
        with siege.carrying("heights") as link:
            batch = pack_blocks([chain.make([b"x"])], first_height=first, block_count=count)
            link.send({"chunk": next(batch.chunks())})
            assert link.expect_end()["reason"] == "GOODBYE_REASON_PROTOCOL"


# ---- forks ----

def test_an_invalid_fork_is_no_evidence_and_the_chain_goes_on(siege):
    """Anybody can make up a block for a height that is taken; it must not cost the chain anything."""
    chain = siege.chains["unsigned"]
    stranger = LedgerChain("x", [b"stranger" * 4]).keys
    forged = chain.make([b"forged"], height=2, signers=stranger)
    with siege.unharmed("batch-quarantined chain=unsigned ", 'batches_rejected_total{reason="untrusted"}'):
        with siege.carrying("unsigned") as link:
            refused(link, pack_blocks([forged]), "UNTRUSTED")
    assert siege.quarantined("unsigned")[-1]["reason"] == "fork-unsigned"
    assert not [item for item in siege.world.ask("evidence", "list")["evidence"] if item["chain"] == "unsigned"]
    with siege.carrying("unsigned") as link:
        link.store(chain.grow(1))
    siege.stored["unsigned"] += 1


def test_a_fork_freezes_its_chain_alone_and_leaves_evidence(siege):
    world, chain = siege.world, siege.chains["fork"]
    world.wait_anchored({"fork": DURABLE})
    other = chain.make([b"the other story"], height=2)
    with siege.unharmed("chain-frozen chain=fork height=2 ", "evidence_total", anchored=True):
        with siege.carrying("fork") as link:
            refused(link, pack_blocks([other]), "FORK")
            assert link.expect("chain_update")["welcome"]["state"] == "CHAIN_STATE_FROZEN"
    frozen = {name for name, state in world.chain_states().items() if state["state"] == "frozen"}
    assert frozen == {"fork"}
    # What goes on growing there is refused, from now on and after a restart.
    with siege.carrying("fork") as link:
        assert link.welcome["chains"][0]["state"] == "CHAIN_STATE_FROZEN"
        body, answer = link.offer(pack_blocks([chain.make([b"x"])]))
        assert body == "reject" and answer["action"] == "REJECT_ACTION_HOLD", answer
    # The bundle proves it to somebody who has nothing but the pinned block.
    [item] = [item for item in world.ask("evidence", "list")["evidence"] if item["chain"] == "fork"]
    assert item["height"] == 2
    bundle = world.folder / "fork.evidence"
    world.cli("evidence", "export", item["number"], "--out", bundle)
    verify = ["evidence", "verify", bundle, "--trust"]
    shown = world.run("zonerelay", *verify, world.folder / "fork.block")
    assert chain.blocks[2].hash.hex() in shown.stdout and other.hash.hex() in shown.stdout
    assert world.run("zonerelay", *verify, world.folder / "bad.block", check=False).returncode == 4
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    bundle.write_bytes(content)
    assert world.run("zonerelay", *verify, world.folder / "fork.block", check=False).returncode == 4


def test_quarantined_is_what_the_books_say(siege):
    """P5, after all of the above: received = anchored + pending + quarantined + tombstoned."""
    held = sum(item["blocks"] for item in siege.world.ask("quarantine", "list")["items"])

    def agreed():
        metrics = siege.world.metrics()
        known = [metrics[f"zonerelay_blocks_{name}"] for name in
                 ("anchored_total", "pending", "in_quarantine", "tombstoned")]
        return metrics["zonerelay_blocks_received_total"] == sum(known) and known[2] == held > 0
    siege.wait(agreed, f"{held} blocks in quarantine, in the metrics too")
