"""How much WAL the batches of a run write.

By where the server's WAL goes to from a batch's BEGIN to its COMMIT: so what others
write in that time counts, too, and what they write between two batches does not.
"""

from __future__ import annotations

from collections.abc import Callable

from adaptive_backfill.postgres._connecting import Connection

__all__ = ["POSITION", "WalMeter"]

POSITION = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8"


class WalMeter:
    """Counts the WAL of one run, while somebody wants to know.

    Args:
        wanted: Whether anybody does: each look is a round trip.
    """

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self.wanted = wanted
        self._written = 0
        self._counted_to = 0

    @property
    def reached(self) -> int | None:
        """Where the WAL went to after the last batch that was counted, if one was."""
        return self._counted_to or None

    async def written(self) -> int:
        """Return the bytes of all batches that were counted."""
        return self._written

    async def position(self, connection: Connection) -> int | None:
        """Return where the WAL goes to by now; `None` where nobody wants to know."""
        if not self.wanted():
            return None
        position: int = await connection.fetchval(POSITION)
        return position

    async def count(self, connection: Connection, since: int | None) -> None:
        """Count what was written *since* a position.

        Of batches that overlap, what was written in that time counts once.
        """
        if since is None:
            return
        now = await connection.fetchval(POSITION)
        self._written += max(0, now - max(since, self._counted_to))
        self._counted_to = max(self._counted_to, now)
