"""kill -9 between any two statements: every row is done, and none twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from structlog.testing import capture_logs

from adaptive_backfill import RunStatus
from adaptive_backfill.testing.postgres import Server
from tests.postgres.asking import connected
from tests.postgres.tables import Pool, times_done
from tests.scenarios.table_process import BAD, BATCHES, ROWS, Poisoned
from tests.scenarios.table_rounds import BATCH, anew, ended_by_us
from tests.scenarios.table_wire import Forks, Wire, forks, wire

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]

ENDED = (RunStatus.DONE, RunStatus.SKIPPED)


class Killing:
    """Numbers of statements, until a process has got through all of its own.

    Attributes:
        reached: How many rows were done when it was killed, each time.
    """

    def __init__(self, way: Wire, process: Forks, since: bytes, step: int) -> None:
        self.reached: list[int] = []
        self._way = way
        self._process = process
        self._since = since
        self._step = step
        self._goes_on = True

    def __iter__(self) -> Iterator[int]:
        number = 1
        while self._goes_on:
            yield number
            number += self._step

    async def round(
        self, number: int, pool: Pool, form: str, dsn: str, store_dsn: str = ""
    ) -> None:
        """Begin a process, and kill it at its statement *number*."""
        after = len(self.reached) % 2 == 1
        self._way.at(number, self._process.kill, since=self._since, after=after)
        through = [self._way.through(each) for each in (dsn, store_dsn) if each]
        await self._process.begin(form, *through)
        ended = await self._process.ended()
        self._goes_on = ended == "gone"
        assert self._goes_on or ended == "done NoneType"
        done = await pool.fetchval("SELECT count(*) FROM items WHERE n > 0")
        self.reached.append(done)


@asynccontextmanager
async def killing(
    server: Server, since: bytes = BATCH, step: int = 1
) -> AsyncIterator[Killing]:
    async with wire(server.port) as way, forks() as process:
        yield Killing(way, process, since, step)


@pytest.mark.asyncio
@pytest.mark.parametrize("form", ["by_statement", "by_rows", "by_hand"])
async def test_a_run_that_is_killed_between_any_two_statements_does_each_row_once(
    pool: Pool, database: str, server: Server, form: str
) -> None:
    found = {}
    async with killing(server) as kills:
        for number in kills:
            await anew(pool)
            await kills.round(number, pool, form, database)
            result = await ended_by_us(pool, form)
            counts = (result.batches, result.rows, await times_done(pool))
            found[number] = (*counts, result.status in ENDED)

    expected = (BATCHES, ROWS, {1: ROWS}, True)
    assert {at: each for at, each in found.items() if each != expected} == {}
    assert set(kills.reached) == {0, 20, 40, 60}
    assert len(kills.reached) > 4 * BATCHES


@pytest.mark.asyncio
async def test_a_run_that_is_killed_before_its_first_batch_leaves_all_to_the_next(
    pool: Pool, database: str, server: Server
) -> None:
    found = {}
    async with killing(server, since=b"", step=5) as kills:
        for number in kills:
            await anew(pool)
            await kills.round(number, pool, "by_statement", database)
            result = await ended_by_us(pool, "by_statement")
            found[number] = (result.rows, await times_done(pool))

    expected = (ROWS, {1: ROWS})
    assert {at: each for at, each in found.items() if each != expected} == {}
    # Most of its statements make the tables of the store, and look at the table.
    assert kills.reached.count(0) > len(kills.reached) // 2


@pytest.mark.asyncio
async def test_workers_that_are_killed_between_any_two_statements_do_each_row_once(
    pool: Pool, database: str, server: Server
) -> None:
    found = {}
    async with killing(server, step=5) as kills:
        for number in kills:
            await anew(pool)
            await kills.round(number, pool, "by_workers", database)
            result = await ended_by_us(pool, "by_workers")
            found[number] = (result.rows, await times_done(pool))

    expected = (ROWS, {1: ROWS})
    assert {at: each for at, each in found.items() if each != expected} == {}
    assert len(set(kills.reached)) > 3


@pytest.mark.asyncio
async def test_a_run_that_is_killed_while_it_looks_for_a_bad_row_sets_it_aside_once(
    pool: Pool, database: str, server: Server
) -> None:
    found = {}
    async with killing(server, step=3) as kills:
        for number in kills:
            await anew(pool)
            await kills.round(number, pool, "poisoned", database)
            result = await ended_by_us(pool, "poisoned")
            aside = [failure.key for failure in await Poisoned.failures(pool=pool)]
            found[number] = (result.rows, await times_done(pool), aside)

    expected = (ROWS - 1, {0: 1, 1: ROWS - 1}, [BAD])
    assert {at: each for at, each in found.items() if each != expected} == {}
    assert kills.reached.count(BAD - 1) > 1


@pytest.mark.asyncio
async def test_a_kill_repeats_a_batch_at_most_where_the_store_is_elsewhere(
    pool: Pool, database: str, server: Server
) -> None:
    found: dict[int, dict[int, int]] = {}
    logged: list[str] = []
    async with connected(database) as owner, killing(server) as kills:
        await owner.execute("CREATE DATABASE elsewhere")
        elsewhere = server.dsn("elsewhere")
        async with asyncpg.create_pool(elsewhere, min_size=0, max_size=3) as store:
            for number in kills:
                await anew(pool, store=store)
                await kills.round(number, pool, "by_statement", database, elsewhere)
                with capture_logs() as logs:
                    await ended_by_us(pool, "by_statement", store=store)
                logged += [line["event"] for line in logs]
                found[number] = await times_done(pool)
        await owner.execute("DROP DATABASE elsewhere WITH (FORCE)")

    once, repeated = {1: ROWS}, {1: ROWS - ROWS // BATCHES, 2: ROWS // BATCHES}
    assert {
        at: each for at, each in found.items() if each not in (once, repeated)
    } == {}
    # Between the COMMIT of the data and the save elsewhere, in each of the batches.
    assert list(found.values()).count(repeated) >= BATCHES - 1
    assert any("at least once" in event for event in logged)
