"""The pool of a `PostgresStore`: given, or asked for at each use.

A store is mostly declared at import time, when there is no pool yet, and may serve one
event loop after another: so a callable is asked anew each time.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeGuard

import asyncpg

from adaptive_backfill.errors import CheckpointError

__all__ = ["Pool", "PoolSource", "pool_of", "pool_problems"]

Pool: TypeAlias = "asyncpg.Pool[Any]"

PoolSource: TypeAlias = "Pool | Callable[[], Pool | Awaitable[Pool]]"
"""An asyncpg pool, or a callable that returns it, sync or async."""


def pool_problems(pool: object) -> list[str]:
    """Return what is wrong with *pool* as it was given; never shows a DSN."""
    if callable(pool) and not isinstance(pool, type):
        return []
    problem = _problem(pool)
    return [f"pool {problem}"] if problem else []


async def pool_of(source: object) -> Pool:
    """Return the pool that *source*, a valid `PoolSource`, means now.

    Raises:
        CheckpointError: It is not to be had, or not to be used here.
        Exception: What a callable raised.
    """
    found = source
    if callable(found):
        found = found()
        # A pool can be awaited too, but to open it is for whoever closes it.
        if inspect.isawaitable(found) and not isinstance(found, asyncpg.Pool):
            found = await found
        if not _is_pool(found):
            msg = f"PostgresStore has no pool: what it got {_problem(found)}."
            raise CheckpointError(msg)
    if not _is_pool(found):
        msg = f"PostgresStore has no pool: it {_problem(found)}."
        raise CheckpointError(msg)
    # asyncpg has no public name for it, and fails in obscure ways.
    loop = getattr(found, "_loop", None)
    if loop is not None and loop is not asyncio.get_running_loop():
        msg = (
            "The pool of PostgresStore belongs to another event loop. Make it in the "
            "one that runs the backfill, or give the store a callable that returns "
            "this loop's pool."
        )
        raise CheckpointError(msg)
    return found


def _is_pool(value: object) -> TypeGuard[Pool]:
    return not _problem(value)


def _problem(value: object) -> str:
    if isinstance(value, asyncpg.Connection):
        return (
            "is a bare connection, on which a batch and the heartbeat of its lease "
            "would get in each other's way; give the pool"
        )
    if isinstance(value, str):
        # Not shown: it may hold a password.
        return (
            "is a str; open a pool, await asyncpg.create_pool(dsn), and give that, or "
            "a callable that returns it"
        )
    if not isinstance(value, type) and (
        hasattr(value, "acquire") and hasattr(value, "release")
    ):
        return ""
    return f"is {value!r}; give an asyncpg pool, or a callable that returns one"
