"""How the transactions of a run are begun: each for itself, or by the COMMIT before.

Where batches follow one another at once, a COMMIT and the next BEGIN are one message:
a batch of some milliseconds has a fifth of its time less to wait for the server. A
transaction that is begun and has done nothing holds neither locks nor old rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic

import asyncpg

from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._server_limits import Limits

__all__ = ["Beginnings", "told_if_caught"]

_AT_ONCE = 0.02
"""Seconds from a batch to the next in which nothing can have been waited for."""

_STALE = 0.1
"""Seconds that a transaction waits for its batch at most: a hook may have taken long
for once, and `now()` in a batch is to be about now."""

_CAUGHT = (
    "a statement of the batch failed and its error was caught, so the batch was rolled "
    "back; put what may fail into `async with connection.transaction():`"
)


@contextmanager
def told_if_caught() -> Iterator[None]:
    """Say what to do where the batch's last statement meets an error caught before.

    Raises:
        asyncpg.InFailedSQLTransactionError: It did.
    """
    try:
        yield
    except asyncpg.InFailedSQLTransactionError as error:
        raise asyncpg.InFailedSQLTransactionError(_CAUGHT) from error


class Beginnings:
    """Begins transactions under their limits on one connection after the other.

    Args:
        title: Their `application_name`.
        limits: What the server holds each of them to.
        monotonic: Seconds from any start.

    Attributes:
        is_ahead: Whether the next transaction is begun already.
        was_ahead: Whether the one under way was, so that the server has not been heard
            of since.
    """

    def __init__(
        self,
        title: str,
        limits: Limits,
        *,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        self.is_ahead = self.was_ahead = False
        self._title = title
        self._limits = limits
        # Made once, because a batch may take a millisecond.
        self._texts: dict[tuple[int, str | None], str] = {}
        self._text = ""
        self._monotonic = monotonic
        self._ended = -inf
        self._gap = inf

    async def begin(self, connection: Connection) -> None:
        """Open a transaction on *connection*, unless that is done already."""
        self._gap = self._monotonic() - self._ended
        if self.is_ahead and self._gap > _STALE:
            self.is_ahead = False
            await connection.execute("ROLLBACK")
        self.was_ahead = self.is_ahead
        if not self.is_ahead:
            self._text = self._text_on(connection)
            await connection.execute(self._text)
        self.is_ahead = False

    async def commit(self, connection: Connection, *, more: bool) -> None:
        """Commit, and begin the next at once if there are *more*, and no gaps.

        Raises:
            asyncpg.InFailedSQLTransactionError: A statement before had failed, and
                somebody caught its error: so the server rolled back. It is only known
                where nothing is begun behind it.
            asyncpg.PostgresError: What else the server said, as it is.
        """
        ahead = more and self._gap <= _AT_ONCE
        text = f"COMMIT; {self._text}" if ahead else "COMMIT"
        status = await connection.execute(text, timeout=self._limits.commit)
        if status == "ROLLBACK":
            raise asyncpg.InFailedSQLTransactionError(_CAUGHT)
        self.is_ahead, self._ended = ahead, self._monotonic()

    def _text_on(self, connection: Connection) -> str:
        # Not set again where it is so already: the server tells of each change. To be
        # asked outside of a transaction, in which it is so by our own SET LOCAL.
        is_named = connection.get_settings().application_name == self._title
        about = connection.get_server_version().major, None if is_named else self._title
        if about not in self._texts:
            self._texts[about] = self._limits.begin(*about)
        return self._texts[about]
