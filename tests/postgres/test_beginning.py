"""How transactions are begun: by themselves, or by the COMMIT of the one before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adaptive_backfill import RunStatus
from adaptive_backfill.postgres._beginning import Beginnings
from adaptive_backfill.postgres._server_limits import Limits

from .asking import Pool
from .walking import Double, people

pytestmark = pytest.mark.postgres

LIMITS = Limits(statement=9.0, lock=0.5, idle=10.0)


class Time:
    """Goes on when it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def batches(
    beginnings: Beginnings, connection: Any, count: int, *, more: bool = True
) -> None:
    """Do *count* batches of nothing, one after the other."""
    for _ in range(count):
        await beginnings.begin(connection)
        await beginnings.commit(connection, more=more)


@pytest.mark.asyncio
async def test_batches_at_once_have_theirs_begun_by_the_commit_before(
    pool: Pool,
) -> None:
    beginnings = Beginnings("it", LIMITS, monotonic=Time())
    async with pool.acquire() as connection:
        await batches(beginnings, connection, 1)
        assert (beginnings.is_ahead, connection.is_in_transaction()) == (False, False)

        await batches(beginnings, connection, 1)

        assert (beginnings.is_ahead, connection.is_in_transaction()) == (True, True)
        begun = await connection.fetchval("SELECT now()")
        await beginnings.begin(connection)
        assert await connection.fetchval("SELECT now()") == begun
        # So the server may be gone by now, which is not the fault of this batch.
        assert (beginnings.is_ahead, beginnings.was_ahead) == (False, True)
        await connection.execute("COMMIT")


@pytest.mark.asyncio
async def test_each_transaction_has_its_limits_and_its_name(pool: Pool) -> None:
    beginnings = Beginnings("its 'name'", LIMITS, monotonic=Time())
    async with pool.acquire() as connection:
        for _ in range(4):
            await beginnings.begin(connection)
            shown = [
                await connection.fetchval(f"SHOW {setting}")
                for setting in ("statement_timeout", "lock_timeout", "application_name")
            ]
            assert shown == ["9s", "500ms", "its 'name'"]
            await beginnings.commit(connection, more=True)

        await connection.execute("ROLLBACK")
        assert await connection.fetchval("SHOW lock_timeout") == "0"


@pytest.mark.asyncio
async def test_where_no_batch_follows_or_there_was_a_gap_none_is_begun(
    pool: Pool,
) -> None:
    time = Time()
    beginnings = Beginnings("it", LIMITS, monotonic=time)
    async with pool.acquire() as connection:
        await batches(beginnings, connection, 2, more=False)
        assert not connection.is_in_transaction()

        time.now += 0.03
        await batches(beginnings, connection, 1)
        assert not connection.is_in_transaction()


@pytest.mark.asyncio
async def test_a_transaction_that_has_waited_for_its_batch_is_begun_anew(
    pool: Pool,
) -> None:
    time = Time()
    beginnings = Beginnings("it", LIMITS, monotonic=time)
    async with pool.acquire() as connection:
        await batches(beginnings, connection, 2)
        begun = await connection.fetchval("SELECT now()")

        time.now += 0.2
        await beginnings.begin(connection)

        assert await connection.fetchval("SELECT now()") > begun
        assert await connection.fetchval("SHOW lock_timeout") == "500ms"
        # After such a gap nothing is begun ahead, either.
        await beginnings.commit(connection, more=True)
        assert not connection.is_in_transaction()


@pytest.mark.asyncio
async def test_a_commit_that_fails_begins_nothing(pool: Pool) -> None:
    beginnings = Beginnings("it", LIMITS, monotonic=Time())
    await pool.execute(
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child "
        "(id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
    )
    async with pool.acquire() as connection:
        await batches(beginnings, connection, 2)
        await beginnings.begin(connection)
        await connection.execute("INSERT INTO child VALUES (1)")

        with pytest.raises(Exception, match="violates foreign key"):
            await beginnings.commit(connection, more=True)

        assert (beginnings.is_ahead, connection.is_in_transaction()) == (False, False)
        assert await connection.fetchval("SELECT count(*) FROM child") == 0


@pytest.mark.asyncio
async def test_a_run_that_stops_leaves_no_transaction_open(pool: Pool) -> None:
    await people(pool)
    complaints: list[object] = []
    # asyncpg complains where a connection is given back in a transaction.
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: complaints.append(context)
    )

    result = await Double.run(pool=pool, batch_size=10, max_batches=7)

    assert complaints == []
    assert result.status is RunStatus.STOPPED
    open_ones = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND state LIKE 'idle in%'"
    )
    assert await pool.fetchval(open_ones) == 0
    assert await pool.fetchval("SELECT count(*) FROM people WHERE doubled > 0") == 70
