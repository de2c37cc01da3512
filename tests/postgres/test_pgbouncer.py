from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeAlias

import asyncpg
import pytest
import pytest_asyncio

from adaptive_backfill import (
    DONE,
    Answer,
    Backfill,
    Checkpoint,
    Next,
    Progress,
    Runs,
    RunStatus,
    Snapshot,
)
from adaptive_backfill._ports import Held
from adaptive_backfill.postgres.store import PostgresStore
from adaptive_backfill.testing.contracts import (
    CheckpointStoreContract,
    ControlContract,
    LeaseStoreContract,
)
from adaptive_backfill.testing.postgres import Server

from .pgbouncer import through, transaction_pooler

# What it needs is no Python package: `pytest -m pgbouncer` runs these.
pytestmark = pytest.mark.pgbouncer

Pool: TypeAlias = "asyncpg.Pool[Any]"


@pytest.fixture(scope="session")
def pooler(server: Server) -> Iterator[int]:
    with transaction_pooler(server) as port:
        yield port


@pytest_asyncio.fixture
async def pooled(pooler: int, database: str) -> AsyncIterator[Pool]:
    """Eight connections to the pooler, which has two to the server."""
    async with asyncpg.create_pool(
        through(pooler, database),
        min_size=1,
        max_size=8,
        timeout=10.0,
        command_timeout=30.0,
        statement_cache_size=0,
    ) as pool:
        yield pool


class Pooled:
    @pytest.fixture
    def store(self, pooled: Pool) -> PostgresStore:
        return PostgresStore(pooled)


@pytest.mark.asyncio
class TestCheckpointsThroughThePooler(Pooled, CheckpointStoreContract):
    pass


@pytest.mark.asyncio
class TestLeasesThroughThePooler(Pooled, LeaseStoreContract):
    pass


@pytest.mark.asyncio
class TestControlThroughThePooler(Pooled, ControlContract):
    pass


@pytest.mark.asyncio
async def test_many_runs_share_the_poolers_two_connections(pooled: Pool) -> None:
    store = PostgresStore(pooled)

    async def run(name: str) -> None:
        lease = await store.acquire(name, f"run of {name}")
        assert not isinstance(lease, Held)
        for number in range(20):
            await lease.save(Snapshot(number, number))
            shown = Progress(name, f"run of {name}", "running", number, number)
            assert await lease.beat(shown) is not None

    names = [f"backfill {number}" for number in range(16)]
    await asyncio.gather(*(run(name) for name in names))

    assert [await store.load(name) for name in names] == [Snapshot(19, 19)] * 16
    assert len(await store.look()) == 16


@pytest.mark.asyncio
async def test_one_of_many_gets_a_name_through_the_pooler(pooled: Pool) -> None:
    store = PostgresStore(pooled)

    taken = await asyncio.gather(
        *(store.acquire("users", f"run {number}") for number in range(24))
    )

    (lease,) = [one for one in taken if not isinstance(one, Held)]
    holders = {one.run_id for one in taken if isinstance(one, Held)}
    assert len(holders) == 1
    await lease.save(Snapshot(1))
    assert await store.load("users") == Snapshot(1)


@pytest.mark.asyncio
async def test_a_backfill_runs_and_resumes_through_the_pooler(pooled: Pool) -> None:
    store = PostgresStore(pooled)

    class Count(Backfill[int]):
        initial_state = 0
        checkpoint = Checkpoint(store, "count")

        async def handle_batch(self, state: int) -> Answer[int]:
            async with pooled.acquire() as connection, connection.transaction():
                await connection.execute("SET LOCAL statement_timeout = '5s'")
                last = await connection.fetchval("SELECT $1::int8 >= 50", state)
            return DONE if last else Next(state + 1, rows=10)

    halted = await Count.run(max_batches=20)
    done = await Count.run()

    assert (halted.status, halted.state) == (RunStatus.STOPPED, 20)
    assert (done.status, done.resumed, done.batches) == (RunStatus.DONE, True, 50)
    assert len(await Runs(store).history("count")) == 2
