"""WAL, checkpoints, the archive, spills and deadlocks, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from structlog.testing import capture_logs

from adaptive_backfill import OK, Halt, HealthCheck, HealthContext, Pause, Slow
from adaptive_backfill.postgres import checks
from adaptive_backfill.testing.postgres import Server, temporary_server
from tests.postgres.asking import (
    WAITS,
    Pool,
    a_role,
    ask,
    connected,
    counts_are_kept,
    in_transaction,
    new_run,
    query_running,
    somebody_is,
    until,
)

pytestmark = pytest.mark.postgres

WRITE = "CREATE TABLE written AS SELECT generate_series(1, 30000) AS id"


async def after_two_seconds(database: str) -> None:
    """Wait, by the server's clock, until a rate can be told."""
    async with connected(database) as connection:
        began = await connection.fetchval("SELECT clock_timestamp()")
        await until(
            lambda: connection.fetchval(
                "SELECT clock_timestamp() >= $1::timestamptz + interval '2 s'", began
            )
        )


@pytest.mark.asyncio
async def test_wal_that_is_written_too_fast_slows(database: str, pool: Pool) -> None:
    run = new_run()
    strict, default = checks.wal_rate(pool, limit=2**16), checks.wal_rate(pool)
    first = [await ask(strict, run), await ask(default, run)]
    await pool.execute(WRITE)
    await after_two_seconds(database)
    later = [await ask(strict, run), await ask(default, run)]
    at_once = await ask(strict, run)

    assert first == [OK, OK]
    assert isinstance(later[0], Slow)
    assert str(later[0].reason).startswith("wal_rate ")
    assert str(later[0].reason).endswith(" MiB/s > 0.0625 MiB/s")
    assert later[1] is OK
    assert at_once == later[0]


@pytest.mark.asyncio
async def test_wal_since_the_last_checkpoint_slows(database: str, pool: Pool) -> None:
    check = checks.checkpoint_pressure(pool, limit=0.001)
    await pool.execute("CHECKPOINT")
    before = await ask(check)
    await pool.execute(WRITE)
    after = await ask(check)

    assert before is OK
    assert isinstance(after, Slow)
    assert await ask(checks.checkpoint_pressure(pool)) is OK


@pytest.mark.asyncio
async def test_a_checkpoint_that_was_requested_slows(pool: Pool) -> None:
    run, check = new_run(), checks.requested_checkpoints(pool)
    first = await ask(check, run)
    await pool.execute("CHECKPOINT")
    # Counted when it is done, and the statement waits for that.
    await until(lambda: _is_slow(check, run))
    still = await ask(check, run)

    assert first is OK
    assert isinstance(still, Slow)
    assert str(still.reason).startswith("requested_checkpoints ")


async def _is_slow(check: HealthCheck, run: HealthContext) -> bool:
    return isinstance(await ask(check, run), Slow)


@pytest.fixture(scope="module")
def archiving() -> Iterator[Server]:
    """A server whose archive takes nothing."""
    settings = {"archive_mode": "on", "archive_command": "false"}
    with temporary_server(settings=settings) as server:
        yield server


@pytest.mark.asyncio
async def test_segments_that_nobody_archives_pause(archiving: Server) -> None:
    queue = checks.archive_queue(archiving.dsn(), limit=0)
    failing = checks.archiver_failing(archiving.dsn())
    async with connected(archiving.dsn()) as connection:
        await connection.execute("SELECT pg_switch_wal()")
        await until(
            lambda: connection.fetchval("SELECT failed_count > 0 FROM pg_stat_archiver")
        )

    waiting, failed = await ask(queue), await ask(failing)

    assert waiting == Pause("archive_queue 1 > 0 (segments)")
    assert isinstance(failed, Pause)
    assert str(failed.reason).startswith("archiver_failing 1 > 0 (0000000100")
    assert await ask(checks.archive_queue(archiving.dsn())) is OK


@pytest.mark.asyncio
async def test_a_role_that_may_not_look_into_the_archive_does_without_and_is_told(
    archiving: Server,
) -> None:
    async with a_role(archiving.dsn()) as blind:
        with capture_logs() as logs:
            run, check = new_run(), checks.archive_queue(blind, limit=0)
            verdicts = [await ask(check, run) for _ in range(3)]
    async with a_role(archiving.dsn(), "pg_monitor") as sees:
        granted = await ask(checks.archive_queue(sees, limit=0))

    assert verdicts == [OK, OK, OK]
    assert [(line["event"], line["check"]) for line in logs] == [
        ("health check is disabled", "archive_queue")
    ]
    assert "; grant pg_monitor to role_" in logs[0]["reason"]
    assert isinstance(granted, Pause)


@pytest.mark.asyncio
async def test_where_nothing_is_archived_nothing_waits_and_nobody_is_told(
    database: str,
) -> None:
    async with a_role(database) as dsn:
        with capture_logs() as logs:
            verdicts = [
                await ask(checks.archive_queue(dsn, limit=0)),
                await ask(checks.archiver_failing(dsn)),
            ]

    assert verdicts == [OK, OK]
    assert logs == []


@pytest.mark.asyncio
async def test_temporary_files_slow_by_their_rate_and_while_they_live(
    database: str, pool: Pool
) -> None:
    await counts_are_kept(database)
    run = new_run()
    rate = checks.temp_write_rate(pool, limit=2**10)
    live = checks.live_temp_files(pool, limit=0)
    before = [await ask(rate, run), await ask(live, run)]
    settings = {"work_mem": "64kB"}
    # The sort is on disk for as long as its cursor is open.
    cursor = (
        "DECLARE spilled CURSOR FOR "
        "SELECT g FROM generate_series(1, 200000) AS g ORDER BY g DESC"
    )
    async with in_transaction(
        database, cursor, "FETCH 1 FROM spilled", server_settings=settings
    ):
        alive = await ask(live, run)
    await after_two_seconds(database)
    written = await ask(rate, run)

    assert before == [OK, OK]
    assert isinstance(alive, Slow)
    assert str(alive.reason).startswith("live_temp_files ")
    assert str(alive.reason).endswith(" files)")
    assert isinstance(written, Slow)
    assert " MiB/s > 0.0009766 MiB/s" in str(written.reason)


@pytest.mark.asyncio
async def test_a_deadlock_slows_at_the_next_look(database: str, pool: Pool) -> None:
    await counts_are_kept(database)
    run, check = new_run(), checks.deadlocks(pool)
    first = await ask(check, run)
    await deadlock(database)
    after = await ask(check, run)
    later = await ask(check, run)

    assert (first, later) == (OK, OK)
    assert after == Slow("deadlocks 1 > 0 (since the check before)")


async def deadlock(database: str) -> None:
    """Let two sessions wait for one another, until the server ends one of them."""
    async with connected(database) as one, connected(database) as other:
        await one.execute("SELECT pg_advisory_lock(1)")
        await other.execute("SELECT pg_advisory_lock(2)")
        # Only the second looks for a deadlock soon, and so finds itself in one.
        await one.execute("SET deadlock_timeout = '60s'")
        await other.execute("SET deadlock_timeout = '10ms'")
        waits = asyncio.create_task(one.execute("SELECT pg_advisory_lock(2)"))
        await somebody_is(database, WAITS)
        with pytest.raises(asyncpg.DeadlockDetectedError):
            await other.execute("SELECT pg_advisory_lock(1)")
        await other.execute("SELECT pg_advisory_unlock_all()")
        await waits
    async with connected(database) as connection:
        await until(
            lambda: connection.fetchval(
                "SELECT deadlocks > 0 FROM pg_stat_database "
                "WHERE datname = current_database()"
            )
        )


@pytest.mark.asyncio
async def test_the_age_of_transaction_ids_halts(pool: Pool) -> None:
    verdict = await ask(checks.xid_age(pool, limit=0))

    assert isinstance(verdict, Halt)
    assert str(verdict.reason).startswith("xid_age ")
    assert await ask(checks.xid_age(pool)) is OK


@pytest.mark.asyncio
async def test_a_query_of_our_own_connection_is_nobodys(database: str) -> None:
    settings = {"application_name": "adaptive_backfill:users"}
    async with query_running(database, server_settings=settings):
        verdicts = [
            await ask(checks.active_sessions(database, limit=0, cpus=1)),
            await ask(checks.oldest_transaction(database, limit=0)),
        ]

    assert verdicts == [OK, OK]
