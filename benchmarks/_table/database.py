"""A server of our own, and a fresh copy of the same table before each job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from adaptive_backfill.postgres.store import PostgresStore
from adaptive_backfill.testing.postgres import Server, temporary_server

__all__ = ["SET", "SETTINGS", "Tables", "served"]

SETTINGS = {
    "fsync": "on",
    "shared_buffers": "2GB",
    "max_wal_size": "8GB",
    # All of it is kept and used again, as on a server that has been up for a while: to
    # make new files of WAL stalls every commit by tens of milliseconds.
    "min_wal_size": "6GB",
    "checkpoint_timeout": "30min",
    "autovacuum": "off",
}
"""Of the server. Its disk is written for real, and nothing else is at work on it."""

SET = "version = users.version + 1, email_domain = split_part(users.email, '@', 2)"
"""What each job does to each row; a row that is done twice has version 3."""

_ROWS_OF_WAL = 4_000_000
"""As many changed rows write some 3 GB."""

_MAKE = """
CREATE TABLE users (
    id bigint, email text NOT NULL, version int NOT NULL DEFAULT 1,
    payload jsonb NOT NULL, email_domain text
);
INSERT INTO users (id, email, payload)
SELECT i, format('person%s@host%s.test', i, i % 101),
    jsonb_build_object(
        'name', format('Person Number %s', i), 'visits', i % 9973,
        'labels', jsonb_build_array('red', 'blue', i % 17),
        'text', repeat(md5(i::text), 3)
    )
FROM generate_series(1, {rows}) AS i;
ALTER TABLE users ADD PRIMARY KEY (id);
"""

_RIGHT = """
SELECT count(*) FILTER (
    WHERE version = 2 AND email_domain = split_part(email, '@', 2)
), count(*) FROM users
"""


class Tables:
    """Templates of the table by size, and the database that jobs run in."""

    def __init__(self, server: Server) -> None:
        self.dsn = server.dsn("job")
        self.version = server.version
        self._server = server
        self._made: set[int] = set()

    async def fresh(self, rows: int) -> None:
        """Make the job's database anew with *rows* rows: same files, all in memory."""
        if rows not in self._made:
            await self._make(rows)
        copied = "STRATEGY FILE_COPY" if self.version >= 150_000 else ""
        await self._do(
            "postgres",
            "DROP DATABASE IF EXISTS job WITH (FORCE)",
            f"CREATE DATABASE job TEMPLATE rows_{rows} {copied}",
        )
        await self._do(
            "job",
            "SELECT pg_prewarm('users'), pg_prewarm('users_pkey')",
            "CHECKPOINT",
        )

    async def check(self, rows: int) -> None:
        """Raise unless each of *rows* rows was done, and done once."""
        right, there = await self.look(_RIGHT)
        if (right, there) != (rows, rows):
            raise AssertionError(f"{right} rows of {there} are right, not {rows}")

    async def look(self, query: str) -> Any:
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetchrow(query)
        finally:
            await connection.close()

    async def _make(self, rows: int) -> None:
        name = f"rows_{rows}"
        await self._do("postgres", f"CREATE DATABASE {name}")
        await self._do(
            name,
            "CREATE EXTENSION pg_prewarm",
            PostgresStore.script(),
            _MAKE.format(rows=rows),
            "VACUUM (FREEZE, ANALYZE) users",
        )
        self._made.add(rows)
        if len(self._made) == 1:
            await self._make_wal(rows)

    async def _make_wal(self, rows: int) -> None:
        await self.fresh(rows)
        for _ in range(max(1, _ROWS_OF_WAL // rows)):
            await self._do("job", f"UPDATE users SET {SET}", "VACUUM users")
        await self._do("job", "CHECKPOINT")

    async def _do(self, database: str, *statements: str) -> None:
        connection = await asyncpg.connect(self._server.dsn(database))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def served(**changed: str) -> Iterator[Tables]:
    """Run a server with `SETTINGS`, some of them *changed*."""
    with temporary_server(settings=SETTINGS | changed) as server:
        yield Tables(server)
