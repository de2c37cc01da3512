"""Where the time of a run goes, however many batches are under way at once."""

from __future__ import annotations

__all__ = ["Times"]


class Times:
    """Counts who works, rests and waits, and what that adds up to.

    Each moment counts once: as busy while any batch is under way; else as waited while
    the run is paused; else as delayed while anybody rests between two batches.

    Attributes:
        busy: Seconds.
        delayed: Seconds.
        locked: Seconds that batches waited for locks, all together.
    """

    def __init__(self) -> None:
        self.busy = 0.0
        self.delayed = 0.0
        self.locked = 0.0
        self._since = 0.0
        self._working = 0
        self._delaying = 0
        self._paused = False

    def works(self, now: float) -> None:
        """A batch begins."""
        self.turn(now)
        self._working += 1

    def worked(self, now: float) -> None:
        """A batch ends."""
        self.turn(now)
        self._working -= 1

    def delays(self, now: float) -> None:
        """Somebody begins to rest."""
        self.turn(now)
        self._delaying += 1

    def delayed_until(self, now: float) -> None:
        """Somebody has rested."""
        self.turn(now)
        self._delaying -= 1

    def pauses(self, now: float, *, paused: bool) -> None:
        """The run is *paused* from now on, or goes on."""
        self.turn(now)
        self._paused = paused

    def turn(self, now: float) -> None:
        """Count what has passed."""
        if self._working:
            self.busy += now - self._since
        elif self._delaying and not self._paused:
            self.delayed += now - self._since
        self._since = now
