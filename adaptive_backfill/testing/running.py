"""Run a backfill on a clock of the test's own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from adaptive_backfill._core.result import RunResult
from adaptive_backfill._dsl.backfill import Backfill, session_of
from adaptive_backfill._engine.handle import Run
from adaptive_backfill._ports import Clock

__all__ = ["run", "start"]


async def run(
    backfill: type[Backfill[Any]], clock: Clock, **overrides: Any
) -> RunResult:
    """Do what ``backfill.run(**overrides)`` does, with *clock* for its waits."""
    return await session_of(backfill, overrides, clock=clock, resumable=None).run()


def start(
    backfill: type[Backfill[Any]],
    clock: Clock,
    *,
    grace: float | timedelta = 10.0,
    **overrides: Any,
) -> Run:
    """Do what ``backfill.start(**overrides)`` does, with *clock* for its waits.

    *grace* is real time, as always.
    """
    return Run(lambda: session_of(backfill, overrides, clock=clock), grace)
