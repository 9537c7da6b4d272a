"""What is wrong with a connection: who calls, how it is spoken, how fast, how much, and how many at once."""
import contextlib
import hashlib
import os
import resource
import signal
import socket
import ssl
import struct
import time

import pytest

from link_peer import Batch, Ended, LinkPeer, frame, pack_blocks, varint
from pki import make_pki
from siege import MIB, Siege

FAST = {"handshake-timeout": "1 s", "idle-timeout": "2 s", "frame-timeout": "1 s", "stall-timeout": "1 s"}


@pytest.fixture(scope="module")
def siege(tmp_path_factory):
    made = Siege(tmp_path_factory.mktemp("links"), ["bad"],
                 {"limits": {"credit": "256 KiB", "credit-batches": 4, "handshake-timeout": "5 s"}})
    made.world.pki.issue_agent("stranger")
    made.world.pki.issue_variants("mallory")
    with made:
        with made.carrying("bad") as link:
            link.store(made.chains["bad"].blocks)
        made.stored["bad"] = 1
        yield made


@pytest.fixture(scope="module")
def impatient(tmp_path_factory):
    """A gateway whose patience is over within a second or two; the good agent calls for each block."""
    made = Siege(tmp_path_factory.mktemp("impatient"), ["bad"], {"limits": FAST})
    made.world.gateway_settings["heartbeat"] = "1 s"
    with made:
        with made.carrying("bad") as link:
            link.store(made.chains["bad"].blocks)
        made.stored["bad"] = 1
        made.alice_leaves()
        yield made


def ended(why):
    return f'connections_ended_total{{reason="{why}"}}'


# ---- who calls ----

def refused(siege, why, certificate, key, **options):
    """A handshake that must fail at the gateway, for this reason."""
    with siege.unharmed(f"why={why} ", f'connections_refused_total{{reason="{why}"}}', grows_max=2 * MIB):
        with pytest.raises((ssl.SSLError, Ended, ConnectionError)):
            with LinkPeer(siege.world.gateway_port, certificate, key, siege.world.pki.ca, **options) as link:
                link.hello([])  # TLS 1.3: a client learns that its certificate was refused only now.


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x80\x2e\x01\0\x02"],
                         ids=["http", "zero", "ssh", "sslv2"])
def test_whoever_does_not_speak_tls_is_turned_away(siege, data):
    with siege.unharmed("why=not-tls ", 'connections_refused_total{reason="not-tls"}', grows_max=MIB):
        with socket.create_connection(("127.0.0.1", siege.world.gateway_port), 5) as plain:
            plain.sendall(data)
            with contextlib.suppress(ConnectionResetError):
                assert plain.recv(100) == b""


def test_a_broken_client_hello_is_turned_away(siege):
    with siege.unharmed("why=tls-protocol ", 'connections_refused_total{reason="tls-protocol"}', grows_max=MIB):
        with socket.create_connection(("127.0.0.1", siege.world.gateway_port), 5) as plain:
            plain.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + os.urandom(508))
            with contextlib.suppress(ConnectionResetError):
                while plain.recv(1000):
                    pass


@pytest.mark.parametrize("variant, why", [("expired", "expired"), ("early", "not-yet-valid"), ("revoked", "revoked"),
                                          ("nameless", "no-identity"), ("server", "bad-certificate")])
def test_a_certificate_that_is_not_good_is_turned_away(siege, variant, why):
    pki = siege.world.pki
    refused(siege, why, pki.certificate(f"agent-{variant}"), pki.key(f"agent-{variant}"))


def test_no_certificate_and_one_of_another_ca_are_turned_away(siege, tmp_path):
    refused(siege, "no-certificate", None, None)
    foreign = make_pki(tmp_path / "pki", agents=["mallory"])
    refused(siege, "wrong-ca", foreign.certificate("agent-mallory"), foreign.key("agent-mallory"))


def test_tls_1_2_is_turned_away(siege):
    pki = siege.world.pki
    refused(siege, "tls-protocol", pki.certificate("agent-mallory"), pki.key("agent-mallory"), version=ssl.TLSVersion.TLSv1_2)


def test_a_chain_that_the_certificate_may_not_carry_is_denied(siege):
    chain = siege.chains["bad"]
    with siege.unharmed("chain-denied chain=bad agent=stranger", 'batches_rejected_total{reason="denied"}'):
        with siege.carrying("bad", agent="stranger") as link:
            assert link.welcome["chains"][0]["state"] == "CHAIN_STATE_DENIED"
            assert not link.welcome["chains"][0].get("next_height"), "it learns nothing about the chain"
            body, answer = link.offer(pack_blocks([chain.make([b"x"])]))
            assert body == "reject" and answer["reason"] == "REJECT_REASON_DENIED", answer


def test_a_chain_of_another_name_or_epoch_is_unknown(siege):
    chain = siege.chains["bad"]
    with siege.unharmed("chain-unknown chain=bad agent=mallory"):
        with siege.link("mallory") as link:
            welcome = link.hello([chain.hello(epoch=b"\x77" * 32), chain.hello(name="nobody"), chain.hello(), chain.hello()])
            states = [place["state"].removeprefix("CHAIN_STATE_") for place in welcome["chains"]]
            assert states == ["UNKNOWN", "UNKNOWN", "ACTIVE", "DENIED"]


@pytest.mark.parametrize("fields, reason", [({"version_min": 2, "version_max": 9}, "VERSION"),
                                            ({"version_min": 0, "version_max": 0}, "VERSION"),
                                            ({"store_uuid": b"\x11" * 16}, "STORE")])
def test_a_hello_for_another_version_or_store_is_told_so(siege, fields, reason):
    with siege.unharmed("link-goodbye agent=mallory", "hello_refused_total" if fields.get("version_max") != 0 else None):
        with siege.link("mallory") as link:
            link.send({"hello": {"version_min": 1, "version_max": 1, **fields}})
            goodbye = link.expect_end()
    if fields.get("version_max") != 0:
        assert goodbye["reason"] == f"GOODBYE_REASON_{reason}" and goodbye["retry_after_ms"] > 0


def test_what_a_peer_says_cannot_forge_a_line_of_the_log(siege):
    forged = 'x"\n2026-01-01T00:00:00.000Z error zonerelayd chain-frozen chain=good\x1b[2J\r'
    with siege.unharmed("link-welcomed agent=mallory"):
        with siege.link("mallory") as link:
            link.send({"hello": {"version_min": 1, "version_max": 1, "software": forged, "chains": []}})
            link.expect("welcome")
            link.send({"goodbye": {"detail": forged}})
    lines = siege.world.gateway.log().splitlines()
    assert not [line for line in lines if "chain-frozen" in line and "agent=mallory" not in line]
    assert "\x1b" not in siege.world.gateway.log()
    for line in (line for line in lines if "error zonerelayd chain-frozen" in line):
        assert line.count('"') == 2, line


# ---- what is said ----

FRAMES = {
    "of length 0": (struct.pack(">I", 0), "frame-empty"),
    "above the limit": (struct.pack(">I", (2 << 20) + 1), "frame-large"),
    "of 4 GiB": (b"\xff" * 4, "frame-large"),
    "of HTTP": (b"GET / HTTP/1.1\r\n\r\n", "frame-large"),
}


@pytest.mark.parametrize("what", FRAMES)
@pytest.mark.parametrize("welcomed", [False, True], ids=["at first", "later"])
def test_a_frame_of_impossible_length_ends_the_link_before_it_has_come(siege, what, welcomed):
    data, why = FRAMES[what]
    with siege.unharmed(f"why={why} ", ended(why), grows_max=MIB):
        with siege.link("mallory") as link:
            if welcomed:
                link.hello([siege.chains["bad"].hello()])
            link.send_bytes(data)
            link.expect_end()


BODIES = {
    "noise": b"\xff" * 60,
    "a length past the end": b"\x0a\x50\x08\x01",
    "two bodies": frame({"ping": {"number": 1}, "pong": {"number": 2}})[4:],
    "a hello without versions": frame({"hello": {}})[4:] + b"\x0a\x00",
    "too many chains": frame({"hello": {"version_min": 1, "version_max": 1, "chains": [{"name": "a", "epoch": bytes(32)}] * 4097}})[4:],
    "a name that is a path": frame({"hello": {"version_min": 1, "version_max": 1, "chains": [{"name": "../x", "epoch": bytes(32)}]}})[4:],
    "an epoch of 31 bytes": frame({"hello": {"version_min": 1, "version_max": 1, "chains": [{"name": "a", "epoch": bytes(31)}]}})[4:],
    "a text of a mile": frame({"hello": {"version_min": 1, "version_max": 1, "software": "x" * 5000}})[4:],
}


@pytest.mark.parametrize("what", BODIES)
def test_a_body_that_is_no_frame_ends_the_link(siege, what):
    with siege.unharmed("frame-bad ", "protocol_errors_total", grows_max=4 * MIB):
        with siege.link("mallory") as link:
            link.send(BODIES[what])
            assert link.expect_end()["reason"] == "GOODBYE_REASON_PROTOCOL"


PLACES = {
    "a chunk before hello": ({"chunk": {"batch": bytes(32), "offset": 7, "data": b"x"}}, None),
    "a ping before hello": ({"ping": {"number": 1}}, None),
    "a second hello": (None, {"hello": {"version_min": 1, "version_max": 1}}),
    "the gateway's own welcome": (None, {"welcome": {"version": 1, "store_uuid": bytes(16), "time_ms": 1}}),
    "an ack": (None, {"ack": {"durable_next": 1}}),
    "a piece for no chain": (None, {"chunk": {"chain": 1, "batch": bytes(32), "offset": 7, "data": b"x"}}),
    "a first piece without a header": (None, {"chunk": {"batch": bytes(32), "data": b"x"}}),
    "a later piece with a header": (None, {"chunk": {"batch": bytes(32), "offset": 5, "data": b"x", "header": {
        "block_count": 1, "size": 10, "raw_size": 10, "codec": 1, "tip_hash": bytes(32)}}}),
    "an empty piece": (None, {"chunk": {"batch": bytes(32), "offset": 5}}),
    "a piece above 64 KiB": (None, {"chunk": {"batch": bytes(32), "offset": 5, "data": bytes(65537)}}),
    "a batch named by 5 bytes": (None, {"chunk": {"batch": bytes(5), "offset": 5, "data": b"x"}}),
    "an unknown body that must be understood": (None, {63: b"later", "must_understand": True}),
}


@pytest.mark.parametrize("what", PLACES)
def test_a_frame_that_has_no_place_here_ends_the_link(siege, what):
    early, late = PLACES[what]
    with siege.unharmed("link-goodbye agent=mallory", "protocol_errors_total", grows_max=MIB):
        with siege.link("mallory") as link:
            if late:
                link.hello([siege.chains["bad"].hello()])
            link.send(early or late)
            goodbye = link.expect_end()
            assert goodbye["reason"] == "GOODBYE_REASON_PROTOCOL" and goodbye["retry_after_ms"] > 0


def test_what_a_newer_agent_says_is_passed_over(siege):
    chain = siege.chains["bad"]
    future = {77: b"from the future", 99: 5}
    with siege.unharmed(metric="frames_unknown_total"):
        with siege.link("mallory") as link:
            link.send({"hello": {"version_min": 1, "version_max": 1, "chains": [{**chain.hello(), **future}], **future}})
            link.expect("welcome")
            link.send(future)
            link.send({"ping": {"number": 7, **future}, **future})
            assert link.expect("pong")["number"] == 7
            batch = pack_blocks(chain.grow(1))
            batch.header.update(future)
            for chunk in batch.chunks():
                link.send({"chunk": {**chunk, **future}})
            assert link.answer()[0] == "ack"
    siege.stored["bad"] += 1


def test_frames_torn_and_merged_at_every_byte_are_the_same_frames(siege):
    data = b"".join(frame({"ping": {"number": number}}) for number in range(1, 6))
    with siege.unharmed(grows_max=MIB):
        with siege.carrying("bad") as link:
            for cut in range(1, len(data)):
                link.send_bytes(data[:cut])
                link.send_bytes(data[cut:])
            for byte in data:
                link.send_bytes(bytes([byte]))
            assert [link.expect("pong")["number"] for _ in range(5 * len(data))] == [1, 2, 3, 4, 5] * len(data)


def test_a_link_that_is_lost_inside_a_frame_is_told_and_forgotten(siege):
    for polite in (True, False):
        with siege.unharmed("link-closed agent=mallory", "links_closed_total", grows_max=MIB):
            with siege.carrying("bad") as link:
                link.send_bytes(frame({"ping": {"number": 1}})[:5])
                if not polite:
                    link.reset()
        siege.wait(lambda: siege.metric("links_open") == 1, "only the good agent is there")


# ---- pieces and credit ----

def large_batch(chain, size, seed=b"r"):
    """A batch of that many bytes that does not shrink; good, and never completed where it matters."""
    return pack_blocks([chain.make(noise(size, seed))])


def noise(size, seed=b"r"):
    """Entries of 512 KiB and less."""
    data = b"".join(hashlib.sha256(seed + struct.pack(">I", index)).digest() for index in range(size // 32))
    return [data[at:at + (1 << 19)] for at in range(0, len(data), 1 << 19)]


def test_pieces_out_of_order_are_not_put_together(siege):
    chain = siege.chains["bad"]
    first, second, *_ = pieces = list(large_batch(chain, 150000).chunks())
    with siege.unharmed("piece-refused chain=bad", 'batches_rejected_total{reason="busy"}'):
        with siege.carrying("bad") as link:
            link.send({"chunk": second})  # Its beginning is not there.
            body, answer = link.answer()
            assert (body, answer["reason"], answer["action"]) == ("reject", "REJECT_REASON_BUSY", "REJECT_ACTION_RETRY_AFTER")
            for chunk in (first, pieces[2]):  # A hole.
                link.send({"chunk": chunk})
            assert link.answer()[1]["reason"] == "REJECT_REASON_BUSY"


def test_a_batch_longer_than_announced_is_cut(siege):
    chain = siege.chains["bad"]
    batch = large_batch(chain, 100000)
    first, second = batch.chunks()
    with siege.unharmed("piece-refused chain=bad", 'batches_rejected_total{reason="malformed"}'):
        with siege.carrying("bad") as link:
            link.send({"chunk": first})
            link.send({"chunk": {**second, "data": second["data"] + b"more"}})
            body, answer = link.answer()
            assert (body, answer["reason"], answer["action"]) == ("reject", "REJECT_REASON_MALFORMED", "REJECT_ACTION_HOLD")


def test_an_unfinished_batch_is_kept_and_goes_on_over_another_link(siege):
    chain = siege.chains["bad"]
    chain.add(noise(160000))
    batch = pack_blocks([chain.tip])
    pieces = list(batch.chunks())
    with siege.unharmed("link-closed agent=mallory"):
        with siege.carrying("bad") as link:
            link.send({"chunk": pieces[0]})
            link.send({"ping": {"number": 1}})
            link.expect("pong")
        with siege.carrying("bad") as link:
            place = link.welcome["chains"][0]
            assert place["partial_batch"] == batch.content and place["partial_size"] == 65536
            for chunk in pieces[1:]:
                link.send({"chunk": chunk})
            body, answer = link.answer()
            assert body == "ack" and answer["durable_next"] == chain.tip.height + 1, answer
    siege.stored["bad"] += 1


def test_more_than_the_granted_credit_is_refused_and_the_link_lives(siege):
    """256 KiB and 4 batches are granted; ten times as much comes at once, and is not kept."""
    chain = siege.chains["bad"]
    with siege.unharmed(metric='batches_rejected_total{reason="credit"}', grows_max=2 * MIB):
        with siege.carrying("bad") as link:
            assert link.granted["bytes"] == 256 << 10 and link.granted["batches"] == 4
            batch = large_batch(chain, 2600000)
            for chunk in batch.chunks():
                link.send({"chunk": chunk})
            body, answer = link.answer()
            assert body == "reject" and answer["reason"] == "REJECT_REASON_CREDIT", answer
            assert answer["action"] == "REJECT_ACTION_RESUME"
            link.send({"ping": {"number": 9}})
            assert link.expect("pong")["number"] == 9
        with siege.carrying("bad") as link:  # Sent within the credit, it is as welcome as any other.
            link.store(chain.grow(1))
    siege.stored["bad"] += 1


def test_batches_never_completed_share_one_budget(tmp_path):
    """Forty chains begin a batch of 1 MiB each and stop there; 8 MiB is the budget for all of them."""
    names = [f"part-{number}" for number in range(40)]
    siege = Siege(tmp_path, names, {"limits": {"partial-budget": "8 MiB", "batch": "1 MiB", "block": "1 MiB",
                                               "credit": "3 MiB"}})
    with siege:
        with siege.carrying(*names) as link:
            with siege.unharmed("piece-refused", 'batches_rejected_total{reason="busy"}', grows_max=16 * MIB):
                for place, name in enumerate(names):
                    chain = siege.chains[name]
                    batch = Batch(os.urandom(1 << 20), first_height=0, tip_hash=chain.tip.hash)
                    link.send({"chunk": next(batch.chunks(place))})
                link.send({"ping": {"number": 1}})
                link.expect("pong")
                assert siege.metric("intake_booked_bytes") <= 3 * MIB, "its own share, and not all of it"
        # What it has begun is kept for it to come back, and is the first to go when others need the room.
        siege.wait(lambda: siege.metric("links_open") == 1, "only the good agent is there")
        with siege.unharmed(metric="partials_evicted_total"):
            for three in (names[10:13], names[13:16], names[16:19]):
                with siege.carrying(*three) as link:
                    for place in range(3):
                        batch = Batch(os.urandom(1 << 20), first_height=0, tip_hash=bytes(32))
                        link.send({"chunk": next(batch.chunks(place))})
                    link.send({"ping": {"number": 1}})
                    link.expect("pong")
        assert siege.metric("intake_booked_bytes") <= 8 * MIB


def test_a_batch_that_was_refused_may_come_again_in_the_same_bytes(siege):
    """An answer of "later" is followed by the same batch; all of its pieces count then."""
    chain = siege.chains["bad"]
    batch = pack_blocks([chain.add(noise(150000, b"again"))])
    first, second, third = batch.chunks()
    with siege.unharmed(metric='batches_rejected_total{reason="busy"}'):
        with siege.carrying("bad") as link:
            link.send({"chunk": third})
            assert link.answer()[1]["reason"] == "REJECT_REASON_BUSY"
            for chunk in (first, second, third):
                link.send({"chunk": chunk})
            assert link.answer()[0] == "ack"
    siege.stored["bad"] += 1


# ---- slow, and silent ----

def test_a_peer_that_says_nothing_is_sent_away(impatient):
    port = impatient.world.gateway_port
    refused_total = 'connections_refused_total{reason="handshake-timeout"}'
    with impatient.unharmed("why=handshake-timeout ", refused_total, grows_max=MIB):
        with socket.create_connection(("127.0.0.1", port), 5) as silent, socket.create_connection(("127.0.0.1", port), 5) as torn:
            torn.sendall(b"\x16\x03\x01\x02\x00\x01\x00")  # And one that says it has more to say.
            assert silent.recv(100) == b"" and torn.recv(100) == b""
    impatient.alice_leaves()


@pytest.mark.parametrize("welcomed", [False, True], ids=["before hello", "after welcome"])
def test_an_agent_that_says_nothing_is_told_to_come_back(impatient, welcomed):
    with impatient.unharmed("link-goodbye agent=mallory", ended("closed"), grows_max=MIB):
        with impatient.link("mallory") as link:
            if welcomed:
                link.hello([impatient.chains["bad"].hello()])
            goodbye = link.expect_end()
            assert goodbye["reason"] == "GOODBYE_REASON_IDLE" and goodbye["retry_after_ms"] > 0
    impatient.alice_leaves()


def test_a_slow_writer_is_cut_off(impatient):
    with impatient.unharmed("why=slow-writer ", ended("slow-writer"), grows_max=MIB):
        with impatient.carrying("bad") as link:
            with pytest.raises(Ended):
                for byte in frame({"hello": {"software": "x" * 200}}):
                    link.send_bytes(bytes([byte]))
                    link.receive(0.1)
    impatient.alice_leaves()


def test_a_slow_handshake_is_cut_off(impatient):
    class Trickle(LinkPeer):
        def flush(self):
            for byte in self.outgoing.read():
                self.socket.sendall(bytes([byte]))
                time.sleep(0.02)
    pki = impatient.world.pki
    with impatient.unharmed("why=handshake-timeout ", 'connections_refused_total{reason="handshake-timeout"}', grows_max=MIB):
        with pytest.raises((OSError, Ended)):
            Trickle(impatient.world.gateway_port, pki.certificate("agent-mallory"), pki.key("agent-mallory")).close()
    impatient.alice_leaves()


def test_a_slow_reader_is_cut_off_before_it_costs_memory(impatient):
    """It asks for 512 KiB, again and again, and takes none of it."""
    world = impatient.world
    path = world.folder / "dictionary"
    path.write_bytes(os.urandom(512 << 10))
    added = world.ask("dictionary", "add", path, "--reason", "a test")
    name = hashlib.sha256(path.read_bytes()).digest()
    assert "error" not in added, added
    with impatient.unharmed("why=slow-reader ", ended("slow-reader"), grows_max=16 * MIB):
        with impatient.carrying("bad", receive_buffer=4096) as link:
            with pytest.raises(Ended):
                for _ in range(200):
                    link.send({"dictionary_wanted": {"dictionary": name}})
                    time.sleep(0.01)
    impatient.alice_leaves()


# ---- revocation ----

def test_a_revoked_agent_is_cut_at_once_and_the_others_stay(siege):
    world = siege.world
    world.pki.issue_agent("traitor")
    with siege.carrying(agent="traitor") as link, siege.unharmed("link-revoked agent=traitor", ended("revoked")):
        world.pki.revoke("agent-traitor")
        world.gateway.signal(signal.SIGHUP)
        link.expect_end(timeout=3)
    refused(siege, "revoked", world.pki.certificate("agent-traitor"), world.pki.key("agent-traitor"))
    assert siege.metric("links_open") == 1


def test_a_handshake_that_began_before_the_revocation_does_not_slip_through(siege):
    world = siege.world
    world.pki.issue_agent("racer")
    with siege.link("racer", handshake=False) as link:
        assert not link.step_handshake()  # The gateway's flight is here; our certificate is not on its way yet.
        at = len(world.gateway.log())
        with siege.unharmed("why=revoked ", 'connections_refused_total{reason="revoked"}'):
            world.pki.revoke("agent-racer")
            world.gateway.signal(signal.SIGHUP)
            world.gateway.wait_log(" reloaded ", start=at)
            with pytest.raises((ssl.SSLError, Ended, ConnectionError)):
                while not link.step_handshake():
                    pass
                link.hello([])


# ---- many ----

@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 12000:
        pytest.skip(f"the system allows {hard} descriptors to a process, and this needs 12000")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000) if hard != resource.RLIM_INFINITY else 20000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("first, each_max", [(b"", 2048), (b"\x16\x03\x01", 64 << 10)], ids=["say nothing", "begin to speak"])
def test_5000_connections_at_once_that_say_nothing_are_nobody_s_trouble(siege, many_files, first, each_max):
    count, port = 5000, siege.world.gateway_port
    accepted = siege.metric("connections_accepted_total")
    with contextlib.ExitStack() as stack:
        with siege.unharmed(grows_max=count * each_max, anchored=True):
            for index in range(count):
                one = socket.create_connection(("127.0.0.1", port), 10)
                stack.callback(one.close)
                one.sendall(first)
                if index % 500 == 0:
                    siege.good_block(wait_max_s=2)
            siege.wait(lambda: siege.metric("connections_accepted_total") >= accepted + count, "all are accepted")
            waits = len(siege.waits_ms)
            for _ in range(100):
                siege.good_block(wait_max_s=2)
        waits_ms = sorted(siege.waits_ms[waits:])
        assert waits_ms[98] < 500, f"the good agent's acks took up to {waits_ms[-1]:.0f} ms"
        if not first:  # A new agent gets in, too.
            with siege.carrying("bad") as link:
                link.store(siege.chains["bad"].grow(1))
            siege.stored["bad"] += 1
    siege.wait(lambda: siege.metric("connections_handshaking") == 0, "they are forgotten", 30)
    assert len(siege.world.gateway.log()) < 4 << 20, "each of them has cost a line"
