"""A checkpoint store that lives as long as the process."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field, replace

from adaptive_backfill._core.last_seen import last_seen
from adaptive_backfill._core.result import Progress, RunResult, RunStatus
from adaptive_backfill._core.snapshot import Snapshot, Wishes, by_value
from adaptive_backfill._engine.outside import shown
from adaptive_backfill._engine.wishes import needs_a_run, wished
from adaptive_backfill._ports import Held, Lease, Wish
from adaptive_backfill.errors import LeaseLost, NotRunning

__all__ = ["HISTORY", "MemoryStore"]

HISTORY = 100
"""Endings that are remembered of each name."""


@dataclass(slots=True)
class _Shelf:
    """What is kept of one name."""

    snapshot: Snapshot | None = None
    holder: str | None = None
    progress: Progress | None = None
    wishes: Wishes = field(default_factory=Wishes)
    finished: RunResult | None = None
    history: deque[RunResult] = field(default_factory=lambda: deque(maxlen=HISTORY))
    handed_over: set[str] = field(default_factory=set)


class MemoryStore:
    """Keeps checkpoints in memory, by deep copies.

    For tests, and for work that need not survive the process. One store may serve
    many backfills, and several event loops one after the other.
    """

    def __init__(self) -> None:
        self._shelves: defaultdict[str, _Shelf] = defaultdict(_Shelf)

    async def load(self, name: str) -> Snapshot | None:
        """Return a copy of the snapshot, or `None` where there is none."""
        kept = self._shelves[name].snapshot
        return None if kept is None else _owned(kept)

    async def save(self, name: str, snapshot: Snapshot) -> None:
        """Keep a copy of *snapshot*."""
        self._shelves[name].snapshot = _owned(snapshot)

    async def delete(self, name: str) -> None:
        """Forget the snapshot. Does nothing where there is none."""
        self._shelves[name].snapshot = None

    async def acquire(
        self, name: str, run_id: str, state_type: object = None
    ) -> Lease | Held:
        """Take *name* for *run_id*, or say who has it."""
        shelf = self._shelves[name]
        if shelf.holder is not None:
            return _held(shelf, shelf.holder)
        shelf.holder = run_id
        shelf.wishes = Wishes(paused=shelf.wishes.paused)
        return _MemoryLease(shelf, name, run_id)

    async def ending(self, name: str, run_id: str) -> RunResult | None:
        """Return how *run_id* ended by itself; `None` if it did not, or not yet."""
        shelf = self._shelves[name]
        if run_id in shelf.handed_over:
            return None
        return next((past for past in shelf.history if past.run_id == run_id), None)

    async def look(self, name: str | None = None) -> list[Progress]:
        """Return what is known of *name*, or of every name."""
        names = list(self._shelves) if name is None else [name]
        return [
            shelf.progress
            for shelf in map(self._shelves.get, names)
            if shelf is not None and shelf.progress is not None
        ]

    async def wish(self, name: str, wish: Wish) -> None:
        """Leave *wish* for the run of *name*.

        Raises:
            NotRunning: A wish to stop or to set, and nobody holds the name.
        """
        shelf = self._shelves[name]
        if needs_a_run(wish) and shelf.holder is None:
            raise NotRunning(name, wish.kind)
        shelf.wishes = wished(shelf.wishes, wish)

    async def history(self, name: str) -> list[RunResult]:
        """Return how the runs of *name* ended, newest first, 100 at most."""
        return [_by_value(past) for past in self._shelves[name].history]


class _MemoryLease:
    """One run's hold of a name in a `MemoryStore`."""

    def __init__(self, shelf: _Shelf, name: str, run_id: str) -> None:
        self._shelf = shelf
        self._name = name
        self._run_id = run_id

    @property
    def beat_every(self) -> float:
        return 1.0

    async def load(self) -> Snapshot | None:
        kept = self._shelf.snapshot
        return None if kept is None else _owned(kept)

    def save(self, snapshot: Snapshot) -> None:
        self._check()
        self._shelf.snapshot = _owned(snapshot)

    async def finished(self) -> RunResult | None:
        return self._shelf.finished

    async def untold(self) -> RunResult | None:
        return None

    async def discard(self) -> None:
        self._check()
        self._shelf.snapshot = None
        self._shelf.finished = None

    async def beat(self, progress: Progress) -> Wishes:
        self._check()
        self._shelf.progress = replace(progress, state=by_value(progress.state))
        return self._shelf.wishes

    async def release(self, result: RunResult | None, *, handed_over: bool) -> None:
        shelf = self._shelf
        if shelf.holder != self._run_id:
            return
        shelf.holder = None
        if shelf.progress is not None and (result is not None or handed_over):
            seen = last_seen(shelf.progress, result)
            shelf.progress = replace(seen, state=by_value(seen.state))
        if result is None:
            return
        shelf.history.appendleft(_by_value(result))
        if handed_over:
            # Only names still in the history can be asked for.
            shelf.handed_over &= {past.run_id for past in shelf.history}
            shelf.handed_over.add(self._run_id)
        if result.status is RunStatus.DONE:
            shelf.snapshot = None
            shelf.finished = _by_value(result)

    def _check(self) -> None:
        if self._shelf.holder != self._run_id:
            raise LeaseLost(self._name)


def _held(shelf: _Shelf, holder: str) -> Held:
    # What was saved and what was shown of it are both late, each in its own way.
    kept = shelf.snapshot or Snapshot(None)
    shown = shelf.progress
    if shown is None or shown.run_id != holder:
        return Held(holder, kept.batches, kept.rows)
    return Held(holder, max(kept.batches, shown.batches), max(kept.rows, shown.rows))


def _owned(snapshot: Snapshot) -> Snapshot:
    state = by_value(snapshot.state)
    if state is snapshot.state:
        return snapshot
    return replace(snapshot, state=state)


def _by_value(result: RunResult) -> RunResult:
    """Return *result* so that nobody who has one can change the other."""
    return replace(
        result,
        state=shown(result.state),
        result=shown(result.result),
        hook_errors=[*result.hook_errors],
    )
