"""A checkpoint store in PostgreSQL: durable, and safe across machines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import anyio
from typing_extensions import override

from adaptive_backfill._core.codec import encode
from adaptive_backfill._core.last_seen import is_over, went_away
from adaptive_backfill._core.records import (
    progress_from,
    result_from,
    wishes_from,
    wishes_text,
)
from adaptive_backfill._core.result import Progress, RunResult
from adaptive_backfill._core.rules import is_number
from adaptive_backfill._core.snapshot import Snapshot, Wishes
from adaptive_backfill._engine.memory_store import HISTORY
from adaptive_backfill._engine.outlast import outlast
from adaptive_backfill._engine.wishes import needs_a_run, wished
from adaptive_backfill._ports import Held, Wish
from adaptive_backfill.errors import CheckpointError, ConfigurationError, NotRunning
from adaptive_backfill.postgres import _store_schema
from adaptive_backfill.postgres._store_database import StoreDatabase
from adaptive_backfill.postgres._store_lease import PostgresLease
from adaptive_backfill.postgres._store_pool import PoolSource, pool_problems
from adaptive_backfill.postgres._store_schema import DEFAULT_SCHEMA, schema_problems
from adaptive_backfill.postgres._store_sql import (
    DELETE,
    ENDING,
    HISTORY_OF,
    LEAVE,
    LOOK,
    PUT,
    TAKE,
    WISHED,
    Tables,
)

__all__ = ["PostgresStore"]

_LOOKS = 20
_SECONDS_BETWEEN_LOOKS = 0.05


class PostgresStore:
    """Keeps checkpoints in a PostgreSQL database, by value, for any number of machines.

    Its tables are in a schema of their own. They are made by the first run, or wish;
    where the role may not create them, by the script that `script` returns. Who only
    looks makes none, and finds nothing where there are none. Time is the server's, so
    the clocks of machines do not matter.

    It takes a connection of the pool for a statement at a time, and nothing of a
    session stays on it: a pool of two suffices, one connection for the batch and one
    for this and the health checks, and it may be behind PgBouncer in transaction mode
    (then with `statement_cache_size=0`). One store may serve many backfills.

    Args:
        pool: An open asyncpg pool; or a callable, sync or async, that is called at
            each use and returns the open pool of the event loop that is running.
        lease: Seconds above 0, or a `timedelta`, after which a run that has fallen
            silent, because its process was killed, may be taken over. It is renewed
            every quarter of that time at least, and with each save.
        schema: The schema of its tables.

    Raises:
        ConfigurationError: *pool*, *lease* or *schema* is none of these.
    """

    def __init__(
        self,
        pool: PoolSource,
        *,
        lease: float | timedelta = 60.0,
        schema: str = DEFAULT_SCHEMA,
    ) -> None:
        seconds = lease.total_seconds() if isinstance(lease, timedelta) else lease
        problems = [*pool_problems(pool), *_lease_problems(seconds)]
        problems += schema_problems(schema)
        if problems:
            raise ConfigurationError(problems, subject="PostgresStore")
        self._database = StoreDatabase(pool, schema, float(seconds))

    @override
    def __repr__(self) -> str:
        return f"PostgresStore(schema={self._database.schema!r})"

    @property
    def schema(self) -> str:
        """The schema of its tables."""
        return self._database.schema

    @staticmethod
    def script(schema: str = DEFAULT_SCHEMA) -> str:
        """Return the SQL that makes or migrates the tables, for psql.

        For an owner to run where those who run backfills may not create tables. It
        may be run again, and names at its end what to grant to them.

        Raises:
            ConfigurationError: *schema* is no schema's name.
        """
        problems = schema_problems(schema)
        if problems:
            raise ConfigurationError(problems, subject="PostgresStore.script")
        return _store_schema.script(Tables(schema))

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
        counts = (snapshot.batches, snapshot.rows, snapshot.batch_size)
        await self._database.changes(PUT, name, *encode(snapshot.state), *counts)

    async def delete(self, name: str) -> None:
        """Forget the snapshot of *name*. Does nothing where there is none."""
        await self._database.changes(DELETE, name)

    async def acquire(
        self, name: str, run_id: str, state_type: object = None
    ) -> PostgresLease | Held:
        """Take *name* for *run_id*, or say who has it."""
        taking = asyncio.ensure_future(self._take(name, run_id, state_type))
        held_back = await outlast(taking)
        if held_back is None:
            return taking.result()
        if not taking.cancelled() and taking.exception() is None:
            taken = taking.result()
            if isinstance(taken, PostgresLease):
                # Nobody will hear that it was taken.
                giving = taken.release(None, handed_over=False)
                await outlast(asyncio.ensure_future(giving))
        raise held_back

    async def ending(self, name: str, run_id: str) -> RunResult | None:
        """Return how *run_id* ended by itself; `None` if it did not, or not yet."""
        found = await self._database.seen(ENDING, name, run_id)
        return result_from(found[0][0]) if found else None

    async def look(self, name: str | None = None) -> list[Progress]:
        """Return what is known of *name*, or of every name."""
        seen = await self._database.seen(LOOK, name)
        return [_shown(progress, holder) for progress, holder in seen]

    async def wish(self, name: str, wish: Wish) -> None:
        """Leave *wish* for the run of *name*.

        Raises:
            NotRunning: A wish to stop or to set, and nobody holds the name.
        """
        # Each round that fails means that somebody else got something done.
        while not await self._left(name, wish):
            pass

    async def history(self, name: str) -> list[RunResult]:
        """Return how the runs of *name* ended, newest first, 100 at most."""
        found = await self._database.seen(HISTORY_OF, name, HISTORY)
        return [result_from(text) for (text,) in found]

    async def _take(
        self, name: str, run_id: str, state_type: object
    ) -> PostgresLease | Held:
        database = self._database
        holder: Held | None = None
        for _ in range(_LOOKS):
            found = await database.row(TAKE, name, run_id, database.lease)
            token, running, *known = found or (None, None)
            if token is not None:
                return PostgresLease(
                    database, name, token, run_id=run_id, state_type=state_type
                )
            holder = _held(known)
            if holder is not None and running:
                return holder
            # Somebody else has the row for a moment, to take it, wish or release.
            await anyio.sleep(_SECONDS_BETWEEN_LOOKS)
        if holder is None:
            msg = (
                f"{name!r} cannot be taken: another transaction keeps its row in the "
                f"schema {database.schema!r} locked, and no run holds it. End that "
                "transaction, and run it again."
            )
            raise CheckpointError(msg)
        # Its lease ran out while it commits a batch: it has it until that is decided.
        return holder

    async def _left(self, name: str, wish: Wish) -> bool:
        found = await self._database.row(WISHED, name)
        before, running = found or (None, False)
        if needs_a_run(wish) and not running:
            raise NotRunning(name, wish.kind)
        after = wished(wishes_from(before), wish)
        texts = (wishes_text(after), wishes_text(Wishes(paused=after.paused)))
        return await self._database.changes(
            LEAVE, name, *texts, before, needs_a_run(wish)
        )


def _lease_problems(seconds: object) -> list[str]:
    if is_number(seconds, above_zero=True):
        return []
    return [f"lease must be seconds above 0, or a timedelta, not {seconds!r}"]


def _held(known: Sequence[Any]) -> Held | None:
    run_id, batches, rows, progress = known or (None, 0, 0, None)
    if run_id is None:
        return None
    # What was saved and what was shown of it are both late, each in its own way.
    shown = None if progress is None else progress_from(progress)
    if shown is None or shown.run_id != run_id:
        return Held(run_id, batches, rows)
    return Held(run_id, max(batches, shown.batches), max(rows, shown.rows))


def _shown(text: str, holder: str | None) -> Progress:
    progress = progress_from(text)
    if is_over(progress) or progress.run_id == holder:
        return progress
    return went_away(progress)
