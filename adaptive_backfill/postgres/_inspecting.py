"""What the database says of a table: its key, its columns' types, how many rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres.identifiers import Table

__all__ = ["Inspected", "estimated", "estimates", "inspect_table"]


class Inspected(NamedTuple):
    """A table as it is.

    Attributes:
        oid: Its object identifier.
        key: The columns to walk it by.
        types: Their types, as PostgreSQL writes them.
    """

    oid: int
    key: tuple[str, ...]
    types: tuple[str, ...]


_OID = "SELECT to_regclass($1)::oid"

_COLUMNS = """
SELECT attname AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS not_null
FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
ORDER BY attnum
"""

# Unique, over plain columns, of all rows: what a walk can go by.
_UNIQUE = """
SELECT i.relname AS index, x.indisprimary AS is_primary,
       array(SELECT a.attname
             FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS k(num, at)
             JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.num
             WHERE k.at <= x.indnkeyatts ORDER BY k.at)::text[] AS columns
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
WHERE x.indrelid = $1 AND x.indisunique AND x.indisvalid
  AND x.indpred IS NULL AND x.indexprs IS NULL
ORDER BY x.indisprimary DESC, i.relname
"""

# Rows a page when it was last analyzed, times the pages that there are now. Where no
# page was counted (reltuples is -1 before the first ANALYZE, and 0 in version 13), as
# many a page as in the other partitions, which have the same columns.
_ESTIMATES = """
WITH leaf AS (
    SELECT n.nspname || '.' || c.relname AS name,
           pg_relation_size(c.oid) / current_setting('block_size')::int AS pages,
           CASE WHEN c.reltuples >= 0 AND c.relpages > 0 THEN c.reltuples END AS rows,
           CASE WHEN c.reltuples >= 0 AND c.relpages > 0 THEN c.relpages END AS counted
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid IN (SELECT relid FROM pg_partition_tree($1::oid::regclass) WHERE isleaf
                    UNION SELECT $1::oid)
      AND c.relkind IN ('r', 'm')
)
SELECT name, CASE WHEN pages = 0 THEN 0
             ELSE pages * coalesce(rows / counted,
                                   sum(rows) OVER () / sum(counted) OVER ())
             END::bigint
FROM leaf
"""


async def inspect_table(
    connection: Connection, table: Table, key: Sequence[str] | None, subject: str
) -> Inspected:
    """Return what is to be known of *table*.

    Args:
        connection: A connection to its database.
        table: The table.
        key: The columns to walk by; `None` for the primary key.
        subject: The backfill's class, for errors.

    Raises:
        ConfigurationError: There is no such table, column, or unique index.
    """
    oid = await connection.fetchval(_OID, table.sql)
    if oid is None:
        msg = f"there is no table {table.sql}, or the role may not see its schema"
        raise ConfigurationError([msg], subject=subject)
    columns = {row["name"]: row for row in await connection.fetch(_COLUMNS, oid)}
    unique = await connection.fetch(_UNIQUE, oid)
    known = [(str(row["index"]), tuple(row["columns"])) for row in unique]
    if key is None:
        if not unique or not unique[0]["is_primary"]:
            raise _no_primary_key(table, known, subject)
        key = known[0][1]
    problems = [
        f"table {table.sql} has no column {name!r}"
        for name in key
        if name not in columns
    ]
    problems += [
        f"key column {name!r} of {table.sql} may be NULL, and such rows would be "
        "passed over; add NOT NULL, or walk by another key"
        for name in key
        if name in columns and not columns[name]["not_null"]
    ]
    # In any order: an index on (b, a) keeps (a, b) unique as well.
    if not problems and not any(set(of) <= set(key) for _, of in known):
        problems.append(
            f"key {', '.join(key)} of {table.sql} is not unique, and a batch could "
            f"end in the middle of equal keys; {_indexes(known)}"
        )
    if problems:
        raise ConfigurationError(problems, subject=subject)
    return Inspected(oid, tuple(key), tuple(columns[name]["type"] for name in key))


async def estimated(connection: Connection, oid: int) -> int | None:
    """Return about how many rows a table has; `None` before its first ANALYZE.

    Of an empty one it is known at any time.
    """
    found = (await estimates(connection, oid)).values()
    known = [rows for rows in found if rows is not None]
    return sum(known) if known and len(known) == len(found) else None


async def estimates(connection: Connection, oid: int) -> dict[str, int | None]:
    """Return about how many rows a table has, or each of its partitions.

    By their names, as ``schema.name``. A partition that was never analyzed is taken to
    be as densely filled as those that were; `None` where none was, and it has rows.
    """
    return dict(map(tuple, await connection.fetch(_ESTIMATES, oid)))


def _no_primary_key(
    table: Table, known: Sequence[tuple[str, tuple[str, ...]]], subject: str
) -> ConfigurationError:
    msg = f"table {table.sql} has no primary key, so `key` is needed; {_indexes(known)}"
    return ConfigurationError([msg], subject=subject)


def _indexes(known: Sequence[tuple[str, tuple[str, ...]]]) -> str:
    if not known:
        return "it has no unique index; create one first"
    named = "; ".join(f"{index} ({', '.join(columns)})" for index, columns in known)
    return f"its unique indexes are: {named}"
