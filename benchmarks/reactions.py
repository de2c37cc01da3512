"""How soon a run is back inside its budget when something happens to the database.

    uv run --group bench python benchmarks/reactions.py
        [--rounds 5] [--only 0,1,2,3] [--keep FILE] [--write]

Users double, a lock queue forms, users come and go, a replica is slow. `--keep` adds
the rounds to those of FILE; `--write` writes `docs/benchmarks/reactions.md` and its
plot.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from contextlib import nullcontext
from pathlib import Path

import structlog
from _foreground.load import Load
from _foreground.measuring import measure as measure_mode
from _foreground.modes import MODES, NONE
from _reactions.incidents import DOUBLED, GONE, INCIDENTS, LEFT, LOCKED
from _reactions.measuring import measure
from _reactions.report import FIXED, report, write
from _reactions.results import Results
from _reactions.standby import standby_of
from _table.database import SETTINGS, Tables

from adaptive_backfill.testing.postgres import temporary_server

SECONDS_OF_A_MODE = 90.0
"""So that it does the whole table: a run is past its first part when users go."""

SECONDS_OF_NONE = 15.0

COMPARED_WITH_NONE = (DOUBLED, LOCKED)
"""What users wait in these without a backfill is measured, too."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=9_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="0,1,2,3", help="which incidents")
    parser.add_argument("--keep", type=Path, help="a JSON file to add the rounds to")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )
    results = Results.read(args.keep, args.rows)
    names = [list(INCIDENTS)[int(number)] for number in args.only.split(",")]
    # A replica on the same processors is there only where it is looked at.
    for replicated in (False, True):
        some = [name for name in names if INCIDENTS[name].replicated is replicated]
        if some:
            asyncio.run(run(results, some, args, replicated=replicated))
    print("\n".join(report(results)))
    if args.write:
        write(results, Path(__file__).parents[1] / "docs" / "benchmarks")


async def run(
    results: Results, names: list[str], args: argparse.Namespace, *, replicated: bool
) -> None:
    with temporary_server(settings=SETTINGS | {"shared_buffers": "8GB"}) as server:
        tables = Tables(server)
        await tables.fresh(results.rows)
        with standby_of(server) if replicated else nullcontext() as replica:
            standby = replica.dsn() if replica else ""
            for number in range(args.rounds):
                for name in names:
                    print(f"[{number + 1}] {name}", flush=True)
                    await one(results, tables, standby, name)
                    if args.keep:
                        results.save(args.keep)


async def one(results: Results, tables: Tables, standby: str, name: str) -> None:
    incident, rows = INCIDENTS[name], results.rows
    if name in COMPARED_WITH_NONE:
        idle = await measure(tables, standby, incident, rows=rows, running=False)
        results.idle.setdefault(name, []).append(idle)
    seen = await measure(tables, standby, incident, rows=rows, running=True)
    results.run.setdefault(name, []).append(seen)
    for at, sentence in seen.said:
        print(f"  {at:+.1f} s: {sentence}", flush=True)
    if name == GONE:
        for mode in (NONE, *FIXED):
            seconds = SECONDS_OF_NONE if mode == NONE else SECONDS_OF_A_MODE
            window = await measure_mode(
                tables, MODES[mode], Load(LEFT), rows=rows, seconds=seconds
            )
            results.fixed.setdefault(mode, []).append(window)


if __name__ == "__main__":
    main()
