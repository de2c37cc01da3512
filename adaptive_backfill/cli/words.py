"""Numbers, times and health in words, for screens and logs alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from adaptive_backfill import OK, Halt, Pause, Progress, RunResult, Slow

__all__ = [
    "OVER",
    "columns",
    "condition",
    "duration",
    "extent",
    "pace",
    "plural",
    "rate",
    "reasons_of",
    "remaining",
    "share_of",
    "shown",
    "spent",
]

OVER = ("done", "halted", "failed", "stopped", "skipped")
"""What a run is called that has ended."""

_LONGEST_STATE = 100

_HEALTH: dict[type, str] = {
    Slow: "slowed down",
    Pause: "about to pause",
    Halt: "about to halt",
}


def plural(number: int, noun: str) -> str:
    """Return *number* of *noun*: ``1 row``, ``1,200 rows``, ``2 batches``."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}{'es' if noun.endswith('ch') else 's'}"


def duration(seconds: float) -> str:
    """Return *seconds* with the two units that matter: ``4.2 s``, ``3 h 20 min``.

    Whole ones, as an int, stay whole: ``4 s``.
    """
    if isinstance(seconds, int) and seconds < 10:
        return f"{seconds} s"
    if 0 < seconds < 0.95:
        return f"{max(1, seconds * 1000):.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, less, lesser in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // less} {lesser}"
    return f"{whole} s"


def rate(rows_a_second: float) -> str:
    """Return a rate in rows a second, or a minute where it is slow."""
    if rows_a_second >= 10:
        return f"{rows_a_second:,.0f} rows/s"
    if rows_a_second >= 1:
        return f"{rows_a_second:.1f} rows/s"
    return f"{rows_a_second * 60:.1f} rows/min"


def extent(progress: Progress) -> str:
    """Return how much is done."""
    done, share = _done(progress), share_of(progress)
    # Rounded down: 100 % is for what is done. Less the error of 0.29 * 100.
    return done if share is None else f"{done} ({int(100 * share + 1e-9)}%)"


def share_of(progress: Progress) -> float | None:
    """Return what is done, from 0 to 1, by the rows or by the place in the table."""
    by_rows = progress.rows / progress.total if progress.total else None
    share = progress.share
    if progress.status in OVER:
        # What is kept of a run that is over is older than its rows.
        share = None if by_rows is None else max(by_rows, share or 0.0)
    elif share is None:
        share = by_rows
    return None if share is None else min(1.0, share)


def _done(progress: Progress) -> str:
    if progress.total:
        return f"{progress.rows:,} of {plural(progress.total, 'row')}"
    if progress.rows:
        return plural(progress.rows, "row")
    return plural(progress.batches, "batch")


def remaining(progress: Progress) -> str | None:
    """Return how long it will still take, where that is known and worth saying."""
    seconds = round(progress.eta or 0)
    return f"{duration(seconds)} left" if seconds else None


def pace(progress: Progress) -> str | None:
    """Return how much a run works at present, where that is not all of the time."""
    parts = []
    if progress.level is not None and progress.level > 1:
        parts.append(f"{progress.level:.1f} workers")
    if progress.duty < 0.995:
        parts.append(f"working {_percent(progress.duty)} of the time")
    return ", ".join(parts) or None


def spent(result: RunResult) -> str | None:
    """Return where the time of a run went, where it was not all work."""
    if result.duration <= 0 or not (result.delayed or result.paused):
        return None
    waited = sorted(result.waited.items(), key=lambda each: -each[1])
    by = ", ".join(f"{name} {duration(seconds)}" for name, seconds in waited)
    parts = [f"busy {_percent(result.busy / result.duration)}"]
    if result.paused:
        share = f"paused {_percent(result.paused / result.duration)}"
        parts.append(f"{share} ({by})" if by else share)
    if result.delayed:
        parts.append(f"delayed {_percent(result.delayed / result.duration)}")
    if result.locked:
        parts.append(f"waiting for locks {duration(result.locked)}")
    return ", ".join(parts)


def _percent(share: float) -> str:
    return f"{min(1.0, share):.0%}"


def condition(progress: Progress, since: str = "") -> str:
    """Return how a run is, and why; *since* says since when it is paused."""
    why = reasons_of(progress.reasons)
    if progress.status == "paused":
        return f"paused since {since}: {why}" if since else f"paused: {why}"
    if progress.status == "waiting":
        return "standing by: another run of this name is at it"
    if progress.status == "starting":
        return "starting"
    verdict = progress.verdict
    if verdict is OK:
        return f"health ok ({why})" if why else "health ok"
    return f"{_HEALTH[type(verdict)]}: {why or verdict.reason}"


def reasons_of(reasons: Iterable[object]) -> str:
    """Return *reasons* as one line."""
    return "; ".join(map(str, reasons))


def shown(state: object) -> str:
    """Return *state* as people can read it, and not too much of it."""
    text = repr(state)
    return text if len(text) <= _LONGEST_STATE else f"{text[:_LONGEST_STATE]} ..."


def columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return *rows* as lines, cell under cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
