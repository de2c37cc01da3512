"""What is seen of a run while it runs: a live picture, or a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog
from rich.console import Console
from rich.live import Live
from rich.text import Text

from adaptive_backfill import Progress
from adaptive_backfill.cli.picture import Pauses, facts, picture
from adaptive_backfill.cli.stream import put
from adaptive_backfill.cli.words import condition

__all__ = ["LinesView", "LiveView", "View", "is_live", "live_view"]

_SECONDS_BETWEEN_PICTURES = 0.2


class View(Protocol):
    """Shows a run to whoever watches.

    Attributes:
        every: Seconds between two calls of `show`.
    """

    every: float

    def show(self, progress: Progress) -> None:
        """Show how far it is."""
        ...

    def say(self, text: str) -> None:
        """Say something about it."""
        ...


def is_live(console: Console) -> bool:
    """Whether *console* is a terminal that can be drawn on."""
    # rich calls a CI's log a terminal, too, if it is told to use colours there.
    return console.file.isatty() and console.is_terminal and console.is_interactive


class LinesView:
    """A log line every few seconds, where there is no terminal.

    Args:
        every: Seconds between two lines.
        json: Whether numbers are wanted, rather than a sentence.
    """

    def __init__(self, every: float, *, json: bool) -> None:
        self.every = every
        self._json = json
        self._log = structlog.get_logger("adaptive_backfill.cli")
        self._due = time.monotonic() + every
        self._pauses = Pauses()

    def show(self, progress: Progress) -> None:
        """Log how far it is, where it is time to."""
        since = self._pauses.since(progress)
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self.every
        if self._json:
            self._log.info("progress", **_numbers(progress))
        else:
            self._log.info(", ".join(facts(progress, since)))

    def say(self, text: str) -> None:
        """Log *text*."""
        self._log.info(text)


class LiveView:
    """A picture at the foot of the terminal, under the log lines; see `live_view`."""

    every = _SECONDS_BETWEEN_PICTURES

    def __init__(self, live: Live, title: str) -> None:
        self._live = live
        self._title = title
        self._began = time.monotonic()
        self._pauses = Pauses()

    def show(self, progress: Progress) -> None:
        """Draw how far it is."""
        since = self._pauses.since(progress)
        ran = time.monotonic() - self._began
        self._live.update(picture(self._title, progress, since, ran), refresh=True)

    def say(self, text: str) -> None:
        """Write *text* above the picture, where it stays."""
        put(self._live.console, Text(text, "bold yellow"))


@contextmanager
def live_view(console: Console, title: str) -> Iterator[LiveView]:
    """Show a picture on *console* for the length of the block."""
    live = Live(
        console=console,
        # Drawn when there is something new, in the run's own thread: a run is not
        # made to be looked at from another.
        auto_refresh=False,
        # What handlers print goes above the picture, unless it goes elsewhere.
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=True,
    )
    with live:
        yield LiveView(live, title)


def _numbers(progress: Progress) -> dict[str, object]:
    numbers: dict[str, object] = {
        "backfill": progress.name,
        "run_id": progress.run_id,
        "status": str(progress.status),
        "rows": progress.rows,
        "total": progress.total,
        "share": progress.share,
        "rate": progress.rate,
        "eta": progress.eta,
        "batches": progress.batches,
        "batch_size": progress.batch_size,
        "health": condition(progress),
    }
    return {name: value for name, value in numbers.items() if value is not None}
