"""The canary: the first rows of a backfill, which somebody looks at.

A run that waits for that is paused by a sentence of its own, which a store may keep as
it keeps any pause: so that `resume`, from wherever, is the approval.
"""

from __future__ import annotations

from typing import TypeAlias

from adaptive_backfill._core.answers import OK, Halt
from adaptive_backfill._core.run import RunState

__all__ = ["ANSWERS", "Look", "has_sung", "judged", "refusal", "unheard", "waits_for"]

ANSWERS = ("True or OK (go on)", "None (wait for resume)", "False", "Halt(reason)")
"""What `on_canary` may answer, as an error names it."""

Look: TypeAlias = bool | Halt | None
"""What it comes to: go on, halt, or wait."""


def waits_for(rows: int) -> str:
    """Return what a run waits for after a canary of *rows*."""
    return f"canary of {rows} rows done: look at it, then resume"


def refusal(rows: int) -> Halt:
    """Return what a `False` of `on_canary` means after *rows*."""
    return Halt(f"canary of {rows} rows was refused")


def unheard(rows: int) -> Halt:
    """Return why a run that nobody has approved of, nor could, ends after *rows*."""
    return Halt(
        f"canary of {rows} rows done, nobody has approved of it, and nobody could "
        "resume this run: have on_canary answer True, keep a checkpoint in a store "
        "that carries wishes, such as SqliteStore, or begin it by start()"
    )


def has_sung(run: RunState, rows: int, size: int | None, *, counted: bool) -> bool:
    """Whether *run* has done the first *rows* of the backfill.

    Args:
        run: Where it stands.
        rows: How many there are to do.
        size: The size of a batch.
        counted: Whether a batch has said how many rows it did; else each counts as
            its size, or as one where there is none.
    """
    if counted or run.rows:
        return run.rows >= rows
    return run.batches * (size or 1) >= rows


def judged(answer: object, rows: int) -> Look:
    """Return what *answer* of `on_canary` means.

    Raises:
        ValueError: It is none.
    """
    if answer is None:
        return None
    if answer is True or answer is OK:
        return True
    if answer is False:
        return refusal(rows)
    if isinstance(answer, Halt):
        return answer
    msg = "no answer of on_canary"
    raise ValueError(msg)
