"""The control laws beside those of others, on plants of formulas and noise.

    uv run python benchmarks/pacing_sim.py [--batches 1000] [--seeds 30] [--hours 2]

Always the same, to the last digit; needs the package and nothing else. These are toy
plants: they show what a law does with noise, steps and lags, and are no claim about
the speed of any tool. `benchmarks/foreground.py` measures on PostgreSQL.
"""

from __future__ import annotations

import argparse

from _pacing.levels import NEAR, PACERS, ROOM, simulated_pace
from _pacing.plants import PLANTS
from _pacing.rules import KNEE, RULES
from _pacing.sizing import Did, simulated

__all__ = ["level_table", "main", "size_table"]

TARGET = 0.5
"""Seconds a batch that all rules are given: what most of them are made for."""

START = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=1_000)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--hours", type=float, default=2.0)
    args = parser.parse_args()
    print("\n".join(size_table(args.batches, args.seeds)))
    print()
    print("\n".join(level_table(args.hours, max(args.seeds * 2 // 3, 1))))


def size_table(batches: int, seeds: int) -> list[str]:
    """Return the table of the rules of size, as lines of Markdown."""
    lines = [
        f"Size: {batches} batches, {seeds} seeds, times in targets of {TARGET} s",
        "",
        "| rule | flat p95 | x4 step p95 | sparse, then dense: max | wide rows: max "
        "| jitter | changes/100 | batches to 60 % | speed: worst plant |",
        "|--|--|--|--|--|--|--|--|--|",
    ]
    for name, make in RULES.items():
        did = {
            plant: simulated(
                make, law, target=TARGET, start=START, batches=batches, seeds=seeds
            )
            for plant, law in PLANTS.items()
        }
        lines.append(_size_row(name, did))
    return [
        *lines,
        "",
        f"{KNEE} does not aim at the target: past the knee it is slower.",
    ]


def _size_row(name: str, did: dict[str, Did]) -> str:
    flat = did["flat"]
    speed = min(each.speed for each in did.values())
    cells = [
        f"{flat.p95:.2f}",
        f"{did['x4 step'].p95:.2f}",
        f"{did['sparse'].most:.1f}",
        f"{did['wide rows'].most:.1f}",
        f"{flat.jitter:.2f}",
        f"{flat.changes:.1f}",
        f"{flat.until:.0f}",
        f"{speed:.3f}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def level_table(hours: float, seeds: int) -> list[str]:
    """Return the table of the rules of pace, as lines of Markdown."""
    lines = [
        f"Pace: {hours:g} h, {seeds} seeds, an incident of 60 s every 300 s; a worker "
        "comes near the limit / leaves room",
        "",
        "| rule | duty | overload | changes/h | seconds back to 90 % |",
        "|--|--|--|--|--|",
    ]
    for name, make in PACERS.items():
        near, room = (
            simulated_pace(make, quiet, hours=hours, seeds=seeds)
            for quiet in (NEAR, ROOM)
        )
        lines.append(
            f"| {name} | {near.duty:.2f} / {room.duty:.2f} "
            f"| {near.overload:.1%} / {room.overload:.1%} "
            f"| {near.changes:.0f} / {room.changes:.0f} "
            f"| {near.back:.0f} / {room.back:.0f} |"
        )
    return lines


if __name__ == "__main__":
    main()
