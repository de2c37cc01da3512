"""Look at a walk before it begins: what the planner and the catalog say of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil
from typing import NamedTuple

from adaptive_backfill.postgres._ahead import batches_ahead
from adaptive_backfill.postgres._catalog import (
    heat_so_far,
    indexed_columns,
    locks_held,
    slow_references,
    table_names,
    triggers,
)
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._explaining import (
    Explained,
    Scan,
    Trouble,
    explain,
    troubles_of,
)
from adaptive_backfill.postgres._inspecting import estimated, estimates
from adaptive_backfill.postgres._statement import set_columns
from adaptive_backfill.postgres._walk import AS_EVER, BY_INDEX, Cursor, Key, Walk
from adaptive_backfill.postgres.plans import Plan

__all__ = ["Asked", "operation_of", "survey"]

_SMALL = 20
"""Batches up to which a table, or what is read of it, is small: then the planner may
well read all of it."""

_DEAR = 0.5
"""What a batch may cost beside its range, as a share of reading the whole table."""

_ROWS = {
    "Update": "FOR NO KEY UPDATE on the rows of a batch, until it is committed; FOR "
    "UPDATE where a column of a unique index is set",
    "Delete": "FOR UPDATE on the rows of a batch, until it is committed",
    "Insert": "the new rows, until a batch is committed",
}
_ROWS_OF_HANDLER = "FOR NO KEY UPDATE on the rows of a batch, until it is committed"


class Asked(NamedTuple):
    """What is asked about.

    Attributes:
        name: The backfill.
        statement: What it does; `None` where rows go through Python.
        size: Keys a batch.
    """

    name: str
    statement: str | None
    size: int


async def operation_of(walk: Walk, connection: Connection) -> str | None:
    """Return what the statement does to the walk's own table, if anything."""
    nothing = (None,) * walk.keyset.width
    explained = await explain(connection, walk.batch(after=False), *nothing)
    names = await table_names(connection, walk.seen.oid)
    return next((op for on, op in explained.writes.items() if on in names), None)


async def survey(walk: Walk, connection: Connection, asked: Asked) -> Plan:
    """Return the plan of *walk*, as far as nothing is measured.

    To be asked in a transaction that is rolled back.
    """
    oid, keys = walk.seen.oid, walk.keyset
    cursor = await _second(walk, connection, asked.size)
    bound, batch, reasons = await _planned(walk, connection, cursor, asked.size)
    names = await table_names(connection, oid)
    rows = await estimated(connection, oid)
    batches = None if rows is None else ceil(rows / asked.size)
    operation = next((op for on, op in batch.writes.items() if on in names), None)
    target = await _target(connection, oid, batch)
    writes = _written(asked, batch)
    columns = set_columns(asked.statement or "")
    fired = await triggers(connection, target, writes, columns)
    others = [
        scan
        for scan in batch.scans
        if scan.kind == "Seq Scan" and scan.relation not in names
    ]
    if not reasons and batches is not None and batches > _SMALL:
        reasons = await _dear(walk, connection, others)
    warnings = [
        *_unknown_extent(rows),
        *sorted({f"each batch reads all of {scan.relation}" for scan in others}),
    ]
    if writes == "Delete":
        warnings += [
            f"each deleted row is looked for by foreign key {key}, which has no index"
            for key in await slow_references(connection, oid)
        ]
    locks = await locks_held(connection)
    row_locks = _ROWS[writes] if writes else _ROWS_OF_HANDLER
    return Plan(
        name=asked.name,
        table=keys.table.sql,
        ok=not reasons,
        reasons=tuple(reasons),
        warnings=tuple(warnings),
        key=keys.key,
        indexes=tuple(dict.fromkeys([*bound.indexes(names), *batch.indexes(names)])),
        bound=bound.text,
        batch=batch.text,
        triggers=tuple(trigger.definition for trigger in fired),
        hot=await _hot(connection, oid, operation, columns),
        hot_so_far=(await heat_so_far(connection, oid)).share,
        locks=(*locks, row_locks),
        rows=rows,
        batches=batches,
    )


async def _second(walk: Walk, connection: Connection, size: int) -> Cursor:
    """Return where the second batch begins: nearly all batches have two bounds."""
    end = await walk.last(connection)
    if end is None:
        return Cursor(None, (None,) * walk.keyset.width)
    first = await walk.bound(connection, Cursor(None, end), size)
    return Cursor(None if first == end else first, end)


async def _planned(
    walk: Walk, connection: Connection, cursor: Cursor, size: int
) -> tuple[Explained, Explained, list[str]]:
    """Return the plans of both queries of a batch, and why they will not do."""
    after = cursor.last is not None
    last, end = cursor.last or (), cursor.end or ()
    # Nothing can be told of ranges then, and nothing needs to be.
    empty = None in end
    upper = end if empty else await walk.bound(connection, cursor, size)
    keys = walk.keyset
    names = await table_names(connection, walk.seen.oid)
    rows = await estimates(connection, walk.seen.oid)
    plans: list[Explained] = []
    reasons: list[str] = []
    queries: list[tuple[str, str, Key]] = [
        (
            "the end of a batch",
            keys.bounds(after=after),
            (*last, *end, size - 1, batches_ahead(size)),
        ),
        ("a batch", walk.batch(after=after), (*last, *upper)),
    ]
    for what, query, args in queries:
        ordered = query == queries[0][1]
        await connection.execute(BY_INDEX if ordered else AS_EVER)
        found = await explain(connection, query, *args)
        troubles = troubles_of(found, names, keys.key[0], ordered=ordered)
        if troubles and not reasons and not empty:
            forced = await _without_seq_scans(connection, query, args)
            still = troubles_of(forced, names, keys.key[0], ordered=ordered)
            if still:
                reasons.append(
                    f"{what} finds no index to go by: {still[0].why}; create an index "
                    f"on ({', '.join(keys.key)})"
                )
            elif _rows_read(troubles, rows) > _SMALL * size:
                worst = max(troubles, key=lambda one: _rows_read([one], rows))
                reasons.append(
                    f"{what} would not go by the index that there is: {worst.why}; "
                    f"ANALYZE {keys.table.sql}, and look at what `where` asks for"
                )
        plans.append(found)
    return plans[0], plans[1], reasons


def _rows_read(troubles: Iterable[Trouble], rows: Mapping[str, int | None]) -> int:
    """Return about how many rows are read for *troubles*; the unknown count for none.

    All together: each of a thousand partitions may be small.
    """
    read = {trouble.relation for trouble in troubles}
    return sum(
        count or 0 for name, count in rows.items() if None in read or name in read
    )


async def _without_seq_scans(
    connection: Connection, query: str, args: Key
) -> Explained:
    await connection.execute(
        "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off"
    )
    try:
        return await explain(connection, query, *args)
    finally:
        await connection.execute(
            "SET LOCAL enable_seqscan = DEFAULT; SET LOCAL enable_sort = DEFAULT"
        )


async def _dear(walk: Walk, connection: Connection, others: list[Scan]) -> list[str]:
    """Return whether what a batch reads beside its range is too much for each batch.

    Not by the cost of all of it: how many rows are in a range of several columns, the
    planner guesses by the first of them, and mostly far too high.
    """
    whole = await explain(connection, f"SELECT FROM {walk.keyset.table.sql}")
    cost = sum(scan.cost for scan in others)
    if cost <= _DEAR * whole.cost:
        return []
    tables = ", ".join(sorted({scan.relation for scan in others}))
    return [
        f"each batch costs too much: to read all of {tables} costs {cost:,.0f} by the "
        f"planner's reckoning, and to read the whole table once {whole.cost:,.0f}; "
        "create an index for what the statement looks up there"
    ]


async def _target(connection: Connection, oid: int, batch: Explained) -> int:
    """Return the table that the statement writes to, or the walk's own."""
    for name in batch.writes:
        schema, _, table = name.partition(".")
        found = await connection.fetchval(
            "SELECT to_regclass(format('%I.%I', $1::text, $2::text))::oid",
            schema,
            table,
        )
        if found is not None:
            return int(found)
    return oid


def _written(asked: Asked, batch: Explained) -> str | None:
    return next(iter(batch.writes.values()), None) if asked.statement else None


async def _hot(
    connection: Connection,
    oid: int,
    operation: str | None,
    columns: frozenset[str] | None,
) -> bool | None:
    if operation != "Update" or columns is None:
        return None
    return not columns & await indexed_columns(connection, oid)


def _unknown_extent(rows: int | None) -> list[str]:
    if rows is not None:
        return []
    return ["how many rows there are is not known before the first ANALYZE"]
