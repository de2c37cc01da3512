"""Open a pool for each parameter of a backfill that is one and is given a DSN."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg

from adaptive_backfill.cli.declared import Declared
from adaptive_backfill.cli.trouble import Failure, Trouble, explained

__all__ = ["VARIABLE", "with_pools"]

VARIABLE = "DATABASE_URL"
"""The environment variable that a pool is opened from where nobody gives a DSN."""

_SCHEMES = ("postgresql://", "postgres://")
_POOL = re.compile(r"\bPool\b")

_SIZE = 5
_SECONDS_TO_CONNECT = 10.0
_SECONDS_TO_CLOSE = 5.0
# A bound against a network that swallows packets, not against slow statements: those
# are for the backfill's own `timeout`.
_SECONDS_FOR_A_COMMAND = 600.0
_LONGEST_APPLICATION_NAME = 63


@asynccontextmanager
async def with_pools(
    declared: Declared, overrides: Mapping[str, object]
) -> AsyncIterator[dict[str, object]]:
    """Yield *overrides* with an open pool in place of each DSN for one.

    A pool that must be given, and is not, is opened from `DATABASE_URL`.

    Raises:
        Trouble: A DSN is missing or wrong, or leads nowhere.
    """
    given = dict(overrides)
    async with AsyncExitStack() as stack:
        for name in filter(lambda each: _is_pool(declared, each), declared.parameters):
            value = given.get(name)
            if name not in given and name in declared.required:
                value = _from_environment(name)
            if isinstance(value, str):
                opened = _opened(declared.name, name, value)
                given[name] = await stack.enter_async_context(opened)
        yield given


def _is_pool(declared: Declared, parameter: str) -> bool:
    annotation = declared.annotation(parameter)
    text = annotation if isinstance(annotation, str) else repr(annotation)
    return _POOL.search(text) is not None


def _from_environment(name: str) -> str:
    dsn = os.environ.get(VARIABLE)
    if dsn:
        return dsn
    msg = (
        f"{name} is missing: set the environment variable {VARIABLE} to "
        f"postgresql://user:password@host/database, or pass --set {name}=postgresql://"
        "... (then others on this machine can read the password)."
    )
    raise Trouble(msg)


@asynccontextmanager
async def _opened(title: str, name: str, dsn: str) -> AsyncIterator[asyncpg.Pool[Any]]:
    if not dsn.startswith(_SCHEMES):
        # Not shown: it may hold a password.
        msg = f"{name} is no DSN; one looks like postgresql://user@host/database."
        raise Trouble(msg)
    pool = await _connected(title, name, dsn)
    try:
        yield pool
    finally:
        try:
            await asyncio.wait_for(pool.close(), _SECONDS_TO_CLOSE)
        except TimeoutError:
            # A handler kept a connection to itself.
            pool.terminate()


async def _connected(title: str, name: str, dsn: str) -> asyncpg.Pool[Any]:
    application = f"adaptive_backfill:{title}"[:_LONGEST_APPLICATION_NAME]
    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=_SIZE,
            timeout=_SECONDS_TO_CONNECT,
            command_timeout=_SECONDS_FOR_A_COMMAND,
            server_settings={"application_name": application},
        )
    except ValueError as error:
        msg = f"The DSN of {name} is wrong. {explained(error)}"
        raise Trouble(msg) from error
    except TimeoutError as error:
        msg = (
            f"There is no connection for {name}: the server did not answer in "
            f"{_SECONDS_TO_CONNECT:g} s. Check host and port, and any firewall between."
        )
        raise Failure(msg) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        msg = f"There is no connection for {name}. {explained(error)}"
        raise Failure(msg) from error
