"""Where a health check looks: a pool, a way to one, a DSN, or the run's own pool.

Checks are declared at import time, when there is mostly no pool yet, and they are
shared by runs in different event loops: so what was declared is looked up anew for
each sampling.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeGuard

import asyncpg

from adaptive_backfill.errors import BackfillError

__all__ = ["Database", "Source", "Unusable", "database_of", "source_problems"]

Database: TypeAlias = "asyncpg.Pool[Any] | str"
"""What can be connected to: an asyncpg pool, or a DSN."""

Source: TypeAlias = "Database | Callable[[], Database | Awaitable[Database]] | None"
"""A database, a callable that returns one, or `None` for the run's own pool."""

_SCHEMES = ("postgresql://", "postgres://")


class Unusable(BackfillError):
    """The database cannot be looked at; the message is the reason people read."""


def source_problems(source: object) -> list[str]:
    """Return what is wrong with *source* as it was declared; never shows a DSN."""
    if source is None or callable(source):
        return []
    problem = _problem(source)
    return [f"pool {problem}"] if problem else []


async def database_of(source: object, own: object) -> Database:
    """Return the database that *source* means now.

    Args:
        source: A valid `Source`.
        own: The run's own pool, if it has one; used where *source* is `None`.

    Raises:
        Unusable: There is no pool, or it cannot be used here.
        Exception: What a callable raised.
    """
    found = own if source is None else source
    if found is None:
        msg = "there is no pool: give the check one, or the run (`run(pool=...)`)"
        raise Unusable(msg)
    if callable(found):
        found = found()
        # A pool can be awaited too, but that would open it, and nobody close it.
        if inspect.isawaitable(found) and not isinstance(found, asyncpg.Pool):
            found = await found
    if not _is_database(found):
        msg = f"the pool {_problem(found)}"
        raise Unusable(msg)
    # asyncpg has no public name for it, and fails in obscure ways.
    loop = getattr(found, "_loop", None)
    if loop is not None and loop is not asyncio.get_running_loop():
        msg = (
            "the pool belongs to another event loop: make it in the one that runs the "
            "backfill, or give the check a callable that returns this loop's pool"
        )
        raise Unusable(msg)
    return found


def _is_database(value: object) -> TypeGuard[Database]:
    return not _problem(value)


def _problem(value: object) -> str:
    if isinstance(value, asyncpg.Connection):
        return (
            "is a bare connection, which cannot do a batch and be asked for health at "
            "the same time: give the pool"
        )
    if isinstance(value, str):
        # Not shown: it may hold a password.
        return "" if value.startswith(_SCHEMES) else "is no DSN: postgresql://..."
    if hasattr(value, "acquire") and hasattr(value, "release"):
        return ""
    return (
        f"is {value!r}: give an asyncpg pool, a callable that returns one, or a DSN; "
        "without one, the run's own pool is used"
    )
