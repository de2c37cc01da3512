"""What the catalog says of a table that somebody is going to write to."""

from __future__ import annotations

from typing import NamedTuple

from adaptive_backfill.postgres._connecting import Connection

__all__ = [
    "Heat",
    "Trigger",
    "heat_now",
    "heat_so_far",
    "histogram",
    "indexed_columns",
    "locks_held",
    "slow_references",
    "table_names",
    "triggers",
]

_BITS = {"Insert": 4, "Delete": 8, "Update": 16}
"""Events in `pg_trigger.tgtype`."""

_TREE = """(SELECT relid FROM pg_partition_tree($1::oid::regclass) UNION SELECT $1::oid)
"""

_NAMES = f"""
SELECT n.nspname || '.' || c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid IN {_TREE}
"""

_TRIGGERS = f"""
SELECT t.tgname AS name, t.tgrelid::regclass::text AS on_table,
       pg_get_triggerdef(t.oid, true) AS definition,
       array(SELECT a.attname FROM unnest(t.tgattr::int2[]) AS k(number)
             JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attnum = k.number
            )::text[] AS columns
FROM pg_trigger t
WHERE t.tgrelid IN {_TREE} AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
  AND t.tgtype & $2 <> 0
ORDER BY t.tgname, t.tgrelid::regclass::text
"""

# Columns of keys, and by dependency those of expressions and predicates. From
# version 16 on, an index that only summarizes does not stand in the way.
_INDEXED = f"""
SELECT DISTINCT a.attname::text
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_am m ON m.oid = i.relam
JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum > 0
WHERE x.indrelid IN {_TREE}
  AND NOT (m.amname = 'brin' AND current_setting('server_version_num')::int >= 160000)
  AND (a.attnum = ANY (x.indkey::int2[]) OR EXISTS (
      SELECT FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = x.indexrelid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = x.indrelid
        AND d.refobjsubid = a.attnum))
"""

_HEAT_SO_FAR = f"""
SELECT coalesce(sum(n_tup_upd), 0)::bigint, coalesce(sum(n_tup_hot_upd), 0)::bigint
FROM pg_stat_all_tables WHERE relid IN {_TREE}
"""

_HEAT_NOW = f"""
SELECT coalesce(sum(n_tup_upd), 0)::bigint, coalesce(sum(n_tup_hot_upd), 0)::bigint
FROM pg_stat_xact_all_tables WHERE relid IN {_TREE}
"""

# A row that is deleted is looked for in every table that refers to it.
_SLOW_REFERENCES = """
SELECT k.conname || ' of ' || k.conrelid::regclass::text
FROM pg_constraint k
WHERE k.contype = 'f' AND k.confrelid = $1 AND NOT EXISTS (
    SELECT FROM pg_index x
    WHERE x.indrelid = k.conrelid AND x.indisvalid
      AND (x.indkey::int2[])[0] = ANY (k.conkey))
ORDER BY 1
"""

_LOCKS = """
SELECT l.mode, l.relation::regclass::text
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
WHERE l.pid = pg_backend_pid() AND l.granted AND l.locktype = 'relation'
  AND c.relkind IN ('r', 'p') AND c.relnamespace <> 'pg_catalog'::regnamespace
  AND l.mode <> 'AccessShareLock'
ORDER BY 2, 1
"""

_HISTOGRAM = """
SELECT s.histogram_bounds::text::{type}[]
FROM pg_stats s
JOIN pg_namespace n ON n.nspname = s.schemaname
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename
WHERE c.oid = $1 AND s.attname = $2 AND s.inherited = (c.relkind = 'p')
"""


class Trigger(NamedTuple):
    """A trigger of the user's that fires.

    Attributes:
        name: Its name.
        table: Where it is.
        definition: As SQL.
        columns: Those whose update it waits for; none for any.
    """

    name: str
    table: str
    definition: str
    columns: frozenset[str]


class Heat(NamedTuple):
    """Updates, and how many of them needed no new index entries."""

    updated: int
    hot: int

    @property
    def share(self) -> float | None:
        """The share that was HOT; `None` where nothing was updated."""
        return self.hot / self.updated if self.updated else None


async def table_names(connection: Connection, oid: int) -> frozenset[str]:
    """Return the table and its partitions, as ``schema.name``."""
    return frozenset(str(row[0]) for row in await connection.fetch(_NAMES, oid))


async def triggers(
    connection: Connection,
    oid: int,
    operation: str | None,
    columns: frozenset[str] | None,
) -> tuple[Trigger, ...]:
    """Return the triggers that *operation* fires; `None` for whatever is written."""
    bits = _BITS.get(operation or "", sum(_BITS.values()))
    found = [
        Trigger(row["name"], row["on_table"], row["definition"], frozenset(row[3]))
        for row in await connection.fetch(_TRIGGERS, oid, bits)
    ]
    if operation != "Update" or columns is None:
        return tuple(found)
    return tuple(t for t in found if not t.columns or t.columns & columns)


async def indexed_columns(connection: Connection, oid: int) -> frozenset[str]:
    """Return the columns that an update has to leave alone to be HOT."""
    return frozenset(str(row[0]) for row in await connection.fetch(_INDEXED, oid))


async def heat_so_far(connection: Connection, oid: int) -> Heat:
    """Return the updates that the server has counted on the table."""
    return Heat(*(await connection.fetch(_HEAT_SO_FAR, oid))[0])


async def heat_now(connection: Connection, oid: int) -> Heat:
    """Return the updates of the transaction that *connection* is in."""
    return Heat(*(await connection.fetch(_HEAT_NOW, oid))[0])


async def slow_references(connection: Connection, oid: int) -> tuple[str, ...]:
    """Return the foreign keys to the table whose own side has no index."""
    return tuple(str(row[0]) for row in await connection.fetch(_SLOW_REFERENCES, oid))


async def locks_held(connection: Connection) -> tuple[str, ...]:
    """Return the locks on tables of the transaction that *connection* is in."""
    rows = await connection.fetch(_LOCKS)
    return tuple(f"{_words(mode)} on {relation}" for mode, relation in rows)


async def histogram(
    connection: Connection, oid: int, column: str, kind: str
) -> list[object]:
    """Return values of *column*, of type *kind*, between which there are as many rows.

    None before the first ANALYZE, and where the role may not read the table.
    """
    found = await connection.fetchval(_HISTOGRAM.format(type=kind), oid, column)
    return list(found or ())


def _words(mode: str) -> str:
    """Return ``ROW EXCLUSIVE`` for ``RowExclusiveLock``."""
    spaced = "".join(
        f" {letter}" if letter.isupper() else letter
        for letter in mode.removesuffix("Lock")
    )
    return spaced.strip().upper()
