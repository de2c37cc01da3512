"""One run's hold of a name in a `PostgresStore`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any

import structlog

from adaptive_backfill._core.codec import Encoded, encode
from adaptive_backfill._core.last_seen import last_seen
from adaptive_backfill._core.records import (
    progress_text,
    result_from,
    result_text,
    wishes_from,
)
from adaptive_backfill._core.result import Progress, RunResult, RunStatus
from adaptive_backfill._core.snapshot import Snapshot, Wishes
from adaptive_backfill._engine.memory_store import HISTORY
from adaptive_backfill.errors import CheckpointError, LeaseLost
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._store_database import StoreDatabase, changed
from adaptive_backfill.postgres._store_sql import (
    BEAT,
    DISCARD,
    FINISH,
    FINISHED,
    MINE,
    RELEASE,
    RELEASE_DONE,
    SAVE,
    SAVE_ON,
    SETTLED,
    THERE,
    UNTOLD,
)

__all__ = ["PostgresLease"]

_WENT_BACK = (
    "The server has lost what it had committed, as by a failover to a standby that was "
    "behind, or by a crash with synchronous_commit off."
)

_WENT_ON = (
    "A COMMIT of its own was given up, and was done all the same; or somebody else has "
    "written to it."
)

_BEAT = 1.0
"""Seconds between two beats at most, so that wishes are heard within two seconds."""


class PostgresLease:
    """Writes as long as no other run has taken over.

    Its saves are done on a connection of the store's pool; or, for exactly once, in
    the transaction of the batch: by `save_on`, and the last one by `finish_on`.

    Attributes:
        name: The checkpoint's name.
        token: The fencing token, which is greater than that of each run before.
        run_id: Names the run.
        kept: The batches of the snapshot that was seen to be committed last, together
            with its data; `None` before the first. From then on nothing is saved over
            another one.
    """

    def __init__(
        self,
        database: StoreDatabase,
        name: str,
        token: int,
        *,
        run_id: str,
        state_type: object,
    ) -> None:
        self.name = name
        self.token = token
        self._database = database
        self.run_id = run_id
        self.kept: int | None = None
        self._finished = False
        self._state_type = state_type
        self._shown: Progress | None = None
        self._saving: asyncio.Task[None] | None = None
        self._foreseen: tuple[object, Encoded] | None = None

    @property
    def beat_every(self) -> float:
        """Seconds between two calls of `beat`."""
        return min(_BEAT, self._database.lease / 4)

    async def load(self) -> Snapshot | None:
        """Return the snapshot, or `None` where there is none."""
        await self._saved()
        return await self._database.load(self.name, self._state_type)

    def save(self, snapshot: Snapshot) -> Awaitable[None]:
        """Replace the snapshot and renew the lease, all or nothing.

        The state is taken as it is now, and saved even if nobody awaits the answer.
        """
        arguments = self._save_arguments(snapshot)
        saving = self._save(self._saving, arguments, snapshot.batches)
        self._saving = self._database.done_by_itself(saving)
        return self._saving

    async def finished(self) -> RunResult | None:
        """Return how this name was finished, if it is remembered as such."""
        return await self._result(FINISHED)

    async def untold(self) -> RunResult | None:
        """Return the result of `finish_on`, where no `release` has followed it.

        So of a run that committed its last batch, and went away before it told
        anybody: its `on_complete` is still to be called.
        """
        return await self._result(UNTOLD)

    async def discard(self) -> None:
        """Forget the snapshot and that it was ever finished."""
        await self._saved()
        self._prove(held=await self._database.changes(DISCARD, *self._held))

    async def beat(self, progress: Progress) -> Wishes:
        """Renew the lease, show *progress* to others, return what they wish.

        Waits for no lock: while the run's own batch is about to commit, that renews
        the lease, and nothing is shown.
        """
        found = await self._database.row(
            BEAT, *self._held, progress_text(progress), self._database.lease
        )
        if found is None:
            raise LeaseLost(self.name)
        self._shown = progress
        return wishes_from(found[0])

    async def release(self, result: RunResult | None, *, handed_over: bool) -> None:
        """Give the name free, and keep *result* in its history.

        What was finished with its last batch, which the server has lost since, is not
        remembered as finished, and that is logged.
        """
        await self._saved()
        done = result is not None and result.status is RunStatus.DONE
        if done and self._finished and await self.finished() is None:
            structlog.get_logger("adaptive_backfill").warning(
                "not remembered as finished",
                checkpoint=self.name,
                error=f"{_WENT_BACK} Run it again: it goes on from the checkpoint.",
            )
            result, done = None, False
        arguments = (
            *self._held,
            self._last_progress(result, handed_over=handed_over),
            self.run_id,
            None if result is None else result_text(result),
            handed_over,
            HISTORY,
        )
        if done:
            await self._database.changes(RELEASE_DONE, *arguments, self._finished)
        else:
            await self._database.changes(RELEASE, *arguments)

    def foresee(self, state: object) -> None:
        """Encode *state*, which nobody may change, ahead of the save that it is for."""
        # What cannot be kept is said by the save, if there is one.
        with suppress(CheckpointError):
            self._foreseen = (state, encode(state, self._state_type))

    async def save_on(self, connection: Connection, snapshot: Snapshot) -> None:
        """Save as a statement of the transaction that *connection* is in.

        To be its last one before COMMIT: it locks the lease, and counts the lease's
        time from now.

        Raises:
            LeaseLost: Another run has taken over. Roll back.
            CheckpointError: The state would not come back as it is; nothing was sent.
                Or the server has lost what was committed. Roll back.
            asyncpg.PostgresError: What the server said, as it is.
        """
        arguments = self._save_arguments(snapshot)
        status = await connection.execute(self._sql(SAVE_ON), *arguments, self.kept)
        await self._prove_on(connection, held=changed(status))

    async def finish_on(self, connection: Connection, result: RunResult) -> None:
        """Mark the name as finished in the transaction that *connection* is in.

        The snapshot goes in the same step. Until `release`, the result is `untold`.
        To be the last statement before COMMIT.

        Raises:
            LeaseLost: Another run has taken over. Roll back.
            CheckpointError: The server has lost what was committed. Roll back.
            asyncpg.PostgresError: What the server said, as it is.
        """
        text, seconds = result_text(result), self._database.lease
        arguments = (*self._held, text, seconds, self.kept)
        status = await connection.execute(self._sql(FINISH), *arguments)
        await self._prove_on(connection, held=changed(status))

    def committed(self, batches: int, *, finished: bool) -> None:
        """Take note that a save, or the finish, was committed with its batch."""
        self.kept, self._finished = batches, finished

    async def settled(self) -> tuple[int, bool]:
        """Return how many batches are kept, and whether it is finished.

        Waits for a transaction that is still about to write them.

        Raises:
            LeaseLost: Another run has taken over.
        """
        found = await self._database.row(SETTLED, *self._held)
        if found is None:
            raise LeaseLost(self.name)
        return int(found[0]), bool(found[1])

    async def is_on(self, connection: Connection) -> bool:
        """Whether *connection* is to the database that this lease is kept in.

        To be asked outside of a transaction.
        """
        if not await connection.fetchval(self._sql(THERE)):
            return False
        return await connection.fetchval(self._sql(MINE), *self._held) is not None

    @property
    def _held(self) -> tuple[str, int]:
        return (self.name, self.token)

    def _sql(self, template: str) -> str:
        return self._database.tables.sql(template)

    def _save_arguments(self, snapshot: Snapshot) -> tuple[object, ...]:
        state, form = self._encoded(snapshot.state)
        counts = (snapshot.batches, snapshot.rows, snapshot.batch_size)
        return (*self._held, state, form, *counts, self._database.lease)

    def _encoded(self, state: object) -> Encoded:
        if self._foreseen is not None and self._foreseen[0] is state:
            return self._foreseen[1]
        return encode(state, self._state_type)

    async def _save(
        self,
        before: asyncio.Task[None] | None,
        arguments: tuple[object, ...],
        batches: int,
    ) -> None:
        if before is not None:
            # Given up by whoever waited for it, and not to come after this one.
            await asyncio.wait((before,))
        if not await self._database.changes(SAVE, *arguments, self.kept):
            raise self._refused(await self._database.row(SETTLED, *self._held))
        if self.kept is not None:
            self.kept = batches

    async def _saved(self) -> None:
        if self._saving is not None:
            await asyncio.wait((self._saving,))

    async def _result(self, template: str) -> RunResult | None:
        found = await self._database.row(template, self.name)
        return None if found is None else result_from(found[0])

    def _prove(self, *, held: bool) -> None:
        if not held:
            raise LeaseLost(self.name)

    async def _prove_on(self, connection: Connection, *, held: bool) -> None:
        if not held:
            found = await connection.fetchrow(self._sql(SETTLED), *self._held)
            raise self._refused(found)

    def _refused(self, found: Sequence[Any] | None) -> LeaseLost | CheckpointError:
        """Return why nothing was saved, by what is *found* of the name."""
        if found is None or self.kept is None:
            return LeaseLost(self.name)
        why = _WENT_BACK if found[0] < self.kept else _WENT_ON
        return CheckpointError(
            f"The checkpoint of {self.name!r} stands at batch {found[0]:,}, and this "
            f"run had committed {self.kept:,}. {why} Nothing was saved over it. "
            "Run it again: it goes on from where the checkpoint stands."
        )

    def _last_progress(
        self, result: RunResult | None, *, handed_over: bool
    ) -> str | None:
        shown = self._shown
        if shown is None or (result is None and not handed_over):
            return None
        return progress_text(last_seen(shown, result))
