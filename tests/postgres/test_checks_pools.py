"""Where checks look: what can be given, and what is said of what cannot be used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import asyncpg
import pytest

from adaptive_backfill import OK, Halt, HealthContext, Pause, errors
from adaptive_backfill.postgres import (
    checks,
    long_waiting_queries,
    pg_health_checks,
    temp_file_usage,
)
from adaptive_backfill.testing.postgres import Server
from tests.postgres.asking import (
    Pool,
    ask,
    asking,
    connected,
    new_run,
    nobody_is,
    pool_of,
    sessions,
)


@pytest.mark.asyncio
async def test_a_pool_a_way_to_one_a_dsn_and_the_runs_own_all_do(
    database: str, pool: Pool
) -> None:
    async def later() -> Pool:
        return pool

    run = HealthContext("fill_users", pool=pool)
    given: list[checks.Source] = [pool, lambda: pool, later, lambda: database, database]

    verdicts = [await ask(long_waiting_queries(one)) for one in given]
    own = [await ask(check, run) for check in pg_health_checks()]

    assert verdicts == 5 * [OK]
    assert own == 3 * [OK]


@pytest.mark.asyncio
async def test_a_bare_connection_is_refused_where_it_is_given(
    database: str, pool: Pool
) -> None:
    refused = "pool is a bare connection, which cannot do a batch and be asked"
    async with connected(database) as bare, pool.acquire() as lent:
        for connection in (bare, lent):
            with pytest.raises(errors.ConfigurationError, match=refused):
                pg_health_checks(connection)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_a_bare_connection_from_a_callable_or_of_the_run_is_unhealthy(
    database: str,
) -> None:
    async with connected(database) as bare:
        way: Any = lambda: bare  # noqa: E731
        verdicts = [
            await ask(temp_file_usage(way)),
            await ask(temp_file_usage(), HealthContext("fill_users", pool=bare)),
        ]

    sentence = (
        "the pool is a bare connection, which cannot do a batch and be asked for "
        "health at the same time: give the pool"
    )
    assert verdicts == 2 * [Halt(sentence)]


@pytest.mark.parametrize("wrong", [5, object(), "users", "", b"postgresql://x", []])
def test_what_is_no_way_to_a_database_is_refused(wrong: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="pool is"):
        temp_file_usage(wrong)


@pytest.mark.asyncio
async def test_a_callable_that_returns_no_pool_is_unhealthy() -> None:
    nothing: Any = lambda: None  # noqa: E731

    verdict = await ask(temp_file_usage(nothing))

    assert isinstance(verdict, Halt)
    assert str(verdict.reason).startswith("the pool is None: give an asyncpg pool")


@pytest.mark.asyncio
async def test_a_run_without_a_pool_is_told_to_give_one() -> None:
    verdict = await ask(temp_file_usage(action="slow"))

    assert verdict == Pause(
        "there is no pool: give the check one, or the run (`run(pool=...)`)"
    )


@pytest.mark.asyncio
async def test_a_pool_that_nobody_opened_is_unhealthy_and_stays_closed(
    database: str,
) -> None:
    unopened = asyncpg.create_pool(database, min_size=1, max_size=1)

    verdict = await ask(temp_file_usage(lambda: unopened))

    assert verdict == Halt("no connection: pool is not initialized")
    assert await sessions(database, "true") == 0


@pytest.mark.asyncio
async def test_a_closed_pool_is_unhealthy(database: str) -> None:
    async with pool_of(database, 1) as pool:
        check = temp_file_usage(pool)

    assert await ask(check) == Halt("no connection: pool is closed")


@pytest.mark.asyncio
async def test_a_pool_of_another_event_loop_is_unhealthy_and_is_left_alone(
    database: str, pool: Pool
) -> None:
    check = temp_file_usage(pool)

    elsewhere = await asyncio.to_thread(asyncio.run, ask(check))
    here = await ask(check)

    assert isinstance(elsewhere, Halt)
    assert str(elsewhere.reason).startswith("the pool belongs to another event loop")
    assert here is OK


def test_one_check_serves_one_event_loop_after_another(database: str) -> None:
    check = temp_file_usage(database)

    with asyncio.Runner() as first, asyncio.Runner() as second:
        verdicts = [first.run(ask(check)), second.run(ask(check))]

    assert verdicts == [OK, OK]


@pytest.mark.asyncio
async def test_an_exhausted_pool_is_unhealthy_before_the_time_is_up(
    database: str,
) -> None:
    async with pool_of(database, 1) as pool, pool.acquire():
        with anyio.move_on_after(2.0) as scope:
            verdict = await ask(temp_file_usage(pool))

    assert not scope.cancelled_caught
    assert isinstance(verdict, Halt)
    assert "the pool is exhausted (let it have one more, for monitoring)" in str(
        verdict.reason
    )


@pytest.mark.asyncio
async def test_a_database_that_is_not_there_is_unhealthy(server: Server) -> None:
    verdict = await ask(temp_file_usage(server.dsn("nowhere"), action="pause"))

    assert verdict == Pause('no connection: database "nowhere" does not exist')


@pytest.mark.asyncio
async def test_a_password_is_told_to_nobody() -> None:
    dsn = "postgresql://app:hunter2@127.0.0.1:1/app"

    verdict = await ask(temp_file_usage(dsn))

    assert isinstance(verdict, Halt)
    assert "hunter2" not in f"{verdict!r} {temp_file_usage(dsn)!r}"


@pytest.mark.asyncio
async def test_our_own_connection_is_named_limited_and_closed(database: str) -> None:
    sql = """
        SELECT current_setting('application_name') AS application,
               current_setting('lock_timeout') AS locks,
               current_setting('statement_timeout') <> '0' AS is_limited
    """
    seen: list[Any] = []

    await ask(asking(sql, database, seen), new_run("fill_users"))

    assert seen == [("adaptive_backfill:fill_users", "1s", True)]
    await nobody_is(database, "application_name LIKE 'adaptive_backfill%'")


@pytest.mark.asyncio
async def test_a_pooler_that_refuses_limits_at_the_start_is_asked_without(
    server: Server, database: str
) -> None:
    sql = """
        SELECT current_setting('application_name') AS application,
               current_setting('statement_timeout') AS statements
    """
    seen: list[Any] = []
    async with pooler(server) as port:
        dsn = database.replace(f":{server.port}/", f":{port}/")
        verdict = await ask(asking(sql, dsn, seen), new_run("fill_users"))

    assert verdict is OK
    assert seen == [("adaptive_backfill:fill_users", "0")]


@asynccontextmanager
async def pooler(server: Server) -> AsyncIterator[int]:
    """Refuses startup parameters like PgBouncer, and lets everything else through."""
    message = b"SFATAL\0C08P01\0Munsupported startup parameter: statement_timeout\0\0"
    refusal = b"E" + (len(message) + 4).to_bytes(4) + message

    async def serve(client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        first = await client.read(4096)
        if first[4:8] == (80877103).to_bytes(4):
            back.write(b"N")  # No TLS here.
            first = await client.read(4096)
        if b"statement_timeout" in first:
            back.write(refusal)
        else:
            upstream, there = await asyncio.open_connection(server.host, server.port)
            there.write(first)
            await asyncio.gather(copy(client, there), copy(upstream, back))
            there.close()
        back.close()

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(4096):
            sink.write(data)
        sink.write_eof()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield listener.sockets[0].getsockname()[1]
