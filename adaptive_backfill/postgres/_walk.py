"""One run's walk over its table: the ranges, and the statements that do them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import UUID

import asyncpg

from adaptive_backfill.postgres._ahead import KnownEnds, batches_ahead
from adaptive_backfill.postgres._connecting import Connection
from adaptive_backfill.postgres._identity import qualified_name, walk_named
from adaptive_backfill.postgres._inspecting import (
    Inspected,
    estimated,
    inspect_table,
)
from adaptive_backfill.postgres._run_pool import RunPool
from adaptive_backfill.postgres._store_pool import Pool
from adaptive_backfill.postgres.identifiers import quoted, table_named
from adaptive_backfill.postgres.keyset import Keyset, with_batch
from adaptive_backfill.postgres.shares import Cut, Range, cut

__all__ = ["AS_EVER", "BY_INDEX", "Cursor", "Key", "Walk", "Way"]

BY_INDEX = "SET LOCAL enable_sort = off"
AS_EVER = "SET LOCAL enable_sort = DEFAULT"
"""Around the query for the ends of several batches. From the second on the planner
does not know where they begin, takes little to be left, and might sort all of it."""

Key = tuple[Any, ...]
"""The values of a key's columns."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a walk is: the state of a `TableBackfill`.

    Attributes:
        last: The last key done, exclusive; `None` before the first batch.
        end: The key where it ends, fixed at the start; `None` for an empty table.
        cut: How it is cut into shares, each with a cursor of its own; `None` where
            it is not.
        walk: Which walk it is of, such as ``public.users by id``; `None` where nobody
            knows, as of a share, which is only reached through the cut. It says
            nothing of where the walk is, and so two cursors are equal without it.
    """

    last: Key | None
    end: Key | None
    cut: Cut | None = None
    walk: str | None = field(default=None, compare=False)

    def at(self, last: Key) -> Self:
        """Return the cursor of the same walk where *last* is done, too."""
        # By hand: it is made each batch, and `replace` takes twice as long.
        return type(self)(last, self.end, None, self.walk)

    def __deepcopy__(self, memo: object) -> Self:
        # Of values that nobody changes, and copied several times a batch.
        return self


class Way(NamedTuple):
    """What a class says of its walk, as it is in force.

    Attributes:
        subject: The class, for errors.
        table: As the user names it.
        key: Columns; `None` for the primary key.
        where: Rows still to do.
        descending: Whether it begins at the greatest key.
        statement: With ``{batch}``; `None` where rows go through Python.
        columns: What those rows have; none for all columns.
    """

    subject: str
    table: str
    key: tuple[str, ...] | None
    where: str | None
    descending: bool
    statement: str | None
    columns: tuple[str, ...]


class Walk:
    """Opens the run's pool, looks at the table, and does its ranges.

    Args:
        way: What the class says.
        pool: The run's pool.
        also: What else is to be looked up when it is opened.
    """

    def __init__(
        self,
        way: Way,
        pool: RunPool,
        also: Callable[[Connection], Awaitable[None]],
    ) -> None:
        self._way = way
        self._pool = pool
        self._also = also
        self._table = table_named(way.table)
        self._inspected: Inspected | None = None
        self._name = ""
        self._texts: dict[object, str] = {}
        self._known_ends = KnownEnds()
        self._size = 0

    async def __aenter__(self) -> Self:
        """Open the pool, and look at the table.

        Raises:
            ConfigurationError: It cannot be walked by the key.
        """
        await self._pool.__aenter__()
        try:
            async with self._pool.pool.acquire() as connection:
                await self._also(connection)
                seen = await inspect_table(
                    connection, self._table, self._way.key, self._way.subject
                )
                named = await qualified_name(connection, seen.oid)
                self._name = walk_named(
                    named, seen.key, descending=self._way.descending
                )
                self._inspected = seen
        finally:
            if self._inspected is None:
                await self._pool.__aexit__(None, None, None)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the pool, where it was opened here."""
        await self._pool.__aexit__(kind, error, trace)

    @property
    def pool(self) -> Pool:
        """The pool of the run, while it is open."""
        return self._pool.pool

    @property
    def name(self) -> str:
        """Which walk it is, whatever the backfill's name: `Cursor.walk`."""
        self._seen()
        return self._name

    @property
    def subject(self) -> str:
        """The backfill's class, for errors."""
        return self._way.subject

    @property
    def seen(self) -> Inspected:
        """What the database says of the table."""
        return self._seen()

    @property
    def keyset(self) -> Keyset:
        """The ranges of the walk, as SQL."""
        return self._keyset()

    def batch(self, *, after: bool) -> str:
        """Return the SQL of a batch: the statement, or what reads its rows."""
        keys = self._keyset()
        if self._way.statement:
            return self._done(keys, after=after)
        return self._select(keys, keys.batch(None, after=after))

    async def start(self) -> Cursor:
        """Return where a new walk begins, and fix where it ends."""
        async with self._pool.pool.acquire() as connection:
            return Cursor(None, await self.last(connection), walk=self.name)

    async def cut(self, within: Range, shares: int) -> tuple[Key, ...]:
        """Return where to cut *within* into at most *shares* shares, evenly."""
        async with self._pool.pool.acquire() as connection:
            oid = self._seen().oid
            return await cut(connection, self._keyset(), oid, within, shares)

    async def total(self, *, exact: bool) -> int | None:
        """Return the rows that there are, counted or estimated."""
        async with self._pool.pool.acquire() as connection:
            if exact:
                counted: int = await connection.fetchval(self._keyset().left())
                return counted
            return await estimated(connection, self._seen().oid)

    async def last(self, connection: Connection) -> Key | None:
        """Return the key where the walk would end now; `None` for an empty table."""
        row = await connection.fetchrow(self._keyset().last())
        return None if row is None else _key(row)

    async def bound(self, connection: Connection, cursor: Cursor, size: int) -> Key:
        """Return the last key of the next batch of at most *size* keys."""
        after = cursor.last is not None
        text = self._text(("bound", after), lambda keys: keys.bound(after=after))
        row = await connection.fetchrow(text, *_keys(cursor), size - 1)
        return (cursor.end or ()) if row is None else _key(row)

    async def upper(self, connection: Connection, cursor: Cursor, size: int) -> Key:
        """Return where to end the next batch of about *size* keys.

        The ends of some batches more are found on the way, to ask less often: where
        the size is that of the batch before, so that it may be that of the next.
        """
        before, self._size = self._size, size
        ahead = batches_ahead(size)
        if size != before or ahead == 1:
            return await self.bound(connection, cursor, size)
        now = asyncio.get_running_loop().time()
        known = self._known_ends.take(cursor.last, cursor.end, size, now)
        if known is not None:
            return known
        after = cursor.last is not None
        text = self._text(("bounds", after), lambda keys: keys.bounds(after=after))
        args = (*_keys(cursor), size - 1, ahead)
        await connection.execute(BY_INDEX)
        found = await connection.fetch(text, *args)
        await connection.execute(AS_EVER)
        ends = [_key(key) for _, *key in sorted(found, key=itemgetter(0))]
        self._known_ends.keep(ends, cursor.end, size, now)
        return ends[0] if ends else (cursor.end or ())

    async def rows(
        self, connection: Connection, cursor: Cursor, upper: Key
    ) -> list[asyncpg.Record]:
        """Return the rows of a batch that are still to do, in key order, locked.

        Locked, so that what is written was not changed since it was read.
        """
        after = cursor.last is not None
        text = self._text(
            ("rows", after),
            lambda keys: self._select(keys, keys.batch(None, after=after)),
        )
        found = await connection.fetch(text, *_up_to(cursor, upper))
        return list(found)

    async def do(self, connection: Connection, cursor: Cursor, upper: Key) -> int:
        """Do a batch by the statement; return how many rows it did."""
        after = cursor.last is not None
        text = self._text(("do", after), lambda keys: self._done(keys, after=after))
        status = await connection.execute(text, *_up_to(cursor, upper))
        return _count_of(status)

    async def row(self, connection: Connection, key: Key) -> list[asyncpg.Record]:
        """Return the row of *key*, locked, if it is there and still to do."""
        text = self._text("row", lambda keys: self._select(keys, keys.only(None)))
        return list(await connection.fetch(text, *key))

    async def redo(self, connection: Connection, key: Key) -> int:
        """Do the one row of *key* by the statement; return whether it did, as 1."""
        text = self._text("redo", lambda keys: self._statement(keys.only))
        return _count_of(await connection.execute(text, *key))

    def _select(self, keys: Keyset, condition: str) -> str:
        columns = ", ".join(map(quoted, self._way.columns)) or "*"
        return (
            f"SELECT {columns} FROM {keys.table.sql} "
            f"WHERE {condition} ORDER BY {keys.order()} FOR NO KEY UPDATE"
        )

    def _done(self, keys: Keyset, *, after: bool) -> str:
        return self._statement(partial(keys.batch, after=after))

    def _statement(self, condition: Callable[[str | None], str]) -> str:
        statement = self._way.statement or ""
        return with_batch(statement.strip().rstrip(";"), condition)

    def _text(self, of: object, make: Callable[[Keyset], str]) -> str:
        text = self._texts.get(of)
        if text is None:
            # By the comment a check tells what is ours in pg_stat_statements.
            text = f"{make(self._keyset())}\n/* adaptive_backfill */"
            self._texts[of] = text
        return text

    def _seen(self) -> Inspected:
        if self._inspected is None:
            msg = f"the walk over {self._table.sql} has not been opened"
            raise RuntimeError(msg)
        return self._inspected

    def _keyset(self) -> Keyset:
        seen = self._seen()
        return Keyset(
            self._table, seen.key, seen.types, self._way.descending, self._way.where
        )


def _key(row: Iterable[Any]) -> Key:
    return tuple(_plain(value) for value in row)


def _plain(value: object) -> object:
    # asyncpg has a UUID of its own, which no checkpoint knows; and an array it hands
    # out as a list, by which nothing can be looked up.
    if isinstance(value, UUID):
        return UUID(int=value.int)
    return tuple(value) if isinstance(value, list) else value


def _keys(cursor: Cursor) -> Key:
    return (*(cursor.last or ()), *(cursor.end or ()))


def _up_to(cursor: Cursor, upper: Key) -> Key:
    return (*(cursor.last or ()), *upper)


def _count_of(status: str) -> int:
    """Return the rows of a command tag: ``UPDATE 5``, ``INSERT 0 5``."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0
