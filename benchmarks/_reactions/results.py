"""What was measured, how it is kept in a file, and what it comes to."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from _foreground.measuring import Window

from _reactions.measuring import Round
from _reactions.watching import Second

__all__ = ["Back", "Results", "back", "medians", "over"]

_TOGETHER = 5
"""Seconds that are judged together, by their median: one of them may be a stall of the
disk, with or without a backfill."""


class Back(NamedTuple):
    """When something was inside its limit again.

    Attributes:
        after: Seconds, to the middle of the first five that are; `None`: never.
        then: Share of all fives from there on that are.
    """

    after: int | None
    then: float = 0.0


@dataclass
class Results:
    """Rounds by incident.

    Attributes:
        rows: Of the table.
        idle: Rounds without a backfill.
        run: Rounds with one.
        fixed: Fixed settings beside the users that are left when others go, by mode.
    """

    rows: int
    idle: dict[str, list[Round]] = field(default_factory=dict)
    run: dict[str, list[Round]] = field(default_factory=dict)
    fixed: dict[str, list[Window]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None, rows: int) -> Results:
        if path is None or not path.exists():
            return cls(rows)
        kept = json.loads(path.read_text())
        fixed = {
            mode: [Window(**window) for window in each]
            for mode, each in kept["fixed"].items()
        }
        return cls(kept["rows"], _rounds(kept["idle"]), _rounds(kept["run"]), fixed)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    def usual(self, name: str, *, during: bool) -> float:
        """Return the p99 of users in an incident, or before it, without a backfill."""
        return statistics.median(
            second.p99
            for each in self.idle[name]
            for second in each.seconds
            if (0 <= second.at < int(each.lasted) if during else second.at < 0)
        )


def back(
    seconds: Sequence[Second],
    value: Callable[[Second], float],
    within: Callable[[float], bool],
) -> Back:
    """Return when the *value* of *seconds*, counted from their first, was *within*."""
    inside = list(map(within, medians(seconds, value)))
    if True not in inside:
        return Back(None)
    first = inside.index(True)
    return Back(first + _TOGETHER // 2, statistics.mean(inside[first:]))


def medians(seconds: Sequence[Second], value: Callable[[Second], float]) -> list[float]:
    """Return the medians of *value* over all that are judged together."""
    return [
        statistics.median(map(value, seconds[number : number + _TOGETHER]))
        for number in range(len(seconds) - _TOGETHER + 1)
    ]


def over(seconds: Sequence[Second], limit: float) -> tuple[int, int]:
    """Return the seconds in which the replica was behind by more: in a row, and all."""
    longest = now = 0
    for second in seconds:
        now = now + 1 if second.lag > limit else 0
        longest = max(longest, now)
    return longest, sum(second.lag > limit for second in seconds)


def _rounds(kept: dict[str, list[dict[str, Any]]]) -> dict[str, list[Round]]:
    return {name: [_round(each) for each in rounds] for name, rounds in kept.items()}


def _round(kept: dict[str, Any]) -> Round:
    seconds = [Second(**second) for second in kept["seconds"]]
    return Round(seconds, kept["lasted"], [tuple(each) for each in kept["said"]])
