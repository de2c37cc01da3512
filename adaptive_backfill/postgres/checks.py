"""Health checks that ask a PostgreSQL server.

Each takes the pool first: an asyncpg pool, a callable (sync or async) that returns
one, a DSN, or nothing for the run's own. All checks of a run on one pool take turns on
one connection, in autocommit; a DSN is connected to once a sampling, as
`adaptive_backfill:<name>`. What is remembered between two looks belongs to the run, so
a check may be shared by classes, by runs at the same time, and by event loops.

A check that cannot look, for want of a pool, a connection or a grant, is unhealthy and
says so: `Halt` where its action is to halt, else `Pause`.
"""

from __future__ import annotations

from datetime import timedelta

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill._core.rules import is_count, is_number
from adaptive_backfill.postgres._signal import Action, Terms, health_check
from adaptive_backfill.postgres._source import Source
from adaptive_backfill.postgres.signals.sessions import longest_query
from adaptive_backfill.postgres.signals.storage import table_cache_hits, temp_bytes

__all__ = [
    "Action",
    "Source",
    "hot_io_tables",
    "long_waiting_queries",
    "pg_health_checks",
    "recommended",
    "temp_file_usage",
]


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
        pool: Where to look; see above.
        limit: Seconds, or a timedelta, of 0 or more.
        action: What a run does meanwhile.
        name: The check's name, in reasons.
        allow_blind: Whether to go by the queries that the role can see. Without it a
            role that lacks `pg_monitor` (or `pg_read_all_stats`) pauses the run: the
            queries of others, hidden from it, are not known to be short.

    Raises:
        ConfigurationError: An argument is out of these bounds.
    """
    seconds = limit.total_seconds() if isinstance(limit, timedelta) else limit
    problems = []
    if not is_number(seconds):
        problems.append(f"limit must be seconds of 0 or more, not {limit!r}")
    terms = Terms(action, name, allow_blind)
    signal = longest_query(seconds)
    return health_check("long_waiting_queries", signal, pool, terms, *problems)


def hot_io_tables(
    pool: Source = None,
    *,
    limit: float = 0.5,
    min_accesses: int = 10_000,
    action: Action = "halt",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy when a table that is much read is mostly read from disk.

    Judged by what was accessed since the look before, table by table, indexes and
    TOAST included; a table with less than *min_accesses* is judged together with its
    next look, for a minute at most. The first look of a run is a baseline, and healthy.

    Args:
        pool: Where to look; see above.
        limit: The cache hit ratio, 0 to 1, below which a table is hot.
        min_accesses: Block accesses from which a ratio says something; 1 or more.
        action: What a run does then.
        name: The check's name, in reasons.

    Raises:
        ConfigurationError: An argument is out of these bounds.
    """
    problems = []
    if not is_number(limit) or limit > 1:
        problems.append(f"limit must be a ratio from 0 to 1, not {limit!r}")
    if not is_count(min_accesses):
        problems.append(
            f"min_accesses must be an int of 1 or more, not {min_accesses!r}"
        )
    signal = table_cache_hits(limit, min_accesses)
    return health_check("hot_io_tables", signal, pool, Terms(action, name), *problems)


def temp_file_usage(
    pool: Source = None,
    *,
    limit: float = 500_000_000,
    action: Action = "halt",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy when queries spill too much to temporary files.

    Judged by what was written between two looks: `health_interval` apart in mode
    `async`, a batch apart in mode `sync`. PostgreSQL counts a file when it is closed.
    The first look of a run is a baseline, and healthy.

    Args:
        pool: Where to look; see above.
        limit: Bytes, 0 or more, in the whole database.
        action: What a run does then.
        name: The check's name, in reasons.

    Raises:
        ConfigurationError: An argument is out of these bounds.
    """
    problems = []
    if not is_number(limit):
        problems.append(f"limit must be bytes, 0 or more, not {limit!r}")
    signal = temp_bytes(limit)
    return health_check("temp_file_usage", signal, pool, Terms(action, name), *problems)


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


def recommended(pool: Source = None) -> list[HealthCheck]:
    """Return the checks for production: nothing here ends a run by itself.

    Long queries pause the run, since each batch would add to what they wait for; cold
    tables and temporary files slow it down.

    Args:
        pool: Where to look; see above.

    Raises:
        ConfigurationError: *pool* is none.
    """
    return [
        long_waiting_queries(pool, action="pause"),
        hot_io_tables(pool, action="slow"),
        temp_file_usage(pool, action="slow"),
    ]
