"""The options of a run: their names, their rules, and the frozen values.

Rule: `OPTIONS` is the one list of options. A class body, `run(**overrides)`, a
handle's `set` and a wish from another process are all checked by it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

from adaptive_backfill._core.evaluation import Evaluation, worst_of
from adaptive_backfill._core.health import HealthCheck, as_health_check
from adaptive_backfill._core.retry import Retry
from adaptive_backfill._core.rules import is_count, is_name, is_number
from adaptive_backfill._core.snapshot import Checkpoint
from adaptive_backfill.errors import ConfigurationError

__all__ = [
    "OPTIONS",
    "TUNABLE",
    "Option",
    "Refused",
    "RunOptions",
    "changed",
    "made",
    "near",
    "parsed",
    "tuned",
]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Everything that shapes a run. Times are float seconds.

    `OPTIONS` gives each its default and its rule; the class attributes of `Backfill`
    say what each is for.
    """

    name: str
    initial_state: object
    mode: Literal["sync", "async"]
    health_checks: tuple[HealthCheck, ...]
    health_interval: float
    health_timeout: float
    evaluate: Evaluation
    batch_size: int | None
    timeout: float | None
    delay_between_batches: float
    max_pause: float | None
    retry: Retry
    total: object
    max_batches: int | None
    telemetry_prefix: str
    checkpoint: Checkpoint | None
    once: bool
    if_running: Literal["raise", "skip", "wait"]

    @property
    def key(self) -> str:
        """The name that the store knows this run by."""
        if self.checkpoint is None or self.checkpoint.name is None:
            return self.name
        return self.checkpoint.name


class Refused(ValueError):
    """A value breaks its option's rule; says what is allowed."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes:
        parse: Returns the value to use, or raises `Refused`.
        default: The value where nobody says; already parsed.
        batch_only: A single operation has no use for it.
    """

    parse: Callable[[object], object]
    default: object = None
    batch_only: bool = False


def _text(value: object) -> str:
    if isinstance(value, str) and is_name(value):
        return value
    msg = "a non-empty str"
    raise Refused(msg)


def _anything(value: object) -> object:
    return value


def _one_of(*allowed: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        raise Refused(" or ".join(map(repr, allowed)))

    return parse


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    msg = "True or False"
    raise Refused(msg)


def _seconds(value: object, *, zero: bool) -> float:
    rule = f"seconds {'of 0 or more' if zero else 'above 0'}, or a timedelta"
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, int | float) and is_number(value, above_zero=not zero):
        return float(value)
    raise Refused(rule)


def _from_zero(value: object) -> float:
    return _seconds(value, zero=True)


def _above_zero(value: object) -> float:
    return _seconds(value, zero=False)


def _count(value: object) -> int:
    if isinstance(value, int) and is_count(value):
        return value
    msg = "an int of at least 1"
    raise Refused(msg)


def _total(value: object) -> object:
    if callable(value) or is_count(value, least=0):
        return value
    msg = "an int of 0 or more, or a method that returns one"
    raise Refused(msg)


def _or_none(parse: Callable[[object], object]) -> Callable[[object], object]:
    def parse_or_none(value: object) -> object:
        return None if value is None else parse(value)

    return parse_or_none


def _or_default(
    parse: Callable[[object], object], default: object
) -> Callable[[object], object]:
    def parse_or_default(value: object) -> object:
        return default if value is None else parse(value)

    return parse_or_default


def _checks(value: object) -> tuple[HealthCheck, ...]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        shown = "; put it in a list" if callable(value) else ""
        msg = f"a sequence of callables or HealthChecks{shown}"
        raise Refused(msg)
    checks: list[HealthCheck] = []
    problems: list[str] = []
    for check in value:
        try:
            checks.append(as_health_check(check))
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        msg = f"a sequence of callables or HealthChecks ({'; '.join(problems)})"
        raise Refused(msg)
    return tuple(checks)


def _callable(value: object) -> object:
    if callable(value) and not isinstance(value, type):
        return value
    msg = "worst_of, quorum(share), weighted(limit), or a callable of the results"
    raise Refused(msg)


def _prefix(value: object) -> str:
    parts = value.split(".") if isinstance(value, str) else value
    if (
        isinstance(parts, Sequence)
        and parts
        and all(isinstance(part, str) and part.strip() for part in parts)
    ):
        return ".".join(parts)
    msg = "a dotted str or a non-empty sequence of non-empty str"
    raise Refused(msg)


def _instance(kind: type, example: str) -> Callable[[object], object]:
    def parse(value: object) -> object:
        if isinstance(value, kind):
            return value
        raise Refused(example)

    return parse


ONE_ATTEMPT = Retry(attempts=1)

OPTIONS: Mapping[str, Option] = {
    "name": Option(_text),
    "initial_state": Option(_anything, None, batch_only=True),
    "mode": Option(_one_of("sync", "async"), "async"),
    "health_checks": Option(_or_default(_checks, ()), ()),
    "health_interval": Option(_above_zero, 5.0),
    "health_timeout": Option(_above_zero, 5.0),
    "evaluate": Option(_or_default(_callable, worst_of), worst_of),
    "batch_size": Option(_or_none(_count), None, batch_only=True),
    "timeout": Option(_or_none(_above_zero)),
    "delay_between_batches": Option(_or_default(_from_zero, 0.0), 0.0, batch_only=True),
    "max_pause": Option(_or_none(_from_zero), 3600.0),
    "retry": Option(
        _or_default(_instance(Retry, "a Retry(...), or None"), ONE_ATTEMPT),
        ONE_ATTEMPT,
    ),
    "total": Option(_or_none(_total), None, batch_only=True),
    "max_batches": Option(_or_none(_count), None, batch_only=True),
    "telemetry_prefix": Option(_or_default(_prefix, "backfill"), "backfill"),
    "checkpoint": Option(
        _or_none(_instance(Checkpoint, "a Checkpoint(store, name), or None"))
    ),
    "once": Option(_or_default(_flag, default=False), default=False),
    "if_running": Option(_one_of("raise", "skip", "wait"), "raise"),
}

TUNABLE = frozenset({"batch_size", "delay_between_batches"})
"""Options that a running run may be told to change."""


def parsed(name: str, value: object, options: Mapping[str, Option] = OPTIONS) -> object:
    """Return the value that *value* means for the option *name*.

    Raises:
        Refused: It breaks the option's rule; the message is one whole sentence.
    """
    try:
        return options[name].parse(value)
    except Refused as rule:
        msg = f"{name} must be {rule}, not {value!r}"
        raise Refused(msg) from None


def near(name: str, names: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the one of *names* that *name* is most likely meant to be."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=cutoff)
    return found[0] if found else None


def tuned(values: Mapping[str, object]) -> dict[str, object]:
    """Return *values* checked and parsed, for a run that is under way.

    Raises:
        ConfigurationError: One of them cannot be changed, or not to this value.
    """
    problems: list[str] = []
    checked: dict[str, object] = {}
    for name, value in values.items():
        if name not in TUNABLE:
            problems.append(
                f"{name!r} cannot be set on a running run; "
                f"{', '.join(sorted(TUNABLE))} can"
            )
            continue
        try:
            checked[name] = parsed(name, value)
        except Refused as refused:
            problems.append(str(refused))
    if problems:
        raise ConfigurationError(problems, subject="set")
    return checked


# The values below come out of `parsed`, which gives each its type; mypy cannot follow
# them through a mapping by name.
def made(values: Mapping[str, Any]) -> RunOptions:
    """Return the options that *values*, one for each name, make."""
    return RunOptions(**values)


def changed(options: RunOptions, values: Mapping[str, Any]) -> RunOptions:
    """Return *options* with *values* in place of some."""
    return replace(options, **values)
