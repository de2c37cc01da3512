"""A process to be killed: it writes ids into a journal, in batches.

    python -m tests.scenarios.killed_process FOLDER LAST

It tells by a line on stdout that it has begun, and by another that it is done.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import structlog

from adaptive_backfill import DONE, Answer, Backfill, Checkpoint, Next, SqliteStore

SIZE = 7
"""Ids a batch."""

LEASE = 0.3
"""Seconds that the lease of a killed process lasts."""


class Journal(Backfill[int]):
    """Writes each id once; a line each, so that nothing is written by halves."""

    initial_state = 0
    batch_size = SIZE
    timeout = 30.0
    delay_between_batches = 0.001
    once = True
    if_running = "wait"
    folder: Path
    last: int

    async def handle_batch(self, state: int) -> Answer[int]:
        ids = range(state + 1, min(state + self.batch_size, self.last) + 1)
        if not ids:
            return DONE
        journal = os.open(self.folder / "journal", os.O_WRONLY | os.O_APPEND)
        try:
            for each in ids:
                os.write(journal, f"{each}\n".encode())
                await asyncio.sleep(0)
        finally:
            os.close(journal)
        return Next(ids[-1], rows=len(ids))


def main() -> None:
    folder, last = Path(sys.argv[1]), int(sys.argv[2])
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )
    store = SqliteStore(folder / "checkpoints.db", lease=LEASE)
    print("begun", flush=True)
    run = Journal.run(checkpoint=Checkpoint(store, "j"), folder=folder, last=last)
    result = asyncio.run(run).raise_for_status()
    print(result.status, result.batches, result.rows, flush=True)


if __name__ == "__main__":
    main()
