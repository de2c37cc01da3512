from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import pytest

from adaptive_backfill import (
    DONE,
    Answer,
    Backfill,
    Checkpoint,
    Next,
    Runs,
    RunStatus,
    Snapshot,
)
from adaptive_backfill._ports import Held
from adaptive_backfill.errors import CheckpointError
from adaptive_backfill.postgres.store import PostgresStore
from adaptive_backfill.testing.postgres import Server, temporary_server

pytestmark = pytest.mark.postgres

Pool: TypeAlias = "asyncpg.Pool[Any]"

REPOSITORY = Path(__file__).parents[2]
NAME = "users"
LAST = 200
PATIENCE = 60.0
LEASE = 0.5

# Another process. It writes each number once into a file, and tells how its run ended.
RUNNER = """
import asyncio, sys
from pathlib import Path
import asyncpg
from adaptive_backfill import DONE, Backfill, Checkpoint, Next
from adaptive_backfill.errors import AlreadyRunning
from adaptive_backfill.postgres.store import PostgresStore

dsn, lease, last, journal = sys.argv[1:]

class Journal(Backfill[int]):
    initial_state = 0
    delay_between_batches = 0.01

    async def handle_batch(self, state):
        if state == int(last):
            return DONE
        with Path(journal).open("a") as file:
            file.write(f"{state}\\n")
        return Next(state + 1, rows=1)

async def main():
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2, timeout=10) as pool:
        kept = Checkpoint(PostgresStore(pool, lease=float(lease)), "users")
        try:
            result = await Journal.run(checkpoint=kept)
        except AlreadyRunning:
            print("> already running")
        else:
            print(">", result.status, type(result.error).__name__)

asyncio.run(main())
"""


class Runner:
    """Another process that runs the backfill."""

    def __init__(self, process: Process, journal: Path) -> None:
        self.process = process
        self.journal = journal

    @property
    def numbers(self) -> list[int]:
        if not self.journal.exists():
            return []
        return [int(line) for line in self.journal.read_text().splitlines()]

    async def has_written(self, least: int) -> None:
        async def so_many() -> bool:
            assert self.process.returncode is None
            return len(self.numbers) >= least

        await until(so_many)

    async def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        stopped = os.WSTOPPED | os.WNOWAIT
        await asyncio.to_thread(os.waitid, os.P_PID, self.process.pid, stopped)

    async def ended(self) -> str:
        """What it said of its run."""
        async with asyncio.timeout(PATIENCE):
            said, _ = await self.process.communicate()
        lines = [line for line in said.decode().splitlines() if line[:2] == "> "]
        return lines[-1][2:] if lines else ""


@asynccontextmanager
async def runner(
    database: str, journal: Path, lease: float = LEASE
) -> AsyncIterator[Runner]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", RUNNER, database, str(lease), str(LAST),
        str(journal), cwd=REPOSITORY, stdout=PIPE,
    )  # fmt: skip
    try:
        yield Runner(process, journal)
    finally:
        if process.returncode is None:
            process.kill()
        # Nothing of its pipes is left to the garbage collector.
        await process.communicate()


async def until(is_so: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await is_so():
            await asyncio.sleep(0.01)


async def taken_over(store: PostgresStore) -> Any:
    """Wait until the name is free, and take it."""
    async with asyncio.timeout(PATIENCE):
        while isinstance(lease := await store.acquire(NAME, "ours", int), Held):
            await asyncio.sleep(0.01)
    return lease


# Two processes


@pytest.mark.asyncio
async def test_a_run_that_was_frozen_past_its_lease_writes_nothing_when_it_wakes(
    database: str, pool: Pool, tmp_path: Path
) -> None:
    store = PostgresStore(pool, lease=60.0)
    async with runner(database, tmp_path / "journal") as other:
        await other.has_written(5)
        await other.freeze()
        lease = await taken_over(store)
        found = await lease.load()
        await lease.save(Snapshot(1000, batches=1000))

        other.process.send_signal(signal.SIGCONT)

        assert await other.ended() == "failed LeaseLost"
    assert found.state in (len(other.numbers), len(other.numbers) - 1)
    assert await lease.load() == Snapshot(1000, batches=1000)
    assert [past.run_id for past in await Runs(store).history(NAME)] == []


@pytest.mark.asyncio
async def test_a_killed_run_is_taken_over_and_loses_one_batch_at_most(
    database: str, pool: Pool, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    async with runner(database, journal) as first:
        await first.has_written(5)
        first.process.kill()
        await first.process.wait()
        killed_at = len(first.numbers)
    await (await taken_over(PostgresStore(pool))).release(None, handed_over=True)

    async with runner(database, journal) as second:
        ended = await second.ended()

    assert ended == "done NoneType"
    rest = second.numbers[killed_at:]
    assert rest[0] in (killed_at, killed_at - 1)
    assert rest == list(range(rest[0], LAST))
    assert second.numbers[:killed_at] == list(range(killed_at))


@pytest.mark.asyncio
async def test_of_two_processes_one_runs_and_the_other_is_refused(
    database: str, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    async with runner(database, journal) as first, runner(database, journal) as second:
        ended = await asyncio.gather(first.ended(), second.ended())

    assert sorted(ended) == ["already running", "done NoneType"]
    assert first.numbers == list(range(LAST))


# A server that goes away


class Interrupted(Backfill[int]):
    """Counts to 10, and interrupts the server in the middle of its fifth batch."""

    initial_state = 0
    seen: list[int]
    interrupt: Callable[[], object]

    async def handle_batch(self, state: int) -> Answer[int]:
        if state == 10:
            return DONE
        self.seen.append(state)
        if self.seen.count(4) == 1 and state == 4:
            await asyncio.to_thread(self.interrupt)
        return Next(state + 1)


@pytest.fixture
def own_server() -> Iterator[Server]:
    with temporary_server() as server:
        yield server


@asynccontextmanager
async def opened(server: Server) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(
        server.dsn(), min_size=1, max_size=2, timeout=10.0, command_timeout=30.0
    ) as pool:
        yield pool


@pytest.mark.asyncio
async def test_a_run_goes_on_over_a_restart_of_the_server(own_server: Server) -> None:
    seen: list[int] = []
    async with opened(own_server) as pool:
        result = await Interrupted.run(
            checkpoint=Checkpoint(PostgresStore(pool), NAME),
            seen=seen,
            interrupt=own_server.restart,
        )

    assert (result.status, result.error) == (RunStatus.DONE, None)
    assert seen == list(range(10))


@pytest.mark.asyncio
async def test_a_run_whose_server_is_away_fails_and_the_next_one_resumes(
    own_server: Server,
) -> None:
    seen: list[int] = []
    async with opened(own_server) as pool:
        kept = Checkpoint(PostgresStore(pool, lease=LEASE), NAME)
        failed = await Interrupted.run(
            checkpoint=kept, seen=seen, interrupt=own_server.stop
        )
        await asyncio.to_thread(own_server.start)
        done = await Interrupted.run(
            checkpoint=kept, seen=seen, interrupt=own_server.stop, if_running="wait"
        )

    assert failed.status is RunStatus.FAILED
    assert isinstance(failed.error, CheckpointError)
    assert "is away or restarting; once it is back, run it again" in str(failed.error)
    assert (done.status, done.resumed) == (RunStatus.DONE, True)
    assert seen == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9]


@pytest.mark.asyncio
async def test_a_run_whose_server_crashes_goes_on_from_what_was_committed(
    own_server: Server,
) -> None:
    def crash() -> None:
        own_server.kill()
        own_server.start()

    seen: list[int] = []
    async with opened(own_server) as pool:
        store = PostgresStore(pool)
        result = await Interrupted.run(
            checkpoint=Checkpoint(store, NAME), seen=seen, interrupt=crash
        )
        (past,) = await Runs(store).history(NAME)

    assert result.status is RunStatus.DONE
    assert seen == list(range(10))
    assert (past.run_id, past.batches) == (result.run_id, 10)
