"""Cutting a walk into shares: nothing is left out, nothing is in two of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_backfill.postgres._inspecting import inspect_table
from adaptive_backfill.postgres.identifiers import table_named
from adaptive_backfill.postgres.keyset import Keyset
from adaptive_backfill.postgres.shares import Range, cut, evenly, ranges

from .asking import Pool, until

KEYS = st.lists(st.integers(0, 10_000), unique=True).map(sorted)


@given(KEYS, st.integers(1, 40))
def test_picked_keys_are_in_order_and_fewer_than_the_shares(
    keys: list[int], shares: int
) -> None:
    picked = evenly([(key,) for key in keys], shares)

    assert len(picked) < shares
    assert list(picked) == sorted(set(picked))
    assert set(picked) <= {(key,) for key in keys}


@given(KEYS, st.integers(1, 40))
def test_picked_keys_make_shares_that_differ_by_two_keys_at_most(
    keys: list[int], shares: int
) -> None:
    picked = evenly([(key,) for key in keys], shares)

    places = [0, *(keys.index(key) for (key,) in picked), len(keys)]
    sizes = [after - before for before, after in pairwise(places)]

    assert max(sizes) <= -(-len(keys) // shares) + 1


@given(KEYS.filter(bool), st.integers(1, 40), st.booleans())
def test_each_key_is_in_one_share_and_the_shares_are_in_order(
    keys: list[int], shares: int, resumed: bool
) -> None:
    after, until = ((keys[0] - 1,) if resumed else None), (keys[-1],)
    ends = evenly([(key,) for key in keys if (key,) != until], shares)

    made = ranges(after, until, ends)

    assert made[0].after == after
    assert made[-1].until == until
    assert [each.after for each in made[1:]] == [each.until for each in made[:-1]]
    for key in keys:
        assert sum(_holds(each, (key,)) for each in made) == 1


def _holds(share: Range, key: tuple[int]) -> bool:
    return (share.after is None or key > share.after) and key <= share.until


async def _sizes(
    pool: Pool,
    table: str,
    shares: int,
    *,
    key: tuple[str, ...] | None = None,
    descending: bool = False,
) -> list[int]:
    """Cut *table*, and count the rows of each share; they have to be all of them."""
    named = table_named(table)
    async with pool.acquire() as connection:
        seen = await inspect_table(connection, named, key, "Test")
        keyset = Keyset(named, seen.key, seen.types, descending)
        row = await connection.fetchrow(keyset.last())
        assert row is not None
        end = tuple(row)
        ends = await cut(connection, keyset, seen.oid, Range(None, end), shares)
        sizes = [
            await _size(connection, keyset, each) for each in ranges(None, end, ends)
        ]
        assert sum(sizes) == await connection.fetchval(f"SELECT count(*) FROM {table}")
    return sizes


async def _size(connection: Any, keyset: Keyset, share: Range) -> int:
    where = keyset.batch(None, after=share.after is not None)
    found: int = await connection.fetchval(
        f"SELECT count(*) FROM {keyset.table.sql} WHERE {where}",
        *(share.after or ()),
        *share.until,
    )
    return found


GROWN = """
SELECT n_mod_since_analyze > 10000 FROM pg_stat_all_tables WHERE relname = 't'
"""

UNEVEN = "SELECT (1.001 ^ g)::int8 FROM generate_series(1, 10000) g GROUP BY 1"

TABLES = {
    "int8": ("k int8 PRIMARY KEY", UNEVEN),
    "text": (
        "k text PRIMARY KEY",
        "SELECT 'user-' || g FROM generate_series(1, 5000) g",
    ),
    "text in another order": (
        'k text COLLATE "C" PRIMARY KEY',
        "SELECT chr(65 + g % 58) || g FROM generate_series(1, 5000) g",
    ),
    "uuid": (
        "k uuid PRIMARY KEY",
        "SELECT md5(g::text)::uuid FROM generate_series(1, 5000) g",
    ),
    "timestamptz": (
        "k timestamptz PRIMARY KEY",
        "SELECT now() - g * interval '1 min' FROM generate_series(1, 5000) g",
    ),
    "numeric": (
        "k numeric PRIMARY KEY",
        "SELECT g / 3.0 FROM generate_series(1, 5000) g",
    ),
    "char": (
        "k char(12) PRIMARY KEY",
        "SELECT md5(g::text)::char(12) FROM generate_series(1, 5000) g",
    ),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("analyzed", [True, False])
@pytest.mark.parametrize("descending", [False, True])
async def test_shares_have_about_as_many_rows_each(
    pool: Pool, kind: str, analyzed: bool, descending: bool
) -> None:
    columns, rows = TABLES[kind]
    await pool.execute(f"CREATE TABLE t ({columns}); INSERT INTO t {rows}")
    if analyzed:
        await pool.execute("ANALYZE t")

    sizes = await _sizes(pool, "t", 8, descending=descending)

    assert len(sizes) == 8
    assert max(sizes) < 1.5 * min(sizes)


@pytest.mark.asyncio
async def test_a_key_of_several_columns_is_cut_by_all_of_them(pool: Pool) -> None:
    await pool.execute(
        "CREATE TABLE t (tenant text, id int, PRIMARY KEY (tenant, id));"
        "INSERT INTO t SELECT CASE WHEN g < 4500 THEN 'big' ELSE 'small ' || g END, g"
        " FROM generate_series(1, 5000) g; ANALYZE t"
    )

    sizes = await _sizes(pool, "t", 8)

    assert len(sizes) == 8
    assert max(sizes) < 1.5 * min(sizes)


@pytest.mark.asyncio
async def test_a_histogram_from_before_the_table_grew_is_not_believed(
    pool: Pool,
) -> None:
    await pool.execute(
        "CREATE TABLE t (id int PRIMARY KEY);"
        "INSERT INTO t SELECT generate_series(1, 1000)"
    )
    await pool.execute("ANALYZE t")
    await pool.execute("INSERT INTO t SELECT generate_series(1001, 20000)")

    async def it_is_known_to_have_grown() -> bool:
        # What a session counts, others see when it does something a second later.
        await pool.execute("INSERT INTO t SELECT max(id) + 1 FROM t")
        return bool(await pool.fetchval(GROWN))

    await until(it_is_known_to_have_grown)

    sizes = await _sizes(pool, "t", 4)

    assert max(sizes) < 2 * min(sizes)


@pytest.mark.asyncio
async def test_a_large_table_is_sampled_by_some_of_its_pages(pool: Pool) -> None:
    await pool.execute(
        "CREATE TABLE t (id uuid PRIMARY KEY, pad text);"
        "INSERT INTO t SELECT md5(g::text)::uuid, repeat('x', 200)"
        " FROM generate_series(1, 40000) g"
    )

    sizes = await _sizes(pool, "t", 4)

    assert len(sizes) == 4
    assert max(sizes) < 2 * min(sizes)


@pytest.mark.asyncio
@pytest.mark.parametrize("rows", [1, 2, 3, 7])
async def test_a_table_with_fewer_rows_than_shares_has_a_share_a_row_at_most(
    pool: Pool, rows: int
) -> None:
    await pool.execute(
        "CREATE TABLE t (id int PRIMARY KEY);"
        f"INSERT INTO t SELECT generate_series(1, {rows})"
    )

    assert await _sizes(pool, "t", 8) == [1] * rows


@pytest.mark.asyncio
@pytest.mark.parametrize("analyzed", [True, False])
async def test_a_partitioned_table_is_cut_as_one(pool: Pool, analyzed: bool) -> None:
    await pool.execute(
        "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100);"
        "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (100) TO (100000);"
        "INSERT INTO t SELECT generate_series(1, 6000)"
    )
    if analyzed:
        await pool.execute("ANALYZE t")

    sizes = await _sizes(pool, "t", 6)

    assert len(sizes) == 6
    assert max(sizes) < 1.5 * min(sizes)


@pytest.mark.asyncio
async def test_only_what_is_left_of_a_walk_is_cut(pool: Pool) -> None:
    await pool.execute(
        "CREATE TABLE t (id int PRIMARY KEY);"
        "INSERT INTO t SELECT generate_series(1, 5000); ANALYZE t"
    )
    named = table_named("t")
    async with pool.acquire() as connection:
        seen = await inspect_table(connection, named, None, "Test")
        keyset = Keyset(named, seen.key, seen.types, where="false")
        within = Range((4000,), (4800,))
        ends = await cut(connection, keyset, seen.oid, within, 4)

    assert len(ends) == 3
    assert all(4000 < end < 4800 for (end,) in ends)


@pytest.mark.asyncio
async def test_a_role_that_may_see_no_statistics_has_its_table_sampled(
    pool: Pool, database: str
) -> None:
    await pool.execute(
        "CREATE TABLE t (id int PRIMARY KEY);"
        "INSERT INTO t SELECT generate_series(1, 5000); ANALYZE t;"
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY everything ON t USING (true);"
        "DROP ROLE IF EXISTS shares_reader; CREATE ROLE shares_reader LOGIN;"
        "GRANT SELECT ON t TO shares_reader"
    )
    async with asyncpg.create_pool(
        database, min_size=0, max_size=1, init=_as_reader
    ) as own:
        sizes = await _sizes(own, "t", 4)
    await pool.execute("DROP OWNED BY shares_reader; DROP ROLE shares_reader")

    assert len(sizes) == 4
    assert max(sizes) < 1.5 * min(sizes)


async def _as_reader(connection: Any) -> None:
    await connection.execute("SET SESSION AUTHORIZATION shares_reader")
