"""How fast WAL is written, and whether checkpoints keep up with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill.postgres._finding import (
    MEBIBYTES_A_SECOND,
    NUMBER,
    Finding,
    measured,
)
from adaptive_backfill.postgres._signal import Judge, Row, Signal, health_check
from adaptive_backfill.postgres._source import Source
from adaptive_backfill.postgres._terms import Action, Terms
from adaptive_backfill.postgres.capabilities import Capabilities
from adaptive_backfill.postgres.signals.kinds import gauge, rate

__all__ = ["checkpoint_pressure", "requested_checkpoints", "wal_rate"]

# The position in the log: a counter that no reset of the statistics touches.
_WAL = """
SELECT 0 AS since, extract(epoch FROM clock_timestamp())::float8 AS at, true AS counted,
       pg_wal_lsn_diff(
           CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()
                ELSE pg_current_wal_lsn() END, '0/0')::float8 AS value
"""

_PRESSURE = """
SELECT pg_wal_lsn_diff(
           CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                ELSE pg_current_wal_lsn() END, redo_lsn)::float8
       / greatest(1, (SELECT setting::float8 * 1024 * 1024 FROM pg_settings
                      WHERE name = 'max_wal_size')) AS observed
FROM pg_control_checkpoint()
"""

_REQUESTED = """
SELECT {requested}::int8 AS value,
       greatest(stats_reset, pg_postmaster_start_time()) AS since,
       extract(epoch FROM clock_timestamp())::float8 AS at
FROM {view}
"""

_RECENT_SECONDS = 60.0


def wal_rate(
    pool: Source = None,
    *,
    limit: float = 64 * 2**20,
    action: Action = "slow",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while WAL is written too fast, by whomever. Needs no grant.

    Args:
        limit: Bytes a second, 0 or more: half of what replicas and the archive can
            take is a good one.
    """
    judge = rate("wal_rate", limit, MEBIBYTES_A_SECOND)
    problems = MEBIBYTES_A_SECOND.problems(limit)
    return health_check(
        "wal_rate",
        Signal(_WAL, judge, paces="near its limit"),
        pool,
        Terms(action, name),
        *problems,
    )


def checkpoint_pressure(
    pool: Source = None,
    *,
    limit: float = 1.0,
    action: Action = "slow",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while more WAL was written since the last checkpoint than is wanted.

    Needs no grant.

    Args:
        limit: WAL since then, as a multiple of `max_wal_size`; 0 or more.
    """
    signal = Signal(_PRESSURE, gauge("checkpoint_pressure", limit))
    problems = NUMBER.problems(limit)
    return health_check(
        "checkpoint_pressure", signal, pool, Terms(action, name), *problems
    )


def requested_checkpoints(
    pool: Source = None,
    *,
    limit: float = 0,
    action: Action = "slow",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy for a minute after a checkpoint that came before its time.

    Most are requested because `max_wal_size` is full; a base backup and the command
    CHECKPOINT request one too. Needs no grant.

    Args:
        limit: Checkpoints requested in a minute, 0 or more.
    """
    return health_check(
        "requested_checkpoints",
        Signal(_requested, _lately(limit)),
        pool,
        Terms(action, name),
        *NUMBER.problems(limit),
    )


def _requested(server: Capabilities) -> str:
    if server.checkpointer:
        return _REQUESTED.format(requested="num_requested", view="pg_stat_checkpointer")
    return _REQUESTED.format(requested="checkpoints_req", view="pg_stat_bgwriter")


class _Sample(NamedTuple):
    since: object
    at: float
    value: int


class _Minute(tuple[_Sample, ...]):
    """The samples of the last minute, the oldest first."""

    __slots__ = ()


def _lately(limit: object) -> Judge:
    def judge(rows: Sequence[Row], memory: object) -> Finding:
        row = rows[0]
        now = _Sample(row["since"], row["at"], row["value"])
        before = memory if isinstance(memory, _Minute) else _Minute()
        if before and before[-1].value > now.value:
            before = _Minute()
        kept = _Minute(
            sample
            for sample in (*before, now)
            if sample.since == now.since and now.at - sample.at <= _RECENT_SECONDS
        )
        if not before:
            return Finding(memory=kept)
        requested = now.value - kept[0].value
        found = measured("requested_checkpoints", requested, NUMBER.number(limit))
        return found._replace(memory=kept)

    return judge
