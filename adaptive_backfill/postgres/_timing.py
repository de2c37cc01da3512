"""Time a query of the user's, and tell its own faults from those of the server.

Its own would be there at the next look, too. Those of the server, or of the way to it,
are no fault of the query, and say nothing good of the database.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from time import perf_counter

import anyio
import asyncpg

from adaptive_backfill._core.saying import said_of_error
from adaptive_backfill._engine.outside import ask
from adaptive_backfill.errors import BackfillError
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._limits import seconds_left

__all__ = ["CutShort", "Faulty", "timed"]

_SECONDS_BETWEEN = 0.01
"""Between two probes, on the average. Even gaps could keep step with something."""

_SHARE_OF_TIME = 0.5
"""Of the time that a check may take."""

_OF_THE_SERVER = ("08", "40", "53", "57P", "58", "F0", "XX")
"""SQLSTATEs begin so: connections, deadlocks, resources, shutdowns, disks, bugs."""


class CutShort(BackfillError):
    """The time was over in the middle of a probe.

    Attributes:
        times: Seconds that each took; the last one at least that long.
    """

    def __init__(self, times: list[float]) -> None:
        self.times = times
        super().__init__(f"cut short after {times[-1]:.2g} s")


class Faulty(BackfillError):
    """The probe raised, and not because of the server.

    Attributes:
        error: What it raised.
    """

    def __init__(self, error: BaseException) -> None:
        self.error = error
        super().__init__(said_of_error(error))


async def timed(
    probe: Callable[[Connection], Awaitable[object]], connection: Connection, count: int
) -> list[float]:
    """Return the seconds that *probe* took, *count* times or as often as there is time.

    Raises:
        CutShort: There was no time for one to end.
        Faulty: It cannot be done as it is.
        Exception: What it raised because of the server.
    """
    limit = seconds_left()
    until = anyio.current_time() + limit * _SHARE_OF_TIME
    times: list[float] = []
    began = perf_counter()
    try:
        # Not a scope of anyio, which would cancel the probe's own ROLLBACK, too.
        async with asyncio.timeout(limit):
            while len(times) < count and anyio.current_time() < until:
                began = perf_counter()
                await _done(probe, connection)
                times.append(perf_counter() - began)
                await asyncio.sleep(random.uniform(0.5, 1.5) * _SECONDS_BETWEEN)
    except TimeoutError:
        # Raised in any case: whoever comes next needs another connection.
        raise CutShort([*times, perf_counter() - began]) from None
    return times


async def _done(
    probe: Callable[[Connection], Awaitable[object]], connection: Connection
) -> None:
    error = (await ask(probe, connection)).error
    if error is None:
        return
    if connection.is_closed():
        raise error
    if isinstance(error, TimeoutError | asyncpg.QueryCanceledError):
        # Its own limit, or the server's `statement_timeout`, was shorter than ours.
        raise TimeoutError from error
    if _is_its_own(error):
        raise Faulty(error) from error
    raise error


def _is_its_own(error: BaseException) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        return not (error.sqlstate or "").startswith(_OF_THE_SERVER)
    # One that reached nothing, or whose task was cancelled, could not tell.
    return isinstance(error, Exception) and not isinstance(error, OSError)
