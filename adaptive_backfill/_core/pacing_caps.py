"""Caps: so many of something a second, and no more.

A batch is done in one go, so what it was too much for its time is waited out after it:
seen from the begin of any batch to the begin of any later one, the rate is under the
cap. What a slow batch left unused is not saved up, or a burst would follow.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["NOTHING_SPENT", "Spent", "spent", "wait_until_free"]


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
    return Spent(max(before.free_at, began) + max(0.0, amount) / limit)


def wait_until_free(before: Spent, now: float) -> float:
    """Return the seconds from *now* until the next batch may begin; 0 if it may."""
    return max(0.0, before.free_at - now)
