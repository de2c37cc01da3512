"""One run's times and its rate."""

from __future__ import annotations

from adaptive_backfill._core.estimate import Sample, rate_of, windowed
from adaptive_backfill._ports import Clock

__all__ = ["Meter"]


class Meter:
    """Knows since when a run runs, how long it was paused, how fast it goes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self._paused = 0.0
        self._paused_since: float | None = None
        self._samples: tuple[Sample, ...] = ()
        self._due = 0.0
        self._rows = 0

    @property
    def is_paused(self) -> bool:
        """Whether the run is paused now."""
        return self._paused_since is not None

    def pause(self) -> None:
        """Begin a pause."""
        self._paused_since = self._clock.monotonic()

    def resume(self) -> float:
        """End the pause; return its length in seconds."""
        if self._paused_since is None:
            return 0.0
        length = self._clock.monotonic() - self._paused_since
        self._paused += length
        self._paused_since = None
        return length

    def duration(self) -> float:
        """Return seconds since the run began."""
        return self._clock.monotonic() - self._began

    def paused(self) -> float:
        """Return seconds that the run was paused, this pause included."""
        if self._paused_since is None:
            return self._paused
        return self._paused + self._clock.monotonic() - self._paused_since

    def begin(self, rows: int) -> None:
        """Take *rows*, done by earlier runs, as where the rate starts."""
        self._rows = rows
        self._samples = ((self._running(), rows),)

    def count(self, rows: int) -> None:
        """Take note of *rows* done in all by now."""
        self._rows = rows
        now = self._clock.monotonic()
        # A sample a second is enough for a minute's rate, and a batch may take
        # microseconds.
        if now >= self._due:
            self._due = now + 1.0
            self._samples = windowed(self._samples, (self._running(), rows))

    def rate(self) -> float | None:
        """Return rows a second over the last minute of running time."""
        return rate_of(windowed(self._samples, (self._running(), self._rows)))

    def _running(self) -> float:
        return self.duration() - self.paused()
