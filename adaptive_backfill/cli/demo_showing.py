"""What the demo does, and what it says meanwhile."""

from __future__ import annotations

import asyncio
import signal
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from rich.console import Console

from adaptive_backfill import Runs, SqliteStore
from adaptive_backfill.cli import demo_backfill
from adaptive_backfill.cli.codes import ExitCode
from adaptive_backfill.cli.demo_backfill import FillEmailDomain
from adaptive_backfill.cli.demo_process import Process, started
from adaptive_backfill.cli.demo_table import Checked, checked, disturb, make_table
from adaptive_backfill.cli.pools import VARIABLE
from adaptive_backfill.cli.trouble import Failure
from adaptive_backfill.testing.postgres import Server

__all__ = ["Demo", "Showing"]

_BATCHES = 100
_KILLED_AT = 0.4
_DISTURBED_AT = 0.6
_SECONDS_OF_DISTURBANCE = 4.5
_WIDEST_PARAGRAPH = 80


@dataclass(frozen=True, slots=True)
class Demo:
    """What is to be shown.

    Attributes:
        rows: Rows of the table.
        kill: Whether the process is killed once.
        keep: Whether the server stays until Ctrl-C, to look around in it.
    """

    rows: int
    kill: bool
    keep: bool

    @property
    def command(self) -> list[str]:
        """What the command line is asked for."""
        words = ["run", f"{demo_backfill.__name__}:{FillEmailDomain.__name__}"]
        if self.batch_size != FillEmailDomain.batch_size:
            words += ["--set", f"batch_size={self.batch_size}"]
        return words

    @property
    def batch_size(self) -> int:
        """As many rows a batch as make a run of some seconds."""
        return min(FillEmailDomain.batch_size, self.rows // _BATCHES)


class Showing:
    """One showing of a demo, on a server."""

    def __init__(self, console: Console, server: Server, wanted: Demo) -> None:
        self._console = console
        self._server = server
        self._wanted = wanted
        self._dsn = server.dsn()
        # The server's own: it is removed even if we are killed ourselves.
        self._folder = server.data.parent
        self._store = SqliteStore(self._folder / "backfills.db")
        self._runs = Runs(self._store)

    async def show(self) -> ExitCode:
        """Make the table, fill it, and check it."""
        wanted, version = self._wanted, self._server.version
        await make_table(self._dsn, wanted.rows)
        self._tell(
            f"PostgreSQL {version // 10_000}.{version % 10_000} runs, with a table of "
            f"{wanted.rows:,} users. Its new column, email_domain, is empty. We fill "
            f"it, {wanted.batch_size:,} rows a batch:"
        )
        try:
            if wanted.kill:
                await self._fill_and_kill()
            await self._fill()
        finally:
            self._store.close()
        self._conclude(await checked(self._dsn))
        if wanted.keep:
            await self._keep()
        return ExitCode.OK

    async def _fill_and_kill(self) -> None:
        async with self._process() as process:
            if await self._reaches(process, _KILLED_AT):
                await process.kill()
            self._expect(await process.end(), -signal.SIGKILL)
        # It had no time to: what it drew stays on the screen, and the cursor is gone.
        self._console.show_cursor()
        self._console.line()
        self._tell(
            f"kill -9 {process.pid}: that process is gone, in the middle of its work. "
            "The same command again, in a new process: it waits until the lease of "
            "the dead one has run out, and goes on from the checkpoint. Then "
            "somebody opens a long transaction: watch the health."
        )

    async def _fill(self) -> None:
        async with self._process() as process:
            await self._reaches(process, _DISTURBED_AT)
            disturbing = asyncio.create_task(
                disturb(self._dsn, _SECONDS_OF_DISTURBANCE)
            )
            try:
                code = await process.end()
            finally:
                disturbing.cancel()
                await asyncio.gather(disturbing, return_exceptions=True)
        self._expect(code, ExitCode.OK)
        self._console.line()

    def _expect(self, code: int, wanted: int) -> None:
        if code != wanted:
            msg = f"The backfill ended with exit code {code}; its own words are above."
            raise Failure(msg)

    @asynccontextmanager
    async def _process(self) -> AsyncIterator[Process]:
        words = self._wanted.command
        self._print(
            f"  $ export {VARIABLE}={self._dsn}",
            f"  $ adaptive-backfill {' '.join(words)}",
        )
        async with started(words, self._dsn, self._folder, self._runs) as process:
            yield process

    async def _reaches(self, process: Process, share: float) -> bool:
        return await process.reaches(int(self._wanted.rows * share))

    def _conclude(self, found: Checked) -> None:
        wanted = self._wanted
        self._tell("The table itself says:")
        self._print(
            f"  {found.right:>9,} of {wanted.rows:,} rows are filled",
            f"  {found.wrong:>9,} are wrong",
            f"  {found.twice:>9,} were done twice{self._why_twice(found)}",
        )
        twice_at_most = wanted.batch_size if wanted.kill else 0
        if found.right != wanted.rows or found.more or found.twice > twice_at_most:
            msg = f"That is not what it should say: {found}. Please report it."
            raise Failure(msg)
        self._tell(
            "Nothing was lost. Before each batch the backfill asked the database how "
            "it feels; it slowed down and waited while somebody's transaction was in "
            f"the way; and after each batch it kept its position{self._from_there()}."
        )
        self._print(
            f"  {demo_backfill.__file__}",
            "      is the whole backfill: copy it.",
            "  adaptive-backfill run my_module:MyBackfill",
            "      runs yours.",
            "  README.md and docs/guide.md",
            "      tell the rest.",
        )

    def _from_there(self) -> str:
        if self._wanted.kill:
            return ", from which the second process went on"
        return ""

    def _why_twice(self, found: Checked) -> str:
        if found.twice:
            return ": the batch between whose work and checkpoint the kill fell"
        return ""

    async def _keep(self) -> None:
        self._tell("The server stays until you press Ctrl-C:")
        kept = self._folder / "backfills.db"
        self._print(
            f"  psql {self._dsn}",
            f"  adaptive-backfill history fill_email_domain --store {kept}",
        )
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    def _tell(self, paragraph: str) -> None:
        width = min(self._console.width, _WIDEST_PARAGRAPH)
        self._print(textwrap.fill(paragraph, width, break_on_hyphens=False))

    def _print(self, *lines: str) -> None:
        for line in lines:
            self._console.print(line, soft_wrap=True)
        self._console.line()
