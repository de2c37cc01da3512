"""What may be a health check, and where plain functions run."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    Done,
    Halt,
    HealthCheck,
    HealthContext,
    Next,
    RunStatus,
    Verdict,
    errors,
    testing,
)
from adaptive_backfill.testing import FakeClock
from tests.engine.sharing import (
    BOTH,
    Count,
    HealthAsked,
    answering,
    turns,
)


async def _asynchronous() -> Verdict:
    return Halt("found")


def _plain() -> Verdict:
    return Halt("found")


def _with_argument(verdict: Verdict) -> Verdict:
    return verdict


async def _async_with_argument(verdict: Verdict) -> Verdict:
    return verdict


class _Object:
    def __call__(self) -> Verdict:
        return Halt("found")

    def method(self) -> Verdict:
        return Halt("found")

    async def async_method(self) -> Verdict:
        return Halt("found")

    @staticmethod
    def static() -> Verdict:
        return Halt("found")


class _AsyncObject:
    async def __call__(self) -> Verdict:
        return Halt("found")


class _Awaitable:
    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        return Halt("found")


CALLABLES: dict[str, Callable[[], object]] = {
    "async def": _asynchronous,
    "def": _plain,
    "lambda": lambda: Halt("found"),
    "lambda of a coroutine": lambda: _asynchronous(),
    "def that returns an awaitable": _Awaitable,
    "partial": functools.partial(_with_argument, Halt("found")),
    "async partial": functools.partial(_async_with_argument, Halt("found")),
    "partial of a partial": functools.partial(functools.partial(_asynchronous)),
    "object": _Object(),
    "async object": _AsyncObject(),
    "partial of an async object": functools.partial(_AsyncObject()),
    "bound method": _Object().method,
    "async bound method": _Object().async_method,
    "static method": _Object.static,
}


CALLABLES["def that returns an awaitable"] = lambda: _Awaitable()


@pytest.mark.asyncio
@BOTH
@pytest.mark.parametrize("kind", CALLABLES)
async def test_a_check_may_be_any_callable(mode: str, kind: str) -> None:
    result = await Count.run(mode=mode, health_checks=[CALLABLES[kind]])

    assert result.status is RunStatus.HALTED
    assert [reason.value for reason in result.reasons] == ["found"]


@pytest.mark.asyncio
async def test_a_context_is_handed_to_who_asks_for_one() -> None:
    seen: list[HealthContext] = []

    async def asks(context: HealthContext) -> None:
        seen.append(context)

    async def asks_not(context: HealthContext | None = None) -> None:
        assert context is None

    def plain(context: HealthContext) -> None:
        seen.append(context)

    pool = object()

    class Pooled(Count):
        name = "pooled"
        pool: object

    result = await Pooled.run(
        pool=pool, mode="sync", max_batches=1, health_checks=[asks, asks_not, plain]
    )

    assert result.status is RunStatus.STOPPED
    assert [(each.name, each.pool) for each in seen] == [("pooled", pool)] * 2


@pytest.mark.asyncio
@BOTH
async def test_a_plain_check_runs_in_a_thread_of_its_own(mode: str) -> None:
    threads: list[int] = []

    def check() -> None:
        threads.append(threading.get_ident())

    await Count.run(mode=mode, health_checks=[check])

    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.asyncio
async def test_a_plain_check_does_not_block_the_loop() -> None:
    gate = threading.Event()
    seen: list[str] = []

    def check() -> None:
        gate.wait(5)
        seen.append("check")

    async def opens() -> None:
        seen.append("loop")
        gate.set()

    task = asyncio.create_task(Count.run(mode="sync", health_checks=[check]))
    await turns()
    await opens()
    result = await task

    assert result.status is RunStatus.DONE
    assert seen[:2] == ["loop", "check"]


@pytest.mark.asyncio
async def test_plain_checks_of_one_run_do_not_wait_for_one_another() -> None:
    both = threading.Barrier(2, timeout=5)

    def first() -> None:
        both.wait()

    def second() -> None:
        both.wait()

    result = await Count.run(mode="sync", max_batches=1, health_checks=[first, second])

    assert result.status is RunStatus.STOPPED


@pytest.mark.asyncio
async def test_a_plain_check_that_hangs_is_not_started_again() -> None:
    gate = threading.Event()
    started = 0

    def hanging() -> None:
        nonlocal started
        started += 1
        gate.wait(20)

    healthy = HealthCheck(hanging, on_error="slow")
    result = await testing.run(
        Count,
        FakeClock(),
        mode="sync",
        health_checks=[healthy],
        health_timeout=0.01,
    )
    gate.set()

    # Four samplings: one that overran, and three that found it still at it.
    assert result.status is RunStatus.DONE
    assert started == 1


@pytest.mark.asyncio
async def test_a_plain_check_that_came_back_is_asked_again() -> None:
    gate = threading.Event()
    back = threading.Event()
    started = 0

    def late_once() -> None:
        nonlocal started
        started += 1
        if started == 1:
            gate.wait(20)
            back.set()

    async def handle(state: int) -> Answer[int]:
        if state == 0:
            gate.set()
            while not back.is_set():
                await asyncio.sleep(0)
            # The thread still has to say that it is back.
            await asyncio.to_thread(lambda: None)
        return DONE if state == 3 else Next(state + 1)

    result = await testing.run(
        Count,
        FakeClock(),
        mode="sync",
        handle_batch=handle,
        health_checks=[HealthCheck(late_once, on_error="slow")],
        health_timeout=0.05,
    )

    assert result.status is RunStatus.DONE
    assert started > 1


@pytest.mark.asyncio
@BOTH
async def test_the_end_of_a_run_does_not_wait_for_a_thread_that_hangs(
    mode: str,
) -> None:
    gate = threading.Event()

    def hanging() -> None:
        gate.wait(20)

    try:
        result = await asyncio.wait_for(
            Count.run(mode=mode, health_checks=[hanging], health_timeout=0.01), 5
        )
    finally:
        gate.set()

    assert result.status is RunStatus.HALTED
    assert isinstance(result.reasons[0].error, errors.HealthCheckTimeout)


@pytest.mark.asyncio
@pytest.mark.parametrize("checks", [1, 2])
async def test_a_single_operation_may_ask_again_while_a_check_is_at_it(
    checks: int,
) -> None:
    started, gate = threading.Event(), threading.Event()
    under_way = most = asked = 0

    def check() -> None:
        nonlocal under_way, most, asked
        asked += 1
        under_way += 1
        most = max(most, under_way)
        if asked > 1:
            started.set()
            gate.wait(5)
        under_way -= 1

    class Once(Backfill):
        mode = "sync"

        async def handle(self, health_check: HealthAsked) -> Done:
            first = asyncio.ensure_future(health_check())
            while not started.is_set():
                await asyncio.sleep(0)
            second = asyncio.ensure_future(health_check())
            await turns(50)
            gate.set()
            return Done([await first, await second])

    others = [answering(OK)] * (checks - 1)
    result = await Once.run(health_checks=[check, *others])

    assert result.result == [OK, OK]
    assert most == 1


@pytest.mark.asyncio
async def test_plain_checks_need_no_thread_of_the_services_own() -> None:
    limiter = anyio.to_thread.current_default_thread_limiter()
    before = limiter.total_tokens
    limiter.total_tokens = 1
    await limiter.acquire_on_behalf_of("the service")
    try:
        result = await asyncio.wait_for(
            Count.run(mode="sync", health_checks=[lambda: None]), 5
        )
    finally:
        limiter.release_on_behalf_of("the service")
        limiter.total_tokens = before

    assert result.status is RunStatus.DONE
