"""The command line in a process of its own, on a terminal or in a pipe.

Nothing here sleeps: a test waits for what is on the screen, with a deadline.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import adaptive_backfill

__all__ = ["Running", "in_a_pipe", "on_a_terminal"]

CTRL_C = b"\x03"
SECONDS = 60.0

_CODES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")

# Popen cannot give a process a controlling terminal, which Ctrl-C needs.
_ON_TERMINAL = "import os, sys; os.login_tty(0); os.execv(sys.executable, sys.argv[1:])"


class Running:
    """A command under way.

    Attributes:
        process: The process.
        screen: All that it has written, without colours and the like.
    """

    def __init__(self, process: subprocess.Popen[bytes], output: int) -> None:
        self.process = process
        self._output = output
        self._raw = b""
        self._at = 0

    @property
    def screen(self) -> str:
        return _CODES.sub(b"", self._raw).decode(errors="replace").replace("\r", "")

    @property
    def raw(self) -> bytes:
        return self._raw

    def waits_for(self, text: str) -> str:
        """Wait until *text* comes after what was waited for before; return the screen.

        Raises:
            AssertionError: It ended, or the time is up.
        """
        found = self._reads_until(lambda: text in self.screen[self._at :])
        assert found, f"{text!r} never came; the screen:\n{self.screen}"
        self._at = self.screen.index(text, self._at) + len(text)
        return self.screen

    def ctrl_c(self) -> None:
        os.write(self._output, CTRL_C)

    def ends_by_ctrl_c(self) -> int:
        """Press Ctrl-C until it ends; two that come too close are one signal."""
        for _ in range(100):
            self.ctrl_c()
            with suppress(subprocess.TimeoutExpired):
                return self.process.wait(0.5)
        return self.process.wait(0)

    def stops_reading(self) -> None:
        """Close our end of the pipe."""
        os.close(self._output)
        self._output = os.open(os.devnull, os.O_RDONLY)

    def close(self) -> None:
        os.close(self._output)

    def ends(self) -> int:
        """Wait for the end; return the exit code."""
        assert self._reads_until(lambda: False) is False
        return self.process.wait(SECONDS)

    def _reads_until(self, is_there: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + SECONDS
        while not is_there():
            left = deadline - time.monotonic()
            assert left > 0, f"the time is up; the screen:\n{self.screen}"
            if not select.select([self._output], [], [], left)[0]:
                continue
            try:
                read = os.read(self._output, 65_536)
            except OSError:  # EIO: nobody has the terminal open any more
                read = b""
            if not read:
                return False
            self._raw += read
        return True


@contextmanager
def on_a_terminal(
    *argv: str, folder: Path, size: tuple[int, int] = (30, 80)
) -> Iterator[Running]:
    """Run the command of *argv* on a terminal of *size*, in lines and columns."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, size)
    command = [sys.executable, "-c", _ON_TERMINAL, *_command(argv)]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(TERM="xterm-256color"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    with _running(process, ours) as running:
        yield running


@contextmanager
def in_a_pipe(*argv: str, folder: Path, **variables: str) -> Iterator[Running]:
    """Run the command of *argv* with all its output in one pipe."""
    ours, theirs = os.pipe()
    process = subprocess.Popen(
        _command(argv),
        cwd=folder,
        env=_environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    with _running(process, ours) as running:
        yield running


@contextmanager
def _running(process: subprocess.Popen[bytes], output: int) -> Iterator[Running]:
    running = Running(process, output)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(SECONDS)
        running.close()


def _command(argv: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "adaptive_backfill.cli", *argv]


def _environment(**variables: str) -> dict[str, str]:
    package = str(Path(adaptive_backfill.__file__).parents[1])
    unwanted = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "DATABASE_URL")
    kept = {name: it for name, it in os.environ.items() if name not in unwanted}
    return {**kept, "PYTHONPATH": package, "PYTHONUNBUFFERED": "1", **variables}
