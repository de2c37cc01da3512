"""Whose store to ask, and by which name."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from adaptive_backfill import MemoryStore
from adaptive_backfill._engine.runs import Runs
from adaptive_backfill._engine.sqlite_store import SqliteStore
from adaptive_backfill.cli.declared import declared_by
from adaptive_backfill.cli.loading import load
from adaptive_backfill.cli.trouble import Trouble
from adaptive_backfill.errors import ConfigurationError

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


def place_of(target: str | None, store: str | None) -> Place:
    """Return where to ask about *target*: a class, or a name in *store*.

    Raises:
        Trouble: There is no such class or file, or nothing can be asked of it.
    """
    if store is not None:
        return Place(Runs(_opened(store)), target or "", certain=False)
    if target is None or ":" not in target:
        what = "" if target is None else f"{target!r} does not say which store to ask: "
        msg = f"{what}give module:Class, or --store PATH and a name in it."
        raise Trouble(msg)
    declared = declared_by(load(target))
    if declared.checkpoint is None:
        msg = f"{target} has no checkpoint, so nobody outside its process can see it."
        raise Trouble(msg)
    kept = declared.checkpoint.store
    _refuse_what_cannot_be_seen(kept, target)
    try:
        runs = Runs(kept)
    except ConfigurationError as error:
        raise Trouble(str(error)) from error
    return Place(runs, declared.checkpoint.name or declared.name, certain=True)


def _opened(text: str) -> SqliteStore:
    if "://" in text:
        msg = (
            "--store takes the path of a SqliteStore's file, and no DSN yet; for a "
            "store of another kind, give module:Class in place of the name."
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
