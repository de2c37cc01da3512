"""Ask every health check once, all at the same time."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import anyio
import anyio.to_thread

from adaptive_backfill._core.evaluation import (
    Evaluation,
    HealthReport,
    misjudged,
    report_of,
)
from adaptive_backfill._core.health import (
    CheckResult,
    HealthCheck,
    HealthContext,
    Load,
    failed,
    judged,
)
from adaptive_backfill._engine.gauging import Gauge, is_load
from adaptive_backfill._engine.outlast import end_all, unfold
from adaptive_backfill._engine.outside import Given, ask
from adaptive_backfill._ports import Clock
from adaptive_backfill.errors import HealthCheckTimeout

__all__ = ["Sampler"]

_Block: TypeAlias = AbstractContextManager[object]


class Sampler:
    """One run's health checks, ready to be asked.

    Plain sync checks run in worker threads. One that still hangs from an earlier
    sampling is not started again.
    """

    def __init__(
        self,
        checks: Sequence[HealthCheck],
        evaluate: Evaluation,
        context: HealthContext,
        *,
        limit: float,
        clock: Clock,
    ) -> None:
        self._asked = [_Asked(check, context) for check in checks]
        self._evaluate = evaluate
        self._limit = limit
        self._clock = clock
        self._threads = anyio.CapacityLimiter(max(1, len(checks)))

    async def sample(self) -> HealthReport:
        """Return what the checks find now, evaluated. Raises only cancellation."""
        results = await self._results()
        verdict = await ask(self._evaluate, results)
        if verdict.error is not None:
            return misjudged(results, verdict.error)
        return report_of(results, verdict.value)

    async def _results(self) -> list[CheckResult]:
        if len(self._asked) == 1:
            return [await self._ask(self._asked[0])]
        tasks = [asyncio.create_task(self._ask(asked)) for asked in self._asked]
        try:
            await asyncio.wait(tasks)
        finally:
            await end_all(tasks)
        return [task.result() for task in tasks]

    async def _ask(self, asked: _Asked) -> CheckResult:
        began = self._clock.monotonic()
        if asked.hangs:
            # Its thread cannot be stopped; a second one would hang beside it.
            error = HealthCheckTimeout(asked.check.name, self._limit)
            return failed(asked.check, error, 0.0)
        given = Given()
        with anyio.move_on_after(self._limit) as scope:
            given = await ask(
                asked.call, self._threads, partial(_untimed, scope, self._limit)
            )
        unfold(scope)
        duration = self._clock.monotonic() - began
        if scope.cancelled_caught:
            error = HealthCheckTimeout(asked.check.name, self._limit)
            return failed(asked.check, error, duration)
        if given.error is not None:
            return failed(asked.check, given.error, duration)
        result = judged(asked.check, given.value, duration)
        if asked.gauge is None:
            return result
        told = await asked.gauge.read()
        load, at = told if isinstance(told, Load) else (told, None)
        # One that goes wrong says nothing, and its verdict counts all the same.
        if not is_load(load):
            return result
        return replace(result, load=float(load), load_at=at)


class _Asked:
    """One check, and how it is called.

    Attributes:
        check: The check.
        hangs: Whether its thread has not come back yet.
        gauge: Says how near to its limit the last look was, where the check can tell.
    """

    def __init__(self, check: HealthCheck, context: HealthContext) -> None:
        self.check = check
        self.hangs = False
        self.gauge = Gauge.of(check, context)
        self._context = context if _takes_context(check.fn) else None
        self._is_async = _is_async(check.fn)

    async def call(
        self, threads: anyio.CapacityLimiter, untimed: Callable[[], _Block]
    ) -> object:
        if self._is_async:
            answer = self._called(untimed)
        else:
            answer = await anyio.to_thread.run_sync(
                self._in_thread, abandon_on_cancel=True, limiter=threads
            )
        return await answer if inspect.isawaitable(answer) else answer

    def _in_thread(self) -> object:
        self.hangs = True
        try:
            # Without `untimed`: a scope can only be touched from the event loop.
            return self._called(nullcontext)
        finally:
            self.hangs = False

    def _called(self, untimed: Callable[[], _Block]) -> object:
        if self._context is None:
            return self.check.fn()
        return self.check.fn(replace(self._context, untimed=untimed))


@contextmanager
def _untimed(scope: anyio.CancelScope, limit: float) -> Iterator[None]:
    scope.deadline = math.inf
    try:
        yield
    finally:
        scope.deadline = anyio.current_time() + limit


def _is_async(fn: Callable[..., object]) -> bool:
    # Only a hint for where to call it: what comes back is looked at in any case.
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(
        inspect.getattr_static(type(fn), "__call__", None)
    )


def _takes_context(fn: Callable[..., object]) -> bool:
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.default is parameter.empty
        for parameter in parameters
    )
