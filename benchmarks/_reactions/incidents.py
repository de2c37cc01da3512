"""What happens to the database while a backfill runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

import asyncpg
from _foreground.load import Users

from _reactions.standby import slowed
from adaptive_backfill import HealthCheck
from adaptive_backfill.postgres import checks

__all__ = ["DOUBLED", "GONE", "INCIDENTS", "LEFT", "LOCKED", "MOST_LAG", "REPLICA"]
__all__ += ["Incident", "Place"]

MOST_LAG = 5.0
"""Seconds that the replica may be behind: what `replay_lag` allows by default."""

LEFT = 800
"""Transactions a second of the users that are left when the others go."""


class Place(NamedTuple):
    """Where it happens.

    Attributes:
        dsn: Of the database.
        standby: Of its replica; empty where there is none.
        rows: Of the table.
        seconds: That the whole takes at most.
        gone: More users, who have been there.
    """

    dsn: str
    standby: str
    rows: int
    seconds: float
    gone: list[Users]


Block = Callable[[Place], AbstractAsyncContextManager[None]]


class Incident(NamedTuple):
    """What happens, and for how long it is watched.

    Attributes:
        rate: Transactions a second of the users who are there all the time.
        during: A block that is the incident.
        lasts: Seconds, at least.
        after: Seconds that are watched after it, at most.
        checks: Beside the probe of the users' own query.
        replicated: There is a replica.
    """

    rate: int
    during: Block
    lasts: float
    after: float
    checks: tuple[HealthCheck, ...] = ()
    replicated: bool = False


def more_users(rate: int) -> Block:
    @asynccontextmanager
    async def there(place: Place) -> AsyncIterator[None]:
        users = await asyncio.to_thread(
            Users, place.dsn, place.rows, rate, place.seconds
        )
        try:
            yield
        finally:
            users.end()
            place.gone.append(users)

    return there


@asynccontextmanager
async def slow_replica(place: Place) -> AsyncIterator[None]:
    """It replays for a tenth of the time."""
    async with slowed(place.standby, 0.1):
        yield


@asynccontextmanager
async def lock_queue(place: Place) -> AsyncIterator[None]:
    """An ALTER TABLE waits for a report that reads, and all others wait for that."""
    async with (
        connected(place.dsn) as report,
        connected(place.dsn) as change,
        asyncio.TaskGroup() as tasks,
        report.transaction(),
    ):
        await report.execute("SELECT FROM users LIMIT 1")
        tasks.create_task(change.execute("ALTER TABLE users ADD COLUMN added int"))
        yield


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


DOUBLED, GONE = "users double", "users come and go"
REPLICA, LOCKED = "a slow replica", "a lock queue"

INCIDENTS = {
    DOUBLED: Incident(2_750, more_users(2_750), lasts=20.0, after=1.0),
    LOCKED: Incident(
        LEFT, lock_queue, lasts=5.0, after=20.0, checks=(checks.lock_waits(),)
    ),
    GONE: Incident(LEFT, more_users(5_500 - LEFT), lasts=15.0, after=65.0),
    REPLICA: Incident(
        LEFT, slow_replica, lasts=30.0, after=10.0,
        checks=(checks.replay_lag(limit=MOST_LAG),), replicated=True,
    ),
}  # fmt: skip
