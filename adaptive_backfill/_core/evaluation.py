"""Many findings, one verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from adaptive_backfill._core.answers import (
    OK,
    Halt,
    Health,
    Pause,
    Slow,
    Verdict,
    badness,
)
from adaptive_backfill._core.health import CheckResult, Reason
from adaptive_backfill._core.rules import is_number
from adaptive_backfill.errors import ConfigurationError, InvalidHealthResult

__all__ = [
    "HEALTHY",
    "Evaluation",
    "HealthReport",
    "joined",
    "misjudged",
    "quorum",
    "report_of",
    "unknown_for",
    "weighted",
    "worst_of",
]

Evaluation: TypeAlias = Callable[[Sequence[CheckResult]], Verdict]


def worst_of(results: Sequence[CheckResult]) -> Verdict:
    """Judge by the worst finding; among equals by the first declared."""
    return _worst(results)


def quorum(share: float) -> Evaluation:
    """Judge by the worst finding, once at least *share* of them are unhealthy.

    Args:
        share: More than 0, at most 1; `info` checks do not count.

    Raises:
        ConfigurationError: *share* is out of its bounds.
    """
    if not is_number(share, above_zero=True) or share > 1:
        msg = f"the share must be more than 0 and at most 1, not {share!r}"
        raise ConfigurationError([msg], subject="quorum")

    def evaluate(results: Sequence[CheckResult]) -> Verdict:
        counted = [result for result in results if result.severity != "info"]
        unhealthy = [result for result in counted if result.answer is not OK]
        if not unhealthy or _misses(len(unhealthy), share * len(counted)):
            return OK
        return _worst(unhealthy)

    return evaluate


def weighted(limit: float) -> Evaluation:
    """Judge by the worst finding, once the unhealthy ones weigh *limit* or more.

    Args:
        limit: More than 0; `info` checks weigh nothing.

    Raises:
        ConfigurationError: *limit* is out of its bounds.
    """
    if not is_number(limit, above_zero=True):
        msg = f"the limit must be a number above 0, not {limit!r}"
        raise ConfigurationError([msg], subject="weighted")

    def evaluate(results: Sequence[CheckResult]) -> Verdict:
        unhealthy = [
            result
            for result in results
            if result.severity != "info" and result.answer is not OK
        ]
        if _misses(sum(result.weight for result in unhealthy), limit):
            return OK
        return _worst(unhealthy)

    return evaluate


@dataclass(frozen=True, slots=True)
class HealthReport:
    """One sampling, judged.

    Attributes:
        verdict: What to do.
        reasons: Every unhealthy finding, in the order of declaration.
        results: What each check found.
        fresh: False where it is too old to grow on.
    """

    verdict: Verdict = OK
    reasons: tuple[Reason, ...] = ()
    results: tuple[CheckResult, ...] = ()
    fresh: bool = True


HEALTHY = HealthReport()
"""What a run without checks is told."""


def report_of(results: Sequence[CheckResult], verdict: object) -> HealthReport:
    """Return the report of *results*, which `evaluate` judged as *verdict*."""
    reasons = tuple(
        result.reason
        for result in results
        if result.answer is not OK and result.reason is not None
    )
    if isinstance(verdict, Health):
        return HealthReport(OK, reasons, tuple(results))
    if not isinstance(verdict, Slow | Pause | Halt):
        return misjudged(results, InvalidHealthResult("evaluate", verdict), verdict)
    if not any(verdict == result.answer for result in results):
        reasons += (Reason("evaluate", verdict, verdict.reason),)
    return HealthReport(verdict, reasons, tuple(results))


def misjudged(
    results: Sequence[CheckResult], error: BaseException, given: object = None
) -> HealthReport:
    """Return the report of *results* whose `evaluate` went wrong with *error*."""
    if not isinstance(error, InvalidHealthResult):
        # The contract promises one type, whether it raised or answered nonsense.
        invalid = InvalidHealthResult("evaluate", error, raised=True)
        invalid.__cause__ = error
        error = invalid
    halt = Halt(error)
    reasons = tuple(r.reason for r in results if r.answer is not OK and r.reason)
    reasons += (Reason("evaluate", halt, given, error),)
    return HealthReport(halt, reasons, tuple(results))


def joined(report: HealthReport, other: HealthReport) -> HealthReport:
    """Return *report* with what *other* found besides; the worse verdict counts."""
    return HealthReport(
        max(report.verdict, other.verdict, key=badness),
        (*report.reasons, *other.reasons),
        (*report.results, *other.results),
        report.fresh and other.fresh,
    )


def unknown_for(seconds: float) -> HealthReport:
    """Return the report of a monitor that has not looked for *seconds*."""
    pause = Pause(f"health unknown for {seconds:.0f} s")
    return HealthReport(pause, (Reason(None, pause, pause.reason),), (), fresh=False)


def _misses(reached: float, limit: float) -> bool:
    # 0.29 * 100 is 28.999..., and 0.7 + 0.1 is less than 0.8: what is met must not
    # be missed by rounding.
    return reached < limit * (1 - 1e-9)


def _worst(results: Iterable[CheckResult]) -> Verdict:
    worst: Verdict = OK
    for result in results:
        # Strictly worse, so that among equals the first declared speaks.
        if badness(result.answer) > badness(worst):
            worst = result.answer
    return worst
