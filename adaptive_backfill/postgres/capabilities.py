"""What a server can tell, and the role that asks it may see.

Rule: nothing is guessed from a version number. Forks and managed servers report one
and lack what it promises, so each thing is looked up where PostgreSQL lists it.
"""

from __future__ import annotations

from dataclasses import dataclass

from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._finding import Gap
from adaptive_backfill.postgres._source import Unusable

__all__ = ["Absent", "Capabilities"]

# to_regclass and to_regprocedure answer NULL for what is not there, and so do the
# functions that are handed it.
_ASK = """
SELECT current_user::text AS role,
       current_setting('server_version') AS version,
       pg_is_in_recovery() AS in_recovery,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_others,
       to_regclass('pg_catalog.pg_stat_checkpointer') IS NOT NULL AS checkpointer,
       EXISTS (
           SELECT FROM pg_attribute
           WHERE attrelid = to_regclass('pg_catalog.pg_locks') AND attname = 'waitstart'
       ) AS lock_waitstart,
       coalesce(has_function_privilege(
           to_regprocedure('pg_catalog.pg_ls_tmpdir()'), 'EXECUTE'), false) AS tmpdir,
       coalesce(has_function_privilege(
           to_regprocedure('pg_catalog.pg_ls_archive_statusdir()'), 'EXECUTE'), false)
           AS archive_statusdir,
       current_setting('archive_mode', true) IN ('on', 'always') AS archiving,
       current_setting('track_io_timing', true) = 'on' AS io_timing,
       (
           SELECT format('%I.pg_stat_statements', nspname)
           FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
           WHERE extname = 'pg_stat_statements'
       ) AS statements
"""


class Absent(Unusable):
    """This server, or this role, has no such signal."""

    def __init__(self, gap: Gap) -> None:
        self.gap = gap
        super().__init__(str(gap))


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the server at the other end of a connection can tell.

    Attributes:
        role: Who asks.
        version: The server's, for people only.
        in_recovery: Whether it is a standby.
        sees_others: Whether the role sees what the sessions of others do.
        checkpointer: Whether checkpoints are counted in a view of their own (17+).
        lock_waitstart: Whether a lock says since when it is waited for (14+).
        tmpdir: Whether the role may list temporary files.
        archive_statusdir: Whether the role may list what waits to be archived.
        archiving: Whether WAL is archived at all.
        io_timing: Whether reads are timed.
        statements: The name of pg_stat_statements, with its schema; `None` where the
            extension is not in this database.
    """

    role: str
    version: str
    in_recovery: bool
    sees_others: bool
    checkpointer: bool
    lock_waitstart: bool
    tmpdir: bool
    archive_statusdir: bool
    archiving: bool
    io_timing: bool
    statements: str | None

    @classmethod
    async def of(cls, connection: Connection, limit: float) -> Capabilities:
        """Ask, for *limit* seconds at most.

        Raises:
            TimeoutError: It took longer.
            asyncpg.PostgresError: The server did not like the question.
        """
        row = await connection.fetchrow(_ASK, timeout=limit)
        return cls(**dict(row or {}))
