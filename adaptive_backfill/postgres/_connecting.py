"""Open a connection to look through, and give it back.

Each is bounded in time, and everything that can go wrong on the way to a connection
is one `Unusable` with a sentence.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import asyncpg
import asyncpg.pool
import structlog

from adaptive_backfill.postgres._source import Database, Unusable

__all__ = ["Connection", "Opened", "application_name", "is_gone", "open_connection"]

Connection: TypeAlias = (
    "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"
)

_SECONDS_TO_GIVE_BACK = 2.0
_LONGEST_APPLICATION_NAME = 63

_TROUBLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Opened(NamedTuple):
    """A connection in autocommit, and how it is closed or released."""

    connection: Connection
    leave: Callable[[], Awaitable[object]]

    async def give_back(self) -> None:
        """Close it, or release it to its pool. Raises only cancellation."""
        try:
            await self.leave()
        except _TROUBLE as error:
            # asyncpg has terminated it by then, and what was to be seen was seen.
            structlog.get_logger("adaptive_backfill").debug(
                "monitoring connection broke when it was given back", error=repr(error)
            )


async def open_connection(database: Database, title: str, limit: float) -> Opened:
    """Connect.

    Args:
        database: A pool, or the DSN of a database to connect to.
        title: Names the backfill in the `application_name` of our own connections.
        limit: Seconds that it may take, and that the server gives each statement on
            a connection of our own.

    Raises:
        Unusable: There was no connection to be had.
    """
    try:
        if isinstance(database, str):
            own = await _connect(database, title, limit)
            return Opened(own, partial(own.close, timeout=_SECONDS_TO_GIVE_BACK))
        lent = await database.acquire(timeout=limit)
        return Opened(lent, partial(_release, database, lent))
    except TimeoutError:
        msg = (
            f"no connection in {limit:.2g} s: the pool is exhausted (let it have one "
            "more, for monitoring), or the database does not answer"
        )
        raise Unusable(msg) from None
    except _TROUBLE as error:
        msg = f"no connection: {str(error) or type(error).__name__}"
        raise Unusable(msg) from error


def application_name(title: str) -> str:
    """Return what the sessions and transactions of the backfill *title* are called."""
    name = f"adaptive_backfill:{title}".encode()[:_LONGEST_APPLICATION_NAME]
    return name.decode(errors="ignore")


async def _release(
    pool: asyncpg.Pool[Any], lent: asyncpg.pool.PoolConnectionProxy[Any]
) -> None:
    """Release it, outside of a transaction.

    A probe of the user's that is cancelled in a transaction cannot end it: its own
    ROLLBACK is cancelled, too.
    """
    try:
        if lent.is_in_transaction():
            await lent.execute("ROLLBACK", timeout=_SECONDS_TO_GIVE_BACK)
    finally:
        await pool.release(lent, timeout=_SECONDS_TO_GIVE_BACK)


async def _connect(dsn: str, title: str, limit: float) -> asyncpg.Connection[Any]:
    name = application_name(title)
    limits = {
        "statement_timeout": str(max(1, int(limit * 1000))),
        "lock_timeout": "1000",
    }
    try:
        return await _connect_with(dsn, {"application_name": name, **limits}, limit)
    except asyncpg.ProtocolViolationError:
        # PgBouncer refuses them, and a SET would stay behind on a server connection
        # that others get next. Our own limits remain.
        return await _connect_with(dsn, {"application_name": name}, limit)


async def _connect_with(
    dsn: str, settings: dict[str, str], limit: float
) -> asyncpg.Connection[Any]:
    return await asyncpg.connect(
        dsn,
        timeout=limit,
        command_timeout=limit,
        server_settings=settings,
        # It lives for one sampling, and prepared statements do not survive PgBouncer.
        statement_cache_size=0,
    )


def is_gone(connection: Connection) -> bool:
    """Whether *connection* is closed; the pool may have taken it back then."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True
