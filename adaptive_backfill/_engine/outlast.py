"""What must finish, finishes: a save, a commit, a rollback, a release.

Two kinds of cancellation may arrive meanwhile, anyio's and that of `Task.cancel`.
Neither reaches the work, which is a future of its own: the one who waits for it holds
the cancellation back until it is done, from then on behind a shield.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TypeVar

import anyio
import anyio.lowlevel

__all__ = [
    "PATIENCE",
    "cancellations",
    "counting_cancellations",
    "end_all",
    "finish",
    "outlast",
    "unfold",
]

PATIENCE = 5.0
"""Seconds that a cancellation is held back at most."""

AGAIN = 0.1
"""Seconds after which a task that goes on all the same is cancelled once more."""

_T = TypeVar("_T")


async def outlast(
    future: asyncio.Future[_T], patience: float = PATIENCE
) -> asyncio.CancelledError | None:
    """Wait until *future* is done; return the cancellation that arrived meanwhile.

    After *patience* seconds nothing is held back any more: a cancellation that
    arrived, or arrives, is raised, and *future* is cancelled.
    """
    until = asyncio.get_running_loop().time() + patience
    held = await _cancelled_before_done(future)
    if held is not None and not future.done():
        held = await _shielded_until(until, future) or held
        if not future.done():
            future.cancel()
            raise held
    return held or await _kept_off()


async def _cancelled_before_done(
    future: asyncio.Future[_T],
) -> asyncio.CancelledError | None:
    """Wait until *future* is done; return the cancellation that ended that early.

    Without a shield, which most commits never need, and which takes longer.
    """
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    future.add_done_callback(wake)
    try:
        await waiter
    except asyncio.CancelledError as error:
        return error
    finally:
        future.remove_done_callback(wake)
    return None


async def _shielded_until(
    until: float, future: asyncio.Future[_T]
) -> asyncio.CancelledError | None:
    """Wait on until *future* is done, or *until* is the loop's time."""
    now, held = asyncio.get_running_loop().time, None
    with anyio.CancelScope(shield=True):
        while not future.done() and (left := until - now()) > 0:
            try:
                await asyncio.wait((future,), timeout=left)
            except asyncio.CancelledError as error:
                held = error
    return held


async def _kept_off() -> asyncio.CancelledError | None:
    """Return the cancellation of a scope around that came as all was done.

    anyio does not cancel a task whose wait is over already.
    """
    try:
        await anyio.lowlevel.checkpoint_if_cancelled()
    except asyncio.CancelledError as error:
        return error
    return None


async def finish(work: Awaitable[_T], patience: float = PATIENCE) -> _T:
    """Await *work* to its end, and only then raise what was held back."""
    future = asyncio.ensure_future(work)
    held = await outlast(future, patience)
    if held is not None:
        # Not lost: whoever is cancelled does not look at the result any more.
        if not future.cancelled():
            future.exception()
        raise held
    return future.result()


async def end_all(tasks: Iterable[asyncio.Task[object]]) -> None:
    """Cancel *tasks*, and return when they are gone.

    They are cancelled again until they are: one cancellation can get lost in a user's
    bare `except`, or in `asyncio.wait_for` of Python 3.11, which drops it when what
    it waits for is done in the same turn.
    """
    running = [task for task in tasks if not task.done()]
    if running:
        await finish(_ended(running))


async def _ended(running: list[asyncio.Task[object]]) -> None:
    pending = set(running)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN)
    for task in running:
        if not task.cancelled():
            # Looked at, so that asyncio does not log it: nobody waits for its result.
            task.exception()


def unfold(scope: anyio.CancelScope) -> None:
    """Raise the cancellation that was folded into that of *scope*, just left.

    One by `Task.cancel`, in the same turn of the loop, comes as one `CancelledError`
    with the scope's. Before 4.16 anyio took that for its own and swallowed both.
    """
    if scope.cancelled_caught and cancellations():
        raise asyncio.CancelledError


def cancellations() -> int:
    """Return how often the run of the current task was asked to cancel.

    Both kinds count, because anyio cancels through `Task.cancel`, too. Where it is 0,
    a `CancelledError` came out of something that was awaited, and is a failure like
    any other. What the task was asked before its run began does not count: work that
    is done after a cancellation was caught runs in a task that was asked already.
    """
    task = asyncio.current_task()
    if task is None:
        return 0
    began = _began.get()
    return task.cancelling() - (began[1] if began and began[0] is task else 0)


@asynccontextmanager
async def counting_cancellations() -> AsyncIterator[None]:
    """Count the cancellations of the current task from here on."""
    # One that is under way already is to be raised, not to be taken for an old one.
    await asyncio.sleep(0)
    task = asyncio.current_task()
    token = _began.set((task, 0 if task is None else task.cancelling()))
    try:
        yield
    finally:
        _began.reset(token)


# By the task, because child tasks inherit it, and have a count of their own.
_began: ContextVar[tuple[asyncio.Task[object] | None, int] | None] = ContextVar(
    "began", default=None
)
