"""How long the application's own query takes, compared with before the run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median, quantiles
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias

import anyio

from adaptive_backfill._core.answers import Verdict
from adaptive_backfill._core.health import HealthCheck, HealthContext
from adaptive_backfill._core.rules import is_number
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._finding import Finding, measured
from adaptive_backfill.postgres._limits import seconds_left
from adaptive_backfill.postgres._monitor_connection import MonitorConnection
from adaptive_backfill.postgres._signal import ANSWERS, load_of, verdict_of
from adaptive_backfill.postgres._source import (
    Source,
    Unusable,
    database_of,
    source_problems,
)
from adaptive_backfill.postgres._terms import Action, Terms

__all__ = ["Probed", "latency_probe"]

Probed: TypeAlias = str | Callable[[Any], Awaitable[object]]
"""What is timed: a query, or a callable of the connection."""

_FIRST = 5
"""Probes that do not count: plans and caches are cold in them."""

_USUAL = 100
"""Probes before the run. The noise of a median goes down with the root of them."""

_PROBES = 40
"""Probes of each later look."""

_LOOKS = 3
"""Looks that count together: one slow second says little, and two say enough."""

_FEWEST = 10
"""A look with fewer, because each takes so long, says nothing."""

_SECONDS_BETWEEN = 0.01
"""Between two probes, on the average. Even gaps could keep step with something."""

_SHARE_OF_TIME = 0.5
"""Of the time that a check may take."""


def latency_probe(
    query: Probed,
    *,
    budget: float = 3.0,
    pool: Source = None,
    action: Action = "slow",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while a query of the application takes longer than it used to.

    The query is timed some forty times at each look, on the monitor's connection. The
    index is the median of the last three looks against that of a hundred times before
    the first batch of the run, which is frozen; the first look of a run counts only
    where nearly all of it is slow. With `pace = Adaptive()` a run is as fast as it can
    be with the index under the budget.

    Choose what users wait for: a lookup by key, or better the write that matters most,
    as a callable, on a row that is nobody's.

    Args:
        query: SQL without parameters, or ``async def probe(connection)``. It runs on
            a connection in autocommit, hundreds of times.
        budget: The index that is allowed; more than 1.
        pool: Where; the run's own pool by default.

    Raises:
        ConfigurationError: An argument is out of its bounds.
    """
    terms = Terms(action, name)
    problems = [*source_problems(pool), *terms.problems()]
    if not (query.strip() if isinstance(query, str) else callable(query)):
        problems.append(f"query must be SQL, or an async callable, not {query!r}")
    if not is_number(budget) or budget <= 1:
        problems.append(f"budget must be a number above 1, not {budget!r}")
    if problems:
        raise ConfigurationError(problems, subject="latency_probe")
    title = name or "latency_probe"
    probe = _Probe(title, query, float(budget), pool, terms)
    return HealthCheck(probe, name=title, on_error=terms.unknown)


class _Look(NamedTuple):
    """What was found last.

    Attributes:
        usual: Seconds that a probe took before the run.
        finding: The judgement.
        recent: Seconds that the probes of the last looks took, without the first look.
    """

    usual: float
    finding: Finding
    recent: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class _Probe:
    """Times one query. Knows nothing of any run: that is in the run's memory."""

    name: str
    query: Probed
    budget: float
    source: Source
    terms: Terms

    async def __call__(self, context: HealthContext) -> Verdict:
        last = self._last(context)
        try:
            times = await self._times(context, _PROBES if last else _FIRST + _USUAL)
        except Unusable as why:
            return ANSWERS[self.terms.unknown](str(why))
        if last is None:
            times = times[_FIRST:]
        if len(times) < _FEWEST:
            said = f"{self.name}: too slow to be timed more than {len(times)} times"
            return ANSWERS[self.terms.unknown](said)
        if last is None:
            usual = now = median(times)
            recent: tuple[tuple[float, ...], ...] = ()
        else:
            usual, recent = last.usual, (*last.recent, tuple(times))[-_LOOKS:]
            now = _told_by(recent, usual)
        note = f"{now * 1000:.2g} ms, {usual * 1000:.2g} ms before the run"
        finding = measured(self.name, now / usual, self.budget, note=note)
        context.memory[self] = _Look(usual, finding, recent)
        return verdict_of(finding, self.terms)

    def load(self, context: HealthContext) -> float | None:
        """Return how near to its budget the index was at the last look."""
        last = self._last(context)
        if last is None:
            return None
        return load_of(last.finding, self.terms, allows=True)

    def _last(self, context: HealthContext) -> _Look | None:
        found = context.memory.get(self)
        return found if isinstance(found, _Look) else None

    async def _times(self, context: HealthContext, count: int) -> list[float]:
        database = await database_of(self.source, context.pool)
        line = MonitorConnection.of(database, context)
        times: list[float] = []
        async with line.turn(context.untimed) as connection:
            until = anyio.current_time() + seconds_left() * _SHARE_OF_TIME
            while len(times) < count and anyio.current_time() < until:
                began = perf_counter()
                await self._once(connection)
                times.append(perf_counter() - began)
                await asyncio.sleep(random.uniform(0.5, 1.5) * _SECONDS_BETWEEN)
        return times

    async def _once(self, connection: Connection) -> None:
        if isinstance(self.query, str):
            # Told by its text: pg_stat_statements has it, and it is not the users'.
            await connection.fetch(f"{self.query}\n/* adaptive_backfill */")
        else:
            await self.query(connection)


def _told_by(recent: Sequence[Sequence[float]], usual: float) -> float:
    """Return what a probe takes now, by the *recent* looks.

    A lone one may be a slow second, as the first of a run often is: it is as long as
    *usual*, unless seven in eight of its probes took longer.
    """
    if len(recent) > 1:
        return median(chain.from_iterable(recent))
    (times,) = recent
    return max(quantiles(times, n=8)[0], min(median(times), usual))
