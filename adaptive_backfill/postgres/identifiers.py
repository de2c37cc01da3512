"""Names of tables and columns, quoted so that PostgreSQL reads them as they are."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Table", "quoted", "table_named"]

_PART = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([A-Za-z_\x80-\U0010ffff][\w$]*))\s*(\.|$)')


class Table(NamedTuple):
    """A table, as the user named it.

    Attributes:
        schema: `None` where the search path decides.
        name: The table's own name.
    """

    schema: str | None
    name: str

    @property
    def sql(self) -> str:
        """The whole name, quoted."""
        own = quoted(self.name)
        return own if self.schema is None else f"{quoted(self.schema)}.{own}"

    @property
    def alias(self) -> str:
        """What columns are qualified by in a statement that gives no alias."""
        return quoted(self.name)


def quoted(name: str) -> str:
    """Return *name* as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def table_named(text: str) -> Table:
    """Return the table that *text* names: ``users``, ``public.users``, ``"Odd one"``.

    As in SQL, a name without quotes means lower case.

    Raises:
        ValueError: It is not the name of one table.
    """
    parts: list[str] = []
    at = 0
    while at < len(text):
        found = _PART.match(text, at)
        if found is None:
            break
        exact, plain, separator = found.groups()
        parts.append(exact.replace('""', '"') if exact else plain.lower())
        at = found.end()
        if not separator:
            break
    if at != len(text) or not 1 <= len(parts) <= 2 or text.rstrip().endswith("."):
        msg = f"{text!r} is not the name of a table, such as users or public.users"
        raise ValueError(msg)
    return Table(None, parts[0]) if len(parts) == 1 else Table(parts[0], parts[1])
