"""Servers that go away under a run, and a replica that falls behind."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from adaptive_backfill import DONE, Answer, Backfill, Next, Retry
from adaptive_backfill.postgres import PostgresBackfill, TableBackfill
from adaptive_backfill.testing.postgres import Server, temporary_server
from tests.postgres.asking import connected, pool_of, until
from tests.postgres.standbys import caught_up, replay_paused, standby_of
from tests.postgres.tables import Pool, done, numbered, times_done

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(180)]

ROWS = 3_000
ALIVE = ("starting", "running", "waiting", "paused")
MIB = 1024 * 1024
BATCH_OF_WAL = 4 * MIB
LIMIT = 64 * MIB


class ByStatement(TableBackfill):
    name = "by_statement"
    table = "items"
    batch_size = 20
    delay_between_batches = 0.002
    retry = Retry(attempts=50, base=0.01, cap=0.1, on=())
    statement = "UPDATE items SET n = n + 1 WHERE {batch}"


class ByRows(TableBackfill):
    name = "by_rows"
    table = "items"
    batch_size = 20
    delay_between_batches = 0.002
    retry = Retry(attempts=50, base=0.01, cap=0.1, on=())

    async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
        await connection.execute(
            "UPDATE items SET n = n + 1 WHERE id = ANY($1)", [row["id"] for row in rows]
        )


class ByHand(PostgresBackfill[int]):
    name = "by_hand"
    initial_state = 0
    batch_size = 20
    delay_between_batches = 0.002
    retry = Retry(attempts=50, base=0.01, cap=0.1)

    async def handle_batch(self, state: int) -> Answer[int]:
        last = state + self.batch_size
        done = await self.connection.fetch(
            "UPDATE items SET n = n + 1 WHERE id > $1 AND id <= $2 RETURNING id",
            state,
            last,
        )
        return Next(last, rows=len(done)) if done else DONE


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    with temporary_server() as server:
        yield server


def crash(server: Server) -> None:
    server.kill()
    server.start()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("backfill", "options"),
    [(ByStatement, {}), (ByRows, {}), (ByStatement, {"workers": 2}), (ByHand, {})],
)
async def test_a_server_that_restarts_and_crashes_in_mid_run_costs_no_row(
    own: Server, backfill: type[Backfill[Any]], options: dict[str, int]
) -> None:
    breaks: Sequence[Callable[[Server], None]] = (Server.restart, crash, crash)
    async with pool_of(own.dsn(), 5) as pool:
        await pool.execute("DROP TABLE IF EXISTS items")
        await numbered(pool, ROWS)
        async with backfill.start(pool=pool, **options) as run:
            for number, break_it in enumerate(breaks, 1):
                least = number * ROWS // 5

                async def is_so_far(least: int = least) -> bool:
                    assert run.progress.status in ALIVE, await run.wait()
                    return run.progress.rows >= least

                await until(is_so_far)
                await asyncio.to_thread(break_it, own)
            result = done(await run.wait())

        assert result.rows == ROWS
        assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
@pytest.mark.parametrize("backfill", [ByStatement, ByRows, ByHand])
async def test_connections_that_are_ended_between_two_batches_end_no_run(
    pool: Pool, database: str, backfill: type[Backfill[Any]]
) -> None:
    await numbered(pool, 400)

    async def end_all(state: object) -> None:
        # The batch is committed, and its connection is about to be given back.
        async with connected(database) as owner:
            await owner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
                "datname = current_database() AND pid <> pg_backend_pid()"
            )

    async with pool_of(database, 3) as weak:
        result = done(await backfill.run(pool=weak, on_success=end_all))

    assert (result.rows, result.batches) == (400, 20)
    assert result.hook_errors == []
    async with connected(database) as owner:
        assert await owner.fetchval("SELECT sum(n) FROM items WHERE n = 1") == 400


class Heavy(TableBackfill):
    """Writes much WAL with each batch."""

    table = "items"
    batch_size = 10
    health_interval = 0.02

    async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
        await connection.execute(
            "UPDATE items SET n = n + 1 WHERE id = ANY($1)", [row["id"] for row in rows]
        )
        await connection.execute(
            "SELECT pg_logical_emit_message(false, 'fill', repeat('x', $1))",
            BATCH_OF_WAL,
        )


@pytest.mark.asyncio
async def test_a_run_waits_for_a_paused_replica_and_then_goes_on() -> None:
    looks: list[None] = []

    def look() -> None:
        looks.append(None)

    async def has_looked_again() -> bool:
        return len(looks) > 5

    with temporary_server() as primary, standby_of(primary) as standby:
        async with pool_of(primary.dsn(), 4) as pool:
            await numbered(pool, 300)
            async with (
                replay_paused(primary, standby),
                Heavy.start(
                    pool=pool, standbys=[standby.dsn()], health_checks=[look]
                ) as run,
            ):

                async def has_paused() -> bool:
                    return run.progress.status == "paused"

                await until(has_paused)
                (reason,) = (str(each) for each in run.progress.reasons)
                stood = run.progress.rows
                looks.clear()
                await until(has_looked_again)
                still = run.progress.rows
                async with connected(standby.dsn()) as replica:
                    await replica.execute("SELECT pg_wal_replay_resume()")
                result = done(await run.wait())
            await caught_up(primary)

            assert await times_done(pool) == {1: 300}
    place = re.escape(f"standby {standby.host}:{standby.port}")
    told = re.fullmatch(rf"{place} (\d+) bytes behind > {LIMIT}", reason)
    assert told is not None, reason
    # Held back at the first batch that was too much.
    assert LIMIT < int(told[1]) < LIMIT + 2 * BATCH_OF_WAL
    assert 0 < stood < 300
    assert still == stood
    assert result.rows == 300
    assert result.paused > 0
