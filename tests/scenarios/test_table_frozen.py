"""Two owners: one is frozen past its lease, and thawed when another has the name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from adaptive_backfill.testing.postgres import Server
from tests.postgres.tables import Pool, done, times_done
from tests.scenarios.table_process import ROWS
from tests.scenarios.table_rounds import BATCH, anew, ended_by_us
from tests.scenarios.table_wire import Forks, Wire, forks, wire

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]

IDLE = 0.2
"""Seconds after which the server ends the transaction of who is frozen in one."""


IS_OURS = b"backfill_names WHERE name = $1 AND token"
"""What a run asks, once, before its first batch: whether its name is kept here."""


@asynccontextmanager
async def frozen_at(
    number: int,
    way: Wire,
    process: Forks,
    form: str,
    dsn: str,
    *,
    since: bytes = BATCH,
    after: bool = True,
) -> AsyncIterator[None]:
    """Begin a process, and freeze it when it sends its *number*-th statement.

    *after* that, the server has done it, and the process has not heard of it.
    """
    frozen, goes_on = asyncio.Event(), asyncio.Event()

    async def freeze() -> None:
        await process.freeze()
        frozen.set()
        await goes_on.wait()

    way.at(number, freeze, since=since, after=after, between=after)
    await process.begin(form, way.through(dsn), timeout=IDLE)
    try:
        async with asyncio.timeout(60):
            await frozen.wait()
        yield
    finally:
        await process.thaw()
        goes_on.set()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("form", "numbers"),
    [
        # All of two batches.
        ("by_statement", range(1, 11)),
        ("by_rows", range(3, 9)),
        ("by_hand", range(1, 6)),
        # Two at a time.
        ("by_workers", range(1, 20, 3)),
    ],
)
async def test_who_was_frozen_past_its_lease_commits_nothing_more(
    pool: Pool, database: str, server: Server, form: str, numbers: Sequence[int]
) -> None:
    found = {}
    async with wire(server.port) as way, forks() as process:
        for number in numbers:
            await anew(pool)
            async with frozen_at(number, way, process, form, database):
                result = done(await ended_by_us(pool, form))
            said = await process.ended()
            found[number] = (said, result.rows, await times_done(pool))

    expected = ("failed LeaseLost", ROWS, {1: ROWS})
    assert {at: each for at, each in found.items() if each != expected} == {}


@pytest.mark.asyncio
@pytest.mark.parametrize("form", ["by_statement", "by_rows", "by_hand", "by_workers"])
@pytest.mark.parametrize("after", [False, True])
async def test_who_was_frozen_before_its_first_batch_does_none(
    pool: Pool, database: str, server: Server, form: str, after: bool
) -> None:
    await anew(pool)
    async with wire(server.port) as way, forks() as process:
        async with frozen_at(
            1, way, process, form, database, since=IS_OURS, after=after
        ):
            result = done(await ended_by_us(pool, form))
        said = await process.ended()

    assert said.startswith("failed LeaseLost")
    assert result.rows == ROWS
    assert await times_done(pool) == {1: ROWS}
