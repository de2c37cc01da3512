"""One mode beside one load, on a fresh table."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from _table.database import Tables

from _foreground.load import SECONDS_TO_WARM_UP, Load, Users, Waited
from _foreground.machine import Ticks, foreign_between
from _foreground.modes import Mode

__all__ = ["Window", "measure"]


@dataclass
class Window:
    """What one mode did beside one load.

    Attributes:
        speed: Rows a second.
        p50, p95, p99, worst: Milliseconds that users waited, meanwhile.
        users: Transactions a second that they did.
        foreign: Share of the machine's processors that others had.
        said: What a pacer did, for people.
    """

    speed: float
    p50: float
    p95: float
    p99: float
    worst: float
    users: float
    foreign: float
    said: str = ""


async def measure(
    tables: Tables, mode: Mode, load: Load, *, rows: int, seconds: float
) -> Window:
    await tables.fresh(rows)
    lasts = SECONDS_TO_WARM_UP + seconds + 10.0
    users = Users(tables.dsn, rows, load.rate, lasts)
    spiking: asyncio.Task[list[Waited]] | None = None
    waited: list[Waited] = []
    try:
        await asyncio.sleep(SECONDS_TO_WARM_UP)
        roots = {os.getpid(), await _server_of(tables)}
        before = Ticks.now(roots)
        if load.spike is not None:
            spiking = asyncio.create_task(_spike(tables.dsn, rows, load))
        did = await mode(tables.dsn, rows, seconds)
        foreign = foreign_between(before, Ticks.now(roots))
        if spiking is not None:
            waited += await spiking
    finally:
        waited += users.stop()
    within = [each.seconds for each in waited if did.began <= each.due <= did.ended]
    lasted = did.ended - did.began
    return Window(
        speed=did.rows / lasted,
        p50=_quantile(within, 0.5),
        p95=_quantile(within, 0.95),
        p99=_quantile(within, 0.99),
        worst=1000 * max(within),
        users=len(within) / lasted,
        foreign=foreign,
        said=did.said,
    )


async def _spike(dsn: str, rows: int, load: Load) -> list[Waited]:
    assert load.spike is not None
    await asyncio.sleep(load.spike.after)
    more = Users(dsn, rows, load.spike.rate, load.spike.seconds)
    await asyncio.sleep(load.spike.seconds + 0.3)
    return more.stop()


async def _server_of(tables: Tables) -> int:
    row = await tables.look("SELECT pg_read_file('postmaster.pid')")
    return int(row[0].split()[0])


def _quantile(seconds: Sequence[float], share: float) -> float:
    """Return the least number of milliseconds that *share* of all are within."""
    ordered = sorted(seconds)
    return 1000 * ordered[max(0, math.ceil(share * len(ordered)) - 1)]
