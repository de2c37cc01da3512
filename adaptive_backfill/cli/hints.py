"""What to do about errors that people meet most, in one table.

Each is raised by PostgreSQL, the network or the disk, below the user's own code; the
error's own words say what is wrong, and these what to do.
"""

from __future__ import annotations

import errno
import socket
import sqlite3
from collections.abc import Iterator

import asyncpg

__all__ = ["hint_for"]

_RESUMES = "Then run it again: it goes on from its checkpoint."
_FULL_DISK = f"The disk is full: make room. {_RESUMES}"
_NOBODY_LISTENS = f"Nothing listens at that host and port: is the server up? {_RESUMES}"

# The first that fits counts, so that the special come before the general.
_HINTS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((ConnectionRefusedError,), _NOBODY_LISTENS),
    (
        (socket.gaierror,),
        "The host's name leads nowhere: look for a slip in the DSN's host.",
    ),
    (
        (
            asyncpg.InvalidPasswordError,
            asyncpg.InvalidAuthorizationSpecificationError,
        ),
        "Check user and password in the DSN, and the server's pg_hba.conf.",
    ),
    (
        (asyncpg.InvalidCatalogNameError,),
        "Check the database's name, the last part of the DSN.",
    ),
    (
        (asyncpg.exceptions.ClientConfigurationError,),
        "A DSN looks like postgresql://user:password@host:5432/database.",
    ),
    (
        (asyncpg.InsufficientPrivilegeError,),
        "Grant the role what it lacks (GRANT SELECT, UPDATE ON <table> TO <role>), or "
        f"connect as another. {_RESUMES}",
    ),
    (
        (asyncpg.UndefinedTableError,),
        "Check the table's name, its schema and the search_path, and that the DSN "
        "leads to the right database.",
    ),
    (
        (asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError),
        "Check the statement against the table, and that its migration has run here.",
    ),
    (
        (asyncpg.ReadOnlySQLTransactionError,),
        "This server only reads, as a replica does: connect to the primary.",
    ),
    (
        (asyncpg.TooManyConnectionsError,),
        f"The server has no connection left: free some, or take fewer. {_RESUMES}",
    ),
    (
        (
            asyncpg.DeadlockDetectedError,
            asyncpg.SerializationError,
            asyncpg.LockNotAvailableError,
        ),
        "Others were in the way. `retry = Retry(attempts=5)` tries such a batch again.",
    ),
    (
        (asyncpg.QueryCanceledError,),
        "The server broke the statement off, by its statement_timeout or for an "
        "administrator: take fewer rows a batch.",
    ),
    (
        (
            asyncpg.PostgresConnectionError,
            asyncpg.CannotConnectNowError,
            asyncpg.OperatorInterventionError,
            ConnectionError,
        ),
        f"The server went away, or is just starting: see that it is up. {_RESUMES}",
    ),
    (
        (asyncpg.DiskFullError,),
        f"The server's disk is full: make room there. {_RESUMES}",
    ),
    (
        (PermissionError,),
        "See to the permissions of that file or folder.",
    ),
)


def hint_for(error: BaseException) -> str | None:
    """Return what to do about *error*, or about what caused it, if it is known."""
    for each in _chain(error):
        if isinstance(each, sqlite3.Error):
            # The store has said it already, in its own error.
            return None
        for kinds, hint in _HINTS:
            if isinstance(each, kinds):
                return hint
        if isinstance(each, OSError):
            return _os_hint(each)
    return None


def _os_hint(error: OSError) -> str | None:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _FULL_DISK
    # What asyncio says when a name has several addresses, and none of them answers.
    if "Connect call failed" in str(error):
        return _NOBODY_LISTENS
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield *error*, what is in it if it is a group, and what caused it."""
    seen: set[int] = set()
    pending = [error]
    while pending:
        each = pending.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            pending.extend(each.exceptions)
        if each.__cause__ is not None:
            pending.append(each.__cause__)
