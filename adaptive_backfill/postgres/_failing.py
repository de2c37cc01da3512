"""What a walk does about its failing batches: wait, take less, set a row aside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from typing_extensions import override

from adaptive_backfill._core.retry import Retry
from adaptive_backfill.errors import BackfillError, BatchTimeout
from adaptive_backfill.postgres._faults import GaveWay, Kind, kind_of
from adaptive_backfill.postgres._shrinking import Shrinking

__all__ = ["Failing", "Patience"]

IN_A_ROW = 10
"""Rows that fail one right after the other before it is no single row's fault; and
times that a batch gives way before there is no getting through."""


class Failing:
    """One run's failures since the last batch that was done.

    Attributes:
        aside: Why the row that failed by itself is to be set aside, where one did.
        attempts: How often that row was tried by itself.
    """

    def __init__(
        self,
        retry: Retry,
        patience: float | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.aside: BaseException | None = None
        self.attempts = 0
        self._retry = retry
        self._patience = patience
        self._now = now
        self._shrinking = Shrinking()
        self._upper: object = None
        self._tries = self._gave_way = 0
        self._rows_in_a_row = 0
        self._away = 0
        self._away_since: float | None = None
        self._goes_on = False
        self._rests = True

    def size(self, declared: int) -> int:
        """Return how many keys the next batch may take."""
        return 1 if self.aside is not None else self._shrinking.of(declared)

    @property
    def taken(self) -> int:
        """How many keys the last batch was for."""
        return 1 if self.aside is not None else self._shrinking.size

    def sets_aside(self, upper: tuple[object, ...]) -> bool:
        """Whether the batch up to the key *upper* is to set that row aside, no more.

        Another key may be the next by now: the row that failed was deleted, or one
        came in front of it. That one is tried as any other.
        """
        if not _is_same(upper, self._upper):
            self._upper, self.aside, self.attempts = upper, None, 0
        return self.aside is not None

    def failed(self, error: BaseException, *, tried: bool, lost: bool) -> None:
        """Hear what ended an attempt.

        Args:
            error: What it was.
            tried: Whether the batch was begun at all.
            lost: Whether its connection went with it, or never came.
        """
        kind = kind_of(error, lost=lost)
        if not tried and kind is not Kind.LASTING:
            self._wait_for_the_server()
            return
        self._away_since = None
        self._rests = True
        if self._shrinking.size == 1 and self.aside is None:
            self.attempts += 1
        if kind is Kind.TOO_MUCH or (kind is Kind.PASSING and lost):
            self._take_less(error)
        if kind in (Kind.TOO_MUCH, Kind.PASSING):
            self._again(error)
        elif not (self._is_worth_it(error) and self._again(error)):
            self._goes_on = kind is Kind.ROW and self._narrow_down(error)

    def done(self) -> None:
        """Hear that a batch was committed."""
        if self.aside is not None:
            self.aside = None
        else:
            self._rows_in_a_row = 0
            self._shrinking.done()
        self.attempts = self._tries = self._gave_way = 0
        self._away_since = None

    def goes_on(self) -> bool:
        """Whether there is to be another attempt."""
        return self._goes_on

    def wait(self, chance: float) -> float:
        """Return the seconds to wait before it."""
        if self._away_since is not None:
            return self._retry.wait(self._away, chance)
        return self._retry.wait(max(1, self._tries), chance) if self._rests else 0.0

    def _wait_for_the_server(self) -> None:
        """Nothing was tried, so nothing is counted; only *patience* runs out."""
        if self._away_since is None:
            self._away_since, self._away = self._now(), 0
        self._away += 1
        waited = self._now() - self._away_since
        self._goes_on = self._patience is None or waited < self._patience

    def _again(self, error: BaseException) -> bool:
        if isinstance(error, GaveWay):
            # Nobody's failure, and so not for the user's `retry` to count.
            self._gave_way += 1
            self._goes_on = self._gave_way < IN_A_ROW
        else:
            self._tries += 1
            self._goes_on = self._tries < self._retry.attempts
        return self._goes_on

    def _take_less(self, error: BaseException) -> None:
        before = self._shrinking.size
        self._shrinking.too_much()
        if before > 1:
            self._log("batch shrunk", error, keys=max(1, before // 2))

    def _narrow_down(self, error: BaseException) -> bool:
        """Look for the bad row; return whether that makes sense."""
        if self.aside is not None:
            return False
        self._rests = False
        # What comes next is another batch, with tries of its own.
        self._tries = 0
        if not self._shrinking.bad_row():
            return True
        self._rows_in_a_row += 1
        if self._rows_in_a_row >= IN_A_ROW:
            self._log("one row after the other fails", error, rows=self._rows_in_a_row)
            return False
        self.aside = error
        return True

    def _is_worth_it(self, error: BaseException) -> bool:
        """Whether the same batch may be tried again, because the user says so."""
        # A half on the way to the bad row is tried once: the whole did not come
        # through however often, and the row itself is tried as often again.
        on_the_way = self._shrinking.seeks and self._shrinking.size > 1
        # Ours say that the run is over: `LeaseLost`, `InvalidAnswer` and such.
        ours = isinstance(error, BackfillError)
        return isinstance(error, self._retry.on) and not (ours or on_the_way)

    def _log(self, event: str, error: BaseException, **about: object) -> None:
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, asyncio.CancelledError):
            reason = "the batch took longer than its timeout"
        structlog.get_logger("adaptive_backfill").warning(event, reason=reason, **about)


def _is_same(key: tuple[object, ...], other: object) -> bool:
    # NaN is not equal to itself. The texts are compared only where they must be.
    return key == other or (
        any(value != value for value in key) and repr(key) == repr(other)
    )


@dataclass(frozen=True, slots=True)
class Patience(Retry):
    """A `Retry` for batches that may be made smaller.

    *attempts* are the tries of one batch, with whatever error. After the last the run
    fails; or a bad row is looked for, where that was an error of *on* that a row may
    be to blame for. A row that is found so has as many tries by itself.
    """

    failing: Failing | None = None

    @override
    def covers(self, error: BaseException, attempt: int) -> bool:
        """Whether to try again after *error*, of which `failing` has heard."""
        if self.failing is None or not isinstance(error, Exception):
            return False
        ours = isinstance(error, BackfillError)
        heard = not ours or isinstance(error, BatchTimeout | GaveWay)
        return heard and self.failing.goes_on()

    @override
    def wait(self, attempt: int, chance: float) -> float:
        """Return the seconds to wait, by what `failing` has heard."""
        return 0.0 if self.failing is None else self.failing.wait(chance)
