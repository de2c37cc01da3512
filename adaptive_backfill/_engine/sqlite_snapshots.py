"""Snapshots in the tables of a `SqliteStore`; each function is one transaction."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from adaptive_backfill._core.codec import Encoded, decode
from adaptive_backfill._core.snapshot import Snapshot

__all__ = ["CLEARED", "Kept", "delete", "kept", "load", "save", "snapshot"]

CLEARED = "state = NULL, form = NULL, batches = 0, rows = 0, batch_size = NULL"
"""Assignments that leave a name without a snapshot."""


class Kept(NamedTuple):
    """A snapshot as it is kept, column by column."""

    state: str
    form: str
    batches: int
    rows: int
    batch_size: int | None


def kept(snapshot: Snapshot, encoded: Encoded) -> Kept:
    """Return *snapshot* with its state *encoded*, as it is kept."""
    return Kept(*encoded, snapshot.batches, snapshot.rows, snapshot.batch_size)


def snapshot(kept: Kept, state_type: object) -> Snapshot:
    """Return the snapshot that is *kept*.

    Raises:
        CheckpointError: Its state does not fit *state_type*, or cannot be read.
    """
    state = decode(Encoded(kept.state, kept.form), state_type)
    return Snapshot(state, kept.batches, kept.rows, kept.batch_size)


def load(db: sqlite3.Connection, name: str) -> Kept | None:
    """Return what is kept of *name*, or `None`."""
    row = db.execute(
        "SELECT state, form, batches, rows, batch_size FROM backfill_names"
        " WHERE name = ? AND form IS NOT NULL",
        (name,),
    ).fetchone()
    return None if row is None else Kept._make(row)


def save(db: sqlite3.Connection, name: str, kept: Kept) -> None:
    """Replace the snapshot of *name*, whoever holds it."""
    db.execute(
        "INSERT INTO backfill_names (name, state, form, batches, rows, batch_size)"
        " VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET state = excluded.state,"
        " form = excluded.form, batches = excluded.batches, rows = excluded.rows,"
        " batch_size = excluded.batch_size",
        (name, *kept),
    )


def delete(db: sqlite3.Connection, name: str) -> None:
    """Forget the snapshot of *name*."""
    db.execute(f"UPDATE backfill_names SET {CLEARED} WHERE name = ?", (name,))
