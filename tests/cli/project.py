"""A project's module of backfills, as its source; the tests write it into a folder."""

from __future__ import annotations

__all__ = ["MODULE", "SOURCE", "TABLES"]

MODULE = "jobs"

SOURCE = '''
from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from adaptive_backfill import (
    DONE, OK, Backfill, Checkpoint, Done, Fail, Halt, MemoryStore, Next, Pause,
    SqliteStore,
)


class Count(Backfill[int]):
    """Ten rows, two a batch."""

    name = "count"
    initial_state = 0
    batch_size = 2
    total = 10
    checkpoint = Checkpoint(SqliteStore("kept.db"))
    since: date = date(2024, 1, 1)

    async def handle_batch(self, state):
        if state >= 10:
            return DONE
        return Next(state + self.batch_size, rows=self.batch_size)


class Kind(Count):
    """Says what it was given."""

    name = "kind"
    checkpoint = None

    async def handle_batch(self, state):
        return Done((state, self.since, self.timeout, self.mode))


class Unkept(Count):
    name = "unkept"
    checkpoint = None


class InMemory(Count):
    name = "in_memory"
    checkpoint = Checkpoint(MemoryStore())


class Once(Count):
    name = "once"
    once = True


class Halting(Count):
    name = "halting"

    async def handle_batch(self, state):
        if state == 4:
            return Halt("the disk is nearly full")
        return Next(state + 2, rows=2)


class Sick(Count):
    name = "sick"
    health_checks = [lambda: Halt("replica lag 9 s > 5 s")]


class Unreachable(Count):
    name = "unreachable"

    async def database(self):
        raise ConnectionRefusedError(111, "Connect call failed")

    health_checks = [database, lambda: Halt("replica lag 9 s > 5 s")]


class Failing(Count):
    name = "failing"

    async def handle_batch(self, state):
        if state == 4:
            raise ValueError("row 5 has no e-mail")
        return Next(state + 2, rows=2)


class Refusing(Count):
    name = "refusing"

    async def handle_batch(self, state):
        return Fail("no room on the shelf")


class Unkeepable(Backfill):
    name = "unkeepable"
    checkpoint = Checkpoint(SqliteStore("kept.db"))

    async def handle_batch(self, state):
        return Next(object(), rows=1)


class Single(Backfill):
    name = "single"

    async def handle(self, health_check):
        return Done("cleaned up")


class Abstract(Backfill):
    pass


class Clinging(Count):
    """A batch begins with a line of output, and lasts until there is a file `go`."""

    name = "clinging"
    total = None

    async def handle_batch(self, state):
        print(f"batch at {state} begins", flush=True)
        while not Path("go").exists():
            await asyncio.sleep(0.01)
        return Next(state + 2, rows=2)


class Blocking(Clinging):
    name = "blocking"

    async def handle_batch(self, state):
        print(f"batch at {state} begins", flush=True)
        while not Path("go").exists():
            time.sleep(0.01)
        return Next(state + 2, rows=2)


class Waiting(Count):
    """Paused by its health until there is a file `well`."""

    name = "waiting"
    mode = "sync"
    health_interval = 0.05

    async def is_well(self):
        return OK if Path("well").exists() else Pause("replica lag 9 s > 5 s")

    health_checks = [is_well]


class Endless(Count):
    name = "endless"
    total = 1_000_000

    async def handle_batch(self, state):
        await asyncio.sleep(0.01)
        return Next(state + 2, rows=2)


@dataclass
class Place:
    tenant: str
    row: int


class Typed(Backfill[Place]):
    name = "typed"

    async def handle_batch(self, state):
        return Done(state.row + 1)


def helper():
    return None
'''

TABLES = '''
from adaptive_backfill.postgres import TableBackfill


class UsersToV2(TableBackfill):
    name = "users_to_v2"
    table = "users"
    where = "version = 1"
    statement = "UPDATE users SET version = 2 WHERE {batch}"
    batch_size = 4


class Dividing(UsersToV2):
    """Cannot do the row 7."""

    name = "dividing"
    statement = "UPDATE users SET version = 2 + 0 / (id - 7) WHERE {batch}"


class Resting(UsersToV2):
    name = "resting"
    delay_between_batches = 600


class Nowhere(UsersToV2):
    table = "nowhere"


class Keyless(UsersToV2):
    table = "keyless"


class Unkept(UsersToV2):
    checkpoint = None
'''
"""Backfills that walk a table."""
