"""Which walk a walk is: of a table, by a key, in an order.

A checkpoint is found by a name, and by default that is the class's. So it says itself
which walk it is of, and a run does not go on from that of another one, which would
leave out all that lies behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

from adaptive_backfill.postgres._connecting import Connection

__all__ = ["of_another_walk", "qualified_name", "walk_named"]

# Not as a regclass, whose text leaves out a schema that is in the search path.
_QUALIFIED = """
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1
"""


async def qualified_name(connection: Connection, oid: int) -> str:
    """Return a table's name with its schema, however the user named it."""
    return str(await connection.fetchval(_QUALIFIED, oid))


def walk_named(table: str, key: Sequence[str], *, descending: bool) -> str:
    """Return which walk it is, in few words: they are kept with each checkpoint."""
    return f"{table} by {', '.join(key)}{' desc' if descending else ''}"


def of_another_walk(name: str, kept: str, walk: str, *, own: str) -> str:
    """Return why a run of *walk* does not go on from a checkpoint.

    Args:
        name: The checkpoint's name.
        kept: The walk that it is of.
        walk: The walk of the run.
        own: What to write, to give the run a checkpoint of its own.
    """
    return (
        f"the checkpoint {name!r} is of a walk over {kept}, and this run walks {walk}: "
        "to go on from there would leave rows out; finish that walk first, or give "
        f"this one a name of its own, as in {own}, or forget the checkpoint with "
        "restart=True"
    )
