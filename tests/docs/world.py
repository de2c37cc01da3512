"""The application whose backfills the pages write: a database, and some functions.

Its names are there in every page, as `fetch_users` would be in an application of
one's own. The database is a real one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

import asyncpg

USERS = 250
POSTS = 120
ITEMS = 230

_TABLES = """
CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL,
    domain text,
    version int NOT NULL DEFAULT 1
);
INSERT INTO users (email) SELECT 'user' || n || '@example.com'
FROM generate_series(1, $users) AS n;

CREATE TABLE posts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title text NOT NULL,
    slug text
);
INSERT INTO posts (title) SELECT 'Post Number ' || n
FROM generate_series(1, $posts) AS n;

CREATE TABLE backfill_positions (
    name text PRIMARY KEY,
    state jsonb NOT NULL,
    batches bigint NOT NULL,
    rows bigint NOT NULL,
    batch_size int
);
"""

Pool: TypeAlias = asyncpg.Pool
Row: TypeAlias = asyncpg.Record


class Metrics:
    """What an application counts with."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.gauges: dict[str, float] = {}

    def increment(self, name: str, by: int = 1) -> None:
        self.counts[name] += by

    def gauge(self, name: str, value: float) -> None:
        self.gauges[name] = value


class Api:
    """A service on the internet that hands out items, page by page."""

    requests_left = 1_000_000

    async def items(self, page: int, size: int) -> list[int]:
        return list(range((page - 1) * size, min(page * size, ITEMS)))


class World:
    """Names that the pages use without saying where they come from."""

    NAMES = (
        "pool", "metrics", "api", "fetch_users", "migrate_users", "build_report",
        "save_items", "notify", "report_error",
    )  # fmt: skip

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.metrics = Metrics()
        self.api = Api()
        self.notes: list[str] = []
        self.errors: list[object] = []

    async def create(self) -> None:
        tables = _TABLES.replace("$users", str(USERS)).replace("$posts", str(POSTS))
        await self.pool.execute(tables)

    async def begin_anew(self) -> None:
        """Undo what the block before has done to the users."""
        await self.pool.execute("UPDATE users SET version = 1, domain = NULL")

    def names(self) -> dict[str, Any]:
        """Return what a page finds in its namespace."""
        return {name: getattr(self, name) for name in self.NAMES}

    async def fetch_users(self, after: int, limit: int) -> list[Row]:
        return await self.pool.fetch(
            "SELECT * FROM users WHERE id > $1 ORDER BY id LIMIT $2", after, limit
        )

    async def migrate_users(self, users: Sequence[Row]) -> None:
        await self.pool.execute(
            "UPDATE users SET version = 2, domain = split_part(email, '@', 2)"
            " WHERE id = ANY($1)",
            [user["id"] for user in users],
        )

    async def build_report(self) -> dict[str, int]:
        counted = await self.pool.fetchval("SELECT count(*) FROM users")
        return {"users": counted}

    async def save_items(self, items: Sequence[int]) -> None:
        await asyncio.sleep(0)

    def notify(self, text: str) -> None:
        self.notes.append(text)

    def report_error(self, error: object, **extra: object) -> None:
        self.errors.append(error)
