"""Listen to the events of the runs under test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from adaptive_backfill import telemetry
from adaptive_backfill._core.events import Event

__all__ = ["capture"]

_ids = itertools.count(1)


@contextmanager
def capture(pattern: str = "**") -> Iterator[list[Event]]:
    """Collect, in a list, the events that *pattern* matches while the block runs."""
    heard: list[Event] = []
    handler_id = f"adaptive_backfill.testing.capture.{next(_ids)}"
    telemetry.attach(handler_id, pattern, heard.append)
    try:
        yield heard
    finally:
        telemetry.detach(handler_id)
