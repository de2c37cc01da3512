"""Keep a run's position: through the unit of work, whatever cancellation comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from adaptive_backfill._core.answers import Done
from adaptive_backfill._core.saying import said_of_error
from adaptive_backfill._core.snapshot import Snapshot
from adaptive_backfill._engine.outlast import outlast
from adaptive_backfill._ports import Handle, Lease
from adaptive_backfill.errors import CheckpointError, LeaseLost

__all__ = ["PlainUnit", "as_checkpoint_error", "uncopied"]


class PlainUnit:
    """The unit of work of a backfill whose data and checkpoint live apart.

    There is nothing to open or to drop: the handler's work is done when it answers,
    and the save follows. A crash in between repeats that batch.
    """

    atomic = False

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def within(self, handle: Handle) -> Handle:
        """Return *handle* itself."""
        return handle

    def commit(
        self, snapshot: Snapshot, done: Done | None = None
    ) -> Awaitable[asyncio.CancelledError | None] | None:
        """Save *snapshot* to its end; give the cancellation held back."""
        pending = self._lease.save(snapshot)
        return None if pending is None else self._saved(pending)

    async def _saved(self, pending: Awaitable[None]) -> asyncio.CancelledError | None:
        saving = asyncio.ensure_future(pending)
        held = await outlast(saving)
        if held is not None and saving.exception() is not None:
            # Whoever cancels is not to be told that the run failed instead.
            raise held from saving.exception()
        saving.result()
        return held

    async def rollback(self) -> None:
        """Drop nothing."""

    async def rest(self) -> None:
        """Hold nothing, as ever."""


def as_checkpoint_error(error: BaseException, name: str, doing: str) -> Exception:
    """Return what a store's *error* means to the run: the error of its result."""
    if isinstance(error, CheckpointError | LeaseLost):
        return error
    wrapped = CheckpointError(
        f"The checkpoint of {name!r} could not be {doing}: "
        f"{said_of_error(error)}. What was kept before is still there; run "
        "it again once the store works."
    )
    wrapped.__cause__ = error
    return wrapped


def uncopied(state: object, name: str, error: BaseException) -> CheckpointError:
    """Return the error of a run whose *state* cannot be copied, so not be kept."""
    kind = type(state).__qualname__
    refused = CheckpointError(
        f"The state of {name!r}, a {kind}, cannot be copied, and so it cannot be kept: "
        f"{said_of_error(error)}. Keep what describes it instead, such as an id or a "
        "path."
    )
    refused.__cause__ = error
    return refused
