"""Sessions, transactions and connections of others, on a real server."""

from __future__ import annotations

from contextlib import AsyncExitStack

import asyncpg
import pytest

from adaptive_backfill import OK, Pause, Slow
from adaptive_backfill.postgres import checks
from adaptive_backfill.testing.postgres import temporary_server
from tests.postgres.asking import (
    Declare,
    Pool,
    a_role,
    ask,
    connected,
    in_transaction,
    new_run,
    query_running,
    somebody_is,
)

BUSY = "DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$"


@pytest.mark.asyncio
async def test_more_active_sessions_than_the_limit_slow(
    database: str, pool: Pool
) -> None:
    run, check = new_run(), checks.active_sessions(pool, limit=1)
    before = await ask(check, run)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(query_running(database))
        during = await ask(check, run)

    assert before is OK
    assert during == Slow("active_sessions 2 > 1")


@pytest.mark.asyncio
async def test_sessions_that_are_usual_are_not_too_many(
    database: str, pool: Pool
) -> None:
    run, check = new_run(), checks.active_sessions(pool, limit=1)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(query_running(database))
        usual = await ask(check, run)
        await stack.enter_async_context(query_running(database))
        more = await ask(check, run)

    assert usual is OK
    assert more == Slow("active_sessions 3 > 2.4")


@pytest.mark.asyncio
async def test_of_those_on_a_cpu_only_those_count_that_wait_for_nothing(
    database: str, pool: Pool
) -> None:
    check = checks.active_sessions(pool, cpus=2, limit=0)
    async with query_running(database) as pid:
        # A session is active before it sleeps.
        await somebody_is(database, f"pid = {pid} AND wait_event = 'PgSleep'")
        asleep = await ask(check)
    async with query_running(database, BUSY):
        busy = await ask(check)

    assert asleep is OK
    assert busy == Slow("sessions_on_cpu 1 > 0")


@pytest.mark.asyncio
async def test_nobody_waits_for_the_disk_on_an_idle_server(pool: Pool) -> None:
    assert await ask(checks.lwlock_io_waits(pool, limit=0)) is OK
    assert await ask(checks.lwlock_io_waits(pool, cpus=4)) is OK


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("check", "signal"),
    [
        (checks.oldest_transaction, "oldest_transaction"),
        (checks.idle_in_transaction, "idle_in_transaction"),
    ],
)
async def test_a_transaction_left_open_slows_with_whose_it_is(
    database: str, pool: Pool, check: Declare, signal: str
) -> None:
    settings = {"application_name": "forgotten"}
    async with in_transaction(
        database, "SELECT 1", server_settings=settings
    ) as connection:
        verdict = await ask(check(pool, limit=0))
        below = await ask(check(pool))
        pid = connection.get_server_pid()

    assert isinstance(verdict, Slow)
    assert str(verdict.reason).startswith(f"{signal} ")
    assert str(verdict.reason).endswith(f" s > 0 s (pid {pid}, app forgotten)")
    assert below is OK


@pytest.mark.asyncio
async def test_an_aborted_transaction_left_open_is_idle_too(
    database: str, pool: Pool
) -> None:
    async with in_transaction(database) as connection:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("SELECT 1 / 0")
        verdict = await ask(checks.idle_in_transaction(pool, limit=0))

    assert isinstance(verdict, Slow)


@pytest.mark.asyncio
async def test_a_query_that_runs_is_a_transaction_and_not_idle(
    database: str, pool: Pool
) -> None:
    async with query_running(database):
        oldest = await ask(checks.oldest_transaction(pool, limit=0))
        idle = await ask(checks.idle_in_transaction(pool, limit=0))

    assert isinstance(oldest, Slow)
    assert idle is OK


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "declare",
    [
        checks.active_sessions,
        checks.lwlock_io_waits,
        checks.oldest_transaction,
        checks.idle_in_transaction,
        checks.long_waiting_queries,
    ],
)
async def test_a_role_that_cannot_see_sessions_pauses_unless_it_may_be_blind(
    database: str, declare: Declare
) -> None:
    async with a_role(database) as blind, a_role(database, "pg_monitor") as sees:
        strict = await ask(declare(blind))
        allowed = await ask(declare(blind, allow_blind=True))
        granted = await ask(declare(sees))

    assert isinstance(strict, Pause)
    assert "; grant pg_monitor to role_" in str(strict.reason)
    assert (allowed, granted) == (OK, OK)


@pytest.mark.asyncio
async def test_a_prepared_transaction_that_nobody_finishes_slows() -> None:
    with temporary_server(settings={"max_prepared_transactions": "2"}) as server:
        check = checks.prepared_transactions(server.dsn(), limit=0)
        async with connected(server.dsn()) as connection:
            before = await ask(check)
            await connection.execute(
                "BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'x'"
            )
            during = await ask(check)
            below = await ask(checks.prepared_transactions(server.dsn()))
            await connection.execute("ROLLBACK PREPARED 'x'")
            after = await ask(check)

    assert isinstance(during, Slow)
    assert str(during.reason).startswith("oldest_prepared ")
    assert str(during.reason).endswith(" s > 0 s (1 prepared)")
    assert (before, below, after) == (OK, OK, OK)


@pytest.mark.asyncio
async def test_connections_that_run_out_slow_whoever_asks() -> None:
    settings = {"max_connections": "12", "superuser_reserved_connections": "2"}
    settings |= {"max_wal_senders": "0"}
    with temporary_server(settings=settings) as server:
        async with a_role(server.dsn()) as dsn, AsyncExitStack() as stack:
            check = checks.connections(dsn, limit=0.55)
            few = await ask(check)
            for _ in range(4):
                await stack.enter_async_context(connected(server.dsn()))
            many = await ask(check)

    assert few is OK
    assert many == Slow("connections 0.6 > 0.55 (6 of 10)")
