"""Transactions that PostgreSQL had to cancel because of one another."""

from __future__ import annotations

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill.postgres._finding import NUMBER
from adaptive_backfill.postgres._signal import Signal, health_check
from adaptive_backfill.postgres._source import Source
from adaptive_backfill.postgres._terms import Action, Terms
from adaptive_backfill.postgres.signals.kinds import COUNTING, growth

__all__ = ["deadlocks", "recovery_conflicts"]

_CANCELLED = f"""
SELECT {{counter}}::int8 AS value, {COUNTING}
FROM pg_stat_database
WHERE datname = current_database()
"""


def deadlocks(
    pool: Source = None,
    *,
    limit: float = 0,
    action: Action = "slow",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy at the look after a deadlock in this database. Needs no grant.

    Args:
        limit: Deadlocks between two looks, 0 or more.
    """
    signal = Signal(_CANCELLED.format(counter="deadlocks"), growth("deadlocks", limit))
    terms, problems = Terms(action, name), NUMBER.problems(limit)
    return health_check("deadlocks", signal, pool, terms, *problems)


def recovery_conflicts(
    dsn: Source,
    *,
    limit: float = 0,
    action: Action = "slow",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy at the look after a standby cancelled queries to go on replaying.

    Needs no grant.

    Args:
        dsn: The standby's; or a pool on it.
        limit: Queries between two looks, 0 or more.
    """
    sql = _CANCELLED.format(counter="conflicts")
    signal = Signal(sql, growth("recovery_conflicts", limit))
    terms, problems = Terms(action, name), NUMBER.problems(limit)
    return health_check("recovery_conflicts", signal, dsn, terms, *problems)
