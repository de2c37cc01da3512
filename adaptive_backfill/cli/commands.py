"""All commands, and the way from a process's arguments to its exit code."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

import click

from adaptive_backfill.cli.codes import ExitCode
from adaptive_backfill.cli.command_demo import demo
from adaptive_backfill.cli.command_run import run
from adaptive_backfill.cli.commands_database import (
    doctor,
    ensure_finished,
    failures,
    plan,
    store_script,
    verify,
)
from adaptive_backfill.cli.commands_outside import (
    history,
    pause,
    resume,
    set_,
    status,
    stop,
)
from adaptive_backfill.cli.options import Wanted

__all__ = ["cli", "command_line"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Run backfills, and see and steer them from outside.

    TARGET is module:Class, or path/to/file.py:Class; the current folder is searched,
    too. Exit codes: 0 done or skipped, 1 failed, 2 wrong usage or configuration,
    3 halted, 4 stopped, 5 already running, 130 cancelled by Ctrl-C.
    """


for _command in (
    *(run, status, history, pause, resume, set_, stop),
    *(plan, verify, failures, ensure_finished, doctor, store_script, demo),
):
    cli.add_command(_command)


def command_line(argv: Sequence[str]) -> int:
    """Run the command of *argv*; return its exit code."""
    wanted = Wanted()
    try:
        code = cli.main(
            list(argv), "adaptive-backfill", standalone_mode=False, obj=wanted
        )
    except click.exceptions.Abort:
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        if wanted.traceback and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        return error.exit_code
    return int(code or 0)
