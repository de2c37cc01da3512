"""Whose store to ask, and by which name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from adaptive_backfill import MemoryStore
from adaptive_backfill._engine.runs import Runs
from adaptive_backfill._engine.sqlite_store import SqliteStore
from adaptive_backfill.cli.declared import Declared, declared_by
from adaptive_backfill.cli.loading import load
from adaptive_backfill.cli.pools import is_dsn, opened
from adaptive_backfill.cli.trouble import Failure, Trouble
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.postgres import PostgresStore
from adaptive_backfill.postgres._options import OWN_STORE
from adaptive_backfill.postgres._store_errors import GONE, TROUBLE, explained, newer
from adaptive_backfill.postgres._store_pool import Pool
from adaptive_backfill.postgres._store_schema import DEFAULT_SCHEMA, KNOWN
from adaptive_backfill.postgres._store_sql import VERSION, Tables

__all__ = ["Place", "place_of"]


class Place(NamedTuple):
    """Where to ask.

    Attributes:
        runs: The store's runs.
        name: The one that is meant; empty for all.
        certain: Whether the name is a class's own, and not typed by somebody.
    """

    runs: Runs
    name: str
    certain: bool


@asynccontextmanager
async def place_of(target: str | None, store: str | None) -> AsyncIterator[Place]:
    """Yield where to ask about *target*: a class, or a name in *store*.

    What is in PostgreSQL is asked on a pool that is open for the block.

    Raises:
        Trouble: There is no such class or store, or nothing can be asked of it.
    """
    if store is not None and not is_dsn(store):
        yield Place(Runs(_file(store)), target or "", certain=False)
        return
    named = target is not None and ":" in target
    if target is None or not named:
        if store is None:
            what = (
                ""
                if target is None
                else f"{target!r} does not say which store to ask: "
            )
            msg = f"{what}give module:Class, or --store PATH|DSN and a name in it."
            raise Trouble(msg)
        async with _database(store, DEFAULT_SCHEMA) as runs:
            yield Place(runs, target or "", certain=False)
        return
    declared = declared_by(load(target))
    if declared.checkpoint is None:
        msg = f"{target} has no checkpoint, so nobody outside its process can see it."
        raise Trouble(msg)
    name = declared.checkpoint.name or declared.name
    async with _kept(declared.checkpoint.store, declared, target, store) as runs:
        yield Place(runs, name, certain=True)


@asynccontextmanager
async def _kept(
    kept: object, declared: Declared, target: str, dsn: str | None
) -> AsyncIterator[Runs]:
    """Yield the runs of the store that a class has, or that *dsn* leads to."""
    if kept is OWN_STORE or dsn is not None:
        schema = kept.schema if isinstance(kept, PostgresStore) else DEFAULT_SCHEMA
        given = dsn or declared.values.get("dsn")
        own = given if isinstance(given, str) else None
        async with _database(own, schema) as runs:
            yield runs
        return
    _refuse_what_cannot_be_seen(kept, target)
    try:
        runs = Runs(kept)
    except ConfigurationError as error:
        raise Trouble(str(error)) from error
    yield runs


@asynccontextmanager
async def _database(dsn: str | None, schema: str) -> AsyncIterator[Runs]:
    """Yield the runs in a database, in which nothing is made by asking."""
    async with opened("cli", "--store", dsn, size=2) as pool:
        await _refuse_what_is_not_there(pool, schema)
        yield Runs(PostgresStore(pool, schema=schema))


async def _refuse_what_is_not_there(pool: Pool, schema: str) -> None:
    try:
        version = await pool.fetchval(Tables(schema).sql(VERSION))
    except GONE:
        version = None
    except TROUBLE as error:
        raise Failure(str(explained(error, schema))) from error
    if version is None:
        msg = (
            f"There is no store in that database: no schema {schema!r} with its "
            "tables; look for a slip in the DSN. The first run makes them."
        )
        raise Trouble(msg)
    if version > KNOWN:
        raise newer(version, KNOWN, schema)
    if version < KNOWN:
        msg = (
            f"The tables in the schema {schema!r} are those of an older version; the "
            "next run brings them up to date."
        )
        raise Trouble(msg)


def _file(text: str) -> SqliteStore:
    if "://" in text:
        # Not shown: it may hold a password.
        msg = (
            "--store takes the path of a SqliteStore's file, or a DSN, which looks "
            "like postgresql://user@host/database."
        )
        raise Trouble(msg)
    path = Path(text)
    if path.is_dir():
        msg = f"{text} is a folder; --store takes the path of a SqliteStore's file."
        raise Trouble(msg)
    if not path.exists():
        msg = f"There is no file {text}; look for a slip in --store."
        raise Trouble(msg)
    _refuse_empty(path)
    return SqliteStore(path)


def _refuse_what_cannot_be_seen(store: object, target: str) -> None:
    if isinstance(store, MemoryStore):
        msg = (
            f"{target} keeps its checkpoint in memory, which no other process can see; "
            "SqliteStore keeps it in a file."
        )
        raise Trouble(msg)
    path = _file_of(store)
    if path is None:
        return
    if not path.exists():
        msg = f"{target} has not run yet: there is no file {path}."
        raise Trouble(msg)
    _refuse_empty(path)


def _refuse_empty(path: Path) -> None:
    # SQLite takes an empty file for an empty database, and would write into it.
    if path.is_file() and path.stat().st_size == 0:
        msg = f"{path} is empty: no backfill has kept anything in it."
        raise Trouble(msg)


def _file_of(store: object) -> Path | None:
    """Return the file that asking *store* would make, were it not there."""
    if isinstance(store, SqliteStore):
        return store.path
    return None
