"""Whether the archive takes the WAL that is written."""

from __future__ import annotations

from adaptive_backfill._core.health import HealthCheck
from adaptive_backfill.postgres._finding import NUMBER, Gap
from adaptive_backfill.postgres._signal import Signal, health_check
from adaptive_backfill.postgres._source import Source
from adaptive_backfill.postgres._terms import Action, Terms
from adaptive_backfill.postgres.capabilities import Absent, Capabilities
from adaptive_backfill.postgres.signals.kinds import gauge

__all__ = ["archive_queue", "archiver_failing"]

_NO_ARCHIVE = "SELECT 0 AS observed"

_READY = """
SELECT count(*) FILTER (WHERE name LIKE '%.ready') AS observed, 'segments' AS note
FROM pg_ls_archive_statusdir()
"""

_FAILING = """
SELECT (current_setting('archive_mode') <> 'off'
        AND last_failed_time IS NOT NULL
        AND last_failed_time > coalesce(last_archived_time, '-infinity'))::int
           AS observed,
       last_failed_wal || ' failed at ' || last_failed_time AS note
FROM pg_stat_archiver
"""


def archive_queue(
    pool: Source = None,
    *,
    limit: float = 42,
    action: Action = "pause",
    name: str | None = None,
) -> HealthCheck:
    """Unhealthy while too many segments of WAL wait to be archived.

    Healthy where nothing is archived. A role without `pg_monitor` may not look: the
    check is then left out of the run, with a warning.

    Args:
        limit: Segments, mostly of 16 MiB; 0 or more.
    """
    signal = Signal(_queue, gauge("archive_queue", limit))
    problems = NUMBER.problems(limit)
    return health_check("archive_queue", signal, pool, Terms(action, name), *problems)


def archiver_failing(
    pool: Source = None, *, action: Action = "pause", name: str | None = None
) -> HealthCheck:
    """Unhealthy while the last try to archive a segment has failed.

    WAL then stays, and fills the disk. Needs no grant.
    """
    signal = Signal(_FAILING, gauge("archiver_failing", 0))
    return health_check("archiver_failing", signal, pool, Terms(action, name))


def _queue(server: Capabilities) -> str:
    if not server.archiving:
        return _NO_ARCHIVE
    if not server.archive_statusdir:
        what = "cannot see what waits to be archived"
        raise Absent(Gap(what, f"grant pg_monitor to {server.role}"))
    return _READY
