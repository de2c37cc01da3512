"""Cut a walk into shares of about as many rows each.

Where the planner has a histogram of a key of one column, and the table is still about
as it was, its bounds are such places already. Otherwise some pages of the table are
sampled. Rule: all that compares keys is the server, which knows their order; here they
are only picked from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres.identifiers import quoted
from adaptive_backfill.postgres.keyset import Keyset

__all__ = ["Cut", "Range", "cut", "evenly", "ranges"]

Key: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a walk was cut into shares: fixed at the first start, and remembered.

    Attributes:
        after: The key before the first of all shares; `None` where the walk begins.
        ends: The last key of each share but the last one, in the order of the walk.
        batches: Batches done before it was cut.
        rows: Rows done before it was cut.
    """

    after: Key | None
    ends: tuple[Key, ...]
    batches: int = 0
    rows: int = 0


class Range(NamedTuple):
    """A share's keys.

    Attributes:
        after: The key before its first; `None` where the walk begins.
        until: Its last key.
    """

    after: Key | None
    until: Key


_PAGES = 128
"""Pages of a table that are read to sample its keys."""

# A histogram says nothing of what came since.
_HISTOGRAM = """
SELECT stats.histogram_bounds::text
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_stats stats ON stats.schemaname = n.nspname AND stats.tablename = c.relname
LEFT JOIN pg_stat_all_tables seen ON seen.relid = c.oid
WHERE c.oid = $1 AND stats.attname = $2 AND stats.histogram_bounds IS NOT NULL
  AND coalesce(seen.n_mod_since_analyze, 0) <= greatest(c.reltuples, 0) / 5
ORDER BY stats.inherited DESC LIMIT 1
"""

_PERCENT = """
SELECT least(100, 100.0 * $2::int / greatest(1, sum(
    pg_relation_size(c.oid) / current_setting('block_size')::int
)))::float4
FROM pg_class c
WHERE c.oid IN (SELECT relid FROM pg_partition_tree($1::oid::regclass) WHERE isleaf
                UNION SELECT $1::oid)
"""


def ranges(after: Key | None, until: Key, ends: Sequence[Key]) -> tuple[Range, ...]:
    """Return the shares of the walk from *after* to *until* that *ends* make."""
    begins = (after, *ends)
    return tuple(
        Range(begin, end) for begin, end in zip(begins, (*ends, until), strict=True)
    )


def evenly(keys: Sequence[Key], shares: int) -> tuple[Key, ...]:
    """Return at most *shares* - 1 of *keys*, in their order, evenly spread."""
    places = {number * len(keys) // shares for number in range(1, shares)}
    return tuple(keys[place] for place in sorted(places) if place < len(keys))


async def cut(
    connection: Connection,
    keyset: Keyset,
    oid: int,
    within: Range,
    shares: int,
) -> tuple[Key, ...]:
    """Return the last keys of all but the last of at most *shares* shares.

    Args:
        connection: A connection to the table's database.
        keyset: The walk.
        oid: The table's object identifier.
        within: What is to be cut.
        shares: How many there are to be; a small table has fewer.
    """
    keys = await _from_histogram(connection, keyset, oid, within)
    if len(keys) < shares:
        keys = await _from_sample(connection, keyset, oid, within)
    return evenly([key for key in keys if key != within.until], shares)


async def _from_histogram(
    connection: Connection, keyset: Keyset, oid: int, within: Range
) -> list[Key]:
    if keyset.width > 1:
        return []
    bounds = await connection.fetchval(_HISTOGRAM, oid, keyset.key[0])
    if bounds is None:
        return []
    # Looked up in the table, whose column alone knows its collation.
    column = quoted(keyset.key[0])
    where, values = _within(keyset, within)
    among = f"${len(values) + 1}::text::{keyset.types[0]}[]"
    found = await connection.fetch(
        f"SELECT {column} FROM {keyset.table.sql} "
        f"WHERE {column} = ANY({among}) AND {where} ORDER BY {keyset.order()}",
        *values,
        bounds,
    )
    return [tuple(row) for row in found]


async def _from_sample(
    connection: Connection, keyset: Keyset, oid: int, within: Range
) -> list[Key]:
    percent = await connection.fetchval(_PERCENT, oid, _PAGES)
    columns = ", ".join(map(quoted, keyset.key))
    where, values = _within(keyset, within)
    found = await connection.fetch(
        f"SELECT {columns} FROM {keyset.table.sql} "
        f"TABLESAMPLE SYSTEM (${len(values) + 1}::float4) "
        f"WHERE {where} ORDER BY {keyset.order()}",
        *values,
        percent,
    )
    return [tuple(row) for row in found]


def _within(keyset: Keyset, within: Range) -> tuple[str, Key]:
    """Return the condition for the keys of *within*, and its parameters."""
    where = replace(keyset, where=None).batch(None, after=within.after is not None)
    return where, (*(within.after or ()), *within.until)
