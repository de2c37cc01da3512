"""What the pacer remembers of levels that did no good.

Rule: a memory only keeps the pace from growing; it never lowers it. Its time doubles
each time that the same thing is found bad again, so that a standing limit is tested
ever more seldom.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

__all__ = ["FIRST_BAN", "LONGEST_BAN", "NOT_BANNED", "Ban", "aged", "banned"]

FIRST_BAN = 60.0
"""Seconds that a level which did no good is left alone, the first time."""

LONGEST_BAN = 600.0
"""Seconds at most: a database whose night is quiet must be found out within it."""


class Ban(NamedTuple):
    """A level that is not gone above for a time.

    Attributes:
        ceiling: Workers at most, while *left* is above 0.
        left: Seconds that it still holds; below 0, how long it has been over.
        lasts: Seconds that it was made for.
    """

    ceiling: float = inf
    left: float = 0.0
    lasts: float = 0.0

    @property
    def limit(self) -> float:
        """Workers at most now."""
        return self.ceiling if self.left > 0 else inf


NOT_BANNED = Ban()


def banned(ban: Ban, ceiling: float) -> Ban:
    """Return *ban* made anew: for twice as long where it is remembered still."""
    lasts = min(max(FIRST_BAN, 2 * ban.lasts), LONGEST_BAN)
    return Ban(ceiling, lasts, lasts)


def aged(ban: Ban, seconds: float) -> Ban:
    """Return *ban* after *seconds*. Over for as long as it held, it is forgotten."""
    left = ban.left - seconds
    return NOT_BANNED if left <= -ban.lasts else ban._replace(left=left)
