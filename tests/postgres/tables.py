"""Tables to walk, and what became of their rows."""

from __future__ import annotations

from typing import Any, TypeAlias

import asyncpg

from adaptive_backfill import RunResult, RunStatus
from tests.engine.conftest import quiet

__all__ = ["Pool", "done", "numbered", "quiet", "times_done"]

Pool: TypeAlias = "asyncpg.Pool[Any]"


async def numbered(pool: Pool, rows: int, table: str = "items") -> None:
    """Make *table* with the ids 1 to *rows*, each done 0 times."""
    await pool.execute(
        f"CREATE TABLE {table} (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);"
        f"INSERT INTO {table} SELECT generate_series(1, {rows});"
        f"ANALYZE {table}"
    )


async def times_done(pool: Pool, table: str = "items") -> dict[int, int]:
    """How many rows were done how often."""
    found = await pool.fetch(f"SELECT n, count(*) FROM {table} GROUP BY n ORDER BY n")
    return dict(map(tuple, found))


def done(result: RunResult) -> RunResult:
    """*result*, which has to be that of a run that is done."""
    if isinstance(result.error, BaseException):
        raise result.error
    assert result.status is RunStatus.DONE, result
    return result
