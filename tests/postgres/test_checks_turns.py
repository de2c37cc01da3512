"""Checks of one run on one pool share one connection, and take turns on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import pytest

from adaptive_backfill import DONE, OK, Backfill, Done, Halt, HealthContext
from adaptive_backfill.postgres import pg_health_checks, temp_file_usage
from tests.postgres.asking import (
    SLEEPS,
    WAITS,
    Pool,
    ask,
    asking,
    connected,
    new_run,
    pool_of,
    somebody_is,
    until,
)

_PATIENCE = 20.0


@pytest.mark.asyncio
async def test_checks_of_one_sampling_share_one_connection_of_the_pool(
    database: str,
) -> None:
    lent: list[object] = []

    async def note(connection: object) -> None:
        lent.append(connection)

    async with pool_of(database, 2, setup=note) as pool:
        run = HealthContext("fill_users", pool=pool)
        declared = [*pg_health_checks(pool), *pg_health_checks(lambda: pool)]
        async with pool.acquire():
            verdicts = await asyncio.gather(
                *(ask(check, run) for check in [*declared, *pg_health_checks()])
            )

    assert verdicts == 9 * [OK]
    assert len(lent) == 2  # One for the batch, and one for monitoring.


@pytest.mark.asyncio
async def test_checks_of_one_sampling_connect_once_to_a_dsn(database: str) -> None:
    run = new_run()
    seen: list[Any] = []
    check = asking("SELECT pg_backend_pid()", database, seen)

    await asyncio.gather(*(ask(check, run) for _ in range(5)))

    assert len(seen) == 5
    assert len(set(seen)) == 1


@pytest.mark.asyncio
async def test_the_connection_is_free_between_two_samplings(database: str) -> None:
    run = new_run()
    async with pool_of(database, 1) as pool:
        for check in pg_health_checks(pool):
            assert await ask(check, run) is OK
            async with asyncio.timeout(_PATIENCE), pool.acquire():
                pass


@pytest.mark.asyncio
async def test_runs_at_the_same_time_do_not_wait_for_one_another(database: str) -> None:
    async with pool_of(database, 2) as pool:
        slow = asyncio.create_task(ask(asking("SELECT pg_sleep(60)", pool)))
        await somebody_is(database, SLEEPS)
        verdict = await ask(temp_file_usage(pool))
        slow.cancel()
        await asyncio.wait([slow])

    assert verdict is OK


async def _is_in(name: str, names: list[str]) -> bool:
    return name in names


@pytest.mark.asyncio
async def test_waiting_for_ones_turn_does_not_use_up_ones_time(
    database: str, pool: Pool
) -> None:
    waiting: list[str] = []

    def run_of(name: str, memory: dict[object, object]) -> HealthContext:
        @contextmanager
        def untimed() -> Iterator[None]:
            waiting.append(name)
            yield
            waiting.remove(name)

        return HealthContext("fill_users", memory=memory, untimed=untimed)

    memory: dict[object, object] = {}
    async with connected(database) as gate:
        await gate.execute("SELECT pg_advisory_lock(1)")
        first = asking("SELECT pg_advisory_lock(1), 'first'", pool)
        blocked = asyncio.create_task(ask(first, run_of("first", memory)))
        await somebody_is(database, WAITS)
        second = asyncio.create_task(
            ask(temp_file_usage(pool), run_of("second", memory))
        )
        await until(lambda: _is_in("second", waiting))
        during = list(waiting)
        await gate.execute("SELECT pg_advisory_unlock(1)")
        async with asyncio.timeout(_PATIENCE):
            verdicts = [await blocked, await second]

    assert during == ["second"]
    assert waiting == []
    assert verdicts == [OK, OK]


@pytest.mark.asyncio
async def test_a_pool_that_gives_no_connection_is_asked_once_a_sampling(
    database: str,
) -> None:
    asked = 0

    async def refuse(connection: object) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        msg = "the network is down"
        raise OSError(msg)

    run = new_run()
    async with pool_of(database, 2, setup=refuse) as pool:
        for _ in range(2):
            verdicts = await asyncio.gather(
                *(ask(check, run) for check in pg_health_checks(pool))
            )
            assert verdicts == 3 * [Halt("no connection: the network is down")]

    assert asked == 2


@pytest.mark.asyncio
async def test_a_connection_that_broke_is_replaced_within_the_sampling(
    database: str, pool: Pool
) -> None:
    suicide = asking("SELECT pg_terminate_backend(pg_backend_pid())", pool)
    run = new_run()

    broken, after = await asyncio.gather(
        ask(suicide, run), ask(temp_file_usage(pool), run), return_exceptions=True
    )

    assert isinstance(broken, asyncpg.PostgresError | asyncpg.InterfaceError)
    assert after is OK


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_each_check_has_its_own_health_timeout(database: str, mode: str) -> None:
    async with pool_of(database, 1) as pool:

        class Once(Backfill[None]):
            # Together they take longer than any of them may.
            health_checks = [asking("SELECT pg_sleep(0.6)", pool) for _ in range(3)]
            health_timeout = 1.5

            async def handle_batch(self, state: None) -> Done:
                return DONE

        result = await Once.run(mode=mode)

    assert result.status == "done"
