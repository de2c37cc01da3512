"""Rows that could not be done, as people see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

__all__ = ["Failure"]


class Failure(NamedTuple):
    """A row that was set aside, because it cannot be done.

    Attributes:
        key: The row's key; a tuple where it has several columns.
        error: What was raised, such as ``DivisionByZeroError: division by zero``.
        attempts: How often the row was tried by itself.
        at: When it was tried last.
    """

    key: Any
    error: str
    attempts: int
    at: datetime
