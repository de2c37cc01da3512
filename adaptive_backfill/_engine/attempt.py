"""One attempt at a batch: the handler under its time limit, and what came of it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

import anyio

from adaptive_backfill._core.answers import Done, Fail, Halt, Next, Pause, Slow
from adaptive_backfill._core.rules import is_count
from adaptive_backfill._core.run import Outcome, Raised
from adaptive_backfill._engine.outlast import cancelled_by_us
from adaptive_backfill.errors import BatchTimeout, InvalidAnswer

__all__ = ["attempt"]

_BATCH = ("Next(state)", "Done()", "Halt(reason)", "Fail(reason)")
_SINGLE = ("Done(result)", "Halt(reason)", "Fail(reason)")


async def attempt(
    handle: Callable[..., Awaitable[object]],
    argument: object,
    *,
    title: str,
    timeout: float | None,
    single: bool,
) -> Outcome:
    """Call *handle* with *argument* and return its answer, or what went wrong.

    Only cancellation of the run itself, and other `BaseException`s, are raised.
    """
    scope: anyio.CancelScope | None = None
    try:
        if timeout is None:
            answer = await handle(argument)
        else:
            with anyio.fail_after(timeout) as scope:
                answer = await handle(argument)
    except TimeoutError as error:
        # The user's own TimeoutError looks the same; only the scope knows.
        if timeout is None or scope is None or not scope.cancelled_caught:
            return Raised(error)
        late = BatchTimeout(title, timeout)
        late.__cause__ = error
        return Raised(late)
    except asyncio.CancelledError as error:
        if cancelled_by_us():
            raise
        return Raised(error)
    except Exception as error:
        return Raised(error)
    return _single(answer, title) if single else _batch(answer, title)


def _batch(answer: object, title: str) -> Outcome:
    if isinstance(answer, Next | Done):
        rows = answer.rows
        if rows is None or is_count(rows, least=0):
            return answer
    elif isinstance(answer, Halt | Fail):
        return answer
    return _invalid(answer, title, _BATCH)


def _single(answer: object, title: str) -> Outcome:
    if isinstance(answer, Done) and (
        answer.rows is None or is_count(answer.rows, least=0)
    ):
        return answer
    if isinstance(answer, Halt | Fail):
        return answer
    # What `await health_check()` gave may be handed on as it is.
    if isinstance(answer, Slow | Pause):
        return Halt(answer.reason)
    return _invalid(answer, title, _SINGLE)


def _invalid(answer: object, title: str, allowed: tuple[str, ...]) -> Raised:
    error = InvalidAnswer(title, answer, allowed)
    if inspect.iscoroutine(answer):
        # Nobody will await it: without this Python warns of it later, elsewhere.
        answer.close()
    return Raised(error)
