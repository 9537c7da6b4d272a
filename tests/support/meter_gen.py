#!/usr/bin/env python3
"""Writes the minute readings of made-up households as CSV lines. Nothing here was ever measured.

A household is a standing load, a refrigerator that cycles, a daily rhythm with a morning and an
evening peak, and appliances that are switched on at random. The same seed gives the same bytes, on
every machine: only random.Random(seed).random() is used, whose sequence Python guarantees.

    time,meter,kwh,volts,amps,watts
    2026-01-05T00:00:00Z,M0000001,1523.417,231.2,0.94,205

kwh is the meter's running total and never falls. Times are UTC, one step apart.
"""
import argparse
import datetime
import math
import os
import random
import sys
import time

HEADER = "time,meter,kwh,volts,amps,watts"

# Name, watts, minutes it runs, times a day, hours of the day at which it may start.
APPLIANCES = (
    ("kettle", 2000, 4, 3.0, (6, 22)),
    ("cooker", 1600, 35, 1.6, (6, 20)),
    ("shower", 3500, 9, 1.4, (6, 23)),
    ("washing", 500, 70, 0.4, (8, 20)),
    ("air conditioner", 900, 120, 0.8, (11, 23)),
    ("television", 120, 150, 1.2, (17, 23)),
)


class Household:
    def __init__(self, seed, number):
        self.random = random.Random(seed * 1_000_003 + number)
        self.name = f"M{number:07d}"
        self.standing_watts = self.between(25, 70)
        self.fridge_watts = self.between(70, 130)
        self.fridge_minutes = self.between(38, 62)
        self.fridge_phase = self.between(0, 60)
        self.lighting_watts = self.between(80, 220)
        self.total_kwh = self.between(300, 9000)
        self.running = []  # [watts, minutes left]

    def between(self, low, high):
        return low + (high - low) * self.random.random()

    def rhythm(self, hour):
        """Share of the lighting and small appliances that is on: two peaks, quiet at night."""
        morning = math.exp(-((hour - 7.2) ** 2) / 2.0)
        evening = math.exp(-((hour - 20.0) ** 2) / 7.0)
        return 0.08 + 0.5 * morning + 0.92 * evening

    def watts(self, when, minutes):
        hour = when.hour + when.minute / 60
        for _, power, duration, per_day, (first, last) in APPLIANCES:
            chance = per_day * minutes / (60 * (last - first)) if first <= when.hour < last else 0
            draw = self.random.random()
            if draw < chance:
                self.running.append([power * (0.8 + 0.4 * draw / chance), duration])
        minute_of_day = when.hour * 60 + when.minute
        fridge = (minute_of_day + self.fridge_phase) % self.fridge_minutes < self.fridge_minutes * 0.4
        total = self.standing_watts + self.lighting_watts * self.rhythm(hour)
        total += self.fridge_watts if fridge else 0
        total += sum(power for power, _ in self.running)
        self.running = [[power, left - minutes] for power, left in self.running if left > minutes]
        return total * self.between(0.97, 1.03)

    def line(self, when, step_s):
        watts = self.watts(when, step_s / 60)
        self.total_kwh += watts * step_s / 3_600_000
        volts = 230 + 3.5 * math.sin(2 * math.pi * when.hour / 24) - watts / 1500 + self.between(-1, 1)
        amps = watts / (volts * 0.95)
        text = when.strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"{text},{self.name},{self.total_kwh:.3f},{volts:.1f},{amps:.2f},{watts:.0f}"


def lines(seed, days, meters=1, start="2026-01-05T00:00:00", step_s=60):
    """Every line but the header, in the order of time."""
    begin = datetime.datetime.fromisoformat(start)
    households = [Household(seed, number) for number in range(1, meters + 1)]
    for step in range(int(days * 86_400 / step_s)):
        when = begin + datetime.timedelta(seconds=step * step_s)
        for household in households:
            yield household.line(when, step_s)


def main():
    parser = argparse.ArgumentParser(description="Write made-up household minute readings as CSV.")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same bytes (default 1)")
    parser.add_argument("--days", type=float, default=1.0, help="how long (default 1)")
    parser.add_argument("--meters", type=int, default=1, help="households (default 1)")
    parser.add_argument("--start", default="2026-01-05T00:00:00", help="first reading, UTC")
    parser.add_argument("--step", type=int, default=60, help="seconds between readings (default 60)")
    parser.add_argument("--rate", type=float, default=0, help="lines a second (default: at once)")
    parser.add_argument("--no-header", action="store_true", help="leave the first line out")
    arguments = parser.parse_args()

    if not arguments.no_header:
        print(HEADER, flush=True)
    begin = time.monotonic()
    everything = lines(arguments.seed, arguments.days, arguments.meters, arguments.start, arguments.step)
    for count, line in enumerate(everything, 1):
        print(line, flush=arguments.rate > 0)
        if arguments.rate > 0:
            time.sleep(max(0, begin + count / arguments.rate - time.monotonic()))


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        # The reader has seen enough; do not let Python complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(130)
