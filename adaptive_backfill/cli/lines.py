"""Log lines as people read them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import structlog
from rich.text import Text
from structlog.typing import EventDict, WrappedLogger

from adaptive_backfill.cli.trouble import said

__all__ = ["Readable", "name_exception"]

_STYLES = {"debug": "dim", "warning": "yellow", "error": "red", "critical": "red"}
_OF_EVERY_LINE = ("backfill", "run_id")
_ENDINGS = frozenset(
    f"backfill {word}" for word in ("done", "halted", "failed", "stopped", "skipped")
)


def name_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Put an exception's sentence in place of its traceback."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    elif isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event.setdefault("error", said(error))
    return event


class Readable:
    """Renders an event as a line for people.

    Args:
        brief: Leave out the line on how a run ended, which is told elsewhere.
        verbose: Keep what is the same in every line, such as the run's id.
    """

    def __init__(self, *, brief: bool, verbose: bool) -> None:
        self._brief = brief
        self._verbose = verbose

    def __call__(
        self, _: WrappedLogger, __: str, event: MutableMapping[str, Any]
    ) -> tuple[tuple[Text], dict[str, Any]]:
        """Return the arguments of the logger's method; drop what is told elsewhere."""
        name, level = str(event.pop("event")), str(event.pop("level"))
        if self._brief and name in _ENDINGS:
            raise structlog.DropEvent
        line = Text()
        line.append(f"{event.pop('timestamp')} ", "dim")
        if level != "info":
            line.append(f"{level}: ", _STYLES.get(level, ""))
        line.append(name, _STYLES.get(level, ""))
        reasons = event.pop("reasons", None)
        if reasons:
            line.append(f": {_plain(reasons)}", _STYLES.get(level, ""))
        traceback = event.pop("exception", None)
        for pair in self._pairs(event):
            line.append(f"  {pair}", "dim" if level == "info" else "")
        if traceback:
            line.append(f"\n{traceback}")
        return (line,), {}

    def _pairs(self, event: Mapping[str, Any]) -> Iterator[str]:
        for name, value in event.items():
            if self._verbose or name not in _OF_EVERY_LINE:
                yield f"{name}={_plain(value)}"


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return "; ".join(map(str, value))
    return str(value)
