"""Replication slots: what WAL they keep, and whether they can still be served."""

from __future__ import annotations

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill.postgres._finding import MEBIBYTES
from adaptive_backfill.postgres._signal import Signal, health_check
from adaptive_backfill.postgres._source import Source
from adaptive_backfill.postgres._terms import Action, Terms
from adaptive_backfill.postgres.signals.kinds import gauge

__all__ = ["endangered_slots", "slot_lag"]

# A logical slot keeps more than its consumer has left to do: transactions that were
# open then. What counts is what the consumer has confirmed.
_LAG = """
SELECT coalesce(max(behind), 0)::float8 AS observed,
       (array_agg(slot_name::text ORDER BY behind DESC NULLS LAST))[1] AS note
FROM (
    SELECT slot_name, pg_wal_lsn_diff(
               CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                    ELSE pg_current_wal_lsn() END,
               coalesce(confirmed_flush_lsn, restart_lsn)) AS behind
    FROM pg_replication_slots
) AS slots
"""

_ENDANGERED = """
SELECT count(*) AS observed,
       string_agg(format('%s is %s', slot_name, wal_status), ', ' ORDER BY slot_name)
           AS note
FROM pg_replication_slots
WHERE wal_status IN ('unreserved', 'lost')
"""


def slot_lag(
    pool: Source = None,
    *,
    limit: int = 2**30,
    action: Action = "pause",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while a replication slot is too far behind, in use or not.

    It keeps that much WAL on the disk. Needs no grant.

    Args:
        limit: Bytes of WAL, 0 or more.
    """
    signal = Signal(_LAG, gauge("slot_lag", limit, MEBIBYTES))
    terms = Terms(action, name)
    return health_check("slot_lag", signal, pool, terms, *MEBIBYTES.problems(limit))


def endangered_slots(
    pool: Source = None, *, action: Action = "halt", name: str | None = None
) -> HealthCheck:
    """Unhealthy while a slot has lost WAL that it needs, or is about to.

    Its consumer has to be set up anew then. Needs no grant.
    """
    signal = Signal(_ENDANGERED, gauge("endangered_slots", 0))
    return health_check("endangered_slots", signal, pool, Terms(action, name))
