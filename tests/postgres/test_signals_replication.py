"""Lag, seen from a primary and from its standby, with a real one that streams."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adaptive_backfill import OK, Halt, Pause
from adaptive_backfill._core.answers import Measure
from adaptive_backfill.postgres import checks
from adaptive_backfill.testing.postgres import Server, temporary_server
from tests.postgres.asking import Connection, as_role, ask, connected, new_run, until
from tests.postgres.standbys import (
    caught_up,
    nothing_writes_by_itself,
    received,
    replay_paused,
    standby_of,
    write,
)

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Server, Server]]:
    with temporary_server() as primary, standby_of(primary) as standby:
        yield primary, standby


@pytest.fixture
def primary(pair: tuple[Server, Server]) -> Server:
    return pair[0]


@pytest.fixture
def standby(pair: tuple[Server, Server]) -> Server:
    return pair[1]


@pytest.mark.asyncio
async def test_a_standby_that_is_level_is_healthy(
    primary: Server, standby: Server
) -> None:
    await write(primary)
    await caught_up(primary)

    verdicts = [
        await ask(checks.replay_lag(primary.dsn(), limit_bytes=0)),
        await ask(checks.standby_lag(standby.dsn(), limit=0, limit_bytes=0)),
        await ask(checks.replicas(primary.dsn(), limit=1)),
    ]

    assert verdicts == [OK, OK, OK]


@pytest.mark.asyncio
async def test_wal_that_is_not_replayed_pauses_by_its_bytes(
    primary: Server, standby: Server
) -> None:
    async with replay_paused(primary, standby):
        await write(primary, rows=30_000)
        await received(primary, standby)
        verdicts = [
            await ask(checks.replay_lag(primary.dsn(), limit_bytes=2**20)),
            await ask(checks.standby_lag(standby.dsn(), limit=3600, limit_bytes=2**20)),
        ]

    for verdict, signal in zip(verdicts, ["replay_lag", "standby_lag"], strict=True):
        assert isinstance(verdict, Pause)
        assert str(verdict.reason).startswith(f"{signal}_bytes ")
        assert " MiB > 1 MiB" in str(verdict.reason)
    assert str(verdicts[0]).count("(db2)") == 1


@pytest.mark.asyncio
async def test_a_standby_that_has_stopped_replaying_falls_behind_with_the_time(
    primary: Server, standby: Server
) -> None:
    run, check = new_run(), checks.replay_lag(primary.dsn(), limit=0)
    async with replay_paused(primary, standby):
        await write(primary)
        await received(primary, standby)
        reasons = []
        for _ in range(2):
            await ask(check, run)
            verdict = await ask(check, run)
            assert isinstance(verdict, Pause)
            assert isinstance(verdict.reason, Measure)
            reasons.append(verdict.reason)

    assert [reason.signal for reason in reasons] == 2 * ["replay_lag"]
    assert 0 < reasons[0].observed < reasons[1].observed


@pytest.mark.asyncio
async def test_a_standby_tells_for_how_long_it_has_not_replayed(
    primary: Server, standby: Server
) -> None:
    async with replay_paused(primary, standby):
        await write(primary)
        await received(primary, standby)
        verdict = await ask(checks.standby_lag(standby.dsn(), limit=0))

    assert isinstance(verdict, Pause)
    assert str(verdict.reason).startswith("standby_lag ")


@pytest.mark.asyncio
async def test_what_comes_after_a_quiet_time_is_not_late_since_its_beginning(
    primary: Server, standby: Server
) -> None:
    await write(primary)
    age = (
        "SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())"
    )
    run, check = new_run(), checks.standby_lag(standby.dsn(), limit=0)
    async with (
        connected(standby.dsn()) as reader,
        nothing_writes_by_itself(primary),
        replay_paused(primary, standby),
    ):
        await until(lambda: _is_older(reader, age, 0.4))
        level = await ask(check, run)
        await write(primary, rows=1)
        await received(primary, standby)
        known = await ask(check, run)
        unknown = await ask(check)

    assert level is OK
    assert isinstance(known, Pause)
    assert isinstance(unknown, Pause)
    assert isinstance(known.reason, Measure)
    assert isinstance(unknown.reason, Measure)
    assert known.reason.observed <= unknown.reason.observed - 0.4


async def _is_older(connection: Connection, age: str, seconds: float) -> bool:
    return float(await connection.fetchval(age)) > seconds


@pytest.mark.asyncio
async def test_a_replica_that_is_missing_pauses(primary: Server) -> None:
    verdict = await ask(checks.replicas(primary.dsn(), limit=2))

    assert verdict == Pause("replicas 1 < 2 (db2)")


@pytest.mark.asyncio
async def test_a_role_that_sees_no_lag_pauses_and_still_counts_replicas(
    primary: Server,
) -> None:
    async with connected(primary.dsn()) as connection:
        await connection.execute("CREATE ROLE blind LOGIN")
    dsn = as_role(primary.dsn(), "blind")

    strict = await ask(checks.replay_lag(dsn))
    allowed = await ask(checks.replay_lag(dsn, allow_blind=True))
    counted = await ask(checks.replicas(dsn, limit=1))

    assert strict == Pause(
        "cannot see how far replicas are behind (1 hidden now); "
        "grant pg_monitor to blind, or say allow_blind=True"
    )
    assert (allowed, counted) == (OK, OK)


@pytest.mark.asyncio
async def test_a_primary_is_no_standby(primary: Server) -> None:
    verdict = await ask(checks.standby_lag(primary.dsn()))

    assert verdict == Pause("the server is no standby; give the DSN of one")


@pytest.mark.asyncio
async def test_a_standby_cannot_be_written(primary: Server, standby: Server) -> None:
    assert await ask(checks.read_only(primary.dsn())) is OK
    assert await ask(checks.read_only(standby.dsn())) == Halt(
        "read_only 1 > 0 (in recovery)"
    )


@pytest.mark.asyncio
async def test_every_signal_can_be_asked_of_a_standby(standby: Server) -> None:
    run = new_run()

    for check in checks.everything(standby.dsn(), standbys=[standby.dsn()]):
        verdict = await ask(check, run)
        assert verdict is OK or check.name == "read_only", (check, verdict)


@pytest.mark.asyncio
async def test_a_query_that_replaying_cancels_slows_at_the_next_look(
    primary: Server, standby: Server
) -> None:
    run, check = new_run(), checks.recovery_conflicts(standby.dsn(), action="halt")
    await ask(check, run)
    await write(primary)
    await caught_up(primary)
    async with (
        connected(standby.dsn()) as reader,
        connected(primary.dsn()) as writer,
        connected(standby.dsn()) as watcher,
    ):
        await reader.execute("SET max_parallel_workers_per_gather = 0")
        transaction = reader.transaction()
        await transaction.start()
        await reader.fetch("SELECT * FROM written LIMIT 1")
        await writer.execute("DROP TABLE written")
        counted = (
            "SELECT conflicts > 0 FROM pg_stat_database "
            "WHERE datname = current_database()"
        )
        await until(lambda: watcher.fetchval(counted))
        reader.terminate()

    verdict = await ask(check, run)

    assert verdict == Halt("recovery_conflicts 1 > 0 (since the check before)")
