"""A clock that tests own: no test waits for it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from datetime import UTC, datetime, timedelta

__all__ = ["FakeClock"]

IDLE_TURNS = 25
"""Turns of the event loop without a wake-up after which time jumps on.

Enough for a batch, its hooks and its checks to get as far as they can by themselves.
"""

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
"""The time of day at which a clock begins, where nobody says."""


class FakeClock:
    """Time that jumps to the next sleeper once everybody had their turn.

    An hour of pauses passes in a millisecond, in the right order. Hand it to
    `adaptive_backfill.testing.run`. `timeout` and `health_timeout` are the event
    loop's, and stay real.

    Args:
        began: The time of day at which it begins, with a time zone.

    Attributes:
        now: Seconds since the clock was made.
        slept: Every sleep that was asked for, in seconds, in order.
    """

    def __init__(self, began: datetime = NEW_YEAR) -> None:
        self.now = 0.0
        self._began = began
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._turns = 0
        self._turning = False

    def monotonic(self) -> float:
        """Return `now`."""
        return self.now

    def wall(self) -> datetime:
        """Return the time of day that it is `now`."""
        # In UTC, or an hour would be lost where a clock is changed.
        return self._began.astimezone(UTC) + timedelta(seconds=self.now)

    async def sleep(self, seconds: float) -> None:
        """Wait until the time has moved on by *seconds*."""
        self.slept.append(seconds)
        loop = asyncio.get_running_loop()
        wake: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), wake))
        self._turns = 0
        if not self._turning:
            self._turning = True
            loop.call_soon(self._turn, loop)
        await wake

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        # Whoever sleeps for ever is woken by somebody else.
        if not self._sleepers or math.isinf(self._sleepers[0][0]):
            self._turning = False
            return
        self._turns += 1
        if self._turns > IDLE_TURNS:
            due, _, wake = heapq.heappop(self._sleepers)
            self.now = max(self.now, due)
            wake.set_result(None)
            self._turns = 0
        loop.call_soon(self._turn, loop)
