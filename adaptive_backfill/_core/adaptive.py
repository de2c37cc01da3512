"""The policy of the control laws: what a user may decide about pace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from adaptive_backfill._core.rules import is_count, is_number
from adaptive_backfill.errors import ConfigurationError

__all__ = ["Adaptive"]


@dataclass(frozen=True, slots=True, init=False)
class Adaptive:
    """As fast as the database allows: size and pace that follow what is measured.

    `Adaptive()` is right for most. The size of a batch is the smallest one whose fixed
    cost (round trips, commit) is paid; more rows a batch are hardly faster, and hold
    their locks for longer.

    Attributes:
        target: Seconds of database time that a batch may take at most, above 0; may be
            given as a `timedelta`. A bound, not an aim: most batches are shorter.
        min_size: Rows a batch at least, from 1.
        max_size: Rows a batch at most, from *min_size*.
        max_workers: Batches at once at most, from 1. For a `TableBackfill`; any other
            backfill has one worker, whatever this says.
        overhead: Share of a batch's time that its fixed cost may be, between 0 and 1.

    Raises:
        ConfigurationError: An argument is out of its bounds.
    """

    target: float
    min_size: int
    max_size: int
    max_workers: int
    overhead: float

    def __init__(
        self,
        *,
        target: float | timedelta = 0.1,
        min_size: int = 10,
        max_size: int = 100_000,
        max_workers: int = 4,
        overhead: float = 0.05,
    ) -> None:
        if isinstance(target, timedelta):
            target = target.total_seconds()
        problems = [
            *_problems_of_times(target, overhead),
            *_problems_of_counts(min_size, max_size, max_workers),
        ]
        if problems:
            raise ConfigurationError(problems, subject="Adaptive")
        values = (float(target), min_size, max_size, max_workers, float(overhead))
        for name, value in zip(self.__slots__, values, strict=True):
            # The class is frozen, for all but its own making.
            object.__setattr__(self, name, value)


def _problems_of_times(target: object, overhead: object) -> list[str]:
    problems = []
    if not is_number(target, above_zero=True):
        problems.append(
            f"target must be seconds above 0, or a timedelta, not {target!r}"
        )
    if not is_number(overhead, above_zero=True) or not _below_one(overhead):
        problems.append(
            f"overhead must be a share between 0 and 1, both excluded, not {overhead!r}"
        )
    return problems


def _problems_of_counts(
    min_size: object, max_size: object, max_workers: object
) -> list[str]:
    counts = {"min_size": min_size, "max_size": max_size, "max_workers": max_workers}
    problems = [
        f"{name} must be an int of at least 1, not {value!r}"
        for name, value in counts.items()
        if not is_count(value)
    ]
    if (
        isinstance(min_size, int)
        and isinstance(max_size, int)
        and not problems
        and max_size < min_size
    ):
        problems.append(
            f"max_size must be at least min_size ({min_size}), not {max_size}"
        )
    return problems


def _below_one(value: object) -> bool:
    return isinstance(value, int | float) and value < 1
