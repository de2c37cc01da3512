"""From the commands, which are plain functions, to what is async, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from adaptive_backfill.cli.trouble import Failure, Taken, Trouble, with_hint
from adaptive_backfill.errors import (
    AlreadyRunning,
    BackfillError,
    ConfigurationError,
    NotRunning,
)

__all__ = ["answer_of"]

_T = TypeVar("_T")


def answer_of(asked: Coroutine[object, object, _T]) -> _T:
    """Return what *asked* returns, in an event loop of its own.

    Raises:
        Trouble: The library raised an error of its own; with its sentence.
    """
    try:
        return asyncio.run(asked)
    except AlreadyRunning as error:
        holder = f"run {error.owner}" if error.owner else "another run"
        msg = (
            f"{error.name!r} is already being run, by {holder}.\n"
            "  `adaptive-backfill stop` stops it; `--set if_running=wait` stands by "
            "and takes over.\n"
            "  After a crash its lease runs out by itself."
        )
        raise Taken(msg) from error
    except NotRunning as error:
        msg = (
            f"{error.name!r} is not running; `adaptive-backfill status` shows how its "
            "last run ended."
        )
        raise Failure(msg) from error
    except SystemExit as error:
        msg = (
            f"Its own code ended the process, by SystemExit({error.code!r}); a handler "
            "answers Fail(reason), or raises an exception. What was saved stays."
        )
        raise Failure(msg) from error
    except ConfigurationError as error:
        raise Trouble(str(error)) from error
    except BackfillError as error:
        raise Failure(with_hint(error)) from error
