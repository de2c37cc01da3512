"""Ways to run the backfill beside the users."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any, NamedTuple

import asyncpg
from _pacing.rules import GitLab, Rule, Spirit
from _table.database import SET

from adaptive_backfill import Adaptive
from adaptive_backfill.postgres import TableBackfill, checks

__all__ = ["ADAPTIVE", "FULL", "MODES", "NONE", "RESTING", "Did", "Mode"]


class Did(NamedTuple):
    """What was done in a window.

    Attributes:
        rows: Rows done.
        began: When the first batch began, by the clock of the machine.
        ended: When the last one ended.
        said: What a pacer did, for people.
    """

    rows: int
    began: float
    ended: float
    said: str = ""


Mode = Callable[[str, int, float], Awaitable[Did]]
"""Takes the DSN, the rows of the table, and the seconds that it may take at most."""

NONE, FULL, ADAPTIVE = "no backfill", "4 workers, 5,000 rows", "Adaptive()"
RESTING = "1,000 rows + 10 ms"

_RANGE = f"UPDATE users SET {SET} WHERE id > $1 AND id <= $2"
_ONE, _HUNDRED = 0.003, 0.1


async def none(dsn: str, rows: int, seconds: float) -> Did:
    began = time.time()
    await asyncio.sleep(seconds)
    return Did(0, began, time.time())


class Fixed:
    """The same size each time."""

    def __init__(self, size: int) -> None:
        self.size = size

    def saw(self, seconds: float, rows: int) -> None:
        pass


class ToSeconds:
    """Follows a time by its root: smooth enough not to swing."""

    def __init__(self, target: float) -> None:
        self.size, self._target = 200, target

    def saw(self, seconds: float, rows: int) -> None:
        step = min(1.5, max(0.6, (self._target / seconds) ** 0.5))
        self.size = round(min(20_000, max(20, self.size * step)))


def by_hand(make: Callable[[], Rule], *, workers: int = 1, rest: float = 0.0) -> Mode:
    """Ranges of the key, each a transaction: nothing is kept, nothing looked at."""

    async def work(dsn: str, first: int, last: int, until: float) -> int:
        connection = await asyncpg.connect(dsn)
        statement, rule, at = await connection.prepare(_RANGE), make(), first
        while at < last and time.time() < until:
            upper, began = min(at + rule.size, last), time.perf_counter()
            await statement.fetch(at, upper)
            rule.saw(time.perf_counter() - began, upper - at)
            at = upper
            if rest:
                await asyncio.sleep(rest)
        await connection.close()
        return at - first

    async def mode(dsn: str, rows: int, seconds: float) -> Did:
        began = time.time()
        cuts = [rows * part // workers for part in range(workers + 1)]
        each = [
            work(dsn, first, last, began + seconds) for first, last in pairwise(cuts)
        ]
        done = sum(await asyncio.gather(*each))
        return Did(done, began, time.time())

    return mode


async def _as_users_do(connection: asyncpg.Connection[Any]) -> None:
    """What users wait for most: a read and an update of one row."""
    async with connection.transaction():
        await connection.fetchrow("SELECT id, email FROM users WHERE id = 4711")
        await connection.execute("UPDATE users SET email = email WHERE id = 4711")


class Paced(TableBackfill):
    """One configuration for all loads."""

    table = "users"
    statement = f"UPDATE users SET {SET} WHERE {{batch}}"
    timeout = 30.0
    pace = Adaptive()
    health_checks = (checks.latency_probe(_as_users_do, budget=2.5),)
    health_interval = 1.0

    async def on_success(self, state: Any) -> None:
        self.begun.set()


def adaptive(pace: Adaptive) -> Mode:
    """Until the table is done, or its time is up."""

    async def mode(dsn: str, rows: int, seconds: float) -> Did:
        Paced.begun = asyncio.Event()
        async with Paced.start(dsn=dsn, pace=pace) as run:
            # It begins when it has timed what users wait for.
            await Paced.begun.wait()
            began = time.time()
            waiting = asyncio.ensure_future(run.wait())
            await asyncio.wait((waiting,), timeout=seconds)
            said = f"{run.progress.batch_size} rows a batch at the end"
            run.stop()
            result = await waiting
        return Did(result.rows, began, time.time(), said)

    return mode


MODES: dict[str, Mode] = {
    NONE: none,
    FULL: by_hand(lambda: Fixed(5_000), workers=4),
    "1 worker, 5,000 rows": by_hand(lambda: Fixed(5_000)),
    "1 worker, 3 ms": by_hand(lambda: ToSeconds(_ONE)),
    "2 workers, 3 ms": by_hand(lambda: ToSeconds(_ONE), workers=2),
    RESTING: by_hand(lambda: Fixed(1_000), rest=0.01),
    "100 rows + 10 ms": by_hand(lambda: Fixed(100), rest=0.01),
    "GitLab's rule": by_hand(lambda: GitLab(_HUNDRED, 1_000), rest=0.1),
    "spirit's rule": by_hand(lambda: Spirit(_HUNDRED, 1_000)),
    ADAPTIVE: adaptive(Adaptive()),
    "Adaptive(overhead=0.4)": adaptive(Adaptive(overhead=0.4)),
}
