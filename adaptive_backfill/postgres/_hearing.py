"""Who is told what becomes of each attempt at a batch."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Hears"]


class Hears(Protocol):
    """Is told what becomes of each attempt."""

    def failed(self, error: BaseException, *, tried: bool, lost: bool) -> None:
        """Hear what ended an attempt, and is rolled back.

        Args:
            error: What it was.
            tried: Whether the transaction was begun at all.
            lost: Whether its connection went with it, or never came.
        """
        ...

    def done(self) -> None:
        """Hear that a batch was committed."""
        ...

    @property
    def taken(self) -> int | None:
        """How many rows or keys the batch was for, where that is known."""
        ...
