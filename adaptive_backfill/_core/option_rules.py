"""The rules of options: each makes of a value what a run uses, or refuses it.

They take any `object`, because what users write is not always what they annotate. The
message of `Refused` goes on after ``batch_size must be``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from adaptive_backfill._core.health import HealthCheck, as_health_check
from adaptive_backfill._core.rules import is_count, is_name, is_number
from adaptive_backfill._core.windows import EXAMPLE, window_of
from adaptive_backfill.errors import ConfigurationError

__all__ = [
    "Refused",
    "RefusedUnseen",
    "a_second",
    "above_zero",
    "anything",
    "count",
    "dotted",
    "flag",
    "from_zero",
    "function",
    "health_checks",
    "instance",
    "one_of",
    "or_default",
    "or_none",
    "share",
    "text",
    "total_rows",
    "windows",
]


class Refused(ValueError):
    """A value breaks its option's rule; says what is allowed."""


class RefusedUnseen(Refused):
    """As `Refused`, of a value that is not to be shown: it may hold a password."""


def text(value: object) -> str:
    """Return *value*, a non-empty str."""
    if isinstance(value, str) and is_name(value):
        return value
    msg = "a non-empty str"
    raise Refused(msg)


def anything(value: object) -> object:
    """Return *value*, whatever it is."""
    return value


def one_of(*allowed: str) -> Callable[[object], str]:
    """Return the rule that a value is one of *allowed*."""

    def parse(value: object) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        raise Refused(" or ".join(map(repr, allowed)))

    return parse


def flag(value: object) -> bool:
    """Return *value*, a bool."""
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


def from_zero(value: object) -> float:
    """Return *value* as float seconds, 0 or more."""
    return _seconds(value, zero=True)


def above_zero(value: object) -> float:
    """Return *value* as float seconds, above 0."""
    return _seconds(value, zero=False)


def count(value: object) -> int:
    """Return *value*, an int of at least 1."""
    if isinstance(value, int) and is_count(value):
        return value
    msg = "an int of at least 1"
    raise Refused(msg)


def total_rows(value: object) -> object:
    """Return *value*, an int of 0 or more, or what returns one."""
    if callable(value) or is_count(value, least=0):
        return value
    msg = "an int of 0 or more, or a method that returns one"
    raise Refused(msg)


def or_none(parse: Callable[[object], object]) -> Callable[[object], object]:
    """Return *parse*, after which `None` means itself."""

    def parse_or_none(value: object) -> object:
        return None if value is None else parse(value)

    return parse_or_none


def or_default(
    parse: Callable[[object], object], default: object
) -> Callable[[object], object]:
    """Return *parse*, after which `None` means *default*."""

    def parse_or_default(value: object) -> object:
        return default if value is None else parse(value)

    return parse_or_default


def health_checks(value: object) -> tuple[HealthCheck, ...]:
    """Return *value* as health checks."""
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


def function(value: object) -> object:
    """Return *value*, a callable that is no class."""
    if callable(value) and not isinstance(value, type):
        return value
    msg = "worst_of, quorum(share), weighted(limit), or a callable of the results"
    raise Refused(msg)


def dotted(value: object) -> str:
    """Return *value*, a str or several, as one dotted str."""
    parts = value.split(".") if isinstance(value, str) else value
    if (
        isinstance(parts, Sequence)
        and parts
        and all(isinstance(part, str) and part.strip() for part in parts)
    ):
        return ".".join(parts)
    msg = "a dotted str or a non-empty sequence of non-empty str"
    raise Refused(msg)


def instance(kind: type, example: str) -> Callable[[object], object]:
    """Return the rule that a value is a *kind*, such as *example*."""

    def parse(value: object) -> object:
        if isinstance(value, kind):
            return value
        raise Refused(example)

    return parse


def share(value: object) -> float:
    """Return *value* as a float, above 0 and at most 1."""
    is_above_zero = is_number(value, above_zero=True)
    if isinstance(value, int | float) and is_above_zero and value <= 1:
        return float(value)
    msg = "a share of the time, above 0 and at most 1"
    raise Refused(msg)


def a_second(what: str) -> Callable[[object], float]:
    """Return the rule that a value is so many *what* a second, above 0."""

    def parse(value: object) -> float:
        if isinstance(value, int | float) and is_number(value, above_zero=True):
            return float(value)
        msg = f"{what} a second, above 0, or None"
        raise Refused(msg)

    return parse


def windows(value: object) -> tuple[str, ...]:
    """Return *value*, one window or several, as the texts of windows."""
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, Sequence) or isinstance(texts, bytes) or not texts:
        msg = f"{EXAMPLE}, a sequence of such, or None"
        raise Refused(msg)
    try:
        return tuple(window_of(text(each)).text for each in texts)
    except ValueError as error:
        msg = f"{EXAMPLE}, a sequence of such, or None ({error})"
        raise Refused(msg) from error
