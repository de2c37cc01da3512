"""What is known of a backfill before and after it runs, as values and for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

__all__ = ["DryRun", "Plan", "Verification"]


@dataclass(frozen=True, slots=True)
class DryRun:
    """What some batches cost that were done and rolled back.

    Attributes:
        batches: Batches that were tried.
        rows: Rows that they did.
        seconds: What they took, without the commit.
        wal_bytes: What was written to the WAL meanwhile, by whomever; `None` where
            the server does not say.
        updated: Row versions that updates made, on the table itself.
        hot: Those of them that needed no new index entries.
    """

    batches: int = 0
    rows: int = 0
    seconds: float = 0.0
    wal_bytes: int | None = None
    updated: int = 0
    hot: int = 0

    @property
    def seconds_a_batch(self) -> float | None:
        """Seconds that a batch took; `None` where none was tried."""
        return self.seconds / self.batches if self.batches else None

    @property
    def rows_a_second(self) -> float | None:
        """Rows a second; `None` where none was done."""
        return self.rows / self.seconds if self.rows and self.seconds else None

    @override
    def __str__(self) -> str:
        if not self.batches:
            return "no batch was tried: the table is empty"
        seconds = f"{1000 * self.seconds / self.batches:.1f} ms each"
        parts = [
            f"{_many(self.batches, 'batch')} of {_many(self.rows, 'row')}, {seconds}"
        ]
        if self.rows_a_second is not None:
            parts.append(f"{self.rows_a_second:,.0f} rows/s")
        if self.wal_bytes is not None:
            parts.append(f"{_bytes(self.wal_bytes)} of WAL")
        if self.updated:
            parts.append(f"{self.hot / self.updated:.0%} HOT")
        return ", ".join(parts) + "; all rolled back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a `TableBackfill` would do, and whether it should.

    Attributes:
        name: The backfill.
        table: What it walks.
        ok: Whether it may be run.
        reasons: Why not; empty where it may.
        warnings: What to know all the same.
        key: The columns that it goes by.
        indexes: By which the ranges are found.
        bound: EXPLAIN of the query for the end of a batch.
        batch: EXPLAIN of the batch.
        triggers: Those that will fire, as SQL.
        hot: Whether updates can do without new index entries; `None` where that is
            not known.
        hot_so_far: The share of the table's updates that did, as the server counted.
        locks: What it locks, in words.
        rows: Rows to look at, estimated.
        batches: Batches that this makes.
        seconds: For all of them, one after the other, rests included, without pauses.
        wal_bytes: For all of them.
        sample: What that is reckoned from; `None` where nothing was measured.
    """

    name: str
    table: str
    ok: bool
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    bound: str = ""
    batch: str = ""
    triggers: tuple[str, ...] = ()
    hot: bool | None = None
    hot_so_far: float | None = None
    locks: tuple[str, ...] = ()
    rows: int | None = None
    batches: int | None = None
    seconds: float | None = None
    wal_bytes: int | None = None
    sample: DryRun | None = None

    @override
    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        verdict = "may be run" if self.ok else "must not be run"
        yield f"{self.name}: {verdict}"
        yield from (f"  refused: {reason}" for reason in self.reasons)
        yield from (f"  warning: {warning}" for warning in self.warnings)
        yield f"  table: {self.table}" + (
            f" by {', '.join(self.key)}" if self.key else ""
        )
        if self.indexes:
            yield f"  index: {', '.join(self.indexes)}"
        if self.batches is not None and self.rows is not None:
            extent = f"{_many(self.rows, 'row')}, {_many(self.batches, 'batch')}"
            yield f"  extent: about {extent}"
        yield from self._costs()
        yield from (f"  trigger: {trigger}" for trigger in self.triggers)
        yield from (f"  locks: {lock}" for lock in self.locks)
        for title, text in (("end of a batch", self.bound), ("batch", self.batch)):
            if text:
                yield f"  {title}:"
                yield from (f"    {line}" for line in text.splitlines())

    def _costs(self) -> Iterator[str]:
        if self.sample is not None:
            yield f"  sample: {self.sample}"
        if self.seconds is not None:
            seconds = _duration(self.seconds)
            yield f"  time: about {seconds}, one batch after the other"
        if self.wal_bytes is not None:
            yield f"  WAL: about {_bytes(self.wal_bytes)}"
        if self.hot is not None:
            can = "can be HOT, while pages have room" if self.hot else "cannot be HOT"
            yield f"  updates: {can}"
        if self.hot_so_far is not None:
            yield f"  updates so far: {self.hot_so_far:.0%} HOT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What is left after a run.

    Attributes:
        name: The backfill.
        table: What was counted.
        remaining: Rows that are still to do, exactly; `None` where rows that are done
            look like those that are not.
        examples: Keys of some of them, at most 10.
        quarantined: Rows that were set aside, which are among them; `None` where that
            is not known.
        unknown: Why nothing could be counted.
    """

    name: str
    table: str
    remaining: int | None = None
    examples: tuple[tuple[Any, ...], ...] = ()
    quarantined: int | None = None
    unknown: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is known that no row is left."""
        return self.remaining == 0

    @override
    def __str__(self) -> str:
        if self.remaining is None:
            text = f"cannot be told by counting: {self.unknown}"
        elif self.remaining:
            shown = ", ".join(_key(key) for key in self.examples)
            text = f"{_many(self.remaining, 'row')} still to do, such as {shown}"
        else:
            text = "no row is left to do"
        aside = f"; {_many(self.quarantined, 'row')} quarantined"
        return f"{self.name}: {text}" + (aside if self.quarantined else "")


def _key(key: tuple[Any, ...]) -> str:
    return str(key[0]) if len(key) == 1 else f"({', '.join(map(str, key))})"


def _many(count: int | None, noun: str) -> str:
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count or 0:,} {noun}{ending}"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
