"""How far a table's backfill is, by where it is in the table."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from adaptive_backfill import Progress, Run
from adaptive_backfill.postgres import TableBackfill
from adaptive_backfill.postgres._ruler import Ruler, place_of
from tests.core.making import few
from tests.postgres.walking import Double, Pool, people

places = st.floats(-1e12, 1e12)


class Watched(Double):
    """Notes its progress after each batch."""

    seen: list[Progress]
    looks: Any

    async def on_success(self, state: object) -> None:
        self.seen.append(self.looks())


async def looks_of(
    pool: Pool, backfill: type[TableBackfill] = Watched, **given: Any
) -> list[Progress]:
    seen: list[Progress] = []
    run: Run = backfill.start(pool=pool, seen=seen, looks=lambda: run.progress, **given)
    async with run:
        await run.wait()
    return [*seen, run.progress]


def shares(looks: Iterable[Progress]) -> list[float]:
    return [look.share or 0.0 for look in looks]


@pytest.mark.asyncio
async def test_the_share_is_the_place_of_the_cursor_where_few_rows_are_to_do(
    pool: Pool,
) -> None:
    await people(pool, 1_000, also="UPDATE people SET doubled = 0 WHERE id % 10 > 0")

    looks = await looks_of(pool, batch_size=100)

    assert shares(looks) == pytest.approx(
        [n / 10 for n in range(1, 11)] + [1.0], abs=0.01
    )
    assert looks[4].rows == 50


@pytest.mark.asyncio
async def test_gaps_between_keys_count_for_nothing(pool: Pool) -> None:
    await people(pool, 1_000, also="UPDATE people SET id = id * 1000 WHERE id > 500")

    looks = await looks_of(pool, batch_size=100)

    assert shares(looks)[4] == pytest.approx(0.5, abs=0.02)


@pytest.mark.asyncio
async def test_a_walk_from_the_greatest_key_has_its_share_as_well(pool: Pool) -> None:
    await people(pool, 1_000)

    looks = await looks_of(pool, batch_size=250, order="desc")

    assert shares(looks) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0], abs=0.01)


@pytest.mark.asyncio
async def test_before_the_first_analyze_the_share_is_between_first_and_last_key(
    pool: Pool,
) -> None:
    await pool.execute(
        "CREATE TABLE people (id int PRIMARY KEY, doubled int) "
        "WITH (autovacuum_enabled = false);"
        "INSERT INTO people SELECT generate_series(1, 1000)"
    )
    statement = "UPDATE people SET doubled = 1 WHERE {batch}"

    looks = await looks_of(pool, batch_size=250, statement=statement)

    assert shares(looks) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0], abs=0.01)
    assert looks[0].total is None


@pytest.mark.asyncio
async def test_text_has_the_share_of_its_rows(pool: Pool) -> None:
    await pool.execute(
        "CREATE TABLE people (id text PRIMARY KEY, doubled int);"
        "INSERT INTO people SELECT n::text FROM generate_series(1, 1000) AS n;"
        "ANALYZE people"
    )
    statement = "UPDATE people SET doubled = 1 WHERE {batch}"

    looks = await looks_of(pool, batch_size=250, statement=statement, count="exact")

    assert shares(looks) == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.asyncio
async def test_text_has_the_share_of_the_rows_to_do_where_they_are_counted(
    pool: Pool,
) -> None:
    await pool.execute(
        "CREATE TABLE people (id text PRIMARY KEY, doubled int);"
        "INSERT INTO people SELECT n::text, nullif(n % 10, 0) "
        "FROM generate_series(1, 1000) AS n; ANALYZE people"
    )
    statement = "UPDATE people SET doubled = 1 WHERE {batch}"

    looks = await looks_of(pool, batch_size=250, statement=statement, count="exact")

    assert (looks[-2].rows, looks[-2].total, looks[-2].share) == (100, 100, 1.0)


@pytest.mark.asyncio
async def test_an_estimated_total_is_that_of_the_table(pool: Pool) -> None:
    await people(pool, 1_000, also="UPDATE people SET doubled = 0 WHERE id % 10 > 0")

    *_, last = await looks_of(pool)

    assert (last.total, last.rows, last.share) == (1_000, 100, 1.0)


@pytest.mark.asyncio
async def test_an_exact_total_counts_the_rows_to_do_also_after_a_resume(
    pool: Pool,
) -> None:
    await people(pool, 1_000, also="UPDATE people SET doubled = 0 WHERE id % 10 > 0")

    first = await looks_of(pool, batch_size=100, count="exact", max_batches=3)
    second = await looks_of(pool, batch_size=100, count="exact")

    assert {look.total for look in first} == {100}
    assert {look.total for look in second} == {100}
    assert (second[-1].rows, second[-1].share) == (100, 1.0)
    assert shares(second)[0] == pytest.approx(0.4, abs=0.01)


@pytest.mark.asyncio
async def test_who_gives_a_total_gets_the_share_of_it(pool: Pool) -> None:
    await people(pool, 1_000)

    looks = await looks_of(pool, batch_size=250, total=2_000)

    assert shares(looks) == [0.125, 0.25, 0.375, 0.5, 0.5]


@few
@given(places, places, st.lists(places, max_size=20), st.lists(places))
def test_a_share_is_between_zero_and_one_and_grows_with_the_key(
    begin: float, end: float, bounds: list[float], keys: list[float]
) -> None:
    ruler = Ruler(begin, end, bounds)

    found = [ruler.share(key) for key in sorted(keys, reverse=begin > end)]

    assert all(0.0 <= share <= 1.0 for share in found)
    assert found == sorted(found)
    assert ruler.share(end) == 1.0


@pytest.mark.parametrize(
    "ordered",
    [
        [-3, 0, 10**18],
        [-1.5, 0.0, 2.5],
        [Decimal("-1e9"), Decimal("0.1"), Decimal("1e9")],
        [date(1970, 1, 1), date(2026, 11, 24)],
        [datetime.min, datetime(2026, 1, 1), datetime.max],
        [datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)],
        [UUID(int=0), UUID(int=7), UUID(int=2**128 - 1)],
    ],
    ids=lambda values: type(values[0]).__name__,
)
def test_places_are_in_the_order_of_the_values(ordered: list[object]) -> None:
    found = [place_of(value) or 0.0 for value in ordered]

    assert found == sorted(found)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("value", ["a", b"a", True, None, timedelta(1)], ids=repr)
def test_what_has_no_place_has_none(value: object) -> None:
    assert place_of(value) is None


@pytest.mark.asyncio
async def test_a_table_that_was_never_analyzed_is_no_reason_to_warn(pool: Pool) -> None:
    await pool.execute(
        "CREATE TABLE fresh (id int PRIMARY KEY);INSERT INTO fresh VALUES (1)"
    )

    class Fresh(TableBackfill):
        table = "fresh"
        statement = "UPDATE fresh SET id = id WHERE {batch}"

    with capture_logs() as logs:
        await Fresh.run(pool=pool)

    said = [line["log_level"] for line in logs if line["event"] == "total is not known"]
    assert said == ["info"]
