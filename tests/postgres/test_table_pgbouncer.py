"""A walk through PgBouncer in transaction mode, where no session is anybody's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from adaptive_backfill import Retry, telemetry
from adaptive_backfill.postgres._faults import GaveWay
from adaptive_backfill.postgres.table import TableBackfill
from adaptive_backfill.testing.postgres import Server

from . import tables
from .asking import connected
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
