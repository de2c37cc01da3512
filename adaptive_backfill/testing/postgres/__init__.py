"""A real PostgreSQL server to throw away, for the tests of your backfills.

A backfill is SQL, locks and transactions, so a fake database proves little about
one. This starts the real thing in about a second, on a free port of 127.0.0.1,
with nothing installed but a PostgreSQL server or the `[demo]` extra:

    import pytest
    from adaptive_backfill.testing.postgres import Server, temporary_server

    @pytest.fixture(scope="session")
    def server():
        with temporary_server() as server:
            yield server

    @pytest.mark.asyncio
    async def test_every_user_is_moved(server):
        connection = await asyncpg.connect(server.dsn())
        ...

It works for root too, whom PostgreSQL refuses: the server then runs as `nobody`.
The server and its data are removed when the block ends, also when the process
that started it is killed.
"""

from __future__ import annotations

from adaptive_backfill.testing.postgres.binaries import (
    ServerUnavailable,
    find_binaries,
)
from adaptive_backfill.testing.postgres.server import Server, temporary_server

__all__ = ["Server", "ServerUnavailable", "find_binaries", "temporary_server"]
