"""The table of the demo: made, disturbed, and checked by SQL afterwards."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import asyncpg

__all__ = ["Checked", "checked", "disturb", "make_table"]

_SECONDS_TO_CONNECT = 10.0

_MAKE = """
CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL,
    email_domain text,
    version int NOT NULL DEFAULT 1
)
"""

_FILL = """
INSERT INTO users (email)
SELECT 'user' || n || '@' || (ARRAY['example.com', 'example.net', 'example.org'])[
    1 + n % 3
]
FROM generate_series(1, $1::int) AS n
"""

# Each batch adds 1 to the version, so that it counts how often a row was done.
_CHECK = """
SELECT count(*) FILTER (WHERE email_domain = split_part(email, '@', 2)) AS right,
       count(*) FILTER (
           WHERE email_domain IS DISTINCT FROM split_part(email, '@', 2)
       ) AS wrong,
       count(*) FILTER (WHERE version = 3) AS twice,
       count(*) FILTER (WHERE version > 3) AS more
FROM users
"""


class Checked(NamedTuple):
    """Rows of the table.

    Attributes:
        right: They have the domain that they should have.
        wrong: They do not.
        twice: A batch did them that another had done before.
        more: They were done more often than that.
    """

    right: int
    wrong: int
    twice: int
    more: int


async def make_table(dsn: str, rows: int) -> None:
    """Make the table, with so many *rows* still to do."""
    connection = await asyncpg.connect(dsn, timeout=_SECONDS_TO_CONNECT)
    try:
        await connection.execute(_MAKE)
        await connection.execute(_FILL, rows)
        await connection.execute("VACUUM ANALYZE users")
    finally:
        await connection.close()


async def disturb(dsn: str, seconds: float) -> None:
    """Keep a transaction open for so many *seconds*, as a report might."""
    connection = await asyncpg.connect(
        dsn,
        timeout=_SECONDS_TO_CONNECT,
        server_settings={"application_name": "report"},
    )
    try:
        async with connection.transaction(isolation="repeatable_read"):
            await connection.fetchval("SELECT count(*) FROM users")
            await asyncio.sleep(seconds)
    finally:
        connection.terminate()


async def checked(dsn: str) -> Checked:
    """Ask the table itself."""
    connection = await asyncpg.connect(dsn, timeout=_SECONDS_TO_CONNECT)
    try:
        row = await connection.fetchrow(_CHECK)
    finally:
        await connection.close()
    return Checked(**dict(row or {}))
