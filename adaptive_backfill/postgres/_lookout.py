"""A connection of the run's pool that is kept for looking who waits for its batches.

A service may share its pool with the run. Its requests that wait for a row of a batch
hold their connections as long as they wait: just when there is somebody to see, the
pool may have none free to look through. So one is taken before there is.

Not where batches, the lease and the health checks need all that there are: a pool of
two suffices. There, a look takes what is free at the moment, and says so if none is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, TypeAlias, cast

import asyncpg
import asyncpg.pool
import structlog

from adaptive_backfill._engine.outlast import finish
from adaptive_backfill._engine.outside import ask
from adaptive_backfill.postgres._connecting import is_gone
from adaptive_backfill.postgres._store_pool import Pool

Lent: TypeAlias = "asyncpg.pool.PoolConnectionProxy[Any]"

__all__ = ["Lookout"]

_OTHERS = 2
"""Connections beside those of the batches that a pool has to have for one to be kept:
that one, and one for the lease and the health checks."""

_SECONDS_TO_GET_ONE = 10.0
_SECONDS_TO_GIVE_BACK = 2.0

_SECONDS_AT_REST = 5.0
"""How long it is kept while there is no batch: over a delay, not over a pause."""

_SECONDS_UNTIL_ROOMY = 60.0
"""How long the pool has to have had one to spare, once it had none."""

# asyncpg leaves errors that nobody hears of behind when it is cancelled in the middle
# of connecting, which mostly takes less than this.
_SECONDS_TO_CONNECT_WHEN_OVER = 0.5

_TROUBLE = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # What it says of a connection that was lost at a moment it did not expect.
    asyncpg.InternalClientError,
)


class Lookout:
    """Looks through the pool of one run, on a connection that it keeps if it can.

    Args:
        pool: Returns the run's pool, which is open.
        shared: Whether others may use the pool, too.
    """

    def __init__(self, pool: Callable[[], Pool], *, shared: bool) -> None:
        self._pool = pool
        self._shared = shared
        self._batches = 0
        self._crowded = -inf
        self._holding: asyncio.Task[None] | None = None
        self._let_go = asyncio.Event()
        self._kept: Lent | None = None
        self._turn = asyncio.Lock()
        self._leaving: asyncio.TimerHandle | None = None
        self._has_warned = False

    def begin(self) -> None:
        """Take note of one more who does batches, which takes a connection."""
        self._batches += 1
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        if self._kept and not _free(self._pool()):
            # Several runs may share the pool, and this connection be the last.
            self._is_crowded()
        self.keep()

    def end(self) -> None:
        """Take note that one who did batches rests, or is done."""
        self._batches -= 1
        if not self._batches and self._holding is not None:
            loop = asyncio.get_running_loop()
            self._leaving = loop.call_later(_SECONDS_AT_REST, self._leave)

    def keep(self) -> None:
        """See to it that a connection is kept, if there is one to spare.

        It is waited for in the background; to be called again from time to time.
        """
        if not self._shared:
            # Nobody's requests can take them all.
            return
        if not self._can_spare_one() or (self._kept and is_gone(self._kept)):
            self._leave()
        elif self._holding is None or self._holding.done():
            self._let_go.clear()
            self._holding = asyncio.create_task(self._hold())

    async def look(self, sql: str, *args: object, limit: float) -> Any | None:
        """Return the first row that *sql* gives; `None` where it cannot be asked.

        The first time that it cannot, a warning says why, and what helps.

        Args:
            sql: What to ask.
            args: Its arguments.
            limit: Seconds to wait for a connection, and again for the answer.
        """
        # Lost, perhaps; then another one may do.
        with suppress(*_TROUBLE):
            async with self._turn:
                if self._kept is not None:
                    return await self._through(self._kept, sql, *args, limit=limit)
        try:
            async with self._pool().acquire(timeout=limit) as connection:
                return await connection.fetchrow(sql, *args, timeout=limit)
        except TimeoutError:
            self._warn(
                f"in {limit:g} s the pool had no connection free, or the server did "
                "not answer"
            )
        except _TROUBLE as error:
            self._warn(f"{type(error).__name__}: {error}")
        return None

    async def close(self) -> None:
        """Give back what is kept."""
        if self._leaving is not None:
            self._leaving.cancel()
        self._leave()
        if self._holding is not None:
            await finish(self._gone(self._holding))

    async def _through(
        self, kept: Lent, sql: str, *args: object, limit: float
    ) -> Any | None:
        went_well = False
        try:
            row = await kept.fetchrow(sql, *args, timeout=limit)
            went_well = True
        finally:
            if not went_well:
                # Who looks next must not have to find out.
                self._leave()
        return row

    def _can_spare_one(self) -> bool:
        # Of another kind of pool nobody knows.
        pool: object = self._pool()
        now = asyncio.get_running_loop().time()
        most = pool.get_max_size() if isinstance(pool, asyncpg.Pool) else 0
        if most < self._batches + _OTHERS:
            self._is_crowded()
        return now >= self._crowded + _SECONDS_UNTIL_ROOMY

    async def _hold(self) -> None:
        """Have a connection until it is to be let go."""
        pool = self._pool()
        # What goes wrong here is said by who looks.
        given = await ask(partial(pool.acquire, timeout=_SECONDS_TO_GET_ONE))
        if given.error is not None:
            return
        self._kept = kept = cast("Lent", given.value)
        try:
            if _free(pool):
                await self._let_go.wait()
            else:
                self._is_crowded()
        finally:
            self._kept = None
            async with self._turn:
                await ask(partial(pool.release, kept, timeout=_SECONDS_TO_GIVE_BACK))

    def _is_crowded(self) -> None:
        self._crowded = asyncio.get_running_loop().time()

    def _leave(self) -> None:
        self._let_go.set()

    async def _gone(self, holding: asyncio.Task[None]) -> None:
        await asyncio.wait((holding,), timeout=_SECONDS_TO_CONNECT_WHEN_OVER)
        holding.cancel()
        await asyncio.wait((holding,), timeout=_SECONDS_TO_GIVE_BACK)

    def _warn(self, why: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            structlog.get_logger("adaptive_backfill").warning(
                "nobody sees who waits for the batch, and so it does not give way: "
                "let the pool have more connections, or give the run one of its own, "
                "run(dsn=...)",
                reason=why,
            )


def _free(pool: object) -> int:
    """Return how many connections of *pool* nobody has at the moment."""
    if not isinstance(pool, asyncpg.Pool):
        return 0
    taken: int = pool.get_size() - pool.get_idle_size()
    return int(pool.get_max_size()) - taken
