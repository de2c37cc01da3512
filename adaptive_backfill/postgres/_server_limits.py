"""What the server holds a batch to, for the case that this side hangs or is gone."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Limits"]

_SECONDS_TO_COMMIT = 30.0
_TRANSACTION_TIMEOUT = 17
"""The version of PostgreSQL that brought it."""


class Limits(NamedTuple):
    """What the server holds a batch to.

    Attributes:
        statement: Seconds that a statement may take; `None` for what the role, the
            database and the server are set to.
        lock: Seconds to wait for a lock, so that the backfill always gives way.
        idle: Seconds that the transaction may be idle.
    """

    statement: float | None
    lock: float
    idle: float

    def begin(self, version: int, name: str | None = None) -> str:
        """Return one message that opens a transaction under these limits.

        `SET LOCAL` only: behind a pooler in transaction mode a session is not ours.

        Args:
            version: The server's major version.
            name: The transaction's `application_name`; `None` for the session's.
        """
        settings: dict[str, str] = {}
        if self.statement is not None:
            settings["statement_timeout"] = _milliseconds(self.statement)
        settings["lock_timeout"] = _milliseconds(self.lock)
        settings["idle_in_transaction_session_timeout"] = _milliseconds(self.idle)
        if version >= _TRANSACTION_TIMEOUT and self.statement is not None:
            # Only this also ends what stopped in the middle of preparing a statement,
            # when the server takes it for busy, and it holds its locks for ever.
            whole = 2 * self.statement + self.idle
            settings["transaction_timeout"] = _milliseconds(whole)
        if name is not None:
            settings["application_name"] = f"E'{_escaped(name)}'"
        local = (
            f"SET LOCAL {setting} = {value}" for setting, value in settings.items()
        )
        return "; ".join(("BEGIN", *local))

    @property
    def commit(self) -> float:
        """Seconds that a COMMIT may take, with the constraints that it checks."""
        return max(_SECONDS_TO_COMMIT, self.statement or 0.0)


def _milliseconds(seconds: float) -> str:
    # 0 is no limit, and so nothing is rounded to it.
    return str(max(1, int(seconds * 1000)))


def _escaped(text: str) -> str:
    # Also where `standard_conforming_strings` is off.
    return text.replace("\\", "\\\\").replace("'", "''")
