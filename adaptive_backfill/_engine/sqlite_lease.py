"""One run's hold of a name in a `SqliteStore`."""

from __future__ import annotations

from collections.abc import Awaitable

from adaptive_backfill._core.codec import encode
from adaptive_backfill._core.last_seen import last_seen
from adaptive_backfill._core.records import (
    progress_text,
    result_from,
    result_text,
    wishes_from,
)
from adaptive_backfill._core.result import Progress, RunResult, RunStatus
from adaptive_backfill._core.snapshot import Snapshot, Wishes
from adaptive_backfill._engine import sqlite_leases
from adaptive_backfill._engine.sqlite_database import SqliteDatabase
from adaptive_backfill._engine.sqlite_leases import Ending, Grip
from adaptive_backfill._engine.sqlite_snapshots import kept

__all__ = ["SqliteLease"]

BEAT = 1.0
"""Seconds between two beats at most, so that wishes are heard within two seconds."""


class SqliteLease:
    """Writes as long as no other run has taken over."""

    def __init__(
        self, database: SqliteDatabase, grip: Grip, run_id: str, state_type: object
    ) -> None:
        self._database = database
        self._grip = grip
        self._run_id = run_id
        self._state_type = state_type
        self._shown: Progress | None = None
        database.held_by(self)

    @property
    def beat_every(self) -> float:
        """Seconds between two calls of `beat`."""
        return min(BEAT, self._database.lease / 4)

    async def load(self) -> Snapshot | None:
        """Return the snapshot, or `None` where there is none."""
        return await self._database.load(self._grip.name, self._state_type)

    def save(self, snapshot: Snapshot) -> Awaitable[None]:
        """Replace the snapshot and renew the lease, all or nothing.

        The state is taken as it is now, and saved even if nobody awaits the answer.
        """
        grip, expiry = self._grip, self._database.expiry
        row = kept(snapshot, encode(snapshot.state, self._state_type))
        return self._database.submit(
            lambda db: sqlite_leases.save(db, grip, row, expiry())
        )

    async def finished(self) -> RunResult | None:
        """Return how this name was finished, if it is remembered as such."""
        name = self._grip.name
        text = await self._database.submit(lambda db: sqlite_leases.finished(db, name))
        return None if text is None else result_from(text)

    async def untold(self) -> RunResult | None:
        """Return `None`: a finish is kept after the data, and with the release."""
        return None

    async def discard(self) -> None:
        """Forget the snapshot and that it was ever finished."""
        grip = self._grip
        await self._database.submit(lambda db: sqlite_leases.discard(db, grip))

    async def beat(self, progress: Progress) -> Wishes:
        """Renew the lease, show *progress* to others, return what they wish."""
        grip, expiry = self._grip, self._database.expiry
        text = progress_text(progress)
        wishes = await self._database.submit(
            lambda db: sqlite_leases.beat(db, grip, text, expiry())
        )
        self._shown = progress
        return wishes_from(wishes)

    async def release(self, result: RunResult | None, *, handed_over: bool) -> None:
        """Give the name free, and keep *result* in its history."""
        grip = self._grip
        ending = Ending(
            self._run_id,
            None if result is None else result_text(result),
            done=result is not None and result.status is RunStatus.DONE,
            handed_over=handed_over,
            progress=self._last_progress(result, handed_over=handed_over),
        )
        await self._database.submit(lambda db: sqlite_leases.release(db, grip, ending))
        await self._database.released_by(self)

    def _last_progress(
        self, result: RunResult | None, *, handed_over: bool
    ) -> str | None:
        shown = self._shown
        if shown is None or (result is None and not handed_over):
            return None
        return progress_text(last_seen(shown, result))
