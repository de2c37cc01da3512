"""Take a name, or say why not: raise, skip, or stand by."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adaptive_backfill._core.answers import Halt
from adaptive_backfill._core.health import Reason
from adaptive_backfill._core.options import RunOptions
from adaptive_backfill._core.result import RunResult
from adaptive_backfill._engine.clock import Bell
from adaptive_backfill._engine.control import RunControl
from adaptive_backfill._engine.outlast import outlast
from adaptive_backfill._engine.plain_lease import PlainLeases
from adaptive_backfill._ports import Control, Held, Lease, LeaseStore
from adaptive_backfill.errors import AlreadyRunning

__all__ = ["Skipped", "acquire", "leases_of", "skipped", "take"]

STANDBY_POLL = 1.0
"""Seconds between two looks at whether the other run is gone."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """There is nothing to run.

    Attributes:
        why: The other run's ending, or what it is doing.
        batches: What the store knows of the other run.
        rows: What the store knows of the other run.
        quarantined: Rows that it set aside, where it has ended.
    """

    why: str
    batches: int = 0
    rows: int = 0
    quarantined: int = 0

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The reason, as results carry it."""
        return (Reason(None, Halt(self.why), self.why),)


async def take(
    options: RunOptions,
    run_id: str,
    *,
    state_type: object,
    control: RunControl,
    bell: Bell,
    standing_by: Callable[[], None],
) -> Lease | Skipped | None:
    """Return the lease of the run's name; `None` where it has no checkpoint.

    Calls *standing_by* before it begins to wait for another run to end.

    Raises:
        AlreadyRunning: Another run has it, and `if_running` is `"raise"`.
        Exception: The store could not say.
    """
    if options.checkpoint is None:
        return None
    store = leases_of(options.checkpoint.store)
    lease = await acquire(store, options.key, run_id, state_type)
    if not isinstance(lease, Held):
        return lease
    if options.if_running == "raise":
        raise AlreadyRunning(options.key, lease.run_id)
    if options.if_running == "skip":
        why = f"run {lease.run_id} is already at it"
        return Skipped(why, lease.batches, lease.rows)
    standing_by()
    return await _stand_by(
        store, options.key, run_id, state_type, lease, control=control, bell=bell
    )


async def _stand_by(
    store: LeaseStore,
    key: str,
    run_id: str,
    state_type: object,
    owner: Held,
    *,
    control: RunControl,
    bell: Bell,
) -> Lease | Skipped:
    known = {past.run_id for past in await _history(store, key)}
    while not control.wishes.stop:
        await bell.wait(STANDBY_POLL)
        ending = await store.ending(key, owner.run_id)
        if ending is not None:
            return skipped(ending)
        lease = await acquire(store, key, run_id, state_type)
        # Only now nobody else can begin: a run may have come and gone since.
        ending = await _ended_meanwhile(store, key, owner, known)
        if ending is not None:
            if not isinstance(lease, Held):
                await lease.release(None, handed_over=False)
            return skipped(ending)
        if not isinstance(lease, Held):
            return lease
        owner = lease
    return Skipped("stop requested while standing by", owner.batches, owner.rows)


async def _ended_meanwhile(
    store: LeaseStore, key: str, owner: Held, known: set[str]
) -> RunResult | None:
    """Return the ending that *owner*, or a run after it, came to by itself."""
    others = [past.run_id for past in await _history(store, key)]
    for run_id in [owner.run_id, *(each for each in others if each not in known)]:
        ending = await store.ending(key, run_id)
        if ending is not None:
            return ending
    return None


async def _history(store: LeaseStore, key: str) -> Sequence[RunResult]:
    return await store.history(key) if isinstance(store, Control) else ()


def skipped(ending: RunResult) -> Skipped:
    """Return the skip that another run's *ending* makes of this one."""
    why = f"run {ending.run_id} ended: {ending.status}"
    if ending.reasons:
        why = f"{why} ({'; '.join(map(str, ending.reasons))})"
    return Skipped(why, ending.batches, ending.rows, ending.quarantined)


def leases_of(store: object) -> LeaseStore:
    """Return what hands out the leases of *store*."""
    return store if isinstance(store, LeaseStore) else PlainLeases(store)


async def acquire(
    store: LeaseStore, key: str, run_id: str, state_type: object
) -> Lease | Held:
    """Take *key*, or say who has it; nothing is held where it is cancelled."""
    taking = asyncio.ensure_future(store.acquire(key, run_id, state_type))
    held_back = await outlast(taking)
    taken = taking.result()
    if held_back is not None:
        if not isinstance(taken, Held):
            giving = asyncio.ensure_future(taken.release(None, handed_over=False))
            await outlast(giving)
        raise held_back
    return taken
