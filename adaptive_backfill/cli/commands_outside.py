"""The commands that see and steer runs from another process."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TypeVar

import click

from adaptive_backfill.cli import outside
from adaptive_backfill.cli.asking import answer_of
from adaptive_backfill.cli.options import with_traceback
from adaptive_backfill.cli.stores import Place, place_of
from adaptive_backfill.cli.stream import tell
from adaptive_backfill.cli.values import literal, pairs_from

__all__ = ["history", "pause", "resume", "set_", "status", "stop"]

_C = TypeVar("_C", bound=Callable[..., object])
_T = TypeVar("_T")


def _asks(command: _C) -> _C:
    """Give *command* what all those take that look from outside."""
    command = click.option(
        "--store",
        metavar="PATH|DSN",
        help="The file of a SqliteStore, or the DSN of a PostgresStore's database; "
        "TARGET is then a name in it (or, with a DSN, the class).",
    )(command)
    return with_traceback(command)


def _asked(
    target: str | None,
    store: str | None,
    ask: Callable[[Place], Coroutine[object, object, _T]],
) -> _T:
    async def answered() -> _T:
        async with place_of(target, store) as place:
            return await ask(place)

    return answer_of(answered())


@click.command()
@click.argument("target", required=False)
@_asks
def status(target: str | None, store: str | None) -> None:
    """Show how far a backfill is; without TARGET, all of a store."""
    tell(*_asked(target, store, outside.status))


@click.command()
@click.argument("target")
@_asks
def history(target: str, store: str | None) -> None:
    """Show how the last 100 runs of a backfill ended, newest first."""
    tell(*_asked(target, store, outside.history))


@click.command()
@click.argument("target")
@_asks
def pause(target: str, store: str | None) -> None:
    """Pause a backfill until `resume`, over restarts, too."""
    tell(_asked(target, store, outside.pause))


@click.command()
@click.argument("target")
@_asks
def resume(target: str, store: str | None) -> None:
    """Let a paused backfill go on."""
    tell(_asked(target, store, outside.resume))


@click.command()
@click.argument("target")
@_asks
def stop(target: str, store: str | None) -> None:
    """Stop a running backfill after the batch under way."""
    tell(_asked(target, store, outside.stop))


@click.command("set")
@click.argument("target")
@click.argument("pairs", metavar="OPTION=VALUE...", nargs=-1, required=True)
@_asks
def set_(target: str, pairs: tuple[str, ...], store: str | None) -> None:
    """Change the pace of a running backfill, until it ends.

    There are batch_size, delay_between_batches, duty (a share of the time),
    max_rows_per_second, max_wal_per_second (bytes), windows (such as "22:00-06:00
    Europe/Berlin") and workers; none takes a limit away.
    """
    values = {name: literal(text) for name, text in pairs_from(pairs).items()}
    tell(_asked(target, store, lambda place: outside.retune(place, values)))
