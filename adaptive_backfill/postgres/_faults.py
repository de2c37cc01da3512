"""What a failed batch is a case of: it may pass, it was too much, or a row is bad."""

from __future__ import annotations

import asyncio
from enum import Enum, auto

import asyncpg

from adaptive_backfill.errors import BackfillError, BatchTimeout

__all__ = ["GaveWay", "Kind", "kind_of"]


class Kind(Enum):
    """What is to be done about a failure."""

    PASSING = auto()
    """The same again may well go through."""
    TOO_MUCH = auto()
    """It took too long, or was in somebody's way: less at once."""
    ROW = auto()
    """A row cannot be done, and is to be found."""
    LASTING = auto()
    """No other batch would fare better."""


class GaveWay(BackfillError):
    """A batch was cancelled, because somebody waited for it; the message says who."""


_TOO_MUCH = frozenset({
    "57014",  # statement_timeout, or somebody cancelled it
    "55P03",  # lock_timeout
    "25P03",  # idle_in_transaction_session_timeout
    "25P04",  # transaction_timeout
})  # fmt: skip

_PASSING = frozenset({
    "40001",  # a serialization failure
    "40P01",  # a deadlock
    "57P01", "57P02", "57P03",  # the server shuts down, has crashed, or starts
    "57P05",  # an idle session was ended
    "53300",  # too many connections
})  # fmt: skip

_ROW = frozenset({
    "21000",  # a subquery gave several rows
    "44000",  # WITH CHECK OPTION
    "54000",  # too long for an index, or for a tsvector
})  # fmt: skip

# Data; constraints; what functions and triggers raise.
_ROW_CLASSES = frozenset({"22", "23", "38", "39", "P0"})


def kind_of(error: BaseException, *, lost: bool) -> Kind:
    """Return what *error* is a case of.

    Args:
        error: What ended the attempt. A `CancelledError` is the batch's time limit:
            any other ends the run, and nobody asks.
        lost: Whether the batch's connection went with it, or never came.
    """
    if isinstance(error, GaveWay | BatchTimeout | asyncio.CancelledError):
        return Kind.TOO_MUCH
    if isinstance(error, BackfillError):
        return Kind.LASTING
    if isinstance(error, asyncpg.PostgresError):
        return _of_server(error, lost=lost)
    if lost:
        return Kind.PASSING
    if isinstance(error, TimeoutError):
        return Kind.TOO_MUCH
    if isinstance(error, asyncpg.InterfaceError):
        return Kind.LASTING
    return Kind.ROW


def _of_server(error: asyncpg.PostgresError, *, lost: bool) -> Kind:
    code = error.sqlstate or ""
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        # The table was altered meanwhile; asyncpg has prepared anew by the next try.
        return Kind.PASSING
    if code in _TOO_MUCH:
        return Kind.TOO_MUCH
    if code in _PASSING or code.startswith("08"):
        return Kind.PASSING
    if code in _ROW or code[:2] in _ROW_CLASSES:
        return Kind.ROW
    # A backend that broke with no word of its own in it.
    return Kind.PASSING if lost and not code else Kind.LASTING
