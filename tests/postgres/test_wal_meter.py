"""How the WAL of a run's batches is counted."""

from __future__ import annotations

from typing import Any, cast

import pytest

from adaptive_backfill.postgres._wal_meter import WalMeter


class Server:
    """Tells where its WAL goes to."""

    def __init__(self) -> None:
        self.at = 0

    async def fetchval(self, query: str) -> int:
        return self.at


@pytest.mark.asyncio
async def test_what_is_written_while_two_batches_overlap_counts_once() -> None:
    server, meter = Server(), WalMeter(lambda: True)
    connection = cast("Any", server)
    one = await meter.position(connection)
    server.at = 30
    other = await meter.position(connection)

    server.at = 100
    await meter.count(connection, one)
    server.at = 150
    await meter.count(connection, other)

    assert await meter.written() == 150


@pytest.mark.asyncio
async def test_what_is_written_between_two_batches_does_not_count() -> None:
    server, meter = Server(), WalMeter(lambda: True)
    connection = cast("Any", server)
    for begin, end in ((0, 10), (500, 520)):
        server.at = begin
        since = await meter.position(connection)
        server.at = end
        await meter.count(connection, since)

    assert await meter.written() == 30


@pytest.mark.asyncio
async def test_nobody_looks_where_nobody_wants_to_know() -> None:
    meter = WalMeter(lambda: False)

    since = await meter.position(cast("Any", None))
    await meter.count(cast("Any", None), since)

    assert (since, await meter.written()) == (None, 0)
