"""Whose queries count as long, and whose do not."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from adaptive_backfill import OK, Halt, Pause, Slow
from adaptive_backfill._core.answers import Measure
from adaptive_backfill.postgres import checks, long_waiting_queries
from adaptive_backfill.testing.postgres import Server
from tests.postgres.asking import Pool, ask, connected, is_active, query_running, until


@pytest.mark.asyncio
async def test_a_query_past_the_limit_halts_the_run_by_name_pid_and_numbers(
    database: str, pool: Pool
) -> None:
    settings = {"application_name": "nightly report"}
    async with query_running(database, server_settings=settings) as pid:
        verdict = await ask(long_waiting_queries(pool, limit=0))

    assert isinstance(verdict, Halt)
    assert str(verdict.reason).startswith("longest_query ")
    assert str(verdict.reason).endswith(f"s > 0 s (pid {pid}, app nightly report)")


@pytest.mark.asyncio
async def test_a_session_without_application_name_is_told_by_its_pid(
    database: str, pool: Pool
) -> None:
    async with query_running(database) as pid:
        verdict = await ask(long_waiting_queries(pool, limit=0))

    assert isinstance(verdict, Halt)
    assert str(verdict.reason).endswith(f"s > 0 s (pid {pid})")


@pytest.mark.asyncio
async def test_the_text_of_a_long_query_is_told_to_nobody(
    database: str, pool: Pool
) -> None:
    secret = "SELECT 'hunter2', pg_sleep(60)"
    async with query_running(database, secret):
        verdict = await ask(long_waiting_queries(pool, limit=0))

    assert isinstance(verdict, Halt)
    assert "hunter2" not in repr(verdict)


@pytest.mark.asyncio
async def test_a_query_below_the_limit_is_healthy(database: str, pool: Pool) -> None:
    async with query_running(database):
        verdict = await ask(long_waiting_queries(pool, limit=timedelta(minutes=1)))

    assert verdict is OK


@pytest.mark.asyncio
async def test_a_query_that_waits_for_a_lock_counts(database: str, pool: Pool) -> None:
    async with connected(database) as connection, connection.transaction():
        await connection.execute("CREATE TABLE locked ()")
        await connection.execute("SELECT pg_advisory_xact_lock(1)")
        async with query_running(database, "SELECT pg_advisory_lock(1)"):
            verdict = await ask(long_waiting_queries(pool, limit=0))

    assert isinstance(verdict, Halt)


@pytest.mark.asyncio
async def test_a_session_idle_in_its_transaction_is_no_long_query(
    database: str, pool: Pool
) -> None:
    async with connected(database) as connection, connection.transaction():
        await connection.execute("SELECT 1")
        verdict = await ask(long_waiting_queries(pool, limit=0))

    assert verdict is OK


@pytest.mark.asyncio
async def test_a_query_is_as_old_as_itself_not_as_its_transaction(
    database: str, pool: Pool
) -> None:
    age = "SELECT extract(epoch FROM clock_timestamp() - now())::float8"
    async with connected(database) as connection, connection.transaction():
        while await connection.fetchval(age) < 0.2:
            pass
        asleep = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
        await until(lambda: is_active(database, connection.get_server_pid()))
        verdict = await ask(long_waiting_queries(pool, limit=0))
        of_transaction = await pool.fetchval(
            "SELECT extract(epoch FROM clock_timestamp() - xact_start)::float8 "
            "FROM pg_stat_activity WHERE pid = $1",
            connection.get_server_pid(),
        )
        asleep.cancel()
        await asyncio.wait([asleep])

    assert isinstance(verdict, Halt)
    assert isinstance(verdict.reason, Measure)
    assert verdict.reason.observed <= of_transaction - 0.2


@pytest.mark.asyncio
async def test_our_own_sessions_do_not_count(database: str, pool: Pool) -> None:
    settings = {"application_name": "adaptive_backfill:fill_users"}
    async with query_running(database, server_settings=settings):
        verdict = await ask(long_waiting_queries(pool, limit=0))

    assert verdict is OK


@pytest.mark.asyncio
async def test_a_session_that_is_only_named_like_ours_counts(
    database: str, pool: Pool
) -> None:
    settings = {"application_name": "adaptive-backfill-viewer"}
    async with query_running(database, server_settings=settings):
        verdict = await ask(long_waiting_queries(pool, limit=0))

    assert isinstance(verdict, Halt)


@pytest.mark.asyncio
async def test_a_session_in_another_database_does_not_count(
    server: Server, database: str, pool: Pool
) -> None:
    async with query_running(server.dsn()):
        verdict = await ask(long_waiting_queries(pool, limit=0))

    assert verdict is OK


@pytest.mark.asyncio
async def test_a_replica_that_is_active_for_ever_does_not_count(
    database: str, pool: Pool
) -> None:
    walsender = {"replication": "database"}
    async with query_running(database, server_settings=walsender) as pid:
        kind = await pool.fetchval(
            "SELECT backend_type FROM pg_stat_activity WHERE pid = $1", pid
        )
        verdict = await ask(long_waiting_queries(pool, limit=0))

    assert (kind, verdict) == ("walsender", OK)


@pytest.mark.asyncio
async def test_sessions_that_hide_what_they_do_are_not_healthy(
    database: str, pool: Pool
) -> None:
    settings = {"track_activities": "off"}
    async with connected(database, server_settings=settings):
        verdict = await ask(long_waiting_queries(pool))

    assert verdict == Pause(
        "cannot see what 1 sessions do; set track_activities = on for them"
    )


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("action", "answer"), [("halt", Halt), ("pause", Pause), ("slow", Slow)]
)
async def test_the_action_says_what_a_broken_limit_leads_to(
    database: str, pool: Pool, action: checks.Action, answer: type
) -> None:
    check = long_waiting_queries(pool, limit=0, action=action)
    async with query_running(database):
        verdict = await ask(check)

    assert type(verdict) is answer
