"""What the examples share: a database to work in, and a way to check the result.

An example works in the database that the environment variable DATABASE_URL names, in a
schema of its own that is dropped at the end. Without the variable it starts a server,
and throws it away.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias

import asyncpg

from adaptive_backfill.testing.postgres import temporary_server

Pool: TypeAlias = asyncpg.Pool
Row: TypeAlias = asyncpg.Record

SCHEMA = "adaptive_backfill_example"


class Wrong(Exception):
    """The database does not hold what the example promised."""


def expect(what: str, found: object, wanted: object) -> None:
    """Raise `Wrong` unless *found* is what was *wanted*."""
    if found != wanted:
        raise Wrong(f"{what}: {found!r}, expected {wanted!r}")


async def until(what: str, is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until *is_so* gives True; raise `Wrong` when it has not in 30 s."""
    try:
        async with asyncio.timeout(30):
            while True:
                if await is_so():
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise Wrong(f"not within 30 s: {what}") from None


def run_example(name: str, example: Callable[[Pool], Awaitable[str]]) -> None:
    """Run *example* on a pool, print the sentence that it returns; exit 1 if wrong."""

    async def on_a_pool(dsn: str) -> str:
        async with pool_of(dsn) as pool:
            return await example(pool)

    run_example_at(name, on_a_pool)


def run_example_at(name: str, example: Callable[[str], Awaitable[str]]) -> None:
    """Do the same for an *example* that takes the database's address."""

    async def in_a_schema() -> str:
        with database_url() as dsn:
            async with schema(dsn) as inside:
                return await example(inside)

    try:
        summary = asyncio.run(in_a_schema())
    except Wrong as wrong:
        sys.exit(f"{name}: WRONG: {wrong}")
    print(f"{name}: ok: {summary}")


@contextmanager
def database_url() -> Iterator[str]:
    """Give the database of DATABASE_URL, or that of a server made for the block."""
    if given := os.environ.get("DATABASE_URL"):
        yield given
    else:
        with temporary_server() as server:
            yield server.dsn()


@asynccontextmanager
async def schema(dsn: str) -> AsyncIterator[str]:
    """Make an empty schema for the block; give the address that leads into it."""
    await _execute(dsn, f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    await _execute(dsn, f"CREATE SCHEMA {SCHEMA}")
    try:
        yield f"{dsn}{'&' if '?' in dsn else '?'}search_path={SCHEMA}"
    finally:
        await _execute(dsn, f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


@asynccontextmanager
async def pool_of(dsn: str) -> AsyncIterator[Pool]:
    """Open a pool with limits on how long anything may take."""
    async with asyncpg.create_pool(
        dsn, min_size=1, max_size=5, timeout=10, command_timeout=30
    ) as pool:
        yield pool


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(statement, timeout=30)
    finally:
        await connection.close()
