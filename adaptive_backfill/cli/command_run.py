"""`adaptive-backfill run`."""

from __future__ import annotations

import sys
import traceback as tracebacks
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console

from adaptive_backfill.cli.asking import answer_of
from adaptive_backfill.cli.declared import declared_by
from adaptive_backfill.cli.ending import exit_code, log_ending, tell_ending
from adaptive_backfill.cli.loading import load
from adaptive_backfill.cli.logs import LogStyle, logging_to
from adaptive_backfill.cli.options import Wanted, with_traceback
from adaptive_backfill.cli.running import run_to_end
from adaptive_backfill.cli.screen import LinesView, View, is_live, live_view
from adaptive_backfill.cli.stream import console_on
from adaptive_backfill.cli.values import overrides_from

__all__ = ["run"]


@click.command()
@click.argument("target")
@click.option(
    "--set",
    "pairs",
    metavar="OPTION=VALUE",
    multiple=True,
    help="Override an option or a parameter of the class: timeout=30 (seconds), "
    "mode=sync, checkpoint=none, restart=true, pace=adaptive, duty=0.5, "
    'windows="22:00-06:00 Europe/Berlin". A pool is given by its DSN, or else by '
    "the environment variable DATABASE_URL.",
)
@click.option("--log-json", is_flag=True, help="Print JSON lines, and nothing else.")
@click.option(
    "--every",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds between progress lines, where there is no terminal.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log every batch, with its state.")
@with_traceback
@click.pass_context
def run(
    context: click.Context,
    /,
    *,
    target: str,
    pairs: tuple[str, ...],
    every: float,
    log_json: bool,
    verbose: bool,
) -> None:
    """Run a backfill to its end, from its checkpoint where there is one.

    Ctrl-C (or SIGTERM) finishes the batch under way and stops; a second Ctrl-C cancels
    that batch. Either way the next run goes on from there.
    """
    err = console_on(sys.stderr)
    wanted = context.find_object(Wanted) or Wanted()
    style = LogStyle(
        json=log_json,
        verbose=verbose,
        traceback=wanted.traceback,
        brief=is_live(err) and not log_json,
    )
    with logging_to(err, style):
        declared = declared_by(load(target))
        overrides = overrides_from(declared, pairs)
        with _view(err, declared.name, style, every) as view:
            ended = answer_of(run_to_end(declared, overrides, view))
        if style.json:
            log_ending(ended)
    if not style.json:
        tell_ending(console_on(sys.stdout), declared, overrides, ended)
    error = ended.result.error
    if wanted.traceback and not style.json and isinstance(error, BaseException):
        tracebacks.print_exception(error)
    context.exit(exit_code(ended))


@contextmanager
def _view(
    console: Console, title: str, style: LogStyle, every: float
) -> Iterator[View]:
    if style.brief:
        with live_view(console, title) as view:
            yield view
    else:
        yield LinesView(every, json=style.json)
