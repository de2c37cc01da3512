"""What people see and wish through a `SqliteStore`; each function is one transaction.

Results and progress are handed on as text, to be read where their time does not hold
up those who write.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from adaptive_backfill._core.records import wishes_from, wishes_text
from adaptive_backfill._engine.memory_store import HISTORY
from adaptive_backfill._engine.wishes import needs_a_run, wished
from adaptive_backfill._ports import Wish
from adaptive_backfill.errors import NotRunning

__all__ = ["Seen", "ending", "history", "leave", "look"]


class Seen(NamedTuple):
    """A name as it is seen from outside.

    Attributes:
        progress: What its last run showed, as text.
        holder: The run that holds it now, if its lease has not run out.
    """

    progress: str
    holder: str | None


def look(db: sqlite3.Connection, name: str | None, now: float) -> list[Seen]:
    """Return what is known of *name*, or of every name, by name."""
    rows = db.execute(
        "SELECT progress, CASE WHEN expires > :now THEN holder END FROM backfill_names"
        " WHERE progress IS NOT NULL AND (:name IS NULL OR name = :name)"
        " ORDER BY name",
        {"now": now, "name": name},
    )
    return [Seen._make(row) for row in rows]


def leave(db: sqlite3.Connection, name: str, wish: Wish, now: float) -> None:
    """Add *wish* to those of *name*."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        row = db.execute(
            "SELECT holder IS NOT NULL AND expires > ?, wishes FROM backfill_names"
            " WHERE name = ?",
            (now, name),
        ).fetchone()
        running, wishes = row or (False, None)
        if needs_a_run(wish) and not running:
            raise NotRunning(name, wish.kind)
        db.execute(
            "INSERT INTO backfill_names (name, wishes) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET wishes = excluded.wishes",
            (name, wishes_text(wished(wishes_from(wishes), wish))),
        )


def ending(db: sqlite3.Connection, name: str, run_id: str) -> str | None:
    """Return the result of *run_id*, if it ended by itself."""
    row = db.execute(
        "SELECT result FROM backfill_endings"
        " WHERE name = ? AND run_id = ? AND NOT handed_over ORDER BY id DESC LIMIT 1",
        (name, run_id),
    ).fetchone()
    return None if row is None else str(row[0])


def history(db: sqlite3.Connection, name: str) -> list[str]:
    """Return the results of *name*, newest first."""
    rows = db.execute(
        "SELECT result FROM backfill_endings WHERE name = ? ORDER BY id DESC LIMIT ?",
        (name, HISTORY),
    )
    return [result for (result,) in rows]
