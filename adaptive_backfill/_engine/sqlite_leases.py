"""Leases in the tables of a `SqliteStore`; each function is one transaction.

Rule: whoever writes for a run proves by the token that it still holds the name. The
token grows with each run, so that one which was thought dead, and wakes, writes
nothing. Times are seconds since 1970.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from adaptive_backfill._core.records import wishes_from, wishes_text
from adaptive_backfill._core.snapshot import Wishes
from adaptive_backfill._engine.memory_store import HISTORY
from adaptive_backfill._engine.sqlite_snapshots import CLEARED, Kept
from adaptive_backfill.errors import LeaseLost

__all__ = [
    "Ending",
    "Grip",
    "Holder",
    "acquire",
    "beat",
    "discard",
    "finished",
    "release",
    "save",
    "withdraw",
]

_NEW = (0, None, 0.0, 0, 0, None, None)
_HELD = "WHERE name = ? AND token = ? AND holder IS NOT NULL"


class Grip(NamedTuple):
    """What proves that a run holds a name."""

    name: str
    token: int


class Holder(NamedTuple):
    """The run that holds a name, and what is known of it."""

    run_id: str
    batches: int
    rows: int
    progress: str | None


class Ending(NamedTuple):
    """What a run leaves behind.

    Attributes:
        run_id: That run.
        result: Its result as text; `None` where it was cancelled.
        done: Whether the name is finished by it.
        handed_over: Whether whoever stands by is to take over.
        progress: What to show of it from now on; `None` leaves what is shown.
    """

    run_id: str
    result: str | None
    done: bool
    handed_over: bool
    progress: str | None


def acquire(
    db: sqlite3.Connection, name: str, run_id: str, now: float, lease: float
) -> Grip | Holder:
    """Take *name*, or say who has it."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        row = db.execute(
            "SELECT token, holder, expires, batches, rows, progress, wishes"
            " FROM backfill_names WHERE name = ?",
            (name,),
        ).fetchone()
        token, holder, expires, batches, rows, progress, wishes = row or _NEW
        if holder is not None and expires > now:
            return Holder(holder, batches, rows, progress)
        left = Wishes(paused=wishes_from(wishes).paused)
        db.execute(
            "INSERT INTO backfill_names (name, token, holder, expires, wishes)"
            " VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET token = excluded.token,"
            " holder = excluded.holder, expires = excluded.expires,"
            " wishes = excluded.wishes",
            (name, token + 1, run_id, now + lease, wishes_text(left)),
        )
        return Grip(name, token + 1)


def withdraw(db: sqlite3.Connection, name: str, run_id: str) -> None:
    """Give *name* free, if *run_id* took it."""
    db.execute(
        "UPDATE backfill_names SET holder = NULL WHERE name = ? AND holder = ?",
        (name, run_id),
    )


def save(db: sqlite3.Connection, grip: Grip, kept: Kept, expires: float) -> None:
    """Replace the snapshot and renew the lease, in the one statement of a batch."""
    written = db.execute(
        "UPDATE backfill_names SET state = ?, form = ?, batches = ?, rows = ?,"
        f" batch_size = ?, expires = ? {_HELD}",
        (*kept, expires, *grip),
    )
    if written.rowcount == 0:
        raise LeaseLost(grip.name)


def beat(
    db: sqlite3.Connection, grip: Grip, progress: str, expires: float
) -> str | None:
    """Renew the lease, show *progress*, and return the wishes."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        written = db.execute(
            f"UPDATE backfill_names SET progress = ?, expires = ? {_HELD}",
            (progress, expires, *grip),
        )
        if written.rowcount == 0:
            raise LeaseLost(grip.name)
        (wishes,) = db.execute(
            "SELECT wishes FROM backfill_names WHERE name = ?", (grip.name,)
        ).fetchone()
    return None if wishes is None else str(wishes)


def finished(db: sqlite3.Connection, name: str) -> str | None:
    """Return the result that finished *name*, if it is remembered as finished."""
    row = db.execute(
        "SELECT finished FROM backfill_names WHERE name = ?", (name,)
    ).fetchone()
    return None if row is None or row[0] is None else str(row[0])


def discard(db: sqlite3.Connection, grip: Grip) -> None:
    """Forget the snapshot, and that the name was ever finished."""
    written = db.execute(
        f"UPDATE backfill_names SET {CLEARED}, finished = NULL {_HELD}", grip
    )
    if written.rowcount == 0:
        raise LeaseLost(grip.name)


def release(db: sqlite3.Connection, grip: Grip, ending: Ending) -> None:
    """Give the name free, and remember *ending*; nothing where the lease is lost."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        freed = db.execute(
            "UPDATE backfill_names SET holder = NULL,"
            f" progress = coalesce(?, progress) {_HELD}",
            (ending.progress, *grip),
        )
        if freed.rowcount == 0 or ending.result is None:
            return
        _remember(db, grip.name, ending)
        if ending.done:
            db.execute(
                f"UPDATE backfill_names SET {CLEARED}, finished = ? WHERE name = ?",
                (ending.result, grip.name),
            )


def _remember(db: sqlite3.Connection, name: str, ending: Ending) -> None:
    db.execute(
        "INSERT INTO backfill_endings (name, run_id, handed_over, result)"
        " VALUES (?, ?, ?, ?)",
        (name, ending.run_id, ending.handed_over, ending.result),
    )
    db.execute(
        "DELETE FROM backfill_endings WHERE name = :name AND id <= (SELECT id FROM"
        " backfill_endings WHERE name = :name ORDER BY id DESC LIMIT 1 OFFSET :kept)",
        {"name": name, "kept": HISTORY},
    )
