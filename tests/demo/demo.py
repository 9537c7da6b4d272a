#!/usr/bin/env python3
"""demo.py -- the whole journey on real input, with a crash and an outage on the way.

Three agents relay three chains through one gateway to a development main chain:

  raft-1   a real Hyperledger Fabric 2.5 channel (Raft: one orderer signature a block)
  bft-1    a real Hyperledger Fabric 3.0 channel (BFT: a quorum of signatures a block)
  meter-1  a ledger that the agent keeps itself, sealed with SM2/SM3, one block per quarter hour of
           meter time; its readings are synthetic: a seeded load curve, nobody's household

In mid-flow the gateway is killed with SIGKILL and started again, and the main chain is taken away
for a while. At the end every block must be on the main chain exactly once.
"""
import argparse
import pathlib
import shutil
import signal
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/system"), str(ROOT / "tests/support")]

import meter_gen  # noqa: E402
import world as worlds  # noqa: E402

RAFT = ROOT / "tests/data/fabric/raft-edge-1"
BFT = ROOT / "tests/data/fabric/bft-edge"
CHAINS = ("raft-1", "bft-1", "meter-1")
METER_SEED = 20260105
METER_DAYS = 1
MINUTES_PER_BLOCK = 15
LINES_PER_SECOND = 120


class Screen:
    """Progress: one line rewritten on a terminal, a plain line now and then otherwise."""

    def __init__(self):
        self.live = sys.stdout.isatty()
        self.began = time.monotonic()
        self.last = 0.0

    def say(self, text):
        if self.live:
            sys.stdout.write("\r\033[K")
        print(f"[{time.monotonic() - self.began:5.1f} s] {text}", flush=True)

    def progress(self, expected, states, held):
        now = time.monotonic()
        if now - self.last < (0.2 if self.live else 3):
            return
        self.last = now
        parts = []
        for name in CHAINS:
            durable = states.get(name, {}).get("next_height", 0)
            anchored = held.get(name, {}).get("blocks", 0)
            parts.append(f"{name} {durable}/{expected[name]} durable, {anchored} anchored")
        if self.live:
            sys.stdout.write("\r\033[K" + " | ".join(parts))
            sys.stdout.flush()
        else:
            self.say(" | ".join(parts))


class Feeders:
    """What the sites do meanwhile: block files appear, readings are appended."""

    def __init__(self, world):
        self.stop = threading.Event()
        self.threads = [
            threading.Thread(target=self.copy, args=(RAFT, world.folder / "edge-raft/blocks", 0.9), daemon=True),
            threading.Thread(target=self.copy, args=(BFT, world.folder / "edge-bft/blocks", 1.3), daemon=True),
            threading.Thread(target=self.readings, args=(world.folder / "edge-meter/readings.csv",), daemon=True),
        ]

    def start(self):
        for thread in self.threads:
            thread.start()

    def copy(self, source, target, pause):
        for path in sorted(source.glob("*.block"), key=lambda path: int(path.stem)):
            partial = target / f".{path.name}.part"
            shutil.copyfile(path, partial)
            partial.rename(target / path.name)
            if self.stop.wait(pause):
                return

    def readings(self, path):
        with open(path, "a", encoding="ascii") as file:
            file.write(meter_gen.HEADER + "\n")
            for number, line in enumerate(meter_gen.lines(METER_SEED, METER_DAYS)):
                file.write(line + "\n")
                if number % 12 == 11:
                    file.flush()
                    if self.stop.wait(12 / LINES_PER_SECOND):
                        return
            # A block is sealed by the reading that begins the next quarter hour.
            file.write(next(iter(meter_gen.lines(METER_SEED, 1, start="2026-01-06T00:00:00"))) + "\n")


def build_world(folder, build):
    world = worlds.World(folder, build)
    world.add_fabric_edge("edge-raft", "raft-1", RAFT / "0.block")
    world.add_fabric_edge("edge-bft", "bft-1", BFT / "0.block")
    world.add_ledger_edge("edge-meter", "meter-1", suite="sm3-sm2", prune="anchored", source={
        "input": "csv", "path": world.folder / "edge-meter/readings.csv", "block-interval": f"{MINUTES_PER_BLOCK} min",
        "csv": {"skip-header": True,
                "columns": ["time=1", "meter=2", "kwh=3", "volts=4", "amps=5", "watts=6"]}})
    (world.folder / "edge-meter/readings.csv").touch()
    return world


def expected_blocks():
    readings = METER_DAYS * 24 * 60 // MINUTES_PER_BLOCK
    return {"raft-1": len(list(RAFT.glob("*.block"))), "bft-1": len(list(BFT.glob("*.block"))),
            "meter-1": 1 + readings}  # The ledger's genesis is a block too.


def wait_until(world, screen, expected, condition, what, timeout):
    deadline = time.monotonic() + timeout
    while True:
        held = world.audit()
        states = world.chain_states() if world.gateway.running else {}
        screen.progress(expected, states, held)
        if condition(states, held):
            return
        for process in [world.gateway, world.devchain, *world.edges.values()]:
            if process.process.poll() not in (None, 0, -9):
                raise worlds.Failure(f"{process.name} ended with {process.process.returncode}:\n{process.tail()}")
        if time.monotonic() > deadline:
            raise worlds.Failure(f"not within {timeout} s: {what}\n{world.gateway.tail(12)}")
        time.sleep(0.1)


def durable(states):
    return sum(states.get(name, {}).get("next_height", 0) for name in CHAINS)


def run_journey(world, screen, expected):
    total = sum(expected.values())
    feeders = Feeders(world)
    screen.say("starting the main chain, the gateway and three agents")
    world.start()
    feeders.start()
    try:
        wait_until(world, screen, expected, lambda states, held: durable(states) > total // 4, "a quarter durable", 60)
        screen.say("killing the gateway with SIGKILL in mid-flow")
        world.gateway.kill()
        time.sleep(1)
        began = time.monotonic()
        world.gateway.start()
        screen.say(f"the gateway is back, ready after {(time.monotonic() - began) * 1000:.0f} ms")
        wait_until(world, screen, expected, lambda states, held: durable(states) > total // 2, "half durable", 60)
        screen.say("taking the main chain away")
        world.devchain.kill()
        before = durable(world.chain_states())
        time.sleep(4)
        screen.say(f"main chain away for 4 s; meanwhile {durable(world.chain_states()) - before} more blocks became "
                   "durable")
        world.devchain.start()
        screen.say("the main chain is back")
        wait_until(world, screen, expected,
                   lambda states, held: all(held.get(name, {}).get("blocks", 0) >= expected[name] for name in CHAINS),
                   "everything anchored", 90)
        wait_until(world, screen, expected,
                   lambda states, held: all(states[name]["anchored_next"] >= expected[name] for name in CHAINS),
                   "everything final in the gateway's books", 30)
    finally:
        feeders.stop.set()


def wire_bytes(world, name):
    """(sent on the wire, raw) of one chain's blocks, as its agent counted them."""
    agent = {"raft-1": "edge-raft", "bft-1": "edge-bft", "meter-1": "edge-meter"}[name]
    status = world.edge_status(agent)
    return status["wire_bytes_out"], sum(chain["raw_bytes_sent"] for chain in status["chains"])


def show_table(world, expected):
    held = world.audit()
    print(f"\n  {'chain':9}{'received':>10}{'durable':>9}{'anchored':>10}{'quarantined':>13}{'duplicates':>12}{'lost':>6}"
          f"{'wire bytes':>12}{'raw bytes':>11}{'ratio':>7}")
    problems = []
    for name in CHAINS:
        chain = world.ask("chains", "show", name)
        counters = chain["counters"]
        lost = expected[name] - held[name]["blocks"] + sum(b - a + 1 for a, b in held[name]["gaps"])
        wire, raw = wire_bytes(world, name)
        print(f"  {name:9}{counters['received']:>10}{chain['next_height']:>9}{counters['anchored']:>10}"
              f"{counters['quarantined']:>13}{held[name]['duplicates']:>12}{lost:>6}{wire:>12}{raw:>11}"
              f"{wire / raw if raw else 0:>7.2f}")
        if lost or held[name]["duplicates"] or counters["quarantined"] or held[name]["blocks"] != expected[name]:
            problems.append(f"{name}: {held[name]['blocks']} of {expected[name]} blocks anchored, "
                            f"{held[name]['duplicates']} duplicates, {lost} lost")
    print("  duplicates and lost are counted by the main chain; wire bytes are what the agent sent, TLS records and "
          "handshakes included\n")
    return problems


def show_proof(world):
    """One block's proof, checked offline; and the same proof with one byte flipped."""
    proof, flipped = world.folder / "block-4.proof", world.folder / "block-4.flipped.proof"
    world.cli("proof", "get", "raft-1", "4", "--out", proof)
    print(f"$ zonerelay proof verify {proof.relative_to(ROOT) if proof.is_relative_to(ROOT) else proof} "
          f"--trusted {world.trusted.name}")
    good = world.run("zonerelay", "proof", "verify", proof, "--trusted", world.trusted, check=False)
    print(good.stdout.rstrip())
    if good.returncode != 0:
        return [f"the proof of raft-1 block 4 does not verify: {good.stdout}{good.stderr}"]
    content = bytearray(proof.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    bad = world.run("zonerelay", "proof", "verify", flipped, "--trusted", world.trusted, check=False)
    print(f"\n$ zonerelay proof verify {flipped.name}   (one bit flipped)\n{(bad.stdout + bad.stderr).rstrip()}")
    return [] if bad.returncode not in (0, 2) else ["a proof with a flipped byte was accepted"]


def show_commands(world, keep):
    folder = world.folder.relative_to(ROOT) if world.folder.is_relative_to(ROOT) else world.folder
    print("\nTo look around" + (" (in another terminal; Ctrl-C ends the demo):" if keep else ":"))
    if keep:
        print(f"  ./dev run zonerelay status --socket {folder}/control.sock\n"
              f"  ./dev run zonerelay chains list --socket {folder}/control.sock\n"
              f"  ./dev run zonerelay watch --socket {folder}/control.sock\n"
              f"  ./dev run zonerelay-edge status --config {folder}/edge-meter.yaml\n"
              f"  curl http://127.0.0.1:{world.http_port}/metrics")
    else:
        print("  ./dev demo --keep                     the same, and everything goes on running")
    print(f"  ./dev run zonerelay proof verify {folder}/block-4.proof --trusted {folder}/devchain/trusted.pem\n"
          f"  ./dev run zonerelay blocks verify --format fabric --trust tests/data/fabric/bft-edge/0.block "
          f"tests/data/fabric/bft-edge\n"
          f"  ./dev run zonerelay spool stat --config {folder}/gateway.yaml\n"
          f"  ./dev run zonerelay spool verify --config {folder}/gateway.yaml\n"
          f"  less {folder}/gateway.log {folder}/edge-meter.log\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / ".demo", help="where everything is kept")
    parser.add_argument("--keep", action="store_true", help="go on running until Ctrl-C")
    arguments = parser.parse_args()
    # Asked to end, it ends what it started, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shutil.rmtree(arguments.folder, ignore_errors=True)
    screen = Screen()
    expected = expected_blocks()
    world = build_world(arguments.folder, arguments.build)
    screen.say(f"made a throw-away PKI in {arguments.folder.name}/pki; meter-1's readings are synthetic "
               f"(seed {METER_SEED})")
    problems = []
    try:
        run_journey(world, screen, expected)
        screen.say("everything is anchored")
        problems = show_table(world, expected) + show_proof(world)
        show_commands(world, arguments.keep)
        if arguments.keep:
            print(f"demo: OK so far, {len(problems)} problems; running until Ctrl-C")
            while True:
                time.sleep(1)
    except KeyboardInterrupt:
        pass
    except worlds.Failure as failure:
        problems.append(str(failure))
    try:
        world.stop()
    except worlds.Failure as failure:
        problems.append(str(failure))
    if problems:
        print("\ndemo: FAILED\n" + "\n".join(problems) + f"\nLogs and stores are in {arguments.folder}")
        return 1
    print(f"demo: OK {sum(expected.values())} blocks from {len(CHAINS)} chains anchored once each, 0 lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
