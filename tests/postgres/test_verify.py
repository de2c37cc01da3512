"""What is left after a run, counted."""

from __future__ import annotations

from typing import Any

import pytest

from adaptive_backfill import RunStatus
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.postgres import TableBackfill
from tests.postgres.walking import Double, Pool, people


@pytest.mark.asyncio
async def test_no_row_is_left_after_a_run(pool: Pool) -> None:
    await people(pool, 250)

    await Double.run(pool=pool, batch_size=100)
    left = await Double.verify(pool=pool)

    assert (left.ok, left.remaining, left.examples) == (True, 0, ())
    assert str(left) == "double: no row is left to do"


@pytest.mark.asyncio
async def test_rows_that_came_since_are_counted_with_their_keys(pool: Pool) -> None:
    await people(pool, 250)
    await Double.run(pool=pool)
    await pool.execute("INSERT INTO people VALUES (251, 'x'), (252, 'y')")

    left = await Double.verify(pool=pool)

    assert (left.ok, left.remaining) == (False, 2)
    assert sorted(left.examples) == [(251,), (252,)]
    assert str(left).startswith("double: 2 rows still to do, such as 25")


@pytest.mark.asyncio
async def test_the_count_is_exact_and_the_examples_are_ten(pool: Pool) -> None:
    await people(pool, 1_000)
    stopped = await Double.run(pool=pool, batch_size=123, max_batches=2)

    left = await Double.verify(pool=pool)

    assert stopped.status is RunStatus.STOPPED
    assert left.remaining == 1_000 - 246
    assert len(set(left.examples)) == 10
    assert all(246 < key <= 1_000 for (key,) in left.examples)


@pytest.mark.asyncio
async def test_the_examples_are_ten_also_where_a_where_ends_with_a_comment(
    pool: Pool,
) -> None:
    await people(pool, 100)

    left = await Double.verify(pool=pool, where="id > 0 -- all of them")

    assert left.remaining == 100
    assert len(left.examples) == 10


@pytest.mark.asyncio
async def test_a_row_of_a_key_of_several_columns_is_named_by_all(pool: Pool) -> None:
    await pool.execute(
        "CREATE TABLE events (tenant text, id int, n int, PRIMARY KEY (tenant, id));"
        "INSERT INTO events VALUES ('a', 1, 0), ('b', 1, 1)"
    )

    left = await Double.verify(
        pool=pool,
        table="events",
        where="n = 0",
        statement="UPDATE events SET n = 1 WHERE {batch}",
    )

    assert left.examples == (("a", 1),)
    assert str(left) == "double: 1 row still to do, such as (a, 1)"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("given", "why"),
    [
        (
            {"where": None},
            "there is no `where`, by which rows still to do could be known",
        ),
        (
            {"statement": "INSERT INTO copies SELECT id FROM people WHERE {batch}"},
            "the statement changes no row of the table that it walks",
        ),
    ],
    ids=["no where", "copy"],
)
async def test_where_done_rows_look_like_others_nothing_is_claimed(
    pool: Pool, given: dict[str, Any], why: str
) -> None:
    await people(pool, 10, also="CREATE TABLE copies (id bigint)")

    left = await Double.verify(pool=pool, **given)

    assert (left.ok, left.remaining, left.unknown) == (False, None, why)
    assert str(left) == f"double: cannot be told by counting: {why}"


@pytest.mark.asyncio
async def test_rows_that_were_set_aside_are_told_apart(pool: Pool) -> None:
    await people(pool, 250)
    statement = "UPDATE people SET doubled = 1 / (id - 7) WHERE {batch}"

    result = await Double.run(pool=pool, statement=statement)
    left = await Double.verify(pool=pool)

    assert (result.status, result.quarantined) == (RunStatus.DONE, 1)
    assert (left.ok, left.remaining, left.quarantined) == (False, 1, 1)
    assert left.examples == ((7,),)
    assert str(left) == "double: 1 row still to do, such as 7; 1 row quarantined"


@pytest.mark.asyncio
async def test_to_verify_makes_no_tables_for_a_store(pool: Pool) -> None:
    await people(pool, 250)

    left = await Double.verify(pool=pool)

    assert (left.remaining, left.quarantined) == (250, 0)
    assert await pool.fetchval("SELECT to_regnamespace('adaptive_backfill')") is None


@pytest.mark.asyncio
async def test_what_is_to_be_deleted_is_left_while_it_is_there(pool: Pool) -> None:
    class Drop(TableBackfill):
        table = "people"
        statement = "DELETE FROM people WHERE {batch}"

    await people(pool, 25)

    before = await Drop.verify(pool=pool)
    await Drop.run(pool=pool)
    after = await Drop.verify(pool=pool)

    assert (before.remaining, after.remaining, after.ok) == (25, 0, True)


@pytest.mark.asyncio
async def test_a_table_that_is_not_there_is_an_error(pool: Pool) -> None:
    with pytest.raises(ConfigurationError, match='there is no table "people"'):
        await Double.verify(pool=pool)
