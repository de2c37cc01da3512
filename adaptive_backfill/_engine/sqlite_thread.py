"""One thread with one connection, which does one thing after another.

Rule: what is in the queue gets done, whatever becomes of the task that waits for it:
the task may be cancelled, its loop closed, the process on its way out.

The thread starts with the first call. It ends, and the connection with it, when it is
told to retire, when nobody has called for a while, or with the process.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, Protocol, TypeAlias, TypeVar

from typing_extensions import override

__all__ = ["IDLE", "Do", "SqliteThread"]

IDLE = 2.0
"""Seconds without a call after which the thread ends."""

PATIENCE = 30.0
"""Seconds that closing waits, at most, for what is still in the queue."""

_T = TypeVar("_T")

Do: TypeAlias = Callable[[sqlite3.Connection], _T]
"""Something to do with the connection, in the thread."""


class _Queued(Protocol):
    def run(self, connection: sqlite3.Connection) -> None: ...

    def fail(self, error: Exception) -> None: ...


class _Call(Generic[_T]):
    """Something to do, and the future through which the caller hears of it."""

    def __init__(self, do: Do[_T]) -> None:
        self._do = do
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[_T] = self._loop.create_future()

    def run(self, connection: sqlite3.Connection) -> None:
        self.answer(self._do(connection))

    def answer(self, value: _T) -> None:
        self._tell(self._succeed, value)

    def fail(self, error: Exception) -> None:
        self._tell(self._give_up, error)

    def _tell(self, hear: Callable[..., None], said: object) -> None:
        try:
            self._loop.call_soon_threadsafe(hear, said)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            return

    def _succeed(self, value: _T) -> None:
        if not self.future.done():
            self.future.set_result(value)

    def _give_up(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            # Looked at, so that asyncio does not log it where the caller has gone.
            self.future.exception()


class _Retirement(_Call[bool]):
    """A wish that the thread end; the answer is whether it did."""

    @override
    def __init__(self) -> None:
        super().__init__(lambda _: False)


class SqliteThread:
    """Serves the calls of any number of tasks and event loops.

    Args:
        connect: Opens the connection; called in the thread.
        explain: Returns what the caller is to see of an error of SQLite's.
        name: The thread's name.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        explain: Callable[[sqlite3.Error], Exception],
        name: str,
    ) -> None:
        self._connect = connect
        self._explain = explain
        self._name = name
        self._queue: SimpleQueue[_Queued | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._at_exit: weakref.finalize[[], threading.Thread] | None = None

    def submit(self, do: Do[_T]) -> asyncio.Future[_T]:
        """Queue *do*, and return what it will return or raise.

        The future may be cancelled or forgotten: *do* is done all the same.
        """
        call = _Call(do)
        self._put(call)
        return call.future

    async def retire(self) -> None:
        """Close the connection and end, unless there is more to do by then."""
        thread = self._thread
        if thread is None:
            return
        retirement = _Retirement()
        self._put(retirement)
        if await retirement.future:
            # It has said its last word, so this takes microseconds.
            thread.join()

    def let_go(self) -> None:
        """Tell it to end once the queue is empty; wait for nothing.

        Takes no lock, and so may be called by a finalizer.
        """
        self._queue.put(None)

    def close(self) -> None:
        """Do what is queued, end, and return then; a later call starts anew."""
        thread = self._thread
        if thread is not None:
            self._queue.put(None)
            thread.join(PATIENCE)

    def _put(self, call: _Queued) -> None:
        with self._lock:
            self._queue.put(call)
            # Not alive where the process is a fork of the one that started it.
            if self._thread is None or not self._thread.is_alive():
                self._start()

    def _start(self) -> None:
        # A daemon, because it may be waiting when the process ends; and closed at
        # exit, because what is queued is to be done first.
        self._thread = threading.Thread(
            target=self._serve, name=self._name, daemon=True
        )
        self._thread.start()
        # Not of `atexit`, which keeps a place for each that was ever registered.
        self._at_exit = weakref.finalize(self._thread, self.close)

    def _serve(self) -> None:
        connection: sqlite3.Connection | None = None
        ended = False
        while not ended:
            connection, ended = self._step(connection)

    # A method of its own, so that nothing of a call outlives it while the thread waits.
    def _step(
        self, connection: sqlite3.Connection | None
    ) -> tuple[sqlite3.Connection | None, bool]:
        call = self._next()
        if call is not None and not isinstance(call, _Retirement):
            return self._served(call, connection), False
        if connection is not None:
            connection.close()
        ends = self._ends()
        if call is not None:
            call.answer(ends)
        return None, ends

    def _next(self) -> _Queued | None:
        try:
            return self._queue.get(timeout=IDLE)
        except Empty:
            return None

    def _ends(self) -> bool:
        with self._lock:
            if not self._queue.empty():
                return False
            self._thread = None
            if self._at_exit is not None:
                self._at_exit.detach()
            return True

    def _served(
        self, call: _Queued, connection: sqlite3.Connection | None
    ) -> sqlite3.Connection | None:
        try:
            if connection is None:
                connection = self._connect()
            call.run(connection)
        except Exception as error:
            # Whatever it is, it belongs to who waits for it, and the thread goes on.
            if not isinstance(error, sqlite3.Error):
                call.fail(error)
                return connection
            call.fail(self._explain(error))
            if connection is not None:
                # The next call starts with a fresh one, whatever this one went through.
                connection.close()
            return None
        return connection
