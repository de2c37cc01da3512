"""One round of one incident, on a fresh table."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any

from _foreground.load import SECONDS_TO_WARM_UP, Users
from _foreground.modes import Paced
from _table.database import Tables

from _reactions.incidents import Incident, Place, connected
from _reactions.watching import Second, Watch, by_second
from adaptive_backfill import Run

__all__ = ["Round", "measure"]

_BEFORE = 12.0
"""Seconds that a run has before the incident, to find its pace."""

_LOOKS_FOR_THE_REPLICA = 300
"""It may still be at work on the fresh table: 30 s at most."""

_LAG = """
SELECT coalesce(max(extract(epoch FROM replay_lag))::float8, 0)
FROM pg_stat_replication WHERE replay_lsn < pg_current_wal_lsn()
"""


@dataclass
class Round:
    """What was seen.

    Attributes:
        seconds: From the run's first batch to the end, or until the table was done.
        lasted: Seconds that the incident took.
        said: What the run said: seconds since the incident began, and the sentence.
    """

    seconds: list[Second]
    lasted: float
    said: list[tuple[float, str]]


async def measure(
    tables: Tables, standby: str, incident: Incident, *, rows: int, running: bool
) -> Round:
    """Return what was seen; without a backfill where none is *running*."""
    await tables.fresh(rows)
    lasts = SECONDS_TO_WARM_UP + _BEFORE + incident.lasts + incident.after + 15.0
    place = Place(tables.dsn, standby, rows, lasts, [])
    users = Users(tables.dsn, rows, incident.rate, lasts)
    try:
        async with connected(tables.dsn) as connection:

            async def lag() -> float:
                return float(await connection.fetchval(_LAG))

            await asyncio.sleep(SECONDS_TO_WARM_UP)
            for _ in range(_LOOKS_FOR_THE_REPLICA):
                if await lag() < 0.5:
                    break
                await asyncio.sleep(0.1)
            watch, began, lasted = await _watched(place, incident, lag, running=running)
    finally:
        waited = users.stop()
        for more in place.gone:
            waited += more.stop()
    seconds = by_second(watch.looks, waited, began)
    said = [(at - began, sentence) for at, sentence in watch.said]
    return Round(seconds, lasted, said)


async def _watched(
    place: Place,
    incident: Incident,
    lag: Callable[[], Awaitable[float]],
    *,
    running: bool,
) -> tuple[Watch, float, float]:
    """Let it happen; return what was seen, when it began, and how long it took."""
    async with AsyncExitStack() as stack:
        run = None
        if running:
            run = await stack.enter_async_context(_start(place.dsn, incident))
            await _begun(run)
        watch = Watch(run, lag)
        watching = asyncio.create_task(watch.go_on())
        try:
            await asyncio.sleep(_BEFORE)
            began = time.time()
            async with incident.during(place):
                await asyncio.sleep(incident.lasts)
            lasted = time.time() - began
            # It ends by itself only where the run does, or where it cannot look.
            await asyncio.wait((watching,), timeout=incident.after)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        if not watching.cancelled():
            watching.result()
        if run is not None:
            run.stop()
            (await run.wait()).raise_for_status()
    return watch, began, lasted


def _start(dsn: str, incident: Incident) -> AbstractAsyncContextManager[Run[Any]]:
    Paced.begun = asyncio.Event()
    return Paced.start(dsn=dsn, health_checks=(*Paced.health_checks, *incident.checks))


async def _begun(run: Run[Any]) -> None:
    """Wait for the first batch, or for the end of a run that never has one."""
    begun = asyncio.ensure_future(Paced.begun.wait())
    ended = asyncio.ensure_future(run.wait())
    await asyncio.wait((begun, ended), return_when=asyncio.FIRST_COMPLETED)
    for each in (begun, ended):
        if not each.done():
            each.cancel()
    if ended.done() and not ended.cancelled():
        ended.result().raise_for_status()
