"""Whether one more worker is worth it: measured, not assumed.

Two workers are twice as fast on one server, and no faster on the next, where they
wait for one disk; and the foreground pays for both of them.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["GAIN", "Trial", "begun", "gain_of", "is_over", "measured"]

GAIN = 0.10
"""Share of its own rate that a whole extra worker has to gain. A second worker gained
7 % where it hurt the foreground most, and 30 to 55 % where it was worth it."""

SHORTEST = 0.5
"""Seconds that a rate is measured over at least: a run's first sample comes at once,
and a handful of batches says nothing."""

WHOLE = 2
"""Samples to measure a whole worker more: one may lie across the change."""

HALF = 4
"""Samples to measure half a worker more, whose gain is nearer to the noise."""


class Trial(NamedTuple):
    """A step to more workers, and what they did before and since.

    Attributes:
        level: Workers before the step.
        before: Rows a second before it.
        rates: Rows a second since the level last changed, newest last.
    """

    level: float
    before: float
    rates: tuple[float, ...] = ()


def begun(level: float, rates: tuple[float, ...]) -> Trial | None:
    """Return the trial of more than *level*; `None` where nothing was measured."""
    before = _mean(rates[-WHOLE:])
    return Trial(level, before) if before else None


def measured(
    rates: tuple[float, ...], rate: float | None, seconds: float
) -> tuple[float, ...]:
    """Return *rates* with *rate*, measured over *seconds*; the newest are kept."""
    if rate is None or seconds < SHORTEST:
        return rates
    return (*rates[1 - HALF :], rate)


def is_over(trial: Trial, level: float, rates: tuple[float, ...]) -> bool:
    """Whether enough was measured at *level* to judge *trial*."""
    extra = level - trial.level
    if extra >= 1.0 - 1e-9:
        return len(rates) >= WHOLE
    return extra >= 0.5 and len(rates) >= HALF


def gain_of(trial: Trial, rates: tuple[float, ...]) -> float:
    """Return what the step gained: 0.1 is a rate higher by a tenth."""
    return _mean(rates[1:] or rates) / trial.before - 1.0


def _mean(rates: tuple[float, ...]) -> float:
    return sum(rates) / len(rates) if rates else 0.0
