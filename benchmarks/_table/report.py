"""The results as lines of Markdown: speeds, ratios beside goals, and the rest."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import NamedTuple

from _table.results import Flatness, Results, spread

__all__ = ["GOALS", "Goal", "report"]


class Goal(NamedTuple):
    """A ratio of speeds that we want to reach, or only to know."""

    job: str
    to: str
    least: float | None = None


GOALS = (
    Goal("TableBackfill 1,000", "by hand 1,000", 0.97),
    Goal("TableBackfill 100", "by hand 100", 0.92),
    Goal("TableBackfill 1,000", "by hand 1,000, exactly once"),
    Goal("TableBackfill 100", "by hand 100, exactly once"),
    Goal("TableBackfill 5,000", "single UPDATE", 0.90),
    Goal("TableBackfill 5,000", "by hand 5,000", 0.97),
    Goal("TableBackfill 5,000, 2 workers", "single UPDATE", 1.1),
    Goal("handle_rows 1,000", "by hand in Python 1,000", 0.95),
    Goal("handle_rows 5,000", "by hand in Python 5,000", 0.95),
    Goal("TableBackfill, Adaptive()", "TableBackfill 5,000", 0.95),
    Goal("TableBackfill 1,000", "OFFSET 100, set-based", 50.0),
)

_CHECKPOINT = ("TableBackfill 100", "TableBackfill 100, checkpoint in memory", 100)
_MOST_A_CHECKPOINT = 0.3
_FLAT = 0.15


def report(results: Results) -> list[str]:
    """Return the whole report."""
    return [*_speeds(results), *_goals(results), *_flatness(results), *_bloat(results)]


def _speeds(results: Results) -> Iterator[str]:
    single = "single UPDATE"
    yield f"| {results.rows:,} rows | rows/s (range) | x {single} | rounds |"
    yield "| --- | ---: | ---: | ---: |"
    for name in results.names():
        speeds = results.speeds(name)
        ratios = results.ratios(name, single)
        ratio = _plain(statistics.median(ratios)) if ratios else ""
        shown = spread(speeds, "{:,.0f}")
        yield f"| {name} | {shown} | {ratio} | {len(speeds)} |"


def _goals(results: Results) -> Iterator[str]:
    yield ""
    yield "| ratio of speeds, by pairs | measured (range) | goal | |"
    yield "| --- | ---: | ---: | --- |"
    for goal in GOALS:
        ratios = results.ratios(goal.job, goal.to)
        if ratios:
            what = f"{goal.job} / {goal.to} | {spread(ratios, '{:.2f}')}"
            yield f"| {what} | {_judged(statistics.median(ratios), goal.least)} |"
    more = results.more_a_batch(*_CHECKPOINT)
    if more:
        met = _met(statistics.median(more) <= _MOST_A_CHECKPOINT)
        shown = spread(more, "{:.2f}")
        yield f"| checkpoint, ms a batch | {shown} | ≤ {_MOST_A_CHECKPOINT} | {met} |"


def _flatness(results: Results) -> Iterator[str]:
    if not results.flatness:
        return
    yield ""
    yield (
        "| TableBackfill 1,000 on | rows/s (range) | last tenth / first, in time "
        "| memory after a tenth, MB | at the end, MB |"
    )
    yield "| --- | ---: | ---: | ---: | ---: |"
    middles = []
    for rows in sorted({seen.rows for seen in results.flatness}):
        of = [seen for seen in results.flatness if seen.rows == rows]
        middles.append(statistics.median(seen.speed for seen in of))
        yield _flat_row(rows, of)
    apart = max(middles) / min(middles) - 1
    yield ""
    yield f"Apart by {apart:.0%} (goal: at most {_FLAT:.0%}; {_met(apart <= _FLAT)})."


def _flat_row(rows: int, of: list[Flatness]) -> str:
    cells = [
        f"{rows:,} rows",
        spread([seen.speed for seen in of], "{:,.0f}"),
        spread([seen.last_by_first for seen in of], "{:.2f}"),
        f"{statistics.median(seen.memory_first for seen in of):.1f}",
        f"{statistics.median(seen.memory_last for seen in of):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _bloat(results: Results) -> Iterator[str]:
    if not results.bloat:
        return
    yield ""
    yield (
        "| autovacuum on | rows | seconds | table after / before "
        "| index after / before | dead rows left | autovacuums |"
    )
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for one in results.bloat:
        yield (
            f"| {one.how} | {one.rows:,} | {one.seconds:.1f} | {one.heap:.2f} "
            f"| {one.index:.2f} | {one.dead:,} | {one.vacuums} |"
        )


def _judged(ratio: float, least: float | None) -> str:
    return "|" if least is None else f"≥ {least} | {_met(ratio >= least)}"


def _plain(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.4f}"


def _met(yes: bool) -> str:
    return "met" if yes else "missed"
