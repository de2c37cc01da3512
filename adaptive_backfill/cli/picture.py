"""A run as a picture of four lines, and as facts in words."""

from __future__ import annotations

import time
from datetime import datetime

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from adaptive_backfill import OK, Progress
from adaptive_backfill.cli.words import (
    condition,
    duration,
    extent,
    pace,
    plural,
    rate,
    remaining,
    share_of,
)

__all__ = ["Pauses", "facts", "picture"]

_BEFORE = ("starting", "waiting")
_WIDEST_BAR = 60


class Pauses:
    """Remembers since when a run is paused."""

    def __init__(self) -> None:
        self._since: tuple[float, datetime] | None = None

    def since(self, progress: Progress) -> str:
        """Return since when it is paused, and how long that is; empty if it is not."""
        if progress.status != "paused":
            self._since = None
            return ""
        if self._since is None:
            self._since = (time.monotonic(), datetime.now().astimezone())
        began, clock = self._since
        return f"{clock:%H:%M:%S} ({duration(round(time.monotonic() - began))})"


def facts(progress: Progress, since: str) -> list[str]:
    """Return in words how far it is, and how it is."""
    how = condition(progress, since)
    if progress.status in _BEFORE:
        return [how]
    return [extent(progress), *_details(progress), how]


def picture(title: str, progress: Progress, since: str, ran: float) -> RenderableType:
    """Return what to draw of *progress*.

    Args:
        title: The first line.
        progress: The run.
        since: Since when it is paused; see `Pauses`.
        ran: Seconds that it has been running.
    """
    how = Text(condition(progress, since), _style(progress))
    if progress.status in _BEFORE:
        return Group(Text(title, "bold"), how)
    details = [*_details(progress), f"running for {duration(round(ran))}"]
    return Group(Text(title, "bold"), _extent(progress), Text(" · ".join(details)), how)


def _extent(progress: Progress) -> RenderableType:
    share = share_of(progress)
    if share is None:
        return Text(extent(progress))
    style = _style(progress)
    bar = ProgressBar(
        1.0,
        share,
        width=_WIDEST_BAR,
        complete_style=style,
        finished_style=style,
    )
    row = Table.grid(padding=(0, 1))
    row.add_column()
    row.add_column(no_wrap=True)
    row.add_row(bar, extent(progress))
    return row


def _details(progress: Progress) -> list[str]:
    details = []
    if progress.rate is not None:
        details.append(rate(progress.rate))
    left = remaining(progress)
    if left is not None:
        details.append(left)
    # Where there are no rows, the extent is in batches already.
    if progress.rows or progress.total:
        details.append(plural(progress.batches, "batch"))
    if progress.batch_size is not None:
        details.append(f"{progress.batch_size:,} rows each")
    how_much = pace(progress)
    if how_much is not None:
        details.append(how_much)
    return details


def _style(progress: Progress) -> str:
    if progress.status in _BEFORE:
        return "dim"
    if progress.status == "paused" or progress.verdict is not OK:
        return "yellow"
    return "green"
