"""Bases in a module of their own, whose names mean nothing in another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from adaptive_backfill import Backfill

K = TypeVar("K")
V = TypeVar("V")


class ByName(Backfill["Cursor"]):
    """Its state's type is defined further down, and in this module only."""


class ByNameInside(Backfill[dict[str, "Cursor"]]):
    """A name inside of another type."""


class Pairs(Backfill[tuple[K, V]], Generic[V, K]):
    """Its variables stand in another order than in the type."""


class Cursors(Pairs[str, "Cursor"]):
    """Fills one in by name."""


@dataclass
class Cursor:
    """A state."""

    at: int
