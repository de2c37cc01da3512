"""Three kinds of numbers: how things are, how far a counter went, and how fast.

A counter only grows until it is reset, so its value says nothing: what counts is the
difference to the look before. The first look of a run, and the first after a reset
(another `since`, or a number that fell), is only a baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

from adaptive_backfill.postgres._finding import (
    NUMBER,
    Finding,
    Gap,
    Unit,
    measured,
)
from adaptive_backfill.postgres._signal import Judge, Row

__all__ = ["COUNTING", "Unseen", "gauge", "growth", "rate", "uncounted"]

Unseen: TypeAlias = Callable[[Row], Gap | None]

COUNTING = """
    greatest(stats_reset, pg_postmaster_start_time()) AS since,
    extract(epoch FROM clock_timestamp())::float8 AS at,
    current_setting('track_counts')::bool AS counted
"""
"""Columns that tell when a counter began, when it was read, and whether it counts."""

# Backends report what they did once a second, so less says nothing.
_SHORTEST_WINDOW = 2.0


def gauge(
    signal: str,
    limit: object,
    unit: Unit = NUMBER,
    *,
    sign: Literal[">", "<"] = ">",
    unseen: Unseen | None = None,
) -> Judge:
    """Judge one row by its `observed`, and tell its `note` where it has one."""

    def judge(rows: Sequence[Row], memory: object) -> Finding:
        row = rows[0]
        number, note = unit.number(limit), row.get("note")
        found = measured(signal, row["observed"], number, unit, sign=sign, note=note)
        return found._replace(unseen=unseen(row) if unseen else None)

    return judge


def growth(signal: str, limit: object, unit: Unit = NUMBER, *, note: str = "") -> Judge:
    """Judge by how much `value` grew since the look before."""

    def judge(rows: Sequence[Row], memory: object) -> Finding:
        row = rows[0]
        now = _Count.of(row)
        grown = now.grown_since(memory)
        said = f"{note} since the check before".strip()
        found = measured(signal, grown, unit.number(limit), unit, note=said)
        return found._replace(unseen=uncounted(row), memory=now)

    return judge


def rate(signal: str, limit: object, unit: Unit) -> Judge:
    """Judge by how much `value` grew a second, over two seconds or more.

    Looks in quicker succession repeat what the last one said.
    """

    def judge(rows: Sequence[Row], memory: object) -> Finding:
        row = rows[0]
        now = _Count.of(row)
        before = memory if isinstance(memory, _Pace) else _Pace(now, Finding())
        grown = now.grown_since(before.base)
        if grown is None:
            return Finding(unseen=uncounted(row), memory=_Pace(now, Finding()))
        seconds = now.at - before.base.at
        if seconds < _SHORTEST_WINDOW:
            return before.said._replace(memory=before)
        found = measured(signal, grown / seconds, unit.number(limit), unit)
        found = found._replace(unseen=uncounted(row))
        return found._replace(memory=_Pace(now, found))

    return judge


def uncounted(row: Row) -> Gap | None:
    """Return the gap of a server that counts nothing."""
    if row["counted"]:
        return None
    return Gap("cannot see what is read and written", "set track_counts = on")


class _Count(NamedTuple):
    """A counter at one look."""

    since: object
    at: float
    value: float

    @classmethod
    def of(cls, row: Row) -> _Count:
        return cls(row["since"], row["at"], row["value"])

    def grown_since(self, before: object) -> float | None:
        """Return the difference; `None` where there is nothing to compare with."""
        if not isinstance(before, _Count) or before.since != self.since:
            return None
        grown = self.value - before.value
        return grown if grown >= 0 else None


class _Pace(NamedTuple):
    """Where a window began, and what the one before said."""

    base: _Count
    said: Finding
