"""A walk goes by any key there is, in either order, and resumes after each batch."""

from __future__ import annotations

from typing import Any

import pytest

from adaptive_backfill import RunStatus
from adaptive_backfill.postgres.table import TableBackfill

from . import tables
from .tables import Pool, done, times_done

pytestmark = pytest.mark.postgres
quiet = tables.quiet

KEYS = {
    "int": "g",
    "smallint": "g - 50",
    "bigint": "g * 1000000000000 - 7",
    "text": "chr(39) || chr(34) || chr(8364) || g || '\\ %s $1 {batch}'",
    "varchar(40)": "'k' || g",
    "char(8)": "'c' || g",
    "uuid": "md5(g::text)::uuid",
    "timestamptz": "timestamptz '1999-12-31 23:59:59.999999+02' + g * interval '1 us'",
    "timestamp": "timestamp '2024-02-29' + g * interval '1 day'",
    "date": "date '0001-01-01' + g * 1000",
    "numeric": "g / 3.0 - 10",
    "numeric(12,4)": "g / 8.0",
    "bytea": "decode(md5(g::text), 'hex')",
    "double precision": "g / 3.0::float8",
    "interval": "g * interval '1 hour'",
    "boolean": "g = 1",
    "time": "time '00:00' + g * interval '1 minute'",
    "int[]": "ARRAY[g % 7, g]",
}


class Once(TableBackfill):
    table = "items"
    batch_size = 7
    statement = "UPDATE items SET n = n + 1 WHERE {batch}"


async def walk_in_steps(
    pool: Pool, backfill: type[TableBackfill], **overrides: Any
) -> int:
    """Run it two batches at a time; return how many rows it did."""
    for _ in range(50):
        result = await backfill.run(pool=pool, max_batches=2, **overrides)
        if result.status is not RunStatus.STOPPED:
            return done(result).rows
    raise AssertionError("the walk does not come to its end")


@pytest.mark.asyncio
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("kind", KEYS)
async def test_a_key_of_any_type_is_walked(pool: Pool, kind: str, order: str) -> None:
    rows = 2 if kind == "boolean" else 60
    await pool.execute(
        f"CREATE TABLE items (id {kind} PRIMARY KEY, n int NOT NULL DEFAULT 0);"
        f"INSERT INTO items SELECT {KEYS[kind]} FROM generate_series(1, {rows}) g"
    )

    size = 1 if kind == "boolean" else 7
    counted = await walk_in_steps(pool, Once, order=order, batch_size=size)

    assert counted == rows
    assert await times_done(pool) == {1: rows}


@pytest.mark.asyncio
async def test_a_key_that_is_an_array_is_walked_in_whole_batches(pool: Pool) -> None:
    await pool.execute(
        "CREATE TABLE items (id int[] PRIMARY KEY, n int NOT NULL DEFAULT 0);"
        "INSERT INTO items SELECT ARRAY[g % 7, g] FROM generate_series(1, 60) g"
    )

    result = done(await Once.run(pool=pool))

    assert (result.batches, result.quarantined) == (9, 0)
    assert await times_done(pool) == {1: 60}


@pytest.mark.asyncio
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize(
    "key", [("a", "b"), ("b", "a"), ("a", "b", "c"), ("c", "a", "b")]
)
async def test_a_key_of_several_columns_is_compared_as_a_row(
    pool: Pool, key: tuple[str, ...], order: str
) -> None:
    await pool.execute(
        "CREATE TABLE items (a int, b text, c uuid NOT NULL, n int DEFAULT 0,"
        " PRIMARY KEY (a, b));"
        "INSERT INTO items SELECT g % 5, 'b' || g / 5, md5(g::text)::uuid"
        " FROM generate_series(1, 100) g"
    )

    counted = await walk_in_steps(pool, Once, key=key, order=order)

    assert counted == 100
    assert await times_done(pool) == {1: 100}


@pytest.mark.asyncio
async def test_an_enum_and_a_domain_are_keys_too(pool: Pool) -> None:
    await pool.execute(
        "CREATE TYPE colour AS ENUM ('red', 'green', 'Blue one');"
        "CREATE DOMAIN counted AS int CHECK (VALUE > 0);"
        "CREATE TABLE items (a colour, b counted, n int DEFAULT 0, PRIMARY KEY (a, b));"
        "INSERT INTO items SELECT c, g FROM unnest(enum_range(null::colour)) c,"
        " generate_series(1, 20) g"
    )

    assert await walk_in_steps(pool, Once) == 60
    assert await times_done(pool) == {1: 60}


@pytest.mark.asyncio
async def test_a_text_key_is_walked_by_its_collation(pool: Pool) -> None:
    await pool.execute(
        'CREATE TABLE items (id text COLLATE "C" PRIMARY KEY, n int DEFAULT 0);'
        "INSERT INTO items SELECT v || g FROM unnest(ARRAY['a', 'B', 'ä', '_', 'z'])"
        " v, generate_series(1, 10) g"
    )

    assert await walk_in_steps(pool, Once) == 50
    assert await times_done(pool) == {1: 50}


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["timestamptz", "date", "timestamp"])
async def test_infinity_is_a_key(pool: Pool, kind: str) -> None:
    await pool.execute(
        f"CREATE TABLE items (id {kind} PRIMARY KEY, n int DEFAULT 0);"
        f"INSERT INTO items SELECT {kind} '2024-01-01' + g * interval '1 day'"
        " FROM generate_series(1, 20) g;"
        "INSERT INTO items VALUES ('-infinity'), ('infinity')"
    )

    assert await walk_in_steps(pool, Once) == 22
    assert await times_done(pool) == {1: 22}
