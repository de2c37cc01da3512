"""A run of a walk, which goes on from the checkpoint of that walk alone."""

from __future__ import annotations

from dataclasses import replace

from typing_extensions import override

from adaptive_backfill._core.run import RunState
from adaptive_backfill._engine.leasing import Skipped
from adaptive_backfill._engine.opening import Opened, failed_at_start
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.postgres._identity import of_another_walk
from adaptive_backfill.postgres._parts import Parts
from adaptive_backfill.postgres._walk import Cursor
from adaptive_backfill.postgres.workers import CrewSession

__all__ = ["WalkSession"]


class WalkSession(CrewSession):
    """A run that does nothing where its checkpoint is of another walk.

    A cursor that does not say which walk it is of, as one by an earlier version, or
    one that was given as `initial_state`, is taken to be of this one, and says so
    from then on.
    """

    @override
    async def _starting_point(self) -> Opened | Skipped:
        opened = await super()._starting_point()
        if isinstance(opened, Opened) and isinstance(opened.run.state, Cursor):
            try:
                # Of a run that is all but closed nothing was asked before.
                self._of_this_walk(opened.run.state)
            except ConfigurationError as error:
                return failed_at_start(error)
        return opened

    @override
    async def _in_shares(self, opened: Opened) -> Opened:
        run = opened.run
        if isinstance(run.state, Cursor):
            run = run._replace(state=self._of_this_walk(run.state))
        async with self._terms.walk().pool.acquire() as connection:
            await self._terms.ready(connection)
        return await super()._in_shares(opened._replace(run=run))

    @override
    async def _parts_of(
        self, run: RunState, cursor: Cursor, *, workers: int, size: int | None
    ) -> Parts | None:
        # It may be another one than that of the start, which a cut goes before.
        cursor = self._of_this_walk(cursor)
        return await super()._parts_of(run, cursor, workers=workers, size=size)

    def _of_this_walk(self, cursor: Cursor) -> Cursor:
        """Return *cursor* as one of this run's walk.

        Raises:
            ConfigurationError: It is of another one.
        """
        walk = self._terms.walk()
        if cursor.walk is None:
            return replace(cursor, walk=walk.name)
        if cursor.walk != walk.name:
            key, own = self._options.key, self._own_name(walk.keyset.table.name)
            problem = of_another_walk(key, cursor.walk, walk.name, own=own)
            raise ConfigurationError([problem], subject=walk.subject)
        return cursor

    def _own_name(self, table: str) -> str:
        checkpoint = self._options.checkpoint
        own = f"{self._options.key}-{table}"
        if checkpoint is None or checkpoint.name is None:
            return f"run(name={own!r})"
        return f"run(checkpoint=Checkpoint(store, {own!r}))"
