"""The development main chain: what its document says, what it keeps when it is killed, how it starts."""
import base64
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
import yaml

import pki
from world import ROOT, SLOW, free_port

sys.path.insert(0, str(ROOT / "tests/data/vectors"))
import generate  # noqa: E402

BUILD = pathlib.Path(os.environ.get("ZR_BUILD", ROOT / "build"))
PROGRAM = BUILD / "adapters/mainchain/devchain/zonerelay-devchain"
CONTRACT = BUILD / "tests/contract/contract_mainchain"
ZERO = "0" * 64


class Devchain:
    """One devchain in a folder; killed and started again on the port it has."""

    def __init__(self, folder, *options):
        self.folder = folder
        self.options = options
        self.port = 0
        self.process = None

    def start(self):
        port_file = self.folder / "port"
        port_file.unlink(missing_ok=True)
        with open(self.folder / "devchain.log", "ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "--dir", self.folder / "devchain", "--listen", f"127.0.0.1:{self.port}", "--port-file", port_file,
                 *map(str, self.options)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 20 * SLOW
        while not port_file.exists():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)
        self.port = int(port_file.read_text())
        return self

    def log(self):
        return (self.folder / "devchain.log").read_text(errors="replace")

    def end(self, number):
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            return self.process.wait(20)
        return None

    def ask(self, method, path, body=None, headers=None, port=None):
        """(status, object or bytes)."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=20)
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body).encode()
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            data = answer.read()
            if answer.getheader("Content-Type") == "application/json":
                return answer.status, json.loads(data)
            return answer.status, data
        finally:
            connection.close()

    def misbehave(self, *rules):
        status, answer = self.ask("POST", "/dev/misbehave", {"seed": 1, "rules": list(rules)})
        assert status == 200, answer


@pytest.fixture
def devchain(tmp_path):
    made = Devchain(tmp_path, "--block-interval-ms", 10, "--finality-blocks", 1, "--log-level", "warn")
    made.start()
    yield made
    made.end(signal.SIGTERM)


def batch_ref(content):
    return content + (7).to_bytes(8, "big") + bytes(32)


class Lane:
    """A lane whose fence is ours, and anchors for it."""

    def __init__(self, devchain, number):
        self.devchain = devchain
        self.number = number
        head = devchain.ask("GET", f"/v1/lanes/{number}/head")[1]
        self.seq, self.root = head["seq"], bytes.fromhex(head["root"])
        status, answer = devchain.ask("POST", f"/v1/lanes/{number}/fence", {"expected": head["fence"]})
        assert status == 200
        self.fence = answer["fence"]

    def anchor(self, chain, first, last, batches=(), lane=None, seq=None):
        """(key, content, root) of an anchor on the head."""
        name = chain.encode()
        entry = generate.entry_record(name, hashlib.sha256(name).digest(), first, last, generate.same(0x19), 1, generate.same(0x5B))
        content = generate.anchor_content(1, 3 if batches else 1, self.number if lane is None else lane,
                                          seq or self.seq + 1, self.root, [entry], (), batches)
        return hashlib.sha256(content).hexdigest(), content, generate.root([generate.leaf(entry)])

    def submit(self, key, content, fence=None):
        return self.devchain.ask("PUT", f"/v1/lanes/{self.number}/anchors/{key}", content,
                                 {"Zonerelay-Fence": str(fence or self.fence)})

    def follow(self, root):
        self.seq += 1
        self.root = root


# ---- the document ----

DOCUMENT = yaml.safe_load((ROOT / "docs/mainchain-api.yaml").read_text(encoding="utf-8"))


def resolve(part):
    while "$ref" in part:
        place = DOCUMENT
        for name in part["$ref"].removeprefix("#/").split("/"):
            place = place[name]
        part = place
    return part


def complaints(value, schema, where="answer"):
    """What of value is not as schema says: types, members, patterns, limits."""
    schema = resolve(schema)
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if "type" in schema and (not isinstance(value, kinds[schema["type"]]) or (schema["type"] == "integer" and isinstance(value, bool))):
        yield f"{where} is no {schema['type']}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is {value!r}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{where} is {value!r}"
    if "minimum" in schema and value < schema["minimum"]:
        yield f"{where} is {value}"
    for name in schema.get("required", []):
        if name not in value:
            yield f"{where} has no {name}"
    if isinstance(value, dict):
        known = schema.get("properties", {})
        yield from (f"{where}.{name} is not documented" for name in value if name not in known)
        for name, member in known.items():
            if name in value:
                yield from complaints(value[name], member, f"{where}.{name}")
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from complaints(item, schema["items"], f"{where}[{index}]")


class Checked:
    """Asks, and holds every answer against the document; remembers what was seen."""

    def __init__(self, devchain):
        self.devchain = devchain
        self.seen = set()
        self.reasons = set()

    def ask(self, template, method, path, body=None, headers=None, expect=200, port=None):
        status, answer = self.devchain.ask(method, path, body, headers, port)
        assert status == expect, (path, status, answer)
        documented = DOCUMENT["paths"][template][method.lower()]["responses"]
        assert str(status) in documented, f"{method} {template} answers {status}, which is not documented"
        content = resolve(documented[str(status)])["content"]
        if isinstance(answer, bytes):
            assert "application/octet-stream" in content
        else:
            assert list(complaints(answer, content["application/json"]["schema"])) == []
            if "reason" in answer:
                self.reasons.add(answer["reason"])
        self.seen.add((method.lower(), template, str(status)))
        return answer


ANCHOR = "/v1/lanes/{lane}/anchors/{key}"
BATCH = "/v1/batches/{content}"
SEQUENCE = "/v1/lanes/{lane}/sequence/{seq}"
FENCE = {"Zonerelay-Fence": "1"}


def test_program_and_document_offer_the_same(tmp_path):
    listed = json.loads(subprocess.run([PROGRAM, "routes"], capture_output=True, text=True, check=True).stdout)
    offered = {(route["method"], route["path"]) for route in listed if not route["path"].startswith("/dev/")}
    documented = {(method, path) for path, item in DOCUMENT["paths"].items() for method in item if method != "parameters"}
    assert offered == documented


def ask_batches(checked):
    data = b"a batch"
    name = hashlib.sha256(data).hexdigest()
    checked.ask(BATCH, "GET", f"/v1/batches/{name}", expect=404)
    checked.ask(BATCH, "PUT", f"/v1/batches/{name}", data, expect=201)
    checked.ask(BATCH, "PUT", f"/v1/batches/{name}", data, expect=200)
    assert checked.ask(BATCH, "GET", f"/v1/batches/{name}") == data
    checked.ask(BATCH, "PUT", f"/v1/batches/{ZERO}", data, expect=422)
    checked.ask(BATCH, "PUT", f"/v1/batches/{ZERO}", b"x" * 3000, expect=413)
    for bad in ("x", name[1:], name.upper()):
        checked.ask(BATCH, "PUT", f"/v1/batches/{bad}", data, expect=400)
        checked.ask(BATCH, "GET", f"/v1/batches/{bad}", expect=400)
    return bytes.fromhex(name)


def ask_anchors(checked, lane, batch):
    place = f"/v1/lanes/{lane.number}/anchors"
    fence = {"Zonerelay-Fence": str(lane.fence)}
    key, content, root = lane.anchor("tq-1", 0, 4, [batch_ref(batch)])
    missing, lacking, _ = lane.anchor("tq-1", 0, 4, [batch_ref(b"\x01" * 32)])
    checked.ask(ANCHOR, "GET", f"{place}/{key}", expect=404)
    assert checked.ask(ANCHOR, "PUT", f"{place}/{missing}", lacking, fence, 422)["content"] == "01" * 32
    checked.ask(ANCHOR, "PUT", f"{place}/{key}", content, {}, 400)
    for bad in ("0", "01", "-1", "x", "9223372036854775808"):
        checked.ask(ANCHOR, "PUT", f"{place}/{key}", content, {"Zonerelay-Fence": bad}, 400)
    assert checked.ask(ANCHOR, "PUT", f"{place}/{key}", content, {"Zonerelay-Fence": "77"}, 409)["fence"] == lane.fence
    first = checked.ask(ANCHOR, "PUT", f"{place}/{key}", content, fence, 201)
    again = checked.ask(ANCHOR, "PUT", f"{place}/{key}", content, fence, 200)
    assert (first["block"], first["seq"], first["root"]) == (again["block"], 1, root.hex())
    checked.ask(ANCHOR, "PUT", f"{place}/{key}", content + b"x", fence, 409)  # changed
    other, wrong, _ = lane.anchor("tq-1", 5, 6, seq=1)
    checked.ask(ANCHOR, "PUT", f"{place}/{other}", wrong, fence, 409)  # previous
    checked.ask(ANCHOR, "PUT", f"{place}/{ZERO}", content, fence, 422)
    checked.ask(ANCHOR, "PUT", f"{place}/{ZERO}", b"x" * 3000, fence, 413)
    misplaced, elsewhere, _ = lane.anchor("tq-1", 5, 6, lane=lane.number + 1)
    checked.ask(ANCHOR, "PUT", f"{place}/{misplaced}", elsewhere, fence, 422)
    for bad in ("/v1/lanes/70000/anchors/" + key, f"{place}/xx", "/v1/lanes/01/anchors/" + key):
        checked.ask(ANCHOR, "GET", bad, expect=400)
    deadline = time.monotonic() + 10 * SLOW
    while (found := checked.ask(ANCHOR, "GET", f"{place}/{key}"))["status"] != "final" and time.monotonic() < deadline:
        time.sleep(0.02)
    lane.follow(root)
    return key, content, base64.b64decode(found["evidence"]), found["block"]


def ask_refusals(checked, lane, key, content):
    """What anybody may be told at any time: denied, busy."""
    place = f"/v1/lanes/{lane.number}"
    calls = [(ANCHOR, "PUT", f"{place}/anchors/{key}", content), (ANCHOR, "GET", f"{place}/anchors/{key}", None),
             ("/v1/lanes/{lane}/head", "GET", f"{place}/head", None),
             (SEQUENCE, "GET", f"{place}/sequence/1", None),
             ("/v1/lanes/{lane}/fence", "POST", f"{place}/fence", {"expected": 0}),
             (BATCH, "PUT", f"/v1/batches/{ZERO}", b"x")]
    for kind, status in (("deny", 403), ("busy", 503)):
        checked.devchain.misbehave({"do": kind})
        for template, method, path, body in calls:
            checked.ask(template, method, path, body, FENCE, status)
    checked.devchain.misbehave()


def test_every_documented_answer_is_given_as_documented(tmp_path):
    devchain = Devchain(tmp_path, "--block-interval-ms", 10, "--batch-max-bytes", 2000, "--anchor-max-bytes", 2000,
                        "--log-level", "warn").start()
    checked = Checked(devchain)
    try:
        batch = ask_batches(checked)
        lane = Lane(devchain, 4)
        key, content, evidence, block = ask_anchors(checked, lane, batch)
        assert checked.ask(f"{ANCHOR}/proof", "GET", f"/v1/lanes/4/anchors/{key}/proof") == evidence
        assert checked.ask(f"{ANCHOR}/content", "GET", f"/v1/lanes/4/anchors/{key}/content") == content
        assert checked.ask(SEQUENCE, "GET", "/v1/lanes/4/sequence/1") == content
        checked.ask(SEQUENCE, "GET", "/v1/lanes/4/sequence/2", expect=404)
        checked.ask(SEQUENCE, "GET", "/v1/lanes/4/sequence/x", expect=400)
        for kind in ("proof", "content"):
            checked.ask(f"{ANCHOR}/{kind}", "GET", f"/v1/lanes/4/anchors/{ZERO}/{kind}", expect=404)
            checked.ask(f"{ANCHOR}/{kind}", "GET", f"/v1/lanes/4/anchors/zz/{kind}", expect=400)
        devchain.misbehave({"do": "hold-finality"})
        open_key, open_content, _ = lane.anchor("tq-1", 5, 6)
        checked.ask(ANCHOR, "PUT", f"/v1/lanes/4/anchors/{open_key}", open_content, {"Zonerelay-Fence": str(lane.fence)}, 201)
        assert checked.ask(f"{ANCHOR}/proof", "GET", f"/v1/lanes/4/anchors/{open_key}/proof", expect=404)["status"] == "included"
        devchain.misbehave()

        head = checked.ask("/v1/lanes/{lane}/head", "GET", "/v1/lanes/4/head")
        assert (head["seq"], head["key"]) == (2, open_key)
        checked.ask("/v1/lanes/{lane}/head", "GET", "/v1/lanes/x/head", expect=400)
        checked.ask("/v1/lanes/{lane}/fence", "POST", "/v1/lanes/5/fence", {"expected": 0})
        checked.ask("/v1/lanes/{lane}/fence", "POST", "/v1/lanes/5/fence", {"expected": 0}, expect=409)
        for bad in ({}, {"expected": -1}, {"expected": "1"}, [], {"expected": 9223372036854775807}):
            checked.ask("/v1/lanes/{lane}/fence", "POST", "/v1/lanes/5/fence", bad, expect=400)
        assert checked.ask("/v1/blocks/{height}", "GET", f"/v1/blocks/{block}")["final"]
        checked.ask("/v1/blocks/{height}", "GET", "/v1/blocks/999999", expect=404)
        checked.ask("/v1/blocks/{height}", "GET", "/v1/blocks/01", expect=400)
        checked.ask("/v1/status", "GET", "/v1/status")
        audit = checked.ask("/v1/audit", "GET", "/v1/audit?chain=tq-1")["chains"]
        assert [(row["name"], row["anchored"], row["duplicates"], row["gaps"]) for row in audit] == [("tq-1", [[0, 6]], 0, [])]
        assert checked.ask("/v1/audit", "GET", "/v1/audit?chain=none")["chains"] == []
        ask_refusals(checked, lane, key, content)
        assert checked.reasons == set(DOCUMENT["components"]["schemas"]["Error"]["properties"]["reason"]["enum"])

        documented = {(method, path, status) for path, item in DOCUMENT["paths"].items() for method, operation in item.items()
                      if method != "parameters" for status in operation["responses"]}
        # 429 is another way to say busy, and 401 needs a token: the next test.
        left = {row for row in documented - checked.seen if row[2] not in ("401", "429")}
        assert left == set()
        assert devchain.ask("GET", "/v1/nothing")[0] == 404
        assert devchain.ask("DELETE", "/v1/status")[0] == 405
    finally:
        assert devchain.end(signal.SIGTERM) == 0, devchain.log()


def test_a_token_is_asked_of_everybody(tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    devchain = Devchain(tmp_path, "--token-file", tmp_path / "token").start()
    try:
        assert devchain.ask("GET", "/v1/status")[0] == 401
        status, answer = devchain.ask("GET", "/v1/lanes/1/head", headers={"Authorization": "Bearer s3cre"})
        assert status == 401 and answer["reason"] == "denied"
        assert devchain.ask("POST", "/dev/blocks", {"count": 1})[0] == 401
        assert devchain.ask("GET", "/v1/status", headers={"Authorization": "Bearer s3cret"})[0] == 200
    finally:
        devchain.end(signal.SIGTERM)


# ---- what it keeps ----

class Submitter(threading.Thread):
    """Submits anchor after anchor in one lane, and writes down what it was told. What it was not told it finds out as
    a gateway would: by looking the key up, and sending the same again where it is absent."""

    def __init__(self, lane, stop):
        super().__init__()
        self.lane, self.stop = lane, stop
        self.acknowledged = []
        self.height = 0
        self.failure = None

    def run(self):
        try:
            while not self.stop.is_set():
                self.one()
        except AssertionError as error:
            self.failure = error

    def one(self):
        key, content, root = self.lane.anchor(f"tq-{self.lane.number}", self.height, self.height)
        while not self.stop.is_set():
            try:
                status, answer = self.lane.submit(key, content)
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
                continue  # The same key again: it is recorded once, whatever happened.
            assert status in (200, 201), answer
            self.acknowledged.append((key, answer["block"], answer["seq"]))
            self.lane.follow(root)
            self.height += 1
            return


def test_killed_under_load_it_keeps_all_that_it_acknowledged(tmp_path):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    devchain = Devchain(tmp_path, "--block-interval-ms", 5, "--log-level", "warn").start()
    stop = threading.Event()
    submitters = [Submitter(Lane(devchain, number), stop) for number in range(1, 5)]
    try:
        for submitter in submitters:
            submitter.start()
        for _ in range(8):
            time.sleep(chance.uniform(0.05, 0.5))
            devchain.end(signal.SIGKILL)
            devchain.start()
        time.sleep(0.3)
        stop.set()
        for submitter in submitters:
            submitter.join(30)
            assert submitter.failure is None and not submitter.is_alive()
        audit = {row["name"]: row for row in devchain.ask("GET", "/v1/audit")[1]["chains"]}
        for submitter in submitters:
            assert len(submitter.acknowledged) > 20
            for key, block, seq in submitter.acknowledged:
                status, answer = devchain.ask("GET", f"/v1/lanes/{submitter.lane.number}/anchors/{key}")
                assert (status, answer["block"], answer["seq"]) == (200, block, seq)
            row = audit[f"tq-{submitter.lane.number}"]
            assert row["duplicates"] == 0 and row["gaps"] == []
            assert row["blocks"] in (submitter.height, submitter.height + 1)  # The last may have had no answer.
    finally:
        stop.set()
        assert devchain.end(signal.SIGTERM) == 0, devchain.log()


# ---- how it starts ----

def run(*words, timeout=20):
    return subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True, timeout=timeout * SLOW, check=False)


def test_init_makes_what_is_missing_and_nothing_twice(tmp_path):
    folder = tmp_path / "d"
    first = run("init", "--dir", folder, "--suite", "sm3-sm2", "--chain", "grid-main")
    assert first.returncode == 0 and "chain: grid-main\n" in first.stdout and "BEGIN PUBLIC KEY" in first.stdout
    assert (folder / "trusted.pem").read_text() == first.stdout
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    again = run("init", "--dir", folder)
    assert (again.returncode, again.stdout) == (0, first.stdout)
    status = run("status", "--dir", folder, "--json")
    assert json.loads(status.stdout) == {"chain": "grid-main", "hash": "sm3", "height": 0, "final_height": 0}
    assert "main chain grid-main" in run("status", "--dir", folder).stdout

    (folder / "key.pem").unlink()
    missing = run("--dir", folder, "--listen", "127.0.0.1:0")
    assert missing.returncode == 69 and "key.pem is missing" in missing.stderr


def test_mistakes_end_it_with_their_own_exit_status(tmp_path):
    assert run("--help").returncode == 0
    assert run("--version").stdout.startswith("zonerelay-devchain ")
    for words in ([], ["fly"], ["--dir"], ["--dir", tmp_path, "--finality-blocks", "x"]):
        assert run(*words).returncode == 64
    assert run("status", "--dir", tmp_path / "none").returncode == 69
    assert run("--dir", tmp_path / "a", "--listen", "0.0.0.0:0").returncode == 65
    assert run("--dir", tmp_path / "a", "--listen", "127.0.0.1:0", "--misbehave", '{"rules":[{"do":"fly"}]}').returncode == 65
    assert run("--dir", tmp_path / "a", "--listen", "127.0.0.1:0", "--tls-certificate", "x").returncode == 65
    (tmp_path / "bad.yaml").write_text(f"dir: {tmp_path}/a\nkey: {tmp_path}/a/key.pem\nsise: 1\n")
    bad = run("--config", tmp_path / "bad.yaml")
    assert bad.returncode == 78 and "bad.yaml:3:1" in bad.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = run("--dir", tmp_path / "a", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
        assert busy.returncode == 69


def test_two_cannot_share_a_ledger(devchain):
    other = run("--dir", devchain.folder / "devchain", "--listen", "127.0.0.1:0")
    assert other.returncode == 69 and str(devchain.process.pid) in other.stderr
    assert json.loads(run("status", "--dir", devchain.folder / "devchain", "--json").stdout)["height"] == 0


def test_it_takes_its_settings_from_a_file(tmp_path):
    port = free_port()
    (tmp_path / "dc.yaml").write_text(f"listen: 127.0.0.1:{port}\ndir: {tmp_path}/dc\nkey: {tmp_path}/signer.pem\n"
                                      "block-interval: 10 ms\nfinality-blocks: 3\nlog:\n  level: warn\n")
    devchain = Devchain(tmp_path, "--config", tmp_path / "dc.yaml")
    devchain.port = port
    devchain.start()
    try:
        assert (tmp_path / "signer.pem").exists()
        lane = Lane(devchain, 1)
        key, content, _ = lane.anchor("tq-1", 0, 0)
        assert lane.submit(key, content)[0] == 201
        deadline = time.monotonic() + 10 * SLOW
        while devchain.ask("GET", f"/v1/lanes/1/anchors/{key}")[1]["status"] != "final":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert devchain.ask("GET", "/v1/status")[1]["height"] == 4  # Three more blocks, and then rest.
    finally:
        assert devchain.end(signal.SIGTERM) == 0


def test_without_an_interval_there_is_a_block_for_each_anchor_and_then_rest(tmp_path):
    devchain = Devchain(tmp_path, "--block-interval-ms", 0, "--finality-blocks", 2, "--log-level", "warn").start()
    try:
        lane = Lane(devchain, 1)
        for height in range(3):
            key, content, root = lane.anchor("tq-1", height, height)
            assert lane.submit(key, content)[0] == 201
            lane.follow(root)
        time.sleep(0.3)
        status = devchain.ask("GET", "/v1/status")[1]
        assert devchain.ask("GET", f"/v1/lanes/1/anchors/{key}")[1]["status"] == "final"
        assert status["height"] == status["final_height"] + 2
        time.sleep(0.3)
        assert devchain.ask("GET", "/v1/status")[1] == status
        devchain.misbehave({"do": "hold-blocks"})
        assert devchain.ask("POST", "/dev/blocks", {"count": 3})[1]["height"] == status["height"] + 3
    finally:
        assert devchain.end(signal.SIGTERM) == 0


def test_strangers_do_no_harm(devchain):
    for junk in (b"\0" * 100, b"GET / HTTP/9.9\r\n\r\n", b"PUT /v1/batches/x HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                 b"PUT /v1/batches/x HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nabc", b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n",
                 b"\x16\x03\x01\x02\x00" + bytes(512)):
        with socket.create_connection(("127.0.0.1", devchain.port), timeout=5) as stranger:
            stranger.sendall(junk)
            stranger.settimeout(1)
            try:
                stranger.recv(4096)
            except OSError:
                pass
    silent = [socket.create_connection(("127.0.0.1", devchain.port)) for _ in range(200)]
    assert devchain.ask("GET", "/v1/status")[0] == 200
    for stranger in silent:
        stranger.close()
    assert devchain.process.poll() is None


# ---- the adapter, through a proxy ----

def status_over_tls(devchain, folder, name):
    """/v1/status as the owner of certificate name sees it; None where it is not let in."""
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    connection = http.client.HTTPSConnection("127.0.0.1", devchain.port, timeout=5, context=context)
    try:
        connection.request("GET", "/v1/status")
        return json.loads(connection.getresponse().read())
    except OSError:
        return None
    finally:
        connection.close()


def test_a_revoked_certificate_is_out_after_sighup(tmp_path):
    made = pki.make_pki(tmp_path / "pki")
    for name in ("one", "two"):
        made.issue(name, f"/CN={name}", None, "clientAuth")
    folder = tmp_path / "pki"
    (tmp_path / "dc.yaml").write_text(
        f"dir: {tmp_path}/devchain\ntls:\n  certificate: {folder}/gateway.pem\n  key: {folder}/gateway.key\n"
        f"  ca: {folder}/ca.pem\n  crl: [{folder}/crl.pem]\n")
    devchain = Devchain(tmp_path, "--config", tmp_path / "dc.yaml").start()
    try:
        assert status_over_tls(devchain, folder, "one") and status_over_tls(devchain, folder, "two")
        made.revoke("two")
        good = (folder / "crl.pem").read_text()
        (folder / "crl.pem").write_text("nonsense")
        devchain.process.send_signal(signal.SIGHUP)
        wait_log(devchain, "reload-failed")
        assert status_over_tls(devchain, folder, "two")  # What was in force stays in force.
        (folder / "crl.pem").write_text(good)
        devchain.process.send_signal(signal.SIGHUP)
        wait_log(devchain, "reloaded signal=1")
        assert status_over_tls(devchain, folder, "one")
        assert status_over_tls(devchain, folder, "two") is None
    finally:
        assert devchain.end(signal.SIGTERM) == 0, devchain.log()


def wait_log(devchain, text):
    deadline = time.monotonic() + 10 * SLOW
    while text not in devchain.log():
        assert time.monotonic() < deadline, devchain.log()
        time.sleep(0.02)


class Proxy(threading.Thread):
    """An HTTP proxy that knows CONNECT and nothing else."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connects = []

    def run(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        head = b""
        while b"\r\n\r\n" not in head:
            more = peer.recv(4096)
            if not more:
                return
            head += more
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        assert method == "CONNECT"
        self.connects.append(target)
        host, _, port = target.rpartition(":")
        try:
            far = socket.create_connection((host, int(port)))
        except OSError:
            peer.sendall(b"HTTP/1.1 502 No way\r\nContent-Length: 0\r\n\r\n")
            peer.close()
            return
        peer.sendall(b"HTTP/1.1 200 Go\r\n\r\n")
        pair = {peer: far, far: peer}
        while True:
            for ready in select.select(list(pair), [], [])[0]:
                try:
                    data = ready.recv(65536)
                except ConnectionError:
                    data = b""
                if not data:
                    peer.close()
                    far.close()
                    return
                pair[ready].sendall(data)


def test_the_adapter_keeps_its_contract_through_tls_and_a_proxy(tmp_path):
    made = pki.make_pki(tmp_path / "pki")
    made.issue("client", "/CN=zone iii", None, "clientAuth")
    folder = tmp_path / "pki"
    devchain = Devchain(tmp_path, "--block-interval-ms", 10, "--finality-blocks", 2, "--log-level", "warn", "--tls-certificate",
                        folder / "gateway.pem", "--tls-key", folder / "gateway.key", "--tls-ca", folder / "ca.pem",
                        "--tls-crl", folder / "crl.pem").start()
    proxy = Proxy()
    proxy.start()
    try:
        done = subprocess.run(
            [CONTRACT, "--adapter", "http", "--endpoint", f"https://127.0.0.1:{devchain.port}", "--trusted",
             tmp_path / "devchain/trusted.pem", "--ca", folder / "ca.pem", "--certificate", folder / "client.pem", "--key",
             folder / "client.key", "--proxy", f"http://127.0.0.1:{proxy.port}"],
            capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        passed = len(re.findall(r"^\[ +OK +\]", done.stdout + done.stderr, re.M))
        assert passed >= 12
        assert len(proxy.connects) > 20 and set(proxy.connects) == {f"127.0.0.1:{devchain.port}"}
        context = ssl.create_default_context(cafile=folder / "ca.pem")
        with pytest.raises(OSError):  # Without a certificate of one's own: nothing.
            with socket.create_connection(("127.0.0.1", devchain.port), timeout=5) as plain:
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                    secure.sendall(b"GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n")
                    if not secure.recv(100):
                        raise OSError("closed")
    finally:
        proxy.listener.close()
        assert devchain.end(signal.SIGTERM) == 0, devchain.log()
