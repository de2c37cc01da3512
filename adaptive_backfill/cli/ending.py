"""How a run ended, why, where it stands, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import structlog
from rich.console import Console
from rich.text import Text

from adaptive_backfill import Checkpoint, RunResult, RunStatus
from adaptive_backfill.cli.codes import ExitCode, code_of
from adaptive_backfill.cli.declared import Declared
from adaptive_backfill.cli.hints import hint_for
from adaptive_backfill.cli.running import Ended
from adaptive_backfill.cli.stream import put
from adaptive_backfill.cli.trouble import explained, said
from adaptive_backfill.cli.words import duration, plural, shown, spent
from adaptive_backfill.errors import ConfigurationError, LeaseLost

__all__ = ["exit_code", "log_ending", "tell_ending"]

_STYLES = {
    RunStatus.DONE: "bold green",
    RunStatus.SKIPPED: "bold",
    RunStatus.FAILED: "bold red",
}
_ANEW = (
    "the next run begins from the start. To go on from where it stood, declare "
    'checkpoint = Checkpoint(SqliteStore("backfills.db")).'
)
_SWITCHED_OFF = "this run kept no checkpoint; the one from before is as it was."


def exit_code(ended: Ended) -> ExitCode:
    """Return what the process ends with."""
    if isinstance(ended.result.error, ConfigurationError):
        # What only the database could tell, such as that there is no such table.
        return ExitCode.USAGE
    return ExitCode.INTERRUPTED if ended.cancelled else code_of(ended.result.status)


def tell_ending(
    console: Console,
    declared: Declared,
    overrides: Mapping[str, object],
    ended: Ended,
) -> None:
    """Print the ending for people."""
    result = ended.result
    head = Text(_word(ended).capitalize(), _STYLES.get(result.status, "bold yellow"))
    head.append(f": {result.name}", "not bold default")
    put(console, head)
    for line in (*_why(ended), *_counts(result)):
        put(console, line, indent=2)
    if result.status in (RunStatus.DONE, RunStatus.SKIPPED):
        return
    # On a command line a checkpoint can be switched off, and no more.
    switched_off = "checkpoint" in overrides and declared.checkpoint is not None
    kept = None if switched_off else declared.lasting
    put(console, _where(result, kept), indent=2)
    unkept = _SWITCHED_OFF if switched_off else _ANEW
    goes_on = kept is not None or not result.batches
    put(console, f"Next: {_next(result) if goes_on else unkept}", indent=2)


def log_ending(ended: Ended) -> None:
    """Log the ending, where all that is printed are log lines."""
    result = ended.result
    structlog.get_logger("adaptive_backfill.cli").info(
        "ended",
        backfill=result.name,
        run_id=result.run_id,
        status=_word(ended),
        exit_code=int(exit_code(ended)),
        rows=result.rows,
        batches=result.batches,
        duration=round(result.duration, 3),
        busy=round(result.busy, 3),
        paused=round(result.paused, 3),
        delayed=round(result.delayed, 3),
        reasons=[str(reason) for reason in result.reasons],
        **({} if result.error is None else {"error": said(result.error)}),
    )


def _word(ended: Ended) -> str:
    return "cancelled" if ended.cancelled else str(ended.result.status)


def _why(ended: Ended) -> Iterator[str]:
    result = ended.result
    if ended.cancelled:
        yield "The batch under way was cancelled by Ctrl-C, and does not count."
    else:
        yield from _reasons(result)
    if isinstance(result.error, ConfigurationError):
        yield str(result.error)
    elif isinstance(result.error, BaseException):
        yield explained(result.error)
    elif result.error is not None:
        yield said(result.error)
    if result.result is not None:
        yield f"Result: {shown(result.result)}"


def _reasons(result: RunResult) -> Iterator[str]:
    hints = []
    for reason in result.reasons:
        yield str(reason)
        hint = None if reason.error is None else hint_for(reason.error)
        if hint and hint not in hints:
            hints.append(hint)
    yield from hints


def _counts(result: RunResult) -> Iterator[str]:
    if result.status is not RunStatus.SKIPPED:
        paused = f", {duration(result.paused)} of it paused" if result.paused else ""
        yield f"{_done(result)} {duration(result.duration)}{paused}."
        where = spent(result)
        if where is not None:
            yield f"Its time: {where}."
    if result.quarantined:
        aside = plural(result.quarantined, "row")
        yield (
            f"{aside} could not be done, and set aside; `adaptive-backfill failures` "
            "shows which, and why."
        )
    if result.hook_errors:
        many = plural(len(result.hook_errors), "error")
        yield f"{many} in hooks, the first: {said(result.hook_errors[0])}"


def _done(result: RunResult) -> str:
    if not result.batches:
        return "It took"
    rows = f"{plural(result.rows, 'row')} in " if result.rows else ""
    whole = " in all; this run took" if result.resumed else "; it took"
    return f"{rows}{plural(result.batches, 'batch')}{whole}"


def _where(result: RunResult, checkpoint: Checkpoint | None) -> str:
    if not result.batches:
        return "No batch was done."
    stands = f"It stands at {shown(result.state)}, after batch {result.batches:,}"
    if checkpoint is None:
        return f"{stands}."
    name = result.name if checkpoint.name is None else checkpoint.name
    return f"{stands}, kept as {name!r} in {checkpoint.store!r}."


def _next(result: RunResult) -> str:
    if isinstance(result.error, LeaseLost):
        return "leave it to the other run; `adaptive-backfill status` shows it."
    again = "run the same command again"
    if result.batches:
        again = f"{again}; it goes on from there"
    if result.status is RunStatus.FAILED:
        return f"put that right (--traceback tells more), and {again}."
    if result.status is RunStatus.HALTED:
        return f"once that is better, {again}."
    return f"{again}."
