"""How often, and how long apart, a failed batch is tried again."""

from __future__ import annotations

from dataclasses import dataclass

from adaptive_backfill._core.rules import is_count, is_error_types, is_number
from adaptive_backfill.errors import CheckpointError, ConfigurationError, InvalidAnswer

__all__ = ["Retry"]


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential backoff with full jitter.

    The wait after the k-th failed attempt, k from 0, is drawn evenly from 0 to
    ``min(cap, base * 2**k)`` seconds, so that many workers do not come back at once.

    Attributes:
        attempts: Tries a batch gets in all, at least 1.
        base: Seconds, 0 or more.
        cap: Seconds, at least *base*.
        on: The exceptions that are worth another try. `Fail`, `Halt`,
            `InvalidAnswer` and `CheckpointError` never are; a timeout is, where *on*
            covers `BatchTimeout`.

    Raises:
        ConfigurationError: An argument is out of its bounds.
    """

    attempts: int = 3
    base: float = 1.0
    cap: float = 60.0
    on: tuple[type[Exception], ...] = (Exception,)

    def __post_init__(self) -> None:
        problems = []
        if not is_count(self.attempts):
            problems.append(
                f"attempts must be an int of at least 1, not {self.attempts!r}"
            )
        problems += [
            f"{name} must be seconds of 0 or more, not {value!r}"
            for name, value in (("base", self.base), ("cap", self.cap))
            if not is_number(value)
        ]
        if not problems and self.cap < self.base:
            problems.append(f"cap must be at least base ({self.base}), not {self.cap}")
        if not is_error_types(self.on):
            problems.append(f"on must be a tuple of Exception types, not {self.on!r}")
        if problems:
            raise ConfigurationError(problems, subject="Retry")

    def covers(self, error: BaseException, attempt: int) -> bool:
        """Whether to try again after *attempt*, from 1, failed with *error*."""
        return (
            attempt < self.attempts
            and isinstance(error, self.on)
            and not isinstance(error, InvalidAnswer | CheckpointError)
        )

    def wait(self, attempt: int, chance: float) -> float:
        """Return the seconds to wait after *attempt* failed.

        Args:
            attempt: The attempt that failed, from 1.
            chance: A number from 0 to 1, drawn at random.
        """
        # 2.0**1024 would overflow; no cap is that far away.
        return min(self.cap, self.base * 2.0 ** min(attempt - 1, 1000)) * chance
