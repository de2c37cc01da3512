"""Call what is not ours, and come back with what it gave or raised.

Hooks, checks, stores, `evaluate`, `initial_state`: users write them, and whatever
they raise is a value here. Cancellation and other `BaseException`s pass.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from types import CoroutineType
from typing import NamedTuple

from adaptive_backfill._core.snapshot import by_value
from adaptive_backfill._engine.outlast import cancellations

__all__ = ["Given", "ask", "shown"]


class Given(NamedTuple):
    """What an outsider gave.

    Attributes:
        value: What it returned.
        error: What it raised: an `Exception`, or a `CancelledError` that is not a
            cancellation of the caller.
    """

    value: object = None
    error: BaseException | None = None


NOTHING = Given()
"""What hooks give, mostly; one for all, because they are asked in every batch."""


async def ask(call: Callable[..., object], *args: object) -> Given:
    """Call, and await where the answer is awaitable."""
    try:
        value = call(*args)
        # The second test alone would do, but is slow, and this runs in every batch.
        if type(value) is CoroutineType or inspect.isawaitable(value):
            value = await value
    except asyncio.CancelledError as error:
        if cancellations():
            raise
        return Given(error=error)
    except Exception as error:
        return Given(error=error)
    return NOTHING if value is None else Given(value)


def shown(state: object) -> object:
    """Return *state* so that whoever looks at it cannot change it.

    Itself, where it cannot be copied: users' classes say how they are copied, and a
    look at a run must not fail, nor end it.
    """
    try:
        return by_value(state)
    except Exception:
        return state
