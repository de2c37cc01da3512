"""What one health check says, as a value.

Rule: whatever a check gives, and however it goes wrong, becomes a `CheckResult`
here, with the check's severity and `on_error` applied; unknown is not healthy.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from typing_extensions import override

from adaptive_backfill._core.answers import OK, Halt, Health, Pause, Slow, Verdict
from adaptive_backfill._core.rules import is_name, is_number
from adaptive_backfill._core.saying import said, said_of_error
from adaptive_backfill.errors import (
    ConfigurationError,
    HealthCheckTimeout,
    InvalidHealthResult,
)

__all__ = [
    "CheckResult",
    "HealthCheck",
    "HealthContext",
    "Load",
    "OnError",
    "Reason",
    "Severity",
    "as_health_check",
    "failed",
    "judged",
]

Severity: TypeAlias = Literal["critical", "warning", "info"]
OnError: TypeAlias = Literal["halt", "pause", "slow"]

_ON_ERROR: dict[str, Callable[[object], Slow | Pause | Halt]] = {
    "halt": Halt,
    "pause": Pause,
    "slow": Slow,
}


class HealthCheck:
    """A health check with its weight and severity.

    Attributes:
        fn: A callable of no argument, or of one `HealthContext`; sync or async.
        name: Shown in reasons; by default the callable's own name.
        weight: What it counts in `weighted`; 0 or more.
        severity: `"critical"` as it says, `"warning"` at most `Slow`, `"info"`
            only reported.
        on_error: What a check that raises, overruns or answers nonsense counts as.

    Raises:
        ConfigurationError: An argument is out of these bounds.
    """

    __slots__ = ("fn", "name", "on_error", "severity", "weight")

    def __init__(
        self,
        fn: Callable[..., object],
        *,
        name: str | None = None,
        weight: float = 1.0,
        severity: Severity = "critical",
        on_error: OnError = "halt",
    ) -> None:
        problems = [
            *_callable_problems(fn),
            *_word_problems("severity", severity, get_args(Severity)),
            *_word_problems("on_error", on_error, get_args(OnError)),
        ]
        if name is not None and not is_name(name):
            problems.append(f"name must be a non-empty str, not {name!r}")
        if not is_number(weight):
            problems.append(f"weight must be a number of 0 or more, not {weight!r}")
        if problems:
            raise ConfigurationError(problems, subject="HealthCheck")
        self.fn = fn
        self.name = name or _name_of(fn)
        self.weight = float(weight)
        self.severity = severity
        self.on_error = on_error

    def bound(self, fn: Callable[..., object]) -> HealthCheck:
        """Return the same check over *fn*."""
        return HealthCheck(
            fn,
            name=self.name,
            weight=self.weight,
            severity=self.severity,
            on_error=self.on_error,
        )

    @override
    def __repr__(self) -> str:
        return f"HealthCheck({self.name})"


@dataclass(frozen=True, slots=True)
class HealthContext:
    """What a check may know of the run that asks.

    Attributes:
        name: The backfill's name.
        pool: The run's database pool, where it has one.
        run_id: Names this one run.
        memory: The run's own, empty at its start: what a check has to remember from
            one sampling to the next, by a key of its own.
        untimed: Makes a block in which an async check's time limit does not run, and
            after which it starts anew: for waiting until a shared thing is free.
    """

    name: str
    pool: Any = None
    run_id: str = ""
    memory: dict[object, object] = field(default_factory=dict, compare=False)
    untimed: Callable[[], AbstractContextManager[object]] = field(
        default=nullcontext, compare=False
    )


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a run waited, slowed or stopped; `str()` gives the sentence.

    Attributes:
        check: The health check's name; `None` for a handler's or an outside reason.
        answer: What it counted as, after severity and `on_error`.
        value: What the check gave: `"x"` for `Halt("x")`.
        error: The exception that the check raised, or `InvalidHealthResult`.
    """

    check: str | None
    answer: Verdict
    value: object = None
    error: BaseException | None = None

    @override
    def __str__(self) -> str:
        if isinstance(self.error, InvalidHealthResult | HealthCheckTimeout):
            return str(self.error)
        if self.error is not None:
            return f"{self.check} raised {said_of_error(self.error)}"
        text = said(self.value)
        if self.check is None or text.startswith(self.check):
            return text
        return f"{self.check}: {text}"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check's finding, for `evaluate`.

    Attributes:
        name: The check's name.
        answer: `OK`, `Slow`, `Pause` or `Halt`, severity and `on_error` applied.
        reason: Why, where it is not healthy; an *info* check's is kept beside `OK`.
        weight: The check's weight.
        severity: The check's severity.
        duration: Seconds that the check took.
        load: How near to its limit what it looks at is: 1.0 at the limit. `None` where
            the check cannot tell.
        load_at: When that was judged, by whatever clock; `None`: just now. One that was
            seen before already says nothing new.
    """

    name: str
    answer: Verdict
    reason: Reason | None = None
    weight: float = 1.0
    severity: Severity = "critical"
    duration: float = 0.0
    load: float | None = None
    load_at: float | None = None


class Load(NamedTuple):
    """How near to its limit something is, from a check that does not look each time.

    Attributes:
        share: 1.0 at the limit.
        at: When that was judged, by whatever clock.
    """

    share: float
    at: float


def judged(check: HealthCheck, given: object, duration: float) -> CheckResult:
    """Return what *given*, the value a check returned, says."""
    if isinstance(given, Health) or given is None or given is True:
        return CheckResult(check.name, OK, None, check.weight, check.severity, duration)
    if given is False:
        return _unhealthy(check, Halt(check.name), check.name, None, duration)
    if isinstance(given, Slow | Pause | Halt):
        return _unhealthy(check, given, given.reason, None, duration)
    return failed(check, InvalidHealthResult(check.name, given), duration, given)


def failed(
    check: HealthCheck, error: BaseException, duration: float, given: object = None
) -> CheckResult:
    """Return the result of a check that went wrong with *error*."""
    return _unhealthy(check, _ON_ERROR[check.on_error](error), given, error, duration)


def as_health_check(check: object) -> HealthCheck:
    """Return *check* itself, or a `HealthCheck` over a plain callable."""
    if isinstance(check, HealthCheck):
        return check
    problems = _callable_problems(check)
    if problems or not callable(check):
        raise ConfigurationError(problems, subject="health_checks")
    return HealthCheck(check)


def _unhealthy(
    check: HealthCheck,
    answer: Slow | Pause | Halt,
    value: object,
    error: BaseException | None,
    duration: float,
) -> CheckResult:
    if check.severity == "warning":
        answer = Slow(answer.reason)
    reason = Reason(check.name, answer, value, error)
    # An info check is reported, but nobody acts on it.
    counted: Verdict = OK if check.severity == "info" else answer
    return CheckResult(
        check.name, counted, reason, check.weight, check.severity, duration
    )


def _callable_problems(fn: object) -> list[str]:
    if isinstance(fn, type):
        return [f"{fn.__name__} is a class; make an instance: {fn.__name__}(...)"]
    if callable(fn) and not isinstance(fn, HealthCheck):
        return []
    return [f"{fn!r} is not a callable"]


def _word_problems(name: str, word: object, allowed: tuple[str, ...]) -> list[str]:
    if word in allowed:
        return []
    return [f"{name} must be {' or '.join(map(repr, allowed))}, not {word!r}"]


def _name_of(fn: object) -> str:
    while isinstance(fn, partial):
        fn = fn.func
    name = getattr(fn, "name", None) or getattr(fn, "__name__", None)
    return name if isinstance(name, str) else type(fn).__name__
