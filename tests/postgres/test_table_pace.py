"""A walk that paces itself, and one that is told to by somebody."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import pytest

from adaptive_backfill import OK, Adaptive, HealthContext, RunStatus, Verdict
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.postgres.store import PostgresStore
from adaptive_backfill.postgres.table import TableBackfill
from adaptive_backfill.testing import capture
from tests.engine.conftest import nobody_left_listening, quiet

from .asking import Pool
from .tables import done, numbered, times_done

__all__ = ["nobody_left_listening", "quiet"]

pytestmark = pytest.mark.postgres


@dataclass(eq=False)
class Gauge:
    """A check that is as near to its limit as it is told."""

    reads: float | None

    async def __call__(self) -> Verdict:
        return OK

    def load(self, context: HealthContext) -> float | None:
        return self.reads


class Fill(TableBackfill):
    """Adds one to `n` of each row, so that any row done twice is seen."""

    table = "items"
    statement = "UPDATE items SET n = n + 1 WHERE {batch}"
    batch_size = 20
    health_interval = 0.02
    run_handle: ClassVar[Any] = None
    wishes: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        self.batches = 0

    async def on_success(self, state: object) -> None:
        self.batches += 1
        if self.batches == 3 and self.wishes:
            self.run_handle.set(**self.wishes)


class Paced(Fill):
    pace = Adaptive()


def workers_of(events: Any) -> list[int | None]:
    """Which worker did each batch; `None` while the walk was whole."""
    return [
        event.metadata.get("worker")
        for event in events
        if event.name.endswith(("batch.success", "batch.done"))
    ]


async def driven(kind: type[Fill], pool: Pool, **options: Any) -> tuple[Any, Any]:
    """Run to the end; return the result and the events."""
    with capture() as events:
        async with kind.start(pool=pool, **options) as run:
            kind.run_handle = run
            result = await run.wait()
    return done(result), events


@pytest.mark.asyncio
async def test_a_walk_by_one_worker_is_cut_when_more_are_wished_for(pool: Pool) -> None:
    await numbered(pool, 4_000)

    class More(Fill):
        wishes: ClassVar[dict[str, Any]] = {"workers": 3}

    result, events = await driven(More, pool)

    assert (result.batches, result.rows) == (len(workers_of(events)), 4_000)
    assert await times_done(pool) == {1: 4_000}
    assert workers_of(events)[:3] == [None, None, None]
    assert {1, 2, 3} <= set(workers_of(events))


@pytest.mark.asyncio
async def test_no_share_goes_past_its_end_though_the_walk_knew_what_follows(
    pool: Pool,
) -> None:
    await numbered(pool, 4_000)

    class More(Fill):
        # Ten batches are a thousand keys, and a share is some hundred.
        batch_size = 100
        wishes: ClassVar[dict[str, Any]] = {"workers": 4}

    result, _ = await driven(More, pool)

    assert await times_done(pool) == {1: 4_000}
    assert result.rows == 4_000


@pytest.mark.asyncio
async def test_no_more_workers_come_than_the_pool_has_connections_for(
    pool: Pool,
) -> None:
    await numbered(pool, 8_000)
    most = pool.get_max_size() - 1

    class TooMany(Fill):
        wishes: ClassVar[dict[str, Any]] = {"workers": 100}

    _, events = await driven(TooMany, pool)

    assert await times_done(pool) == {1: 8_000}
    assert max(number for number in workers_of(events) if number) <= most


@pytest.mark.asyncio
async def test_a_walk_that_is_cut_after_a_pause_is_paused_no_longer(
    pool: Pool,
) -> None:
    await numbered(pool, 4_000)

    with capture() as events:
        async with Fill.start(pool=pool) as run:
            run.pause()
            while run.progress.status != "paused":
                await asyncio.sleep(0.01)
            run.set(workers=3)
            while not any(event.name.endswith("pace.change") for event in events):
                await asyncio.sleep(0.01)
            run.resume()
            result = await run.wait()

    assert await times_done(pool) == {1: 4_000}
    names = [event.name.removeprefix("backfill.") for event in events]
    assert (names.count("pause"), names.count("resume")) == (1, 1)
    assert result.waited == {"operator": result.paused}
    assert result.paused < result.busy
    assert {1, 2, 3} <= set(workers_of(events))


@pytest.mark.asyncio
async def test_a_walk_by_several_workers_goes_on_with_fewer(pool: Pool) -> None:
    await numbered(pool, 4_000)

    class Fewer(Fill):
        wishes: ClassVar[dict[str, Any]] = {"workers": 1}

    _, events = await driven(Fewer, pool, workers=3)

    assert await times_done(pool) == {1: 4_000}
    # They do not take turns any more: only where a worker is between two shares of
    # some sixteen batches, another one has its turn.
    turns = [one != other for one, other in pairwise(workers_of(events)[10:60])]
    assert sum(turns) < 15


@pytest.mark.asyncio
async def test_a_walk_that_was_cut_on_the_way_resumes_in_its_shares(pool: Pool) -> None:
    await numbered(pool, 4_000)
    store = PostgresStore(pool)

    class More(Fill):
        wishes: ClassVar[dict[str, Any]] = {"workers": 2}

    with capture() as events:
        async with More.start(pool=pool, max_batches=40) as run:
            More.run_handle = run
            stopped = await run.wait()
    assert stopped.status is RunStatus.STOPPED
    assert (stopped.batches, stopped.rows) == (40, 800)
    assert set(workers_of(events)) == {None, 1, 2}

    snapshot = await store.load(stopped.name)
    assert snapshot is not None
    assert snapshot.state.cut is not None  # type: ignore[attr-defined]

    result = done(await More.run(pool=pool, workers=2, max_batches=None))

    assert result.resumed
    assert result.rows == 4_000
    assert await times_done(pool) == {1: 4_000}


@pytest.mark.asyncio
async def test_a_pace_without_a_gauge_grows_its_batches_but_not_its_workers(
    pool: Pool,
) -> None:
    await numbered(pool, 6_000)

    result, events = await driven(Paced, pool)

    assert await times_done(pool) == {1: 6_000}
    assert set(workers_of(events)) == {None}
    sizes = [
        event.measurements["size"]
        for event in events
        if event.name.endswith("batch.start")
    ]
    assert sizes[0] == 20
    assert max(sizes) > 100
    assert result.batches < 6_000 / 20


@pytest.mark.asyncio
async def test_a_pace_far_from_the_limit_of_its_gauge_takes_on_workers(
    pool: Pool,
) -> None:
    await numbered(pool, 20_000)

    _, events = await driven(
        Paced,
        pool,
        health_checks=[Gauge(0.1)],
        batch_size=50,
        # The health counts once a second: the walk takes one worker two at least.
        delay_between_batches=0.005,
        pace=Adaptive(max_size=50),
    )

    assert await times_done(pool) == {1: 20_000}
    assert {None, 1, 2} <= set(workers_of(events))
    reasons = [
        reason
        for event in events
        if event.name.endswith("pace.change")
        for reason in event.metadata["reasons"]
    ]
    assert any("load 0.10 < 0.7" in str(reason) for reason in reasons), reasons


@pytest.mark.asyncio
async def test_a_pace_at_the_limit_of_its_gauge_rests(pool: Pool) -> None:
    await numbered(pool, 3_000)

    result, events = await driven(Paced, pool, health_checks=[Gauge(1.2)])

    assert await times_done(pool) == {1: 3_000}
    assert set(workers_of(events)) == {None}
    assert result.delayed > 0


@pytest.mark.asyncio
async def test_a_resumed_walk_begins_with_the_size_that_was_learned(pool: Pool) -> None:
    await numbered(pool, 6_000)

    stopped = await Paced.run(pool=pool, max_batches=8)
    snapshot = await PostgresStore(pool).load(stopped.name)
    assert snapshot is not None
    learned = snapshot.batch_size
    assert learned is not None
    assert learned > 20

    _, events = await driven(Paced, pool)

    begun = next(event for event in events if event.name.endswith("batch.start"))
    assert begun.measurements["size"] == learned
    assert await times_done(pool) == {1: 6_000}


@pytest.mark.asyncio
async def test_a_lock_that_is_not_given_halves_the_size_and_is_counted(
    pool: Pool,
) -> None:
    await numbered(pool, 400)
    held = asyncio.Event()

    async def hold() -> None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM items WHERE id = 100 FOR UPDATE")
            held.set()
            await waited.wait()

    waited = asyncio.Event()

    class Waits(Paced):
        async def handle_batch(self, state: Any) -> Any:
            try:
                return await super().handle_batch(state)
            except Exception:
                # The next try finds it free.
                waited.set()
                raise

    holding = asyncio.create_task(hold())
    await held.wait()
    result, events = await driven(Waits, pool, batch_size=200, lock_timeout=0.05)
    await holding

    assert await times_done(pool) == {1: 400}
    assert result.locked == pytest.approx(0.05)
    halved = next(
        event
        for event in events
        if event.name.endswith("pace.change")
        and event.measurements["batch_size"] == 100
    )
    assert "lock timeout" in str(halved.metadata["reasons"][0])


@pytest.mark.asyncio
async def test_a_cap_of_wal_delays_and_is_counted_in_what_batches_write(
    pool: Pool,
) -> None:
    await numbered(pool, 2_000)

    result, _ = await driven(Fill, pool, batch_size=200, max_wal_per_second=2e5)

    # 2,000 new versions of rows are 100 KB of WAL at least.
    assert result.delayed > 0.05
    assert await times_done(pool) == {1: 2_000}


@pytest.mark.asyncio
async def test_without_a_cap_nobody_asks_how_much_wal_is_written(pool: Pool) -> None:
    await numbered(pool, 100)

    result, _ = await driven(Fill, pool)

    assert result.delayed == 0


@pytest.mark.asyncio
async def test_a_pace_without_checks_looks_at_what_is_recommended(pool: Pool) -> None:
    await numbered(pool, 100)
    asked: list[str] = []

    class Looks(Paced):
        def evaluate(self, results: Any) -> Verdict:
            asked.extend(result.name for result in results)
            return OK

    await driven(Looks, pool)
    seen = set(asked)
    asked.clear()
    await driven(Looks, pool, health_checks=[Gauge(0.1)])

    assert {"read_only", "active_sessions", "dead_rows", "statement_latency"} <= seen
    assert set(asked) == {"Gauge"}


@pytest.mark.asyncio
async def test_the_statements_of_a_walk_say_whose_they_are(pool: Pool) -> None:
    await numbered(pool, 100)
    await pool.execute(
        "CREATE TABLE said (query text); CREATE FUNCTION note() RETURNS trigger "
        "LANGUAGE plpgsql AS 'BEGIN INSERT INTO said VALUES (current_query()); "
        "RETURN NULL; END'; CREATE TRIGGER note AFTER UPDATE ON items "
        "FOR EACH STATEMENT EXECUTE FUNCTION note()"
    )

    await driven(Fill, pool, batch_size=50)

    said = [row["query"] for row in await pool.fetch("SELECT query FROM said")]
    assert len(said) == 2
    assert all(query.endswith("/* adaptive_backfill */") for query in said)


@pytest.mark.asyncio
async def test_workers_and_a_pace_are_one_too_many(pool: Pool) -> None:
    with pytest.raises(ConfigurationError, match=r"pace = Adaptive\(max_workers=2\)"):
        await Paced.run(pool=pool, workers=2)


@pytest.mark.asyncio
async def test_a_run_with_a_pace_whose_table_is_missing_says_so(pool: Pool) -> None:
    result = await Fill.run(pool=pool, table="nowhere", pace=Adaptive())

    assert result.status is RunStatus.FAILED
    assert "nowhere" in str(result.error)
