"""What queries spill to temporary files."""

from __future__ import annotations

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill.postgres._finding import (
    MEBIBYTES,
    MEBIBYTES_A_SECOND,
    MEGABYTES,
    Gap,
)
from adaptive_backfill.postgres._signal import Signal, health_check
from adaptive_backfill.postgres._source import Source
from adaptive_backfill.postgres._terms import Action, Terms
from adaptive_backfill.postgres.capabilities import Absent, Capabilities
from adaptive_backfill.postgres.signals.kinds import COUNTING, gauge, growth, rate

__all__ = ["live_temp_files", "temp_file_usage", "temp_write_rate"]

_TEMP_BYTES = f"""
SELECT temp_bytes::int8 AS value, {COUNTING}
FROM pg_stat_database
WHERE datname = current_database()
"""

# Of the default tablespace.
_LIVE = """
SELECT coalesce(sum(size), 0)::float8 AS observed, format('%s files', count(*)) AS note
FROM pg_ls_tmpdir()
"""


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
        pool: Where to look.
        limit: Bytes, 0 or more, in the whole database.
        action: What a run does then.
        name: The check's name, in reasons.

    Raises:
        ConfigurationError: An argument is out of these bounds.
    """
    judge = growth("temp_files", limit, MEGABYTES, note="written")
    return health_check(
        "temp_file_usage",
        Signal(_TEMP_BYTES, judge),
        pool,
        Terms(action, name),
        *MEGABYTES.problems(limit),
    )


def temp_write_rate(
    pool: Source = None,
    *,
    limit: float = 50 * 2**20,
    action: Action = "slow",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while queries spill to temporary files too fast. Needs no grant.

    Args:
        limit: Bytes a second, 0 or more, in the whole database.
    """
    judge = rate("temp_write_rate", limit, MEBIBYTES_A_SECOND)
    return health_check(
        "temp_write_rate",
        Signal(_TEMP_BYTES, judge),
        pool,
        Terms(action, name),
        *MEBIBYTES_A_SECOND.problems(limit),
    )


def live_temp_files(
    pool: Source = None,
    *,
    limit: float = 5 * 2**30,
    action: Action = "slow",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while temporary files take too much of the disk.

    Those of the default tablespace, of all databases. A role without `pg_monitor` may
    not look: the check is then left out of the run, with a warning.

    Args:
        limit: Bytes, 0 or more.
    """
    signal = Signal(_live, gauge("live_temp_files", limit, MEBIBYTES))
    terms, problems = Terms(action, name), MEBIBYTES.problems(limit)
    return health_check("live_temp_files", signal, pool, terms, *problems)


def _live(server: Capabilities) -> str:
    if not server.tmpdir:
        remedy = f"grant pg_monitor to {server.role}"
        raise Absent(Gap("cannot see the temporary files", remedy))
    return _LIVE
