"""What a run keeps to, whatever its pace: so much a second, and its hours."""

from __future__ import annotations

import math
from collections.abc import Container
from datetime import UTC

from structlog.typing import FilteringBoundLogger

from adaptive_backfill._core.answers import Pause
from adaptive_backfill._core.health import Reason
from adaptive_backfill._core.options import RunOptions
from adaptive_backfill._core.pacing_caps import NOTHING_SPENT, spent, wait_until_free
from adaptive_backfill._core.run import WINDOW, Rest
from adaptive_backfill._core.windows import next_opening, window_of, windows_text
from adaptive_backfill._engine.outside import ask
from adaptive_backfill._ports import Clock, Work

__all__ = ["Caps"]

SECONDS_OPEN = 1.0
"""Between two looks at the time of day inside of a window."""

SECONDS_CLOSED = 60.0
"""Between two looks outside of it: somebody may set that clock."""


class Caps:
    """The caps and windows of one run.

    Args:
        options: The run's.
        work: Tells of WAL.
        log: The run's.
        clock: Time.
    """

    def __init__(
        self,
        options: RunOptions,
        work: Work,
        *,
        log: FilteringBoundLogger,
        clock: Clock,
    ) -> None:
        self._options = options
        self._tell_wal = work.wal
        self._log = log
        self._clock = clock
        self._rows = self._wal = NOTHING_SPENT
        self._wal_before: int | None = 0
        self._is_wal_known = self._are_rows_known = True
        self._open_until = -math.inf

    @property
    def are_there(self) -> bool:
        """Whether there is anything to keep to."""
        options = self._options
        limits = (
            options.max_rows_per_second,
            options.max_wal_per_second,
            options.windows,
        )
        return limits != (None, None, None)

    def retuned(self, options: RunOptions, changes: Container[str]) -> None:
        """Keep to *options*, of which *changes* are new."""
        self._options = options
        self._open_until = -math.inf
        if "max_rows_per_second" in changes:
            self._rows = NOTHING_SPENT
        if "max_wal_per_second" in changes:
            self._wal, self._wal_before = NOTHING_SPENT, None

    async def did(self, began: float, rows: int | None) -> None:
        """Count a batch of *rows* that *began* then; `None`: nobody knows how many."""
        options = self._options
        if options.max_rows_per_second is not None:
            counted = self._counted(rows)
            self._rows = spent(self._rows, counted, options.max_rows_per_second, began)
        if options.max_wal_per_second is not None:
            wal = await self._wal_since()
            self._wal = spent(self._wal, wal, options.max_wal_per_second, began)

    def until_free(self) -> float:
        """Return the seconds until another batch may begin."""
        now = self._clock.monotonic()
        return max(wait_until_free(self._rows, now), wait_until_free(self._wal, now))

    def outside(self) -> Rest | None:
        """Return the rest of a run outside of its windows; `None` inside."""
        now = self._clock.monotonic()
        if self._options.windows is None or now < self._open_until:
            return None
        windows = [window_of(text) for text in self._options.windows]
        wall = self._clock.wall()
        until = next_opening(windows, wall)
        if until is None:
            self._open_until = now + SECONDS_OPEN
            return None
        left = (until.astimezone(UTC) - wall.astimezone(UTC)).total_seconds()
        pause = Pause(windows_text(windows, until))
        why = (Reason(None, pause, pause.reason),)
        return Rest(min(left, SECONDS_CLOSED), why, WINDOW)

    def _counted(self, rows: int | None) -> int:
        if rows is None and self._are_rows_known:
            self._log.warning(
                "rows are not known: max_rows_per_second is not kept to; answer "
                "Next(state, rows=...), or say batch_size"
            )
        self._are_rows_known = rows is not None
        return rows or 0

    async def _wal_since(self) -> int:
        """Return the bytes of WAL since this was asked last; 0 where nobody knows."""
        if self._tell_wal is None:
            return 0
        given = await ask(self._tell_wal)
        if not isinstance(given.value, int):
            if self._is_wal_known:
                self._log.warning(
                    "WAL is not known: max_wal_per_second is not kept to",
                    gave=repr(given.error or given.value),
                )
            self._is_wal_known = False
            return 0
        self._is_wal_known = True
        before, self._wal_before = self._wal_before, given.value
        return 0 if before is None else given.value - before
