"""Transactions that are open for long: vacuum removes nothing that they might see."""

from __future__ import annotations

from datetime import timedelta

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill.postgres._finding import SECONDS
from adaptive_backfill.postgres._signal import Signal, health_check
from adaptive_backfill.postgres._source import Source
from adaptive_backfill.postgres._terms import Action, Terms
from adaptive_backfill.postgres.signals.activity import (
    OTHERS,
    SIGHT,
    unseen_sessions,
)
from adaptive_backfill.postgres.signals.kinds import gauge

__all__ = ["idle_in_transaction", "oldest_transaction", "prepared_transactions"]


def _oldest(seconds: str, which: str) -> str:
    return f"""
WITH {OTHERS}
SELECT {SIGHT}, coalesce(oldest.seconds, 0) AS observed,
       concat_ws(', ', 'pid ' || pid, 'app ' || nullif(application_name, '')) AS note
FROM (SELECT 1) AS one
LEFT JOIN LATERAL (
    SELECT pid, application_name, {seconds} AS seconds
    FROM others
    WHERE {which} AND {seconds} IS NOT NULL
    ORDER BY {seconds} DESC
    LIMIT 1
) AS oldest ON true
"""


_OLDEST_TRANSACTION = _oldest("transaction_s", "true")

# How many there are at a moment is noise on a busy server: how old they get is not.
_IDLE_IN_TRANSACTION = _oldest("state_s", "state LIKE 'idle in transaction%'")

_PREPARED = """
SELECT coalesce(extract(epoch FROM max(clock_timestamp() - prepared)), 0)::float8
           AS observed,
       format('%s prepared', count(*)) AS note
FROM pg_prepared_xacts
WHERE database = current_database()
"""


def oldest_transaction(
    pool: Source = None,
    *,
    limit: float | timedelta = 900.0,
    action: Action = "slow",
    name: str | None = None,
    allow_blind: bool = False,
) -> HealthCheck:
    """Unhealthy while a transaction of somebody else has been open for too long.

    Vacuum then cannot follow the backfill.

    Args:
        limit: Seconds, or a timedelta, of 0 or more.
    """
    judge = gauge("oldest_transaction", limit, SECONDS, unseen=unseen_sessions)
    return health_check(
        "oldest_transaction",
        Signal(_OLDEST_TRANSACTION, judge),
        pool,
        Terms(action, name, allow_blind),
        *SECONDS.problems(limit),
    )


def idle_in_transaction(
    pool: Source = None,
    *,
    limit: float | timedelta = 300.0,
    action: Action = "slow",
    name: str | None = None,
    allow_blind: bool = False,
) -> HealthCheck:
    """Unhealthy while a session has been idle in its transaction for too long.

    Args:
        limit: Seconds, or a timedelta, of 0 or more.
    """
    judge = gauge("idle_in_transaction", limit, SECONDS, unseen=unseen_sessions)
    return health_check(
        "idle_in_transaction",
        Signal(_IDLE_IN_TRANSACTION, judge),
        pool,
        Terms(action, name, allow_blind),
        *SECONDS.problems(limit),
    )


def prepared_transactions(
    pool: Source = None,
    *,
    limit: float | timedelta = 900.0,
    action: Action = "slow",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while a prepared transaction has been left for too long.

    Needs no grant.

    Args:
        limit: Seconds, or a timedelta, of 0 or more.
    """
    return health_check(
        "prepared_transactions",
        Signal(_PREPARED, gauge("oldest_prepared", limit, SECONDS)),
        pool,
        Terms(action, name),
        *SECONDS.problems(limit),
    )
