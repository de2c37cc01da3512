"""The guide's tables of events say what is really emitted."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from adaptive_backfill import (
    Adaptive,
    Answer,
    Backfill,
    Checkpoint,
    Done,
    Fail,
    Halt,
    MemoryStore,
    Next,
    Pause,
    Retry,
    Slow,
    Verdict,
    telemetry,
)
from adaptive_backfill.testing import FakeClock, ScriptedCheck, capture, run, start
from tests.docs.pages import ROOT

ALWAYS = {"backfill", "run_id", "mode"}
GUIDE = ROOT / Path("docs/guide.md")


class Keys(NamedTuple):
    """What an event carries, beside what all do."""

    measurements: frozenset[str]
    metadata: frozenset[str]


class Numbers(Backfill[int]):
    initial_state = 0
    batch_size = 10
    mode = "sync"
    telemetry_prefix = "batches"

    async def handle_batch(self, state: int) -> Answer[int]:
        return Next(state + 1, rows=10) if state < 2 else Done("two", rows=10)


class One(Backfill):
    mode = "sync"
    telemetry_prefix = "single"

    async def handle(self, health_check: Callable[[], Awaitable[Verdict]]) -> Answer:
        return Done("one")


async def halts(_: object) -> Answer[int]:
    return Halt("enough")


async def fails(_: object) -> Answer[int]:
    return Fail("broken")


async def raises(_: object) -> Answer[int]:
    raise ValueError


async def hangs(_: object) -> Answer[int]:
    await asyncio.Event().wait()
    return Done()


@pytest.mark.asyncio
async def test_the_events_of_batches_are_as_the_guide_says() -> None:
    with capture("batches.**") as events:
        await _every_ending(Numbers, "handle_batch")
        store = Checkpoint(MemoryStore())
        checks = [ScriptedCheck([Slow("a"), Pause("b")])]
        await run(Numbers, FakeClock(), health_checks=checks, checkpoint=store)
        await _retuned()
        await _paced()
        await run(Numbers, FakeClock(), on_success=_broken_hook)
        await _cancelled(Numbers, "handle_batch")

    assert _kinds(events, "batches") == _table("### Events of a batch operation")


@pytest.mark.asyncio
async def test_the_events_of_single_operations_are_as_the_guide_says() -> None:
    with capture("single.**") as events:
        await _every_ending(One, "handle")

    told = _kinds(events, "single")
    stateless = {
        name: Keys(keys.measurements, keys.metadata - {"state"})
        for name, keys in told.items()
    }
    assert stateless == _table("### Events of a single operation")


def test_the_guide_leaves_no_event_out() -> None:
    told = _table("### Events of a batch operation")
    told |= _table("### Events of a single operation")

    assert set(told) == set(telemetry.EVENTS)


async def _every_ending(backfill: type[Backfill], handler: str) -> None:
    clock = FakeClock()
    await run(backfill, clock)
    await run(backfill, clock, health_checks=[lambda: Halt("ill")])
    retry = Retry(attempts=2)
    for function in (halts, fails, raises):
        await run(backfill, clock, retry=retry, **{handler: function})
    await run(backfill, clock, timeout=0.01, **{handler: hangs})


async def _cancelled(backfill: type[Backfill], handler: str) -> None:
    begun = asyncio.Event()

    async def hang(_: object) -> Answer[int]:
        begun.set()
        return await hangs(_)

    task = asyncio.create_task(backfill.run(**{handler: hang}))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _retuned() -> None:
    tuned = asyncio.Event()

    async def is_tuned() -> None:
        await tuned.wait()

    async with start(Numbers, FakeClock(), health_checks=[is_tuned]) as under_way:
        under_way.set(batch_size=20)
        tuned.set()
        await under_way.wait()


class _Gauge:
    async def __call__(self) -> Verdict:
        return Slow("busy")

    def load(self, context: object) -> float:
        return 1.5


async def _paced() -> None:
    clock = FakeClock()
    await run(
        Numbers,
        clock,
        pace=Adaptive(),
        health_checks=[_Gauge()],
        delay_between_batches=2,
    )


async def _broken_hook(_: object) -> None:
    raise ValueError


def _kinds(events: list[telemetry.Event], prefix: str) -> dict[str, Keys]:
    measurements: dict[str, set[str]] = defaultdict(set)
    metadata: dict[str, set[str]] = defaultdict(set)
    for event in events:
        name = event.name.removeprefix(f"{prefix}.")
        measurements[name] |= event.measurements.keys()
        metadata[name] |= event.metadata.keys() - ALWAYS
        assert event.metadata.keys() >= ALWAYS
    return {
        name: Keys(frozenset(measurements[name]), frozenset(metadata[name]))
        for name in measurements
    }


def _table(heading: str) -> dict[str, Keys]:
    """Return the rows of the table below *heading*."""
    text = GUIDE.read_text().partition(f"{heading}\n")[2].partition("\n#")[0]
    rows = [line.split("|")[1:-1] for line in text.splitlines() if "|" in line]
    return {
        _words(row[0])[0]: Keys(frozenset(_words(row[2])), frozenset(_words(row[3])))
        for row in rows[2:]
    }


def _words(cell: str) -> list[str]:
    return cell.split("`")[1::2]
