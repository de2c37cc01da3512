"""A hand-written batch lets who waits for it go first, and is tried again with half."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from adaptive_backfill import Answer, Checkpoint, Done, MemoryStore, Next, telemetry
from adaptive_backfill.postgres._faults import GaveWay
from adaptive_backfill.postgres._giving_way import GivingWay, Yielding
from adaptive_backfill.postgres.backfill import PostgresBackfill

from . import tables
from .asking import connected, pool_of
from .tables import Pool, done, numbered, times_done

pytestmark = pytest.mark.postgres
quiet = tables.quiet


class ByHand(PostgresBackfill[int]):
    """Does the ids of `items`, and first sits on what it has locked."""

    initial_state = 0
    batch_size = 100
    sizes: list[int | None]
    locked: asyncio.Event

    async def handle_batch(self, state: int) -> Answer[int]:
        self.sizes.append(self.batch_size)
        last = state + (self.batch_size or 100)
        status = await self.connection.execute(
            "UPDATE items SET n = n + 1 WHERE id > $1 AND id <= $2", state, last
        )
        if not self.locked.is_set():
            self.locked.set()
            await asyncio.Event().wait()
        rows = int(status.rpartition(" ")[2])
        return Next(last, rows=rows) if rows else Done()


@asynccontextmanager
async def retried() -> AsyncIterator[list[telemetry.Event]]:
    heard: list[telemetry.Event] = []
    telemetry.attach("retries", "backfill.batch.retry", heard.append)
    try:
        yield heard
    finally:
        telemetry.detach("retries")


async def wants_a_row(database: str) -> None:
    """Be the site, which waits for a row until it gets it."""
    async with connected(database) as site:
        await site.execute("SET application_name = 'the site'")
        await site.execute("UPDATE items SET n = n WHERE id = 5", timeout=30)


@pytest.mark.asyncio
async def test_who_waits_for_a_hand_written_batch_goes_first_and_it_is_halved(
    database: str,
) -> None:
    sizes, locked = list[int | None](), asyncio.Event()
    # One connection for the batch, and one for all that is to be seen meanwhile.
    async with pool_of(database, 2) as pool, retried() as events:
        await numbered(pool, 250)
        with capture_logs() as logs:
            running = asyncio.create_task(
                ByHand.run(pool=pool, sizes=sizes, locked=locked)
            )
            await locked.wait()
            await wants_a_row(database)
            result = done(await running)

        assert await times_done(pool) == {1: 250}
    # No `retry` is declared: to give way is nobody's failure. And it grows back.
    assert sizes == [100, 50, 56, 63, 70, 78, 87]
    assert (result.rows, result.batches) == (250, 5)
    (error,) = (event.metadata["error"] for event in events)
    assert isinstance(error, GaveWay)
    assert str(error).startswith("blocked_by_us ")
    assert "the site (pid " in str(error)
    (line,) = (line for line in logs if line["event"] == "batch gave way")
    assert (line["batch_size"], line["log_level"]) == (50, "warning")


@pytest.mark.asyncio
async def test_a_batch_without_a_size_gives_way_all_the_same(
    pool: Pool, database: str
) -> None:
    await numbered(pool, 200)
    sizes, locked = list[int | None](), asyncio.Event()

    running = asyncio.create_task(
        ByHand.run(pool=pool, sizes=sizes, locked=locked, batch_size=None)
    )
    await locked.wait()
    await wants_a_row(database)
    result = done(await running)

    assert sizes == [None] * 4
    assert result.rows == 200
    assert await times_done(pool) == {1: 200}


@pytest.mark.asyncio
async def test_nobody_is_looked_for_where_the_pool_has_no_connection_to_spare(
    database: str,
) -> None:
    gives_way: list[bool] = []

    class Looking(PostgresBackfill[int]):
        initial_state = 0

        async def handle_batch(self, state: int) -> Answer[int]:
            assert self._transaction is not None
            gives_way.append(self._transaction._guard is not None)
            return Done()

    for size in (1, 2):
        async with pool_of(database, size) as small:
            # Its store is elsewhere, so that one connection is enough.
            checkpoint = Checkpoint(MemoryStore())
            done(await Looking.run(pool=small, checkpoint=checkpoint))

    assert gives_way == [False, True]


@pytest.mark.parametrize("attempts", [1, 3])
def test_what_gave_way_is_not_counted_by_retry(attempts: int) -> None:
    giving_way = GivingWay(None, lambda _: None)
    retry = Yielding(attempts, 1.0, 60.0, (ValueError,), giving_way=giving_way)
    attempt = 0

    def fails(error: Exception) -> bool:
        nonlocal attempt
        attempt += 1
        giving_way.failed(error, tried=True, lost=False)
        return retry.covers(error, attempt)

    assert all(fails(GaveWay("somebody waits")) for _ in range(5))
    assert [fails(ValueError()) for _ in range(attempts)] == (
        [True] * (attempts - 1) + [False]
    )
    assert fails(GaveWay("somebody waits"))


def test_ten_times_in_a_row_there_is_no_getting_through() -> None:
    giving_way = GivingWay(1_000, lambda _: None)
    retry = Yielding(3, 1.0, 60.0, (Exception,), giving_way=giving_way)
    covered = []

    for attempt in range(1, 11):
        giving_way.failed(GaveWay("somebody waits"), tried=True, lost=False)
        covered.append(retry.covers(GaveWay("somebody waits"), attempt))

    assert covered == [True] * 9 + [False]
    giving_way.done()
    giving_way.failed(GaveWay("somebody waits"), tried=True, lost=False)
    assert retry.covers(GaveWay("somebody waits"), 1)


def test_waits_grow_with_how_often_the_same_has_happened() -> None:
    giving_way = GivingWay(None, lambda _: None)
    retry = Yielding(5, 1.0, 60.0, (Exception,), giving_way=giving_way)
    waits = []

    for attempt, error in enumerate(
        (ValueError(), GaveWay("a"), GaveWay("b"), ValueError()), 1
    ):
        giving_way.failed(error, tried=True, lost=False)
        waits.append(retry.wait(attempt, 1.0))

    assert waits == [1.0, 1.0, 2.0, 2.0]


@given(
    st.integers(1, 10_000),
    st.lists(st.sampled_from(["gave way", "error", "done", "set"])),
)
def test_a_size_is_between_one_and_the_one_declared(
    declared: int, events: list[str]
) -> None:
    sizes = [declared]
    giving_way = GivingWay(declared, sizes.append)

    for event in events:
        before = sizes[-1]
        if event == "done":
            giving_way.done()
            assert sizes[-1] >= before
        elif event == "set":
            declared = max(1, declared // 3)
            sizes.append(declared)
            giving_way.retuned(declared)
        else:
            error = GaveWay("x") if event == "gave way" else ValueError("x")
            giving_way.failed(error, tried=True, lost=False)
            expected = max(1, before // 2) if event == "gave way" else before
            assert sizes[-1] == expected
        assert 1 <= sizes[-1] <= declared


@pytest.mark.asyncio
async def test_a_size_that_is_set_from_outside_is_kept_to(
    pool: Pool, database: str
) -> None:
    await numbered(pool, 400)
    sizes, locked = list[int | None](), asyncio.Event()
    async with ByHand.start(pool=pool, sizes=sizes, locked=locked) as run:
        await locked.wait()
        run.set(batch_size=40)
        await wants_a_row(database)
        done(await run.wait())

    # The next batch is as small as was asked for, not half of what was before.
    assert sizes[0] == 100
    assert set(sizes[1:]) == {40}
    assert await times_done(pool) == {1: 400}
