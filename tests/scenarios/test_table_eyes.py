"""What a run sees of the server, or may not see, and what it does then."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from adaptive_backfill.postgres import TableBackfill, checks
from tests.postgres.asking import a_role, connected, in_transaction, until
from tests.postgres.tables import Pool, done, numbered, times_done

pytestmark = pytest.mark.postgres

ROWS = 600


class CountUp(TableBackfill):
    table = "items"
    batch_size = 20
    mode = "sync"
    health_interval = 0.02
    statement = "UPDATE items SET n = n + 1 WHERE {batch}"


@pytest.mark.asyncio
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_run_that_may_not_see_waits_until_it_may(
    pool: Pool, database: str, workers: int
) -> None:
    await numbered(pool, ROWS)
    grants = f"CREATE ON DATABASE {urlsplit(database).path[1:]}", "ALL ON items"
    async with a_role(database, *grants) as plain, connected(database) as owner:
        role = urlsplit(plain).username
        async with CountUp.start(
            dsn=plain, workers=workers, health_checks=[checks.oldest_transaction()]
        ) as run:

            async def is_paused() -> bool:
                return run.progress.status == "paused"

            await until(is_paused)
            (reason,) = (str(each) for each in run.progress.reasons)
            undone = await times_done(pool)
            await owner.execute(f"GRANT pg_monitor TO {role}")
            result = done(await run.wait())
        await owner.execute(f"DROP OWNED BY {role}")

    assert "cannot see" in reason
    assert f"; grant pg_monitor to {role}, " in reason
    assert undone == {0: ROWS}
    assert result.rows == ROWS
    assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
async def test_a_role_that_may_see_nothing_can_run_without_checks(
    pool: Pool, database: str
) -> None:
    await numbered(pool, ROWS)
    grants = f"CREATE ON DATABASE {urlsplit(database).path[1:]}", "ALL ON items"
    async with a_role(database, *grants) as plain, connected(database) as owner:
        result = done(await CountUp.run(dsn=plain))
        await owner.execute(f"DROP OWNED BY {urlsplit(plain).username}")

    assert result.rows == ROWS
    assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_run_waits_for_a_foreign_transaction_that_is_open_for_too_long(
    pool: Pool, database: str, workers: int
) -> None:
    await numbered(pool, ROWS)
    # The age of an hour, by the threshold.
    check = checks.oldest_transaction(limit=0.2, action="pause")
    named = {"server_settings": {"application_name": "report"}}
    async with CountUp.start(
        pool=pool,
        workers=workers,
        health_checks=[check],
        delay_between_batches=0.1,
    ) as run:

        async def is_paused() -> bool:
            return run.progress.status == "paused"

        async with in_transaction(database, "SELECT 1", **named):
            await until(is_paused)
            (reason,) = (str(each) for each in run.progress.reasons)
            stood = run.progress.rows
        result = done(await run.wait())

    assert reason.startswith("oldest_transaction 0.")
    assert " s > 0.2 s (pid " in reason
    assert reason.endswith("app report)")
    assert stood < ROWS
    assert result.rows == ROWS
    assert result.paused > 0
    assert await times_done(pool) == {1: ROWS}
