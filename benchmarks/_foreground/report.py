"""The table and the plot."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from _foreground.modes import ADAPTIVE, FULL, MODES, NONE, RESTING
from _foreground.results import MOST_FOREIGN, Results

__all__ = ["report", "write"]

_PAGE = """# What users notice of a backfill

`benchmarks/foreground.py`, which ends with this page. pgbench plays the users: 70 %
read a row by its key, 30 % read one and update it, begun at a fixed rate whether or not
the server keeps up; what they waited counts from when they were due. Beside them, the
backfill fills a column of the same table of {rows:,} rows, in one of several ways.

Measured on {cpus} CPUs ({machine}), Python {python}, server, users and backfill on the
same machine, which others shared. A cell is the median of its windows: rows a second
as a share of four workers at full speed, and the p99 of users, in times of that
without a backfill, with its range. A window in which others had more than
{foreign:.0%} of the machine is left out where two are left.

`Adaptive()` is a `TableBackfill` with `pace = Adaptive()` and one `latency_probe`, in
the same configuration for all loads; it begins at 100 rows and one worker each time,
and its time counts from its first batch. The others are loops by hand: they keep no
checkpoint and look at nothing.

![Speed against latency](foreground.svg)

{table}
"""

_SPEED, _P99, _P99_IN_SPIKE, _FASTER = 0.50, 3.0, 2.5, 1.8
"""Goals for `Adaptive()`: of the speed of `FULL`; times the idle p99; and times the
speed of `RESTING`, at no higher p99 than that has."""

_MOST_APART = 3.0
"""Times that the idle p99 of one window may be that of another, for a p99 to say
something: the goal is as many times the idle one."""


def report(results: Results) -> list[str]:
    """Return the tables, as lines."""
    loads = list(results.windows)
    head = [_head(results, load) for load in loads if results.windows[load].get(NONE)]
    lines = [f"| | {' | '.join(head)} |", f"| --- |{' --- |' * len(head)}"]
    for mode in MODES:
        if mode != NONE and any(results.cell(load, mode) for load in loads):
            cells = " | ".join(_cells(results, loads, mode))
            lines.append(f"| {mode} | {cells} |")
    return [*lines, "", *_goals(results, loads)]


def _head(results: Results, load: str) -> str:
    least, most = results.usual_range(load)
    usual = results.usual(load)
    return f"{load} (idle p99 {usual:.1f} ms, {least:.1f} to {most:.1f})"


def _goals(results: Results, loads: list[str]) -> Iterator[str]:
    """Yield how `Adaptive()` stands to its goals, as a table."""
    yield (
        f"| Adaptive() beside | of the speed of {FULL}: goal {_SPEED:.0%} | p99: goal "
        f"{_P99:g}, in a spike {_P99_IN_SPIKE:g} | times the speed of {RESTING}: goal "
        f"{_FASTER:g} | and its p99 against that |"
    )
    yield "| --- |" + " --- |" * 4
    for load in loads:
        ours, resting = results.cell(load, ADAPTIVE), results.cell(load, RESTING)
        if ours is None or resting is None:
            continue
        most = _P99_IN_SPIKE if " for " in load else _P99
        least_idle, most_idle = results.usual_range(load)
        # Else stalls of the machine are measured, and not what a backfill does.
        resolved = most_idle <= _MOST_APART * least_idle
        faster = ours.speed / resting.speed
        yield (
            f"| {load} | {ours.speed:.0%}, {_met(ours.speed >= _SPEED)} "
            f"| {ours.p99:.1f}, {_met(ours.p99 <= most, resolved=resolved)} "
            f"| {faster:.1f}, {_met(faster >= _FASTER)} "
            f"| {ours.p99:.1f} to {resting.p99:.1f}, "
            f"{_met(ours.p99 <= resting.p99, resolved=resolved)} |"
        )


def _met(met: bool, *, resolved: bool = True) -> str:
    if not resolved:
        return "not resolved"
    return "met" if met else "missed"


def _cells(results: Results, loads: list[str], mode: str) -> Iterator[str]:
    for load in loads:
        cell = results.cell(load, mode)
        if cell is None:
            yield "-"
            continue
        range_of = f"{cell.least:.1f} to {cell.most:.1f}, n = {cell.windows[0]}"
        yield f"{cell.speed:.0%} at {cell.p99:.1f} ({range_of})"


def write(results: Results, folder: Path) -> None:
    """Write ``foreground.md`` and ``foreground.svg`` into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    page = _PAGE.format(
        rows=results.rows,
        cpus=os.cpu_count(),
        machine=platform.machine(),
        python=platform.python_version(),
        foreign=MOST_FOREIGN,
        table="\n".join(report(results)),
    )
    (folder / "foreground.md").write_text(page)
    _plot(results, folder / "foreground.svg")


def _plot(results: Results, path: Path) -> None:
    from matplotlib.figure import Figure

    loads = list(results.windows)
    figure = Figure(figsize=(4 * len(loads), 4), layout="constrained")
    for place, load in enumerate(loads, 1):
        axes = figure.add_subplot(1, len(loads), place)
        for mode in MODES:
            cell = results.cell(load, mode)
            if cell is None or mode == NONE:
                continue
            colour = "#2a6fb0" if mode == ADAPTIVE else "#808080"
            axes.plot(cell.p99, 100 * cell.speed, "o", color=colour)
            axes.annotate(
                mode, (cell.p99, 100 * cell.speed), fontsize=7, color=colour,
                xytext=(4, 3), textcoords="offset points",
            )  # fmt: skip
        axes.set_xscale("log")
        axes.axvline(3.0, color="#c0c0c0", linewidth=0.8)
        axes.axhline(50.0, color="#c0c0c0", linewidth=0.8)
        axes.set_title(load, fontsize=9)
        axes.set_xlabel("p99 of users, times idle")
        axes.set_ylabel(f"speed, % of {FULL}")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
