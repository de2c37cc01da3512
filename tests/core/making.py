"""Options, findings and reports for tests of the pure floor."""

from __future__ import annotations

from hypothesis import settings

from adaptive_backfill._core.answers import OK, Halt, Pause, Slow, Verdict
from adaptive_backfill._core.evaluation import HealthReport
from adaptive_backfill._core.health import CheckResult, Reason, Severity
from adaptive_backfill._core.options import OPTIONS, RunOptions, made

few = settings(max_examples=40, deadline=None, derandomize=True)
"""Enough to find what is wrong, and the same on every machine."""

LEVELS: tuple[Verdict, ...] = (OK, Slow("slow"), Pause("pause"), Halt("halt"))
"""One of each verdict, from the best to the worst."""


def options(**values: object) -> RunOptions:
    defaults = {name: option.default for name, option in OPTIONS.items()}
    return made({**defaults, "name": "users", **values})


def finding(
    answer: Verdict,
    *,
    name: str = "check",
    weight: float = 1.0,
    severity: Severity = "critical",
) -> CheckResult:
    reason = None if answer is OK else Reason(name, answer, "bad")
    return CheckResult(name, answer, reason, weight, severity)


def report(verdict: Verdict) -> HealthReport:
    return HealthReport(verdict, (Reason("check", verdict, "bad"),))
