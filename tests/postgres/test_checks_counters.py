"""What is read and spilled between two looks, by the counters of a real server."""

from __future__ import annotations

from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from adaptive_backfill import OK, Halt, Pause
from adaptive_backfill.postgres import hot_io_tables, temp_file_usage
from tests.postgres.asking import (
    Pool,
    as_role,
    ask,
    connected,
    counts_are_kept,
    new_run,
    pool_of,
    until,
)


async def counted(database: str, sql: str, at_least: int) -> None:
    """Wait until a counter has got there: backends report theirs when they end."""

    async def is_there() -> bool:
        async with connected(database) as connection:
            return int(await connection.fetchval(sql) or 0) >= at_least

    await until(is_there)


async def spill(database: str, rows: int = 200_000) -> None:
    """Write some megabytes of temporary files, and wait until they are counted."""
    sql = "SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()"
    async with connected(database) as connection:
        before = int(await connection.fetchval(sql))
        await connection.execute("SET work_mem = '64kB'")
        await connection.execute(
            "SELECT count(*) FROM (SELECT g FROM generate_series(1, "
            f"{rows}) AS g ORDER BY g DESC) AS sorted"
        )
    await counted(database, sql, before + 1_000_000)


async def scan(database: str, table: str, *, times: int = 1) -> None:
    """Read *table* whole, and wait until it is counted."""
    sql = (
        "SELECT heap_blks_read + heap_blks_hit FROM pg_statio_user_tables "
        f"WHERE relname = '{table}'"
    )
    async with connected(database) as connection:
        before = int(await connection.fetchval(sql))
        await connection.execute("SET max_parallel_workers_per_gather = 0")
        for _ in range(times):
            await connection.execute(f"SELECT count(*) FROM {table}")
    await counted(database, sql, before + times)


async def make_table(database: str, table: str, megabytes: int) -> None:
    # Past 16 MB, what is written at once is not in the cache afterwards.
    rows = megabytes * 1024
    async with connected(database) as connection:
        await connection.execute(
            f"CREATE TABLE {table} WITH (autovacuum_enabled = off) AS "
            f"SELECT repeat('x', 900) AS filling FROM generate_series(1, {rows})"
        )
    await counted(
        database,
        f"SELECT count(*) FROM pg_statio_user_tables WHERE relname = '{table}'",
        1,
    )


@pytest.mark.asyncio
async def test_spilling_past_the_limit_between_two_looks_halts(
    database: str, pool: Pool
) -> None:
    check, run = temp_file_usage(pool, limit=1_000_000), new_run()
    await spill(database)

    baseline = await ask(check, run)
    await spill(database)
    after = await ask(check, run)
    later = await ask(check, run)

    assert baseline is OK
    assert isinstance(after, Halt)
    assert str(after.reason).startswith("temp_files ")
    assert " MB > 1 MB" in str(after.reason)
    assert later is OK


@pytest.mark.asyncio
async def test_spilling_below_the_limit_is_healthy(database: str, pool: Pool) -> None:
    check, run = temp_file_usage(pool), new_run()
    await ask(check, run)
    await spill(database)

    assert await ask(check, run) is OK


@pytest.mark.asyncio
async def test_a_reset_of_the_statistics_is_a_new_baseline(
    database: str, pool: Pool
) -> None:
    check, run = temp_file_usage(pool, limit=1_000_000), new_run()
    await ask(check, run)
    await pool.execute("SELECT pg_stat_reset()")
    await spill(database)

    at_reset = await ask(check, run)
    await spill(database)
    after = await ask(check, run)

    assert at_reset is OK
    assert isinstance(after, Halt)


@pytest.mark.asyncio
async def test_runs_that_share_a_check_have_baselines_of_their_own(
    database: str, pool: Pool
) -> None:
    await counts_are_kept(database)
    check = temp_file_usage(pool, limit=1_000_000)
    early, late = new_run(), new_run()
    await ask(check, early)
    await spill(database)

    verdicts = [await ask(check, late), await ask(check, early)]

    assert verdicts[0] is OK
    assert isinstance(verdicts[1], Halt)


@pytest.mark.asyncio
async def test_a_table_that_is_read_from_disk_halts_the_run_by_name(
    database: str, pool: Pool
) -> None:
    await counts_are_kept(database)
    check, run = hot_io_tables(pool, min_accesses=1_000), new_run()
    await make_table(database, "cold", megabytes=48)

    baseline = await ask(check, run)
    await scan(database, "cold")
    after = await ask(check, run)
    later = await ask(check, run)

    assert baseline is OK
    assert isinstance(after, Halt)
    assert str(after.reason).startswith("cache_hit_ratio 0.")
    assert "< 0.5 (public.cold, " in str(after.reason)
    assert later is OK


@pytest.mark.asyncio
async def test_a_table_that_is_read_from_the_cache_is_healthy(
    database: str, pool: Pool
) -> None:
    check, run = hot_io_tables(pool, min_accesses=1_000), new_run()
    await make_table(database, "warm", megabytes=4)
    await ask(check, run)
    await scan(database, "warm", times=10)

    assert await ask(check, run) is OK


@pytest.mark.asyncio
async def test_a_table_with_too_few_accesses_is_not_judged(
    database: str, pool: Pool
) -> None:
    check, run = hot_io_tables(pool), new_run()
    await make_table(database, "cold", megabytes=48)
    await ask(check, run)
    await scan(database, "cold")

    assert await ask(check, run) is OK


@pytest.mark.asyncio
async def test_a_database_without_tables_is_healthy(pool: Pool) -> None:
    check, run = hot_io_tables(pool), new_run()

    assert [await ask(check, run), await ask(check, run)] == [OK, OK]


@pytest.mark.asyncio
async def test_counters_need_no_grant(database: str, pool: Pool) -> None:
    await counts_are_kept(database)
    role = f"role_{uuid4().hex[:12]}"
    await pool.execute(f"CREATE ROLE {role} LOGIN")
    dsn, run = as_role(database, role), new_run()
    check = temp_file_usage(dsn, limit=1_000_000)
    with capture_logs() as logs:
        before = [await ask(one, run) for one in (check, hot_io_tables(dsn))]
        await spill(database)
        after = await ask(check, run)
    await pool.execute(f"DROP ROLE {role}")

    assert before == [OK, OK]
    assert isinstance(after, Halt)
    assert logs == []


@pytest.mark.asyncio
async def test_a_server_that_counts_nothing_pauses_and_is_warned_of_once_a_run(
    database: str,
) -> None:
    run = new_run()
    async with pool_of(database, 1, server_settings={"track_counts": "off"}) as pool:
        with capture_logs() as logs:
            verdicts = [
                await ask(check, run)
                for check in 2 * [temp_file_usage(pool), temp_file_usage(pool)]
            ]

    unseen = "cannot see what is read and written; set track_counts = on"
    assert verdicts == 4 * [Pause(unseen)]
    assert [line["reason"] for line in logs] == [unseen]
