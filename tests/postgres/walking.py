"""Tables to plan for, and small backfills over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import asyncpg

from adaptive_backfill.postgres import TableBackfill

__all__ = ["Double", "Pool", "people", "snapshot_of"]

Pool: TypeAlias = "asyncpg.Pool[Any]"


class Double(TableBackfill):
    """Doubles what is not doubled."""

    name = "double"
    table = "people"
    where = "doubled IS NULL"
    statement = "UPDATE people SET doubled = 2 * id WHERE {batch}"


async def people(pool: Pool, rows: int = 10_000, *, also: str = "") -> None:
    """Make a table of people with the ids 1 to *rows*; then do what is *also* said."""
    await pool.execute(
        f"""
        CREATE TABLE people (
            id bigint PRIMARY KEY, email text NOT NULL, doubled bigint,
            pad text NOT NULL DEFAULT repeat('x', 100)
        ) WITH (fillfactor = 40, autovacuum_enabled = false);
        INSERT INTO people (id, email)
        SELECT n, 'p' || n || '@example.com' FROM generate_series(1, {rows}) AS n;
        {also};
        ANALYZE people
        """
    )


async def snapshot_of(pool: Pool) -> Mapping[str, Any]:
    """What may not change: all rows, and all that a store has."""
    rows = await pool.fetchval(
        "SELECT md5(string_agg(p::text, '' ORDER BY id)) FROM people p"
    )
    tables = await pool.fetch(
        "SELECT c.oid::regclass::text FROM pg_class c "
        "WHERE relnamespace = to_regnamespace('adaptive_backfill') AND relkind = 'r' "
        "ORDER BY 1"
    )
    kept = {
        name: await pool.fetchval(f"SELECT md5(string_agg(t::text, '')) FROM {name} t")
        for (name,) in tables
    }
    return {"rows": rows, **kept}
