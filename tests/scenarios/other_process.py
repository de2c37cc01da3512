"""A process of its own for the tests beside: it does what it is told, line by line.

    python -m tests.scenarios.other_process PATH LEASE

Each line on stdin is answered by one line on stdout, which begins with `> `; the others
are the log's.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from adaptive_backfill import (
    DONE,
    Answer,
    Backfill,
    Checkpoint,
    Next,
    Snapshot,
    SqliteStore,
)
from adaptive_backfill._ports import Held, Lease
from adaptive_backfill.errors import AlreadyRunning, LeaseLost

NAME = "users"
LAST = 300
ANSWER = "> "


class Journal(Backfill[int]):
    """Writes each number once into a file, and counts on."""

    initial_state = 0
    delay_between_batches = 0.02
    journal: Path

    async def handle_batch(self, state: int) -> Answer[int]:
        if state == LAST:
            return DONE
        with self.journal.open("a") as file:
            file.write(f"{state}\n")
        return Next(state + 1, rows=1)


class Process:
    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._lease: Lease | None = None

    async def do(self, what: str, *said: str) -> str:
        if what == "acquire":
            return await self._acquire(*said)
        if what == "save":
            return await self._save(int(said[0]))
        return await self._run(Path(said[0]))

    async def _acquire(self, name: str, at: str) -> str:
        # Spinning, so that two processes try in the same microseconds.
        while time.time() < float(at):
            pass
        taken = await self._store.acquire(name, f"run of {os.getpid()}")
        if isinstance(taken, Held):
            return f"held by {taken.run_id}"
        self._lease = taken
        return "taken"

    async def _save(self, state: int) -> str:
        assert self._lease is not None
        saving = self._lease.save(Snapshot(state, batches=1))
        assert saving is not None
        try:
            await saving
        except LeaseLost:
            return "lost"
        return "saved"

    async def _run(self, journal: Path) -> str:
        try:
            result = await Journal.run(
                checkpoint=Checkpoint(self._store, NAME), journal=journal
            )
        except AlreadyRunning:
            return "already running"
        return f"{result.status} {type(result.error).__name__}"


async def main(path: str, lease: str) -> None:
    process = Process(SqliteStore(path, lease=float(lease)))
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(ANSWER + await process.do(*line.split()), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
