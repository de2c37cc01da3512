"""What handlers may answer, what each answer means, and what nonsense comes to."""

from __future__ import annotations

import dataclasses
import gc
import inspect
from collections.abc import Iterator

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
    MemoryStore,
    Next,
    Pause,
    RunStatus,
    Slow,
    errors,
    testing,
)
from adaptive_backfill.testing import FakeClock, capture
from tests.engine.sharing import AsyncStore, Count, HealthAsked, names


@pytest.mark.parametrize(
    "answer", [Next(1), Done(1), DONE, Halt("x"), Fail("x"), Slow("x"), Pause("x")]
)
def test_answers_cannot_be_changed(answer: object) -> None:
    field = dataclasses.fields(answer)[0].name  # type: ignore[arg-type]

    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(answer, field, 2)


@pytest.mark.asyncio
async def test_none_is_a_state_like_any_other() -> None:
    seen: list[object] = []

    async def handle(state: object) -> Answer:
        seen.append(state)
        return Next(None, rows=1) if len(seen) == 1 else DONE

    result = await Count.run(initial_state="first", handle_batch=handle)

    assert seen == ["first", None]
    assert (result.status, result.state, result.batches) == ("done", None, 1)


def _generator() -> Iterator[int]:
    yield 1


NONSENSE: list[object] = [
    None, True, False, 0, "done", (1, 2), [Next(1)], {"state": 1},
    Next, Done, Halt, OK, Slow("x"), Pause("x"), _generator(), object(),
]  # fmt: skip


@pytest.mark.asyncio
@pytest.mark.parametrize("nonsense", NONSENSE, ids=repr)
async def test_what_is_no_answer_fails_a_batch(nonsense: object) -> None:
    class Copy(Backfill):
        async def handle_batch(self, state: object) -> object:
            return nonsense

    with capture() as events:
        result = await Copy.run()

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, errors.InvalidAnswer)
    assert result.error.value is nonsense
    assert "Copy.handle_batch" in str(result.error)
    assert repr(nonsense) in str(result.error)
    for allowed in ("Next(", "Done(", "Halt(", "Fail("):
        assert allowed in str(result.error)
    assert names(events) == ["start", "batch.start", "batch.exception", "stop"]


@pytest.mark.asyncio
@pytest.mark.parametrize("nonsense", [None, True, Next(1), Next, OK, (1,)], ids=repr)
async def test_what_is_no_answer_fails_a_single_operation(nonsense: object) -> None:
    class Once(Backfill):
        async def handle(self, health_check: HealthAsked) -> object:
            return nonsense

    with capture() as events:
        result = await Once.run()

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, errors.InvalidAnswer)
    assert "Once.handle " in str(result.error)
    assert "Next(" not in str(result.error).split("Return one of")[1]
    assert names(events) == ["start", "exception", "stop"]


@pytest.mark.asyncio
async def test_a_coroutine_that_nobody_awaited_is_closed() -> None:
    async def forgotten() -> int:
        return 1

    strays = [forgotten()]

    async def handle(state: object) -> object:
        return strays[0]

    result = await Count.run(handle_batch=handle)

    assert isinstance(result.error, errors.InvalidAnswer)
    assert inspect.getcoroutinestate(strays[0]) == inspect.CORO_CLOSED
    strays.clear()
    del result
    gc.collect()  # a "never awaited" warning would be an error here


@pytest.mark.asyncio
async def test_an_answer_of_a_subclass_counts_as_that_answer() -> None:
    class Mine(Next[int]):
        pass

    async def handle(state: int) -> object:
        return Mine(1, rows=2) if state == 0 else DONE

    result = await Count.run(handle_batch=handle)

    assert (result.status, result.state, result.rows) == ("done", 1, 2)


@pytest.mark.asyncio
@pytest.mark.parametrize("rows", [0, 5])
async def test_a_last_batch_with_rows_is_counted_saved_and_told(rows: int) -> None:
    store = AsyncStore()
    heard: list[object] = []
    before: list[object] = []

    async def handle(state: int) -> Answer[int]:
        return Next(1, rows=10) if state == 0 else Done("all", rows=rows)

    def on_success(state: object) -> None:
        heard.append(state)
        before.append(store.kept["last"])

    result = await Count.run(
        handle_batch=handle,
        on_success=on_success,
        checkpoint=Checkpoint(store, "last"),
    )

    assert result.status is RunStatus.DONE
    assert (result.result, result.state) == ("all", 1)
    assert (result.batches, result.rows) == (2, 10 + rows)
    assert heard == [1, 1]
    assert [(s.state, s.batches, s.rows) for s in before if s] == [  # type: ignore[attr-defined]
        (1, 1, 10),
        (1, 2, 10 + rows),
    ]
    assert store.asked == ["load", "save", "save", "delete"]


@pytest.mark.asyncio
async def test_a_bare_done_is_not_counted_saved_or_told() -> None:
    store = AsyncStore()
    heard: list[object] = []

    result = await Count.run(
        on_success=heard.append, checkpoint=Checkpoint(store, "last")
    )

    assert (result.state, result.batches, result.rows) == (3, 3, 30)
    assert heard == [1, 2, 3]
    assert store.asked == ["load", "save", "save", "save", "delete"]


@pytest.mark.asyncio
@pytest.mark.parametrize("last", [DONE, Done(rows=7)], ids=repr)
async def test_the_last_batch_is_batch_done_and_no_delay_follows(last: Done) -> None:
    clock = FakeClock()

    async def handle(state: int) -> Answer[int]:
        return Next(1) if state == 0 else last

    with capture() as events:
        await testing.run(Count, clock, handle_batch=handle, delay_between_batches=9)

    assert names(events) == [
        "start", "batch.start", "batch.success", "batch.start", "batch.done", "stop",
    ]  # fmt: skip
    assert clock.slept == [9]


@pytest.mark.asyncio
async def test_the_result_has_the_state_that_the_last_batch_was_handed() -> None:
    async def handle(state: list[int]) -> Answer[list[int]]:
        if len(state) == 2:
            return Done(rows=1)
        return Next([*state, 1])

    result = await Count.run(initial_state=[], handle_batch=handle)

    assert result.state == [1, 1]


@pytest.mark.asyncio
async def test_a_single_operation_hands_its_result_to_on_success() -> None:
    heard: list[object] = []
    made = object()

    class Once(Backfill):
        async def handle(self, health_check: HealthAsked) -> Done:
            return Done(made)

        async def on_success(self, result: object) -> None:
            heard.append(result)

    result = await Once.run()

    assert len(heard) == 1
    assert heard[0] is made
    assert result.result is made
    assert (result.status, result.state) == ("done", None)


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [Halt("why"), Fail("why")], ids=repr)
async def test_on_success_does_not_hear_of_a_halt_or_a_failure(answer: object) -> None:
    heard: list[object] = []

    class Once(Backfill):
        async def handle(self, health_check: HealthAsked) -> object:
            return answer

        async def on_success(self, result: object) -> None:
            heard.append(result)

    async def handle(state: object) -> object:
        return answer

    await Once.run()
    await Count.run(handle_batch=handle, on_success=heard.append)

    assert heard == []


@pytest.mark.asyncio
async def test_rows_that_are_not_said_add_nothing() -> None:
    async def handle(state: int) -> Answer[int]:
        return DONE if state == 3 else Next(state + 1, rows=[None, 4, 0][state])

    result = await Count.run(handle_batch=handle)

    assert (result.batches, result.rows) == (3, 4)


@pytest.mark.asyncio
async def test_counts_are_those_of_the_whole_backfill_also_before_a_resume() -> None:
    checkpoint = Checkpoint(MemoryStore(), "counts")

    first = await Count.run(checkpoint=checkpoint, max_batches=2)
    second = await Count.run(checkpoint=checkpoint)

    assert (first.status, first.batches, first.rows) == ("stopped", 2, 20)
    assert not first.resumed
    assert (second.status, second.batches, second.rows) == ("done", 3, 30)
    assert second.resumed


@pytest.mark.asyncio
async def test_no_delay_follows_the_last_batch_of_max_batches() -> None:
    clock = FakeClock()

    result = await testing.run(Count, clock, max_batches=2, delay_between_batches=9)

    assert result.batches == 2
    assert clock.slept == [9]
