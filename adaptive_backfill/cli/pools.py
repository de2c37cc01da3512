"""Open a pool for each parameter of a backfill that is one and is given a DSN.

A `PostgresBackfill` opens its own; it is only seen to that it can.
"""

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

__all__ = ["VARIABLE", "dsn_of", "is_dsn", "opened", "with_pools"]

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
    if "dsn" in declared.options:
        await _see_to_own(declared, given)
    async with AsyncExitStack() as stack:
        for name in filter(lambda each: _is_pool(declared, each), declared.parameters):
            value = given.get(name)
            if name not in given and name in declared.required:
                value = _from_environment(name)
            if isinstance(value, str):
                opening = opened(declared.name, name, value)
                given[name] = await stack.enter_async_context(opening)
        yield given


def is_dsn(text: str) -> bool:
    """Whether *text* is meant as a DSN."""
    return text.startswith(_SCHEMES)


def dsn_of(name: str, value: str | None) -> str:
    """Return *value*, or else what is in `DATABASE_URL`.

    Raises:
        Trouble: There is none, or it is no DSN.
    """
    dsn = _from_environment(name) if value is None else value
    if is_dsn(dsn):
        return dsn
    # Not shown: it may hold a password.
    msg = f"{name} is no DSN; one looks like postgresql://user@host/database."
    raise Trouble(msg)


async def _see_to_own(declared: Declared, given: dict[str, object]) -> None:
    """Connect once to where the run of a `PostgresBackfill` will open its pool.

    So that it is told in a sentence, and before a run begins, where that cannot be.
    """
    name = "pool" if isinstance(given.get("pool"), str) else "dsn"
    value = given.get(name, declared.values.get("dsn"))
    if not isinstance(value, str):
        if given.get("pool", declared.values.get("pool")) is not None:
            return
        value = None
    dsn = dsn_of("pool", value)
    given.update(pool=None, dsn=dsn)
    async with opened(declared.name, "pool", dsn, size=1):
        pass


def _is_pool(declared: Declared, parameter: str) -> bool:
    annotation = declared.annotation(parameter)
    text = annotation if isinstance(annotation, str) else repr(annotation)
    return _POOL.search(text) is not None


def _from_environment(name: str) -> str:
    dsn = os.environ.get(VARIABLE)
    if dsn:
        return dsn
    option = f"{name} " if name.startswith("--") else f"--set {name}="
    msg = (
        f"{name} is missing: set the environment variable {VARIABLE} to "
        f"postgresql://user:password@host/database, or pass {option}postgresql://"
        "... (then others on this machine can read the password)."
    )
    raise Trouble(msg)


@asynccontextmanager
async def opened(
    title: str, name: str, dsn: str | None, size: int = _SIZE
) -> AsyncIterator[asyncpg.Pool[Any]]:
    """Open a pool for the block.

    Args:
        title: Whose it is, for the server.
        name: What to call it to people; the DSN is never shown.
        dsn: Where to; by default `DATABASE_URL`.
        size: Connections at most.

    Raises:
        Trouble: The DSN is wrong.
        Failure: It leads nowhere.
    """
    pool = await _connected(title, name, dsn_of(name, dsn), size)
    try:
        yield pool
    finally:
        try:
            await asyncio.wait_for(pool.close(), _SECONDS_TO_CLOSE)
        except TimeoutError:
            # A handler kept a connection to itself.
            pool.terminate()


async def _connected(title: str, name: str, dsn: str, size: int) -> asyncpg.Pool[Any]:
    application = f"adaptive_backfill:{title}"[:_LONGEST_APPLICATION_NAME]
    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=size,
            timeout=_SECONDS_TO_CONNECT,
            command_timeout=_SECONDS_FOR_A_COMMAND,
            server_settings={"application_name": application},
        )
    except asyncpg.exceptions.ClientConfigurationError as error:
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
    except ValueError:
        # Not shown: a password with a slash is taken for a port, and quoted. A refused
        # certificate is of this kind, too, and was said above.
        msg = (
            f"The DSN of {name} is wrong: its host is no name, its port is no number, "
            "or user or password have a character that must be written as its code, "
            "such as %2F for a slash."
        )
        raise Trouble(msg) from None
