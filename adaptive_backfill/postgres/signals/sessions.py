"""What the sessions of others are doing, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill._core.rules import is_count
from adaptive_backfill.postgres._finding import (
    NUMBER,
    RATIO,
    SECONDS,
    Finding,
    measured,
)
from adaptive_backfill.postgres._signal import Judge, Row, Signal, health_check
from adaptive_backfill.postgres._source import Source
from adaptive_backfill.postgres._terms import Action, Terms
from adaptive_backfill.postgres.signals.activity import (
    OTHERS,
    SIGHT,
    unseen_sessions,
)
from adaptive_backfill.postgres.signals.kinds import gauge

__all__ = [
    "active_sessions",
    "connections",
    "long_waiting_queries",
    "lwlock_io_waits",
]

_LONGEST_QUERY = f"""
WITH {OTHERS}
SELECT {SIGHT}, coalesce(longest.seconds, 0) AS observed,
       concat_ws(', ', 'pid ' || pid, 'app ' || nullif(application_name, '')) AS note
FROM (SELECT 1) AS one
LEFT JOIN LATERAL (
    SELECT pid, application_name, query_s AS seconds
    FROM others
    WHERE state = 'active' AND query_s IS NOT NULL
      AND coalesce(backend_type, '') <> 'parallel worker'
    ORDER BY query_s DESC
    LIMIT 1
) AS longest ON true
"""

_ACTIVE = f"""
WITH {OTHERS}
SELECT {SIGHT},
       count(*) FILTER (WHERE state = 'active') AS active,
       count(*) FILTER (WHERE state = 'active' AND wait_event_type IS NULL) AS on_cpu,
       count(*) FILTER (WHERE state = 'active'
                        AND wait_event_type IN ('LWLock', 'IO')) AS waiting
FROM others
"""

# What is kept for superusers and, from 16 on, for others is nobody's to use.
_CONNECTIONS = """
SELECT used / greatest(1, usable)::float8 AS observed,
       format('%s of %s', used, usable) AS note
FROM (
    SELECT (SELECT sum(numbackends)::float8 FROM pg_stat_database) AS used,
           current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int
           - coalesce(nullif(current_setting('reserved_connections', true), '')::int, 0)
           AS usable
) AS now
"""

_CROWD = 25
_CROWDED = 1.2


def long_waiting_queries(
    pool: Source = None,
    *,
    limit: float | timedelta = 60.0,
    action: Action = "halt",
    name: str | None = None,
    allow_blind: bool = False,
) -> HealthCheck:
    """Unhealthy while a query of somebody else has been running for too long.

    That is an *active* query of a client in the same database, waiting for a lock or
    not. A session that idles in a transaction runs no query and does not count, nor do
    replicas, background processes, and sessions whose `application_name` begins with
    ``adaptive_backfill``.

    Args:
        pool: Where to look.
        limit: Seconds, or a timedelta, of 0 or more.
        action: What a run does meanwhile.
        name: The check's name, in reasons.
        allow_blind: Whether to go by the queries that the role can see. Without it a
            role that lacks `pg_monitor` (or `pg_read_all_stats`) pauses the run: the
            queries of others, hidden from it, are not known to be short.

    Raises:
        ConfigurationError: An argument is out of these bounds.
    """
    judge = gauge("longest_query", limit, SECONDS, unseen=unseen_sessions)
    return health_check(
        "long_waiting_queries",
        Signal(_LONGEST_QUERY, judge),
        pool,
        Terms(action, name, allow_blind),
        *SECONDS.problems(limit),
    )


def active_sessions(
    pool: Source = None,
    *,
    limit: float | None = None,
    cpus: int | None = None,
    action: Action = "slow",
    name: str | None = None,
    allow_blind: bool = False,
) -> HealthCheck:
    """Unhealthy while more sessions of others are at work than the server can serve.

    PostgreSQL does not tell how many CPUs it has. With *cpus*, those sessions count
    that run on one, waiting for nothing. Without, all active ones do, and the limit
    is at least 1.2 times what the run's first look saw.

    Args:
        limit: Sessions; by default *cpus*, or 25.
        cpus: CPUs of the server, 1 or more.
    """
    problems = _crowd_problems(limit, cpus)
    if cpus is not None:
        judge = _crowd("sessions_on_cpu", "on_cpu", cpus if limit is None else limit)
    else:
        least = _CROWD if limit is None else limit
        judge = _crowd("active_sessions", "active", least, above_usual=_CROWDED)
    terms = Terms(action, name, allow_blind)
    return health_check(
        "active_sessions",
        Signal(_ACTIVE, judge, paces="near its limit"),
        pool,
        terms,
        *problems,
    )


def lwlock_io_waits(
    pool: Source = None,
    *,
    limit: float | None = None,
    cpus: int | None = None,
    action: Action = "slow",
    name: str | None = None,
    allow_blind: bool = False,
) -> HealthCheck:
    """Unhealthy while too many sessions of others wait for the disk or inner locks.

    Args:
        limit: Sessions; by default twice *cpus*, or 25 and at least 1.2 times what
            the run's first look saw.
        cpus: CPUs of the server, 1 or more.
    """
    problems = _crowd_problems(limit, cpus)
    if limit is not None:
        judge = _crowd("lwlock_io_waits", "waiting", limit)
    elif cpus is not None:
        judge = _crowd("lwlock_io_waits", "waiting", 2 * cpus)
    else:
        judge = _crowd("lwlock_io_waits", "waiting", _CROWD, above_usual=_CROWDED)
    terms = Terms(action, name, allow_blind)
    return health_check(
        "lwlock_io_waits",
        Signal(_ACTIVE, judge, paces="near its limit"),
        pool,
        terms,
        *problems,
    )


def connections(
    pool: Source = None,
    *,
    limit: float = 0.80,
    action: Action = "slow",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while connections are running out. Needs no grant.

    Args:
        limit: The share, 0 to 1, of `max_connections` less the reserved ones.
    """
    signal = Signal(_CONNECTIONS, gauge("connections", limit, RATIO))
    terms = Terms(action, name)
    return health_check("connections", signal, pool, terms, *RATIO.problems(limit))


def _crowd(
    signal: str, column: str, limit: object, *, above_usual: float | None = None
) -> Judge:
    """Judge a number of sessions, by the usual one too where that is asked for."""

    def judge(rows: Sequence[Row], memory: object) -> Finding:
        row = rows[0]
        # The run's first look, before its first batch, and frozen then: what grows
        # slowly under our own load must not become usual.
        usual = memory if isinstance(memory, int) else row[column]
        most = NUMBER.number(limit)
        if above_usual is not None:
            most = max(most, above_usual * usual)
        found = measured(signal, row[column], most)
        return found._replace(unseen=unseen_sessions(row), memory=usual)

    return judge


def _crowd_problems(limit: object, cpus: object) -> list[str]:
    problems = [] if limit is None else NUMBER.problems(limit)
    if cpus is not None and not is_count(cpus):
        problems.append(f"cpus must be an int of 1 or more, not {cpus!r}")
    return problems
