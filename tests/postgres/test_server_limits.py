"""What the server is told to hold a batch to."""

from __future__ import annotations

from urllib.parse import urlsplit

import asyncpg
import pytest

from adaptive_backfill.postgres._server_limits import Limits

from .asking import Pool, a_role, connected

pytestmark = pytest.mark.postgres

LIMITS = Limits(statement=9.0, lock=0.5, idle=10.0)


def test_a_transaction_is_opened_under_its_limits_in_one_message() -> None:
    assert LIMITS.begin(16) == (
        "BEGIN; SET LOCAL statement_timeout = 9000; SET LOCAL lock_timeout = 500; "
        "SET LOCAL idle_in_transaction_session_timeout = 10000"
    )


def test_from_17_on_the_whole_transaction_is_limited_to_more_than_its_parts() -> None:
    assert LIMITS.begin(17).endswith("; SET LOCAL transaction_timeout = 28000")
    assert "transaction_timeout" not in LIMITS._replace(statement=None).begin(17)


def test_a_limit_of_none_is_not_sent_and_a_tiny_one_is_not_0() -> None:
    begin = Limits(statement=None, lock=0.0001, idle=1.0).begin(17)

    assert "statement_timeout" not in begin
    assert "lock_timeout = 1;" in begin


@pytest.mark.asyncio
async def test_a_role_keeps_its_own_limit_where_none_is_asked_for(
    database: str,
) -> None:
    async with a_role(database) as dsn, connected(database) as dba:
        role = urlsplit(dsn).username
        await dba.execute(f"ALTER ROLE {role} SET statement_timeout = '30s'")
        shown = []
        for limits in (LIMITS._replace(statement=None), LIMITS):
            async with connected(dsn) as connection:
                await connection.execute(limits.begin(16))
                shown.append(await connection.fetchval("SHOW statement_timeout"))

    assert shown == ["30s", "9s"]


@pytest.mark.asyncio
async def test_the_server_keeps_the_limits_for_one_transaction(pool: Pool) -> None:
    async with pool.acquire() as connection:
        version = connection.get_server_version().major
        await connection.execute(LIMITS.begin(version, "it's \\ a name"))

        shown = [
            await connection.fetchval(f"SHOW {setting}")
            for setting in ("statement_timeout", "lock_timeout", "application_name")
        ]
        await connection.execute("COMMIT")

        assert shown == ["9s", "500ms", "it's \\ a name"]
        assert await connection.fetchval("SHOW lock_timeout") == "0"


@pytest.mark.asyncio
async def test_a_transaction_that_goes_on_for_too_long_is_ended_from_17_on(
    pool: Pool,
) -> None:
    limits = Limits(statement=1.0, lock=0.1, idle=0.5)
    async with pool.acquire() as connection:
        version = connection.get_server_version().major
        await connection.execute(limits.begin(version))
        ended = ""
        try:
            # Its end, after 2.5 s, comes in the middle of the fourth.
            for _ in range(5):
                await connection.execute("SELECT pg_sleep(0.7)")
            await connection.execute("ROLLBACK")
        except asyncpg.PostgresError as error:
            # A lost connection to asyncpg, with the server's last words.
            ended = str(error)

        if version >= 17:
            assert "due to transaction timeout" in ended
        else:
            assert ended == ""
