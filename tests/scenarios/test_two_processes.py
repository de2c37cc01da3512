from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from adaptive_backfill import Checkpoint, Runs, RunStatus, Snapshot, SqliteStore
from adaptive_backfill._ports import Held, Lease

from .other_process import ANSWER, LAST, NAME, Journal

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 60.0

_T = TypeVar("_T")


class Other:
    """Another process, which answers."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def answer(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            async for line in self.process.stdout:
                if line.decode().startswith(ANSWER):
                    return line.decode().removeprefix(ANSWER).strip()
        return "nothing"

    async def ask(self, line: str) -> str:
        self.tell(line)
        return await self.answer()

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def another(path: Path, lease: float) -> AsyncIterator[Other]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "tests.scenarios.other_process",
        str(path), str(lease), cwd=REPOSITORY, stdin=PIPE, stdout=PIPE,
    )  # fmt: skip
    other = Other(process)
    try:
        yield other
    finally:
        if process.returncode is None:
            await other.kill()
        # Nothing of its pipes is left to the garbage collector.
        await process.communicate()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backfills.db"


@pytest_asyncio.fixture
async def start(path: Path) -> AsyncIterator[Callable[..., Awaitable[Other]]]:
    async with AsyncExitStack() as started:

        async def started_one(lease: float = 60.0) -> Other:
            return await started.enter_async_context(another(path, lease))

        yield started_one


def freeze(other: Other, path: Path) -> None:
    """Stop the process, but not within a transaction, which would block the file."""
    while True:
        other.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, other.process.pid, os.WSTOPPED)
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as probe:
            try:
                probe.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                other.process.send_signal(signal.SIGCONT)
            else:
                return


async def eventually(ask: Callable[[], Awaitable[_T | None]]) -> _T:
    async with asyncio.timeout(PATIENCE):
        while (answer := await ask()) is None:
            await asyncio.sleep(0.01)
    return answer


async def take(store: SqliteStore, state_type: object = None) -> Lease | None:
    taken = await store.acquire(NAME, "ours", state_type)
    return None if isinstance(taken, Held) else taken


def numbers(journal: Path) -> list[int]:
    if not journal.exists():
        return []
    return [int(line) for line in journal.read_text().splitlines()]


async def written(journal: Path, least: int) -> bool | None:
    return len(numbers(journal)) >= least or None


@pytest.mark.asyncio
async def test_of_two_processes_that_race_for_a_name_exactly_one_gets_it(
    start: Callable[..., Awaitable[Other]],
) -> None:
    others = [await start(), await start()]
    await asyncio.gather(*(other.ask("acquire warm 0") for other in others))
    rounds = []

    for number in range(100):
        at = time.time() + 0.005
        for other in others:
            other.tell(f"acquire name{number} {at}")
        rounds.append(sorted([await other.answer() for other in others]))

    runs = [f"held by run of {other.process.pid}" for other in others]
    assert all(held in runs and taken == "taken" for held, taken in rounds)
    assert len(rounds) == 100


@pytest.mark.asyncio
async def test_the_name_of_a_killed_process_is_free_after_its_lease(
    start: Callable[..., Awaitable[Other]], path: Path
) -> None:
    other = await start(lease=0.5)
    store = SqliteStore(path)
    assert await other.ask(f"acquire {NAME} 0") == "taken"
    before = time.time()
    assert await other.ask("save 7") == "saved"
    await other.kill()

    lease = await eventually(lambda: take(store))

    assert time.time() >= before + 0.5
    assert await lease.load() == Snapshot(7, batches=1)
    store.close()


@pytest.mark.asyncio
async def test_a_frozen_process_that_wakes_after_its_lease_writes_nothing(
    start: Callable[..., Awaitable[Other]], path: Path
) -> None:
    other = await start(lease=0.3)
    store = SqliteStore(path)
    assert await other.ask(f"acquire {NAME} 0") == "taken"
    assert await other.ask("save 1") == "saved"
    freeze(other, path)
    lease = await eventually(lambda: take(store))
    saving = lease.save(Snapshot(2))
    assert saving is not None
    await saving

    other.tell("save 9")
    other.process.send_signal(signal.SIGCONT)

    assert await other.answer() == "lost"
    assert await lease.load() == Snapshot(2)
    store.close()


@pytest.mark.asyncio
async def test_a_frozen_run_that_was_taken_over_fails_by_its_lost_lease(
    start: Callable[..., Awaitable[Other]], path: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    other = await start(lease=0.3)
    store = SqliteStore(path)
    other.tell(f"run {journal}")
    await eventually(lambda: written(journal, 3))
    freeze(other, path)
    lease = await eventually(lambda: take(store, int))
    kept = await lease.load()

    other.process.send_signal(signal.SIGCONT)

    assert await other.answer() == "failed LeaseLost"
    assert await lease.load() == kept
    assert await store.history(NAME) == []
    store.close()


@pytest.mark.asyncio
async def test_a_second_process_is_told_that_the_name_is_running(
    start: Callable[..., Awaitable[Other]], path: Path, tmp_path: Path
) -> None:
    store = SqliteStore(path)
    lease = await take(store)
    assert lease is not None

    refused = await (await start()).ask(f"run {tmp_path / 'journal'}")
    await lease.release(None, handed_over=False)

    assert refused == "already running"
    assert numbers(tmp_path / "journal") == []


@pytest.mark.asyncio
async def test_a_run_that_stands_by_goes_on_where_a_killed_process_was(
    start: Callable[..., Awaitable[Other]], path: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    other = await start(lease=1.0)
    store = SqliteStore(path, lease=1.0)
    other.tell(f"run {journal}")
    await eventually(lambda: written(journal, 20))
    standing_by = asyncio.create_task(
        Journal.run(
            checkpoint=Checkpoint(store, NAME),
            journal=journal,
            if_running="wait",
            delay_between_batches=0,
        )
    )
    await other.kill()

    async with asyncio.timeout(PATIENCE):
        result = await standing_by

    done = numbers(journal)
    assert (result.status, result.resumed) == (RunStatus.DONE, True)
    assert (result.batches, result.rows) == (LAST, LAST)
    # The batch under way when the process was killed may have been done twice.
    assert sorted(set(done)) == list(range(LAST))
    assert len(done) <= LAST + 1
    (past,) = await Runs(store).history(NAME)
    assert past.run_id == result.run_id
    store.close()
