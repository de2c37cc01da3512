"""Values as errors and people's eyes see them: short, and never an error themselves."""

from __future__ import annotations

import reprlib

from adaptive_backfill._core.codec.names import type_name

__all__ = ["described", "short"]


def short(value: object, longest: int = 80) -> str:
    """Return the `repr` of *value*, shortened where it is long."""
    shortened = reprlib.Repr()
    shortened.maxstring = shortened.maxother = longest
    try:
        return shortened.repr(value)
    except ValueError:
        # An int of more digits than Python is willing to write.
        return f"a very large {type(value).__name__}"


def described(value: object) -> str:
    """Return *value* and its type, in short."""
    return f"{short(value)} ({type_name(type(value))})"
