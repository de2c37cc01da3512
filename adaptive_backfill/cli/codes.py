"""What the exit code of a command says."""

from __future__ import annotations

from enum import IntEnum

from adaptive_backfill._core.result import RunStatus

__all__ = ["ExitCode", "code_of"]


class ExitCode(IntEnum):
    """The exit codes."""

    OK = 0
    """Done, or there was nothing to do."""
    FAILED = 1
    USAGE = 2
    """The command, the class or an option is wrong."""
    HALTED = 3
    STOPPED = 4
    ALREADY_RUNNING = 5
    INTERRUPTED = 130
    """Cancelled by Ctrl-C: 128 and the number of the signal, as shells have it."""


_CODES = {
    RunStatus.DONE: ExitCode.OK,
    RunStatus.SKIPPED: ExitCode.OK,
    RunStatus.FAILED: ExitCode.FAILED,
    RunStatus.HALTED: ExitCode.HALTED,
    RunStatus.STOPPED: ExitCode.STOPPED,
}


def code_of(status: RunStatus) -> ExitCode:
    """Return the exit code of a run that ended as *status*."""
    return _CODES[status]
