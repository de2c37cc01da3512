"""What people want of a run: from its handle, and from other processes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from adaptive_backfill._core.snapshot import Wishes
from adaptive_backfill._engine.clock import Bell
from adaptive_backfill._engine.wishes import wished_since, with_values
from adaptive_backfill._ports import Wish

__all__ = ["HANDLE", "RunControl", "Steering"]

HANDLE = "its handle"
"""Who pauses a run through `Run.pause()`."""


class Steering(Protocol):
    """What a loop obeys."""

    @property
    def wishes(self) -> Wishes:
        """What is wished now: the same object until it changes."""
        ...

    @property
    def lost(self) -> BaseException | None:
        """Why the lease is gone, where it is."""
        ...

    def was_interrupted(self) -> bool:
        """Whether the `CancelledError` in hand ends a batch only; take it back."""
        ...

    def hold(self, by: str | None) -> None:
        """Pause until somebody resumes; `None` takes such a pause back."""
        ...


class RunControl:
    """The wishes that a run obeys at its batch boundaries.

    Attributes:
        wishes: What is wished now; replaced whole when it changes.
        unsent: The last wish of this process that the store has yet to be told of, so
            that a pause outlives the process and a resume withdraws it everywhere.
        leaving: The block that started the run is being left.
        lost: The lease is gone.
    """

    def __init__(self, bell: Bell) -> None:
        self.wishes = Wishes()
        self.unsent: Wish | None = None
        self.leaving = False
        self.lost: BaseException | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelled_before = 0
        self._interrupting = False
        self._remote = Wishes()
        self._bell = bell

    def stop(self) -> None:
        """Stop at the next batch boundary."""
        self._become(replace(self.wishes, stop=True))

    def pause(self) -> None:
        """Pause at the next batch boundary, until resumed."""
        self.hold(HANDLE)

    def resume(self) -> None:
        """Go on after a pause, whoever paused."""
        self.hold(None)

    def hold(self, by: str | None) -> None:
        """Pause at the next batch boundary, *by* somebody; `None` to go on."""
        self.unsent = Wish("resume", HANDLE) if by is None else Wish("pause", by)
        self._become(replace(self.wishes, paused=by))

    def set(self, values: Mapping[str, object]) -> None:
        """Change options from the next batch on."""
        self._become(with_values(self.wishes, values))

    def heard(self, remote: Wishes) -> None:
        """Take over what the store says is wished."""
        # Until the store knows of a pause or resume of ours, ours is the newer one.
        paused = self.wishes.paused if self.unsent else remote.paused
        # What it keeps from before may have been set anew since, by the handle.
        news, self._remote = wished_since(self._remote, remote), remote
        wishes = with_values(self.wishes, news) if news else self.wishes
        stop = wishes.stop or remote.stop
        self._become(replace(wishes, stop=stop, paused=paused))

    def steers(self, task: asyncio.Task[object] | None) -> None:
        """Take note of the run's *task*, to be able to interrupt it."""
        self._task = task
        # Not 0 where a caller caught a cancellation, and then called `run`.
        self._cancelled_before = 0 if task is None else task.cancelling()

    def interrupt(self) -> None:
        """Cancel what the run is doing now: its handler, a hook, a check.

        Not a cancellation of the run, which ends with a result of its own.
        """
        if self._task is not None and not self._task.done():
            self._interrupting = True
            self._task.cancel()

    def was_interrupted(self) -> bool:
        """Whether the `CancelledError` in hand is `interrupt`'s alone; take it back."""
        if not self._interrupting or self._task is None:
            return False
        self._interrupting = False
        return self._task.uncancel() == self._cancelled_before

    def _become(self, wishes: Wishes) -> None:
        if wishes != self.wishes or wishes.asked != self.wishes.asked:
            self.wishes = wishes
            self._bell.ring()
