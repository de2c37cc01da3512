"""Every error of this library.

* BackfillError
  x ConfigurationError   a class, an override or a store is declared wrongly
  x AlreadyRunning       another run of the same name holds the lease
  x NotRunning           a wish was made to a run that is not there
  x NotFinished          `ensure_finished()`: rows are left to do, or may be
  x RunEnded
    + RunHalted          `raise_for_status()`: stopped by health or by a handler
    + RunFailed          `raise_for_status()`: ended by an error
  x BatchTimeout         a batch overran its `timeout` (also a `TimeoutError`)
  x InvalidAnswer        a handler returned something that is no answer
  x InvalidHealthResult  a check returned something that is no health
  x HealthCheckTimeout   a check overran `health_timeout` (also a `TimeoutError`)
  x CheckpointError      a checkpoint could not be loaded, saved or deleted
  x LeaseLost            another run has taken over; nothing was written
  x TooManyQuarantined   more rows than `max_quarantined` cannot be done
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence

from typing_extensions import override

__all__ = [
    "AlreadyRunning",
    "BackfillError",
    "BatchTimeout",
    "CheckpointError",
    "ConfigurationError",
    "HealthCheckTimeout",
    "InvalidAnswer",
    "InvalidHealthResult",
    "LeaseLost",
    "NotFinished",
    "NotRunning",
    "RunEnded",
    "RunFailed",
    "RunHalted",
    "TooManyQuarantined",
]


class BackfillError(Exception):
    """The base class; catching it catches every error of this library."""

    @override
    def __reduce__(self) -> tuple[object, ...]:
        # By default a copy calls the class with the message, and most of these
        # classes take something else.
        return _again, (type(self), self.args, self.__dict__)


class ConfigurationError(BackfillError):
    """Something is declared wrongly; raised before any side effect.

    Attributes:
        subject: What is wrong, such as a class's name.
        problems: One sentence for each problem; all of them, not only the first.
    """

    def __init__(self, problems: Sequence[str], *, subject: str) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{subject} cannot be used:\n{lines}")


class AlreadyRunning(BackfillError):
    """Another run of the same checkpoint name is under way."""

    def __init__(self, name: str, owner: str | None = None) -> None:
        self.name = name
        self.owner = owner
        holder = f"run {owner}" if owner else "another run"
        super().__init__(
            f"{name!r} is already being run by {holder}. Wait for it, stop it with "
            f"Runs(store).stop({name!r}), or pass if_running='skip' or 'wait'. After "
            "a crash its lease runs out by itself."
        )


class NotRunning(BackfillError):
    """A wish was made to a backfill that is not running."""

    def __init__(self, name: str, wish: str) -> None:
        self.name = name
        self.wish = wish
        super().__init__(
            f"{name!r} is not running, so there is nothing to {wish}. "
            "Runs(store).list() shows the names that the store knows."
        )


class NotFinished(BackfillError):
    """Something needs a backfill to be finished, and it is not.

    Attributes:
        name: The checkpoint's name.
        why: Where it stands, as a sentence.
    """

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self.why = why
        super().__init__(f"{name!r} is not finished: {why}")


class RunEnded(BackfillError):
    """A run ended without finishing; *result* is its `RunResult`."""

    def __init__(self, message: str, result: object) -> None:
        self.result = result
        super().__init__(message)


class RunHalted(RunEnded):
    """A run stopped itself, by bad health or a `Halt`; it can be resumed."""


class RunFailed(RunEnded):
    """A run ended by an error, which is this exception's cause."""


class BatchTimeout(BackfillError, TimeoutError):
    """A batch took longer than its `timeout`, and was cancelled."""

    def __init__(self, name: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(
            f"{name} took longer than its timeout of {seconds:g} s, and was cancelled. "
            "Give it less to do at once, such as fewer rows a batch, or raise "
            "`timeout`."
        )


class InvalidAnswer(BackfillError, TypeError):
    """A handler returned something that is not an answer."""

    def __init__(self, name: str, value: object, allowed: Sequence[str]) -> None:
        self.value = value
        super().__init__(
            f"{name} returned {_shown(value)} ({type(value).__name__}), which is not "
            f"an answer. Return one of {', '.join(allowed)}, or raise; a `return` may "
            "be missing."
        )


class InvalidHealthResult(BackfillError, TypeError):
    """A health check, or `evaluate`, returned something that says nothing."""

    def __init__(self, check: str, value: object, *, raised: bool = False) -> None:
        self.check = check
        self.value = value
        did = "raised" if raised else "returned"
        super().__init__(
            f"health check {check!r} {did} {_shown(value)} ({type(value).__name__}); "
            "return OK, Slow(reason), Pause(reason) or Halt(reason)"
        )


class HealthCheckTimeout(BackfillError, TimeoutError):
    """A health check gave no answer in time."""

    def __init__(self, check: str, seconds: float) -> None:
        self.check = check
        self.seconds = seconds
        super().__init__(f"health check {check!r} gave no answer in {seconds:g} s")


class CheckpointError(BackfillError):
    """A checkpoint could not be loaded, saved or deleted.

    Never treated as "there is none": starting over would silently repeat the
    whole backfill. Where a store raised, its error is the cause.
    """


class LeaseLost(BackfillError):
    """Another run has taken over this name; this one wrote nothing more."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"The lease of {name!r} was lost: another run took over after this one "
            "was silent for longer than the lease. What was saved stays; nothing of "
            "the batch under way was saved."
        )


class TooManyQuarantined(BackfillError):
    """One row more could not be done than `max_quarantined` allows to set aside.

    What was raised for that row is the cause.
    """

    def __init__(self, name: str, limit: int, error: str) -> None:
        self.limit = limit
        super().__init__(
            f"{name} has come to a row that cannot be done ({error}), and "
            f"max_quarantined={limit} rows are set aside already. See `await "
            f"{name}.failures()`, mend what is wrong, and run it again to resume."
        )


def _again(
    kind: type[BackfillError], args: tuple[object, ...], said: Mapping[str, object]
) -> BackfillError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(said)
    return error


def _shown(value: object) -> str:
    """Return the `repr` of a user's *value*, which may be long, or raise."""
    shown = reprlib.Repr()
    shown.maxstring = shown.maxother = 200
    try:
        return shown.repr(value)
    except ValueError:
        # An int of more digits than Python is willing to write.
        return f"a very large {type(value).__name__}"
