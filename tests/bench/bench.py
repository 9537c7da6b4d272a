#!/usr/bin/env python3
"""bench.py -- what the gateway does on this machine, beside what the machine itself can do.

    bench.py [--build DIR] [--quick] [NAME...]      NAME: a row, or several

A real gateway and a real development main chain run on loopback; bench_load is many agents in one
process, on the same machine. Every row is measured REPEATS times, turn about with the limits (a file
that is synced, a bare store, OpenSSL's own speed), so that a noisy minute hits all of them; the
table has minimum, median and maximum, and the median's ratio to the limit that it is to be
compared with. All links send the same pre-signed blocks, each under a chain of its own.
"""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/system"), str(ROOT / "tests/support")]

import meter_gen  # noqa: E402
from world import Failure, World  # noqa: E402

REPEATS = 3
MIB = 1 << 20
APPEND_BYTES = 64 << 10
METER_LINES = 20000  # More than a batch holds, so that none repeats within one.

# Name: what it is. blocks: pre-signed ones for each link; a run that uses them up ends early.
LOADS = {
    "tail-512": dict(size=512, blocks=24576, batch=64, window=4, policy="tail"),
    "tail-2048": dict(size=2048, blocks=16384, batch=64, window=4, policy="tail", quick=True),
    "tail-4096": dict(size=4096, blocks=8192, batch=64, window=4, policy="tail"),
    "tail-fabric": dict(size=66 << 10, blocks=1024, batch=64, window=1, policy="tail", format="fabric"),
    "all-2048": dict(size=2048, blocks=4096, batch=1, window=1, policy="all", quick=True),
}
LINKS = 64
IDLE_LINKS = 1000
THREADS = ("loop", "verify", "writer", "delivery")  # Of the gateway; the others sleep.


class Bench:
    """One folder, one world that is made anew for each run, and the blocks that all runs share."""

    def __init__(self, folder, build, links=LINKS):
        self.build = pathlib.Path(build).resolve()
        self.folder = pathlib.Path(folder).resolve()
        self.world = World(self.folder / "world", build)
        self.links = links
        keys = self.folder / "world/pki"
        issuing = keys / "private/issuing"
        self.agents = links
        self.tool("bench_make", "agents", keys, links, issuing / "ca.pem", issuing / "ca.key")
        self.lines = self.folder / "lines.csv"
        lines = meter_gen.lines(1, METER_LINES / 1440 / 10 + 1, meters=10)
        self.lines.write_text("".join(f"{line}\n" for line in lines))
        self.made = {}

    def tool(self, name, *arguments):
        words = [str(word) for word in (self.build / "tests/bench" / name, *arguments)]
        run = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
        if run.returncode != 0:
            raise Failure(f"{' '.join(words)}: {run.stderr}")
        return run.stdout.strip()

    # ---- a world for one run ----

    def blocks(self, row):
        """The folder with the row's blocks, and how many entries one holds."""
        form = row.get("format", "ledger")
        key = (form, row["size"], row["blocks"])
        if key not in self.made:
            folder = self.folder / f"blocks-{form}-{row['size']}-{row['blocks']}"
            folder.mkdir()
            lines = [self.lines] if form == "ledger" else []
            held = self.tool("bench_make", form, folder, row["size"], row["blocks"], *lines)
            self.made[key] = folder, float(held)
        return self.made[key]

    @contextlib.contextmanager
    def fresh(self, row):
        """Gateway and main chain, both empty and running, with the row's chains enrolled."""
        world, (blocks, _) = self.world, self.blocks(row)
        for name in ("spool", "devchain"):
            shutil.rmtree(world.folder / name, ignore_errors=True)
        world.chains = []
        for number in range(1, self.links + 1):
            world.grant(f"bench-{number}", row.get("format", "ledger"), blocks / "genesis.block", [f"bench-{number}"],
                        policy=row["policy"])
        world.gateway_settings["spool"].update({"size": "2 GiB", "reserve": "64 MiB"})
        world.gateway_settings["limits"] = {"handshakes-per-second": 10000, "handshake-burst": 10000}
        world.gateway_settings["log"] = {"level": "warn"}
        world.prepare()
        world.devchain.start()
        world.gateway.start()
        try:
            yield world
        finally:
            for process in (world.gateway, world.devchain):
                process.kill()

    def load_command(self, row, seconds, **more):
        settings = {"pki": self.world.folder / "pki", "blocks": self.blocks(row)[0], "port": self.world.gateway_port,
                    "gateway": f"zonerelay:gateway/{self.world.zone}", "format": row.get("format", "ledger"),
                    "links": self.links, "batch": row["batch"], "window": row["window"], "seconds": seconds, **more}
        return [str(self.build / "tests/bench/bench_load"), *(f"{name}={value}" for name, value in settings.items())]

    def load(self, row, seconds):
        """Runs the load against the running gateway; what it reports, with the gateway's side of it."""
        with subprocess.Popen(self.load_command(row, seconds), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as process:
            pid = self.world.gateway.process.pid
            started = process.stdout.readline()
            cpu, threads, before = cpu_seconds(pid), thread_seconds(pid), self.world.metrics()
            last = process.stdout.readline()
            used = cpu_seconds(pid) - cpu
            threads = {name: spent - threads.get(name, 0) for name, spent in thread_seconds(pid).items()}
            after = self.world.metrics()
            if process.wait(60) != 0 or not started or not last:
                raise Failure(f"{process.stderr.read()}\n{self.world.gateway.tail()}")
        result = json.loads(last)
        commits = after["zonerelay_commits_total"] - before["zonerelay_commits_total"]
        result.update(gateway_cpu_s=used, threads_s=threads, gateway_rss=own_memory(pid), commits=commits)
        return result

    # ---- rows ----

    def measure_load(self, name, seconds):
        row = LOADS[name]
        with self.fresh(row):
            got = self.load(row, seconds)
        if not got["blocks"]:
            raise Failure(f"{name}: nothing was acknowledged")
        self.last_batch = got["payload_bytes"] / got["batches"], max(1, got["batches"] / max(1, got["commits"]))
        return {
            "blocks/s": got["blocks"] / got["seconds"],
            "MB/s raw": got["raw_bytes"] / got["seconds"] / 1e6,
            "ack p50 ms": got["p50_ms"],
            "ack p99 ms": got["p99_ms"],
            "gateway CPU us/block": got["gateway_cpu_s"] * 1e6 / got["blocks"],
            **{f"... {thread}": got["threads_s"].get(thread, 0) * 1e6 / got["blocks"] for thread in THREADS},
            "generator CPU us/block": got["cpu_s"] * 1e6 / got["blocks"],
            "gateway memory MiB": got["gateway_rss"] / MIB,
            "batches/commit": got["batches"] / max(1, got["commits"]),
            "wire up/raw byte": got["wire_up"] / got["raw_bytes"],
            "wire down B/batch": got["wire_down"] / got["batches"],
        }

    def measure_drain(self, seconds):
        """A backlog that gathers while the main chain is away; SIGKILL; how soon it is ready, how fast it drains."""
        row = dict(LOADS["tail-2048"])
        with self.fresh(row) as world:
            world.devchain.stop()
            got = self.load(row, seconds)
            world.gateway.kill()
            ready_ms = self.start_timed()
            world.wait(world.gateway_ready, "the gateway answers")
            world.devchain.start()
            rate = self.drain()
            held = world.audit()
            total = sum(chain["blocks"] for chain in held.values())
            if total != got["blocks"] + self.links or any(c["duplicates"] or c["gaps"] for c in held.values()):
                raise Failure(f"{total} blocks on the main chain, not {got['blocks']} and {self.links} genesis blocks")
        return {"drained blocks/s": rate, "of its intake": rate / (got["blocks"] / got["seconds"]),
                "backlog blocks": got["blocks"], "backlog MiB": got["payload_bytes"] / MIB,
                "ready ms after SIGKILL": ready_ms}

    def start_timed(self):
        """From fork to the moment at which the link's port accepts."""
        began = time.monotonic()
        self.world.gateway.spawn()
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.world.gateway_port)) == 0:
                    return (time.monotonic() - began) * 1000
            if time.monotonic() - began > 30 or not self.world.gateway.running:
                raise Failure(f"the gateway does not come back:\n{self.world.gateway.tail()}")
            time.sleep(0.001)

    def drain(self, timeout=180):
        """Blocks a second, from the first that left the backlog to the last."""
        deadline = time.monotonic() + timeout
        began = None
        while time.monotonic() < deadline:
            pending, now = self.world.metrics()["zonerelay_blocks_pending"], time.monotonic()
            if began is None or pending >= began[1]:
                began = now, pending
            if pending == 0:
                return began[1] / max(now - began[0], 1e-3)
            time.sleep(0.02)
        raise Failure(f"the backlog has not drained in {timeout} s: {pending:.0f} blocks are left")

    def measure_idle(self, _seconds):
        row = LOADS["all-2048"]
        with self.fresh(row) as world:
            pid = world.gateway.process.pid
            before = own_memory(pid)
            with subprocess.Popen(self.load_command(row, 0, hold=1), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True) as process:
                began = time.monotonic()
                held = process.stdout.readline()
                took = time.monotonic() - began
                after = own_memory(pid)
                _, trouble = process.communicate(input="", timeout=60)
            if not held:
                raise Failure(trouble)
        return {"KiB/link": (after - before) / 1024 / self.links, "links up/s": self.links / took}

    # ---- limits ----

    def limit(self, *arguments):
        folder = self.folder / "limits"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        count, nanoseconds = self.tool("bench_limits", arguments[0], folder, *arguments[1:]).split()
        shutil.rmtree(folder)
        return int(count) / (int(nanoseconds) / 1e9)

    def measure_limits(self, seconds):
        figures = {f"append+fdatasync {APPEND_BYTES >> 10} KiB /s": self.limit("append", seconds, APPEND_BYTES)}
        figures["the same MB/s"] = next(iter(figures.values())) * APPEND_BYTES / 1e6
        figures["P-256 verify us"] = 1e6 / openssl_verify()
        figures["SHA-256 MB/s"] = openssl_sha256() / 1e6
        return figures

    def measure_store(self, seconds):
        """Batches a second that a bare store takes, of the size and in the groups that the gateway has just had."""
        size, group = self.last_batch
        return self.limit("store", seconds, round(size), round(group)) * round(group)

    def close(self):
        self.world.stop()


# ---- looking at processes and the machine ----

def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def thread_seconds(pid):
    """CPU seconds of each kind of thread, by name; the loop's is the program's."""
    seconds = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        name = "loop" if name == "zonerelayd" else name
        seconds[name] = seconds.get(name, 0) + int((task / "schedstat").read_text().split()[0]) / 1e9
    return seconds


def own_memory(pid):
    """Without the spool's mapped pages, which are the page cache's."""
    return int(re.search(r"RssAnon:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def openssl(*words):
    return subprocess.run(["openssl", "speed", "-seconds", "1", "-mr", *words], capture_output=True, text=True,
                          check=True, timeout=60).stdout


def openssl_verify():
    """P-256 verifications a second on one core."""
    return float(re.search(r"^\+F4:.*:([\d.]+)$", openssl("ecdsap256"), re.M)[1])


def openssl_sha256():
    return float(re.search(r"^\+F:.*:([\d.]+)$", openssl("-bytes", "16384", "-evp", "sha256"), re.M)[1])


def machine(folder):
    model = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    disk = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False)
    return (f"{model[1] if model else platform.machine()}, {os.cpu_count()} processors, Linux {platform.release()}, "
            f"{disk.stdout.strip()}")


# ---- the table ----

def three(values):
    return min(values), statistics.median(values), max(values)


def number(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def ratio_of(name, figure, medians, limits):
    """What a figure is to be held against, as text."""
    if name not in LOADS:
        return ""
    row = LOADS[name]
    if figure == "blocks/s":
        return f"{medians[figure] / (medians['store batches/s'] * row['batch']):.2f} of a bare store"
    if figure == "gateway CPU us/block" and row["policy"] == "all":
        return f"{medians[figure] / limits['P-256 verify us']:.2f} verifications"
    if figure == "gateway CPU us/block":
        return f"{medians[figure] * row['batch'] / limits['P-256 verify us']:.1f} verifications a batch"
    return ""


def print_table(results, loads_held):
    limits = {figure: three(values)[1] for figure, values in results.get("limits", {}).items()}
    print(f"{'row':12} {'figure':28} {'min':>10} {'median':>10} {'max':>10}  median is")
    for name, figures in results.items():
        medians = {figure: three(values)[1] for figure, values in figures.items()}
        title = name
        for figure, values in figures.items():
            low, middle, high = map(number, three(values))
            print(f"{title:12} {figure:28} {low:>10} {middle:>10} {high:>10}  "
                  f"{ratio_of(name, figure, medians, limits)}".rstrip())
            title = ""
        if name in loads_held:
            row = LOADS[name]
            what = "transactions" if row.get("format") == "fabric" else "reading lines"
            print(f"{'':12} ({LINKS} links, {row['batch']} block(s) a batch, window {row['window']}, policy "
                  f"{row['policy']}, {loads_held[name]:.1f} {what} a block)")


def run_all(bench, idle, names, seconds):
    """Each repetition does everything once, so that a noisy minute hits all of them."""
    results = {name: {} for name in ["limits", *names]}

    def note(name, figures):
        for figure, value in figures.items():
            results[name].setdefault(figure, []).append(value)

    for turn in range(REPEATS):
        print(f"== turn {turn + 1} of {REPEATS}", file=sys.stderr, flush=True)
        note("limits", bench.measure_limits(min(seconds, 1)))
        for name in names:
            if name in LOADS:
                note(name, bench.measure_load(name, seconds))
                note(name, {"store batches/s": bench.measure_store(min(seconds, 1))})
            else:
                note(name, (bench.measure_drain if name == "drain" else idle.measure_idle)(seconds))
    return results


def main():
    rows = [*LOADS, "drain", "idle"]
    parser = argparse.ArgumentParser(description="measure the gateway, and this machine beside it")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--quick", action="store_true", help="the main rows, one second each")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these rows: {', '.join(rows)}")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in rows:
            parser.error(f"no row {name}: {', '.join(rows)}")
    quick = [name for name in rows if name not in LOADS or LOADS[name].get("quick")]
    names = arguments.names or (quick if arguments.quick else rows)

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = arguments.build / "bench"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    load_before, began = os.getloadavg()[0], datetime.datetime.now()
    bench = Bench(folder / "load", arguments.build)
    idle = Bench(folder / "idle", arguments.build, IDLE_LINKS) if "idle" in names else None
    try:
        results = run_all(bench, idle, names, 1 if arguments.quick else 5)
        held = {name: bench.blocks(LOADS[name])[1] for name in names if name in LOADS}
    except Failure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    finally:
        bench.close()
        shutil.rmtree(folder, ignore_errors=True)

    print(f"machine  {machine(arguments.build)}")
    print(f"date     {began:%Y-%m-%d %H:%M}, load average {load_before:.1f} before and {os.getloadavg()[0]:.1f} after")
    print("here     gateway, main chain and load generator share the machine; wire bytes are TLS's, without TCP/IP\n")
    print_table(results, held)
    print(f"bench: {len(names)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
