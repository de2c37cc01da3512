"""What counts as a number, a count, a name: the rules that options share.

They take any `object`, because what users write is not always what they annotate;
and they refuse `bool`, which Python takes for an int.
"""

from __future__ import annotations

import sys

__all__ = ["is_count", "is_error_types", "is_name", "is_number"]


def is_number(value: object, *, above_zero: bool = False) -> bool:
    """Whether *value* is a finite number of 0 or more, or above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # An int may be greater than any float, and is no time or weight then.
    if not abs(value) <= sys.float_info.max:
        return False
    return value > 0 if above_zero else value >= 0


def is_count(value: object, *, least: int = 1) -> bool:
    """Whether *value* is an int of at least *least*."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_name(value: object) -> bool:
    """Whether *value* is a str with something in it."""
    return isinstance(value, str) and bool(value.strip())


def is_error_types(value: object) -> bool:
    """Whether *value* is a tuple of `Exception` classes."""
    return isinstance(value, tuple) and all(
        isinstance(kind, type) and issubclass(kind, Exception) for kind in value
    )
