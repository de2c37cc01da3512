"""Tell an operator what the health checks see here, and what they lack."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import anyio
import asyncpg
from typing_extensions import override

from adaptive_backfill._core.answers import OK
from adaptive_backfill._core.health import HealthCheck, HealthContext, judged
from adaptive_backfill._engine.outlast import end_all
from adaptive_backfill._engine.outside import ask
from adaptive_backfill.postgres._finding import Finding
from adaptive_backfill.postgres._limits import seconds_left
from adaptive_backfill.postgres._monitor_connection import MonitorConnection
from adaptive_backfill.postgres._signal import last_look
from adaptive_backfill.postgres._source import Source, Unusable, database_of
from adaptive_backfill.postgres._telling import keep_quiet
from adaptive_backfill.postgres.checks import everything

__all__ = ["Diagnosis", "Examined", "doctor"]

Sight: TypeAlias = Literal["all", "a part", "nothing"]

_TROUBLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)

# Backends report what they did once a second, and less than two say nothing.
_SECONDS_BETWEEN_LOOKS = 2.5

_HEAD = ("signal", "sees", "value", "limit", "verdict", "to do")


@dataclass(frozen=True, slots=True)
class Examined:
    """One signal, as it is now.

    Attributes:
        signal: The check's name.
        sees: `"all"`, `"a part"` or `"nothing"`.
        value: The number seen; `None` where there is none, or too little happened to
            have one.
        limit: The number that it is judged by.
        unit: The unit of both.
        verdict: `"ok"`; `"slow"`, `"pause"` or `"halt"` where the limit is broken, by
            the check's own action; `"unknown"` where it cannot be told; `"off"` where
            a run would leave the check out.
        advice: What is wrong, or what to grant or enable; `""` where nothing is.
    """

    signal: str
    sees: Sight
    value: float | None
    limit: float | None
    unit: str
    verdict: str
    advice: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What `doctor` found; `str()` gives a table.

    Attributes:
        server: The version, and the role that asked; or why neither is known.
        rows: Each signal.
    """

    server: str
    rows: tuple[Examined, ...]

    @override
    def __str__(self) -> str:
        lines = [_HEAD, *map(_cells, self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join([self.server, "", *(_aligned(line, widths) for line in lines)])


async def doctor(
    pool: Source = None,
    *,
    table: str | None = None,
    standbys: Sequence[Source] = (),
    interval: float = _SECONDS_BETWEEN_LOOKS,
) -> Diagnosis:
    """Ask for every signal once, and for what is counted twice; changes nothing.

    Works for a role without any grant: it says which ones are missing.

    Args:
        pool: An asyncpg pool, a callable that returns one, or a DSN.
        table: The table that is to be worked on, for vacuum's signals.
        standbys: DSNs of standbys.
        interval: Seconds between the two looks.

    Raises:
        ConfigurationError: An argument is none.
    """
    context = HealthContext("doctor")
    keep_quiet(context)
    checks = everything(pool, table=table, standbys=standbys)
    server = await _server(pool, context)
    rows = await _examined(checks, context)
    unfinished = [
        check
        for check, row in zip(checks, rows, strict=True)
        if row.verdict == "ok" and row.value is None
    ]
    if unfinished:
        await anyio.sleep(interval)
        again = await _examined(unfinished, context)
        later = {row.signal: row for row in again}
        rows = [later.get(row.signal, row) for row in rows]
    return Diagnosis(server, tuple(rows))


async def _server(pool: Source, context: HealthContext) -> str:
    try:
        line = MonitorConnection.of(await database_of(pool, None), context)
        async with line.turn(context.untimed) as connection:
            found = await line.capabilities(connection, seconds_left())
    except (TimeoutError, Unusable, *_TROUBLE) as error:
        return str(error) or type(error).__name__
    kind = ", a standby" if found.in_recovery else ""
    return f"PostgreSQL {found.version}{kind}, as {found.role}"


async def _examined(
    checks: Sequence[HealthCheck], context: HealthContext
) -> list[Examined]:
    """Ask *checks* at the same time, so that they share a connection."""
    tasks = [asyncio.create_task(_examine(check, context)) for check in checks]
    try:
        await asyncio.wait(tasks)
    finally:
        await end_all(tasks)
    return [task.result() for task in tasks]


async def _examine(check: HealthCheck, context: HealthContext) -> Examined:
    before = last_look(check, context)
    given = await ask(check.fn, context)
    if given.error is not None:
        return _unknown(check, str(given.error) or type(given.error).__name__)
    answer = judged(check, given.value, 0.0).answer
    look = last_look(check, context)
    if look is None or look is before:
        # It did not get as far as looking.
        return _unknown(check, "" if answer is OK else str(answer.reason))
    word = "ok" if answer is OK else type(answer).__name__.lower()
    return _row(check.name, look.finding, word)


def _unknown(check: HealthCheck, why: str) -> Examined:
    return Examined(check.name, "nothing", None, None, "", "unknown", why)


def _row(name: str, finding: Finding, word: str) -> Examined:
    if finding.absent is not None:
        gap = str(finding.absent)
        return Examined(name, "nothing", None, None, "", "off", gap)
    measure, advice = finding.measure, list(_advice(finding))
    sees: Sight = "all"
    if finding.unseen is not None:
        sees = "nothing" if measure is None else "a part"
        word = word if finding.broken else "unknown"
    return Examined(
        name,
        sees,
        None if measure is None else measure.observed,
        None if measure is None else measure.limit,
        "" if measure is None else measure.unit,
        word,
        "; ".join(advice),
    )


def _advice(finding: Finding) -> Iterator[str]:
    if finding.over is not None:
        yield str(finding.over)
    if finding.unseen is not None:
        yield str(finding.unseen)


def _cells(row: Examined) -> tuple[str, ...]:
    value, limit = _number(row.value, row.unit), _number(row.limit, row.unit)
    return (row.signal, row.sees, value, limit, row.verdict, row.advice)


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}{unit}" if abs(value) < 10_000 else f"{value:.0f}{unit}"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(padded).rstrip()
