"""The report as a page of the documentation, with its plot."""

from __future__ import annotations

import os
import platform
import statistics
from pathlib import Path

from _table.database import SETTINGS
from _table.report import report
from _table.results import Results

__all__ = ["write"]

_PAGE = """# What a backfill of a table costs

`benchmarks/table.py`, which ends with this page. Every job fills the same column of
the same table: {rows:,} rows of about 300 bytes. All jobs run in turn, round after
round, each on a fresh copy of the table that is in memory; afterwards each row is
looked at, and is right. Figures are medians over the rounds, with their ranges.

Measured on {cpus} CPUs ({machine}), Python {python}, PostgreSQL {server}, client and
server on the same machine, which others shared. The server: {settings}; everything
else as PostgreSQL has it.

- *by hand* is the shortest loop that pages by the key: find the batch's last key, do
  the range. It keeps no checkpoint, has no limits, and looks at nothing.
- *by hand, exactly once*, is that loop with a checkpoint in each batch's transaction,
  and nothing else.
- *by hand in Python* reads a batch `FOR NO KEY UPDATE`, and writes it by one UPDATE
  from `unnest`, in a transaction.
- *TableBackfill* and *handle_rows* have everything on: the checkpoint in the batch's
  transaction, limits of the server, `timeout`, health checks in the background, and a
  hook. Their store's tables are there before.
- *OFFSET* is sampled at seven places of the table, and extrapolated.
- *pgroll's SQL* is its documented batch: a flag a row, locks, a CTE; without triggers.
- A queue's job is a range of keys; enqueueing all jobs is in its time.

![Rows a second](table.svg)

{tables}
"""


def write(results: Results, folder: Path) -> None:
    """Write ``table.md`` and ``table.svg`` into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    page = _PAGE.format(
        rows=results.rows,
        cpus=os.cpu_count(),
        machine=platform.machine(),
        python=platform.python_version(),
        server=f"{results.server // 10_000}.{results.server % 10_000}",
        settings=", ".join(f"`{name} = {value}`" for name, value in SETTINGS.items()),
        tables="\n".join(report(results)),
    )
    (folder / "table.md").write_text(page)
    _plot(results, folder / "table.svg")


def _plot(results: Results, path: Path) -> None:
    from matplotlib.figure import Figure

    names = [name for name in results.names() if results.speeds(name)]
    speeds = {name: results.speeds(name) for name in names}
    names.sort(key=lambda name: statistics.median(speeds[name]))
    middles = [statistics.median(speeds[name]) for name in names]
    below = [
        middle - min(speeds[name]) for name, middle in zip(names, middles, strict=True)
    ]
    above = [
        max(speeds[name]) - middle for name, middle in zip(names, middles, strict=True)
    ]
    colours = ["#2a6fb0" if _is_ours(name) else "#b0b0b0" for name in names]
    figure = Figure(figsize=(9, 0.35 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, middles, xerr=[below, above], color=colours, ecolor="#404040")
    axes.set_xlabel(f"rows a second, {results.rows:,} rows: median and range")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def _is_ours(name: str) -> bool:
    return name.startswith(("TableBackfill", "handle_rows"))
