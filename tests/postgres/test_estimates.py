"""About how many rows a table has, and what is not known of it."""

from __future__ import annotations

import pytest

from adaptive_backfill.postgres._inspecting import estimated, estimates
from tests.postgres.walking import Pool

MONTHS = """
CREATE TABLE months (id int, month int) PARTITION BY RANGE (month);
CREATE TABLE months_0 PARTITION OF months FOR VALUES FROM (0) TO (1)
WITH (autovacuum_enabled = false);
CREATE TABLE months_1 PARTITION OF months FOR VALUES FROM (1) TO (2)
WITH (autovacuum_enabled = false);
CREATE TABLE months_2 PARTITION OF months FOR VALUES FROM (2) TO (3)
WITH (autovacuum_enabled = false);
INSERT INTO months SELECT i, i % 2 FROM generate_series(1, 20000) AS i;
"""


async def _estimated(pool: Pool, table: str) -> int | None:
    async with pool.acquire() as connection:
        oid = await connection.fetchval("SELECT $1::text::regclass::oid", table)
        return await estimated(connection, oid)


@pytest.mark.asyncio
async def test_a_partition_never_analyzed_is_as_dense_as_the_others(
    pool: Pool,
) -> None:
    await pool.execute(f"{MONTHS}; ANALYZE months_0")

    async with pool.acquire() as connection:
        oid = await connection.fetchval("SELECT 'months'::regclass::oid")
        found = await estimates(connection, oid)

    assert found == {
        "public.months_0": 10_000,
        "public.months_1": pytest.approx(10_000, rel=0.02),
        "public.months_2": 0,
    }
    assert await _estimated(pool, "months") == pytest.approx(20_000, rel=0.02)


@pytest.mark.asyncio
async def test_how_many_rows_there_are_is_not_known_where_no_partition_was_analyzed(
    pool: Pool,
) -> None:
    await pool.execute(MONTHS)

    assert await _estimated(pool, "months") is None


@pytest.mark.asyncio
async def test_a_table_filled_since_it_was_analyzed_empty_is_not_taken_for_empty(
    pool: Pool,
) -> None:
    # As version 13 has it of one that was never analyzed: 0 rows, 0 pages.
    await pool.execute(
        "CREATE TABLE filled (id int) WITH (autovacuum_enabled = false);"
        "ANALYZE filled; INSERT INTO filled VALUES (1)"
    )

    assert await _estimated(pool, "filled") is None

    await pool.execute("ANALYZE filled")

    assert await _estimated(pool, "filled") == 1


@pytest.mark.asyncio
async def test_of_an_empty_table_it_is_known_that_it_has_no_rows(pool: Pool) -> None:
    await pool.execute("CREATE TABLE empty (id int)")

    assert await _estimated(pool, "empty") == 0
