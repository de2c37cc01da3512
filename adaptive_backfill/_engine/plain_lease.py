"""A lease for stores that have none: good within this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast
from weakref import WeakValueDictionary

from adaptive_backfill._core.result import Progress, RunResult, RunStatus
from adaptive_backfill._core.snapshot import Snapshot, Wishes
from adaptive_backfill._engine.outside import ask
from adaptive_backfill._ports import Held

__all__ = ["PlainLeases"]


class PlainLeases:
    """Makes a store of three methods, sync or async, hand out leases."""

    def __init__(self, store: object) -> None:
        self._store = store

    async def acquire(
        self, name: str, run_id: str, state_type: object = None
    ) -> _PlainLease | Held:
        """Take *name* for *run_id*, or say who in this process has it."""
        # The lease keeps its store alive, so the id cannot come to mean another one.
        place = (id(self._store), name)
        lease = _PlainLease(self._store, name, run_id)
        holder = _running.setdefault(place, lease)
        if holder is lease:
            return lease
        return Held(holder.run_id)

    async def ending(self, name: str, run_id: str) -> RunResult | None:
        """Return `None`: such a store remembers no endings."""
        return None


class _PlainLease:
    beat_every: float | None = None

    def __init__(self, store: object, name: str, run_id: str) -> None:
        self.run_id = run_id
        self._store = store
        self._name = name

    async def load(self) -> Snapshot | None:
        kept = await self._do("load", self._name)
        if kept is None or isinstance(kept, Snapshot):
            return kept
        msg = (
            f"load({self._name!r}) of {type(self._store).__name__} returned "
            f"{kept!r}; it must return the Snapshot that was saved, or None"
        )
        raise TypeError(msg)

    async def save(self, snapshot: Snapshot) -> None:
        await self._do("save", self._name, snapshot)

    async def finished(self) -> RunResult | None:
        return None

    async def untold(self) -> RunResult | None:
        return None

    async def discard(self) -> None:
        await self._do("delete", self._name)

    async def beat(self, progress: Progress) -> Wishes:
        return Wishes()

    async def release(self, result: RunResult | None, *, handed_over: bool) -> None:
        place = (id(self._store), self._name)
        if _running.get(place) is not self:
            return
        try:
            if result is not None and result.status is RunStatus.DONE:
                await self.discard()
        finally:
            _running.pop(place, None)

    async def _do(self, method: str, *args: object) -> object:
        call = cast("Callable[..., object]", getattr(self._store, method))
        given = await ask(call, *args)
        if given.error is not None:
            raise given.error
        return given.value


# Weak: a run whose task was thrown away holds nothing.
_running: WeakValueDictionary[tuple[int, str], _PlainLease] = WeakValueDictionary()
