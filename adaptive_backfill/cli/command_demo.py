"""`adaptive-backfill demo`."""

from __future__ import annotations

import sys

import click

from adaptive_backfill.cli.demo import LEAST_ROWS, Demo, show
from adaptive_backfill.cli.options import with_traceback
from adaptive_backfill.cli.stream import console_on

__all__ = ["demo"]


@click.command()
@click.option(
    "--rows",
    metavar="N",
    type=click.IntRange(min=LEAST_ROWS),
    default=200_000,
    show_default=True,
    help="Rows of the table.",
)
@click.option("--no-kill", is_flag=True, help="Let the process live.")
@click.option("--keep", is_flag=True, help="Keep the server until Ctrl-C.")
@with_traceback
@click.pass_context
def demo(context: click.Context, /, *, rows: int, no_kill: bool, keep: bool) -> None:
    """Fill a column of a real table, and survive a kill -9 in the middle.

    Takes about 20 seconds, on a PostgreSQL server of its own; nothing stays behind.
    """
    wanted = Demo(rows, kill=not no_kill, keep=keep)
    context.exit(show(console_on(sys.stdout), wanted))
