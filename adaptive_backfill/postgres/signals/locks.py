"""Who waits for a lock, and who waits for one of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill._core.rules import is_name
from adaptive_backfill.postgres._finding import NUMBER, SECONDS, Finding, measured
from adaptive_backfill.postgres._signal import Judge, Row, Signal, health_check
from adaptive_backfill.postgres._source import Source
from adaptive_backfill.postgres._terms import Action, Terms
from adaptive_backfill.postgres.capabilities import Capabilities

__all__ = ["blocked_by_us", "lock_waits"]

_WAITERS = """
SELECT pid, extract(epoch FROM clock_timestamp() - max({since}))::float8 AS seconds,
       bool_and({known}) AS known
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE NOT l.granted AND a.datname = current_database()
GROUP BY pid
"""

# Only waiters are asked for whom they wait: that takes every partition of the lock
# table for a moment.
_WAITERS_FOR_US = f"""
SELECT pid, seconds, known FROM ({_WAITERS}) AS waiters
WHERE pg_blocking_pids(pid) && ($1::int[] || ARRAY(
    SELECT a.pid FROM pg_stat_activity AS a WHERE starts_with(a.application_name, $2)))
"""


def lock_waits(
    pool: Source = None,
    *,
    limit: int = 5,
    limit_seconds: float | timedelta = 1.0,
    action: Action = "slow",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while too many sessions have been waiting for a lock for too long.

    Needs no grant; on PostgreSQL 13 a session that the role cannot see counts from
    its first moment on.

    Args:
        limit: Sessions, 0 or more.
        limit_seconds: Seconds, or a timedelta, from which a wait counts.
    """
    return health_check(
        "lock_waits",
        Signal(_since(_WAITERS), _many(limit, limit_seconds)),
        pool,
        Terms(action, name),
        *NUMBER.problems(limit),
        *SECONDS.problems(limit_seconds, "limit_seconds"),
    )


def blocked_by_us(
    pool: Source = None,
    *,
    ours: str | Callable[[], Iterable[int]] = "adaptive_backfill",
    limit: float | timedelta = 1.0,
    action: Action = "pause",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while somebody has been waiting too long for a lock that we hold.

    Direct waiters only. Needs no grant; on PostgreSQL 13 a session that the role
    cannot see counts from its first moment on.

    Args:
        ours: How the `application_name` of our sessions begins; or a callable that
            returns their server process ids.
        limit: Seconds, or a timedelta, of 0 or more.
    """
    problems = SECONDS.problems(limit)
    if not (is_name(ours) or callable(ours)):
        problems.append(
            "ours must be the beginning of an application_name, or a callable that "
            f"returns process ids, not {ours!r}"
        )

    def args() -> tuple[object, ...]:
        return ([], ours) if isinstance(ours, str) else (list(ours()), None)

    return health_check(
        "blocked_by_us",
        Signal(_since(_WAITERS_FOR_US), _longest(limit), args),
        pool,
        Terms(action, name),
        *problems,
    )


def _since(waiters: str) -> Callable[[Capabilities], str]:
    def sql(server: Capabilities) -> str:
        if server.lock_waitstart:
            return waiters.format(since="l.waitstart", known="true")
        # A query waits from its beginning, mostly.
        known = "a.query_start IS NOT NULL"
        return waiters.format(since="a.query_start", known=known)

    return sql


def _many(limit: object, limit_seconds: object) -> Judge:
    def judge(rows: Sequence[Row], memory: object) -> Finding:
        least = SECONDS.number(limit_seconds)
        waiting = [wait for wait in map(_seconds, rows) if wait >= least]
        note = f"for {least:g} s or more"
        return measured("lock_waits", len(waiting), NUMBER.number(limit), note=note)

    return judge


def _longest(limit: object) -> Judge:
    def judge(rows: Sequence[Row], memory: object) -> Finding:
        longest = max(map(_seconds, rows), default=0.0)
        note = f"{len(rows)} waiting"
        most = SECONDS.number(limit)
        return measured("blocked_by_us", longest, most, SECONDS, note=note)

    return judge


def _seconds(row: Row) -> float:
    # Of a wait that began a moment ago there is no beginning yet. One that may not be
    # seen is not known to be short.
    if row["seconds"] is None:
        return 0.0 if row["known"] else float("inf")
    return float(row["seconds"])
