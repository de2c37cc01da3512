"""Health checks that ask a PostgreSQL server.

Each takes the pool first: an asyncpg pool, a callable (sync or async) that returns
one, a DSN, or nothing for the run's own. All checks of a run on one pool take turns on
one connection, in autocommit; a DSN is connected to once a sampling, as
`adaptive_backfill:<name>`. What is remembered between two looks belongs to the run, so
a check may be shared by classes, by runs at the same time, and by event loops.

Further, by keyword:

* *limit*: the number from which on it is unhealthy, in the unit that the check says.
* *action*: what a run does then: `"halt"`, `"pause"` or `"slow"`. By default budgets
  (lag, slots, archive) pause, gauges slow, and what needs a person halts.
* *name*: the check's name, in reasons.
* *allow_blind*, where sessions of others must be seen: whether to go by what the role
  can see. Without it a role that lacks `pg_monitor` pauses the run.

All raise `ConfigurationError` for an argument out of its bounds.

A check that cannot look, for want of a pool, a connection or an answer, is unhealthy
and says so: `Halt` where its action is to halt, else `Pause`. One whose view, extension
or function is not there at a run's first look is left out of that run, with a warning.
"""

from __future__ import annotations

from collections.abc import Sequence

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill.postgres._signal import patient
from adaptive_backfill.postgres._source import Source
from adaptive_backfill.postgres._terms import Action
from adaptive_backfill.postgres.signals.archiving import (
    archive_queue,
    archiver_failing,
)
from adaptive_backfill.postgres.signals.client import event_loop_lag
from adaptive_backfill.postgres.signals.conflicts import deadlocks, recovery_conflicts
from adaptive_backfill.postgres.signals.latency import latency_probe
from adaptive_backfill.postgres.signals.locks import blocked_by_us, lock_waits
from adaptive_backfill.postgres.signals.reading import cache_hits, read_latency
from adaptive_backfill.postgres.signals.replication import (
    replay_lag,
    replicas,
    standby_lag,
)
from adaptive_backfill.postgres.signals.server import (
    read_only,
    server_restarted,
    xid_age,
)
from adaptive_backfill.postgres.signals.sessions import (
    active_sessions,
    connections,
    long_waiting_queries,
    lwlock_io_waits,
)
from adaptive_backfill.postgres.signals.slots import endangered_slots, slot_lag
from adaptive_backfill.postgres.signals.statements import statement_latency
from adaptive_backfill.postgres.signals.storage import hot_io_tables
from adaptive_backfill.postgres.signals.temp import (
    live_temp_files,
    temp_file_usage,
    temp_write_rate,
)
from adaptive_backfill.postgres.signals.transactions import (
    idle_in_transaction,
    oldest_transaction,
    prepared_transactions,
)
from adaptive_backfill.postgres.signals.vacuum import (
    dead_rows,
    vacuum_debt,
    vacuum_running,
    wraparound_vacuum,
)
from adaptive_backfill.postgres.signals.wal import (
    checkpoint_pressure,
    requested_checkpoints,
    wal_rate,
)

__all__ = [
    "Action",
    "Source",
    "active_sessions",
    "archive_queue",
    "archiver_failing",
    "blocked_by_us",
    "cache_hits",
    "checkpoint_pressure",
    "connections",
    "dead_rows",
    "deadlocks",
    "endangered_slots",
    "event_loop_lag",
    "everything",
    "hot_io_tables",
    "idle_in_transaction",
    "latency_probe",
    "live_temp_files",
    "lock_waits",
    "long_waiting_queries",
    "lwlock_io_waits",
    "oldest_transaction",
    "pg_health_checks",
    "prepared_transactions",
    "read_latency",
    "read_only",
    "recommended",
    "recovery_conflicts",
    "replay_lag",
    "replicas",
    "requested_checkpoints",
    "server_restarted",
    "slot_lag",
    "standby_lag",
    "statement_latency",
    "temp_file_usage",
    "temp_write_rate",
    "vacuum_debt",
    "vacuum_running",
    "wal_rate",
    "wraparound_vacuum",
    "xid_age",
]


def pg_health_checks(
    pool: Source = None, *, action: Action | None = None
) -> list[HealthCheck]:
    """Return the three checks, each with its default limit.

    Args:
        pool: Where to look; see above.
        action: What a run does when a limit is broken; by default it halts.

    Raises:
        ConfigurationError: *pool* or *action* is none.
    """
    chosen: Action = "halt" if action is None else action
    return [
        long_waiting_queries(pool, action=chosen),
        hot_io_tables(pool, action=chosen),
        temp_file_usage(pool, action=chosen),
    ]


def recommended(
    pool: Source = None,
    *,
    table: str | None = None,
    standbys: Sequence[Source] = (),
) -> list[HealthCheck]:
    """Return the checks for production.

    Only what needs a person halts a run: a database that cannot be written, a slot
    that loses WAL, transaction ids that run out. Budgets pause it, everything else
    slows it, and what cannot be seen or is not there is warned of once: also with an
    ordinary role, on a small server alone, a run goes on.

    Args:
        pool: Where to look; see above.
        table: The table that is worked on, whose vacuum counts then.
        standbys: DSNs of standbys whose lag counts.

    Raises:
        ConfigurationError: An argument is none.
    """
    critical = [read_only(pool), endangered_slots(pool), xid_age(pool)]
    budgets = [
        replay_lag(pool, allow_blind=True),
        *_of_standbys(standbys),
        slot_lag(pool),
        archive_queue(pool),
        archiver_failing(pool),
        blocked_by_us(pool),
    ]
    gauges = [
        lock_waits(pool),
        connections(pool),
        active_sessions(pool, allow_blind=True),
        long_waiting_queries(pool, action="slow", allow_blind=True),
        oldest_transaction(pool, allow_blind=True),
        idle_in_transaction(pool, allow_blind=True),
        prepared_transactions(pool),
        wal_rate(pool),
        checkpoint_pressure(pool),
        requested_checkpoints(pool),
        hot_io_tables(pool, action="slow"),
        temp_file_usage(pool, action="slow"),
        deadlocks(pool),
        event_loop_lag(),
    ]
    chosen = [*critical, *budgets, *_of_table(pool, table), *gauges]
    # A connection that is lost for a moment is no reason to end a run.
    return [patient(check) for check in chosen]


def everything(
    pool: Source = None,
    *,
    table: str | None = None,
    standbys: Sequence[Source] = (),
) -> list[HealthCheck]:
    """Return every check that there is, each with its default limit and action.

    Args:
        pool: Where to look; see above.
        table: The table that is worked on.
        standbys: DSNs of standbys.

    Raises:
        ConfigurationError: An argument is none.
    """
    more = [
        server_restarted(pool),
        replicas(pool, limit=0),
        *(
            recovery_conflicts(dsn, name=_numbered("recovery_conflicts", number))
            for number, dsn in enumerate(standbys, 1)
        ),
        lwlock_io_waits(pool),
        cache_hits(pool),
        read_latency(pool),
        temp_write_rate(pool),
        live_temp_files(pool),
        statement_latency(pool),
    ]
    return [*recommended(pool, table=table, standbys=standbys), *more]


def _of_standbys(standbys: Sequence[Source]) -> list[HealthCheck]:
    return [
        standby_lag(dsn, name=_numbered("standby_lag", number))
        for number, dsn in enumerate(standbys, 1)
    ]


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}_{number}"


def _of_table(pool: Source, table: str | None) -> list[HealthCheck]:
    if table is None:
        return []
    return [
        wraparound_vacuum(pool, table=table),
        vacuum_running(pool, table=table),
        vacuum_debt(pool, table=table),
        dead_rows(pool, table=table),
    ]
