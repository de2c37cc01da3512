"""Caps: so many of something a second, and no more.

A batch is done in one go, so what it was too much for its time is waited out after it:
from the begin of any batch to the begin of any later one, there is no more than the cap
allows for that time and a `BURST`. What a slow batch left unused is not saved up
beyond that.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BURST", "NOTHING_SPENT", "Spent", "spent", "wait_until_free"]


BURST = 0.1
"""Seconds whose worth may be caught up with: who sleeps wakes up late, by a millisecond
or more, and would always be under the cap by that."""


class Spent(NamedTuple):
    """What a cap has let through.

    Attributes:
        free_at: When the next batch may begin, on a clock of seconds.
    """

    free_at: float = 0.0


NOTHING_SPENT = Spent()


def spent(before: Spent, amount: float, limit: float, began: float) -> Spent:
    """Return what is spent after a batch.

    Args:
        before: What was spent by then.
        amount: What the batch did: rows, or bytes.
        limit: The cap, above 0, in that unit a second.
        began: When the batch began.
    """
    return Spent(max(before.free_at, began - BURST) + max(0.0, amount) / limit)


def wait_until_free(before: Spent, now: float) -> float:
    """Return the seconds from *now* until the next batch may begin; 0 if it may."""
    return max(0.0, before.free_at - now)
