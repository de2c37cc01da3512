"""What a backfill of a table costs, beside one UPDATE, loops by hand, and others.

    uv run --group bench python benchmarks/table.py
        [--rows 2000000] [--rounds 3] [--only NAME,NAME] [--keep FILE] [--write]

All jobs run in turn, round after round, each on a fresh copy of the same table on a
server of our own; afterwards each row is looked at. Ratios are medians over rounds of
neighbours in time. `--keep` adds the rounds to those of FILE, so that a long
measurement may be done in parts; `--write` writes `docs/benchmarks/table.md` and its
plot.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from pathlib import Path

import structlog
from _table.database import served
from _table.flatness import measure_bloat, measure_flatness
from _table.jobs import jobs, run_rounds
from _table.report import report
from _table.results import Results
from _table.writing import write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="parts of the names of jobs")
    parser.add_argument("--keep", type=Path, help="a JSON file to add the rounds to")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING)
    )
    results = Results.read(args.keep, args.rows)
    try:
        asyncio.run(measure(results, args.rounds, args.only.split(",")))
    finally:
        # Also of a round that was broken off: what is measured is measured.
        if args.keep:
            results.save(args.keep)
    lines = report(results)
    print("\n".join(lines))
    if args.write:
        write(results, Path(__file__).parents[1] / "docs" / "benchmarks")


async def measure(results: Results, rounds: int, only: list[str]) -> None:
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}", flush=True)
    with served() as tables:
        results.server = tables.version
        await run_rounds(tables, results, jobs(only), rounds)
        if wanted("flatness", only):
            await measure_flatness(tables, results)
    if wanted("bloat", only):
        with served(autovacuum="on") as tables:
            await measure_bloat(tables, results)


def wanted(part: str, only: list[str]) -> bool:
    return any(word in part for word in only)


if __name__ == "__main__":
    main()
