"""Ask a check as a run does, with other sessions around that it may see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from adaptive_backfill import HealthCheck, HealthContext, Verdict
from adaptive_backfill.postgres import checks
from adaptive_backfill.postgres._finding import Finding
from adaptive_backfill.postgres._signal import Row, Signal, health_check
from adaptive_backfill.postgres._terms import Terms

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Declare: TypeAlias = "Callable[..., HealthCheck]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_SECONDS_TO_WAIT = 20.0


def new_run(name: str = "fill_users") -> HealthContext:
    return HealthContext(name, run_id=uuid4().hex)


async def ask(check: HealthCheck, run: HealthContext | None = None) -> Verdict:
    asked: Any = check.fn(run or new_run())
    verdict: Verdict = await asked
    return verdict


async def until(is_so: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(_SECONDS_TO_WAIT):
        while not await is_so():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def query_running(
    database: str, sql: str = "SELECT pg_sleep(60)", **connecting: Any
) -> AsyncIterator[int]:
    """Run *sql* on a connection of its own, seen by others, and then cancel it."""
    async with connected(database, **connecting) as connection:
        pid = connection.get_server_pid()
        running = asyncio.create_task(connection.execute(sql))
        try:
            await until(lambda: is_active(database, pid))
            yield pid
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


@asynccontextmanager
async def connected(database: str, **connecting: Any) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database, **connecting)
    try:
        yield connection
    finally:
        await connection.close()


async def is_active(database: str, pid: int) -> bool:
    async with connected(database) as connection:
        return bool(
            await connection.fetchval(
                "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1", pid
            )
        )


def as_role(database: str, role: str) -> str:
    """The DSN of *database* for *role*."""
    parts = urlsplit(database)
    return parts._replace(netloc=f"{role}@{parts.hostname}:{parts.port}").geturl()


@asynccontextmanager
async def a_role(database: str, *grants: str) -> AsyncIterator[str]:
    """The DSN of *database* for a new role with *grants*, which goes afterwards."""
    role = f"role_{uuid4().hex[:12]}"
    async with connected(database) as connection:
        await connection.execute(f"CREATE ROLE {role} LOGIN")
        for grant in grants:
            await connection.execute(f"GRANT {grant} TO {role}")
        try:
            yield as_role(database, role)
        finally:
            await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@asynccontextmanager
async def in_transaction(
    database: str, *statements: str, **connecting: Any
) -> AsyncIterator[Connection]:
    """A connection that has done *statements* in a transaction, and idles there."""
    async with connected(database, **connecting) as connection:
        transaction = connection.transaction()
        await transaction.start()
        for statement in statements:
            await connection.execute(statement)
        try:
            yield connection
        finally:
            await transaction.rollback()


def asking(sql: str, pool: checks.Source, seen: list[Any] | None = None) -> HealthCheck:
    """A check that is always healthy, and notes what *sql* gave."""

    def judge(rows: Sequence[Row], memory: object) -> Finding:
        if seen is not None:
            seen.extend(tuple(row.values()) for row in rows)
        return Finding()

    return health_check("asking", Signal(sql, judge), pool, Terms("halt"))


@asynccontextmanager
async def pool_of(database: str, size: int, **options: Any) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(
        database, min_size=0, max_size=size, **options
    ) as pool:
        yield pool


async def sessions(database: str, which: str) -> int:
    async with connected(database) as connection:
        found = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND backend_type = 'client backend' AND pid <> pg_backend_pid() "
            f"AND {which}"
        )
    return int(found)


async def nobody_is(database: str, which: str) -> None:
    async def nobody() -> bool:
        return await sessions(database, which) == 0

    await until(nobody)


async def counts_are_kept(database: str) -> None:
    """Have the server count what is done in *database*, as in one that is in use.

    Before 15 there are counters from the first session on that has ended, and what is
    there then is taken for a reset: its time is that of the first report.
    """
    async with connected(database):
        pass

    async def are_kept() -> object:
        async with connected(database) as connection:
            return await connection.fetchval(
                "SELECT stats_reset IS NOT NULL OR "
                "current_setting('server_version_num')::int >= 150000 "
                "FROM pg_stat_database WHERE datname = current_database()"
            )

    await until(are_kept)


async def somebody_is(database: str, which: str) -> None:
    await until(lambda: sessions(database, which))


WAITS = "wait_event_type = 'Lock'"

SLEEPS = "state = 'active' AND query LIKE 'SELECT pg_sleep%'"
