"""A connection is kept for looking who waits, where the pool has one to spare."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from adaptive_backfill.postgres import _lookout
from adaptive_backfill.postgres._lookout import Lookout

from . import tables
from .asking import Pool, connected, pool_of, until

pytestmark = pytest.mark.postgres
quiet = tables.quiet

PID = "SELECT pg_backend_pid() AS pid"


@asynccontextmanager
async def looking(pool: Pool, *, shared: bool = True) -> AsyncIterator[Lookout]:
    lookout = Lookout(lambda: pool, shared=shared)
    try:
        yield lookout
    finally:
        await lookout.close()


def taken(pool: Pool, connections: int) -> Callable[[], Awaitable[bool]]:
    """Whether so many connections of *pool* are in use."""

    async def is_so() -> bool:
        return pool.get_size() - pool.get_idle_size() == connections

    return is_so


async def seen(lookout: Lookout, *, limit: float = 20.0) -> int | None:
    row = await lookout.look(PID, limit=limit)
    return None if row is None else int(row["pid"])


@pytest.mark.asyncio
async def test_it_can_be_counted_on_while_all_others_are_taken(database: str) -> None:
    async with pool_of(database, 3) as pool, looking(pool) as lookout:
        lookout.begin()
        await until(taken(pool, 1))
        async with pool.acquire(), pool.acquire():
            first = await seen(lookout)

            assert first is not None
            assert await seen(lookout) == first
        await lookout.close()

        assert await taken(pool, 0)()


@pytest.mark.asyncio
@pytest.mark.parametrize(("size", "shared"), [(2, True), (3, False)])
async def test_none_is_kept_of_two_nor_where_nobody_else_may_take_them(
    database: str, size: int, shared: bool
) -> None:
    async with (
        pool_of(database, size) as pool,
        looking(pool, shared=shared) as lookout,
    ):
        lookout.begin()

        assert await seen(lookout) is not None
        assert await taken(pool, 0)()


@pytest.mark.asyncio
async def test_the_last_one_of_a_pool_is_left_to_others(database: str) -> None:
    async with (
        pool_of(database, 4) as pool,
        looking(pool) as one,
        looking(pool) as other,
        pool.acquire(),
        pool.acquire(),
    ):
        one.begin()
        await until(taken(pool, 3))
        other.begin()
        await asyncio.sleep(0)
        await until(taken(pool, 3))
        async with pool.acquire():
            assert await seen(one) is not None
            one.begin()
            await until(taken(pool, 3))


@pytest.mark.asyncio
async def test_it_is_given_back_for_the_sake_of_more_batches(database: str) -> None:
    async with pool_of(database, 4) as pool, looking(pool) as lookout:
        lookout.begin()
        lookout.begin()
        await until(taken(pool, 1))
        lookout.begin()
        await until(taken(pool, 0))
        lookout.end()
        lookout.keep()

        # Not taken again at once: where their number changes, it would go to and fro.
        assert await seen(lookout) is not None
        assert await taken(pool, 0)()


@pytest.mark.asyncio
async def test_it_is_given_back_in_a_pause_and_taken_again_after_it(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lookout, "_SECONDS_AT_REST", 0.0)
    async with pool_of(database, 3) as pool, looking(pool) as lookout:
        lookout.begin()
        await until(taken(pool, 1))
        lookout.end()
        await until(taken(pool, 0))
        lookout.begin()

        await until(taken(pool, 1))


@pytest.mark.asyncio
async def test_one_that_is_lost_is_replaced(database: str) -> None:
    async with pool_of(database, 3) as pool, looking(pool) as lookout:
        lookout.begin()
        await until(taken(pool, 1))
        lost = await seen(lookout)
        async with connected(database) as other:
            await other.execute("SELECT pg_terminate_backend($1)", lost)

        with capture_logs() as logs:
            found = await seen(lookout)

        async def another_is_kept() -> bool:
            lookout.keep()
            async with pool.acquire(), pool.acquire():
                return await seen(lookout) not in {None, lost}

        await until(another_is_kept)
    assert found not in {None, lost}
    assert logs == []


@pytest.mark.asyncio
async def test_a_look_that_is_cancelled_leaves_a_connection_that_can_be_used(
    database: str,
) -> None:
    async with pool_of(database, 3) as pool, looking(pool) as lookout:
        lookout.begin()
        await until(taken(pool, 1))
        slow = asyncio.create_task(lookout.look("SELECT pg_sleep(60)", limit=30.0))
        await asyncio.sleep(0)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow

        assert await seen(lookout) is not None
    assert await taken(pool, 0)()


@pytest.mark.asyncio
async def test_who_cannot_look_says_so_once_and_what_helps(database: str) -> None:
    async with pool_of(database, 1) as pool, looking(pool) as lookout:
        lookout.begin()
        with capture_logs() as logs:
            async with pool.acquire():
                assert await seen(lookout, limit=0.2) is None
                assert await seen(lookout, limit=0.2) is None

            assert await seen(lookout) is not None
    (line,) = logs
    assert line["log_level"] == "warning"
    assert "let the pool have more connections" in line["event"]
    assert line["reason"].startswith("in 0.2 s the pool had no connection free")
