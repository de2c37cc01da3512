"""What users notice of a backfill: speed against the latency of others.

    uv run --group bench python benchmarks/foreground.py
        [--rounds 5] [--loads 0,1,2,3] [--only NAME,NAME] [--keep FILE] [--write]

All modes run in turn beside each load, round after round, each on a fresh copy of the
table. `--keep` adds the windows to those of FILE, so that a long measurement may be
done in parts; `--write` writes `docs/benchmarks/foreground.md` and its plot.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from pathlib import Path

import structlog
from _foreground.load import Load, Spike
from _foreground.measuring import measure
from _foreground.modes import MODES
from _foreground.report import report, write
from _foreground.results import Results
from _table.database import served

LOADS = (
    Load(800),
    Load(3_000),
    Load(5_500),
    Load(800, Spike(after=4.0, rate=7_000, seconds=4.0)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=15.0, help="a window at most")
    parser.add_argument("--loads", default="0,1,2,3", help="which of them")
    parser.add_argument("--only", default="", help="parts of the names of modes")
    parser.add_argument("--keep", type=Path, help="a JSON file to add the windows to")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )
    results = Results.read(args.keep, args.rows)
    loads = [LOADS[int(number)] for number in args.loads.split(",")]
    try:
        asyncio.run(run(results, loads, args))
    finally:
        # Also of a round that was broken off: what is measured is measured.
        if args.keep:
            results.save(args.keep)
    print("\n".join(report(results)))
    if args.write:
        write(results, Path(__file__).parents[1] / "docs" / "benchmarks")


async def run(results: Results, loads: list[Load], args: argparse.Namespace) -> None:
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}", flush=True)
    chosen = {
        name: mode
        for name, mode in MODES.items()
        if any(part in name for part in args.only.split(","))
    }
    with served() as tables:
        for number in range(args.rounds):
            for load in loads:
                for name, mode in chosen.items():
                    window = await measure(
                        tables, mode, load, rows=results.rows, seconds=args.seconds
                    )
                    results.add(str(load), name, window)
                    print(
                        f"[{number + 1}] {load}: {name}: {window.speed:,.0f} rows/s, "
                        f"p50 {window.p50:.2f}, p95 {window.p95:.2f}, "
                        f"p99 {window.p99:.2f}, worst {window.worst:.0f} ms, "
                        f"others {window.foreign:.0%}. {window.said}",
                        flush=True,
                    )
                    if args.keep:
                        results.save(args.keep)


if __name__ == "__main__":
    main()
