"""Three ways to know the health: never ask, ask when needed, or keep asking.

They sample and judge alike, and differ only in when they sample. Beside each of them
there may be a gate, which is asked before every batch.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

from adaptive_backfill._core.answers import OK, Halt, Pause
from adaptive_backfill._core.evaluation import (
    HEALTHY,
    HealthReport,
    joined,
    unknown_for,
    worst_of,
)
from adaptive_backfill._core.health import HealthContext
from adaptive_backfill._core.options import RunOptions
from adaptive_backfill._engine.clock import Bell
from adaptive_backfill._engine.outlast import end_all
from adaptive_backfill._engine.sampling import Sampler
from adaptive_backfill._ports import Clock, Gate, Monitor

__all__ = ["monitor_for"]

_SECONDS_WHILE_SHUT = 0.25
"""Between two looks at a gate that holds the run back."""


def monitor_for(
    options: RunOptions,
    context: HealthContext,
    *,
    clock: Clock,
    bell: Bell,
    gate: Gate | None = None,
) -> Monitor:
    """Return the monitor that *options* ask for, with *gate* beside it."""
    sampler = Sampler(
        options.health_checks,
        options.evaluate,
        context,
        limit=options.health_timeout,
        clock=clock,
    )
    monitor = _monitor_for(options, sampler, clock=clock, bell=bell)
    if gate is None:
        return monitor
    limit = options.health_timeout
    gates = Sampler(gate.checks, worst_of, context, limit=limit, clock=clock)
    return _GatedMonitor(monitor, gate, gates)


def _monitor_for(
    options: RunOptions, sampler: Sampler, *, clock: Clock, bell: Bell
) -> Monitor:
    if not options.health_checks:
        return _NoMonitor()
    if options.mode == "sync":
        return _InlineMonitor(sampler, options.health_interval)
    return _BackgroundMonitor(
        sampler,
        clock=clock,
        bell=bell,
        interval=options.health_interval,
        stale_after=max(
            3 * options.health_interval,
            options.health_interval + options.health_timeout,
        ),
    )


class _NoMonitor:
    """There is nothing to ask."""

    recheck_after: float | None = None

    async def start(self) -> None:
        return None

    async def verdict(self) -> HealthReport:
        return HEALTHY

    async def stop(self) -> None:
        return None


class _InlineMonitor:
    """Asks the checks each time. The batch waits for the answer."""

    def __init__(self, sampler: Sampler, interval: float) -> None:
        self._sampler = sampler
        self.recheck_after: float | None = interval
        # A single operation may ask twice at once; a check that is at it for the
        # first would look like one that hangs to the second.
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        return None

    async def verdict(self) -> HealthReport:
        async with self._turn:
            return await self._sampler.sample()

    async def stop(self) -> None:
        return None


class _BackgroundMonitor:
    """Keeps asking in a task of its own, and answers from memory.

    A report older than *stale_after* seconds is stale: nothing grows on it. At twice
    that age it says nothing any more, and unknown is not healthy.
    """

    recheck_after: float | None = None

    def __init__(
        self,
        sampler: Sampler,
        *,
        clock: Clock,
        bell: Bell,
        interval: float,
        stale_after: float,
    ) -> None:
        self._sampler = sampler
        self._clock = clock
        self._bell = bell
        self._interval = interval
        self._stale_after = stale_after
        self._report = HEALTHY
        self._at = -float("inf")
        self._looked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    async def start(self) -> None:
        self._task = asyncio.create_task(self._keep_looking())
        self._task.add_done_callback(lambda _: self._bell.ring())
        looked = asyncio.create_task(self._looked.wait())
        try:
            # A monitor that dies before its first look must not be waited for.
            await asyncio.wait((looked, self._task), return_when="FIRST_COMPLETED")
        finally:
            await end_all((looked,))

    async def verdict(self) -> HealthReport:
        if self._task is not None and self._task.done() and not self._task.cancelled():
            # No Exception gets out of a sampling: this is the run's to raise.
            self._task.result()
        age = self._clock.monotonic() - self._at
        if age < self._stale_after:
            return self._report
        if age < 2 * self._stale_after:
            return replace(self._report, fresh=False)
        return unknown_for(age)

    async def stop(self) -> None:
        self._stopped = True
        if self._task is not None:
            await end_all((self._task,))

    async def _keep_looking(self) -> None:
        # Not `while True`: a check may swallow the cancellation that is to end this.
        while not self._stopped:
            self._report = await self._sampler.sample()
            self._at = self._clock.monotonic()
            self._looked.set()
            self._bell.ring()
            await self._clock.sleep(self._interval)


class _GatedMonitor:
    """Asks *monitor*, and before each batch a gate, unless that is known to be open."""

    def __init__(self, monitor: Monitor, gate: Gate, sampler: Sampler) -> None:
        self._monitor = monitor
        self._gate = gate
        self._sampler = sampler
        # Several workers may come at once: two looks are enough for all of them.
        self._turn = asyncio.Lock()
        self._begun = self._ended = 0
        self._found = HEALTHY

    @property
    def recheck_after(self) -> float:
        return min(_SECONDS_WHILE_SHUT, self._monitor.recheck_after or math.inf)

    async def start(self) -> None:
        await self._monitor.start()

    async def verdict(self) -> HealthReport:
        report = await self._monitor.verdict()
        if isinstance(report.verdict, Pause | Halt) or self._gate.is_open():
            return report
        found = await self._looked()
        return report if found.verdict is OK else joined(report, found)

    async def _looked(self) -> HealthReport:
        """Return what a look found that began after this was called."""
        before = self._begun
        async with self._turn:
            if self._ended <= before:
                self._begun = number = self._begun + 1
                self._found = await self._sampler.sample()
                self._ended = number
            return self._found

    async def stop(self) -> None:
        await self._monitor.stop()
