"""How far replicas are behind, seen from the primary or from themselves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill._core.rules import is_count
from adaptive_backfill.postgres._finding import (
    MEBIBYTES,
    SECONDS,
    Finding,
    Gap,
    measured,
    worse,
)
from adaptive_backfill.postgres._signal import Judge, Row, Signal, health_check
from adaptive_backfill.postgres._source import Source
from adaptive_backfill.postgres._terms import Action, Terms
from adaptive_backfill.postgres.signals.activity import GRANT
from adaptive_backfill.postgres.signals.kinds import gauge

__all__ = ["replay_lag", "replicas", "standby_lag"]

_LIMIT_BYTES = 128 * 2**20

# A base backup is no replica. A role without the grant sees a row for each sender, but
# nothing in it.
_SENDERS = """
SELECT r.pid, coalesce(nullif(r.application_name, ''), 'pid ' || r.pid) AS name,
       r.state IS NULL AS hidden, current_user::text AS role,
       extract(epoch FROM clock_timestamp())::float8 AS at,
       pg_wal_lsn_diff(r.replay_lsn, '0/0')::int8 AS replayed,
       greatest(pg_wal_lsn_diff(p.lsn, r.replay_lsn), 0)::int8 AS behind,
       extract(epoch FROM r.replay_lag)::float8 AS lag
FROM pg_stat_replication AS r
CROSS JOIN (
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()
                ELSE pg_current_wal_lsn() END AS lsn
) AS p
WHERE r.state IS NULL OR r.state IN ('streaming', 'catchup')
"""

_REPLICAS = f"""
SELECT count(*) AS observed, string_agg(name, ', ' ORDER BY name) AS note
FROM ({_SENDERS}) AS senders
"""

# Equal positions mean no lag, however long ago the last transaction was; but only
# where WAL still arrives.
_STANDBY = """
SELECT pg_is_in_recovery() AS is_standby,
       EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status IS NULL
               OR status = 'streaming') AS receives,
       extract(epoch FROM clock_timestamp())::float8 AS at,
       coalesce(greatest(pg_wal_lsn_diff(
           pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0), 0)::int8 AS behind,
       extract(epoch FROM clock_timestamp()
               - pg_last_xact_replay_timestamp())::float8 AS age
"""


def replay_lag(
    pool: Source = None,
    *,
    limit: float | timedelta = 5.0,
    limit_bytes: int = _LIMIT_BYTES,
    action: Action = "pause",
    name: str | None = None,
    allow_blind: bool = False,
) -> HealthCheck:
    """Unhealthy while a replica is too far behind in replaying, seen from the primary.

    A replica that has stopped replaying reports no new lag: it is as far behind as
    the time since it last came forward. One that has gone is not seen any more; see
    `replicas`.

    Args:
        limit: Seconds, or a timedelta, of 0 or more.
        limit_bytes: Bytes of WAL, 0 or more.
    """
    return health_check(
        "replay_lag",
        Signal(_SENDERS, _furthest_behind(limit, limit_bytes)),
        pool,
        Terms(action, name, allow_blind),
        *SECONDS.problems(limit),
        *MEBIBYTES.problems(limit_bytes, "limit_bytes"),
    )


def replicas(
    pool: Source = None,
    *,
    limit: int,
    action: Action = "pause",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while fewer replicas are connected than there should be.

    Needs no grant. Logical subscribers count too.

    Args:
        limit: How many there should be at least; 0 or more.
    """
    problems = []
    if not is_count(limit, least=0):
        problems.append(f"limit must be an int of 0 or more, not {limit!r}")
    signal = Signal(_REPLICAS, gauge("replicas", limit, sign="<"))
    return health_check("replicas", signal, pool, Terms(action, name), *problems)


def standby_lag(
    dsn: Source,
    *,
    limit: float | timedelta = 5.0,
    limit_bytes: int = _LIMIT_BYTES,
    action: Action = "pause",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while a standby is too far behind in replaying, asked of itself.

    Needs no grant. Also unhealthy where the server is no standby (any more).

    Args:
        dsn: The standby's; or a pool on it.
        limit: Seconds, or a timedelta, of 0 or more.
        limit_bytes: Bytes of WAL received and not replayed; 0 or more.
    """
    return health_check(
        "standby_lag",
        Signal(_STANDBY, _apply_lag(limit, limit_bytes)),
        dsn,
        Terms(action, name),
        *SECONDS.problems(limit),
        *MEBIBYTES.problems(limit_bytes, "limit_bytes"),
    )


class _Position(NamedTuple):
    """Where a replica was, and when it last came forward or had nothing to do."""

    replayed: int
    moved_at: float


class _Positions(dict[int, _Position]):
    """By the process that sends to the replica."""


def _furthest_behind(limit: object, limit_bytes: object) -> Judge:
    def judge(rows: Sequence[Row], memory: object) -> Finding:
        before = memory if isinstance(memory, _Positions) else _Positions()
        after = _Positions()
        worst = Finding()
        if not any(row["hidden"] for row in rows):
            worst = measured("replay_lag", 0.0, SECONDS.number(limit), SECONDS)
        for row in rows:
            if row["hidden"] or row["replayed"] is None:
                continue
            moved_at = row["at"]
            last = before.get(row["pid"])
            if row["behind"] and last and last.replayed == row["replayed"]:
                moved_at = last.moved_at
            after[row["pid"]] = _Position(row["replayed"], moved_at)
            # The last lag reported stays there after all was replayed.
            told = (row["lag"] or 0.0) if row["behind"] else 0.0
            seconds = max(told, row["at"] - moved_at)
            lag = _lag("replay_lag", seconds, row["behind"], limit, limit_bytes, row)
            worst = worse(worst, lag)
        return worst._replace(unseen=_unseen(rows), memory=after)

    return judge


def _apply_lag(limit: object, limit_bytes: object) -> Judge:
    def judge(rows: Sequence[Row], memory: object) -> Finding:
        row = rows[0]
        if not row["is_standby"]:
            gap = Gap("the server is no standby", "give the DSN of one")
            return Finding(unseen=gap)
        level = row["receives"] and not row["behind"]
        if row["age"] is None and not row["receives"]:
            gap = Gap("the standby receives no WAL", "see to its replication")
            return Finding(unseen=gap)
        # After a quiet time the last transaction is old, and yet nothing is late: it
        # cannot have been behind for longer than since it was last seen level.
        level_at = row["at"] if level else memory
        seconds = 0.0 if level else row["age"] or 0.0
        if isinstance(level_at, float):
            seconds = min(seconds, row["at"] - level_at)
        lag = _lag("standby_lag", seconds, row["behind"], limit, limit_bytes, row)
        return lag._replace(memory=level_at)

    return judge


def _lag(
    signal: str,
    seconds: float,
    behind: int,
    limit: object,
    limit_bytes: object,
    row: Row,
) -> Finding:
    note = row.get("name")
    most, most_bytes = SECONDS.number(limit), MEBIBYTES.number(limit_bytes)
    in_time = measured(signal, seconds, most, SECONDS, note=note)
    in_bytes = measured(f"{signal}_bytes", behind, most_bytes, MEBIBYTES, note=note)
    return worse(in_time, in_bytes)


def _unseen(rows: Sequence[Row]) -> Gap | None:
    hidden = sum(row["hidden"] for row in rows)
    if not hidden:
        return None
    return Gap(
        f"cannot see how far replicas are behind ({hidden} hidden now)",
        GRANT.format(role=rows[0]["role"]),
    )
