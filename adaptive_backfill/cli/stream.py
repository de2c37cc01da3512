"""Where text goes, for as long as anybody reads it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import IO, cast

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

__all__ = ["console_on", "put", "tell"]


class _Lasting:
    """A text stream that a run outlives.

    A closed pipe, a terminal that is gone or a letter that it does not know is no
    reason for a backfill to fail.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            known = text.encode(self.encoding, "replace").decode(self.encoding)
            self._stream.write(known)
        except (OSError, ValueError):
            self._lose()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._lose()

    def isatty(self) -> bool:
        return not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def _lose(self) -> None:
        # What is still buffered would fail once more when Python ends.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def console_on(stream: IO[str]) -> Console:
    """Return a console on *stream*, which it outlives."""
    lasting = cast("IO[str]", _Lasting(stream))
    return Console(file=lasting, highlight=False, markup=False, emoji=False)


def put(console: Console, line: str | Text, indent: int = 0) -> None:
    """Print *line*: wrapped at words for people, left whole for everything else."""
    text = Text(line) if isinstance(line, str) else line
    if console.is_terminal:
        console.print(Padding(text, (0, 0, 0, indent), expand=False))
    else:
        console.print(Text(" " * indent) + text, soft_wrap=True)


def tell(*lines: str) -> None:
    """Print *lines* as what a command answers, each left whole."""
    console = console_on(sys.stdout)
    for line in lines:
        console.print(line, soft_wrap=True)
