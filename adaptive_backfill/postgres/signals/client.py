"""How our own process is doing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import anyio

from adaptive_backfill._core.answers import Verdict
from adaptive_backfill._core.health import HealthCheck, HealthContext
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.postgres._finding import MILLISECONDS, measured
from adaptive_backfill.postgres._signal import Look, load_of, verdict_of
from adaptive_backfill.postgres._terms import Action, Terms

__all__ = ["event_loop_lag"]

_NAPS = 10
_NAPS_AT_FIRST = 1
_NAP = 0.01


def event_loop_lag(
    *,
    limit: float | timedelta = 0.1,
    action: Action = "slow",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while this process's event loop is late.

    The database looks slow then, and it is we who are: blocking code in a coroutine,
    too much of it, or too little CPU. Looks for a tenth of a second; at a run's
    start, which waits for it, for a tenth of that.

    Args:
        limit: Seconds, or a timedelta, of 0 or more.
    """
    terms = Terms(action, name)
    problems = [*MILLISECONDS.problems(limit), *terms.problems()]
    if problems:
        raise ConfigurationError(problems, subject="event_loop_lag")
    listens = _Listens(MILLISECONDS.number(limit), terms)
    return HealthCheck(listens, name=name or "event_loop_lag", on_error=terms.unknown)


@dataclass(frozen=True, eq=False, slots=True)
class _Listens:
    limit: float
    terms: Terms

    async def __call__(self, context: HealthContext) -> Verdict:
        latest = 0.0
        naps = _NAPS if self in context.memory else _NAPS_AT_FIRST
        for _ in range(naps):
            due = anyio.current_time() + _NAP
            await anyio.sleep_until(due)
            latest = max(latest, anyio.current_time() - due)
        found = measured("event_loop_lag", latest, self.limit, MILLISECONDS)
        context.memory[self] = Look(found, anyio.current_time())
        return verdict_of(found, self.terms)

    def load(self, context: HealthContext) -> float | None:
        """Return how near to its limit the last look was."""
        found = context.memory.get(self)
        if not isinstance(found, Look):
            return None
        return load_of(found.finding, self.terms, allows=False)
