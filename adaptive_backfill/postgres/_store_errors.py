"""What a `PostgresStore` says of trouble with the server, and what to do about it."""

from __future__ import annotations

import asyncpg

from adaptive_backfill.errors import CheckpointError
from adaptive_backfill.postgres._store_schema import DEFAULT_SCHEMA

__all__ = ["GONE", "PASSING", "TROUBLE", "explained", "newer", "nothing_free"]

TROUBLE = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What comes of asking the server; a `TimeoutError` is an `OSError`."""

PASSING = (
    ConnectionResetError,
    BrokenPipeError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    # A connection that the server has just ended, before asyncpg has seen the end.
    asyncpg.InternalClientError,
    asyncpg.TransactionRollbackError,
)
"""What may be gone at the next try: a connection lost, two transactions at odds."""

GONE = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError)
"""The tables are not there."""

_AGAIN = "run it again to resume"

_NOT_MADE = (
    "this role may not make them, or may not use them; let a role that may create "
    "them run the script that {command} prints, and grant what it names at its end"
)
_AWAY = f"the server is away or restarting; once it is back, {_AGAIN}"
_POOLER = (
    "a prepared statement was lost on the way, as behind PgBouncer in transaction "
    "mode; make the pool with statement_cache_size=0"
)
_DROPPED = (
    "they were dropped or changed behind it; put them back from a backup, or start "
    "over: the next run makes what is missing"
)
_NO_FIT = (
    "a value does not fit into its column; see to the checkpoint's name, which may "
    "not have a character that is no text, and to the counts"
)
_FOREIGN = (
    "the schema has tables of these names that are another program's; give the store "
    "a schema of its own"
)

_REMEDIES = {
    "42501": _NOT_MADE,
    "42P01": _DROPPED,
    "3F000": _DROPPED,
    "42703": _DROPPED,
    "42P07": _FOREIGN,
    "26000": _POOLER,
    "42P05": _POOLER,
    "25006": (
        "the database takes no writes: it is a standby, or default_transaction_"
        "read_only is on; give the store a pool on the primary"
    ),
    "53100": f"the server's disk is full; make room, and {_AGAIN}",
    "53300": (
        "the server has no connection left; let max_connections or the pool's size "
        f"fit, and {_AGAIN}"
    ),
    "55P03": (
        "another transaction has kept a row of them locked for the lock_timeout of "
        f"this pool; end it (pg_blocking_pids tells which), and {_AGAIN}"
    ),
    "57014": (
        "the server cancelled the statement, as by the statement_timeout of this "
        f"pool; raise it, or see what holds the server up, and {_AGAIN}"
    ),
}

_BY_CLASS = {
    "08": _AWAY,
    "57": _AWAY,
    "22": _NO_FIT,
    "28": "the server refuses this user; see to the pool's user and password",
    "3D": "there is no such database; see to the pool's DSN",
    "53": f"the server is out of memory or other means; see to it, and {_AGAIN}",
}

_ELSE = f"see to the server, and {_AGAIN}"


def explained(error: Exception, schema: str) -> CheckpointError:
    """Return *error* as one that says what to do, caused by it."""
    who = "PostgreSQL" if isinstance(error, asyncpg.PostgresError) else "asyncpg"
    explanation = CheckpointError(
        f"{_checkpoints_in(schema)} cannot be used: {_remedy(error, schema)}. What was "
        f"saved before is not touched. ({who} says: {str(error) or repr(error)})"
    )
    explanation.__cause__ = error
    return explanation


def newer(version: int, known: int, schema: str) -> CheckpointError:
    """Return the refusal of tables that a newer version has made."""
    return CheckpointError(
        f"{_checkpoints_in(schema)} are in version {version} of the tables, and this "
        f"version of adaptive_backfill knows {known}. Upgrade it to the one that wrote "
        "them."
    )


def nothing_free(seconds: float, schema: str) -> CheckpointError:
    """Return the refusal where the pool gave no connection."""
    return CheckpointError(
        f"{_checkpoints_in(schema)} cannot be used: the pool had no connection free "
        f"for {seconds:g} s. Let it have one more than the handler takes at once, or "
        "see whether the server answers."
    )


def _checkpoints_in(schema: str) -> str:
    return f"The checkpoints in the schema {schema!r}"


def _remedy(error: Exception, schema: str) -> str:
    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        remedy = _REMEDIES.get(code) or _BY_CLASS.get(code[:2], _ELSE)
        return remedy.replace("{command}", _command(schema))
    if isinstance(error, TimeoutError):
        return (
            "the server gave no answer in time; see whether it hangs, or another "
            f"transaction has kept a row of them locked, and {_AGAIN}"
        )
    if isinstance(error, OSError):
        return _AWAY
    if isinstance(error, ValueError):
        return _NO_FIT
    return (
        "see to the pool: it has to be open before a run starts, stay open until it "
        "has ended, and belong to its event loop"
    )


def _command(schema: str) -> str:
    given = "" if schema == DEFAULT_SCHEMA else repr(schema)
    return (
        '`python -c "from adaptive_backfill.postgres import PostgresStore; '
        f'print(PostgresStore.script({given}))"`'
    )
