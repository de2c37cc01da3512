"""The loops that people write by hand, and the one statement that does it all."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from _table.database import SET

__all__ = [
    "FLAGGED",
    "WITH_NEW_DOMAINS",
    "bounds",
    "domain_of",
    "exactly_once",
    "offset_row_by_row",
    "offset_set_based",
    "pgroll",
    "single",
    "through_python",
]

Connection: TypeAlias = "asyncpg.Connection[Any]"

WITH_NEW_DOMAINS = """
UPDATE users SET version = users.version + 1, email_domain = given.domain
FROM unnest($1::bigint[], $2::text[]) AS given (id, domain) WHERE users.id = given.id
"""

FLAGGED = "ALTER TABLE users ADD COLUMN needs_backfill boolean DEFAULT true"

_CHECKPOINT = """
CREATE TABLE checkpoint (last bigint) WITH (fillfactor = 50);
INSERT INTO checkpoint VALUES (0)
"""

_PAGE = 100
"""Rows of a page of the guide's OFFSET way."""


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


def domain_of(email: str) -> str:
    return email.partition("@")[2]


async def single(dsn: str) -> None:
    async with connected(dsn) as connection:
        await connection.execute(f"UPDATE users SET {SET}")


def bounds(size: int) -> Callable[[str], Awaitable[None]]:
    """Find a batch's last key, do the range; no checkpoint, no limits, nothing."""

    async def job(dsn: str) -> None:
        async with connected(dsn) as connection:
            bound = await connection.prepare(
                "SELECT max(id) FROM "
                "(SELECT id FROM users WHERE id > $1 ORDER BY id LIMIT $2) AS batch"
            )
            update = await connection.prepare(
                f"UPDATE users SET {SET} WHERE id > $1 AND id <= $2"
            )
            last = 0
            while (upper := await bound.fetchval(last, size)) is not None:
                await update.fetch(last, upper)
                last = upper

    return job


def exactly_once(size: int) -> Callable[[str], Awaitable[None]]:
    """The same with a checkpoint in each batch's transaction, and nothing else."""

    async def job(dsn: str) -> None:
        async with connected(dsn) as connection:
            await connection.execute(_CHECKPOINT)
            bound = await connection.prepare(
                "SELECT max(id) FROM "
                "(SELECT id FROM users WHERE id > $1 ORDER BY id LIMIT $2) AS batch"
            )
            update = await connection.prepare(
                f"UPDATE users SET {SET} WHERE id > $1 AND id <= $2"
            )
            save = await connection.prepare("UPDATE checkpoint SET last = $1")
            last = 0
            while True:
                async with connection.transaction():
                    upper = await bound.fetchval(last, size)
                    if upper is None:
                        return
                    await update.fetch(last, upper)
                    await save.fetch(upper)
                last = upper

    return job


def through_python(size: int) -> Callable[[str], Awaitable[None]]:
    """Fetch a batch and lock it, compute in Python, write it by one UPDATE."""

    async def job(dsn: str) -> None:
        async with connected(dsn) as connection:
            fetch = await connection.prepare(
                "SELECT id, email FROM users WHERE id > $1 "
                "ORDER BY id LIMIT $2 FOR NO KEY UPDATE"
            )
            update = await connection.prepare(WITH_NEW_DOMAINS)
            last = 0
            while True:
                async with connection.transaction():
                    rows = await fetch.fetch(last, size)
                    if not rows:
                        return
                    ids = [row["id"] for row in rows]
                    await update.fetch(ids, [domain_of(row["email"]) for row in rows])
                last = ids[-1]

    return job


def pgroll(size: int) -> Callable[[str], Awaitable[None]]:
    """Batches in the shape that pgroll documents: a flag a row, a CTE with locks.

    Its triggers do the work there; here the statement does, which is quicker.
    """

    async def job(dsn: str) -> None:
        async with connected(dsn) as connection:
            after = ""
            while True:
                batch = (
                    f"SELECT id FROM users WHERE needs_backfill {after} "
                    f"ORDER BY id LIMIT {size} FOR NO KEY UPDATE"
                )
                async with connection.transaction():
                    last = await connection.fetchval(
                        f"WITH batch AS ({batch}), done AS ("
                        f"UPDATE users SET {SET}, needs_backfill = false "
                        "FROM batch WHERE users.id = batch.id RETURNING users.id"
                        ") SELECT max(id) FROM done"
                    )
                if last is None:
                    return
                after = f"AND id > {last}"

    return job


Page = Callable[[int], Awaitable[None]]


async def offset_row_by_row(dsn: str) -> float:
    """Page by OFFSET, and update row by row, each committed; extrapolated."""
    async with connected(dsn) as connection:
        page = await connection.prepare(
            "SELECT id, email FROM users ORDER BY id OFFSET $1 LIMIT $2"
        )
        update = await connection.prepare(
            "UPDATE users SET version = version + 1, email_domain = $2 WHERE id = $1"
        )

        async def do(offset: int) -> None:
            for row in await page.fetch(offset, _PAGE):
                await update.fetch(row["id"], domain_of(row["email"]))

        return await _extrapolated(connection, do)


async def offset_set_based(dsn: str) -> float:
    """Page by OFFSET, and update each page by one statement; extrapolated."""
    async with connected(dsn) as connection:
        page: PreparedStatement[Any] = await connection.prepare(
            f"UPDATE users SET {SET} FROM "
            "(SELECT id FROM users ORDER BY id OFFSET $1 LIMIT $2) AS page "
            "WHERE users.id = page.id"
        )

        async def do(offset: int) -> None:
            await page.fetch(offset, _PAGE)

        return await _extrapolated(connection, do)


async def _extrapolated(connection: Connection, do: Page) -> float:
    """Return the seconds that all pages would take, from some at seven offsets."""
    rows = await connection.fetchval("SELECT count(*) FROM users")
    places = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
    seconds = [await _middle(do, int(rows * place)) for place in places]
    between = zip(places, places[1:], seconds, seconds[1:], strict=False)
    mean = sum((b - a) * (at_a + at_b) / 2 for a, b, at_a, at_b in between)
    return float(mean / places[-1] * rows / _PAGE)


async def _middle(do: Page, offset: int) -> float:
    """Return the median of the seconds that five pages from *offset* on take."""
    taken = []
    for page in range(5):
        began = time.perf_counter()
        await do(offset + page * _PAGE)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
