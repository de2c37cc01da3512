"""The ends of batches to come, kept as hints."""

from __future__ import annotations

from typing import Any

import pytest

from adaptive_backfill.postgres._ahead import KnownEnds, batches_ahead
from adaptive_backfill.postgres._run_pool import RunPool
from adaptive_backfill.postgres._walk import Cursor, Walk, Way

from .asking import Pool
from .walking import people

UNTIL = (1_000,)


def known(*ends: int, size: int = 10, now: float = 0.0) -> KnownEnds:
    known_ends = KnownEnds()
    known_ends.keep([(end,) for end in ends], UNTIL, size, now)
    return known_ends


def test_each_batch_ends_where_the_next_begins() -> None:
    ends = known(10, 20, 30)

    assert ends.take((10,), UNTIL, 10, 0.1) == (20,)
    assert ends.take((20,), UNTIL, 10, 0.2) == (30,)
    assert ends.take((30,), UNTIL, 10, 0.3) is None


def test_an_end_is_used_once_so_that_a_batch_tried_again_looks_anew() -> None:
    ends = known(10, 20)

    assert ends.take((10,), UNTIL, 10, 0.0) == (20,)
    assert ends.take((10,), UNTIL, 10, 0.0) is None


def test_an_end_is_known_for_its_own_size_and_place_only() -> None:
    ends = known(10, 20)

    assert ends.take((10,), UNTIL, 5, 0.0) is None
    assert ends.take((11,), UNTIL, 10, 0.0) is None
    assert ends.take(None, UNTIL, 10, 0.0) is None


def test_an_end_is_not_for_a_walk_that_ends_elsewhere() -> None:
    ends = known(10, 20)

    assert ends.take((10,), (15,), 10, 0.0) is None
    assert ends.take((10,), UNTIL, 10, 0.0) == (20,)


def test_an_old_end_is_forgotten_because_rows_may_have_come_in_front_of_it() -> None:
    ends = known(10, 20, 30)

    assert ends.take((10,), UNTIL, 10, 1.0) == (20,)
    assert ends.take((20,), UNTIL, 10, 1.1) is None


def test_ends_found_later_do_not_make_old_ones_younger() -> None:
    ends = known(10, 20, now=0.0)
    ends.keep([(110,), (120,)], UNTIL, 10, 0.9)

    assert ends.take((110,), UNTIL, 10, 1.1) is None


@pytest.mark.parametrize(
    ("size", "batches"), [(1, 30), (100, 30), (2_500, 4), (2_501, 1), (20_000, 1)]
)
def test_the_ends_of_four_to_thirty_batches_are_looked_up_at_once_or_only_one(
    size: int, batches: int
) -> None:
    assert batches_ahead(size) == batches


class Looking:
    """A connection that takes note of how the planner may plan, query by query."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.sorts: list[str] = []

    async def fetch(self, query: str, *args: object) -> Any:
        self.sorts.append(await self.connection.fetchval("SHOW enable_sort"))
        return await self.connection.fetch(query, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


async def nothing(connection: object) -> None:
    """Look at nothing besides."""


@pytest.mark.postgres
@pytest.mark.asyncio
async def test_the_ends_are_looked_up_by_the_index_and_the_batch_is_planned_as_ever(
    pool: Pool,
) -> None:
    await people(pool, 2_000)
    way = Way("It", "people", None, None, False, "UPDATE people {batch}", ())
    run_pool = RunPool(pool, None, title="it", size=1, command_timeout=30.0)
    async with Walk(way, run_pool, nothing) as walk, pool.acquire() as connection:
        start = await walk.start()
        looking: Any = Looking(connection)
        async with connection.transaction():
            first = await walk.upper(looking, start, 100)
            ends = [first]
            for _ in range(3):
                cursor = Cursor(ends[-1], start.end)
                ends.append(await walk.upper(looking, cursor, 100))

            assert ends == [(100,), (200,), (300,), (400,)]
            assert looking.sorts == ["off"]
            assert await connection.fetchval("SHOW enable_sort") == "on"
