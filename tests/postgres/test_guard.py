"""Never the bully: whoever waits for a batch for long is let go first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from adaptive_backfill import Retry, telemetry
from adaptive_backfill.postgres._faults import GaveWay
from adaptive_backfill.postgres._guard import Guard
from adaptive_backfill.postgres._run_pool import RunPool
from adaptive_backfill.postgres.table import TableBackfill

from . import tables
from .asking import WAITS, a_role, connected, pool_of, somebody_is
from .tables import Pool, done, numbered, times_done

pytestmark = pytest.mark.postgres
quiet = tables.quiet


class Dawdling(TableBackfill):
    """Does its first batch, and then sits on it, in Python or in the server."""

    table = "items"
    batch_size = 100
    retry = Retry(attempts=10, base=0.001, cap=0.001, on=())
    locked: asyncio.Event
    sizes: list[int]
    sleep: str | None = None

    async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
        self.sizes.append(len(rows))
        await connection.execute(
            "UPDATE items SET n = n + 1 WHERE id = ANY($1)", [row["id"] for row in rows]
        )
        if len(rows) > 50:
            self.locked.set()
            if self.sleep is not None:
                await connection.execute(self.sleep)
            await asyncio.Event().wait()


@pytest.mark.asyncio
@pytest.mark.parametrize("sees_others", [True, False])
@pytest.mark.parametrize("sleep", [None, "SELECT pg_sleep(60)"])
async def test_who_waits_for_a_batch_gets_the_lock_and_the_batch_is_halved(
    pool: Pool, database: str, *, sleep: str | None, sees_others: bool
) -> None:
    await numbered(pool, 100)
    retries: list[telemetry.Event] = []
    telemetry.attach("retries", "backfill.batch.retry", retries.append)
    grants = f"CREATE ON DATABASE {urlsplit(database).path[1:]}", "ALL ON items"
    async with a_role(database, *grants) as plain, connected(database) as other:
        async with pool_of(database if sees_others else plain, 2) as small:
            locked, sizes = asyncio.Event(), list[int]()
            running = asyncio.create_task(
                Dawdling.run(pool=small, locked=locked, sizes=sizes, sleep=sleep)
            )
            await locked.wait()
            await other.execute("SET application_name = 'the site'")
            await other.execute("UPDATE items SET n = n WHERE id = 5", timeout=30)
            result = done(await running)
        telemetry.detach("retries")
        await other.execute(f"DROP OWNED BY {urlsplit(plain).username}")

    assert result.rows == 100
    assert sizes[:2] == [100, 50]
    assert await times_done(pool) == {1: 100}
    error = retries[0].metadata["error"]
    assert isinstance(error, GaveWay)
    assert "the site" in str(error)
    assert str(error).startswith("blocked_by_us ")


@pytest.mark.asyncio
async def test_a_service_that_waits_with_all_connections_of_the_pool_goes_first(
    database: str,
) -> None:
    async with pool_of(database, 4) as pool:
        await numbered(pool, 100)
        locked, sizes = asyncio.Event(), list[int]()
        running = asyncio.create_task(
            Dawdling.run(pool=pool, locked=locked, sizes=sizes)
        )
        await locked.wait()
        # More than there are connections left: each holds one until it has its row.
        requests = [
            pool.execute("UPDATE items SET n = n WHERE id = 5") for _ in range(9)
        ]
        async with asyncio.timeout(20):
            await asyncio.gather(*requests)
        result = done(await running)

        assert result.rows == 100
        assert sizes[:2] == [100, 50]
        assert await times_done(pool) == {1: 100}
        assert pool.get_size() == pool.get_idle_size()


@pytest.mark.asyncio
async def test_who_waits_for_somebody_else_disturbs_no_batch(
    pool: Pool, database: str
) -> None:
    await numbered(pool, 40)
    await pool.execute("CREATE TABLE other (id int)")
    sizes: list[int] = []
    let_go = asyncio.Event()

    class Long(TableBackfill):
        table = "items"

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            sizes.append(len(rows))
            # Longer than the guard waits before it looks, and long enough to look.
            await connection.execute("SELECT pg_sleep(2.5)")
            let_go.set()

    async with connected(database) as first, connected(database) as second:
        holding = first.transaction()
        await holding.start()
        await first.execute("LOCK other")
        waiting = asyncio.create_task(second.execute("BEGIN; LOCK other; COMMIT"))
        await somebody_is(database, f"{WAITS} AND query LIKE '%LOCK other%'")
        result = done(await Long.run(pool=pool))
        assert not waiting.done()
        await holding.rollback()
        await waiting

    assert sizes == [40]
    assert result.rows == 40


@pytest.mark.asyncio
async def test_a_run_leaves_no_alarm_behind(pool: Pool) -> None:
    await numbered(pool, 40)

    class Quick(TableBackfill):
        table = "items"
        statement = "UPDATE items SET n = n + 1 WHERE {batch}"

    done(await Quick.run(pool=pool))

    handles = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert [each for each in handles if "Guard" in repr(each)] == []


@pytest.mark.asyncio
async def test_batches_are_shown_by_their_name_and_under_limits(
    pool: Pool, database: str
) -> None:
    await numbered(pool, 3)
    shown: list[tuple[object, ...]] = []

    class Looking(TableBackfill):
        name = "look'ing \\ at " + "x" * 80
        table = "items"
        timeout = 40.0
        lock_timeout = 0.25

        async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
            shown.append(
                tuple(
                    await connection.fetchrow(
                        "SELECT current_setting('statement_timeout'),"
                        " current_setting('lock_timeout'),"
                        " current_setting('idle_in_transaction_session_timeout'),"
                        " current_setting('application_name')"
                    )
                )
            )

    done(await Looking.run(pool=pool))
    after = await pool.fetchval("SHOW lock_timeout")

    assert shown == [
        (
            "36s",
            "250ms",
            "40s",
            ("adaptive_backfill:look'ing \\ at " + "x" * 80)[:63],
        )
    ]
    assert after == "0"


class Looks:
    """A pool whose lookout sees what is scripted: pid, seconds and name of a waiter."""

    def __init__(self, *rows: tuple[int, float | None, str] | None) -> None:
        self._rows = iter(rows)
        self.lookout = self
        # Of each look, who was seen at the one before.
        self.told: list[object] = []

    async def look(
        self, sql: str, title: str, patience: float, pid: int, before: object, **_: Any
    ) -> dict[str, object] | None:
        self.told.append(before)
        row = next(self._rows)
        names = "pid", "seconds", "application_name"
        return None if row is None else dict(zip(names, row, strict=True))

    def begin(self) -> None: ...
    def end(self) -> None: ...
    def keep(self) -> None: ...


async def cancelled_by(looks: Looks) -> str:
    guard = Guard(cast("RunPool", looks), "it", patience=0.001)

    async def hangs(_: object) -> object:
        return await asyncio.Event().wait()

    with pytest.raises(GaveWay) as gave_way:
        await guard.over(hangs, None, 1)
    guard.rest()
    return str(gave_way.value)


@pytest.mark.asyncio
async def test_a_wait_of_hidden_length_is_believed_at_the_second_look() -> None:
    # As a role without pg_monitor sees it, before 14.
    web, other = (7, None, "web"), (8, None, "")
    looks = Looks(web, None, web, other, other)

    said = await cancelled_by(looks)

    assert said == (
        "blocked_by_us for 0.001 s or more: a session (pid 8) waits for a lock of the "
        "batch"
    )
    # So that one is followed, where there are several.
    assert looks.told == [None, 7, None, 7, 8]


@pytest.mark.asyncio
async def test_who_is_known_to_wait_for_too_long_is_believed_at_once() -> None:
    said = await cancelled_by(Looks((7, 2.04, "web")))

    assert said == (
        "blocked_by_us 2.0 s > 0.001 s: web (pid 7) waits for a lock of the batch"
    )
