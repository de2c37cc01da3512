"""A `TableBackfill` does each row of its table once, whatever the table is like."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from adaptive_backfill import Checkpoint, Fail, Halt, RunStatus, SqliteStore
from adaptive_backfill._core import codec
from adaptive_backfill._core.codec import Encoded
from adaptive_backfill.errors import ConfigurationError, InvalidAnswer
from adaptive_backfill.postgres import _store_lease
from adaptive_backfill.postgres._store_lease import PostgresLease
from adaptive_backfill.postgres.table import TableBackfill

from . import tables
from .tables import Pool, done, numbered, times_done

pytestmark = pytest.mark.postgres
quiet = tables.quiet


class Once(TableBackfill):
    table = "items"
    key = "id"
    batch_size = 7
    statement = "UPDATE items SET n = n + 1 WHERE {batch}"


class InPython(TableBackfill):
    table = "items"
    columns = ("id", "n")
    batch_size = 7

    async def handle_rows(self, rows: Sequence[Any], connection: Any) -> object:
        await connection.executemany(
            "UPDATE items SET n = n + 1 WHERE id = $1", [(row["id"],) for row in rows]
        )
        return None


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["statement", "python"])
async def test_a_cursor_is_encoded_while_the_server_is_at_work(
    kind: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    did: list[str] = []
    save_on = PostgresLease.save_on

    def encoded(state: object, state_type: object) -> Encoded:
        did.append("encode")
        return codec.encode(state, state_type)

    async def save(*args: Any) -> None:
        did.append("save")
        await save_on(*args)

    monkeypatch.setattr(_store_lease, "encode", encoded)
    monkeypatch.setattr(PostgresLease, "save_on", save)
    await numbered(pool, 50)

    done(
        await (Once if kind == "statement" else InPython).run(pool=pool, batch_size=10)
    )

    # Of the last batch the finish is saved, and no cursor.
    assert did == ["encode", "save"] * 4 + ["encode"]


@pytest.mark.asyncio
@pytest.mark.parametrize("backfill", [Once, InPython])
@pytest.mark.parametrize("rows", [0, 1, 6, 7, 8, 14, 100])
async def test_each_row_is_done_once(
    pool: Pool, backfill: type[TableBackfill], rows: int
) -> None:
    await numbered(pool, rows)

    result = done(await backfill.run(pool=pool))

    assert await times_done(pool) == ({1: rows} if rows else {})
    assert result.rows == rows


@pytest.mark.asyncio
@pytest.mark.parametrize("backfill", [Once, InPython])
async def test_a_stopped_walk_goes_on_where_it_stood(
    pool: Pool, backfill: type[TableBackfill]
) -> None:
    await numbered(pool, 50)

    stops = [await backfill.run(pool=pool, max_batches=2) for _ in range(3)]
    result = done(await backfill.run(pool=pool))

    assert [stop.status for stop in stops] == [RunStatus.STOPPED] * 3
    assert result.resumed
    assert result.rows == 50
    assert await times_done(pool) == {1: 50}


@pytest.mark.asyncio
@pytest.mark.parametrize("backfill", [Once, InPython])
async def test_a_walk_may_begin_at_the_greatest_key(
    pool: Pool, backfill: type[TableBackfill]
) -> None:
    await numbered(pool, 20)

    await backfill.run(pool=pool, order="desc", max_batches=1)
    first = await pool.fetch("SELECT id FROM items WHERE n = 1 ORDER BY id")
    done(await backfill.run(pool=pool, order="desc"))

    assert [row["id"] for row in first] == list(range(14, 21))
    assert await times_done(pool) == {1: 20}


@pytest.mark.asyncio
async def test_only_rows_that_are_still_to_do_are_done(pool: Pool) -> None:
    await numbered(pool, 100)

    result = done(await Once.run(pool=pool, where="id % 50 = 0 OR id = 3"))

    assert await times_done(pool) == {0: 97, 1: 3}
    assert (result.rows, result.batches) == (3, 15)


@pytest.mark.asyncio
async def test_handle_rows_is_handed_the_rows_in_order_with_its_columns(
    pool: Pool,
) -> None:
    await pool.execute(
        "CREATE TABLE items (id int PRIMARY KEY, n int, extra text);"
        "INSERT INTO items SELECT g, g * 10, 'x' FROM generate_series(5, 1, -1) g"
    )
    handed: list[dict[str, object]] = []

    class Listing(TableBackfill):
        table = "items"
        columns = ("n", "id")
        where = "n <> 30"

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            handed.extend(dict(row) for row in rows)

    done(await Listing.run(pool=pool))

    assert handed == [{"n": g * 10, "id": g} for g in (1, 2, 4, 5)]


@pytest.mark.asyncio
async def test_rows_that_handle_rows_works_on_are_locked(pool: Pool) -> None:
    await numbered(pool, 3)
    locked: list[bool] = []

    class Looking(TableBackfill):
        table = "items"

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            free = await pool.fetch("SELECT id FROM items FOR UPDATE SKIP LOCKED")
            locked.append(not free)

    done(await Looking.run(pool=pool))

    assert locked == [True]


@pytest.mark.asyncio
async def test_the_end_is_fixed_at_the_start(pool: Pool) -> None:
    await numbered(pool, 10)

    class Growing(TableBackfill):
        table = "items"
        batch_size = 4

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            await pool.execute("INSERT INTO items SELECT max(id) + 1 FROM items")

    result = done(await Growing.run(pool=pool))

    assert (result.rows, result.batches) == (10, 3)


@pytest.mark.asyncio
@pytest.mark.parametrize("backfill", [Once, InPython])
async def test_to_follow_is_to_go_on_until_there_are_no_new_rows(
    pool: Pool, backfill: type[TableBackfill]
) -> None:
    await numbered(pool, 10)
    more = iter([15, 40])

    async def on_success(state: object) -> None:
        if (last := next(more, None)) is not None:
            await pool.execute(
                "INSERT INTO items SELECT generate_series"
                f"((SELECT max(id) + 1 FROM items), {last})"
            )

    result = done(await backfill.run(pool=pool, follow=True, on_success=on_success))

    assert result.rows == 40
    assert await times_done(pool) == {1: 40}


@pytest.mark.asyncio
async def test_rows_are_deleted(pool: Pool) -> None:
    await numbered(pool, 20)

    result = done(
        await Once.run(
            pool=pool, where="id > 5", statement="DELETE FROM items WHERE {batch}"
        )
    )

    assert result.rows == 15
    assert await times_done(pool) == {0: 5}


@pytest.mark.asyncio
async def test_rows_are_copied_by_insert_select_under_an_alias(pool: Pool) -> None:
    await numbered(pool, 20)
    await pool.execute("CREATE TABLE copies (id int PRIMARY KEY, tags jsonb)")

    result = done(
        await Once.run(
            pool=pool,
            statement=(
                "INSERT INTO copies SELECT i.id, '{\"batch\": {}}'::jsonb "
                "FROM items AS i JOIN items AS other USING (id) WHERE {batch:i}"
            ),
            where="i.n = 0",
        )
    )

    assert result.rows == 20
    assert await pool.fetchval("SELECT count(*) FROM copies") == 20
    assert await pool.fetchval("SELECT tags FROM copies LIMIT 1") == '{"batch": {}}'


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE items SET n = n + 1 WHERE {batch} RETURNING id",
        "UPDATE items SET n = n + 1 WHERE {batch};",
        "UPDATE items SET n = n + 1 WHERE {batch} -- all of them",
        "WITH step AS (SELECT 1 AS one) UPDATE items SET n = n + one "
        "FROM step WHERE {batch}",
        "/* once */ update items set n = n + 1 where {batch}",
        "WITH changed AS (UPDATE items SET n = n + 1 WHERE {batch} RETURNING id) "
        "SELECT id FROM changed",
    ],
)
async def test_a_statement_may_be_written_in_many_ways(
    pool: Pool, statement: str
) -> None:
    await numbered(pool, 20)

    result = done(await Once.run(pool=pool, statement=statement))

    assert result.rows == 20
    assert await times_done(pool) == {1: 20}


@pytest.mark.asyncio
async def test_a_partitioned_table_is_walked_as_one(pool: Pool) -> None:
    await pool.execute(
        "CREATE TABLE items (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)"
        " PARTITION BY RANGE (id);"
        "CREATE TABLE items_low PARTITION OF items FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE items_high PARTITION OF items FOR VALUES FROM (10) TO (1000);"
        "INSERT INTO items SELECT generate_series(1, 30); ANALYZE items"
    )

    result = done(await Once.run(pool=pool))

    assert result.rows == 30
    assert await times_done(pool, "items_low") == {1: 9}
    assert await times_done(pool, "items_high") == {1: 21}


@pytest.mark.asyncio
async def test_names_are_quoted_as_they_are(pool: Pool) -> None:
    await pool.execute(
        'CREATE SCHEMA "Odd; one";'
        'CREATE TABLE "Odd; one"."the ""Table""" '
        '("Key one" int, "select" text, "N %" int DEFAULT 0,'
        ' PRIMARY KEY ("Key one", "select"));'
        'INSERT INTO "Odd; one"."the ""Table""" '
        "SELECT g, chr(39) || g FROM generate_series(1, 20) g"
    )
    odd = '"Odd; one"."the ""Table"""'

    result = done(
        await Once.run(
            pool=pool,
            table=odd,
            key=("Key one", "select"),
            statement=f'UPDATE {odd} SET "N %" = "N %" + 1 WHERE {{batch}}',
        )
    )

    assert result.rows == 20
    assert await pool.fetchval(f'SELECT sum("N %") FROM {odd}') == 20


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [Halt("enough"), Fail("no good"), 3.5, "all"])
async def test_what_is_not_done_is_rolled_back(pool: Pool, answer: object) -> None:
    await numbered(pool, 20)

    class Refusing(TableBackfill):
        table = "items"

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> object:
            await connection.execute("UPDATE items SET n = 1")
            return answer

    result = await Refusing.run(pool=pool)

    assert await times_done(pool) == {0: 20}
    assert result.status is (
        RunStatus.HALTED if isinstance(answer, Halt) else RunStatus.FAILED
    )
    if isinstance(answer, Fail):
        assert result.error == "no good"
    elif not isinstance(answer, Halt):
        assert isinstance(result.error, InvalidAnswer)


@pytest.mark.asyncio
async def test_the_number_that_handle_rows_answers_only_counts(pool: Pool) -> None:
    await numbered(pool, 20)

    class Counting(TableBackfill):
        table = "items"
        batch_size = 5

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> int:
            return 2

    result = done(await Counting.run(pool=pool))

    assert (result.rows, result.batches) == (8, 4)


@pytest.mark.asyncio
async def test_a_table_without_primary_key_is_told_its_unique_indexes(
    pool: Pool,
) -> None:
    await pool.execute(
        "CREATE TABLE items (a int NOT NULL, b int NOT NULL, n int DEFAULT 0);"
        "CREATE UNIQUE INDEX by_both ON items (a, b);"
        "INSERT INTO items SELECT g / 3, g FROM generate_series(1, 20) g"
    )

    class Keyless(TableBackfill):
        table = "items"
        statement = "UPDATE items SET n = n + 1 WHERE {batch}"

    refused = await Keyless.run(pool=pool)
    done(await Keyless.run(pool=pool, key=("a", "b"), batch_size=4))

    assert isinstance(refused.error, ConfigurationError)
    assert refused.error.problems == (
        'table "items" has no primary key, so `key` is needed; '
        "its unique indexes are: by_both (a, b)",
    )
    assert await times_done(pool) == {1: 20}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("missing", "has no column 'missing'"),
        ("n", "is not unique"),
        ("maybe", "may be NULL"),
    ],
)
async def test_a_key_that_cannot_be_walked_by_is_refused(
    pool: Pool, key: str, says: str
) -> None:
    await numbered(pool, 3)
    await pool.execute("ALTER TABLE items ADD maybe int UNIQUE")

    result = await Once.run(pool=pool, key=key)

    assert isinstance(result.error, ConfigurationError)
    assert says in str(result.error)
    assert await times_done(pool) == {0: 3}


@pytest.mark.asyncio
async def test_the_total_is_an_estimate_or_the_exact_count(pool: Pool) -> None:
    await numbered(pool, 50)
    seen: list[object] = []

    for count in ("estimate", "exact"):
        async with Once.start(
            pool=pool, count=count, where="id > 10", restart=True
        ) as run:
            done(await run.wait())
            seen.append(run.progress.total)

    assert seen == [50, 40]


@pytest.mark.asyncio
async def test_a_run_without_a_checkpoint_keeps_nothing(pool: Pool) -> None:
    await numbered(pool, 20)

    stopped = await Once.run(pool=pool, checkpoint=None, max_batches=1)
    result = done(await Once.run(pool=pool, checkpoint=None))

    assert stopped.rows == 7
    assert result.rows == 20
    assert not await pool.fetchval("SELECT to_regnamespace('adaptive_backfill')")


@pytest.mark.asyncio
async def test_a_store_of_another_kind_keeps_the_walk_at_least_once(
    pool: Pool, tmp_path: Path
) -> None:
    await numbered(pool, 30)
    checkpoint = Checkpoint(SqliteStore(tmp_path / "kept.db"))

    await Once.run(pool=pool, checkpoint=checkpoint, max_batches=2)
    result = done(await Once.run(pool=pool, checkpoint=checkpoint))

    assert result.resumed
    assert await times_done(pool) == {1: 30}


@pytest.mark.asyncio
async def test_a_dsn_is_enough(database: str, pool: Pool) -> None:
    await numbered(pool, 20)

    done(await Once.run(dsn=database))

    assert await times_done(pool) == {1: 20}


@pytest.mark.asyncio
async def test_rows_that_come_and_go_meanwhile_disturb_nothing(pool: Pool) -> None:
    await numbered(pool, 3_000)
    stop = asyncio.Event()

    async def write() -> None:
        fresh = 10_000
        while not stop.is_set():
            fresh += 1
            await pool.execute("INSERT INTO items VALUES ($1)", fresh)
            await pool.execute("DELETE FROM items WHERE id = $1", fresh % 3_000)
            await pool.execute("UPDATE items SET n = n WHERE id = $1", fresh % 2_999)

    writing = asyncio.create_task(write())
    done(await Once.run(pool=pool, batch_size=20))
    stop.set()
    await writing

    left = await pool.fetch("SELECT n, count(*) FROM items WHERE id <= 3000 GROUP BY n")
    assert [row["n"] for row in left] == [1]
