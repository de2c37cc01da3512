"""A streaming replica of the server, and a way to make it slow."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import asyncpg

from adaptive_backfill.testing.postgres import Server, temporary_server

__all__ = ["slowed", "standby_of"]

_REPLAYS = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'"


@contextmanager
def standby_of(primary: Server) -> Iterator[Server]:
    """Run a replica that streams from *primary*."""
    data = primary.data.parent / "replica"
    _copy(primary, data)
    settings = {
        "shared_buffers": "1GB",
        "primary_conninfo": f"host={primary.host} port={primary.port} "
        f"user={primary.user} application_name=replica",
    }
    try:
        with temporary_server(bin=primary.bin, data=data, settings=settings) as server:
            yield server
    finally:
        shutil.rmtree(data)


@asynccontextmanager
async def slowed(dsn: str, share: float) -> AsyncIterator[None]:
    """Let the replica replay for about *share* of the time, while the block runs."""
    connection = await asyncpg.connect(dsn)
    pid = await connection.fetchval(_REPLAYS)
    await connection.close()
    slowing = asyncio.create_task(_slow(pid, share))
    try:
        yield
    finally:
        slowing.cancel()
        with suppress(asyncio.CancelledError):
            await slowing


async def _slow(pid: int, share: float, *, turn: float = 0.1) -> None:
    try:
        while True:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(turn * (1 - share))
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(turn * share)
    finally:
        # Where the replica has died, that is for others to find out.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _copy(primary: Server, data: Path) -> None:
    subprocess.run(
        [
            *(primary.bin / "pg_basebackup", "-D", data, "-d", primary.dsn()),
            *("--write-recovery-conf", "--checkpoint=fast"),
        ],
        check=True,
    )
    owner = primary.data.stat()
    for path in (data, *data.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
