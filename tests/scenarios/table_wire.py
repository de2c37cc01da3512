"""The way of a process to its server, on which each of its statements can be stopped.

A statement is what the server acts on at once: a simple query, or all up to a Sync.
What is prepared first, up to a Flush, is passed on and not counted: it changes nothing.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from tests.scenarios.table_process import ANSWER

__all__ = ["Forks", "Wire", "forks", "wire"]

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 60.0

Act: TypeAlias = Callable[[], Awaitable[None]]

_STARTS = 4
_HEAD = 5
_ENDS_A_STATEMENT = (b"Q", b"S")
_PASSES = (b"H", b"X", b"p")
_GONE = (ConnectionError, asyncio.IncompleteReadError)


class Wire:
    """Passes everything on, and does something before or after one statement.

    Attributes:
        statements: How many came.
    """

    def __init__(self, port: int) -> None:
        self.statements = 0
        self.port = 0
        self._there = port
        self._number = 0
        self._since = b""
        self._counts = False
        self._after = False
        self._act: Act | None = None
        self._between = False
        self._holds_back = False
        self._halfway: set[StreamWriter] = set()
        self._moved = asyncio.Condition()

    def at(
        self,
        number: int,
        act: Act,
        *,
        since: bytes = b"",
        after: bool = False,
        between: bool = False,
    ) -> None:
        """Await *act* before the *number*-th statement that comes, or right after.

        After it was sent, that is: it may be done, and nobody hears of that before
        *act* is over.

        Args:
            number: From 1.
            act: May hold the statement up.
            since: What the first statement contains that is counted.
            after: Whether to send it first.
            between: Whether to wait until all are between two statements. Until a
                server has a Sync, no timeout of its own is running, and it keeps the
                locks of who is frozen before that for as long as that may be.
        """
        self._between = between
        self.statements, self._counts = 0, False
        self._number, self._act = number, act
        self._since, self._after = since, after

    def through(self, dsn: str) -> str:
        """Return *dsn* with the way through here."""
        parts = urlsplit(dsn)
        place = f"{parts.username}@{parts.hostname}:{self.port}"
        return parts._replace(netloc=place, query="sslmode=disable").geturl()

    async def connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Pass on what comes from *reader*, until either side is gone."""
        there, server = await asyncio.open_connection("127.0.0.1", self._there)
        answering = asyncio.create_task(_answers(there, writer))
        try:
            await self._asks(reader, server)
        except _GONE:
            pass
        finally:
            await self._is_halfway(server, now=False)
            server.close()
            await answering

    async def _asks(self, reader: StreamReader, server: StreamWriter) -> None:
        head = await reader.readexactly(_STARTS)
        server.write(head + await _rest(reader, head))
        statement = b""
        while True:
            head = await reader.readexactly(_HEAD)
            statement += head + await _rest(reader, head[1:])
            if self._since in statement:
                self._counts = True
            if head[:1] in _ENDS_A_STATEMENT:
                await self._statement(server, statement)
                statement = b""
            elif head[:1] in _PASSES:
                await self._is_halfway(server, now=True)
                server.write(statement)
                statement = b""

    async def _statement(self, server: StreamWriter, statement: bytes) -> None:
        self.statements += self._counts
        act = self._act if self.statements == self._number else None
        if act is not None and not self._after:
            await act()
        server.write(statement)
        await self._is_halfway(server, now=False)
        if act is not None and self._after:
            async with self._all_between():
                await act()

    async def _is_halfway(self, server: StreamWriter, *, now: bool) -> None:
        """Note whether *server* waits for the rest of a statement, once it may."""
        async with self._moved:
            if now:
                await self._moved.wait_for(lambda: not self._holds_back)
                self._halfway.add(server)
            else:
                self._halfway.discard(server)
            self._moved.notify_all()

    @asynccontextmanager
    async def _all_between(self) -> AsyncIterator[None]:
        """Wait until all are between two statements, if so wished, and keep them so."""
        async with self._moved:
            if self._between:
                await self._moved.wait_for(lambda: not self._halfway)
                self._holds_back = True
        try:
            yield
        finally:
            async with self._moved:
                self._holds_back = False
                self._moved.notify_all()


async def _rest(reader: StreamReader, length: bytes) -> bytes:
    return await reader.readexactly(int.from_bytes(length) - len(length))


async def _answers(there: StreamReader, writer: StreamWriter) -> None:
    with suppress(*_GONE):
        while data := await there.read(65536):
            writer.write(data)
            await writer.drain()
    # Who says good-bye waits for it.
    writer.close()


@asynccontextmanager
async def wire(port: int) -> AsyncIterator[Wire]:
    """A `Wire` to the server at *port*."""
    through = Wire(port)
    server = await asyncio.start_server(through.connected, "127.0.0.1", 0)
    through.port = server.sockets[0].getsockname()[1]
    try:
        yield through
    finally:
        server.close()
        await server.wait_closed()


class Forks:
    """Processes, one after the other."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def begin(
        self, form: str, dsn: str, store_dsn: str = "", *, timeout: float = 60.0
    ) -> None:
        """Begin a process that runs *form*; `pid` is its id as soon as it is known."""
        self.pid = asyncio.get_running_loop().create_future()
        line = f"{form} {dsn} {store_dsn or dsn} {timeout}\n"
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode())
        self.pid.set_result(int(await self._said()))

    async def ended(self) -> str:
        """What the process said of its run; `gone` if it did not come to that."""
        said = await self._said()
        if said != "gone":
            assert await self._said() == "gone"
        return said

    async def kill(self) -> None:
        os.kill(await self.pid, signal.SIGKILL)

    async def freeze(self) -> None:
        os.kill(await self.pid, signal.SIGSTOP)

    async def thaw(self) -> None:
        os.kill(await self.pid, signal.SIGCONT)

    async def _said(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            # The other lines are the log's.
            async for line in self._process.stdout:
                if line.startswith(ANSWER.encode()):
                    return line.decode().removeprefix(ANSWER).strip()
        msg = "the process that makes the others is gone"
        raise AssertionError(msg)


@asynccontextmanager
async def forks() -> AsyncIterator[Forks]:
    """Make processes that run backfills."""
    module = "tests.scenarios.table_process"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, cwd=REPOSITORY, stdin=PIPE, stdout=PIPE
    )
    made = Forks(process)
    try:
        yield made
    finally:
        if made.pid.done():
            with suppress(ProcessLookupError):
                os.kill(made.pid.result(), signal.SIGKILL)
        process.kill()
        await process.communicate()
