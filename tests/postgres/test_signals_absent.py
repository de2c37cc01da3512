"""What a server cannot tell: at a run's first look, and later."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from adaptive_backfill import DONE, OK, Backfill, Done, Halt, Pause
from adaptive_backfill.postgres import checks
from adaptive_backfill.testing.postgres import Server, temporary_server
from tests.postgres.asking import Pool, a_role, ask, asking, new_run, pool_of

NOT_TIMED = "reads are not timed; set track_io_timing = on"


@pytest.mark.asyncio
async def test_a_signal_that_never_worked_is_left_out_and_told_once_a_run(
    pool: Pool,
) -> None:
    check, runs = checks.read_latency(pool), [new_run("first"), new_run("second")]
    with capture_logs() as logs:
        verdicts = [await ask(check, run) for run in runs for _ in range(3)]

    assert verdicts == 6 * [OK]
    assert [(line["backfill"], line["log_level"], line["reason"]) for line in logs] == [
        ("first", "warning", NOT_TIMED),
        ("second", "warning", NOT_TIMED),
    ]


@pytest.mark.asyncio
async def test_a_signal_that_is_switched_on_later_begins_to_work(
    database: str, pool: Pool
) -> None:
    run, check = new_run(), checks.read_latency(database)
    before = await ask(check, run)
    await _set_database(pool, "track_io_timing", "on")
    began = await ask(check, run)
    await _set_database(pool, "track_io_timing", "off")
    stopped = await ask(check, run)

    assert (before, began) == (OK, OK)
    assert stopped == Pause(NOT_TIMED)


@pytest.mark.asyncio
async def test_a_signal_that_stops_working_counts_as_its_action_says(
    database: str, pool: Pool
) -> None:
    await _set_database(pool, "track_io_timing", "on")
    run, check = new_run(), checks.read_latency(database, action="halt")
    with capture_logs() as logs:
        began = await ask(check, run)
        await _set_database(pool, "track_io_timing", "off")
        stopped = [await ask(check, run) for _ in range(2)]

    assert began is OK
    assert stopped == 2 * [Halt(NOT_TIMED)]
    assert logs == []


async def _set_database(pool: Pool, name: str, value: str) -> None:
    """Set it for connections to come."""
    database = await pool.fetchval("SELECT current_database()")
    await pool.execute(f"ALTER DATABASE {database} SET {name} = {value}")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM aurora_replica_status()",
        "SELECT * FROM pg_stat_nothing",
        "SELECT nothing FROM pg_stat_database",
        "SELECT current_setting('nothing.at_all')",
        "SELECT pg_wal_replay_pause()",
    ],
)
async def test_an_error_that_says_never_leaves_the_signal_out(
    pool: Pool, sql: str
) -> None:
    with capture_logs() as logs:
        verdict = await ask(asking(sql, pool))

    assert verdict is OK
    assert [line["event"] for line in logs] == ["health check is disabled"]
    assert "the server cannot tell: " in logs[0]["reason"]


@pytest.mark.asyncio
async def test_a_signal_that_is_left_out_costs_the_others_no_connection(
    database: str,
) -> None:
    run = new_run()
    seen: list[Any] = []
    pid = asking("SELECT pg_backend_pid()", database, seen)

    await asyncio.gather(
        ask(pid, run), ask(checks.read_latency(database), run), ask(pid, run)
    )

    assert len(seen) == 2
    assert seen[0] == seen[1]


@pytest.mark.asyncio
async def test_any_other_error_is_not_healthy(pool: Pool) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        await ask(asking("SELECT 1 / 0", pool))


@pytest.mark.asyncio
async def test_a_table_that_goes_away_under_a_check_is_not_healthy(
    pool: Pool,
) -> None:
    run, check = new_run(), asking("SELECT * FROM seen", pool)
    await pool.execute("CREATE TABLE seen ()")
    before = await ask(check, run)
    await pool.execute("DROP TABLE seen")

    assert before is OK
    with pytest.raises(asyncpg.UndefinedTableError):
        await ask(check, run)


@pytest.mark.asyncio
async def test_what_may_not_be_seen_is_warned_of_once_for_each_grant(
    database: str,
) -> None:
    async with a_role(database) as dsn:
        run = new_run()
        with capture_logs() as logs:
            for check in (
                checks.oldest_transaction(dsn),
                checks.active_sessions(dsn),
                checks.live_temp_files(dsn),
                checks.live_temp_files(dsn),
            ):
                await ask(check, run)

    assert [(line["event"], line["check"]) for line in logs] == [
        ("health check is blind", "oldest_transaction"),
        ("health check is disabled", "live_temp_files"),
    ]


@pytest.mark.asyncio
@pytest.mark.postgres
async def test_a_server_that_was_restarted_halts_once_and_is_a_new_baseline() -> None:
    with temporary_server() as server:
        run = new_run()
        restarted = checks.server_restarted(server.dsn())
        counters = [checks.deadlocks(server.dsn()), checks.wal_rate(server.dsn())]
        first = [await ask(check, run) for check in (restarted, *counters)]
        await asyncio.to_thread(server.restart)
        after = await ask(restarted, run)
        counted = [await ask(check, run) for check in counters]
        later = await ask(restarted, run)

    assert first == [OK, OK, OK]
    assert isinstance(after, Halt)
    assert str(after.reason).startswith("server_restarted 1 > 0 (at 20")
    assert counted == [OK, OK]
    assert later is OK


@pytest.mark.asyncio
async def test_a_role_that_may_only_read_halts_what_wants_to_write(
    database: str,
) -> None:
    settings = {"default_transaction_read_only": "on"}
    async with pool_of(database, 1, server_settings=settings) as pool:
        verdict = await ask(checks.read_only(pool))

    assert verdict == Halt("read_only 1 > 0 (transaction_read_only)")
    assert await ask(checks.read_only(database)) is OK


@pytest.mark.asyncio
async def test_an_ordinary_role_on_a_server_alone_runs_with_what_is_recommended(
    database: str,
) -> None:
    async with a_role(database) as dsn:

        class Once(Backfill[None]):
            health_checks = checks.recommended(dsn)

            async def handle_batch(self, state: None) -> Done:
                return DONE

        with capture_logs() as logs:
            result = await Once.run()

    assert (result.status, result.paused) == ("done", 0)
    warnings = [line for line in logs if line["log_level"] == "warning"]
    assert [line["event"] for line in warnings] == ["health check is blind"]


@pytest.mark.asyncio
async def test_what_is_recommended_waits_for_a_server_that_is_away(
    server: Server,
) -> None:
    recommended = checks.recommended(server.dsn("nowhere"), table="users")
    asked = [check for check in recommended if check.name != "event_loop_lag"]

    verdicts = [await ask(check) for check in asked]

    reason = 'no connection: database "nowhere" does not exist'
    assert verdicts == len(asked) * [Pause(reason)]
    assert {check.on_error for check in recommended} == {"pause"}
