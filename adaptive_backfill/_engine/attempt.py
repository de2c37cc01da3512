"""One attempt at a batch: the handler under its time limit, and what came of it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import anyio

from adaptive_backfill._core.answers import Done, Fail, Halt, Next, Pause, Slow
from adaptive_backfill._core.rules import is_count
from adaptive_backfill._core.run import Outcome, Raised
from adaptive_backfill._engine.outlast import cancellations, unfold
from adaptive_backfill.errors import BatchTimeout, InvalidAnswer

__all__ = ["BATCH", "SINGLE", "Answers", "attempt"]


class Answers(NamedTuple):
    """What a kind of handler may answer.

    Attributes:
        read: Returns the outcome that an answer means, or `None` for nonsense.
        words: The answers, as an error names them.
    """

    read: Callable[[object], Outcome | None]
    words: tuple[str, ...]


async def attempt(
    handle: Callable[..., Awaitable[object]],
    argument: object,
    timeout: float | None,
    answers: Answers,
    title: str,
) -> Outcome:
    """Call *handle* with *argument* and return its answer, or what went wrong.

    The limit is the cancel scope of `anyio.fail_after`, without the `TimeoutError`
    that this makes of it: that is told apart from the user's own here, and the scope
    by itself takes 3 of `fail_after`'s 9 microseconds less.

    Only cancellation of the run itself, and other `BaseException`s, are raised.
    """
    answer: object = None
    try:
        if timeout is None:
            answer = await handle(argument)
        else:
            deadline = asyncio.get_running_loop().time() + timeout
            with anyio.CancelScope(deadline=deadline) as scope:
                answer = await handle(argument)
            if scope.cancelled_caught:
                unfold(scope)
                return Raised(BatchTimeout(title, timeout))
    except asyncio.CancelledError as error:
        if cancellations():
            raise
        return Raised(error)
    except Exception as error:
        return Raised(error)
    return answers.read(answer) or _invalid(answer, title, answers.words)


def _batch(answer: object) -> Outcome | None:
    if isinstance(answer, Next | Done):
        return answer if _counts(answer.rows) else None
    return answer if isinstance(answer, Halt | Fail) else None


def _single(answer: object) -> Outcome | None:
    if isinstance(answer, Done):
        return answer if _counts(answer.rows) else None
    # What `await health_check()` gave may be handed on as it is.
    if isinstance(answer, Slow | Pause):
        return Halt(answer.reason)
    return answer if isinstance(answer, Halt | Fail) else None


def _counts(rows: object) -> bool:
    return rows is None or is_count(rows, least=0)


def _invalid(answer: object, title: str, words: tuple[str, ...]) -> Raised:
    error = InvalidAnswer(title, answer, words)
    if inspect.iscoroutine(answer):
        # Nobody will await it: without this Python warns of it later, elsewhere.
        answer.close()
    return Raised(error)


BATCH = Answers(_batch, ("Next(state)", "Done()", "Halt(reason)", "Fail(reason)"))
SINGLE = Answers(_single, ("Done(result)", "Halt(reason)", "Fail(reason)"))
