"""A FastAPI service that runs a backfill while it serves.

Run it: `uv run python examples/fastapi_service.py`.

The upper half is the service, as `uvicorn` would start it. The lower half proves what
it promises: it starts the service, asks it for users and for progress, ends it by
SIGTERM in the middle of a batch, starts it again, and counts that every row was done
once.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException
from scaffold import Pool, expect, pool_of, run_example_at, until

from adaptive_backfill import (
    DONE,
    Answer,
    Backfill,
    Checkpoint,
    Next,
    Runs,
    SqliteStore,
)
from adaptive_backfill.postgres import checks

STORE = SqliteStore(os.environ.get("BACKFILL_STORE", "backfills.db"))


class UsersToV2(Backfill[int]):
    """Bring every user to version 2, once, however often the service is started."""

    pool: Pool
    name = "users_v2"
    initial_state = 0
    batch_size = 100
    timeout = 30.0
    health_checks = checks.recommended()
    checkpoint = Checkpoint(STORE)
    once = True
    if_running = "wait"  # another replica of the service may be at it

    async def total(self) -> int:
        counted: int = await self.pool.fetchval("SELECT count(*) FROM users")
        return counted

    async def handle_batch(self, state: int) -> Answer[int]:
        # The connection comes from the pool, so that a transaction that is cancelled
        # is rolled back.
        async with self.pool.acquire() as connection, connection.transaction():
            ids = await connection.fetch(
                "SELECT id FROM users WHERE id > $1 ORDER BY id LIMIT $2",
                state,
                self.batch_size,
            )
            if not ids:
                return DONE
            await connection.execute(
                "UPDATE users SET version = 2, times_done = times_done + 1"
                " WHERE id > $1 AND id <= $2 AND version = 1",
                state,
                ids[-1]["id"],
            )
            # On a big table a batch takes its time.
            await connection.execute("SELECT pg_sleep(0.15)")
        return Next(ids[-1]["id"], rows=len(ids))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Run the backfill for as long as the service runs.

    Leaving the block lets the batch under way finish, for at most *grace* seconds,
    and only then closes the pool.
    """
    async with (
        pool_of(os.environ["DATABASE_URL"]) as pool,
        UsersToV2.start(pool=pool, grace=10.0) as run,
    ):
        app.state.pool, app.state.run = pool, run
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/users/{user_id}")
async def user(user_id: int) -> dict[str, Any]:
    found = await app.state.pool.fetchrow(
        "SELECT id, version FROM users WHERE id = $1", user_id
    )
    if found is None:
        raise HTTPException(404)
    return dict(found)


@app.get("/progress")
async def progress() -> dict[str, Any]:
    now = app.state.run.progress
    return {
        "status": now.status,
        "rows": now.rows,
        "total": now.total,
        "share": now.share,
        "rows_a_second": now.rate,
        "seconds_left": now.eta,
        "reasons": [str(reason) for reason in now.reasons],
    }


# --- The proof -------------------------------------------------------------------

USERS = """
CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version int NOT NULL DEFAULT 1,
    times_done int NOT NULL DEFAULT 0
);
INSERT INTO users (version) SELECT 1 FROM generate_series(1, 1000);
"""

IN_A_BATCH = """
SELECT count(*) FROM pg_stat_activity
WHERE state = 'active' AND query = 'SELECT pg_sleep(0.15)'
"""


async def prove(dsn: str) -> str:
    with TemporaryDirectory() as name:
        folder = Path(name)
        async with pool_of(dsn) as pool:
            await pool.execute(USERS)
            await first_life(dsn, folder, pool)
            await second_life(dsn, folder)
            done = await pool.fetchval("SELECT count(*) FROM users WHERE version = 2")
            expect("users done", done, 1000)
            once = await pool.fetchval(
                "SELECT count(*) FROM users WHERE times_done = 1"
            )
            expect("users done once", once, 1000)
        await third_life(dsn, folder)
    return "1000 users, each done once, over two lives of the service"


async def first_life(dsn: str, folder: Path, pool: Pool) -> None:
    async def is_in_a_batch() -> bool:
        return bool(await pool.fetchval(IN_A_BATCH))

    async with service(dsn, folder) as running:
        await until("rows are done", running.has_done_rows)
        print("a user, meanwhile:", await running.get("/users/1"))
        print("progress:", await running.get("/progress"))
        await until("a batch is under way", is_in_a_batch)
        print("SIGTERM, in the middle of a batch")

    done = await pool.fetchval("SELECT count(*) FROM users WHERE version = 2")
    kept = await Runs(SqliteStore(folder / "backfills.db")).status("users_v2")
    print(f"the service is down, and {done} users are done")
    expect("rows that the store knows of", kept and kept.rows, done)
    expect("the first life did some and left some", 0 < done < 1000, True)


async def second_life(dsn: str, folder: Path) -> None:
    async with service(dsn, folder) as running:
        await until("it is done", running.is_done)
        print("progress:", await running.get("/progress"))


async def third_life(dsn: str, folder: Path) -> None:
    async with service(dsn, folder) as running:
        await until("it is skipped", running.is_skipped)
        print("progress:", await running.get("/progress"))


@asynccontextmanager
async def service(dsn: str, folder: Path) -> AsyncIterator[Service]:
    """Run the service in a process of its own for the block; end it by SIGTERM."""
    socket = folder / "service.sock"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "fastapi_service:app"),
        *("--uds", str(socket), "--log-level", "warning"),
        cwd=Path(__file__).parent,
        env={
            **os.environ,
            "DATABASE_URL": dsn,
            "BACKFILL_STORE": str(folder / "backfills.db"),
        },
    )
    transport = httpx.AsyncHTTPTransport(uds=str(socket))
    try:
        async with httpx.AsyncClient(
            transport=transport, base_url="http://service"
        ) as client:
            running = Service(client)
            await until("it is up", running.is_up)
            yield running
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(20):
            await process.wait()


class Service:
    """What the proof asks of the service."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def get(self, path: str) -> Any:
        answer = await self._client.get(path)
        expect(f"GET {path}", answer.status_code, 200)
        return answer.json()

    async def is_up(self) -> bool:
        try:
            await self.get("/progress")
        except httpx.TransportError:
            return False
        return True

    async def has_done_rows(self) -> bool:
        return bool((await self.get("/progress"))["rows"])

    async def is_done(self) -> bool:
        return bool((await self.get("/progress"))["status"] == "done")

    async def is_skipped(self) -> bool:
        return bool((await self.get("/progress"))["status"] == "skipped")


if __name__ == "__main__":
    run_example_at("fastapi_service", prove)
