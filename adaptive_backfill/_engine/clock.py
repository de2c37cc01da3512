"""The real clock, and waiting that can be cut short."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime

import anyio

from adaptive_backfill._engine.outlast import unfold
from adaptive_backfill._ports import Clock

__all__ = ["Bell", "SystemClock"]


class SystemClock:
    """Time as the machine tells it."""

    monotonic = staticmethod(time.monotonic)

    def wall(self) -> datetime:
        """Return the time of day, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait *seconds*; 0 still lets other tasks run."""
        await asyncio.sleep(seconds)


class Bell:
    """Wakes a waiting run: somebody wished something, or the health was looked at.

    A ring is not kept: look at what may have changed, then wait, with no `await`
    between the two.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: set[anyio.CancelScope] = set()

    def ring(self) -> None:
        """Wake whoever waits now."""
        for scope in self._waiting:
            scope.cancel()

    async def wait(self, seconds: float | None) -> None:
        """Wait for a ring, at most *seconds* where given."""
        with anyio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                await self._clock.sleep(math.inf if seconds is None else seconds)
            finally:
                self._waiting.discard(scope)
        unfold(scope)
