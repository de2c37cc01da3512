"""Vacuum on a table: real ones, held up in the middle."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from adaptive_backfill import OK, Pause, Slow
from adaptive_backfill.postgres import checks
from adaptive_backfill.testing.postgres import Server
from tests.postgres.asking import (
    Declare,
    Pool,
    a_role,
    ask,
    connected,
    query_running,
    until,
)

VACUUMING = "SELECT EXISTS (SELECT FROM pg_stat_progress_vacuum)"


async def make(database: str, *statements: str) -> None:
    async with connected(database) as connection:
        for statement in statements:
            await connection.execute(statement)


async def dead(database: str, table: str) -> None:
    """Update all rows of *table*, and wait until the dead ones are counted."""
    counted = f"SELECT n_dead_tup > 0 FROM pg_stat_all_tables WHERE relname = '{table}'"
    await make(database, f"UPDATE {table} SET id = id")
    async with connected(database) as connection:
        await until(lambda: connection.fetchval(counted))


@asynccontextmanager
async def vacuum(database: str, table: str) -> AsyncIterator[None]:
    """A VACUUM of *table* that takes its time: a rest after each page."""
    settings = {"vacuum_cost_delay": "100ms", "vacuum_cost_limit": "1"}
    async with query_running(database, f"VACUUM {table}", server_settings=settings):
        async with connected(database) as connection:
            await until(lambda: connection.fetchval(VACUUMING))
        yield


USERS = (
    "CREATE TABLE users WITH (autovacuum_enabled = off) AS "
    "SELECT generate_series(1, 20000) AS id"
)


@pytest.mark.asyncio
async def test_a_vacuum_of_the_table_slows_and_needs_no_grant(database: str) -> None:
    await make(database, USERS, "CREATE TABLE orders ()")
    async with a_role(database) as dsn, vacuum(database, "users"):
        verdict = await ask(checks.vacuum_running(dsn, table="users"))
        qualified = await ask(checks.vacuum_running(dsn, table="public.users"))
        other = await ask(checks.vacuum_running(dsn, table="orders"))
        harmless = await ask(checks.wraparound_vacuum(dsn, table="users"))

    assert verdict == qualified == Slow("vacuum_running 1 > 0 (users)")
    assert (other, harmless) == (OK, OK)
    async with connected(database) as connection:
        await until(lambda: connection.fetchval(f"SELECT NOT ({VACUUMING})"))


@pytest.mark.asyncio
async def test_a_vacuum_of_a_partition_is_one_of_its_table(
    database: str, pool: Pool
) -> None:
    await make(
        database,
        "CREATE TABLE events (id int) PARTITION BY RANGE (id)",
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (100000)",
        "INSERT INTO events SELECT generate_series(1, 20000)",
    )
    async with vacuum(database, "events_1"):
        verdict = await ask(checks.vacuum_running(pool, table="events"))

    assert verdict == Slow("vacuum_running 1 > 0 (events_1)")


@pytest.mark.asyncio
async def test_a_vacuum_of_a_table_that_is_past_its_freeze_age_pauses(
    server: Server, database: str, pool: Pool
) -> None:
    await make(
        database,
        USERS,
        "ALTER TABLE users SET (autovacuum_freeze_max_age = 100000)",
        # Each subtransaction that writes takes an id.
        "CREATE TABLE ids (id int)",
        "DO $$ BEGIN FOR i IN 1..100100 LOOP BEGIN INSERT INTO ids VALUES (i); "
        "EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$",
    )
    async with vacuum(database, "users"):
        verdict = await ask(checks.wraparound_vacuum(pool, table="users"))

    assert verdict == Pause("wraparound_vacuum 1 > 0 (users)")


@pytest.mark.asyncio
async def test_dead_rows_that_nobody_removes_slow(database: str, pool: Pool) -> None:
    await make(database, USERS)
    await make(database, "ANALYZE users")
    debt = checks.vacuum_debt(pool, table="users", limit=4.5)
    share = checks.dead_rows(pool, table="users", limit=0.4)
    before = [await ask(debt), await ask(share)]
    await dead(database, "users")
    after = [await ask(debt), await ask(share)]
    by_default = [
        await ask(checks.vacuum_debt(pool, table="users", limit=5)),
        await ask(checks.dead_rows(pool, table="users")),
    ]

    assert before == [OK, OK]
    assert after == [
        Slow("vacuum_debt 4.938 > 4.5 (users, 20000 dead rows)"),
        Slow("dead_rows 0.5 > 0.4 (users, 20000 dead rows)"),
    ]
    assert by_default[0] is OK
    assert isinstance(by_default[1], Slow)


@pytest.mark.asyncio
async def test_the_tables_own_trigger_counts(database: str, pool: Pool) -> None:
    await make(
        database,
        USERS,
        "ANALYZE users",
        "ALTER TABLE users SET (autovacuum_vacuum_threshold = 10000, "
        "autovacuum_vacuum_scale_factor = 0)",
    )
    await dead(database, "users")

    verdict = await ask(checks.vacuum_debt(pool, table="users", limit=1))

    assert verdict == Slow("vacuum_debt 2 > 1 (users, 20000 dead rows)")


@pytest.mark.asyncio
async def test_a_handful_of_dead_rows_is_no_share(database: str, pool: Pool) -> None:
    await make(database, "CREATE TABLE few AS SELECT generate_series(1, 10) AS id")
    await dead(database, "few")

    assert await ask(checks.dead_rows(pool, table="few", limit=0)) is OK


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "declare",
    [
        checks.vacuum_running,
        checks.wraparound_vacuum,
        checks.vacuum_debt,
        checks.dead_rows,
    ],
)
async def test_a_table_that_is_not_there_is_not_healthy(
    pool: Pool, declare: Declare
) -> None:
    verdict = await ask(declare(pool, table="uesrs"))

    assert verdict == Pause("there is no table 'uesrs'; name one that the role can see")
