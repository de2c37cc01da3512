"""The pool of a run: given, or opened for it and closed after it."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import asyncpg

from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.postgres._connecting import application_name
from adaptive_backfill.postgres._lookout import Lookout
from adaptive_backfill.postgres._store_pool import Pool, PoolSource, pool_of

__all__ = ["RunPool", "check_size"]

_SECONDS_TO_CONNECT = 10.0
_STATEMENTS = 100
"""Prepared statements that asyncpg keeps by default."""


@contextmanager
def told_of_no_connection(title: str) -> Iterator[None]:
    """Say what to do where there is no way to the database of the backfill *title*.

    What the server itself answers, such as a refused password, says enough.

    Raises:
        ConfigurationError: The DSN is none.
        TimeoutError: The server did not answer.
        ConnectionError: Nobody is there, or not as it should be.
    """
    try:
        yield
    except asyncpg.exceptions.ClientConfigurationError as error:
        msg = f"its DSN, or what goes with it in the environment, is wrong: {error}"
        raise ConfigurationError([msg], subject=title) from error
    except OSError as error:
        msg = f"{title} has no connection: {_why_none(error)}. Nothing was done"
        kind = TimeoutError if isinstance(error, TimeoutError) else ConnectionError
        raise kind(msg) from error
    except ValueError:
        # Not shown: a password with a slash is taken for a port, and quoted.
        msg = (
            "its DSN, or PGHOST or PGPORT, is wrong: its host is no name, its port is "
            "no number, or user or password have a sign that must be written as its "
            "code, such as %2F for a slash"
        )
        raise ConfigurationError([msg], subject=title) from None


def _why_none(error: OSError) -> str:
    """Return what *error* means, and what to see to."""
    if isinstance(error, TimeoutError):
        return (
            f"the server did not answer in {_SECONDS_TO_CONNECT:g} s. Check the host "
            "and port of its DSN, and any firewall between"
        )
    if isinstance(error, ssl.SSLError):
        return f"{error}. Check sslmode, sslrootcert, and the host that the DSN names"
    if isinstance(error, FileNotFoundError | PermissionError):
        return (
            f"{error}. Where the DSN names a socket's folder, see that the server is "
            "up; and that what it, or the environment, names, such as sslrootcert, is "
            "there and may be read"
        )
    return (
        f"{error}. See that the server is up, and its DSN has the right host and port"
    )


class RunPool:
    """The connections of one run.

    A pool that is given stays open; one that is opened here, by *dsn* or by the
    environment's ``DATABASE_URL``, is closed when the run is over. Both `timeout` and
    `command_timeout` are set on it: without them a dead network hangs for ever.

    Args:
        pool: A pool, or a callable that returns one; `None` to open one.
        dsn: Where to; `None` for ``DATABASE_URL``.
        title: The backfill's name, which operators see as `application_name`.
        size: Connections that batches may take at once; two more are for the lease
            and the health checks.
        command_timeout: Seconds after which a statement is given up on this side.

    Attributes:
        lookout: Looks through it for those who wait for the run's batches.
    """

    def __init__(
        self,
        pool: PoolSource | None,
        dsn: str | None,
        *,
        title: str,
        size: int,
        command_timeout: float,
    ) -> None:
        self._source = pool
        self._dsn = dsn or os.environ.get("DATABASE_URL")
        self._title = title
        self._size = size
        self._command_timeout = command_timeout
        self.lookout = Lookout(lambda: self.pool, shared=pool is not None)
        self._own: Pool | None = None
        self._pool: Pool | None = None
        if pool is None and self._dsn is None:
            msg = (
                "it has no database: pass run(pool=...) or run(dsn=...), or set the "
                "environment variable DATABASE_URL"
            )
            raise ConfigurationError([msg], subject=title)

    @property
    def pool(self) -> Pool:
        """The pool, while the run is under way."""
        if self._pool is None:
            msg = f"the pool of {self._title} is not open: the run has not begun"
            raise ConfigurationError([msg], subject=self._title)
        return self._pool

    async def __aenter__(self) -> Self:
        """Open the pool, or ask for the one that is given."""
        if self._source is not None:
            self._pool = await pool_of(self._source)
            return self
        name = application_name(self._title)
        with told_of_no_connection(self._title):
            self._own = self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=1,
                max_size=self._size + 2,
                timeout=_SECONDS_TO_CONNECT,
                command_timeout=self._command_timeout,
                server_settings={"application_name": name},
                statement_cache_size=await self._statements_to_keep(),
            )
        return self

    async def _statements_to_keep(self) -> int:
        """Return how many prepared statements a connection may have: none by a pooler.

        A pooler makes up the process id that it tells, since the server's changes; and
        in transaction mode it loses prepared statements.
        """
        connection = await asyncpg.connect(
            self._dsn, timeout=_SECONDS_TO_CONNECT, statement_cache_size=0
        )
        try:
            pid = await connection.fetchval(
                "SELECT pg_backend_pid()", timeout=_SECONDS_TO_CONNECT
            )
        finally:
            await connection.close(timeout=_SECONDS_TO_CONNECT)
        return _STATEMENTS if pid == connection.get_server_pid() else 0

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what was opened here."""
        try:
            await self.lookout.close()
        finally:
            self._pool = None
            if self._own is not None:
                await self._own.close()
                self._own = None


def check_size(pool: object, workers: int, subject: str) -> None:
    """Refuse a pool on which batches leave nothing for the lease and the health checks.

    Raises:
        ConfigurationError: It is an asyncpg pool with too few connections.
    """
    largest = pool.get_max_size() if isinstance(pool, asyncpg.Pool) else None
    if largest is None or largest > workers:
        return
    if workers == 1:
        msg = (
            "the pool has one connection, and a run needs 2: one for the batch, and "
            "one for the lease, wishes such as stop, and the health checks; give a "
            "pool with max_size=2 or more"
        )
    else:
        fewer = f", or set workers={largest - 1}" if largest > 1 else ""
        msg = (
            f"the pool has {largest} connections at most, and workers={workers} need "
            f"{workers + 1}: one for each, and one for the leases and the health "
            f"checks; give a pool with max_size={workers + 1} or more{fewer}"
        )
    raise ConfigurationError([msg], subject=subject)
