"""The one connection through which a run looks at a database.

All of a run's checks on one pool share it, one at a time, so that a pool of two
suffices: one connection for the batch, one for monitoring. It is held from the first
who asks until nobody uses it or waits for it: for one sampling.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager

from adaptive_backfill._core.health import HealthContext
from adaptive_backfill._engine.outlast import finish, outlast
from adaptive_backfill.postgres._connecting import (
    Connection,
    Opened,
    open_connection,
)
from adaptive_backfill.postgres._limits import seconds_left
from adaptive_backfill.postgres._source import Database, Unusable
from adaptive_backfill.postgres.capabilities import Capabilities

__all__ = ["MonitorConnection"]

# asyncpg leaves errors that nobody hears of behind when it is cancelled in the middle
# of connecting, which mostly takes less than this.
_SECONDS_TO_CONNECT_WHEN_CANCELLED = 0.5


class MonitorConnection:
    """A run's connection to *database*, taken in turns."""

    def __init__(self, database: Database, title: str) -> None:
        self._database = database
        self._title = title
        self._turn = asyncio.Lock()
        self._users = 0
        self._open: Opened | None = None
        self._refusal: Unusable | None = None
        self._capabilities: Capabilities | None = None

    @classmethod
    def of(cls, database: Database, context: HealthContext) -> MonitorConnection:
        """Return the one of the run that *context* belongs to."""
        # By identity, since a pool need not be hashable; held here, so it is stable.
        key = (cls, database if isinstance(database, str) else id(database))
        found = context.memory.get(key)
        if not isinstance(found, MonitorConnection):
            found = context.memory[key] = cls(database, context.name)
        return found

    @asynccontextmanager
    async def turn(
        self, untimed: Callable[[], AbstractContextManager[object]]
    ) -> AsyncIterator[Connection]:
        """Wait until it is free, and have it for the length of the block.

        Args:
            untimed: Makes a block in which the caller's time limit does not run, and
                after which it starts anew: the wait for others is not its fault.

        Raises:
            Unusable: There is no connection to be had.
        """
        self._users += 1
        try:
            with untimed():
                await self._turn.acquire()
            try:
                async with self._lent() as connection:
                    yield connection
            finally:
                self._turn.release()
        finally:
            self._users -= 1
            if not self._users:
                self._refusal = None
                await self._hang_up()

    async def capabilities(self, connection: Connection, limit: float) -> Capabilities:
        """Return what the server can tell; asked once for as long as it is open.

        So a grant, or an extension, counts from the next sampling on.

        Args:
            connection: That of the turn.
            limit: Seconds that it may take.

        Raises:
            TimeoutError: It took longer.
        """
        if self._capabilities is None:
            self._capabilities = await Capabilities.of(connection, limit)
        return self._capabilities

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[Connection]:
        """Lend it, and do without it once anything went wrong with it.

        Be it lost, or a query on it cancelled: who is next must not have to find out.
        """
        opened = await self._opened()
        went_well = False
        try:
            yield opened.connection
            went_well = True
        finally:
            if not went_well:
                await self._hang_up()

    async def _opened(self) -> Opened:
        if self._refusal is not None:
            # Each would wait its whole limit to hear the same.
            raise self._refusal
        if self._open is not None:
            return self._open
        opening = asyncio.ensure_future(
            open_connection(self._database, self._title, seconds_left())
        )
        held = await outlast(opening, _SECONDS_TO_CONNECT_WHEN_CANCELLED)
        if held is not None:
            if not opening.cancelled() and opening.exception() is None:
                # Whoever leaves last gives it back.
                self._open = opening.result()
            raise held
        try:
            self._open = opening.result()
        except Unusable as refusal:
            self._refusal = refusal
            raise
        return self._open

    async def _hang_up(self) -> None:
        # Forgotten first: who asks meanwhile must not get what is being closed.
        opened, self._open, self._capabilities = self._open, None, None
        if opened is not None:
            await finish(opened.give_back())
