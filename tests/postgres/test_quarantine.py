"""Batches that fail: what passes is waited out, what is too much is made less, and the
row that cannot be done is found and set aside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import pytest

from adaptive_backfill import (
    Checkpoint,
    MemoryStore,
    Retry,
    RunResult,
    RunStatus,
    telemetry,
)
from adaptive_backfill.errors import BatchTimeout, TooManyQuarantined
from adaptive_backfill.postgres.table import TableBackfill
from adaptive_backfill.testing.postgres import temporary_server

from . import tables
from .asking import connected, until
from .storing import run_out
from .tables import Pool, done, numbered, times_done

pytestmark = pytest.mark.postgres
quiet = tables.quiet

QUICK = Retry(attempts=10, base=0.001, cap=0.001, on=())


class Divide(TableBackfill):
    table = "items"
    retry = QUICK
    batch_size = 100
    statement = "UPDATE items SET n = n + 1 + 0 * (1 / poison) WHERE {batch}"


class InPython(TableBackfill):
    table = "items"
    retry = QUICK
    batch_size = 100
    handed: list[int] = []

    async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
        self.handed.append(len(rows))
        await connection.execute(
            "UPDATE items SET n = n + 1 WHERE id = ANY($1)", [row["id"] for row in rows]
        )
        for row in rows:
            if not row["poison"]:
                raise ValueError(f"row {row['id']}\0 is bad")


async def poisoned(pool: Pool, rows: int, *bad: int) -> None:
    await numbered(pool, rows)
    await pool.execute("ALTER TABLE items ADD poison int NOT NULL DEFAULT 1")
    await pool.execute("UPDATE items SET poison = 0 WHERE id = ANY($1)", list(bad))


async def not_done(pool: Pool) -> list[int]:
    return [
        row["id"]
        for row in await pool.fetch("SELECT id FROM items WHERE n <> 1 ORDER BY id")
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("backfill", [Divide, InPython])
@pytest.mark.parametrize("bad", [(1,), (57,), (500,), (100, 101), (3, 4, 250, 499)])
async def test_a_bad_row_is_set_aside_and_all_others_are_done(
    pool: Pool, backfill: type[TableBackfill], bad: Sequence[int]
) -> None:
    await poisoned(pool, 500, *bad)

    result = done(await backfill.run(pool=pool))

    assert result.quarantined == len(bad)
    assert result.rows == 500 - len(bad)
    assert await not_done(pool) == list(bad)
    assert [failure.key for failure in await backfill.failures(pool=pool)] == list(bad)


@pytest.mark.asyncio
async def test_a_bad_row_among_very_many_costs_few_attempts(pool: Pool) -> None:
    await poisoned(pool, 100_000, 77_777)
    tries: list[telemetry.Event] = []
    telemetry.attach("tries", "backfill.batch.start", tries.append)

    result = done(await Divide.run(pool=pool, batch_size=5_000))
    telemetry.detach("tries")

    assert await not_done(pool) == [77_777]
    assert result.quarantined == 1
    assert len(tries) < 20 + 2 * 14


@pytest.mark.asyncio
async def test_a_failure_says_which_row_why_how_often_and_when(pool: Pool) -> None:
    await poisoned(pool, 50, 7)

    await Divide.run(pool=pool)
    (failure,) = await Divide.failures(pool=pool)

    assert failure.key == 7
    assert failure.error == "DivisionByZeroError: division by zero"
    assert failure.attempts == 1
    assert isinstance(failure.at, datetime)


@pytest.mark.asyncio
async def test_what_python_raised_is_kept_also_with_a_nul_in_it(pool: Pool) -> None:
    await poisoned(pool, 50, 7)

    await InPython.run(pool=pool)
    (failure,) = await InPython.failures(pool=pool)

    assert failure.error == "ValueError: row 7\\0 is bad"


@pytest.mark.asyncio
async def test_the_key_of_a_failure_is_a_tuple_where_it_has_several_columns(
    pool: Pool,
) -> None:
    await pool.execute(
        "CREATE TABLE items (tenant uuid, day date, n int DEFAULT 0,"
        " PRIMARY KEY (tenant, day));"
        "INSERT INTO items SELECT md5(g::text)::uuid, date '2020-01-01' + g"
        " FROM generate_series(1, 40) g"
    )
    bad: Any = await pool.fetchrow(
        "SELECT tenant, day FROM items ORDER BY 1, 2 OFFSET 17"
    )

    class Composite(TableBackfill):
        table = "items"
        retry = QUICK
        statement = (
            "UPDATE items SET n = n + 1 / (CASE WHEN day = "
            f"date '{bad['day']}' THEN 0 ELSE 1 END) WHERE {{batch}}"
        )

    done(await Composite.run(pool=pool))
    (failure,) = await Composite.failures(pool=pool)

    assert failure.key == tuple(bad)
    assert await times_done(pool) == {0: 1, 1: 39}


@pytest.mark.asyncio
@pytest.mark.parametrize("backfill", [Divide, InPython])
async def test_failures_are_done_once_the_rows_are_mended(
    pool: Pool, backfill: type[TableBackfill]
) -> None:
    await poisoned(pool, 300, 5, 150, 299)
    done(await backfill.run(pool=pool))
    await pool.execute("UPDATE items SET poison = 1 WHERE id <> 150")

    assert await backfill.retry_failures(pool=pool) == 2

    (failure,) = await backfill.failures(pool=pool)
    assert (failure.key, failure.attempts) == (150, 2)
    assert await not_done(pool) == [150]
    await pool.execute("UPDATE items SET poison = 1")
    assert await backfill.retry_failures(pool=pool) == 1
    assert await backfill.failures(pool=pool) == []
    assert await times_done(pool) == {1: 300}
    assert await backfill.retry_failures(pool=pool) == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("code", ["40P01", "40001", "53300"])
async def test_what_may_pass_keeps_no_other_failure_from_being_done(
    pool: Pool, code: str
) -> None:
    await poisoned(pool, 100, 5, 15, 25, 35)
    done(await Divide.run(pool=pool))
    await pool.execute(
        "CREATE FUNCTION passing(id int) RETURNS int LANGUAGE plpgsql AS $$"
        " BEGIN IF id = 15 THEN RAISE EXCEPTION 'later' USING"
        f" ERRCODE = '{code}'; END IF; RETURN 1; END $$"
    )
    statement = "UPDATE items SET n = n + passing(id) WHERE {batch}"

    assert await Divide.retry_failures(pool=pool, statement=statement) == 3

    (failure,) = await Divide.failures(pool=pool)
    assert (failure.key, failure.attempts) == (15, 2)
    assert "later" in failure.error
    assert await not_done(pool) == [15]


@pytest.mark.asyncio
@pytest.mark.parametrize("looks", [True, False])
async def test_a_connection_that_is_lost_keeps_no_other_failure_from_being_done(
    pool: Pool, looks: bool
) -> None:
    await poisoned(pool, 100, 5, 15, 25, 35)
    mended = False

    class Ending(InPython):
        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            if not mended:
                await super().handle_rows(rows, connection)
                return
            if rows[0]["id"] == 15:
                pid = connection.get_server_pid()
                await pool.execute("SELECT pg_terminate_backend($1)", pid)
                if looks:
                    await until_true(connection.is_closed)
            await connection.execute(
                "UPDATE items SET n = n + 1 WHERE id = $1", rows[0]["id"]
            )

    done(await Ending.run(pool=pool))
    mended = True

    assert await Ending.retry_failures(pool=pool) == 3
    assert [failure.key for failure in await Ending.failures(pool=pool)] == [15]
    assert await not_done(pool) == [15]


@pytest.mark.asyncio
async def test_a_retry_whose_statement_is_wrong_is_told_so(pool: Pool) -> None:
    await poisoned(pool, 50, 7)
    done(await Divide.run(pool=pool))

    with pytest.raises(asyncpg.UndefinedColumnError):
        await Divide.retry_failures(
            pool=pool, statement="UPDATE items SET nothing = 1 WHERE {batch}"
        )


@pytest.mark.asyncio
async def test_a_row_that_is_gone_is_no_failure_any_more(pool: Pool) -> None:
    await poisoned(pool, 30, 5)
    done(await Divide.run(pool=pool))
    await pool.execute("DELETE FROM items WHERE id = 5")

    assert await Divide.retry_failures(pool=pool) == 1
    assert await Divide.failures(pool=pool) == []


@pytest.mark.asyncio
async def test_two_who_retry_at_once_do_no_row_twice(pool: Pool) -> None:
    await poisoned(pool, 100, 5, 15, 25, 35)
    done(await Divide.run(pool=pool))
    await pool.execute("UPDATE items SET poison = 1")

    counts = await asyncio.gather(*(Divide.retry_failures(pool=pool) for _ in range(3)))

    assert sum(counts) == 4
    assert await times_done(pool) == {1: 100}


@pytest.mark.asyncio
async def test_a_backfill_that_never_ran_has_no_failures_and_makes_no_table(
    pool: Pool,
) -> None:
    await poisoned(pool, 3)

    assert await Divide.failures(pool=pool) == []
    assert await Divide.retry_failures(pool=pool) == 0
    assert not await pool.fetchval("SELECT to_regnamespace('adaptive_backfill')")


@pytest.mark.asyncio
async def test_one_more_than_max_quarantined_fails_the_run(pool: Pool) -> None:
    await poisoned(pool, 500, 10, 200, 300, 400)

    result = await Divide.run(pool=pool, max_quarantined=2)

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, TooManyQuarantined)
    assert isinstance(result.error.__cause__, asyncpg.DivisionByZeroError)
    assert result.quarantined == 2
    assert await pool.fetchval("SELECT max(id) FROM items WHERE n = 1") == 299


@pytest.mark.asyncio
async def test_a_run_that_failed_so_resumes_at_the_row(pool: Pool) -> None:
    await poisoned(pool, 500, 10, 200, 300, 400)
    await Divide.run(pool=pool, max_quarantined=2)
    await pool.execute("UPDATE items SET poison = 1 WHERE id >= 300")

    result = done(await Divide.run(pool=pool, max_quarantined=2))

    assert result.resumed
    assert result.quarantined == 2
    assert await not_done(pool) == [10, 200]


@pytest.mark.asyncio
async def test_no_row_is_set_aside_where_none_may_be(pool: Pool) -> None:
    await poisoned(pool, 300, 150)

    result = await Divide.run(pool=pool, max_quarantined=0)

    assert isinstance(result.error, TooManyQuarantined)
    assert await Divide.failures(pool=pool) == []
    assert await pool.fetchval("SELECT max(id) FROM items WHERE n = 1") == 149


@pytest.mark.asyncio
async def test_ten_failing_rows_in_a_row_are_no_rows_fault(pool: Pool) -> None:
    await poisoned(pool, 500, *range(200, 400))

    result = await Divide.run(pool=pool)

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, asyncpg.DivisionByZeroError)
    assert result.quarantined == 9
    assert await pool.fetchval("SELECT max(id) FROM items WHERE n = 1") == 199


@pytest.mark.asyncio
async def test_a_statement_that_is_wrong_fails_at_once(pool: Pool) -> None:
    await poisoned(pool, 50)

    result = await Divide.run(
        pool=pool, statement="UPDATE items SET nothing = 1 WHERE {batch}"
    )

    assert isinstance(result.error, asyncpg.UndefinedColumnError)
    assert result.quarantined == 0


@pytest.mark.asyncio
async def test_rows_whose_constraint_is_checked_at_commit_are_found_too(
    pool: Pool,
) -> None:
    await numbered(pool, 200)
    await pool.execute(
        "CREATE TABLE owners (id int PRIMARY KEY);"
        "INSERT INTO owners SELECT generate_series(1, 200) EXCEPT SELECT 123;"
        "ALTER TABLE items ADD owner int REFERENCES owners"
        " DEFERRABLE INITIALLY DEFERRED"
    )

    result = done(
        await Divide.run(
            pool=pool,
            statement="UPDATE items SET n = n + 1, owner = id WHERE {batch}",
        )
    )

    assert result.quarantined == 1
    assert await not_done(pool) == [123]


@pytest.mark.asyncio
async def test_a_row_that_a_trigger_refuses_is_set_aside(pool: Pool) -> None:
    await numbered(pool, 200)
    await pool.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN IF NEW.id = 42 THEN RAISE EXCEPTION 'not %', NEW.id; END IF;"
        " RETURN NEW; END $$;"
        "CREATE TRIGGER refuse BEFORE UPDATE ON items"
        " FOR EACH ROW EXECUTE FUNCTION refuse()"
    )

    done(
        await Divide.run(
            pool=pool, statement="UPDATE items SET n = n + 1 WHERE {batch}"
        )
    )
    (failure,) = await Divide.failures(pool=pool)

    assert failure.error == "RaiseError: not 42"
    assert await not_done(pool) == [42]


@pytest.mark.asyncio
async def test_a_new_walk_forgets_the_failures_and_finds_its_own(pool: Pool) -> None:
    await poisoned(pool, 100, 5, 50)
    done(await Divide.run(pool=pool, where="n = 0"))
    await pool.execute("UPDATE items SET poison = 1 WHERE id = 5")

    result = done(await Divide.run(pool=pool, where="n = 0"))

    assert result.quarantined == 1
    assert [failure.key for failure in await Divide.failures(pool=pool)] == [50]
    assert await not_done(pool) == [50]


@pytest.mark.asyncio
async def test_a_resumed_walk_keeps_the_failures_of_the_one_before(pool: Pool) -> None:
    await poisoned(pool, 400, 5, 350)

    stopped = await Divide.run(pool=pool, max_batches=3)
    result = done(await Divide.run(pool=pool))

    assert stopped.status is RunStatus.STOPPED
    assert stopped.quarantined == 1
    assert result.quarantined == 2


@pytest.mark.asyncio
async def test_failures_are_kept_with_the_data_wherever_the_checkpoint_is(
    pool: Pool,
) -> None:
    await poisoned(pool, 100, 5)
    checkpoint = Checkpoint(MemoryStore())

    result = done(await Divide.run(pool=pool, checkpoint=checkpoint))

    assert result.quarantined == 1
    (failure,) = await Divide.failures(pool=pool, checkpoint=checkpoint)
    assert failure.key == 5


@pytest.mark.asyncio
async def test_what_the_users_retry_covers_is_tried_again_before_a_row_is_sought(
    pool: Pool,
) -> None:
    await poisoned(pool, 50)
    refusals = iter([True, True])

    class Shaky(TableBackfill):
        table = "items"
        retry = Retry(attempts=3, base=0.001, cap=0.001)
        handed: list[int] = []

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            self.handed.append(len(rows))
            if next(refusals, False):
                raise ConnectionError("the other service is away")

    result = done(await Shaky.run(pool=pool))

    assert Shaky.handed == [50, 50, 50]
    assert result.quarantined == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("attempts", [1, 3, 12])
@pytest.mark.parametrize("bad", [(1,), (3, 4, 250, 499)])
async def test_a_bad_row_whose_error_is_covered_is_set_aside_after_its_tries(
    pool: Pool, bad: Sequence[int], attempts: int
) -> None:
    await poisoned(pool, 500, *bad)
    retry = Retry(attempts=attempts, base=0.001, cap=0.001)

    result = done(await Divide.run(pool=pool, retry=retry))

    assert result.quarantined == len(bad)
    assert await not_done(pool) == list(bad)
    failures = await Divide.failures(pool=pool)
    assert [failure.key for failure in failures] == list(bad)
    assert {failure.attempts for failure in failures} == {attempts}


@pytest.mark.asyncio
async def test_ten_failing_rows_in_a_row_fail_the_run_also_where_they_are_retried(
    pool: Pool,
) -> None:
    await poisoned(pool, 500, *range(200, 400))
    retry = Retry(attempts=3, base=0.001, cap=0.001)

    result = await Divide.run(pool=pool, retry=retry)

    assert isinstance(result.error, asyncpg.DivisionByZeroError)
    assert result.quarantined == 9


@pytest.mark.asyncio
@pytest.mark.parametrize("code", ["40001", "40P01", "08006", "57P03", "53300"])
async def test_what_may_pass_is_tried_again_as_it_is(pool: Pool, code: str) -> None:
    await poisoned(pool, 50)
    await pool.execute("CREATE SEQUENCE tries")
    await pool.execute(
        "CREATE FUNCTION passing() RETURNS int LANGUAGE plpgsql AS $$"
        " BEGIN IF nextval('tries') < 4 THEN RAISE EXCEPTION 'later' USING"
        f" ERRCODE = '{code}'; END IF; RETURN 1; END $$"
    )

    result = done(
        await Divide.run(
            pool=pool, statement="UPDATE items SET n = n + passing() WHERE {batch}"
        )
    )

    assert result.batches == 1
    assert await times_done(pool) == {1: 50}


@pytest.mark.asyncio
async def test_ten_failures_in_a_row_stop_the_run(pool: Pool) -> None:
    await poisoned(pool, 50)
    await pool.execute("CREATE SEQUENCE tries")
    await pool.execute(
        "CREATE FUNCTION never() RETURNS int LANGUAGE plpgsql AS $$"
        " BEGIN PERFORM nextval('tries'); RAISE EXCEPTION 'later' USING"
        " ERRCODE = '40001'; END $$"
    )

    result = await Divide.run(
        pool=pool, statement="UPDATE items SET n = never() WHERE {batch}"
    )

    assert isinstance(result.error, asyncpg.SerializationError)
    assert await pool.fetchval("SELECT last_value FROM tries") == 10


@pytest.mark.asyncio
async def test_a_batch_that_takes_too_long_is_halved_and_grows_back(
    pool: Pool,
) -> None:
    await poisoned(pool, 1_000)
    sizes: list[int] = []

    class Slow(TableBackfill):
        table = "items"
        retry = QUICK
        batch_size = 400

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            sizes.append(len(rows))
            if len(rows) > 100:
                await connection.execute("SET LOCAL statement_timeout = 20")
                await connection.execute("SELECT pg_sleep(60)")

    result = done(await Slow.run(pool=pool))

    assert result.rows == 1_000
    assert sizes[:5] == [400, 200, 100, 112, 100 // 2 + 6]


@pytest.mark.asyncio
async def test_a_batch_past_its_timeout_is_halved_too(pool: Pool) -> None:
    await poisoned(pool, 100)
    sizes: list[int] = []

    class Slow(TableBackfill):
        table = "items"
        retry = QUICK
        timeout = 2.0

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            await connection.execute(
                "UPDATE items SET n = n + 1 WHERE id = ANY($1)",
                [row["id"] for row in rows],
            )
            sizes.append(len(rows))
            if len(rows) > 50:
                await asyncio.sleep(60)

    result = done(await Slow.run(pool=pool, batch_size=100))

    assert sizes[:2] == [100, 50]
    assert result.rows == 100
    assert await times_done(pool) == {1: 100}


@pytest.mark.asyncio
async def test_a_row_that_came_in_front_of_the_bad_one_is_not_set_aside_for_it(
    pool: Pool,
) -> None:
    await poisoned(pool, 100, 50)
    await pool.execute("DELETE FROM items WHERE id = 49")

    class Overtaken(InPython):
        handed: list[int] = []

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            if [row["id"] for row in rows] == [50]:
                await pool.execute(
                    "INSERT INTO items (id) VALUES (49) ON CONFLICT DO NOTHING"
                )
            await super().handle_rows(rows, connection)

    done(await Overtaken.run(pool=pool))
    (failure,) = await Overtaken.failures(pool=pool)

    assert failure.key == 50
    assert await not_done(pool) == [50]


@pytest.mark.asyncio
async def test_a_row_that_somebody_holds_is_waited_for(
    pool: Pool, database: str
) -> None:
    await poisoned(pool, 300)
    held = asyncio.Event()
    failed: list[telemetry.Event] = []

    def heard(event: telemetry.Event) -> None:
        failed.append(event)
        if len(failed) == 3:
            held.set()

    telemetry.attach("failed", "backfill.batch.retry", heard)
    async with connected(database) as other:
        holding = other.transaction()
        await holding.start()
        await other.execute("UPDATE items SET n = 0 WHERE id = 42")
        running = asyncio.create_task(
            Divide.run(pool=pool, lock_timeout=0.02, batch_size=100)
        )
        await held.wait()
        await holding.rollback()
        result = done(await running)
    telemetry.detach("failed")

    assert result.quarantined == 0
    assert await times_done(pool) == {1: 300}
    assert isinstance(failed[0].metadata["error"], asyncpg.LockNotAvailableError)


@pytest.mark.asyncio
async def test_a_table_that_is_altered_meanwhile_is_prepared_anew(pool: Pool) -> None:
    await poisoned(pool, 300)
    columns: list[int] = []

    class Altering(TableBackfill):
        table = "items"
        retry = QUICK
        batch_size = 50

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            columns.append(len(rows[0]))

    async def on_success(state: object) -> None:
        if len(columns) == 3:
            await pool.execute("ALTER TABLE items ADD more int")

    result = done(await Altering.run(pool=pool, on_success=on_success))

    assert result.rows == 300
    assert result.quarantined == 0
    assert columns == [3, 3, 3, 4, 4, 4]


@pytest.mark.asyncio
async def test_a_server_that_is_away_is_waited_for_and_not_counted() -> None:
    with temporary_server() as server:
        async with asyncpg.create_pool(server.dsn(), min_size=1, max_size=4) as pool:
            await poisoned(pool, 100)
            retries: list[telemetry.Event] = []
            stopped = asyncio.Event()

            async def on_success(state: object) -> None:
                if not stopped.is_set():
                    await asyncio.to_thread(server.stop)
                    stopped.set()

            async def start_again() -> None:
                await stopped.wait()
                await until_true(lambda: len(retries) > 15)
                await asyncio.to_thread(server.start)

            telemetry.attach("retries", "backfill.batch.retry", retries.append)
            starting = asyncio.create_task(start_again())
            result = await Divide.run(pool=pool, batch_size=50, on_success=on_success)
            telemetry.detach("retries")
            await starting

            assert done(result).rows == 100
            assert await times_done(pool) == {1: 100}


@pytest.mark.asyncio
async def test_a_server_that_stays_away_is_waited_for_as_long_as_max_pause() -> None:
    with temporary_server() as server:
        async with asyncpg.create_pool(server.dsn(), min_size=1, max_size=4) as pool:
            await poisoned(pool, 100)

            async def on_success(state: object) -> None:
                await asyncio.to_thread(server.stop)

            result = await Divide.run(
                pool=pool, batch_size=50, on_success=on_success, max_pause=0.2
            )

            assert result.status is RunStatus.FAILED
            assert isinstance(result.error, OSError | asyncpg.PostgresError)
            assert result.rows == 50
            await asyncio.to_thread(server.start)
            # Nobody could be told that it was given free.
            await run_out(pool, result.name)
            resumed = done(await Divide.run(pool=pool, batch_size=50))

            assert resumed.resumed
            assert await times_done(pool) == {1: 100}


async def until_true(is_so: Callable[[], bool]) -> None:
    async def look() -> bool:
        return is_so()

    await until(look)


@pytest.mark.asyncio
async def test_timeouts_to_the_last_row_fail_with_the_timeout(pool: Pool) -> None:
    await poisoned(pool, 10)

    class Hanging(TableBackfill):
        table = "items"
        retry = Retry(attempts=3, base=0.001, cap=0.001, on=())
        timeout = 0.5

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            await asyncio.sleep(60)

    result: RunResult = await Hanging.run(pool=pool)

    assert isinstance(result.error, BatchTimeout)
    assert result.quarantined == 0


@pytest.mark.asyncio
async def test_a_run_that_is_skipped_tells_what_the_one_before_set_aside(
    pool: Pool,
) -> None:
    await poisoned(pool, 100, 7)
    done(await Divide.run(pool=pool, once=True))

    result = await Divide.run(pool=pool, once=True)

    assert (result.status, result.quarantined) == (RunStatus.SKIPPED, 1)
