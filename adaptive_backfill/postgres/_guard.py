"""Watches for those who wait on a batch, and lets it give way.

A batch holds its locks from its first row to its COMMIT. Who asks for one of them has
to wait; for a second that is nothing, and then it is the backfill's turn to step back.
Nobody can have waited longer than the batch has lasted: so most batches, which are
shorter, cost no question at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import anyio

from adaptive_backfill._engine.outlast import end_all, unfold
from adaptive_backfill.postgres._faults import GaveWay
from adaptive_backfill.postgres._lookout import Lookout
from adaptive_backfill.postgres._run_pool import RunPool

__all__ = ["Guard"]

PATIENCE = 1.0
"""Seconds that others may wait for a batch; also between two looks, at least."""

# Behind a pooler the process id that a client is told is none of the server's; then it
# is by `application_name`, which the other workers of the run share.
# `waitstart` is there from PostgreSQL 14 on; before, a query waits from its beginning,
# mostly. A role that may not see others is not told that, either, and nobody is told in
# the first moment of a wait: then it takes two looks.
# Only waiters are asked for whom they wait: that takes every partition of the lock
# table for a moment.
_WAITING = """
SELECT w.pid, w.seconds, w.application_name
FROM (
    SELECT l.pid, max(a.application_name) AS application_name,
           extract(epoch FROM clock_timestamp() - max(
               CASE WHEN to_jsonb(l) ? 'waitstart'
                    THEN (to_jsonb(l) ->> 'waitstart')::timestamptz
                    ELSE a.query_start END
           ))::float8 AS seconds
    FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
    WHERE NOT l.granted AND l.pid <> pg_backend_pid() AND a.application_name <> $1
    GROUP BY l.pid
) AS w
WHERE coalesce(w.seconds > $2, true) AND pg_blocking_pids(w.pid) && ARRAY(
    SELECT b.pid FROM pg_stat_activity AS b
    WHERE b.application_name = $1 AND b.datname = current_database()
      AND (b.pid = $3 OR NOT EXISTS (
          SELECT FROM pg_stat_activity WHERE pid = $3 AND application_name = $1
      ))
)
ORDER BY w.seconds DESC NULLS LAST, w.pid = $4 DESC NULLS LAST LIMIT 1
"""


@dataclass(slots=True)
class _Batch:
    """A batch under way.

    Attributes:
        scope: Cancels it.
        pid: The server's process that does it.
        due: The loop's time from which somebody may have waited too long for it.
        watching: Looks who waits; from then on.
        waiter: Who did, once it is cancelled for that.
    """

    scope: anyio.CancelScope
    pid: int
    due: float
    watching: asyncio.Task[None] | None = None
    waiter: str = ""


class _Waiter(NamedTuple):
    """A session that waits for a batch, as the server tells of it."""

    pid: int
    seconds: float | None
    name: str | None


class Guard:
    """Watches over the batches of one transaction after the other.

    Args:
        pool: The run's pool, which needs a connection besides that of the batch; of
            those that it has further, one is kept for the guard.
        title: The `application_name` of the batches.
        patience: Seconds that others may wait, above 0.
    """

    def __init__(self, pool: RunPool, title: str, patience: float = PATIENCE) -> None:
        self._lookout: Lookout = pool.lookout
        self._at_work = False
        self._title = title
        self._patience = patience
        self._batch: _Batch | None = None
        self._alarm: asyncio.TimerHandle | None = None

    async def over(
        self, handle: Callable[[Any], Awaitable[object]], argument: object, pid: int
    ) -> object:
        """Return what *handle* answers to *argument*.

        Args:
            handle: Does a batch.
            argument: What it is handed.
            pid: The server's process that does it, as its connection knows it.

        Raises:
            GaveWay: It was cancelled, because somebody waited for it.
            Exception: What it raised.
        """
        loop = asyncio.get_running_loop()
        answer: object = None
        with anyio.CancelScope() as scope:
            batch = self._batch = _Batch(scope, pid, loop.time() + self._patience)
            if not self._at_work:
                # Before anybody can wait: they may take all that the pool has.
                self._at_work = True
                self._lookout.begin()
            if self._alarm is None:
                self._alarm = loop.call_at(batch.due, self._rings)
            try:
                answer = await handle(argument)
            finally:
                self._batch = None
                if batch.watching is not None:
                    await end_all((batch.watching,))
        unfold(scope)
        if scope.cancelled_caught:
            raise GaveWay(batch.waiter)
        return answer

    def rest(self) -> None:
        """Leave no alarm behind until there is another batch."""
        if self._at_work:
            self._at_work = False
            self._lookout.end()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _rings(self) -> None:
        """Begin to watch over the batch under way, if it has lasted so long.

        One alarm goes from batch to batch: to set one for each, and to take it back,
        would be a good part of what a short batch takes on this side.
        """
        loop, batch = asyncio.get_running_loop(), self._batch
        self._alarm = None
        if batch is None:
            return
        self._lookout.keep()
        if loop.time() < batch.due:
            self._alarm = loop.call_at(batch.due, self._rings)
        else:
            batch.watching = loop.create_task(self._watch(batch))

    async def _watch(self, batch: _Batch) -> None:
        before: int | None = None
        while True:
            found = await self._waiter(batch.pid, before)
            if found is not None and (found.seconds is not None or found.pid == before):
                batch.waiter = self._reason(found)
                batch.scope.cancel()
                return
            before = None if found is None else found.pid
            await asyncio.sleep(self._patience)

    async def _waiter(self, pid: int, before: int | None) -> _Waiter | None:
        """Return who waits too long, or nobody knows for how long, as *before* does."""
        asked = (self._title, self._patience, pid, before)
        row = await self._lookout.look(_WAITING, *asked, limit=self._patience)
        # Not seen is not blocked; the batch has its own limits.
        return None if row is None else _Waiter(*row.values())

    def _reason(self, waiter: _Waiter) -> str:
        """Return why a batch gives way to *waiter*, for people."""
        limit = f"{self._patience:g} s"
        long = f"for {limit} or more"
        if waiter.seconds is not None:
            long = f"{waiter.seconds:.1f} s > {limit}"
        who = f"{waiter.name or 'a session'} (pid {waiter.pid})"
        return f"blocked_by_us {long}: {who} waits for a lock of the batch"
