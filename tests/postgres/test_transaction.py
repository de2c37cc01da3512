"""What a `PostgresBackfill` promises of its transactions."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from adaptive_backfill import (
    Answer,
    Done,
    Fail,
    Halt,
    Next,
    Retry,
    RunStatus,
    telemetry,
)  # fmt: skip
from adaptive_backfill.errors import BackfillError, BatchTimeout
from adaptive_backfill.postgres import _transaction
from adaptive_backfill.postgres._beginning import Beginnings
from adaptive_backfill.postgres.backfill import PostgresBackfill
from adaptive_backfill.postgres.table import TableBackfill

from . import tables
from .asking import nobody_is, pool_of, sessions
from .tables import Pool, done, numbered, times_done

pytestmark = pytest.mark.postgres
quiet = tables.quiet


class Steps(PostgresBackfill[int]):
    """Does the ids of `items` ten at a time, by hand."""

    initial_state = 0
    batch_size = 10

    async def handle_batch(self, state: int) -> Answer[int]:
        status = await self.connection.execute(
            "UPDATE items SET n = n + 1 WHERE id > $1 AND id <= $2",
            state,
            state + self.batch_size,
        )
        rows = int(status.rpartition(" ")[2])
        return Next(state + self.batch_size, rows=rows) if rows else Done()


@pytest.mark.asyncio
async def test_a_hand_written_batch_is_done_exactly_once(pool: Pool) -> None:
    await numbered(pool, 100)

    for _ in range(3):
        await Steps.run(pool=pool, max_batches=3)
    result = done(await Steps.run(pool=pool))

    assert (result.rows, result.batches) == (100, 10)
    assert await times_done(pool) == {1: 100}


@pytest.mark.asyncio
async def test_a_checkpoint_is_kept_with_its_batch_or_not_at_all(pool: Pool) -> None:
    await numbered(pool, 100)

    class Breaking(Steps):
        async def handle_batch(self, state: int) -> Answer[int]:
            answer = await super().handle_batch(state)
            if state == 30:
                raise RuntimeError("after the work")
            return answer

    result = await Breaking.run(pool=pool)

    assert isinstance(result.error, RuntimeError)
    assert (result.state, result.rows) == (30, 30)
    assert await times_done(pool) == {0: 70, 1: 30}


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [Halt("enough"), Fail("no")])
async def test_halt_and_fail_roll_back_what_was_done_on_the_connection(
    pool: Pool, answer: Halt | Fail
) -> None:
    await numbered(pool, 10)

    class Refusing(Steps):
        async def handle_batch(self, state: int) -> Answer[int]:
            await super().handle_batch(state)
            return answer

    await Refusing.run(pool=pool)

    assert await times_done(pool) == {0: 10}
    assert await sessions(_dsn(pool), "state LIKE 'idle in transaction%'") == 0


@pytest.mark.asyncio
async def test_a_batch_past_its_timeout_leaves_no_transaction_behind(
    pool: Pool,
) -> None:
    await numbered(pool, 10)

    class Hanging(Steps):
        async def handle_batch(self, state: int) -> Answer[int]:
            await super().handle_batch(state)
            await asyncio.Event().wait()
            return Done()

    result = await Hanging.run(pool=pool, timeout=1.0)

    assert isinstance(result.error, BatchTimeout)
    assert await times_done(pool) == {0: 10}
    assert await sessions(_dsn(pool), "state LIKE 'idle in transaction%'") == 0


@pytest.mark.asyncio
async def test_a_server_that_does_not_even_cancel_is_left_alone(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await numbered(pool, 10)
    monkeypatch.setattr(_transaction, "_SECONDS_TO_ROLL_BACK", 0.1)
    frozen: list[int] = []

    class Freezing(Steps):
        async def handle_batch(self, state: int) -> Answer[int]:
            answer = await super().handle_batch(state)
            pid = await self.connection.fetchval("SELECT pg_backend_pid()")
            frozen.append(pid)
            os.kill(pid, signal.SIGSTOP)
            await self.connection.execute("SELECT 1")
            return answer

    try:
        result = await Freezing.run(pool=pool, timeout=2.0)
    finally:
        os.kill(frozen[0], signal.SIGCONT)

    assert isinstance(result.error, BatchTimeout)
    assert await times_done(pool) == {0: 10}
    assert done(await Steps.run(pool=pool)).rows == 10


@pytest.mark.asyncio
async def test_the_server_ends_a_statement_before_the_batch_is_given_up(
    pool: Pool,
) -> None:
    await numbered(pool, 10)

    class Sleeping(Steps):
        async def handle_batch(self, state: int) -> Answer[int]:
            await self.connection.execute("SELECT pg_sleep(60)")
            return Done()

    result = await Sleeping.run(pool=pool, timeout=4.0)

    assert isinstance(result.error, asyncpg.QueryCanceledError)
    assert "statement timeout" in str(result.error)


@pytest.mark.asyncio
async def test_a_cancelled_run_leaves_no_transaction_behind(pool: Pool) -> None:
    await numbered(pool, 10)
    begun = asyncio.Event()

    class Hanging(Steps):
        async def handle_batch(self, state: int) -> Answer[int]:
            await super().handle_batch(state)
            begun.set()
            await asyncio.Event().wait()
            return Done()

    running = asyncio.create_task(Hanging.run(pool=pool))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert await times_done(pool) == {0: 10}
    assert await sessions(_dsn(pool), "state LIKE 'idle in transaction%'") == 0


@pytest.mark.asyncio
async def test_a_retried_batch_begins_with_nothing_of_the_one_before(
    pool: Pool,
) -> None:
    await numbered(pool, 30)
    troubles = iter([RuntimeError("one"), RuntimeError("two")])

    class Shaky(Steps):
        async def handle_batch(self, state: int) -> Answer[int]:
            answer = await super().handle_batch(state)
            if state == 10 and (trouble := next(troubles, None)):
                raise trouble
            return answer

    done(await Shaky.run(pool=pool, retry=Retry(attempts=3, base=0.0, cap=0.0)))

    assert await times_done(pool) == {1: 30}


@pytest.mark.asyncio
async def test_the_connection_is_there_for_a_batch_only(pool: Pool) -> None:
    await numbered(pool, 10)
    told: list[str] = []

    class Peeking(Steps):
        def on_success(self, state: object) -> None:
            try:
                self.connection.is_closed()
            except BackfillError as error:
                told.append(str(error))

    done(await Peeking.run(pool=pool))

    assert len(told) == 1
    assert told[0].startswith("there is no batch under way")


@pytest.mark.asyncio
async def test_nothing_is_held_while_a_run_pauses(database: str, pool: Pool) -> None:
    await numbered(pool, 20)
    free: list[object] = []

    class Slow(Steps):
        delay_between_batches = 0.2

        async def on_success(self, state: object) -> None:
            # The transaction is over by then. The run's own looks are in one for an
            # instant, too: what is held would stay for as long as this.
            await nobody_is(database, "xact_start IS NOT NULL")
            free.append(state)

    async with pool_of(database, 2) as small:
        done(await Slow.run(pool=small))

    assert len(free) == 2


@pytest.mark.asyncio
async def test_a_constraint_that_fails_at_commit_fails_the_batch(pool: Pool) -> None:
    await numbered(pool, 30)
    await pool.execute(
        "CREATE TABLE owners (id int PRIMARY KEY);"
        "ALTER TABLE items ADD owner int REFERENCES owners DEFERRABLE INITIALLY"
        " DEFERRED"
    )

    class Orphans(Steps):
        async def handle_batch(self, state: int) -> Answer[int]:
            answer = await super().handle_batch(state)
            if state == 10:
                await self.connection.execute("UPDATE items SET owner = 1")
            return answer

    result = await Orphans.run(pool=pool)

    assert isinstance(result.error, asyncpg.ForeignKeyViolationError)
    assert result.status is RunStatus.FAILED
    assert (result.state, result.batches) == (10, 1)
    assert await times_done(pool) == {0: 20, 1: 10}


@pytest.mark.asyncio
@pytest.mark.parametrize("outcome", ["COMMIT", "ROLLBACK"])
async def test_a_cancel_at_commit_leaves_no_batch_twice_and_none_out(
    outcome: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One that arrives in a COMMIT too late to stop it ends what is sent behind it.
    monkeypatch.setattr(Beginnings, "commit", cancelled_at(3, outcome))
    await numbered(pool, 100)

    result = done(await Steps.run(pool=pool, retry=Retry(3, base=0.001, cap=0.001)))

    assert (result.rows, result.batches) == (100, 10)
    assert await times_done(pool) == {1: 100}


@pytest.mark.asyncio
async def test_a_batch_that_took_too_long_to_commit_is_tried_again_in_halves(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Once(TableBackfill):
        table = "items"
        batch_size = 10
        retry = Retry(3, base=0.001, cap=0.001)
        statement = "UPDATE items SET n = n + 1 WHERE {batch}"

    sizes: list[float] = []

    def sized(event: telemetry.Event) -> None:
        sizes.append(event.measurements["rows"])

    monkeypatch.setattr(Beginnings, "commit", cancelled_at(3, "ROLLBACK"))
    await numbered(pool, 40)
    telemetry.attach("sizes", "backfill.batch.success", sized)

    done(await Once.run(pool=pool))
    telemetry.detach("sizes")

    assert sizes[:3] == [10, 10, 5]
    assert await times_done(pool) == {1: 40}


@pytest.mark.asyncio
@pytest.mark.parametrize("keeps", [True, False])
async def test_a_batch_in_which_an_error_was_caught_is_not_taken_for_done(
    keeps: bool, pool: Pool
) -> None:
    await numbered(pool, 30)

    class Catching(Steps):
        async def handle_batch(self, state: int) -> Answer[int]:
            answer = await super().handle_batch(state)
            if state == 10:
                with suppress(asyncpg.DivisionByZeroError):
                    await self.connection.execute("SELECT 1 / 0")
            return answer

    overrides = {} if keeps else {"checkpoint": None}
    result = await Catching.run(pool=pool, **overrides)

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, asyncpg.InFailedSQLTransactionError)
    assert "async with connection.transaction()" in str(result.error)
    assert (result.state, result.batches) == (10, 1)
    assert await times_done(pool) == {0: 20, 1: 10}


def cancelled_at(batch: int, outcome: str) -> Callable[..., Awaitable[None]]:
    """Return a `Beginnings.commit` that is cancelled at one *batch*, and does this."""
    commit, count = Beginnings.commit, 0

    async def cancelled(self: Beginnings, connection: Any, *, more: bool) -> None:
        nonlocal count
        count += 1
        if count != batch:
            await commit(self, connection, more=more)
            return
        await connection.execute(outcome)
        said = "canceling statement due to user request"
        raise asyncpg.QueryCanceledError(said)

    return cancelled


def _dsn(pool: Any) -> str:
    # Not by the pool: its own sessions are what is looked at.
    arguments: tuple[str, ...] = pool._connect_args
    return arguments[0]


@pytest.mark.asyncio
async def test_a_canary_without_a_checkpoint_that_nobody_could_resume_halts(
    pool: Pool,
) -> None:
    await numbered(pool, 30)

    result = await Steps.run(pool=pool, checkpoint=None, canary=10)

    assert (result.status, result.rows) == ("halted", 10)
    assert "nobody could resume this run" in str(result.reasons[0])
    assert await times_done(pool) == {0: 20, 1: 10}
