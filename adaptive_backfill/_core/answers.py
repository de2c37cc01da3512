"""What handlers and health checks answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, Literal, TypeAlias

from typing_extensions import TypeVar, override

__all__ = [
    "DONE",
    "OK",
    "Answer",
    "Done",
    "Fail",
    "Halt",
    "Health",
    "Measure",
    "Next",
    "Pause",
    "Slow",
    "State",
    "Verdict",
    "badness",
]

State = TypeVar("State", default=Any)
"""A backfill's state; `Any` where a class does not say."""


@dataclass(frozen=True, slots=True)
class Next(Generic[State]):
    """The batch is done, and the next one starts from *state*.

    Attributes:
        state: What the next batch is handed; any value, `None` included.
        rows: Rows done in this batch, for counts, rate and eta; `None` adds 0.
    """

    state: State
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The work is finished.

    Attributes:
        result: Handed on as `RunResult.result`.
        rows: Rows done in this last batch. With it the batch counts, is saved and
            calls `on_success`; without it there was nothing left to do.
    """

    result: object = None
    rows: int | None = None


DONE = Done()
"""`Done()` in one word."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The batch failed, with *reason* as the run's error. Not retried."""

    reason: object


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop here; a later run resumes from the last saved state."""

    reason: object


@dataclass(frozen=True, slots=True)
class Slow:
    """Go on, more gently."""

    reason: object


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait until healthy, then go on."""

    reason: object


class Health(Enum):
    """The one value of good health, as an enum so that `is OK` narrows."""

    OK = "ok"

    @override
    def __repr__(self) -> str:
        return "OK"

    @override
    def __str__(self) -> str:
        return "OK"


OK: Literal[Health.OK] = Health.OK
"""Healthy."""

Verdict: TypeAlias = Literal[Health.OK] | Slow | Pause | Halt
Answer: TypeAlias = Next[State] | Done | Halt | Fail

_BADNESS = ((Health, 0), (Slow, 1), (Pause, 2), (Halt, 3))


def badness(verdict: Verdict) -> int:
    """Return 0 for `OK`, 1 for `Slow`, 2 for `Pause`, 3 for `Halt`."""
    return next(level for kind, level in _BADNESS if isinstance(verdict, kind))


class Measure(str):
    """A reason with its numbers: the sentence ``signal observed > limit``.

    Attributes:
        signal: What was measured, such as ``"replay_lag"``.
        observed: The number seen.
        limit: The number it is judged by.
        unit: The unit of both, such as ``"s"``; written behind each number.
    """

    __slots__ = ("limit", "observed", "signal", "unit")

    signal: str
    observed: float
    limit: float
    unit: str

    def __new__(
        cls,
        signal: str,
        observed: float,
        limit: float,
        *,
        unit: str = "",
        sign: str = ">",
        note: str = "",
    ) -> Measure:
        """Make the sentence; *note* is put behind it in parentheses."""
        tail = f" ({note})" if note else ""
        self = super().__new__(
            cls,
            f"{signal} {_number(observed)}{unit} {sign} {_number(limit)}{unit}{tail}",
        )
        self.signal = signal
        self.observed = observed
        self.limit = limit
        self.unit = unit
        return self

    @override
    def __reduce__(self) -> tuple[object, ...]:
        # By default a copy would call `__new__` with the sentence alone.
        numbers = {name: getattr(self, name) for name in self.__slots__}
        return _measured, (str(self), numbers)


def _measured(sentence: str, numbers: Mapping[str, object]) -> Measure:
    self = str.__new__(Measure, sentence)
    for name, value in numbers.items():
        setattr(self, name, value)
    return self


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
