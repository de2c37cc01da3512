"""Whom the server runs as: ourselves, or an unprivileged user where we are root."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# PostgreSQL refuses to run as root, so root needs somebody else's name. `nobody`
# is on every system; the second is for the few that have renamed it.
_UNPRIVILEGED = ("nobody", "postgres")

_SECONDS_TO_ANSWER = 30.0


@dataclass(frozen=True)
class Account:
    """A user of the operating system.

    Attributes:
        name: For messages.
        uid: None where no change of user is needed.
        gid: None where no change of group is needed.
    """

    name: str
    uid: int | None = None
    gid: int | None = None

    @classmethod
    def unprivileged(cls) -> Account:
        """Return ourselves, or the first unprivileged user known where we are root."""
        if os.geteuid() != 0:
            return cls("this user")
        for name in _UNPRIVILEGED:
            with suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(name, entry.pw_uid, entry.pw_gid)
        return cls("root")  # PostgreSQL's own refusal says the rest

    def start(
        self, command: Sequence[str | Path], *, home: Path, output: int | IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start *command* in *home*, in a session and process group of its own.

        A session of its own keeps the Ctrl-C that ends a test run away from it.

        Raises:
            OSError: It cannot be run, or not as this user.
        """
        return subprocess.Popen(
            command,
            cwd=home,
            env=_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else [],
        )

    def ask(self, *command: str | Path) -> str:
        """Run a short *command* from the root folder and return what it says.

        Raises:
            OSError: It cannot be run, or not as this user.
            subprocess.SubprocessError: It failed, or said nothing for 30 s.
        """
        with self.start(command, home=Path("/"), output=subprocess.PIPE) as process:
            try:
                said, _ = process.communicate(timeout=_SECONDS_TO_ANSWER)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        text = said.decode(errors="replace").strip()
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, command, text)
        return text

    def can_enter(self, folder: Path) -> bool:
        """Whether this user may go into *folder*, and through all those above it."""
        try:
            self.ask("/bin/sh", "-c", 'cd "$1"', "sh", folder)
        except (OSError, subprocess.SubprocessError):
            return False
        return True

    def own(self, tree: Path) -> None:
        """Give *tree* and all that is in it to this user."""
        if self.uid is None or self.gid is None:
            return
        os.chown(tree, self.uid, self.gid)
        for path in tree.rglob("*"):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def _environment(home: Path) -> dict[str, str]:
    """Return our environment without what would change the server."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_"))}
    # English, because the log is searched for known failures; UTC, because initdb
    # otherwise spends a third of its time to find out the machine's zone.
    return kept | {"HOME": str(home), "LC_ALL": "C", "TZ": "UTC"}
