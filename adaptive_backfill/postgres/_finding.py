"""What one look at a signal says, and the units that its numbers are in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, NamedTuple

from typing_extensions import override

from adaptive_backfill._core.answers import Measure
from adaptive_backfill._core.rules import is_number

__all__ = [
    "MEBIBYTES",
    "MEBIBYTES_A_SECOND",
    "MEGABYTES",
    "MILLISECONDS",
    "NUMBER",
    "RATIO",
    "SECONDS",
    "Finding",
    "Gap",
    "Unit",
    "measured",
    "worse",
]


@dataclass(frozen=True, slots=True)
class Unit:
    """What a limit is given in, and how it is shown.

    Attributes:
        bounds: What a limit must be, in words.
        label: Written behind each number.
        scale: A shown number times this is a given one.
        most: The greatest limit allowed.
        timed: Whether it is a time, which may be given as a timedelta.
    """

    bounds: str
    label: str = ""
    scale: float = 1.0
    most: float = float("inf")
    timed: bool = False

    def problems(self, limit: object, name: str = "limit") -> list[str]:
        """Return what is wrong with *limit*, the argument *name*."""
        number = self.number(limit)
        if is_number(number) and number <= self.most:
            return []
        return [f"{name} must be {self.bounds}, not {limit!r}"]

    def number(self, limit: object) -> float:
        """Return *limit* as a number; NaN where it is none."""
        if isinstance(limit, timedelta):
            return limit.total_seconds() if self.timed else float("nan")
        if isinstance(limit, int | float) and is_number(limit):
            return limit
        return float("nan")


_SECONDS = "seconds of 0 or more"
SECONDS = Unit(_SECONDS, " s", timed=True)
MILLISECONDS = Unit(_SECONDS, " ms", 1e-3, timed=True)
_BYTES = "bytes, 0 or more"
MEGABYTES = Unit(_BYTES, " MB", 1e6)
MEBIBYTES = Unit(_BYTES, " MiB", 2**20)
MEBIBYTES_A_SECOND = Unit("bytes a second, 0 or more", " MiB/s", 2**20)
RATIO = Unit("a ratio from 0 to 1", most=1.0)
NUMBER = Unit("a number of 0 or more")


class Gap(NamedTuple):
    """Something that cannot be seen.

    Attributes:
        what: What it is, as the beginning of a sentence.
        remedy: What to do about it.
    """

    what: str
    remedy: str

    @override
    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


class Finding(NamedTuple):
    """What one look at a signal says.

    Attributes:
        measure: The numbers, healthy or not; `None` where there are none yet.
        broken: Whether they break the limit.
        unseen: What could not be seen beside them, if anything.
        absent: Why this server cannot tell the signal at all, if so.
        memory: Handed to the next judgement of the same run.
    """

    measure: Measure | None = None
    broken: bool = False
    unseen: Gap | None = None
    absent: Gap | None = None
    memory: object = None

    @property
    def over(self) -> Measure | None:
        """The measure, where it breaks its limit."""
        return self.measure if self.broken else None

    @property
    def share(self) -> float:
        """How near the limit is: 0 far, 1 reached; 0 where there is no measure."""
        if self.measure is None:
            return 0.0
        observed, limit = self.measure.observed, self.measure.limit
        return observed / limit if limit else float(self.broken)


_HOLDS = {">": "<=", "<": ">="}


def measured(
    signal: str,
    observed: float | None,
    limit: float,
    unit: Unit = NUMBER,
    *,
    sign: Literal[">", "<"] = ">",
    note: str | None = None,
) -> Finding:
    """Return what *observed* means: broken where ``observed sign limit``.

    Args:
        signal: Its name in the sentence.
        observed: `None` where nothing was.
        limit: In the same unit.
        unit: How both are shown.
        sign: Which side of the limit is broken.
        note: What else to say.
    """
    if observed is None:
        return Finding()
    broken = observed > limit if sign == ">" else observed < limit
    measure = Measure(
        signal,
        observed / unit.scale,
        limit / unit.scale,
        unit=unit.label,
        sign=sign if broken else _HOLDS[sign],
        note=note or "",
    )
    return Finding(measure, broken)


def worse(one: Finding, other: Finding) -> Finding:
    """Return the one that breaks its limit, or else is nearer to it."""
    return max(one, other, key=lambda finding: (finding.broken, finding.share))
