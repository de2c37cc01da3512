"""What every command has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import click

__all__ = ["Wanted", "with_traceback"]

_C = TypeVar("_C", bound=Callable[..., object])


@dataclass(slots=True)
class Wanted:
    """What may be wanted of every command; the context's object.

    Attributes:
        traceback: Tracebacks, beside the sentences.
    """

    traceback: bool = False


def with_traceback(command: _C) -> _C:
    """Give *command* the option `--traceback`."""

    def note(context: click.Context, _: click.Parameter, value: object) -> None:
        wanted = context.find_object(Wanted)
        if wanted is not None:
            wanted.traceback = bool(value)

    return click.option(
        "--traceback",
        is_flag=True,
        expose_value=False,
        callback=note,
        help="Show the traceback of an error.",
    )(command)
