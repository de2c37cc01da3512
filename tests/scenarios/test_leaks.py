"""Flat: tasks, threads, descriptors and memory, after many runs and many batches."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    Checkpoint,
    Done,
    Fail,
    Halt,
    HealthCheck,
    MemoryStore,
    Next,
    Pause,
    Retry,
    SqliteStore,
    errors,
    telemetry,
)
from tests.engine.sharing import AsyncStore, Count, HealthAsked, SyncStore, never

RUNS = 2000
BATCHES = 100_000

# A store's history of a name is full after a hundred runs; then it does not grow.
WARM_UP = 110
EACH = 50

Ending: TypeAlias = Callable[[], Awaitable[object]]


def _answering(make: Callable[[], object]) -> Any:
    async def handle(state: int) -> object:
        answer = make()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return handle


async def _hangs(state: int) -> Answer[int]:
    await never()
    return DONE


def _boom(*args: object) -> None:
    raise ValueError


async def _healthy() -> object:
    return OK


async def _unhealthy() -> object:
    return Halt("down")


async def _busy() -> object:
    return Pause("busy")


KEPT = Checkpoint(MemoryStore(), "kept")
CHECKS: list[Any] = [_healthy, HealthCheck(_healthy, name="other")]


def _broken(**fails: Exception) -> Checkpoint:
    return Checkpoint(AsyncStore(**fails), "broken")


async def _cancelled() -> None:
    task = asyncio.create_task(
        Count.run(checkpoint=KEPT, health_checks=CHECKS, handle_batch=_hangs)
    )
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def _quit() -> None:
    handle = _answering(GeneratorExit)
    with pytest.raises(GeneratorExit):
        await Count.run(checkpoint=KEPT, health_checks=CHECKS, handle_batch=handle)


async def _refused() -> None:
    async with Count.start(checkpoint=KEPT, handle_batch=_hangs, grace=0):
        with pytest.raises(errors.AlreadyRunning):
            await Count.run(checkpoint=KEPT)


async def _skipped() -> None:
    async with Count.start(checkpoint=KEPT, handle_batch=_hangs, grace=0):
        result = await Count.run(checkpoint=KEPT, if_running="skip")
        assert result.status == "skipped"


async def _misconfigured() -> None:
    with pytest.raises(errors.ConfigurationError):
        await Count.run(checkpoint=KEPT, timeout=-1)


async def _left() -> None:
    async with Count.start(
        checkpoint=KEPT, health_checks=CHECKS, handle_batch=_hangs, grace=0
    ) as run:
        await asyncio.sleep(0)
    assert (await run.wait()).status == "stopped"


class Once(Backfill):
    async def handle(self, health_check: HealthAsked) -> object:
        return Done(await health_check())


async def _single() -> None:
    assert (await Once.run(health_checks=CHECKS)).status == "done"


def _ends(status: str, make: Callable[[], dict[str, Any]]) -> Ending:
    async def run() -> None:
        result = await Count.run(**make())
        assert result.status == status

    return run


def _answers(make: Callable[[], object], **more: Any) -> dict[str, Any]:
    return {"handle_batch": _answering(make), **more}


ENDINGS: dict[str, Ending] = {
    "done": _ends("done", lambda: {"checkpoint": KEPT, "health_checks": CHECKS}),
    "done in a plain store": _ends(
        "done", lambda: {"checkpoint": Checkpoint(SyncStore(), "plain")}
    ),
    "done with a timeout": _ends("done", lambda: {"timeout": 60}),
    "done with sync checks": _ends(
        "done", lambda: {"mode": "sync", "health_checks": CHECKS}
    ),
    "single": _single,
    "halted": _ends("halted", lambda: _answers(lambda: Halt("h"), checkpoint=KEPT)),
    "halted by a check": _ends(
        "halted", lambda: {"health_checks": [*CHECKS, _unhealthy]}
    ),
    "halted by a pause": _ends(
        "halted", lambda: {"mode": "sync", "max_pause": 0, "health_checks": [_busy]}
    ),
    "failed": _ends("failed", lambda: _answers(lambda: Fail("f"), checkpoint=KEPT)),
    "raised": _ends("failed", lambda: _answers(ValueError, health_checks=CHECKS)),
    "nonsense": _ends("failed", lambda: _answers(lambda: None)),
    "retried": _ends("failed", lambda: _answers(ValueError, retry=Retry(3, base=0))),
    "not loaded": _ends("failed", lambda: {"checkpoint": _broken(load=OSError())}),
    "not saved": _ends("failed", lambda: {"checkpoint": _broken(save=OSError())}),
    "stopped": _ends(
        "stopped", lambda: {"checkpoint": KEPT, "restart": True, "max_batches": 1}
    ),
    "hooks that raise": _ends(
        "done",
        lambda: {"on_success": lambda s: _boom(), "on_complete": lambda r: 1 / 0},
    ),
    "cancelled": _cancelled,
    "quit": _quit,
    "refused": _refused,
    "skipped": _skipped,
    "misconfigured": _misconfigured,
    "left": _left,
}


class Counted:
    """How many tasks, threads, descriptors and objects of ours there are."""

    def __init__(self) -> None:
        gc.collect()
        self.tasks = len(asyncio.all_tasks())
        self.threads = threading.active_count()
        self.descriptors = len(list(Path("/proc/self/fd").iterdir()))
        ours = (str(type(each).__module__) for each in gc.get_objects())
        self.objects = sum(1 for name in ours if name.startswith("adaptive_backfill"))
        # What the allocator has handed out, of any kind.
        self.blocks = sys.getallocatedblocks()


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", ENDINGS)
async def test_many_runs_of_one_ending_leave_nothing(ending: str) -> None:
    run = ENDINGS[ending]
    for _ in range(WARM_UP):
        await run()

    before = Counted()
    for _ in range(EACH):
        await run()
    after = Counted()

    assert after.tasks == before.tasks
    assert after.threads <= before.threads
    assert after.descriptors == before.descriptors
    assert after.objects <= before.objects


@pytest.mark.asyncio
async def test_two_thousand_runs_of_all_endings_leave_nothing() -> None:
    async def all_endings(times: int) -> None:
        for _ in range(times):
            for run in ENDINGS.values():
                await run()

    await all_endings(20)
    before = Counted()
    await all_endings(RUNS // len(ENDINGS))
    after = Counted()

    assert (after.tasks, after.descriptors) == (before.tasks, before.descriptors)
    assert after.threads <= before.threads
    assert after.objects <= before.objects
    # The loop keeps some hundred timers that were cancelled; not one block a run.
    assert after.blocks - before.blocks < RUNS // 2
    assert telemetry.attached() == ()


@pytest.mark.asyncio
async def test_plain_checks_share_their_threads() -> None:
    def check() -> object:
        return OK

    async def run() -> None:
        await Count.run(mode="sync", health_checks=[check, check, check])

    await run()
    before = Counted()
    for _ in range(200):
        await run()
    after = Counted()

    assert after.threads <= before.threads + 1
    assert after.descriptors == before.descriptors


@pytest.mark.asyncio
async def test_a_store_and_its_runs_go_when_nobody_holds_them() -> None:
    gone: list[weakref.ref[object]] = []
    for make in (AsyncStore, SyncStore, MemoryStore):
        store = make()
        gone.append(weakref.ref(store))
        await Count.run(checkpoint=Checkpoint(store, "gone"))
        del store
    gc.collect()

    assert [reference() for reference in gone] == [None] * 3


@pytest.mark.asyncio
async def test_a_sqlite_store_holds_no_descriptor_a_run(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")

    async def run() -> None:
        await Count.run(checkpoint=Checkpoint(store, "one"))

    await run()
    before = Counted()
    for _ in range(50):
        await run()
    after = Counted()

    assert after.descriptors <= before.descriptors
    assert after.threads <= before.threads


class Measured:
    """A handler of many batches, that measures after a tenth and at the end."""

    def __init__(self, batches: int, measure: Callable[[], int]) -> None:
        self.batches = batches
        self.measure = measure
        self.seen: list[int] = []

    async def __call__(self, state: int) -> Answer[int]:
        if state in (self.batches // 10, self.batches - 1):
            gc.collect()
            self.seen.append(self.measure())
        return DONE if state == self.batches else Next(state + 1, rows=1)

    async def run(self, **overrides: Any) -> int:
        """Run them; return how much more there was at the end."""
        async with Count.start(
            handle_batch=self, total=self.batches, **overrides
        ) as run:
            result = await run.wait()
        assert result.batches == self.batches
        first, last = self.seen
        return last - first


@pytest.mark.asyncio
async def test_memory_is_flat_over_many_batches() -> None:
    handler = Measured(BATCHES, sys.getallocatedblocks)
    checkpoint = Checkpoint(MemoryStore(), "long")

    grown = await handler.run(
        checkpoint=checkpoint,
        timeout=60,
        health_checks=[_healthy],
        health_interval=0.01,
        on_success=lambda state: None,
    )

    # A sample a second for the rate, and some hundred timers that were cancelled.
    assert grown < 2000


@pytest.mark.asyncio
@pytest.mark.parametrize("store", [MemoryStore, AsyncStore])
async def test_memory_is_flat_to_the_byte(store: Any) -> None:
    handler = Measured(BATCHES // 20, lambda: tracemalloc.get_traced_memory()[0])
    kept = store()
    overrides: dict[str, Any] = {"checkpoint": Checkpoint(kept, "long")}

    tracemalloc.start()
    grown = await handler.run(initial_state=0, **overrides)
    tracemalloc.stop()

    # The fake writes down what it is asked: eight bytes a save.
    written = len(getattr(kept, "asked", ())) * 9
    assert grown - written < 4096


@pytest.mark.asyncio
async def test_many_pauses_and_resumes_leave_nothing() -> None:
    wanted = asyncio.Event()

    async def handle(state: int) -> Answer[int]:
        wanted.set()
        return Next(state + 1)

    async with Count.start(handle_batch=handle) as run:
        sizes: list[int] = []
        tracemalloc.start()
        for turn in range(400):
            run.pause()
            run.resume()
            run.set(batch_size=turn + 1)
            wanted.clear()
            await wanted.wait()
            if turn in (100, 399):
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()

    assert sizes[1] - sizes[0] < 4096
