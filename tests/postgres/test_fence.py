"""A run that waits for others to have what its batches wrote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from adaptive_backfill import OK, Adaptive, Pause, RunStatus
from adaptive_backfill._ports import Gate
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.postgres import _fence
from adaptive_backfill.postgres._fence import fence_of
from adaptive_backfill.postgres._wal_meter import WalMeter
from adaptive_backfill.postgres.table import TableBackfill
from adaptive_backfill.testing.postgres import temporary_server

from . import tables
from .asking import ask, new_run, pool_of, until
from .standbys import caught_up, replay_paused, standby_of
from .tables import Pool, done, numbered, times_done

pytestmark = pytest.mark.postgres
quiet = tables.quiet

SLOT = "consumer"
ROWS = 300
KIB = 1024
LIMIT = 1_024 * KIB
BATCH = 100 * KIB


PACED = {"pace": Adaptive(min_size=5, max_size=10), "health_checks": [lambda: OK]}


class Heavy(TableBackfill):
    """Writes a tenth of the limit with each batch. Nobody looks at the health."""

    name = "heavy"
    table = "items"
    batch_size = 10
    max_lag_bytes = LIMIT

    async def handle_rows(self, rows: Sequence[Any], connection: Any) -> None:
        await connection.execute(
            "UPDATE items SET n = n + 1 WHERE id = ANY($1)", [row["id"] for row in rows]
        )
        await connection.execute(
            "SELECT pg_logical_emit_message(false, 'fill', repeat('x', $1))", BATCH
        )


@pytest_asyncio.fixture
async def slot(pool: Pool) -> AsyncIterator[str]:
    """A slot whose consumer reads nothing, but when it is told to."""
    await pool.execute("SELECT pg_create_physical_replication_slot($1, true)", SLOT)
    yield SLOT
    await drop(pool)


async def drop(pool: Pool) -> None:
    await pool.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        " WHERE slot_name = $1",
        SLOT,
    )


async def confirm(pool: Pool) -> None:
    """Let the consumer have all there is."""
    await pool.execute(
        "SELECT pg_replication_slot_advance($1, pg_current_wal_flush_lsn())", SLOT
    )


def is_paused(run: Any) -> Any:
    async def paused() -> bool:
        return bool(run.progress.status == "paused")

    return paused


@pytest.mark.asyncio
@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"mode": "sync"}, PACED])
async def test_each_batch_waits_until_the_slot_has_what_those_before_it_wrote(
    pool: Pool, slot: str, options: dict[str, Any]
) -> None:
    await numbered(pool, ROWS)
    await confirm(pool)
    reasons: list[str] = []
    async with Heavy.start(pool=pool, slots=[slot], **options) as run:
        while run.progress.status != "done":
            await until(lambda: _is_paused_or_over(run))
            if run.progress.status == "done":
                break
            reasons += map(str, run.progress.reasons)
            behind = await pool.fetchval(
                "SELECT pg_current_wal_insert_lsn() - restart_lsn"
                " FROM pg_replication_slots WHERE slot_name = $1",
                slot,
            )
            # Not each five seconds, as the health: by then all would be written.
            batches = options.get("workers", 1) + 1
            assert LIMIT < behind < LIMIT + batches * 2 * BATCH
            await confirm(pool)
            await until(lambda: _goes_on(run))
        result = done(await run.wait())

    assert await times_done(pool) == {1: ROWS}
    assert len(reasons) >= 2
    assert all(each.startswith(f"slot {slot} ") for each in reasons)
    assert all(each.endswith(f" bytes behind > {LIMIT}") for each in reasons)
    assert result.waited[f"slot {slot}"] == result.paused > 0


async def _is_paused_or_over(run: Any) -> bool:
    return bool(run.progress.status in ("paused", "done"))


async def _goes_on(run: Any) -> bool:
    return bool(run.progress.status != "paused")


@pytest.mark.asyncio
async def test_who_is_known_to_follow_is_not_asked_in_each_batch(
    pool: Pool, slot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await numbered(pool, ROWS)
    await confirm(pool)
    asked: list[str] = []
    ask_it = _fence._asked

    async def asks(database: object, context: Any, sql: str, *args: object) -> Any:
        asked.append(sql)
        return await ask_it(database, context, sql, *args)

    monkeypatch.setattr(_fence, "_asked", asks)

    done(await Heavy.run(pool=pool, slots=[slot], max_lag_bytes=1_024 * LIMIT))

    # Where the WAL ends, and where the slot is, before the first batch of 30.
    assert len(asked) == 2


@pytest.mark.asyncio
async def test_max_pause_ends_a_run_for_which_nobody_confirms(
    pool: Pool, slot: str
) -> None:
    await numbered(pool, ROWS)
    await confirm(pool)

    result = await Heavy.run(pool=pool, slots=[slot], max_pause=0.2)

    assert result.status is RunStatus.HALTED
    assert f"slot {slot} " in str(result.reasons[0])
    await confirm(pool)
    assert done(await Heavy.run(pool=pool, slots=[slot], max_lag_bytes=2**40)).resumed
    assert await times_done(pool) == {1: ROWS}


@pytest.mark.asyncio
async def test_a_slot_that_is_not_there_is_refused_with_those_that_are(
    pool: Pool, slot: str
) -> None:
    await numbered(pool, 10)

    result = await Heavy.run(pool=pool, slots=["consumr", "other", slot])

    assert isinstance(result.error, ConfigurationError)
    said = str(result.error)
    assert "Heavy cannot be used" in said
    assert "the server has no replication slot 'consumr'" in said
    assert "the server has no replication slot 'other'; there are: " in said
    assert slot in said.partition("there are: ")[2]
    assert await times_done(pool) == {0: 10}


@pytest.mark.asyncio
async def test_a_slot_that_goes_away_in_mid_run_has_it_wait_and_say_so(
    pool: Pool, slot: str
) -> None:
    await numbered(pool, ROWS)
    await confirm(pool)

    async def goes_away(state: object) -> None:
        await drop(pool)

    async with Heavy.start(pool=pool, slots=[slot], on_success=goes_away) as run:
        await until(is_paused(run))
        await until(lambda: _says(run, "is gone"))
        (reason,) = map(str, run.progress.reasons)
        assert run.progress.rows < ROWS

    assert reason == (
        f"slot {slot} is gone, or reserves no WAL: whoever read from it may have lost "
        "some"
    )


async def _says(run: Any, what: str) -> bool:
    return any(what in str(reason) for reason in run.progress.reasons)


def checks_of(gate: Gate | None) -> list[Any]:
    assert gate is not None
    return list(gate.checks)


@pytest.mark.asyncio
async def test_a_run_waits_until_its_standby_has_replayed_enough() -> None:
    with temporary_server() as primary, standby_of(primary) as standby:
        async with pool_of(primary.dsn(), 4) as pool:
            await numbered(pool, 10)
            meter = WalMeter(lambda: True)
            dsn = [standby.dsn()]
            gate = fence_of(meter, 1_000_000, standbys=dsn, slots=[])
            (fence,) = checks_of(gate)
            assert gate is not None
            run = new_run()
            run = type(run)(run.name, pool=pool, run_id=run.run_id)
            await caught_up(primary)
            before = await ask(fence, run)
            async with replay_paused(primary, standby), pool.acquire() as connection:
                since = await meter.position(connection)
                await pool.execute(
                    "CREATE TABLE wal AS SELECT g FROM generate_series(1, 50000) g"
                )
                await meter.count(connection, since)
                was_open = gate.is_open()
                behind = await ask(fence, run)
            await caught_up(primary)
            after = await ask(fence, run)

        where = f"{standby.host}:{standby.port}"
        assert not isinstance(before, Pause)
        assert not was_open
        assert isinstance(behind, Pause)
        assert str(behind.reason).startswith(f"standby {where} ")
        assert str(behind.reason).endswith(" bytes behind > 1000000")
        assert not isinstance(after, Pause)
        assert gate.is_open()


class Positions:
    """Answers for the primary and for the slot, in bytes of WAL."""

    def __init__(self, slot: int, *ends: int) -> None:
        self.slot = slot
        self.ends = list(ends)

    async def __call__(
        self, database: object, context: Any, sql: str, *args: object
    ) -> int:
        return self.slot if args else self.ends.pop(0)


@pytest.mark.asyncio
async def test_before_the_first_batch_the_reader_need_not_get_what_comes_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    positions = Positions(900, 10_000, 20_000, 30_000)
    monkeypatch.setattr(_fence, "_asked", positions)
    gate = fence_of(WalMeter(lambda: True), 1_000, standbys=[], slots=[SLOT])
    (fence,) = checks_of(gate)

    first = await ask(fence)
    positions.slot = 9_500
    then = await ask(fence)

    assert str(getattr(first, "reason", "")) == (
        f"slot {SLOT} {10_000 - 40 - 900} bytes behind > 1000"
    )
    assert then is OK


@pytest.mark.asyncio
async def test_where_the_wal_goes_back_nobody_waits_for_what_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meter = WalMeter(lambda: True)
    meter._counted_to = 90_000
    monkeypatch.setattr(_fence, "_asked", Positions(9_500, 10_000, 10_000))
    (fence,) = checks_of(fence_of(meter, 1_000, standbys=[], slots=[SLOT]))

    assert await ask(fence) is OK


@pytest.mark.asyncio
async def test_a_server_that_is_no_standby_is_said_to_be_none(database: str) -> None:
    gate = fence_of(WalMeter(lambda: True), 1, standbys=[database], slots=[])
    (fence,) = checks_of(gate)
    async with pool_of(database, 2) as pool:
        run = new_run()
        found = await ask(fence, type(run)(run.name, pool=pool, run_id=run.run_id))

    assert isinstance(found, Pause)
    assert str(found.reason).endswith(" is no standby, or has replayed nothing yet")


@pytest.mark.asyncio
async def test_a_run_is_fenced_by_the_standbys_that_it_names() -> None:
    class Fenced(TableBackfill):
        table = "items"
        batch_size = 5
        statement = "UPDATE items SET n = n + 1 WHERE {batch}"

    with temporary_server() as primary, standby_of(primary) as standby:
        async with pool_of(primary.dsn(), 4) as pool:
            await numbered(pool, 20)
            async with Fenced.start(pool=pool, standbys=[standby.dsn()]) as run:
                done(await run.wait())
            away = await asyncio.to_thread(_stopped, standby)
            async with Fenced.start(pool=pool, standbys=[away]) as run:
                await until(is_paused(run))
                reasons = [str(reason) for reason in run.progress.reasons]
                await asyncio.to_thread(standby.start)
                done(await run.wait())

            assert await times_done(pool) == {2: 20}
    assert reasons[0].startswith(f"standby {standby.host}:{standby.port}")


def _stopped(server: Any) -> str:
    server.stop()
    dsn: str = server.dsn()
    return dsn


def test_nobody_to_wait_for_is_no_gate() -> None:
    assert fence_of(WalMeter(lambda: True), 1, standbys=[], slots=[]) is None


def test_a_password_is_never_shown() -> None:
    dsns = ["postgresql://me:secret@db2:5433/x", "host=db password=secret"]
    checks = checks_of(fence_of(WalMeter(lambda: True), 1, standbys=dsns, slots=[]))

    assert [check.name for check in checks] == ["standby db2:5433", "standby 2"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"standbys": [object()]}, "standbys must be a sequence of DSNs"),
        ({"slots": "consumer"}, "slots must be a sequence of names of replication"),
        ({"slots": [1]}, "slots must be a sequence of names of replication slots"),
        ({"max_lag_bytes": -1}, "max_lag_bytes must be an int of at least 0"),
    ],
)
def test_whom_to_wait_for_is_looked_at_when_the_class_is_made(
    option: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        type("Fenced", (Heavy,), option)


def test_a_standby_that_is_no_dsn_is_refused_with_all_else_and_not_shown() -> None:
    wrong = {"standbys": ["postgresql://db2/x", "host=db3 password=secret"]}

    with pytest.raises(ConfigurationError) as refused:
        type("Fenced", (Heavy,), {**wrong, "max_lag_bytes": "1 MB"})

    said = str(refused.value)
    assert "standbys must be DSNs such as postgresql://user@host:5432/database" in said
    assert "see to number 2" in said
    assert "secret" not in said
    assert "max_lag_bytes must be an int of at least 0, not '1 MB'" in said
