"""The latency of statements, on a real server that counts them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from adaptive_backfill import OK, Pause, Slow
from adaptive_backfill.postgres import checks
from adaptive_backfill.postgres._signal import last_look
from adaptive_backfill.testing.postgres import Server, temporary_server
from tests.postgres.asking import Pool, a_role, ask, connected, new_run

pytestmark = pytest.mark.postgres


async def call(server: Server, seconds: float, table: str = "") -> None:
    async with connected(server.dsn()) as connection:
        for _ in range(20):
            await connection.execute(f"SELECT pg_sleep({seconds}){table}")


@pytest.fixture(scope="module")
def counting() -> Iterator[Server]:
    with temporary_server() as server:
        yield server


@pytest.mark.asyncio
async def test_without_the_extension_the_check_is_left_out(pool: Pool) -> None:
    with capture_logs() as logs:
        verdict = await ask(checks.statement_latency(pool))

    assert verdict is OK
    assert [line["reason"] for line in logs] == [
        "how long statements take is not counted; "
        "CREATE EXTENSION pg_stat_statements in this database"
    ]


@pytest.mark.asyncio
async def test_statements_that_take_longer_than_before_the_run_slow(
    counting: Server,
) -> None:
    run, check = new_run(), checks.statement_latency(counting.dsn())
    async with connected(counting.dsn()) as connection:
        await connection.execute("CREATE SCHEMA extensions")
        await connection.execute("GRANT USAGE ON SCHEMA extensions TO public")
        await connection.execute(
            "CREATE EXTENSION pg_stat_statements SCHEMA extensions"
        )
    await call(counting, 0.001)
    first = await ask(check, run)
    await call(counting, 0.01)
    slower = await ask(check, run)

    assert first is OK
    assert isinstance(slower, Slow)
    assert str(slower.reason).startswith("statement_latency ")
    assert str(slower.reason).endswith(" > 1.5 (1 statements)")


@pytest.mark.asyncio
async def test_statements_of_our_own_do_not_count(counting: Server) -> None:
    run, check = new_run(), checks.statement_latency(counting.dsn())
    async with connected(counting.dsn()) as connection:
        await connection.execute("SELECT extensions.pg_stat_statements_reset()")
        await connection.execute("CREATE TABLE adaptive_backfill_states ()")
    ours = " FROM (SELECT count(*) FROM adaptive_backfill_states) AS s"
    await call(counting, 0.001, ours)
    await ask(check, run)
    await call(counting, 0.02, ours)

    assert await ask(check, run) is OK


@pytest.mark.asyncio
async def test_what_the_checks_ask_does_not_count_either(counting: Server) -> None:
    run, check = new_run(), checks.statement_latency(counting.dsn())
    for _ in range(2):
        for _ in range(20):
            await ask(checks.xid_age(counting.dsn()))
        await ask(check, run)

    look = last_look(check, run)
    assert look is not None
    assert look.finding.measure is None


@pytest.mark.asyncio
async def test_a_role_that_cannot_see_statements_pauses(counting: Server) -> None:
    async with a_role(counting.dsn()) as blind:
        verdict = await ask(checks.statement_latency(blind))
        allowed = await ask(checks.statement_latency(blind, allow_blind=True))

    assert isinstance(verdict, Pause)
    assert str(verdict.reason).startswith("cannot see the statements of other roles; ")
    assert allowed is OK


@pytest.mark.asyncio
async def test_an_extension_that_was_not_loaded_leaves_the_check_out() -> None:
    with temporary_server(settings={"shared_preload_libraries": ""}) as server:
        async with connected(server.dsn()) as connection:
            await connection.execute("CREATE EXTENSION pg_stat_statements")
        with capture_logs() as logs:
            verdict = await ask(checks.statement_latency(server.dsn()))

    assert verdict is OK
    assert "must be loaded via" in logs[0]["reason"]
