"""The file of a `SqliteStore`: opened, its schema seen to, its errors explained."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import ExitStack
from pathlib import Path

from adaptive_backfill.errors import CheckpointError

__all__ = ["connected", "explained"]

VERSION = 1
"""Of the schema, kept as `PRAGMA user_version`."""

BUSY = 10.0
"""Seconds to wait for another process's transaction."""

SCHEMA = (
    """
CREATE TABLE backfill_names (
    name TEXT PRIMARY KEY NOT NULL,
    -- The snapshot; without a form there is none.
    state TEXT,
    form TEXT,
    batches INTEGER NOT NULL DEFAULT 0,
    rows INTEGER NOT NULL DEFAULT 0,
    batch_size INTEGER,
    -- The lease. The token grows with each run; expires is in seconds since 1970.
    token INTEGER NOT NULL DEFAULT 0,
    holder TEXT,
    expires REAL NOT NULL DEFAULT 0,
    -- What people see, and what they wish.
    progress TEXT,
    wishes TEXT,
    finished TEXT
) WITHOUT ROWID
""",
    """
CREATE TABLE backfill_endings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    run_id TEXT NOT NULL,
    handed_over INTEGER NOT NULL,
    result TEXT NOT NULL
)
""",
    "CREATE INDEX backfill_endings_of_a_name ON backfill_endings (name, id)",
    f"PRAGMA user_version = {VERSION}",
)

_REMEDIES = {
    sqlite3.SQLITE_BUSY: (
        f"another process has kept it locked for {BUSY:g} s; end that transaction, or "
        "give the store a file of its own"
    ),
    sqlite3.SQLITE_FULL: "the disk is full; make room, and run it again to resume",
    sqlite3.SQLITE_NOTADB: (
        "it is not a SQLite database; give the store another path, or put the right "
        "file back"
    ),
    sqlite3.SQLITE_CORRUPT: (
        "the file is damaged; restore it from a backup, or, to start every backfill in "
        "it over, delete it"
    ),
    sqlite3.SQLITE_READONLY: "it may not be written; see to its permissions",
    sqlite3.SQLITE_PERM: "it may not be opened; see to its permissions",
    sqlite3.SQLITE_IOERR: (
        "the disk cannot be read or written; see to it, and run it again to resume"
    ),
}


def connected(path: Path) -> sqlite3.Connection:
    """Return a connection to the database at *path*, which is made if need be.

    Raises:
        sqlite3.Error: It cannot be opened.
        CheckpointError: It is another program's, or a newer version's.
    """
    connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None)
    with ExitStack() as undo:
        undo.callback(connection.close)
        with connection:
            # One look, so that a file which is being made is seen before or after.
            connection.execute("BEGIN")
            ours = _is_ours(connection, path)
        if not ours:
            _make(connection, path)
        _be_durable(connection)
        undo.pop_all()
    return connection


def explained(error: sqlite3.Error, path: Path) -> CheckpointError:
    """Return *error* as one that says what to do, caused by it."""
    # The low byte tells the kind, the others tell more of it.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_CANTOPEN:
        remedy = _why_not_opened(path)
    else:
        remedy = _REMEDIES.get(code, "see to the file, and run it again to resume")
    explanation = CheckpointError(
        f"The checkpoints in {path} cannot be used: {remedy}. What was saved before is "
        f"not touched. (SQLite says: {error})"
    )
    explanation.__cause__ = error
    return explanation


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the schema is there; False where there is nothing at all yet."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    names = {name for (name,) in tables}
    if "backfill_names" not in names:
        if names or version:
            msg = (
                f"The file {path} is the database of another program. Give the store a "
                "file of its own."
            )
            raise CheckpointError(msg)
        return False
    if version != VERSION:
        msg = (
            f"The checkpoints in {path} are in version {version} of the schema, and "
            f"this version of adaptive_backfill knows {VERSION}. Upgrade it to the one "
            "that wrote them."
        )
        raise CheckpointError(msg)
    return True


def _make(connection: sqlite3.Connection, path: Path) -> None:
    _use_wal(connection)
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        # Another process may have been at it, too.
        if not _is_ours(connection, path):
            for statement in SCHEMA:
                connection.execute(statement)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Let readers and the writer go side by side; the file remembers it."""
    deadline = time.monotonic() + BUSY
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # Of two processes that switch at once, one is refused without a wait.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _be_durable(connection: sqlite3.Connection) -> None:
    """Lose nothing to a crash of the process, and break nothing by a power failure.

    In WAL, `NORMAL` may lose the last saves to a power failure, and so repeat their
    batches; without WAL, which some network file systems do not have, it could break
    the file.
    """
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    level = "NORMAL" if mode == "wal" else "FULL"
    connection.execute(f"PRAGMA synchronous = {level}")


def _why_not_opened(path: Path) -> str:
    # Of `os.path`, because those of `Path` raise what `stat` does, as for a long name.
    if not os.path.isdir(path.parent):
        return f"there is no directory {path.parent}; make it"
    if os.path.isdir(path):
        return "that is a directory; name a file in it"
    return "the file cannot be opened or made; see to its permissions"
