"""A server that comes back as it was some time ago, while a run lives on."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adaptive_backfill import Backfill, RunStatus
from adaptive_backfill.errors import CheckpointError
from adaptive_backfill.testing.postgres import Server, temporary_server
from tests.postgres.asking import pool_of, until
from tests.postgres.tables import done, numbered, times_done

from .test_table_server import ROWS, ByHand, ByRows, ByStatement

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(180)]


@pytest.fixture
def own() -> Iterator[Server]:
    with temporary_server() as server:
        yield server


def copied(source: Path, to: Path) -> None:
    """Copy *source* *to* where nothing is, with its owner."""
    owner = source.stat()
    shutil.copytree(source, to)
    for path in (to, *to.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)


def keep(server: Server, kept: Path) -> None:
    server.stop()
    copied(server.data, kept)
    server.start()


def go_back(server: Server, kept: Path) -> None:
    """Crash, and come back as a standby does that had got no more than is *kept*."""
    server.kill()
    shutil.rmtree(server.data)
    copied(kept, server.data)
    server.start()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("backfill", "options"),
    [(ByStatement, {}), (ByRows, {}), (ByStatement, {"workers": 2}), (ByHand, {})],
)
async def test_no_row_is_left_out_where_the_server_lost_batches_it_had_committed(
    own: Server, tmp_path: Path, backfill: type[Backfill[Any]], options: dict[str, int]
) -> None:
    kept = tmp_path / "kept"
    async with pool_of(own.dsn(), 5) as pool:
        await numbered(pool, ROWS)
        async with backfill.start(pool=pool, **options) as run:

            async def has(rows: int) -> None:
                async def is_so_far() -> bool:
                    return run.progress.rows >= rows

                await until(is_so_far)

            await has(ROWS // 5)
            await asyncio.to_thread(keep, own, kept)
            await has(ROWS * 2 // 5)
            await asyncio.to_thread(go_back, own, kept)
            result = await run.wait()

        # A share is taken up again from where the server says that it stands.
        if result.status is not RunStatus.DONE or not options:
            assert isinstance(result.error, CheckpointError)
            result = done(await backfill.run(pool=pool, **options))
        assert await times_done(pool) == {1: ROWS}
