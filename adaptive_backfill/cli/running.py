"""Run a backfill to its end, shown by a view and steered by signals."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from adaptive_backfill import Run, RunResult, RunStatus
from adaptive_backfill._dsl.backfill import session_of
from adaptive_backfill.cli.declared import Declared
from adaptive_backfill.cli.pools import with_pools
from adaptive_backfill.cli.screen import View
from adaptive_backfill.cli.signals import Signals

__all__ = ["Ended", "run_to_end"]

_BY_CTRL_C = "Stopping after the batch under way; Ctrl-C once more cancels it."
_BY_OTHERS = "{}: stopping after the batch under way; Ctrl-C cancels it."


class Ended(NamedTuple):
    """How it ended.

    Attributes:
        result: The run's own.
        cancelled: Whether a second Ctrl-C cut it short.
    """

    result: RunResult
    cancelled: bool


async def run_to_end(
    declared: Declared, overrides: Mapping[str, object], view: View
) -> Ended:
    """Run the backfill; the first Ctrl-C stops it, the second cancels its batch.

    Raises:
        Trouble: A pool cannot be opened.
        ConfigurationError: The class or an override is not usable.
        AlreadyRunning: Another run has the name.
    """
    signals = Signals()
    with signals.heard():
        async with with_pools(declared, overrides) as ready:
            # No grace: a batch may take its time after the first Ctrl-C, and none
            # after the second.
            # Nor does anybody resume by this handle, nor by a store of this process.
            resumable = None if declared.lasting else False
            begun = partial(session_of, declared.cls, ready, resumable=resumable)
            async with Run(begun, 0.0) as run:
                await _watch(run, view, signals)
            result = await run.wait()
    return Ended(result, signals.cancel and result.status is RunStatus.STOPPED)


async def _watch(run: Run, view: View, signals: Signals) -> None:
    """Return when the run has ended, or is to be cancelled."""
    ended = asyncio.ensure_future(run.wait())
    ended.add_done_callback(lambda _: signals.news.set())
    told = False
    while not (ended.done() or signals.cancel):
        if signals.stop is not None and not told:
            told = True
            run.stop()
            by = signals.stop
            view.say(_BY_CTRL_C if by == "SIGINT" else _BY_OTHERS.format(by))
        view.show(run.progress)
        with suppress(TimeoutError):
            await asyncio.wait_for(signals.news.wait(), view.every)
        signals.news.clear()
    view.show(run.progress)
    if signals.cancel:
        view.say("Cancelling the batch under way.")
        view.show(run.progress)
