"""How much of a run's table is done, and how much is left."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from adaptive_backfill.postgres._catalog import histogram
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._ruler import Ruler, place_of
from adaptive_backfill.postgres._walk import Cursor, Key, Walk

__all__ = ["SECONDS_TO_COUNT", "Gauge"]

SECONDS_TO_COUNT = 86_400.0
"""Seconds that an exact count may take; it reads all there is."""

_FEWEST_BOUNDS = 10


class Gauge:
    """Tells one run's share by the place of its cursor in the table.

    Args:
        exact: Whether to count what is left.
    """

    def __init__(self, *, exact: bool) -> None:
        self._exact = exact
        self._ruler: Ruler | None = None
        self._walk: Walk | None = None

    def over(
        self, opening: AbstractAsyncContextManager[object]
    ) -> AbstractAsyncContextManager[object]:
        """Take note of the walk that *opening* opens."""
        self._walk = opening if isinstance(opening, Walk) else None
        return opening

    async def left(self, state: object) -> int | None:
        """Count what is left from *state* on, if wished, and see how it is spread."""
        walk = self._walk
        if walk is None or not isinstance(state, Cursor) or state.end is None:
            return None
        async with walk.pool.acquire() as connection:
            self._ruler = await _ruler(walk, connection, state.end)
            if not self._exact:
                return None
            keys = walk.keyset
            after = state.last is not None
            found: int = await connection.fetchval(
                f"SELECT count(*) FROM {keys.table.sql} "
                f"WHERE {keys.batch(None, after=after)}",
                *(state.last or ()),
                *state.end,
                timeout=SECONDS_TO_COUNT,
            )
            return found

    def share(self, state: object) -> float | None:
        """Return how much of the way through the table is done at *state*.

        `None` for keys that only the server can place, such as text: it is asked at any
        time, and cannot wait for an answer. Then the rows tell it, by the total.
        """
        if self._ruler is None or not isinstance(state, Cursor):
            return None
        if state.last is None:
            return 0.0
        place = place_of(state.last[0])
        return None if place is None else self._ruler.share(place)


async def _ruler(walk: Walk, connection: Connection, end: Key) -> Ruler | None:
    """Return what measures the way to *end*, by the first column of the key."""
    keys = walk.keyset
    first = await walk.bound(connection, Cursor(None, end), 1)
    begin, until = place_of(first[0]), place_of(end[0])
    if begin is None or until is None:
        return None
    found = await histogram(connection, walk.seen.oid, keys.key[0], keys.types[0])
    bounds = [place for place in map(place_of, found) if place is not None]
    if keys.width > 1 and len(bounds) < _FEWEST_BOUNDS:
        # By few values of one column of several, the share would move in jumps.
        return None
    return Ruler(begin, until, bounds)
