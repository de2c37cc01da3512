"""A checkpoint store in a file: durable, and safe across processes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from typing_extensions import override

from adaptive_backfill._core.codec import encode
from adaptive_backfill._core.last_seen import is_over, went_away
from adaptive_backfill._core.records import progress_from, result_from
from adaptive_backfill._core.result import Progress, RunResult
from adaptive_backfill._core.rules import is_number
from adaptive_backfill._core.snapshot import Snapshot
from adaptive_backfill._engine import sqlite_leases, sqlite_outside, sqlite_snapshots
from adaptive_backfill._engine.sqlite_database import SqliteDatabase
from adaptive_backfill._engine.sqlite_lease import SqliteLease
from adaptive_backfill._engine.sqlite_leases import Holder
from adaptive_backfill._engine.sqlite_outside import Seen
from adaptive_backfill._ports import Held, Lease, Wish
from adaptive_backfill.errors import ConfigurationError

__all__ = ["SqliteStore"]


class SqliteStore:
    """Keeps checkpoints in a SQLite database, by value, for any number of processes.

    The file is made at the first use; its directory has to be there. The work is done
    by one thread of the store's own, which ends with the last run, or when the store
    has not been used for two seconds. One store may serve many backfills, and several
    event loops.

    Args:
        path: The file; give the store one of its own.
        lease: Seconds above 0, or a `timedelta`, after which a run that has fallen
            silent, because its process was killed, may be taken over. It is renewed
            every quarter of that time at least, and with each save.
        clock: Returns seconds since 1970; for tests.

    Raises:
        ConfigurationError: *path* or *lease* is none of these.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        lease: float | timedelta = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        seconds = lease.total_seconds() if isinstance(lease, timedelta) else lease
        problems = [*_path_problems(path), *_lease_problems(seconds)]
        if problems:
            raise ConfigurationError(problems, subject="SqliteStore")
        # Absolute, so that a later change of directory does not mean another file.
        self._database = SqliteDatabase(Path(path).absolute(), float(seconds), clock)

    @override
    def __repr__(self) -> str:
        return f"SqliteStore({str(self._database.path)!r})"

    @property
    def path(self) -> Path:
        """The file, as an absolute path."""
        return self._database.path

    def close(self) -> None:
        """Do what is queued, and close the file; a later use opens it again.

        Blocks until it is done. Not needed where runs end in good order.
        """
        self._database.close()

    async def load(self, name: str) -> Snapshot | None:
        """Return the snapshot of *name*, or `None` where there is none.

        Raises:
            CheckpointError: It cannot be read; also where its state was kept as a
                declared type, which only a run of that backfill can read.
        """
        return await self._database.load(name, None)

    async def save(self, name: str, snapshot: Snapshot) -> None:
        """Replace the snapshot of *name*, all or nothing.

        Raises:
            CheckpointError: It cannot be written, or would not come back as it is.
        """
        row = sqlite_snapshots.kept(snapshot, encode(snapshot.state))
        await self._database.submit(lambda db: sqlite_snapshots.save(db, name, row))

    async def delete(self, name: str) -> None:
        """Forget the snapshot of *name*. Does nothing where there is none."""
        await self._database.submit(lambda db: sqlite_snapshots.delete(db, name))

    async def acquire(
        self, name: str, run_id: str, state_type: object = None
    ) -> Lease | Held:
        """Take *name* for *run_id*, or say who has it."""
        database = self._database
        taking = database.submit(
            lambda db: sqlite_leases.acquire(
                db, name, run_id, database.clock(), database.lease
            )
        )
        try:
            taken = await taking
        except asyncio.CancelledError:
            # Queued behind the taking, which is done all the same.
            database.submit(lambda db: sqlite_leases.withdraw(db, name, run_id))
            raise
        if isinstance(taken, Holder):
            return _held(taken)
        return SqliteLease(database, taken, run_id, state_type)

    async def ending(self, name: str, run_id: str) -> RunResult | None:
        """Return how *run_id* ended by itself; `None` if it did not, or not yet."""
        text = await self._database.submit(
            lambda db: sqlite_outside.ending(db, name, run_id)
        )
        return None if text is None else result_from(text)

    async def look(self, name: str | None = None) -> list[Progress]:
        """Return what is known of *name*, or of every name."""
        clock = self._database.clock
        seen = await self._database.submit(
            lambda db: sqlite_outside.look(db, name, clock())
        )
        return [_shown(one) for one in seen]

    async def wish(self, name: str, wish: Wish) -> None:
        """Leave *wish* for the run of *name*.

        Raises:
            NotRunning: A wish to stop or to set, and nobody holds the name.
        """
        clock = self._database.clock
        await self._database.submit(
            lambda db: sqlite_outside.leave(db, name, wish, clock())
        )

    async def history(self, name: str) -> list[RunResult]:
        """Return how the runs of *name* ended, newest first, 100 at most."""
        texts = await self._database.submit(lambda db: sqlite_outside.history(db, name))
        return [result_from(text) for text in texts]


def _path_problems(path: object) -> list[str]:
    given = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(given, str) or not given.strip() or "\0" in given:
        return [f"path must be the path of a file, as a str or a Path, not {path!r}"]
    if given == ":memory:":
        return ["path is ':memory:'; for what need not be durable there is MemoryStore"]
    return []


def _lease_problems(seconds: object) -> list[str]:
    if is_number(seconds, above_zero=True):
        return []
    return [f"lease must be seconds above 0, or a timedelta, not {seconds!r}"]


def _held(holder: Holder) -> Held:
    # What was saved and what was shown of it are both late, each in its own way.
    shown = None if holder.progress is None else progress_from(holder.progress)
    if shown is None or shown.run_id != holder.run_id:
        return Held(holder.run_id, holder.batches, holder.rows)
    return Held(
        holder.run_id,
        max(holder.batches, shown.batches),
        max(holder.rows, shown.rows),
    )


def _shown(seen: Seen) -> Progress:
    progress = progress_from(seen.progress)
    if is_over(progress) or progress.run_id == seen.holder:
        return progress
    return went_away(progress)
