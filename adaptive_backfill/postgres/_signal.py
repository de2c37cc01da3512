"""A signal: what to ask a database, and what its answer means.

Rule: a signal is SQL and a pure judgement; everything about connections, turns, time
and what is remembered is here, once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import structlog

from adaptive_backfill._core.answers import (
    OK,
    Halt,
    Measure,
    Pause,
    Slow,
    Verdict,
    badness,
)
from adaptive_backfill._core.health import HealthCheck, HealthContext
from adaptive_backfill._core.rules import is_name
from adaptive_backfill.errors import ConfigurationError, HealthCheckTimeout
from adaptive_backfill.postgres._limits import seconds_left
from adaptive_backfill.postgres._monitor_connection import MonitorConnection
from adaptive_backfill.postgres._source import (
    Source,
    Unusable,
    database_of,
    source_problems,
)

__all__ = ["Action", "Finding", "Row", "Signal", "Terms", "health_check"]

Action: TypeAlias = Literal["halt", "pause", "slow"]
"""What a run does while a limit is broken."""

Row: TypeAlias = Mapping[str, Any]

_ANSWERS: dict[str, Callable[[object], Verdict]] = {
    "halt": Halt,
    "pause": Pause,
    "slow": Slow,
}

_TOLD = "adaptive_backfill.postgres: a blind check was warned of"


class Finding(NamedTuple):
    """What one look at a signal says.

    Attributes:
        over: The limit that is broken, with its numbers; `None` where none is.
        unseen: What could not be seen, and what to do about it.
        memory: Handed to the next judgement of the same run.
    """

    over: Measure | None = None
    unseen: str | None = None
    memory: object = None


@dataclass(frozen=True, slots=True)
class Signal:
    """One thing that a database can be asked.

    Attributes:
        sql: One statement that reads, valid on PostgreSQL 13 to 18.
        judge: Takes its rows, and what the look before remembered (`None` at a run's
            first); pure.
    """

    sql: str
    judge: Callable[[Sequence[Row], object], Finding]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a check makes of a finding.

    Attributes:
        action: What a broken limit leads to.
        name: The check's name, if not its own.
        allow_blind: Whether to go by what is seen where something is not.
    """

    action: Action
    name: str | None = None
    allow_blind: bool = False

    def problems(self) -> list[str]:
        """Return what is wrong with these."""
        found: list[str] = []
        if self.action not in get_args(Action):
            words = " or ".join(map(repr, get_args(Action)))
            found.append(f"action must be {words}, not {self.action!r}")
        if self.name is not None and not is_name(self.name):
            found.append(f"name must be a non-empty str, not {self.name!r}")
        if not isinstance(self.allow_blind, bool):
            found.append(f"allow_blind must be True or False, not {self.allow_blind!r}")
        return found


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
    # Unknown is not healthy: a check that only slows still stops for what it cannot
    # tell, as it does where it is blind.
    unknown: Action = "pause" if terms.action == "slow" else terms.action
    asks = _Asks(name, signal, source, terms, unknown)
    return HealthCheck(asks, name=name, on_error=unknown)


@dataclass(frozen=True, eq=False, slots=True)
class _Asks:
    """Asks one signal. Knows nothing of any run: that is in the run's memory."""

    name: str
    signal: Signal
    source: Source
    terms: Terms
    unknown: Action

    async def __call__(self, context: HealthContext) -> Verdict:
        try:
            rows = await self._rows(context)
        except Unusable as why:
            return _ANSWERS[self.unknown](str(why))
        finding = self.signal.judge(rows, context.memory.get(self))
        context.memory[self] = finding.memory
        if finding.unseen is not None:
            self._warn(finding.unseen, context)
        return self._verdict(finding)

    async def _rows(self, context: HealthContext) -> list[Row]:
        database = await database_of(self.source, context.pool)
        line = MonitorConnection.of(database, context)
        async with line.turn(context.untimed) as connection:
            limit = seconds_left()
            try:
                # Never in a transaction, where statistics are frozen.
                records = await connection.fetch(self.signal.sql, timeout=limit)
            except TimeoutError:
                raise HealthCheckTimeout(self.name, limit) from None
        return [dict(record) for record in records]

    def _verdict(self, finding: Finding) -> Verdict:
        verdicts: list[Verdict] = [OK]
        if finding.over is not None:
            verdicts.append(_ANSWERS[self.terms.action](finding.over))
        if finding.unseen is not None and not self.terms.allow_blind:
            verdicts.append(Pause(finding.unseen))
        return max(verdicts, key=badness)

    def _warn(self, unseen: str, context: HealthContext) -> None:
        # Once a run, whichever check comes first: they lack the same grant.
        if _TOLD not in context.memory:
            context.memory[_TOLD] = True
            structlog.get_logger("adaptive_backfill").warning(
                "health check is blind",
                backfill=context.name,
                run_id=context.run_id,
                check=self.name,
                reason=unseen,
                allowed=self.terms.allow_blind,
            )
