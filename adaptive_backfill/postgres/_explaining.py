"""What the planner would do with a query, and whether a walk can live with it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from adaptive_backfill.postgres._connecting import Connection

__all__ = ["Explained", "Scan", "Trouble", "explain", "troubles_of"]


@dataclass(frozen=True, slots=True)
class Scan:
    """How one table is read.

    Attributes:
        kind: The planner's word: ``Seq Scan``, ``Index Scan``.
        relation: The table, as ``schema.name``.
        cost: The planner's units for it.
        index: The index that is used.
        condition: What is looked up in it; `None` where all of it is read.
    """

    kind: str
    relation: str
    cost: float
    index: str | None = None
    condition: str | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """A plan.

    Attributes:
        text: As EXPLAIN shows it.
        cost: The planner's units for all of it.
        writes: Which tables it writes to, and how: ``Update``, ``Delete``, ``Insert``.
        scans: How the tables are read.
        sorts: Whether it sorts whole inputs.
    """

    text: str
    cost: float
    writes: Mapping[str, str]
    scans: tuple[Scan, ...]
    sorts: bool

    def indexes(self, tables: Collection[str]) -> tuple[str, ...]:
        """Return the indexes by which *tables* are read."""
        found = [s.index for s in self.scans if s.relation in tables and s.index]
        return tuple(dict.fromkeys(found))


class Trouble(NamedTuple):
    """What a walk cannot live with, unless what is read by it is small.

    Attributes:
        relation: The table or partition, as ``schema.name``; `None` for all of them.
        why: In words.
    """

    relation: str | None
    why: str


async def explain(connection: Connection, query: str, *args: object) -> Explained:
    """Return the plan of *query* with *args*. Runs nothing of it."""
    lines = await connection.fetch(f"EXPLAIN {query}", *args)
    planned = await connection.fetchval(
        f"EXPLAIN (FORMAT JSON, VERBOSE) {query}", *args
    )
    root = json.loads(planned)[0]["Plan"]
    nodes = list(_nodes(root, ""))
    return Explained(
        "\n".join(line[0] for line in lines),
        float(root["Total Cost"]),
        {on: node["Operation"] for node, on in nodes if "Operation" in node and on},
        tuple(_scans(nodes)),
        any(node["Node Type"] == "Sort" for node, _ in nodes),
    )


def troubles_of(
    explained: Explained, tables: Collection[str], key: str, *, ordered: bool
) -> tuple[Trouble, ...]:
    """Return why a walk cannot live with a plan; nothing where it can.

    Args:
        explained: The plan.
        tables: The table that is walked, and its partitions.
        key: The first column of the key.
        ordered: Whether the order has to come from the index, too.
    """
    found = [
        Trouble(scan.relation, why)
        for scan in explained.scans
        if scan.relation in tables and (why := _trouble_of(scan, key))
    ]
    if ordered and explained.sorts:
        why = "Sort: it reads all that is left of the table to find where a batch ends"
        found.append(Trouble(None, why))
    return tuple(found)


def _trouble_of(scan: Scan, key: str) -> str:
    if scan.index is None:
        return f"Seq Scan on {scan.relation}: it reads the whole table"
    if _names(key, scan.condition or ""):
        return ""
    return (
        f"{scan.kind} by {scan.index}: it does not look for {key} in there, "
        "so it reads more than the range"
    )


def _names(column: str, condition: str) -> bool:
    plain = rf'(?<![\w"]){re.escape(column)}(?![\w"])'
    quoted = '"' + column.replace('"', '""') + '"'
    return quoted in condition or re.search(plain, condition) is not None


def _nodes(node: dict[str, Any], on: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each node, and the table that it is about."""
    name = node.get("Relation Name")
    on = f"{node.get('Schema', '')}.{name}" if name else on
    yield node, on
    for child in node.get("Plans", ()):
        # An index that a bitmap is made of does not tell its table.
        yield from _nodes(child, on if "Bitmap" in node["Node Type"] or name else "")


def _scans(nodes: list[tuple[dict[str, Any], str]]) -> Iterator[Scan]:
    for node, on in nodes:
        kind = node["Node Type"]
        cost = float(node["Total Cost"])
        if kind == "Seq Scan":
            yield Scan(kind, on, cost)
        elif "Index Name" in node:
            yield Scan(kind, on, cost, node["Index Name"], node.get("Index Cond"))
