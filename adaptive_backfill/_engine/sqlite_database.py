"""The file of a `SqliteStore`, the thread that works in it, and the time."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from adaptive_backfill._core.snapshot import Snapshot
from adaptive_backfill._engine import sqlite_snapshots
from adaptive_backfill._engine.sqlite_file import connected, explained
from adaptive_backfill._engine.sqlite_thread import Do, SqliteThread
from adaptive_backfill.errors import CheckpointError

__all__ = ["SqliteDatabase"]

_T = TypeVar("_T")


class SqliteDatabase:
    """What a store and its leases have in common.

    Attributes:
        path: The file.
        lease: Seconds that a lease lasts.
        clock: Returns seconds since 1970.
    """

    def __init__(self, path: Path, lease: float, clock: Callable[[], float]) -> None:
        self.path = path
        self.lease = lease
        self.clock = clock
        self._holders: weakref.WeakSet[object] = weakref.WeakSet()
        self._thread = SqliteThread(
            lambda: connected(path),
            lambda error: explained(error, path),
            f"backfill checkpoints in {path.name}",
        )
        # The thread knows nothing of its owner, and goes when the owner does.
        weakref.finalize(self, self._thread.let_go).atexit = False

    def submit(self, do: Do[_T]) -> asyncio.Future[_T]:
        """Queue *do* for the thread, and return what it will return or raise."""
        return self._thread.submit(do)

    def expiry(self) -> float:
        """Return when a lease that is renewed now will run out."""
        return self.clock() + self.lease

    async def load(self, name: str, state_type: object) -> Snapshot | None:
        """Return the snapshot of *name*, or `None` where there is none.

        Raises:
            CheckpointError: It cannot be read.
        """
        kept = await self.submit(lambda db: sqlite_snapshots.load(db, name))
        if kept is None:
            return None
        try:
            return sqlite_snapshots.snapshot(kept, state_type)
        except CheckpointError as error:
            msg = f"The checkpoint of {name!r} in {self.path} cannot be used. {error}"
            raise CheckpointError(msg) from error

    def held_by(self, lease: object) -> None:
        """Keep the file open for *lease*, until it is released or forgotten."""
        self._holders.add(lease)

    async def released_by(self, lease: object) -> None:
        """Close the file and end the thread, if *lease* was the last one."""
        self._holders.discard(lease)
        if not self._holders:
            await self._thread.retire()

    def close(self) -> None:
        """Do what is queued, and close the file; a later use opens it again."""
        self._thread.close()
