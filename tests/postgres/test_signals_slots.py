"""Replication slots that fall behind, and those that lose what they need."""

from __future__ import annotations

import pytest

from adaptive_backfill import OK, Halt, Pause
from adaptive_backfill.postgres import checks
from adaptive_backfill.testing.postgres import temporary_server
from tests.postgres.asking import ask, connected

pytestmark = pytest.mark.postgres

_SEGMENT = "SELECT pg_switch_wal() FROM pg_logical_emit_message(true, 'x', 'x')"


@pytest.mark.asyncio
async def test_a_slot_that_nobody_reads_is_behind_and_in_the_end_lost() -> None:
    settings = {"wal_level": "logical", "max_slot_wal_keep_size": "32MB"}
    settings |= {"min_wal_size": "32MB", "max_wal_size": "32MB"}
    with temporary_server(settings=settings) as server:
        lag = checks.slot_lag(server.dsn(), limit=8 * 2**20)
        endangered = checks.endangered_slots(server.dsn())
        async with connected(server.dsn()) as connection:
            none = [await ask(lag), await ask(endangered)]
            await connection.execute(
                "SELECT pg_create_logical_replication_slot('cdc', 'test_decoding')"
            )
            new = [await ask(lag), await ask(endangered)]
            await connection.execute(_SEGMENT)
            behind = [await ask(lag), await ask(endangered)]
            for _ in range(6):
                await connection.execute(_SEGMENT)
            await connection.execute("CHECKPOINT")
            lost = await ask(endangered)

    assert none == new == [OK, OK]
    assert isinstance(behind[0], Pause)
    assert str(behind[0].reason).startswith("slot_lag ")
    assert str(behind[0].reason).endswith(" MiB > 8 MiB (cdc)")
    assert behind[1] is OK
    assert isinstance(lost, Halt)
    assert str(lost.reason) == "endangered_slots 1 > 0 (cdc is lost)"
