"""Every program killed at every place that has a name, and again while it recovers: nothing acknowledged is lost.

kills.py has the world that this happens in, relay/base/fault_point.h the places.
"""
import os
import random

from kills import ONCE, KillSite, fault_points
from world import ROOT, World

BUILD = os.environ.get("ZR_BUILD", ROOT / "build")
KINDS = {"gateway": ["every", "gateway"], "fabric": ["every", "agent", "fabric"], "ledger": ["every", "agent", "ledger"]}


def draw_line(chance, kind, rounds):
    """(point, hit, point of the second time): each of its own, later in further rounds; then while it starts."""
    points = fault_points(*KINDS[kind])
    line = []
    for number in range(rounds):
        chance.shuffle(points)
        starting = [point for point in points if point in ONCE]
        line += [(point, 1 if point in ONCE else 1 + chance.randrange(3) + number,
                  point if number == 0 else chance.choice(starting)) for point in points]
    return line


def test_every_program_is_killed_at_every_place_and_nothing_is_lost(tmp_path, torture):
    chance = random.Random(torture.seed)
    rounds = torture.rounds(quick=1, deep=10)
    lines = {kind: draw_line(chance, kind, rounds) for kind in KINDS}
    with World(tmp_path, BUILD) as world, KillSite(world, chance, blocks=3000 * rounds) as site:
        site.kill_all(lines)
        site.check()
    torture.figure("fault points at which a program was killed", len({row[0] for line in lines.values() for row in line}))
    torture.figure("kills at fault points, a second one during recovery from each", site.kills)
