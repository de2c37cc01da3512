"""Which relations a table's name means."""

from __future__ import annotations

from adaptive_backfill._core.rules import is_name
from adaptive_backfill.postgres._finding import Gap
from adaptive_backfill.postgres._signal import Row

__all__ = ["TARGET", "table_problems", "unfound_in"]

TARGET = """
named AS (SELECT to_regclass($1)::oid AS oid),
target AS (
    SELECT oid FROM named
    UNION
    SELECT relid FROM named, pg_partition_tree(named.oid)
)
"""
"""A common table of the table `$1` and its partitions."""


def unfound_in(row: Row, table: str) -> Gap | None:
    """Return the gap where *row*, in its column `found`, has no table."""
    if row["found"]:
        return None
    return Gap(f"there is no table {table!r}", "name one that the role can see")


def table_problems(table: object) -> list[str]:
    """Return what is wrong with *table*."""
    return [] if is_name(table) else [f"table must be a name, not {table!r}"]
