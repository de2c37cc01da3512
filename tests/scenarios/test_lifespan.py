"""A run inside other people's programs: a lifespan, a task group, another run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import anyio
import pytest

from adaptive_backfill import (
    DONE,
    Answer,
    Backfill,
    Checkpoint,
    Done,
    Fail,
    Halt,
    MemoryStore,
    Next,
    RunResult,
    RunStatus,
    Verdict,
    errors,
)
from adaptive_backfill.testing import ScriptedCheck, capture
from tests.engine.sharing import Count, HealthAsked, never, turns


class Service:
    """A program with a lifespan, in which a backfill runs as a task."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.begun = asyncio.Event()
        self.served = 0
        self.result: RunResult | None = None
        self.go = True

    async def handle(self, state: int) -> Answer[int]:
        if state == 1:
            self.begun.set()
            if not self.go:
                await never()
        return DONE if state == 3 else Next(state + 1, rows=10)

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        task = asyncio.create_task(
            Count.run(handle_batch=self.handle, checkpoint=self.checkpoint)
        )
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            self.result = await task

    async def serve(self) -> None:
        async with self.lifespan():
            await self.begun.wait()
            for _ in range(100):
                self.served += 1
                await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_a_run_as_a_task_of_a_lifespan() -> None:
    service = Service(Checkpoint(MemoryStore(), "lifespan"))

    await service.serve()

    assert service.served == 100
    assert service.result is not None
    assert (service.result.status, service.result.batches) == ("done", 3)


@pytest.mark.asyncio
async def test_a_lifespan_that_ends_cancels_its_run_and_the_next_resumes() -> None:
    checkpoint = Checkpoint(MemoryStore(), "lifespan")
    first, second = Service(checkpoint), Service(checkpoint)
    first.go = False

    with capture("backfill.stop") as events:
        await first.serve()
        await second.serve()

    assert first.result is None
    assert second.result is not None
    assert (second.result.resumed, second.result.batches) == (True, 3)
    assert [event.metadata["outcome"] for event in events] == ["cancelled", "done"]


@pytest.mark.asyncio
async def test_a_handle_in_a_lifespan() -> None:
    checkpoint = Checkpoint(MemoryStore(), "lifespan")
    begun = asyncio.Event()

    async def handle(state: int) -> Answer[int]:
        begun.set()
        await asyncio.sleep(0)
        return Next(state + 1, rows=10)

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with Count.start(handle_batch=handle, checkpoint=checkpoint):
            yield

    with capture("backfill.stop") as events:
        async with lifespan():
            await begun.wait()

    assert [event.metadata["outcome"] for event in events] == ["stopped"]
    again = await Count.run(checkpoint=checkpoint, max_batches=1)
    assert again.resumed


@pytest.mark.asyncio
async def test_runs_in_an_anyio_task_group() -> None:
    results: list[RunResult] = []

    async def run(name: str) -> None:
        results.append(await Count.run(name=name, health_checks=[ScriptedCheck([])]))

    async with anyio.create_task_group() as group:
        for name in ("a", "b", "c"):
            group.start_soon(run, name)

    assert sorted(result.name for result in results) == ["a", "b", "c"]
    assert {result.status for result in results} == {RunStatus.DONE}


@pytest.mark.asyncio
async def test_a_handle_in_an_anyio_task_group_whose_scope_is_cancelled() -> None:
    entered = asyncio.Event()
    results: list[RunResult] = []

    async def handle(state: int) -> Answer[int]:
        await asyncio.sleep(0)
        return Next(state + 1)

    async def serve() -> None:
        async with Count.start(
            handle_batch=handle, on_complete=results.append, grace=5
        ):
            entered.set()
            await never()

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        await entered.wait()
        group.cancel_scope.cancel()

    assert [result.status for result in results] == ["stopped"]


@pytest.mark.asyncio
async def test_many_runs_at_once_in_one_store() -> None:
    store = MemoryStore()
    runs = [Count.run(checkpoint=Checkpoint(store, f"run {n}")) for n in range(50)]

    results = await asyncio.gather(*runs)

    assert {result.status for result in results} == {RunStatus.DONE}
    assert {result.batches for result in results} == {3}


class Outer(Backfill[int]):
    """Every batch of it is a run."""

    initial_state = 0
    checkpoint = Checkpoint(MemoryStore(), "outer")

    async def handle_batch(self, state: int) -> Answer[int]:
        inner = await Count.run(checkpoint=Checkpoint(MemoryStore(), "inner"))
        inner.raise_for_status()
        return DONE if state == 2 else Next(state + 1, rows=inner.rows)


@pytest.mark.asyncio
async def test_a_run_inside_the_handler_of_another() -> None:
    with capture() as events:
        result = await Outer.run(timeout=60, name="outer")

    assert (result.status, result.batches, result.rows) == ("done", 2, 60)
    outer = [event for event in events if event.metadata["backfill"] == "outer"]
    assert [event.name.removeprefix("backfill.") for event in outer][-1] == "stop"
    assert len([event for event in events if event.name == "backfill.stop"]) == 4


@pytest.mark.asyncio
async def test_a_failure_inside_comes_out_as_a_failure_of_the_outer() -> None:
    async def fails(state: int) -> Answer[int]:
        return Fail("broken inside")

    async def handle(state: int) -> Answer[int]:
        (await Count.run(handle_batch=fails)).raise_for_status()
        return DONE

    result = await Outer.run(handle_batch=handle)

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, errors.RunFailed)
    assert "broken inside" in str(result.error)


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["cancel", "timeout", "grace"])
async def test_what_ends_the_outer_ends_the_inner(way: str) -> None:
    begun = asyncio.Event()
    ended: list[str] = []
    inner_store = MemoryStore()

    async def hangs(state: int) -> Answer[int]:
        begun.set()
        try:
            await never()
        finally:
            ended.append("inner")
        return DONE

    async def handle(state: int) -> Answer[int]:
        await Count.run(
            handle_batch=hangs,
            checkpoint=Checkpoint(inner_store, "inner"),
            on_complete=lambda result: ended.append("completed"),
        )
        return DONE

    if way == "cancel":
        task = asyncio.create_task(Outer.run(handle_batch=handle))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    elif way == "timeout":
        result = await Outer.run(handle_batch=handle, timeout=1.0)
        assert isinstance(result.error, errors.BatchTimeout)
    else:
        async with Outer.start(handle_batch=handle, grace=0) as run:
            await begun.wait()
        assert (await run.wait()).status is RunStatus.STOPPED

    assert ended == ["inner"]
    again = await Count.run(checkpoint=Checkpoint(inner_store, "inner"))
    assert again.status is RunStatus.DONE


@pytest.mark.asyncio
async def test_a_single_operation_with_runs_side_by_side() -> None:
    class Parallel(Backfill):
        async def handle(self, health_check: HealthAsked) -> Done | Halt:
            verdict: Verdict = await health_check()
            if isinstance(verdict, Halt):
                return verdict
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(Count.run()) for _ in range(3)]
            return Done([task.result().status for task in tasks])

    result = await Parallel.run(health_checks=[ScriptedCheck([])])

    assert result.result == ["done"] * 3


def test_without_a_loop_of_ours_anyio_run_will_do() -> None:
    async def main() -> RunResult:
        return await Count.run(timeout=60, health_checks=[ScriptedCheck([])])

    assert anyio.run(main).status is RunStatus.DONE


@pytest.mark.asyncio
async def test_a_fire_and_forget_task_runs_to_its_end() -> None:
    finished = asyncio.Event()

    def on_complete(result: RunResult) -> None:
        finished.set()

    task = asyncio.create_task(Count.run(on_complete=on_complete))
    await finished.wait()
    await turns()

    assert task.result().status is RunStatus.DONE
