"""The process of the demo's backfill: the command line itself, to be killed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from adaptive_backfill import Runs
from adaptive_backfill.cli.pools import VARIABLE

__all__ = ["Process", "started"]

_NAME = "fill_email_domain"
_PACKAGE = Path(__file__).resolve().parents[2]
_SECONDS_TO_STOP = 10.0
_SECONDS_BETWEEN_LOOKS = 0.1


class Process:
    """A process that runs the backfill; made by `started`."""

    def __init__(self, process: asyncio.subprocess.Process, runs: Runs) -> None:
        self._process = process
        self._runs = runs

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def reaches(self, rows: int) -> bool:
        """Wait until so many *rows* are done; False where it ends before."""
        while self._process.returncode is None:
            progress = await self._runs.status(_NAME)
            if progress is not None and progress.rows >= rows:
                return True
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        return False

    async def kill(self) -> None:
        """Kill it, so that it can do nothing about it; return when it is gone."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def end(self) -> int:
        """Wait for its end; return its exit code."""
        return await self._process.wait()

    async def stop(self) -> None:
        """Have it stop in good order, or kill it; return when it is gone."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), _SECONDS_TO_STOP)
            except TimeoutError:
                await self.kill()


@asynccontextmanager
async def started(
    words: Sequence[str], dsn: str, folder: Path, runs: Runs
) -> AsyncIterator[Process]:
    """Start a process of its own for the command *words*; it ends with the block.

    It draws on our screen, and keeps its checkpoint in *folder*, which is *runs*'.
    """
    paths = [str(_PACKAGE), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        VARIABLE: dsn,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    process = Process(
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "adaptive_backfill.cli", *words, "--every", "1"),
            cwd=folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            # One stream, so that what it says stays in order also in a pipe.
            stderr=asyncio.subprocess.STDOUT,
        ),
        runs,
    )
    try:
        yield process
    finally:
        await process.stop()
