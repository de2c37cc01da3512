"""What checks leave behind when their time is up, or the run's: nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import anyio
import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Backfill,
    Done,
    HealthCheck,
    HealthContext,
    Next,
    errors,
)
from adaptive_backfill.postgres import checks, pg_health_checks, temp_file_usage
from tests.postgres.asking import (
    SLEEPS,
    Pool,
    ask,
    asking,
    new_run,
    nobody_is,
    pool_of,
    somebody_is,
)


@pytest.mark.asyncio
async def test_a_query_that_takes_too_long_ends_by_itself_and_says_so(
    database: str, pool: Pool
) -> None:
    with anyio.move_on_after(3.0) as scope:
        with pytest.raises(errors.HealthCheckTimeout, match="'asking' gave no answer"):
            await ask(asking("SELECT pg_sleep(60)", pool))

    assert not scope.cancelled_caught
    await nobody_is(database, SLEEPS)


@contextmanager
def nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio reports there what nobody awaited, asyncpg what it had to clean up."""
    with caplog.at_level(logging.DEBUG):
        caplog.clear()
        yield
    told = [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert [record.getMessage() for record in told] == []


async def cancelled_by_asyncio(
    check: HealthCheck, run: HealthContext, begun: Callable[[], Any]
) -> None:
    task = asyncio.create_task(ask(check, run))
    await begun()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def cancelled_by_anyio(
    check: HealthCheck, run: HealthContext, begun: Callable[[], Any]
) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(ask, check, run)
        await begun()
        group.cancel_scope.cancel()


CANCELLED = pytest.mark.parametrize(
    "cancelled", [cancelled_by_asyncio, cancelled_by_anyio]
)


@pytest.mark.asyncio
@CANCELLED
async def test_a_check_that_is_cancelled_gives_its_connection_back(
    database: str, caplog: pytest.LogCaptureFixture, cancelled: Callable[..., Any]
) -> None:
    async with pool_of(database, 1) as pool:
        check = asking("SELECT pg_sleep(60)", pool)
        with nothing_is_logged(caplog):
            for _ in range(10):
                await cancelled(check, new_run(), lambda: somebody_is(database, SLEEPS))
                assert pool.get_idle_size() == pool.get_size() == 1
                assert await ask(temp_file_usage(pool)) is OK
        assert await pool.fetchval("SELECT 1") == 1

    await nobody_is(database, SLEEPS)


@pytest.mark.asyncio
@CANCELLED
async def test_a_check_that_is_cancelled_closes_its_own_connection(
    database: str, caplog: pytest.LogCaptureFixture, cancelled: Callable[..., Any]
) -> None:
    check = asking("SELECT pg_sleep(60)", database)
    with nothing_is_logged(caplog):
        await cancelled(check, new_run(), lambda: somebody_is(database, SLEEPS))

    await nobody_is(database, "true")


@pytest.mark.asyncio
@CANCELLED
async def test_checks_that_are_cancelled_while_they_wait_leave_the_pool_whole(
    database: str, caplog: pytest.LogCaptureFixture, cancelled: Callable[..., Any]
) -> None:
    async with pool_of(database, 1) as pool:
        run = new_run()
        with nothing_is_logged(caplog):
            async with pool.acquire():
                waits = asyncio.create_task(ask(temp_file_usage(pool), run))
                await cancelled(
                    temp_file_usage(pool), run, lambda: anyio.wait_all_tasks_blocked()
                )
            assert await waits is OK
        assert pool.get_idle_size() == pool.get_size() == 1


@pytest.mark.asyncio
async def test_cancelling_at_any_moment_leaks_nothing(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with pool_of(database, 2) as pool:
        run = new_run()
        with nothing_is_logged(caplog):
            for step in range(100):
                with anyio.move_on_after(step / 20_000):
                    async with anyio.create_task_group() as group:
                        for check in pg_health_checks(pool):
                            group.start_soon(ask, check, run)
            assert pool.get_idle_size() == pool.get_size()
            verdicts = [await ask(check, run) for check in pg_health_checks(pool)]

    assert verdicts == 3 * [OK]
    await nobody_is(database, "true")


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_a_run_needs_a_pool_of_two_and_leaves_it_whole(
    database: str, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    async with pool_of(database, 2) as pool:

        class Count(Backfill[int]):
            initial_state = 0
            health_checks = checks.recommended(pool)

            async def handle_batch(self, state: int) -> Next[int] | Done:
                async with pool.acquire():
                    return Next(state + 1, rows=1) if state < 5 else DONE

        with nothing_is_logged(caplog):
            results = [await Count.run(mode=mode) for _ in range(2)]

        assert [result.rows for result in results] == [5, 5]
        assert pool.get_idle_size() == pool.get_size()


@pytest.mark.asyncio
async def test_a_run_that_ends_during_a_query_ends_it(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    looks = count()
    slow = asking("SELECT pg_sleep(60)", database)

    async def slow_from_the_second_look_on(context: HealthContext) -> object:
        return await ask(slow, context) if next(looks) else OK

    class Once(Backfill[None]):
        health_checks = [slow_from_the_second_look_on]
        health_interval = 0.001

        async def handle_batch(self, state: None) -> Done:
            await somebody_is(database, SLEEPS)
            return DONE

    with nothing_is_logged(caplog):
        result = await Once.run()

    assert result.status == "done"
    await nobody_is(database, "true")
