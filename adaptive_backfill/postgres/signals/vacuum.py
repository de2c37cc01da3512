"""Vacuum on the table that is worked on: whether it runs, and what is left for it."""

from __future__ import annotations

from collections.abc import Callable

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill.postgres._finding import NUMBER, RATIO, Gap
from adaptive_backfill.postgres._signal import Row, Signal, health_check
from adaptive_backfill.postgres._source import Source
from adaptive_backfill.postgres._terms import Action, Terms
from adaptive_backfill.postgres.signals.kinds import gauge, uncounted
from adaptive_backfill.postgres.signals.tables import (
    TARGET,
    table_problems,
    unfound_in,
)

__all__ = ["dead_rows", "vacuum_debt", "vacuum_running", "wraparound_vacuum"]

# What is vacuumed, the progress view shows only to those with the grant; but that a
# process vacuums, and which table it has locked for it, it shows to everybody. A vacuum
# of a table that is past its freeze age is one against wraparound, which does not give
# way to others.
_VACUUMS = f"""
WITH {TARGET}, vacuums AS (
    SELECT c.oid::regclass::text AS name,
           age(c.relfrozenxid) > current_setting('autovacuum_freeze_max_age')::int
           OR mxid_age(c.relminmxid)
              > current_setting('autovacuum_multixact_freeze_max_age')::int
           OR coalesce(age(c.relfrozenxid) > (
               SELECT option_value::int FROM pg_options_to_table(c.reloptions)
               WHERE option_name = 'autovacuum_freeze_max_age'), false) AS is_wraparound
    FROM pg_stat_progress_vacuum AS p
    JOIN pg_locks AS l ON l.pid = p.pid AND l.granted
         AND l.locktype = 'relation' AND l.mode = 'ShareUpdateExclusiveLock'
    JOIN pg_class AS c ON c.oid = l.relation
    WHERE l.relation IN (SELECT oid FROM target)
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT named.oid IS NOT NULL AS found,
       CASE WHEN named.oid IS NOT NULL THEN v.vacuums END AS observed, v.note
FROM named
CROSS JOIN (
    SELECT count(*) AS vacuums, string_agg(name, ', ') AS note
    FROM vacuums {{where}}
) AS v
"""

_ANY = _VACUUMS.format(where="")
_WRAPAROUND = _VACUUMS.format(where="WHERE is_wraparound")

# Autovacuum's own trigger, with the table's own settings; from 18 on it has a ceiling.
_TUPLES = f"""
WITH {TARGET}, tuples AS (
    SELECT c.oid::regclass::text AS name, s.n_live_tup AS live, s.n_dead_tup AS dead,
           least(
               coalesce(o.threshold,
                        current_setting('autovacuum_vacuum_threshold')::float8)
               + coalesce(o.scale,
                          current_setting('autovacuum_vacuum_scale_factor')::float8)
               * greatest(c.reltuples, 0),
               nullif(coalesce(o.most, current_setting(
                   'autovacuum_vacuum_max_threshold', true)::float8), -1)
           ) AS trigger
    FROM pg_stat_all_tables AS s
    JOIN pg_class AS c ON c.oid = s.relid
    CROSS JOIN LATERAL (
        SELECT max(option_value) FILTER (
                   WHERE option_name = 'autovacuum_vacuum_threshold')::float8
                   AS threshold,
               max(option_value) FILTER (
                   WHERE option_name = 'autovacuum_vacuum_scale_factor')::float8
                   AS scale,
               max(option_value) FILTER (
                   WHERE option_name = 'autovacuum_vacuum_max_threshold')::float8
                   AS most
        FROM pg_options_to_table(c.reloptions)
    ) AS o
    WHERE s.relid IN (SELECT oid FROM target)
)
SELECT named.oid IS NOT NULL AS found,
       current_setting('track_counts')::bool AS counted,
       worst.observed::float8 AS observed,
       format('%s, %s dead rows', worst.name, worst.dead) AS note
FROM named
LEFT JOIN LATERAL (
    SELECT name, dead, {{observed}} AS observed FROM tuples
    ORDER BY {{observed}} DESC LIMIT 1
) AS worst ON true
"""

_DEBT = _TUPLES.format(observed="dead / greatest(1, trigger)")

# A share of few rows says nothing, and autovacuum does not look at them either.
_DEAD_SHARE = _TUPLES.format(
    observed="CASE WHEN dead < 1000 THEN 0 ELSE dead / (live + dead)::float8 END"
)


def vacuum_running(
    pool: Source = None,
    *,
    table: str,
    action: Action = "slow",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while *table*, or a partition of it, is being vacuumed.

    Needs no grant.

    Args:
        table: As SQL would name it, with its schema where needed.
    """
    judge = gauge("vacuum_running", 0, unseen=_unfound(table))
    return health_check(
        "vacuum_running",
        Signal(_ANY, judge, lambda: (table,)),
        pool,
        Terms(action, name),
        *table_problems(table),
    )


def wraparound_vacuum(
    pool: Source = None,
    *,
    table: str,
    action: Action = "pause",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while a vacuum against wraparound is at *table* or its partitions.

    Needs no grant.

    Args:
        table: As SQL would name it, with its schema where needed.
    """
    judge = gauge("wraparound_vacuum", 0, unseen=_unfound(table))
    return health_check(
        "wraparound_vacuum",
        Signal(_WRAPAROUND, judge, lambda: (table,)),
        pool,
        Terms(action, name),
        *table_problems(table),
    )


def vacuum_debt(
    pool: Source = None,
    *,
    table: str,
    limit: float = 3.0,
    action: Action = "slow",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while autovacuum does not keep up with *table*.

    Needs no grant.

    Args:
        table: As SQL would name it, with its schema where needed.
        limit: Dead rows, as a multiple of those that make autovacuum start; 0 or more.
    """
    judge = gauge("vacuum_debt", limit, unseen=_uncounted(table))
    return health_check(
        "vacuum_debt",
        Signal(_DEBT, judge, lambda: (table,)),
        pool,
        Terms(action, name),
        *table_problems(table),
        *NUMBER.problems(limit),
    )


def dead_rows(
    pool: Source = None,
    *,
    table: str,
    limit: float = 0.20,
    action: Action = "slow",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while too large a share of *table* is dead rows; 1,000 at least.

    Needs no grant.

    Args:
        table: As SQL would name it, with its schema where needed.
        limit: Dead rows among all, 0 to 1.
    """
    judge = gauge("dead_rows", limit, RATIO, unseen=_uncounted(table))
    return health_check(
        "dead_rows",
        Signal(_DEAD_SHARE, judge, lambda: (table,)),
        pool,
        Terms(action, name),
        *table_problems(table),
        *RATIO.problems(limit),
    )


def _unfound(table: str) -> Callable[[Row], Gap | None]:
    return lambda row: unfound_in(row, table)


def _uncounted(table: str) -> Callable[[Row], Gap | None]:
    return lambda row: unfound_in(row, table) or uncounted(row)
