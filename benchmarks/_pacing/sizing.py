"""How rules of size do on plants."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import log
from random import Random
from statistics import fmean, pstdev, quantiles
from typing import NamedTuple

from _pacing.plants import Plant, noise
from _pacing.rules import Rule

__all__ = ["Did", "simulated"]


class Did(NamedTuple):
    """How a rule did; means over the seeds.

    Attributes:
        p95, most: Of the time of a batch, in targets.
        jitter: Deviation of the logarithm of the size, over the last quarter.
        changes: Sizes that differ from the one before, a hundred batches.
        until: Batches until 60 % of the size that it comes to on a flat plant.
        speed: Rows a second, as a share of those of batches of *target* seconds.
    """

    p95: float
    most: float
    jitter: float
    changes: float
    until: float
    speed: float


def simulated(
    make: Callable[[float, int], Rule],
    plant: Plant,
    *,
    target: float,
    start: int,
    batches: int,
    seeds: int,
) -> Did:
    """Return how the rule that *make* makes does on *plant*."""
    runs = [
        _run(make(target, start), plant, target, batches, Random(seed))
        for seed in range(seeds)
    ]
    return Did(*map(fmean, zip(*runs, strict=True)))


def _run(rule: Rule, plant: Plant, target: float, batches: int, random: Random) -> Did:
    sizes, times = [], []
    rows = best = 0.0
    for number in range(batches):
        size = rule.size
        much = noise(random)
        seconds = plant.seconds(size, number) * much
        affected = max(round(size * plant.density(number)), 0)
        rule.saw(seconds, affected)
        sizes.append(size)
        times.append(seconds)
        rows += size
        best += seconds / much * _best_speed(plant, target, number)
    last = [log(size) for size in sizes[-batches // 4 :]]
    changes = sum(a != b for a, b in pairwise(sizes))
    # No plant changes before batch 100.
    goal = 0.6 * fmean(sizes[50:100])
    until = next(number for number, size in enumerate(sizes) if size >= goal)
    return Did(
        quantiles(times, n=20)[-1] / target,
        max(times) / target,
        pstdev(last),
        100 * changes / batches,
        until,
        rows / best,
    )


def _best_speed(plant: Plant, target: float, number: int) -> float:
    """Return rows a second of the size that takes *target*, as who knew all would."""
    a_row = (plant.seconds(1_000, number) - plant.seconds(0, number)) / 1_000
    return plant.speed(max(round((target - plant.fixed) / a_row), 1), number)
