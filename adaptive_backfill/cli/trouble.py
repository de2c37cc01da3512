"""Trouble that a sentence explains, so that nobody has to read a traceback."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

import click

from adaptive_backfill.cli.codes import ExitCode
from adaptive_backfill.cli.hints import hint_for

__all__ = ["Failure", "Taken", "Trouble", "explained", "place_of", "said", "with_hint"]

_LIBRARIES = (
    str(Path(__file__).resolve().parents[1]),
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib")),
    "<frozen",
)


class Trouble(click.ClickException):
    """Ends a command with a sentence; the cause is what happened.

    This one: the command, the class or an option is wrong.
    """

    exit_code = ExitCode.USAGE


class Failure(Trouble):
    """What was asked is right, and could not be done."""

    exit_code = ExitCode.FAILED


class Taken(Trouble):
    """Another run has the name."""

    exit_code = ExitCode.ALREADY_RUNNING


def explained(error: BaseException) -> str:
    """Return what *error* says, where it was raised, and what to do about it."""
    place = place_of(error)
    text = f"{said(error)}\n  raised at {place}" if place else said(error)
    return with_hint(error, text)


def with_hint(error: BaseException, text: str | None = None) -> str:
    """Return *text*, or what *error* says, and in a line below what to do about it."""
    hint = hint_for(error)
    text = str(error) if text is None else text
    return f"{text}\n  {hint}" if hint else text


def said(error: object) -> str:
    """Return *error* in one line; also what is no exception, as `Fail` may give it."""
    if not isinstance(error, BaseException):
        return str(error)
    name = type(error).__name__
    return f"{name}: {error}" if str(error) else name


def place_of(error: BaseException) -> str | None:
    """Return where in the user's own code *error* was raised, if it was there."""
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if not frame.filename.startswith(_LIBRARIES):
            return f"{frame.filename}, line {frame.lineno}, in {frame.name}"
    return None
