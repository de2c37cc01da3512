"""How long the application's own query takes, compared with before the run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median, median_low, quantiles
from typing import Any, NamedTuple, TypeAlias

from adaptive_backfill._core.answers import OK, Verdict
from adaptive_backfill._core.health import HealthCheck, HealthContext
from adaptive_backfill._core.rules import is_number
from adaptive_backfill.errors import ConfigurationError, HealthCheckTimeout
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._finding import Finding, Gap, measured
from adaptive_backfill.postgres._monitor_connection import MonitorConnection
from adaptive_backfill.postgres._signal import ANSWERS, load_of, verdict_of
from adaptive_backfill.postgres._source import (
    Source,
    Unusable,
    database_of,
    source_problems,
)
from adaptive_backfill.postgres._telling import tell_absent
from adaptive_backfill.postgres._terms import Action, Terms
from adaptive_backfill.postgres._timing import CutShort, Faulty, timed

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
"""With fewer there is no measure of what is usual; and a later look, in which each
takes so long, is only believed where they all say the same."""

_LEFT_OUT = "left out"
"""Remembered of a look at one that has never worked."""

_CORRECT = "correct the query, or grant what it needs; until then it is left out"
_QUICKER = "take a quicker query, or raise health_timeout; until then it is left out"


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

    A query that fails at the first look, or cannot be timed fifteen times, is left out
    of the run with one warning, and counts from when it works. Once it has worked, one
    that raises is unhealthy. So it is at any time where the server is to blame, or
    there is no connection.

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
        since: When that was, for people.
        finding: The judgement.
        recent: Seconds that the probes of the last looks took, without the first look.
    """

    usual: float
    since: str
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
        except CutShort as cut:
            if last is not None and len(cut.times) == 1:
                raise HealthCheckTimeout(self.name, cut.times[0]) from None
            times = cut.times
        except Faulty as why:
            if last is not None:
                raise why.error from None
            return self._without(Gap(str(why), _CORRECT), context)
        if last is None:
            return self._first(times, context)
        recent = (*last.recent, tuple(times))[-_LOOKS:]
        return self._judged(last._replace(recent=recent), context)

    def _first(self, times: list[float], context: HealthContext) -> Verdict:
        if len(times) < _FIRST + _FEWEST:
            said = f"too slow to be timed more than {len(times)} times"
            return self._without(Gap(said, _QUICKER), context)
        late = context.memory.get(self) == _LEFT_OUT
        since = "when it began to work" if late else "before the run"
        look = _Look(median(times[_FIRST:]), since, Finding())
        return self._judged(look, context)

    def _judged(self, look: _Look, context: HealthContext) -> Verdict:
        now = _told_by(look.recent, look.usual) if look.recent else look.usual
        note = f"{now * 1000:.2g} ms, {look.usual * 1000:.2g} ms {look.since}"
        finding = measured(self.name, now / look.usual, self.budget, note=note)
        context.memory[self] = look._replace(finding=finding)
        return verdict_of(finding, self.terms)

    def _without(self, gap: Gap, context: HealthContext) -> Verdict:
        """Do without one that never worked: the run would wait for ever for it."""
        context.memory[self] = _LEFT_OUT
        tell_absent(self.name, gap, context)
        return OK

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
        async with line.turn(context.untimed) as connection:
            return await timed(self._once, connection, count)

    async def _once(self, connection: Connection) -> None:
        if isinstance(self.query, str):
            # Told by its text: pg_stat_statements has it, and it is not the users'.
            await connection.fetch(f"{self.query}\n/* adaptive_backfill */")
        else:
            await self.query(connection)


def _told_by(recent: Sequence[Sequence[float]], usual: float) -> float:
    """Return what a probe takes now, by the *recent* looks.

    A lone one may be a slow second, as the first of a run often is: it is as long as
    *usual*, unless seven in eight of its probes took longer. In a look with few, each
    took so long that they need no other look beside them where all took longer. Each
    look weighs the same: a slow one has fewer probes, and is to count no less for it.
    """
    latest, together = recent[-1], median_low(map(median, recent))
    few = len(latest) < _FEWEST
    least = min(latest) if few else quantiles(latest, n=8)[0]
    if len(recent) == 1:
        together = min(together, usual)
    elif not few:
        return together
    return max(least, together)
