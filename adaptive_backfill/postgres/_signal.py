"""A signal: what to ask a database, and what its answer means.

Rule: a signal is SQL and a pure judgement; everything about connections, turns, time
and what is remembered is here, once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import anyio
import asyncpg

from adaptive_backfill._core.answers import OK, Halt, Pause, Slow, Verdict, badness
from adaptive_backfill._core.health import HealthCheck, HealthContext, Load
from adaptive_backfill.errors import ConfigurationError, HealthCheckTimeout
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._finding import Finding, Gap
from adaptive_backfill.postgres._limits import seconds_left
from adaptive_backfill.postgres._monitor_connection import MonitorConnection
from adaptive_backfill.postgres._source import (
    Source,
    Unusable,
    database_of,
    source_problems,
)
from adaptive_backfill.postgres._telling import tell_absent, tell_unseen
from adaptive_backfill.postgres._terms import Action, Terms
from adaptive_backfill.postgres.capabilities import Absent, Capabilities

__all__ = [
    "ANSWERS",
    "Judge",
    "Look",
    "Row",
    "Signal",
    "health_check",
    "last_look",
    "load_of",
    "patient",
    "verdict_of",
]

Row: TypeAlias = Mapping[str, Any]
Judge: TypeAlias = Callable[[Sequence[Row], object], Finding]

ANSWERS: dict[str, Callable[[object], Verdict]] = {
    "halt": Halt,
    "pause": Pause,
    "slow": Slow,
}

NEAR = 0.7
"""The share of a limit from which on a run does not grow: that of the pacer."""

# A server that answers so will answer so next time too.
_CANNOT_TELL = (
    asyncpg.FeatureNotSupportedError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedObjectError,
    asyncpg.UndefinedTableError,
)


@dataclass(frozen=True, slots=True)
class Signal:
    """One thing that a database can be asked.

    Attributes:
        sql: One statement that reads, valid on PostgreSQL 13 to 18; or what makes it
            from what the server can tell, and raises `Absent` where it cannot.
        judge: Takes its rows, and what the look before remembered (`None` at a run's
            first); pure.
        args: Returns what its `$1`, `$2`, … stand for, at each look.
        every: Seconds in which a judgement holds, for what is dear to ask.
        paces: For what rises with the work that is done, whether a run may go as fast
            as it allows, or is only held back by it, when it is near its limit.
    """

    sql: str | Callable[[Capabilities], str]
    judge: Judge
    args: Callable[[], tuple[object, ...]] = tuple
    every: float = 0.0
    paces: Literal["as it allows", "near its limit"] | None = None


class Look(NamedTuple):
    """What was found, and when by the event loop's clock."""

    finding: Finding
    at: float

    @property
    def worked(self) -> bool:
        """Whether the server could tell."""
        return self.finding.absent is None


def health_check(
    title: str,
    signal: Signal,
    source: Source,
    terms: Terms,
    *problems: str,
) -> HealthCheck:
    """Return the check of *signal* at *source*.

    Args:
        title: The check's own name.
        signal: What to ask.
        source: Where.
        terms: What to make of it.
        problems: What is wrong with the signal's limits.

    Raises:
        ConfigurationError: Something is wrong; all of it.
    """
    found = [*source_problems(source), *problems, *terms.problems()]
    if found:
        raise ConfigurationError(found, subject=title)
    name = terms.name or title
    asks = _Asks(name, signal, source, terms, terms.unknown)
    return HealthCheck(asks, name=name, on_error=asks.unknown)


def patient(check: HealthCheck) -> HealthCheck:
    """Return *check*, but one that only pauses while it cannot tell."""
    if not isinstance(check.fn, _Asks):
        return check
    asks = replace(check.fn, unknown="pause")
    return HealthCheck(asks, name=check.name, on_error="pause")


def last_look(check: HealthCheck, context: HealthContext) -> Look | None:
    """Return what *check* found last in the run of *context*, healthy or not."""
    found = context.memory.get(check.fn)
    return found if isinstance(found, Look) else None


@dataclass(frozen=True, eq=False, slots=True)
class _Asks:
    """Asks one signal. Knows nothing of any run: that is in the run's memory."""

    name: str
    signal: Signal
    source: Source
    terms: Terms
    unknown: Action

    async def __call__(self, context: HealthContext) -> Verdict:
        found = context.memory.get(self)
        last = found if isinstance(found, Look) else None
        if last is not None and self._still_holds(last):
            return verdict_of(last.finding, self.terms)
        try:
            rows = await self._rows(context)
        except Unusable as why:
            return ANSWERS[self.unknown](str(why))
        except _CANNOT_TELL as error:
            if last is not None and last.worked:
                raise
            gap = Gap(f"the server cannot tell: {error}", f"leave {self.name} out")
            return self._without(gap, last, context)
        if isinstance(rows, Gap):
            return self._without(rows, last, context)
        finding = self.signal.judge(rows, last.finding.memory if last else None)
        self._remember(finding, context)
        if finding.unseen is not None:
            tell_unseen(self.name, finding.unseen, context, self.terms)
        return verdict_of(finding, self.terms)

    def _still_holds(self, last: Look) -> bool:
        if last.finding.measure is None:
            return False
        return anyio.current_time() - last.at < self.signal.every

    async def _rows(self, context: HealthContext) -> list[Row] | Gap:
        database = await database_of(self.source, context.pool)
        line = MonitorConnection.of(database, context)
        async with line.turn(context.untimed) as connection:
            limit = seconds_left()
            try:
                sql = await self._sql(line, connection, limit)
                # Never in a transaction, where statistics are frozen.
                args = self.signal.args()
                records = await connection.fetch(sql, *args, timeout=seconds_left())
            except Absent as why:
                # Not raised: nothing is wrong with the connection.
                return why.gap
            except TimeoutError:
                raise HealthCheckTimeout(self.name, limit) from None
        return [dict(record) for record in records]

    async def _sql(
        self, line: MonitorConnection, connection: Connection, limit: float
    ) -> str:
        sql = self.signal.sql
        if not isinstance(sql, str):
            sql = sql(await line.capabilities(connection, limit))
        # Behind it, where pg_stat_statements keeps it: our own does not count there.
        return f"{sql}\n/* adaptive_backfill */"

    def _without(self, gap: Gap, last: Look | None, context: HealthContext) -> Verdict:
        """Do without a signal that this server never told."""
        if last is not None and last.worked:
            return ANSWERS[self.unknown](str(gap))
        # Not held against the run: it would wait for ever for what does not exist.
        tell_absent(self.name, gap, context)
        self._remember(Finding(absent=gap), context)
        return OK

    def _remember(self, finding: Finding, context: HealthContext) -> None:
        context.memory[self] = Look(finding, anyio.current_time())

    def load(self, context: HealthContext) -> Load | None:
        """Return how near to its limit it was last, where a run paces itself by it.

        And when that was: the same look again shows nothing of what was changed since.
        """
        found, paces = context.memory.get(self), self.signal.paces
        if paces is None or not isinstance(found, Look):
            return None
        load = load_of(found.finding, self.terms, allows=paces == "as it allows")
        return None if load is None else Load(load, found.at)


def verdict_of(finding: Finding, terms: Terms) -> Verdict:
    """Return what *terms* make of *finding*."""
    verdicts: list[Verdict] = [OK]
    if finding.over is not None:
        verdicts.append(ANSWERS[terms.action](finding.over))
    if finding.unseen is not None and not terms.allow_blind:
        verdicts.append(Pause(str(finding.unseen)))
    return max(verdicts, key=badness)


def load_of(finding: Finding, terms: Terms, *, allows: bool) -> float | None:
    """Return how near to its limit *finding* is, where a run is to pace itself by it.

    That is where it slows the run: what pauses or halts one is a budget, of which
    nothing is to be used up little by little.

    Args:
        finding: The last one.
        terms: What to make of it.
        allows: Whether a run may take on work as long as it is far from its limit. So
            for what users feel; of anything else, being far from it says nothing.
    """
    if terms.action != "slow" or finding.measure is None:
        return None
    return finding.share if allows or finding.share >= NEAR else None
