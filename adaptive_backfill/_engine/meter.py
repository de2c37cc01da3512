"""One run's times, its rate and its share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from adaptive_backfill._core.estimate import (
    UNKNOWN,
    Eta,
    Sample,
    eta_of,
    rate_of,
    share_of,
    windowed,
)
from adaptive_backfill._core.result import RunStatus
from adaptive_backfill._core.run import RunState
from adaptive_backfill._engine.times import Times
from adaptive_backfill._ports import Clock

__all__ = ["Meter", "Metering"]


class Metering(Protocol):
    """What a loop tells of its times."""

    @property
    def paused_by(self) -> str | None:
        """What the run is paused by now; `None` where it is not."""
        ...

    @property
    def times(self) -> Times:
        """Where the run's time goes."""
        ...

    def pause(self, by: str) -> None:
        """Begin a pause, or go on with it, until there is no more *by*."""
        ...

    def resume(self) -> float | None:
        """End the pause; return the length of the run's, where it ends with it."""
        ...

    def turn(self) -> float:
        """End the run's pause, for another to begin; return its length in seconds."""
        ...

    def count(self, run: RunState) -> None:
        """Take note of how far *run* is by now."""
        ...


class Meter:
    """Knows since when a run runs, how long it was paused, how fast it goes.

    Args:
        clock: Time.
        share: The share that is done at a state; `None` where the rows tell it.

    Attributes:
        total: Rows there are, where that is known.
        times: Where the run's time goes.
    """

    def __init__(
        self, clock: Clock, share: Callable[[object], float | None] | None = None
    ) -> None:
        self.total: int | None = None
        self._clock = clock
        self._share = share
        self._began = clock.monotonic()
        self._paused = 0.0
        self._paused_since: float | None = None
        self._paused_by = ""
        self._by_since = 0.0
        self._waited: dict[str, float] = {}
        self.times = Times()
        self._samples: tuple[Sample, ...] = ()
        self._shares: tuple[Sample, ...] = ()
        self._due = 0.0
        self._run = RunState(None)

    @property
    def is_paused(self) -> bool:
        """Whether the run is paused now."""
        return self._paused_since is not None

    @property
    def paused_by(self) -> str | None:
        """What the run is paused by now; `None` where it is not."""
        return self._paused_by if self.is_paused else None

    def pause(self, by: str) -> None:
        """Begin a pause, or go on with it, until there is no more *by*."""
        now = self._clock.monotonic()
        if self._paused_since is None:
            self._paused_since = now
            self.times.pauses(now, paused=True)
        else:
            self._credit(now)
        self._paused_by, self._by_since = by, now

    def resume(self) -> float:
        """End the pause; return its length in seconds."""
        if self._paused_since is None:
            return 0.0
        now = self._clock.monotonic()
        length = now - self._paused_since
        self._credit(now)
        self._paused += length
        self._paused_since = None
        self.times.pauses(now, paused=False)
        return length

    def turn(self) -> float:
        """End the pause, for another to begin; return its length in seconds."""
        return self.resume()

    def waited(self) -> dict[str, float]:
        """Return the paused seconds by what was waited for, this pause left out."""
        return dict(self._waited)

    def _credit(self, now: float) -> None:
        by = self._paused_by
        self._waited[by] = self._waited.get(by, 0.0) + now - self._by_since

    def duration(self) -> float:
        """Return seconds since the run began."""
        return self._clock.monotonic() - self._began

    def paused(self) -> float:
        """Return seconds that the run was paused, this pause included."""
        if self._paused_since is None:
            return self._paused
        return self._paused + self._clock.monotonic() - self._paused_since

    def begin(self, run: RunState) -> None:
        """Take *run*, with the rows of earlier runs, as where the rate starts."""
        self._run = run
        self._samples = ((self._running(), run.rows),)
        self._shares = self._shares_with(run)

    def count(self, run: RunState) -> None:
        """Take note of how far *run* is by now."""
        self._run = run
        now = self._clock.monotonic()
        # A sample a second is enough for a minute's rate, and a batch may take
        # microseconds.
        if now >= self._due:
            self._due = now + 1.0
            self._samples = self._samples_with(run)
            self._shares = self._shares_with(run)

    def rate(self) -> float | None:
        """Return rows a second over the last minute of running time."""
        return rate_of(self._samples_with(self._run))

    def share(self, run: RunState) -> float | None:
        """Return the share of *run* that is done, from 0 to 1."""
        share = None if self._share is None else self._share(run.state)
        if share is None:
            return share_of(run.rows, self.total)
        done = run.ending is not None and run.ending.status is RunStatus.DONE
        return 1.0 if done else share

    def eta(self, run: RunState) -> Eta:
        """Return when *run* will end, by its share where that is known, or its rows."""
        shares = self._shares_with(self._run)
        if shares:
            return eta_of(1.0 - (self.share(run) or 0.0), shares)
        if self.total is None:
            return UNKNOWN
        return eta_of(self.total - run.rows, self._samples_with(self._run))

    def _samples_with(self, run: RunState) -> tuple[Sample, ...]:
        return windowed(self._samples, (self._running(), run.rows))

    def _shares_with(self, run: RunState) -> tuple[Sample, ...]:
        share = None if self._share is None else self._share(run.state)
        if share is None:
            return ()
        return windowed(self._shares, (self._running(), share))

    def _running(self) -> float:
        return self.duration() - self.paused()
