"""The state of the server itself: what needs a person."""

from __future__ import annotations

from collections.abc import Sequence

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill.postgres._finding import NUMBER, Finding, measured
from adaptive_backfill.postgres._signal import Row, Signal, health_check
from adaptive_backfill.postgres._source import Source
from adaptive_backfill.postgres._terms import Action, Terms
from adaptive_backfill.postgres.signals.kinds import gauge

__all__ = ["read_only", "server_restarted", "xid_age"]

# Two billion is the end.
_XID_AGE = """
SELECT greatest(age(datfrozenxid), mxid_age(datminmxid)) AS observed,
       CASE WHEN age(datfrozenxid) < mxid_age(datminmxid) THEN 'multixacts'
            ELSE 'transactions' END AS note
FROM pg_database
WHERE datname = current_database()
"""

_READ_ONLY = """
SELECT (pg_is_in_recovery() OR current_setting('transaction_read_only')::bool)::int
           AS observed,
       CASE WHEN pg_is_in_recovery() THEN 'in recovery'
            ELSE 'transaction_read_only' END AS note
"""

_STARTED = "SELECT pg_postmaster_start_time() AS started"


def xid_age(
    pool: Source = None,
    *,
    limit: float = 1_200_000_000,
    action: Action = "halt",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while the database runs out of transaction ids. Needs no grant.

    Args:
        limit: The age of the oldest unfrozen transaction, or multixact; 0 or more.
    """
    signal = Signal(_XID_AGE, gauge("xid_age", limit))
    problems = NUMBER.problems(limit)
    return health_check("xid_age", signal, pool, Terms(action, name), *problems)


def read_only(
    pool: Source = None, *, action: Action = "halt", name: str | None = None
) -> HealthCheck:
    """Unhealthy while nothing can be written: after a failover, say. Needs no grant."""
    signal = Signal(_READ_ONLY, gauge("read_only", 0))
    return health_check("read_only", signal, pool, Terms(action, name))


def server_restarted(
    pool: Source = None, *, action: Action = "halt", name: str | None = None
) -> HealthCheck:
    """Unhealthy at the look after the server was started again, or is another one.

    Counters take new baselines by themselves then. Needs no grant.
    """
    signal = Signal(_STARTED, _restarted)
    return health_check("server_restarted", signal, pool, Terms(action, name))


def _restarted(rows: Sequence[Row], memory: object) -> Finding:
    started = rows[0]["started"]
    is_another = memory is not None and memory != started
    found = measured("server_restarted", int(is_another), 0, note=f"at {started}")
    return found._replace(memory=started)
