"""A walk through PgBouncer in transaction mode, where no session is anybody's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from adaptive_backfill import Answer, Done, Next, Retry, telemetry
from adaptive_backfill.postgres import PostgresBackfill, checks, ensure_finished
from adaptive_backfill.postgres._faults import GaveWay
from adaptive_backfill.postgres.table import TableBackfill
from adaptive_backfill.testing.postgres import Server

from . import tables
from .asking import connected, until
from .pgbouncer import through, transaction_pooler
from .tables import Pool, done, numbered, times_done

# What it needs is no Python package: `pytest -m pgbouncer` runs these.
pytestmark = pytest.mark.pgbouncer
quiet = tables.quiet

QUICK = Retry(attempts=10, base=0.001, cap=0.001, on=())


@pytest.fixture(scope="module")
def pooler(server: Server) -> Iterator[int]:
    with transaction_pooler(server, size=3) as port:
        yield port


@pytest_asyncio.fixture
async def pooled(pooler: int, database: str) -> AsyncIterator[Pool]:
    """Four connections to the pooler, which has three to the server."""
    async with asyncpg.create_pool(
        through(pooler, database),
        min_size=1,
        max_size=4,
        timeout=10.0,
        command_timeout=30.0,
        statement_cache_size=0,
    ) as pool:
        yield pool


class Poisoned(TableBackfill):
    table = "items"
    batch_size = 50
    retry = QUICK
    statement = "UPDATE items SET n = n + 1 + 0 / (id - 123) WHERE {batch}"


@pytest.mark.asyncio
async def test_each_row_is_done_once_and_the_bad_one_set_aside(pooled: Pool) -> None:
    await numbered(pooled, 1_000)

    await Poisoned.run(pool=pooled, max_batches=2)
    result = done(await Poisoned.run(pool=pooled))

    assert (result.rows, result.quarantined) == (999, 1)
    assert await times_done(pooled) == {0: 1, 1: 999}
    assert [failure.key for failure in await Poisoned.failures(pool=pooled)] == [123]


@pytest.mark.asyncio
async def test_no_setting_of_a_batch_stays_behind(pooled: Pool) -> None:
    await numbered(pooled, 100)

    done(await Poisoned.run(pool=pooled, where="id <> 123", timeout=20))
    found = await asyncio.gather(
        *(
            pooled.fetchval("SELECT current_setting('lock_timeout') FROM pg_sleep(0.1)")
            for _ in range(3)
        )
    )

    assert found == ["0", "0", "0"]


@pytest.mark.asyncio
async def test_who_waits_for_a_batch_is_seen_where_nobody_knows_its_process(
    pooled: Pool, database: str
) -> None:
    await numbered(pooled, 100)
    locked = asyncio.Event()
    retries: list[telemetry.Event] = []
    telemetry.attach("retries", "backfill.batch.retry", retries.append)

    class Dawdling(TableBackfill):
        table = "items"
        retry = QUICK

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            await connection.execute(
                "UPDATE items SET n = n + 1 WHERE id = ANY($1)",
                [row["id"] for row in rows],
            )
            if len(rows) > 50:
                locked.set()
                await asyncio.Event().wait()

    running = asyncio.create_task(Dawdling.run(pool=pooled, batch_size=100))
    await locked.wait()
    async with connected(database) as other:
        await other.execute("UPDATE items SET n = n WHERE id = 5", timeout=30)
    result = done(await running)
    telemetry.detach("retries")

    assert result.rows == 100
    assert isinstance(retries[0].metadata["error"], GaveWay)
    assert await times_done(pooled) == {1: 100}


class CountUp(TableBackfill):
    table = "items"
    batch_size = 20
    retry = QUICK
    statement = "UPDATE items SET n = n + 1 WHERE {batch}"


@pytest.mark.asyncio
@pytest.mark.parametrize("backfill", [CountUp, Poisoned])
async def test_workers_do_each_row_once_also_after_a_stop(
    pooled: Pool, backfill: type[TableBackfill]
) -> None:
    await numbered(pooled, 1_000)
    bad = int(backfill is Poisoned)

    stopped = await backfill.run(pool=pooled, workers=3, max_batches=7, batch_size=20)
    result = done(await backfill.run(pool=pooled, workers=2, batch_size=20))

    assert 0 < stopped.rows < 1_000
    assert result.resumed
    assert (result.rows, result.quarantined) == (1_000 - bad, bad)
    expected = {0: 1, 1: 999} if bad else {1: 1_000}
    assert await times_done(pooled) == expected


@pytest.mark.asyncio
async def test_workers_go_on_when_the_pooler_loses_its_servers(
    pooled: Pool, database: str
) -> None:
    await numbered(pooled, 1_000)
    patient = Retry(attempts=50, base=0.01, cap=0.1, on=())
    run = CountUp.start(
        pool=pooled, workers=2, retry=patient, delay_between_batches=0.01
    )
    async with run, connected(database) as owner:
        for least in (200, 500):

            async def is_so_far(least: int = least) -> bool:
                return run.progress.rows >= least

            await until(is_so_far)
            await owner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
                "datname = current_database() AND pid <> pg_backend_pid()"
            )
        result = done(await run.wait())

    assert result.rows == 1_000
    async with connected(database) as owner:
        assert await owner.fetchval("SELECT sum(n) FROM items WHERE n = 1") == 1_000


class ByHand(PostgresBackfill[int]):
    initial_state = 0
    batch_size = 100
    locked: asyncio.Event

    async def handle_batch(self, state: int) -> Answer[int]:
        last = state + self.batch_size
        status = await self.connection.execute(
            "UPDATE items SET n = n + 1 WHERE id > $1 AND id <= $2", state, last
        )
        if not self.locked.is_set():
            self.locked.set()
            await asyncio.Event().wait()
        rows = int(status.rpartition(" ")[2])
        return Next(last, rows=rows) if rows else Done()


@pytest.mark.asyncio
async def test_a_hand_written_batch_gives_way_and_is_done_once(
    pooled: Pool, database: str
) -> None:
    await numbered(pooled, 300)
    locked = asyncio.Event()

    running = asyncio.create_task(ByHand.run(pool=pooled, locked=locked))
    await locked.wait()
    async with connected(database) as other:
        await other.execute("UPDATE items SET n = n WHERE id = 5", timeout=30)
    result = done(await running)

    assert result.rows == 300
    assert await times_done(pooled) == {1: 300}


@pytest.mark.asyncio
async def test_one_of_several_workers_gives_way_and_the_others_do_not(
    pooled: Pool, database: str
) -> None:
    await numbered(pooled, 400)
    await pooled.execute("ANALYZE items")
    gave_way: list[BaseException] = []

    def heard(event: telemetry.Event) -> None:
        error = event.metadata["error"]
        assert isinstance(error, BaseException)
        gave_way.append(error)

    class Dawdling(TableBackfill):
        table = "items"
        retry = QUICK
        locked: asyncio.Event

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            await connection.execute(
                "UPDATE items SET n = n + 1 WHERE id = ANY($1)",
                [row["id"] for row in rows],
            )
            if rows[0]["id"] == 1 and not self.locked.is_set():
                self.locked.set()
                await asyncio.Event().wait()

    locked = asyncio.Event()
    telemetry.attach("retries", "backfill.batch.retry", heard)
    running = asyncio.create_task(Dawdling.run(pool=pooled, workers=2, locked=locked))
    await locked.wait()
    async with connected(database) as other:
        await other.execute("UPDATE items SET n = n WHERE id = 1", timeout=30)
    result = done(await running)
    telemetry.detach("retries")

    assert [type(error) for error in gave_way] == [GaveWay]
    assert result.rows == 400
    assert await times_done(pooled) == {1: 400}


@pytest.mark.asyncio
async def test_what_is_asked_before_and_after_goes_through_the_pooler(
    pooled: Pool,
) -> None:
    await numbered(pooled, 400)
    looking = checks.recommended(table="items")

    plan = await CountUp.plan(pool=pooled)
    tried = await CountUp.dry_run(2, pool=pooled)
    result = done(await CountUp.run(pool=pooled, workers=2, health_checks=looking))
    finished = await ensure_finished(CountUp, pool=pooled, verify=False)

    assert plan.ok, plan.reasons
    assert tried.rows == 40
    assert (result.rows, finished.run_id) == (400, result.run_id)
    assert await CountUp.failures(pool=pooled) == []
    assert await times_done(pooled) == {1: 400}


@pytest.mark.asyncio
async def test_a_run_that_opens_its_own_pool_sees_that_a_pooler_is_there(
    pooler: int, pooled: Pool, database: str
) -> None:
    await numbered(pooled, 400)
    dsn = through(pooler, database)

    result = done(await CountUp.run(dsn=dsn, workers=2))

    assert result.rows == 400
    assert await CountUp.failures(dsn=dsn) == []
    assert await times_done(pooled) == {1: 400}
