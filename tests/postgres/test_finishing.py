"""A deploy goes on only where a backfill is finished."""

from __future__ import annotations

import asyncio

import pytest

from adaptive_backfill import (
    DONE,
    Answer,
    Backfill,
    Checkpoint,
    Halt,
    MemoryStore,
    Next,
    RunStatus,
)
from adaptive_backfill.errors import CheckpointError, ConfigurationError, NotFinished
from adaptive_backfill.postgres import ensure_finished
from tests.postgres.asking import a_role
from tests.postgres.walking import Double, Pool, people


async def refused(pool: Pool) -> str:
    with pytest.raises(NotFinished) as caught:
        await ensure_finished(Double, pool=pool)

    assert caught.value.name == "double"
    assert str(caught.value) == f"'double' is not finished: {caught.value.why}"
    return caught.value.why


@pytest.mark.asyncio
async def test_a_finished_backfill_lets_a_deploy_go_on(pool: Pool) -> None:
    await people(pool, 250)
    ran = await Double.run(pool=pool)

    result = await ensure_finished(Double, pool=pool)

    assert (result.status, result.run_id) == (RunStatus.DONE, ran.run_id)
    assert (result.batches, result.rows) == (1, 250)


@pytest.mark.asyncio
async def test_a_dsn_will_do(pool: Pool, database: str) -> None:
    await people(pool, 250)
    await Double.run(dsn=database)

    result = await ensure_finished(Double, dsn=database)

    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
async def test_one_that_was_never_run_does_not(pool: Pool) -> None:
    await people(pool, 250)

    assert await refused(pool) == "it was never run"
    # To ask makes no tables.
    assert await pool.fetchval("SELECT to_regnamespace('adaptive_backfill')") is None


@pytest.mark.asyncio
async def test_a_role_that_may_only_read_what_is_kept_can_ask(
    pool: Pool, database: str
) -> None:
    await people(pool, 250)
    await pool.execute("ALTER TABLE people ADD CHECK (id <> 7 OR doubled IS NULL)")
    grants = (
        "ALL ON people",
        "USAGE ON SCHEMA adaptive_backfill",
        "SELECT ON ALL TABLES IN SCHEMA adaptive_backfill",
    )
    await Double.run(pool=pool)
    async with a_role(database, *grants) as reader:
        with pytest.raises(NotFinished, match="1 row is quarantined"):
            await ensure_finished(Double, dsn=reader)
        (failure,) = await Double.failures(dsn=reader)
        left = await Double.verify(dsn=reader)

    assert failure.key == 7
    assert (left.remaining, left.quarantined) == (1, 1)


@pytest.mark.asyncio
async def test_a_role_that_may_not_even_read_is_told_of_the_grants(
    pool: Pool, database: str
) -> None:
    await people(pool, 250)
    await Double.run(pool=pool)
    async with a_role(database, "SELECT ON people") as blind:
        with pytest.raises(CheckpointError, match="grant what it names at its end"):
            await ensure_finished(Double, dsn=blind)
        with pytest.raises(CheckpointError, match="grant what it names at its end"):
            await Double.failures(dsn=blind)


@pytest.mark.asyncio
async def test_one_that_was_stopped_does_not(pool: Pool) -> None:
    await people(pool, 250)
    await Double.run(pool=pool, batch_size=100, max_batches=1)

    assert await refused(pool) == (
        "its last run stopped after 1 batches, 100 rows: max_batches 1 reached; run it "
        "again to resume"
    )


@pytest.mark.asyncio
async def test_one_that_halted_does_not(pool: Pool) -> None:
    await people(pool, 250)
    await Double.run(pool=pool, health_checks=[lambda: Halt("disk full")])

    why = await refused(pool)

    assert why.startswith("its last run halted after 0 batches, 0 rows: ")
    assert "disk full" in why


@pytest.mark.asyncio
async def test_one_that_failed_does_not(pool: Pool) -> None:
    await people(pool, 250)
    await Double.run(pool=pool, statement="UPDATE people SET nope = 1 WHERE {batch}")

    why = await refused(pool)

    assert why.startswith("its last run failed after 0 batches, 0 rows: ")
    assert 'column "nope"' in why


@pytest.mark.asyncio
async def test_one_that_runs_does_not_and_says_how_far_it_is(pool: Pool) -> None:
    await people(pool, 1_000)
    begun = asyncio.Event()

    async with Double.start(
        pool=pool,
        batch_size=100,
        delay_between_batches=60,
        on_success=lambda _: begun.set(),
    ) as run:
        await begun.wait()
        why = await refused(pool)
        run.stop()

    assert why.startswith("it is running, ")


@pytest.mark.asyncio
async def test_one_that_was_cancelled_does_not(pool: Pool) -> None:
    await people(pool, 1_000)
    begun = asyncio.Event()
    running = asyncio.create_task(
        Double.run(
            pool=pool,
            batch_size=100,
            delay_between_batches=60,
            on_success=lambda _: begun.set(),
        )
    )
    await begun.wait()
    running.cancel()
    await asyncio.wait([running])

    assert await refused(pool) == (
        "its last run did not end by itself: cancelled; run it again to resume"
    )


@pytest.mark.asyncio
async def test_rows_that_still_match_do_not_unless_they_always_do(pool: Pool) -> None:
    await people(pool, 250)
    await Double.run(pool=pool)
    await pool.execute("UPDATE people SET doubled = NULL WHERE id = 7")

    why = await refused(pool)
    result = await ensure_finished(Double, pool=pool, verify=False)

    assert why == "1 row still to do, such as 7; run it again"
    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
async def test_rows_that_were_set_aside_do_not(pool: Pool) -> None:
    await people(pool, 250)
    statement = "UPDATE people SET doubled = 1 / (id - 7) WHERE {batch}"
    await Double.run(pool=pool, statement=statement)

    aside = (
        "1 row is quarantined; `failures()` lists what is, and `retry_failures()` "
        "tries it again"
    )
    assert await refused(pool) == aside
    with pytest.raises(NotFinished, match="1 row is quarantined"):
        await ensure_finished(Double, pool=pool, verify=False)

    assert await Double.retry_failures(pool=pool) == 1
    assert (await ensure_finished(Double, pool=pool)).quarantined == 1


@pytest.mark.asyncio
async def test_a_later_run_that_is_done_lets_it_go_on_again(pool: Pool) -> None:
    await people(pool, 250)
    await Double.run(pool=pool, batch_size=100, max_batches=1)
    ran = await Double.run(pool=pool)

    assert (await ensure_finished(Double, pool=pool)).run_id == ran.run_id


@pytest.mark.asyncio
async def test_any_backfill_with_a_store_that_remembers_can_be_asked() -> None:
    class Plain(Backfill[int]):
        initial_state = 0
        checkpoint = Checkpoint(MemoryStore(), "plain")

        async def handle_batch(self, state: int) -> Answer[int]:
            return DONE if state == 3 else Next(state + 1)

    with pytest.raises(NotFinished, match="'plain' is not finished: it was never run"):
        await ensure_finished(Plain)
    await Plain.run()

    assert (await ensure_finished(Plain)).batches == 3


@pytest.mark.asyncio
async def test_without_a_checkpoint_there_is_nothing_to_ask() -> None:
    class Forgets(Backfill[int]):
        async def handle_batch(self, state: int) -> Answer[int]:
            return DONE

    with pytest.raises(ConfigurationError, match="nothing remembers how it ended"):
        await ensure_finished(Forgets)
