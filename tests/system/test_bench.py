"""The benchmark's parts still work together: a second of load, and what was acknowledged is durable."""
import os
import sys

import pytest

from world import ROOT, Failure

sys.path.insert(0, str(ROOT / "tests/bench"))
import bench  # noqa: E402

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")
LINKS = 4
ROW = {"size": 2048, "blocks": 2048, "batch": 16, "window": 4, "policy": "tail"}


@pytest.fixture
def small(tmp_path):
    made = bench.Bench(tmp_path, BUILD, LINKS)
    yield made
    made.close()


@pytest.mark.parametrize("row", [ROW, dict(ROW, batch=1, window=1, policy="all"),
                                 dict(ROW, size=66 << 10, blocks=64, format="fabric")],
                         ids=["tail", "all", "fabric"])
def test_what_the_load_counts_is_durable_and_anchored_once(small, row):
    with small.fresh(row) as world:
        got = small.load(row, 1)
        assert got["batches"] > 0 and got["blocks"] == got["batches"] * row["batch"]
        assert got["raw_bytes"] > got["blocks"] * row["size"] * 0.8, "the blocks are as large as is said"
        assert got["wire_up"] > got["payload_bytes"], "every byte of the batches went over the wire"
        assert 0 < got["p50_ms"] <= got["p99_ms"] <= got["max_ms"]
        durable = {name: chain["next_height"] for name, chain in world.chain_states().items()}
        assert sum(durable.values()) == got["blocks"] + LINKS, "the generator's count and the gateway's"
        world.wait_anchored(durable)


def test_the_load_fails_where_the_gateway_refuses_it(small):
    with small.fresh(ROW) as world:
        world.cli("chains", "freeze", "bench-1", "--reason", "a test")
        with pytest.raises(Failure):
            small.load(ROW, 1)


def test_the_limits_are_measured(small):
    assert small.limit("append", 0.1, 4096) > 0
    assert small.limit("store", 0.1, 4096, 4) > 0
