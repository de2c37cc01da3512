"""Log lines: readable, or JSON; structlog's, and those of the standard library.

The command line is the application, so it is the one who configures them. A module
that configures structlog while it is imported has its own way all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from rich.console import Console
from rich.text import Text
from structlog.typing import Processor
from typing_extensions import override

from adaptive_backfill.cli.lines import Readable, name_exception
from adaptive_backfill.cli.stream import put

__all__ = ["LogStyle", "logging_to"]


@dataclass(frozen=True, slots=True)
class LogStyle:
    """How log lines look.

    Attributes:
        json: One JSON object a line, and no more.
        verbose: Everything from debug level on, with the run's id.
        traceback: Exceptions with their traceback.
        brief: Without the line on how a run ended, which is told elsewhere.
    """

    json: bool = False
    verbose: bool = False
    traceback: bool = False
    brief: bool = False


@contextmanager
def logging_to(console: Console, style: LogStyle) -> Iterator[None]:
    """Send log lines to *console* for the length of the block."""
    wrapper = structlog.make_filtering_bound_logger(
        logging.DEBUG if style.verbose else logging.INFO
    )
    processors = _processors(style)
    before = structlog.get_config() if structlog.is_configured() else None
    structlog.configure(
        processors=processors,
        wrapper_class=wrapper,
        logger_factory=lambda *_: _Lines(console),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    level = root.level
    # Built by itself: what a user's module makes of structlog may lead back here.
    own = structlog.wrap_logger(
        _Lines(console), processors=processors, wrapper_class=wrapper
    )
    handler = _Forward(own)
    root.addHandler(handler)
    root.setLevel(logging.INFO if style.verbose else logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        structlog.reset_defaults()
        if before is not None:
            structlog.configure(**before)


class _Lines:
    """What structlog calls a logger: takes finished lines."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def msg(self, line: Text | str) -> None:
        if isinstance(line, str):
            # JSON, which rich is not to touch.
            self._console.file.write(f"{line}\n")
            self._console.file.flush()
        else:
            put(self._console, line)

    log = debug = info = warn = warning = error = msg
    critical = fatal = failure = exception = msg


class _Forward(logging.Handler):
    """Hands the standard library's records on to structlog."""

    def __init__(self, log: Any) -> None:
        super().__init__()
        self._log = log

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            # The caller's format does not fit its values.
            message = f"{record.msg} {record.args}"
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        self._log.log(level, message, logger=record.name, exc_info=record.exc_info)


def _processors(style: LogStyle) -> list[Processor]:
    render: Processor
    if style.json:
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        render = structlog.processors.JSONRenderer(default=str)
    else:
        stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        render = Readable(brief=style.brief, verbose=style.verbose)
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        stamp,
        structlog.processors.format_exc_info if style.traceback else name_exception,
        render,
    ]
