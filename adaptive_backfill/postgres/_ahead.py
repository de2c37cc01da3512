"""Where the next batches end, looked up several at a time.

Rule: what is kept here is a hint. A batch may end at any key behind the one before
it, so keys that came or went meanwhile change its size, and nothing else. But it must
not go past the end of its own walk, behind which another share begins: so what is known
of a walk is for the walk that ends there, and for no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

__all__ = ["KnownEnds", "batches_ahead"]

_BATCHES = 30
_KEYS = 10_000
_FEWEST = 4
"""To ask for several takes two statements more than to ask for one."""
_SECONDS = 1.0
"""How long an end is used: in a pause many rows may come in front of it."""

_Key = tuple[Any, ...]


def batches_ahead(size: int) -> int:
    """Return of how many batches of *size* to look up the ends at once."""
    batches = min(_BATCHES, _KEYS // size)
    return batches if batches >= _FEWEST else 1


class KnownEnds:
    """The ends of batches to come, by where they begin, their size and their walk."""

    def __init__(self) -> None:
        self._ends: dict[tuple[_Key | None, _Key | None, int], _Key] = {}
        self._until = 0.0

    def take(
        self, last: _Key | None, until: _Key | None, size: int, now: float
    ) -> _Key | None:
        """Return where the batch of *size* behind *last* ends, if it is known.

        Args:
            last: The key before the batch; `None` before the first of all.
            until: The last key of the walk, or of the share.
            size: The keys of the batch.
            now: Seconds from any start, the same at each call.
        """
        if now > self._until:
            self._ends.clear()
        return self._ends.pop((last, until, size), None)

    def keep(
        self, ends: Sequence[_Key], until: _Key | None, size: int, now: float
    ) -> None:
        """Keep *ends* in the order of the walk: the next begins where one ends."""
        if not self._ends:
            self._until = now + _SECONDS
        for begin, end in pairwise(ends):
            self._ends[begin, until, size] = end
