"""What an operator is told by `doctor`, with and without grants."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from structlog.testing import capture_logs

from adaptive_backfill import errors
from adaptive_backfill.postgres import Diagnosis, Examined, checks, doctor
from adaptive_backfill.testing.postgres import Server
from tests.postgres.asking import (
    Pool,
    a_role,
    counts_are_kept,
    nobody_is,
    pool_of,
)


def rows(diagnosis: Diagnosis) -> dict[str, Examined]:
    return {row.signal: row for row in diagnosis.rows}


@pytest.mark.asyncio
async def test_a_server_that_is_well_is_told_so_signal_by_signal(pool: Pool) -> None:
    await pool.execute("CREATE TABLE users ()")

    diagnosis = await doctor(pool, table="users", interval=0)

    assert diagnosis.server.startswith("PostgreSQL ")
    assert diagnosis.server.endswith(", as postgres")
    expected = [check.name for check in checks.everything(table="users")]
    assert [row.signal for row in diagnosis.rows] == expected
    assert {row.verdict for row in diagnosis.rows} <= {"ok", "off", "slow"}
    found = rows(diagnosis)
    assert found["replay_lag"] == Examined("replay_lag", "all", 0, 5, " s", "ok", "")
    assert found["deadlocks"] == Examined("deadlocks", "all", 0, 0, "", "ok", "")
    assert found["read_latency"] == Examined(
        "read_latency",
        "nothing",
        None,
        None,
        "",
        "off",
        "reads are not timed; set track_io_timing = on",
    )


@pytest.mark.asyncio
async def test_a_role_without_any_grant_learns_what_it_lacks(database: str) -> None:
    async with a_role(database) as dsn:
        with capture_logs() as logs:
            blind = rows(await doctor(dsn, interval=0))
    async with a_role(database, "pg_monitor") as dsn:
        sees = rows(await doctor(dsn, interval=0))

    assert (blind["active_sessions"].sees, blind["active_sessions"].verdict) == (
        "a part",
        "unknown",
    )
    assert "; grant pg_monitor to role_" in blind["active_sessions"].advice
    assert (blind["live_temp_files"].sees, blind["live_temp_files"].verdict) == (
        "nothing",
        "off",
    )
    assert sees["active_sessions"].sees == sees["live_temp_files"].sees == "all"
    assert logs == []


@pytest.mark.asyncio
async def test_a_broken_limit_is_told_with_what_a_run_would_do(database: str) -> None:
    settings = {"default_transaction_read_only": "on"}
    async with pool_of(database, 2, server_settings=settings) as pool:
        found = rows(await doctor(pool, interval=0))

    sentence = "read_only 1 > 0 (transaction_read_only)"
    assert found["read_only"] == Examined(
        "read_only", "all", 1, 0, "", "halt", sentence
    )


@pytest.mark.asyncio
async def test_a_table_that_is_not_there_is_unknown(pool: Pool) -> None:
    found = rows(await doctor(pool, table="nothing", interval=0))

    advice = "there is no table 'nothing'; name one that the role can see"
    for signal in ("vacuum_running", "wraparound_vacuum", "vacuum_debt", "dead_rows"):
        assert found[signal] == Examined(
            signal, "nothing", None, None, "", "unknown", advice
        )


@pytest.mark.asyncio
async def test_rates_are_known_after_the_second_look(database: str) -> None:
    await counts_are_kept(database)
    found = rows(await doctor(database, interval=2.1))

    assert found["wal_rate"].value is not None
    assert found["temp_write_rate"].value is not None


@pytest.mark.asyncio
async def test_a_database_that_is_away_is_told_and_not_raised(server: Server) -> None:
    diagnosis = await doctor(server.dsn("nowhere"), interval=0)

    reason = 'no connection: database "nowhere" does not exist'
    assert diagnosis.server == reason
    asked = [row for row in diagnosis.rows if row.signal != "event_loop_lag"]
    assert {(row.verdict, row.advice) for row in asked} == {("unknown", reason)}


@pytest.mark.asyncio
async def test_the_table_is_aligned_and_has_a_line_a_signal(database: str) -> None:
    diagnosis = await doctor(database, standbys=[database], interval=0)

    server, empty, head, *lines = str(diagnosis).splitlines()
    assert server == diagnosis.server
    assert empty == ""
    assert head.split() == ["signal", "sees", "value", "limit", "verdict", "to", "do"]
    assert len(lines) == len(diagnosis.rows)
    column = head.index("verdict")
    for line, row in zip(lines, diagnosis.rows, strict=True):
        assert line.startswith(row.signal)
        assert line[column:].startswith(row.verdict)
        assert line == line.rstrip()
    with pytest.raises(FrozenInstanceError):
        diagnosis.server = "another"  # type: ignore[misc]


@pytest.mark.asyncio
async def test_nothing_stays_open(database: str) -> None:
    await doctor(database, interval=0)

    await nobody_is(database, "application_name LIKE 'adaptive_backfill%'")


@pytest.mark.asyncio
async def test_what_is_no_pool_is_refused() -> None:
    with pytest.raises(errors.ConfigurationError, match="pool is"):
        await doctor(5)  # type: ignore[arg-type]


def test_numbers_are_written_with_their_units() -> None:
    diagnosis = Diagnosis(
        "PostgreSQL 15",
        (
            Examined("slot_lag", "all", 2048.0, 1024.0, " MiB", "pause", "x > y"),
            Examined("xid_age", "all", 5.0, 1.2e9, "", "ok", ""),
            Examined("cache_hits", "all", None, None, "", "ok", ""),
        ),
    )

    assert str(diagnosis) == (
        "PostgreSQL 15\n"
        "\n"
        "signal      sees  value     limit       verdict  to do\n"
        "slot_lag    all   2048 MiB  1024 MiB    pause    x > y\n"
        "xid_age     all   5         1200000000  ok\n"
        "cache_hits  all   -         -           ok"
    )
