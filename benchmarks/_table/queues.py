"""A job a batch on the queues that people have already, where they are installed."""

from __future__ import annotations

import importlib.util
from datetime import timedelta
from typing import Any

import asyncpg

from _table.database import SET

__all__ = [
    "has",
    "install_pgqueuer",
    "install_procrastinate",
    "pgqueuer",
    "procrastinate",
]

SIZE = 1_000

_UPDATE = f"UPDATE users SET {SET} WHERE id > $1 AND id <= $2"


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


async def _starts(pool: asyncpg.Pool[Any]) -> list[int]:
    last = await pool.fetchval("SELECT max(id) FROM users")
    return list(range(0, last, SIZE))


async def install_pgqueuer(dsn: str) -> None:
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.queries import Queries

    connection = await asyncpg.connect(dsn)
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()


async def pgqueuer(dsn: str) -> None:
    from pgqueuer import PgQueuer

    async with (
        asyncpg.create_pool(dsn, min_size=2, max_size=6) as pool,
        asyncpg.create_pool(dsn, min_size=1, max_size=1) as data,
    ):
        queue = PgQueuer.from_asyncpg_pool(pool)

        @queue.entrypoint("batch")
        async def batch(job: Any) -> None:
            start = int(job.payload)
            await data.execute(_UPDATE, start, start + SIZE)
            done.append(start)
            if len(done) == len(starts):
                # Its own way to end, `drain`, waits for some time more.
                queue.shutdown.set()

        done: list[int] = []
        starts = await _starts(data)
        payloads = [str(start).encode() for start in starts]
        count = len(starts)
        await queue.queries.enqueue(["batch"] * count, payloads, [0] * count)
        await queue.run(dequeue_timeout=timedelta(seconds=1))


async def install_procrastinate(dsn: str) -> None:
    from procrastinate import App, PsycopgConnector

    async with App(connector=PsycopgConnector(conninfo=dsn)).open_async() as app:
        await app.schema_manager.apply_schema_async()


async def procrastinate(dsn: str) -> None:
    from procrastinate import App, PsycopgConnector

    connector = PsycopgConnector(conninfo=dsn, min_size=2, max_size=6)
    app = App(connector=connector)
    async with (
        asyncpg.create_pool(dsn, min_size=1, max_size=1) as data,
        app.open_async(),
    ):

        @app.task(name="batch")
        async def batch(start: int) -> None:
            await data.execute(_UPDATE, start, start + SIZE)

        jobs = [{"start": start} for start in await _starts(data)]
        await batch.batch_defer_async(*jobs)
        await app.run_worker_async(
            wait=False, listen_notify=False, install_signal_handlers=False
        )
