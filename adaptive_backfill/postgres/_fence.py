"""Holds a run back until its standbys have replayed what it wrote.

The option `standbys`: a health check for each, which asks the primary how far its WAL
goes, the run's last batch in it, and then the standby how much of that it has replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from adaptive_backfill._core.answers import OK, Pause, Verdict
from adaptive_backfill._core.health import HealthCheck, HealthContext
from adaptive_backfill.postgres._connecting import open_connection
from adaptive_backfill.postgres._limits import seconds_left
from adaptive_backfill.postgres._source import database_of

__all__ = ["LIMIT", "fenced_by"]

LIMIT = 64 * 1024 * 1024
"""Bytes of WAL that a standby may have yet to replay."""

_WRITTEN = "SELECT pg_current_wal_insert_lsn()::text"
_BEHIND = "SELECT pg_wal_lsn_diff($1::text::pg_lsn, pg_last_wal_replay_lsn())::bigint"


def fenced_by(standbys: Sequence[str], limit: int = LIMIT) -> tuple[HealthCheck, ...]:
    """Return a check for each of *standbys*, by their DSNs.

    Args:
        standbys: Their DSNs.
        limit: Bytes that each may be behind.
    """
    checks = []
    for number, dsn in enumerate(standbys, 1):
        title = f"standby {_place(dsn) or number}"
        # A standby that cannot be asked may be far behind: the run waits, and says so.
        fence = _Fence(title, dsn, limit)
        checks.append(HealthCheck(fence, name=title, on_error="pause"))
    return tuple(checks)


@dataclass(frozen=True, slots=True)
class _Fence:
    title: str
    dsn: str
    limit: int

    async def __call__(self, context: HealthContext) -> Verdict:
        primary = await database_of(None, context.pool)
        written = await _asked(primary, context.name, _WRITTEN)
        behind = await _asked(self.dsn, context.name, _BEHIND, written)
        if not isinstance(behind, int):
            return Pause(f"{self.title} is no standby, or has replayed nothing yet")
        if behind > self.limit:
            return Pause(f"{self.title} {behind} bytes behind > {self.limit}")
        return OK


async def _asked(database: object, title: str, sql: str, *args: object) -> object:
    source = await database_of(database, None)
    limit = seconds_left()
    opened = await open_connection(source, title, limit)
    try:
        found: object = await opened.connection.fetchval(sql, *args, timeout=limit)
    finally:
        await opened.give_back()
    return found


def _place(dsn: str) -> str:
    """Return host and port; never a password, nor anything that may hold one."""
    parts = urlsplit(dsn)
    if not parts.scheme or not parts.hostname:
        return ""
    return parts.netloc.rpartition("@")[2]
