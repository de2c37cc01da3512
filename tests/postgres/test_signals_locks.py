"""Lock queues, and who stands in front of them, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from adaptive_backfill import OK, Pause, Slow, errors
from adaptive_backfill.postgres import checks
from tests.postgres.asking import (
    WAITS,
    Pool,
    a_role,
    ask,
    connected,
    in_transaction,
    nobody_is,
    query_running,
    somebody_is,
)

UPDATE = "UPDATE users SET id = id"


@asynccontextmanager
async def queue(database: str, length: int, holder: str = "web") -> AsyncIterator[int]:
    """A row that one session has locked, and *length* others wait for."""
    settings = {"application_name": holder}
    async with connected(database) as connection:
        await connection.execute("CREATE TABLE users AS SELECT 1 AS id")
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(
            in_transaction(database, UPDATE, server_settings=settings)
        )
        for _ in range(length):
            pid = await stack.enter_async_context(query_running(database, UPDATE))
            # A session is active before it waits.
            await somebody_is(database, f"pid = {pid} AND {WAITS}")
        yield first.get_server_pid()


@pytest.mark.asyncio
async def test_more_waiters_than_the_limit_slow(database: str, pool: Pool) -> None:
    check = checks.lock_waits(pool, limit=2, limit_seconds=0)
    async with queue(database, 2):
        two = await ask(check)
        async with query_running(database, UPDATE) as pid:
            await somebody_is(database, f"pid = {pid} AND {WAITS}")
            three = await ask(check)

    assert two is OK
    assert three == Slow("lock_waits 3 > 2 (for 0 s or more)")


@pytest.mark.asyncio
async def test_a_wait_that_is_short_does_not_count(database: str, pool: Pool) -> None:
    async with queue(database, 3):
        verdict = await ask(checks.lock_waits(pool, limit=0, limit_seconds=3600))

    assert verdict is OK


@pytest.mark.asyncio
async def test_waits_need_no_grant(database: str) -> None:
    async with a_role(database) as dsn, queue(database, 1):
        waits = await ask(checks.lock_waits(dsn, limit=0, limit_seconds=0))
        blocked = await ask(checks.blocked_by_us(dsn, ours="web", limit=0))

    assert isinstance(waits, Slow)
    assert isinstance(blocked, Pause)


@pytest.mark.asyncio
async def test_who_waits_for_us_pauses_by_our_name_or_our_process(
    database: str, pool: Pool
) -> None:
    async with queue(database, 1, holder="adaptive_backfill:users") as pid:
        by_name = await ask(checks.blocked_by_us(pool, limit=0))
        by_pid = await ask(checks.blocked_by_us(pool, ours=lambda: [pid], limit=0))
        short = await ask(checks.blocked_by_us(pool, limit=3600))

    for verdict in (by_name, by_pid):
        assert isinstance(verdict, Pause)
        assert str(verdict.reason).startswith("blocked_by_us ")
        assert str(verdict.reason).endswith(" s > 0 s (1 waiting)")
    assert short is OK


@pytest.mark.asyncio
async def test_who_waits_for_others_does_not_wait_for_us(
    database: str, pool: Pool
) -> None:
    async with queue(database, 1):
        by_name = await ask(checks.blocked_by_us(pool, limit=0))
        by_pid = await ask(checks.blocked_by_us(pool, ours=list, limit=0))

    assert (by_name, by_pid) == (OK, OK)


@pytest.mark.asyncio
async def test_nobody_waits_once_the_lock_is_given_up(
    database: str, pool: Pool
) -> None:
    async with queue(database, 1):
        pass
    await nobody_is(database, WAITS)

    assert await ask(checks.lock_waits(pool, limit=0, limit_seconds=0)) is OK


@pytest.mark.parametrize("wrong", [" ", 5, None])
def test_what_cannot_name_our_sessions_is_refused(wrong: object) -> None:
    with pytest.raises(errors.ConfigurationError, match="ours must be"):
        checks.blocked_by_us(ours=wrong)  # type: ignore[arg-type]
