"""Ranges of a key as SQL: where a batch ends, and which rows are in it.

Rule: values are parameters, never text; there is no OFFSET but the one that counts
keys inside a batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from adaptive_backfill.postgres.identifiers import Table, quoted, table_named

__all__ = ["Keyset", "has_batch", "with_batch"]

_BATCH = re.compile(r'\{batch(?::([^\W\d]\w*|"(?:[^"]|"")+"))?\}')
_ENDS, _NTH = '"batch ends"', '"nth batch"'
"""Names that no table and no column of a key is likely to have."""


@dataclass(frozen=True, slots=True)
class Keyset:
    """A table walked along a key.

    Attributes:
        table: The table.
        key: The key's columns, in order; together unique and without NULLs.
        types: Their types as PostgreSQL writes them, for casting parameters.
        descending: Whether the walk begins at the greatest key.
        where: Rows still to do, as SQL; `None` for all.
    """

    table: Table
    key: tuple[str, ...]
    types: tuple[str, ...]
    descending: bool = False
    where: str | None = None

    @property
    def width(self) -> int:
        """Parameters that one key takes."""
        return len(self.key)

    def last(self) -> str:
        """Return the query for the last key there is, where the walk will end."""
        return (
            f"SELECT {self._columns()} FROM {self.table.sql} "
            f"ORDER BY {self.order(backwards=True)} LIMIT 1"
        )

    def bound(self, *, after: bool) -> str:
        """Return the query for the last key of the next batch.

        It looks at keys only, not at `where`: so a batch reads a bounded range of the
        index, however few of its rows are still to do.

        Parameters: with *after* the key before the batch; the last key of the walk;
        the batch's size less one, as an int. No row: fewer keys than that are left.
        """
        columns, ahead, size = self._next_keys(after=after)
        return f"SELECT {columns} {ahead} LIMIT 1 OFFSET ${size}::int"

    def bounds(self, *, after: bool) -> str:
        """Return the query for the last keys of the next batches.

        Its rows are, in no order, which batch from 1 on, and its last key. Each is
        looked up from the one before it: to number the keys costs several times that.

        Parameters: as for `bound`, and then the number of batches, as an int. No row:
        fewer keys than a batch are left.
        """
        columns, ahead, size = self._next_keys(after=after)
        names = [f'"key {place}"' for place in range(1, self.width + 1)]
        found = ", ".join(names)
        before = [f"{_ENDS}.{name}" for name in names]
        until = self._compared(self._until(), self.width if after else 0)
        following = self._row_compared(self._ahead(), self._columns_of(), before)
        return (
            f"WITH RECURSIVE {_ENDS} ({found}, {_NTH}) AS ("
            f"(SELECT {columns}, 1 {ahead} LIMIT 1 OFFSET ${size}::int) "
            f"UNION ALL SELECT following.* FROM {_ENDS}, LATERAL ("
            f"SELECT {columns}, {_ENDS}.{_NTH} + 1 FROM {self.table.sql} "
            f"WHERE {following} AND {until} ORDER BY {self.order()} "
            f"LIMIT 1 OFFSET ${size}::int) AS following "
            f"WHERE {_ENDS}.{_NTH} < ${size + 1}::int"
            f") SELECT {_NTH}, {found} FROM {_ENDS}"
        )

    def _next_keys(self, *, after: bool) -> tuple[str, str, int]:
        """Return the key's columns, what is next of them, and the next parameter."""
        first = self.width if after else 0
        bounds = [self._compared(self._ahead(), 0)] if after else []
        bounds.append(self._compared(self._until(), first))
        where, order = " AND ".join(bounds), self.order()
        ahead = f"FROM {self.table.sql} WHERE {where} ORDER BY {order}"
        return self._columns(), ahead, first + self.width + 1

    def batch(self, alias: str | None, *, after: bool) -> str:
        """Return the condition for the rows of a batch that are still to do.

        Args:
            alias: What the table is called in the statement; its name by default. As in
                SQL, one without quotes means lower case.
            after: Whether the batch begins behind a key, which is then the first
                parameter; the batch's last key follows.
        """
        by = self._called(alias)
        bounds = [self._compared(self._ahead(), 0, by)] if after else []
        bounds.append(self._compared(self._until(), self.width if after else 0, by))
        if self.where is not None:
            bounds.append(self._still_to_do(self.where))
        return " AND ".join(bounds)

    def only(self, alias: str | None) -> str:
        """Return the condition for the one row of a key, if it is still to do.

        Args:
            alias: As for `batch`. The key is the first parameter.
        """
        by = self._called(alias)
        exact = self._compared("=", 0, by)
        if self.where is None:
            return exact
        return f"{exact} AND {self._still_to_do(self.where)}"

    def left(self) -> str:
        """Return the query that counts the rows still to do."""
        return f"SELECT count(*) FROM {self.table.sql}{self.only_to_do()}"

    def only_to_do(self) -> str:
        """Return the WHERE clause for the rows still to do; nothing for all rows."""
        return "" if self.where is None else f" WHERE {self._still_to_do(self.where)}"

    def _still_to_do(self, where: str) -> str:
        # A comment goes to the end of its line, and would take the parenthesis along.
        return f"({where}\n)" if "--" in where else f"({where})"

    def _called(self, alias: str | None) -> str:
        return self.table.alias if alias is None else table_named(alias).alias

    def _columns(self) -> str:
        return ", ".join(map(quoted, self.key))

    def order(self, *, backwards: bool = False) -> str:
        """Return the ORDER BY of the walk."""
        down = self.descending != backwards
        direction = " DESC" if down else ""
        return ", ".join(f"{quoted(column)}{direction}" for column in self.key)

    def _ahead(self) -> str:
        return "<" if self.descending else ">"

    def _until(self) -> str:
        return ">=" if self.descending else "<="

    def _compared(self, sign: str, first: int, by: str | None = None) -> str:
        """Compare the key, row-wise where it has several columns, with parameters."""
        values = [
            f"${first + place}::{kind}" for place, kind in enumerate(self.types, 1)
        ]
        return self._row_compared(sign, self._columns_of(by), values)

    def _columns_of(self, by: str | None = None) -> list[str]:
        prefix = "" if by is None else f"{by}."
        return [f"{prefix}{quoted(column)}" for column in self.key]

    def _row_compared(self, sign: str, columns: list[str], values: list[str]) -> str:
        if self.width == 1:
            return f"{columns[0]} {sign} {values[0]}"
        return f"({', '.join(columns)}) {sign} ({', '.join(values)})"


def has_batch(statement: str) -> bool:
    """Whether *statement* says where the batch goes."""
    return _BATCH.search(statement) is not None


def with_batch(statement: str, condition: Callable[[str | None], str]) -> str:
    """Return *statement* with ``{batch}`` and ``{batch:alias}`` filled in.

    An alias may be quoted, as in ``{batch:"U"}``. All other braces stay as they are.

    Args:
        statement: The user's.
        condition: Says which rows, by the alias, where there is one.
    """
    return _BATCH.sub(lambda found: condition(found.group(1)), statement)
