"""The folder that a server lives in, and whatever runs there."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from adaptive_backfill.testing.postgres.account import Account
from adaptive_backfill.testing.postgres.binaries import ServerUnavailable
from adaptive_backfill.testing.postgres.guard import Guard, guarded

# For when TMPDIR is below a home that the server's user may not enter, or so long
# that the socket does not fit: its path may have 103 bytes, of which we need 42.
_OTHER_BASES = ("/tmp", "/var/tmp")
_LONGEST_BASE = 60

_LINES_OF_LOG = 20


class Home:
    """A temporary folder, and the one process that runs in it for *account*.

    Attributes:
        folder: Belongs to *account*; goes with the block of `temporary_home`.
        account: Whom everything here runs as.
    """

    def __init__(self, folder: Path, account: Account, guard: Guard) -> None:
        self.folder = folder
        self.account = account
        self._guard = guard
        self._log = folder / "log"

    def start(self, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        """Start *command* with a new log; say `ended` when it has.

        Raises:
            ServerUnavailable: The operating system would not.
        """
        try:
            with self._log.open("wb") as log:
                process = self.account.start(command, home=self.folder, output=log)
        except OSError as error:
            problem = f"{command[0]} could not be run by {self.account.name}: {error}"
            raise ServerUnavailable(problem) from error
        self._guard.watch(process.pid)
        return process

    def ended(self) -> None:
        """Say that the process that was started here is gone."""
        self._guard.watch(None)

    def log(self) -> str:
        """Return what the process that was started last has said."""
        return self._log.read_text(errors="replace")

    def problem(self, what: str) -> str:
        """Return a message that says *what* happened, and how the log ended."""
        end = self.log().splitlines()[-_LINES_OF_LOG:]
        log = "\n".join(f"  {line}" for line in end)
        return f"{what} Its log, which says why, ends with:\n{log}"


@contextmanager
def temporary_home(account: Account) -> Iterator[Home]:
    """Make a home for *account*, and remove it with all that is in it.

    Raises:
        ServerUnavailable: There is no temporary folder that *account* may enter.
    """
    bases = [tempfile.gettempdir(), *_OTHER_BASES]
    for base in bases:
        if len(base) <= _LONGEST_BASE and account.can_enter(Path(base)):
            break
    else:
        problem = (
            f"No place for the server's data: {account.name} may enter none of "
            f"{', '.join(bases)}. Set TMPDIR to a folder that every user may enter, "
            f"with a path of at most {_LONGEST_BASE} characters."
        )
        raise ServerUnavailable(problem)
    folder = Path(tempfile.mkdtemp(prefix="adaptive-backfill-", dir=base))
    with guarded(folder) as guard:
        account.own(folder)
        yield Home(folder, account, guard)
