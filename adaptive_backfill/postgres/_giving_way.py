"""What becomes of a hand-written batch that gave way: it is tried again, with half.

Rule: that somebody had to wait is nobody's failure. So it is not counted by the user's
`retry`, which is about errors; only ten in a row say that there is no getting through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from typing_extensions import override

from adaptive_backfill._core.retry import Retry
from adaptive_backfill.postgres._failing import IN_A_ROW
from adaptive_backfill.postgres._faults import GaveWay
from adaptive_backfill.postgres._shrinking import Shrinking

__all__ = ["GivingWay", "Yielding"]


class GivingWay:
    """Hears which attempts of a run gave way, and lets the batches be smaller then.

    Args:
        declared: Rows a batch, as the run has it; `None` where it has no such size.
        resize: Is told the size that the next batch has instead.

    Attributes:
        times: Attempts at the batch under way that gave way, in all.
        just_now: Whether the last attempt did.
    """

    def __init__(self, declared: int | None, resize: Callable[[int], None]) -> None:
        self.times = 0
        self.just_now = False
        self._declared = declared
        self._resize = resize
        self._shrinking = Shrinking()
        self._size = self.size()

    def size(self) -> int | None:
        """Return the rows that the next batch may have."""
        return None if self._declared is None else self._shrinking.of(self._declared)

    @property
    def taken(self) -> int | None:
        """How many rows the last batch was for."""
        return self._size

    def retuned(self, declared: int | None) -> None:
        """Hear of another declared size, which is in force by now."""
        self._declared = self._size = declared
        self._fit()

    def failed(self, error: BaseException, *, tried: bool, lost: bool) -> None:
        """Hear what ended an attempt; *tried* and *lost* are for others to know."""
        self.just_now = isinstance(error, GaveWay)
        if not self.just_now:
            return
        self.times += 1
        self._shrinking.too_much()
        self._fit()
        structlog.get_logger("adaptive_backfill").warning(
            "batch gave way", reason=str(error), batch_size=self._size
        )

    def done(self) -> None:
        """Hear that a batch was committed."""
        self.times = 0
        self.just_now = False
        self._shrinking.done()
        self._fit()

    def _fit(self) -> None:
        size = self.size()
        if size is not None and size != self._size:
            self._size = size
            self._resize(size)


@dataclass(frozen=True, slots=True)
class Yielding(Retry):
    """The user's `Retry`, by which attempts that gave way are not counted."""

    giving_way: GivingWay | None = None

    @override
    def covers(self, error: BaseException, attempt: int) -> bool:
        """Whether to try again after *error*, of which `giving_way` has heard."""
        if isinstance(error, GaveWay):
            return self._times < IN_A_ROW
        # Named, because `slots` makes another class of this one.
        return Retry.covers(self, error, attempt - self._times)

    @override
    def wait(self, attempt: int, chance: float) -> float:
        """Return the seconds to wait, by how often what has just happened did."""
        yielded = self.giving_way is not None and self.giving_way.just_now
        counted = self._times if yielded else attempt - self._times
        return Retry.wait(self, max(1, counted), chance)

    @property
    def _times(self) -> int:
        return 0 if self.giving_way is None else self.giving_way.times
