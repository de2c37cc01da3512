"""A streaming replica of a server, from a cold copy of its data."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from adaptive_backfill.testing.postgres import Server, temporary_server
from tests.postgres.asking import connected, until


@contextmanager
def standby_of(primary: Server) -> Iterator[Server]:
    """Run a standby that streams from *primary*, which is restarted for it."""
    data = primary.data.parent / "standby"
    primary.stop()
    shutil.copytree(primary.data, data)
    (data / "standby.signal").touch()
    owner = primary.data.stat()
    for path in (data, *data.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    primary.start()
    source = (
        f"host={primary.host} port={primary.port} user={primary.user} "
        "application_name=db2"
    )
    # Who reads for longer is in the way of replaying.
    settings = {"primary_conninfo": source, "max_standby_streaming_delay": "500ms"}
    try:
        with temporary_server(bin=primary.bin, data=data, settings=settings) as standby:
            yield standby
    finally:
        shutil.rmtree(data)


async def caught_up(primary: Server) -> None:
    """Wait until the standby has replayed all there is."""

    async def is_level() -> bool:
        async with connected(primary.dsn()) as connection:
            return bool(
                await connection.fetchval(
                    "SELECT bool_and(replay_lsn = pg_current_wal_lsn()) "
                    "FROM pg_stat_replication"
                )
            )

    await until(is_level)


@asynccontextmanager
async def nothing_writes_by_itself(primary: Server) -> AsyncIterator[None]:
    """Freeze what writes to the WAL of *primary* now and then, also when it is idle."""
    async with connected(primary.dsn()) as connection:
        pid = await connection.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'background writer'"
        )
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def replay_paused(primary: Server, standby: Server) -> AsyncIterator[None]:
    """Let the standby receive, and replay nothing of what is written meanwhile."""
    await caught_up(primary)
    async with connected(standby.dsn()) as connection:
        await connection.execute("SELECT pg_wal_replay_pause()")
        # From 14 on it takes a moment until the request is granted.
        is_paused = (
            "SELECT pg_get_wal_replay_pause_state() = 'paused'"
            if standby.version >= 14_00_00
            else "SELECT pg_is_wal_replay_paused()"
        )
        await until(lambda: connection.fetchval(is_paused))
        try:
            yield
        finally:
            await connection.execute("SELECT pg_wal_replay_resume()")


async def write(primary: Server, rows: int = 1_000) -> None:
    """Write some WAL: about a hundred bytes a row."""
    async with connected(primary.dsn()) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS written (number int)")
        await connection.execute(
            f"INSERT INTO written SELECT generate_series(1, {rows})"
        )


async def received(primary: Server, standby: Server) -> None:
    """Wait until the standby has, not replayed, what the primary wrote."""
    async with connected(primary.dsn()) as here, connected(standby.dsn()) as there:
        position = await here.fetchval("SELECT pg_current_wal_lsn()::text")
        await until(
            lambda: there.fetchval(
                "SELECT pg_last_wal_receive_lsn() >= $1::text::pg_lsn", position
            )
        )
        await until(
            lambda: here.fetchval(
                "SELECT bool_and(flush_lsn >= $1::text::pg_lsn) "
                "FROM pg_stat_replication",
                position,
            )
        )
