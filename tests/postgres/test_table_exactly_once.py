"""Whatever a run dies of, each row is done once: `n = n + 1` shows any double."""

from __future__ import annotations

import asyncio
import random
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from adaptive_backfill import Checkpoint, Retry, RunStatus, Snapshot
from adaptive_backfill.errors import LeaseLost
from adaptive_backfill.postgres.store import PostgresStore
from adaptive_backfill.postgres.table import TableBackfill

from . import tables
from .asking import until
from .tables import Pool, done, numbered, times_done

pytestmark = pytest.mark.postgres
quiet = tables.quiet

REPOSITORY = Path(__file__).parents[2]
ROWS = 3_000
ROUNDS = 8


class Once(TableBackfill):
    table = "items"
    batch_size = 50
    retry = Retry(attempts=10, base=0.001, cap=0.001, on=())
    statement = "UPDATE items SET n = n + 1 WHERE {batch}"


async def started(database: str, form: str) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.postgres.killed_table", database, form,
        cwd=REPOSITORY, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    await said(process)
    return process


async def said(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        async for line in process.stdout:
            if line.startswith(b"> "):
                return line.decode().removeprefix("> ").strip()
    return "nothing"


@pytest.mark.asyncio
@pytest.mark.parametrize("form", ["statement", "python"])
async def test_a_run_that_is_killed_again_and_again_does_each_row_once(
    pool: Pool, database: str, form: str
) -> None:
    await numbered(pool, ROWS)
    dice = random.Random(form)
    kills = 0
    for _ in range(ROUNDS):
        process = await started(database, form)
        ending = asyncio.create_task(said(process))
        await asyncio.wait({ending}, timeout=dice.uniform(0.1, 1.3))
        if ending.done():
            await process.communicate()
            break
        process.kill()
        kills += 1
        await ending
        await process.communicate()
    process = await started(database, form)
    answer = await said(process)
    await process.communicate()

    assert kills > 3
    assert answer.startswith(("done", "skipped"))
    assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
async def test_connections_that_are_ended_at_any_moment_cost_no_row(
    pool: Pool, database: str
) -> None:
    await numbered(pool, 20_000)
    ended = 0

    async def end_some(running: asyncio.Task[Any]) -> None:
        nonlocal ended
        dice = random.Random(7)
        connection = await asyncpg.connect(database)
        while not running.done():
            ended += await connection.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name LIKE 'adaptive_backfill:%'"
            )
            await asyncio.wait({running}, timeout=dice.uniform(0.0, 0.05))
        await connection.close()

    running = asyncio.create_task(Once.run(pool=pool, retry=Retry(50, 0.001, 0.001)))
    await end_some(running)

    done(await running)
    assert ended > 3
    assert await times_done(pool) == {1: 20_000}


class Unheard:
    """A way to the server that loses the answer to every third COMMIT."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._commits = 0
        self.lost = 0

    async def __aenter__(self) -> Unheard:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", self._port)
        unheard = asyncio.Event()

        async def answers() -> None:
            while data := await there.read(65536):
                if unheard.is_set():
                    break
                writer.write(data)
                await writer.drain()
            writer.transport.abort()

        answering = asyncio.create_task(answers())
        try:
            while data := await reader.read(65536):
                if b"COMMIT" in data:
                    self._commits += 1
                    if self._commits % 3 == 0:
                        self.lost += 1
                        unheard.set()
                here.write(data)
                await here.drain()
        except ConnectionError:
            pass
        here.close()
        await answering


@pytest.mark.asyncio
async def test_a_commit_that_was_done_and_not_heard_of_is_not_done_again(
    pool: Pool, server: Any, database: str
) -> None:
    await numbered(pool, 2_000)
    async with Unheard(server.port) as way:
        through = database.replace(f":{server.port}/", f":{way.port}/")
        async with asyncpg.create_pool(through, min_size=0, max_size=4) as weak:
            result = done(await Once.run(pool=weak))

    assert way.lost > 5
    assert result.rows == 2_000
    assert result.batches == 40
    assert await times_done(pool) == {1: 2_000}


@pytest.mark.asyncio
async def test_a_run_that_slept_past_its_lease_commits_nothing_more(
    pool: Pool,
) -> None:
    await numbered(pool, 200)
    asleep, awake = asyncio.Event(), asyncio.Event()

    class Sleepy(TableBackfill):
        name = "sleepy"
        table = "items"
        batch_size = 100
        naps: bool = False

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            await connection.execute(
                "UPDATE items SET n = n + 1 WHERE id = ANY($1)",
                [row["id"] for row in rows],
            )
            if self.naps:
                asleep.set()
                await awake.wait()

    # A lease that no heartbeat renews meanwhile: as of a process that is frozen.
    first = asyncio.create_task(
        Sleepy.run(
            pool=pool, naps=True, checkpoint=Checkpoint(Frozen(pool, lease=0.05))
        )
    )
    await asleep.wait()
    second = asyncio.create_task(
        Sleepy.run(
            pool=pool,
            checkpoint=Checkpoint(PostgresStore(pool)),
            if_running="wait",
            lock_timeout=30.0,
        )
    )

    async def taken() -> bool:
        holders = await pool.fetchval(
            "SELECT token FROM adaptive_backfill.backfill_names"
        )
        return bool(holders > 1)

    await until(taken)
    awake.set()
    lost, won = await first, await second

    assert lost.status is RunStatus.FAILED
    assert isinstance(lost.error, LeaseLost)
    assert done(won).rows == 200
    assert await times_done(pool) == {1: 200}


class Frozen(PostgresStore):
    """A store whose leases are not kept up between batches."""

    async def acquire(self, *args: Any, **kwargs: Any) -> Any:
        lease: Any = await super().acquire(*args, **kwargs)
        first = lease.beat

        async def never(progress: Any) -> None:
            await asyncio.Event().wait()

        async def beat(progress: Any) -> Any:
            # The one at the start of the run, and no other.
            lease.beat = never
            return await first(progress)

        lease.beat = beat
        return lease


@pytest.mark.asyncio
async def test_a_store_in_another_database_repeats_a_batch_at_most(
    pool: Pool, server: Any, template: str
) -> None:
    await numbered(pool, 300)
    await pool.execute("CREATE DATABASE elsewhere")
    async with asyncpg.create_pool(
        server.dsn("elsewhere"), min_size=0, max_size=3
    ) as other:
        checkpoint = Checkpoint(PostgresStore(other))
        stopped = await Once.run(pool=pool, checkpoint=checkpoint, max_batches=2)
        kept = await PostgresStore(other).load(stopped.name)
        result = done(await Once.run(pool=pool, checkpoint=checkpoint))
    await pool.execute("DROP DATABASE elsewhere WITH (FORCE)")

    assert isinstance(kept, Snapshot)
    assert (kept.batches, kept.rows) == (2, 100)
    assert result.resumed
    assert await times_done(pool) == {1: 300}
