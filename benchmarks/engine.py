"""What the engine costs a batch, beside loops that are written by hand.

    uv run python benchmarks/engine.py [--batches 20000] [--rounds 7] [--million]

All variants run in turn, round after round, in one process; the table gives medians.
Goals: everything on takes at most 1.75 times the loop that has only
`anyio.fail_after`, and never more than 2.0 times; a save to `SqliteStore` at most 0.6
times the same save through `anyio.to_thread`; 10^6 batches in under 40 s with flat
memory (`--million`).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import structlog

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    Checkpoint,
    MemoryStore,
    Next,
    Snapshot,
    SqliteStore,
    telemetry,
)
from adaptive_backfill._core.codec import encode
from adaptive_backfill._ports import Held
from adaptive_backfill.telemetry import Event

Variant = Callable[[int], Awaitable[None]]

SAVES = 2_000
"""Batches of the variants that write to a disk, which are a hundred times slower."""


async def do_batch(state: int) -> int:
    return state + 1


async def bare(batches: int) -> None:
    state = 0
    while state < batches:
        state = await do_batch(state)


async def fail_after_only(batches: int) -> None:
    state = 0
    while state < batches:
        with anyio.fail_after(30):
            state = await do_batch(state)


async def healthy() -> object:
    return OK


class EverythingOn(Backfill[int]):
    initial_state = 0
    health_checks = [healthy, healthy, healthy]
    timeout = 30.0
    until = 0

    async def handle_batch(self, state: int) -> Answer[int]:
        if state >= self.until:
            return DONE
        return Next(state + 1, rows=1)

    async def on_success(self, state: int) -> None:
        pass


class Nothing(Backfill[int]):
    initial_state = 0
    until = 0

    async def handle_batch(self, state: int) -> Answer[int]:
        if state >= self.until:
            return DONE
        return Next(state + 1)


async def run(kind: type[Backfill[Any]], batches: int, **overrides: Any) -> None:
    class Limited(kind):  # type: ignore[valid-type, misc]
        until = batches

    (await Limited.run(**overrides)).raise_for_status()


def in_memory() -> Checkpoint:
    return Checkpoint(MemoryStore(), "engine")


async def engine_nothing_on(batches: int) -> None:
    await run(Nothing, batches)


async def engine_everything_on(batches: int) -> None:
    await run(EverythingOn, batches, checkpoint=in_memory())


async def engine_with_a_handler(batches: int) -> None:
    heard: list[Event] = []

    def keep(event: Event) -> None:
        heard[:] = [event]

    telemetry.attach("benchmark", "backfill.batch.**", keep)
    try:
        await run(EverythingOn, batches, checkpoint=in_memory())
    finally:
        telemetry.detach("benchmark")


async def engine_sync_three_checks(batches: int) -> None:
    await run(EverythingOn, batches, checkpoint=in_memory(), mode="sync")


async def engine_with_sqlite(batches: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "engine.db")
        try:
            checkpoint = Checkpoint(store, "engine")
            await run(EverythingOn, batches, checkpoint=checkpoint)
        finally:
            store.close()


async def saves_by_store(batches: int) -> None:
    """The saves alone, on the store's own thread."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "store.db")
        lease = await store.acquire("engine", "run")
        assert not isinstance(lease, Held)
        for batch in range(batches):
            saving = lease.save(Snapshot(batch, batch, batch))
            assert saving is not None
            await saving
        await lease.release(None, handed_over=False)


async def saves_by_to_thread(batches: int) -> None:
    """The same statement with the same values, through `anyio.to_thread`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hand.db"
        store = SqliteStore(path)
        lease = await store.acquire("engine", "run")
        assert not isinstance(lease, Held)
        await lease.release(None, handed_over=False)
        kept = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        kept.execute("PRAGMA synchronous = NORMAL")
        kept.execute("UPDATE backfill_names SET holder = 'run'")
        for batch in range(batches):
            encoded = encode(batch)
            row = (*encoded, batch, batch, None, time.time() + 60.0, "engine", 1)
            await anyio.to_thread.run_sync(kept.execute, SAVE, row)
        kept.close()


SAVE = (
    "UPDATE backfill_names SET state = ?, form = ?, batches = ?, rows = ?, "
    "batch_size = ?, expires = ? WHERE name = ? AND token = ? AND holder IS NOT NULL"
)


FAST: dict[str, Variant] = {
    "bare loop": bare,
    "loop with fail_after": fail_after_only,
    "engine, nothing on": engine_nothing_on,
    "engine, everything on": engine_everything_on,
    "  and a telemetry handler": engine_with_a_handler,
}
SLOW: dict[str, Variant] = {
    "engine, sync, 3 checks": engine_sync_three_checks,
    "engine, SqliteStore": engine_with_sqlite,
    "save to SqliteStore": saves_by_store,
    "save through to_thread": saves_by_to_thread,
}


def timed(variant: Variant, batches: int) -> float:
    """Return microseconds a batch."""

    async def measure() -> float:
        began = time.perf_counter()
        await variant(batches)
        return (time.perf_counter() - began) / batches * 1e6

    return asyncio.run(measure())


def measure(batches: int, rounds: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in (*FAST, *SLOW)}
    for _ in range(rounds):
        for name, variant in FAST.items():
            taken[name].append(timed(variant, batches))
        for name, variant in SLOW.items():
            taken[name].append(timed(variant, SAVES))
    return taken


def ratio(taken: dict[str, list[float]], name: str, to: str) -> float:
    """Return the median over the rounds of one variant's time by another's."""
    pairs = zip(taken[name], taken[to], strict=True)
    return statistics.median(a / b for a, b in pairs)


def report(taken: dict[str, list[float]]) -> None:
    base = "loop with fail_after"
    print(f"{'variant':32} {'µs/batch':>9} {'min':>8} {'max':>8} {'x fail_after':>13}")
    for name, times in taken.items():
        print(
            f"{name:32} {statistics.median(times):9.2f} {min(times):8.2f} "
            f"{max(times):8.2f} {ratio(taken, name, base):13.2f}"
        )
    on = ratio(taken, "engine, everything on", base)
    heard = ratio(taken, "  and a telemetry handler", base)
    print(f"\neverything on: {on:.2f} x, with a handler {heard:.2f} x (goal 1.75)")
    save = ratio(taken, "save to SqliteStore", "save through to_thread")
    print(f"a save to SqliteStore: {save:.2f} x the same through to_thread (goal 0.6)")


def million() -> None:
    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    timed(engine_everything_on, 20_000)
    before = peak()
    seconds = timed(engine_everything_on, 1_000_000)
    print(
        f"10^6 batches: {seconds:.1f} s (goal 40), peak memory {before:.1f} MB after "
        f"20,000 batches, {peak():.1f} MB at the end"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--million", action="store_true")
    args = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING)
    )
    print(f"Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.2f}")
    report(measure(args.batches, args.rounds))
    if args.million:
        million()


if __name__ == "__main__":
    main()
