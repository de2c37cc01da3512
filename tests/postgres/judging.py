"""Judge looks one after another, as a run does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from adaptive_backfill.postgres._finding import Finding
from adaptive_backfill.postgres._signal import Judge

Rows: TypeAlias = "Sequence[Mapping[str, Any]]"


def judged(judge: Judge, *looks: Rows) -> Finding:
    """What the last of *looks* says."""
    finding = Finding()
    for rows in looks:
        finding = judge(rows, finding.memory)
    return finding


def never_better(findings: Sequence[Finding]) -> bool:
    """Whether none is healthy after one that is not."""
    broken = [finding.broken for finding in findings]
    return broken == sorted(broken)
