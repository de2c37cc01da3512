"""Trying again: how often, how long apart, what for, and with which state."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Checkpoint,
    Fail,
    Halt,
    MemoryStore,
    Next,
    Pause,
    Retry,
    RunStatus,
    errors,
    testing,
)
from adaptive_backfill.testing import FakeClock, ScriptedCheck, capture
from tests.engine.sharing import AsyncStore, Count, names, never, only, turns


class Failing:
    """A handler that raises *errors* in turn, then counts on."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.handed: list[object] = []

    async def __call__(self, state: int) -> Answer[int]:
        self.handed.append(state)
        if self.errors:
            raise self.errors.pop(0)
        return DONE if state == 1 else Next(state + 1, rows=1)


@pytest.mark.asyncio
async def test_a_failed_attempt_is_tried_again_with_the_same_state() -> None:
    handler = Failing(ValueError("1"), ValueError("2"))

    result = await testing.run(Count, FakeClock(), handle_batch=handler, retry=Retry())

    assert handler.handed == [0, 0, 0, 1]
    assert (result.status, result.batches, result.rows) == ("done", 1, 1)


@pytest.mark.asyncio
async def test_attempts_are_all_the_tries_a_batch_gets() -> None:
    last = ValueError("3")
    handler = Failing(ValueError("1"), ValueError("2"), last)

    result = await testing.run(
        Count, FakeClock(), handle_batch=handler, retry=Retry(attempts=3)
    )

    assert handler.handed == [0, 0, 0]
    assert result.status is RunStatus.FAILED
    assert result.error is last


@pytest.mark.asyncio
async def test_each_batch_gets_all_its_attempts() -> None:
    class Alternating(Failing):
        async def __call__(self, state: int) -> Answer[int]:
            self.handed.append(state)
            if self.handed.count(state) < 3:
                raise ValueError
            return DONE if state == 2 else Next(state + 1)

    handler = Alternating()
    result = await testing.run(Count, FakeClock(), handle_batch=handler, retry=Retry(3))

    assert handler.handed == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
async def test_without_retry_there_is_one_attempt() -> None:
    handler = Failing(ValueError("1"))

    result = await Count.run(handle_batch=handler)

    assert handler.handed == [0]
    assert result.status is RunStatus.FAILED


@pytest.mark.asyncio
async def test_waits_double_up_to_the_cap_and_are_drawn_from_nothing_up() -> None:
    waits: list[list[float]] = []
    for _ in range(200):
        clock = FakeClock()
        await testing.run(
            Count,
            clock,
            handle_batch=Failing(*[ValueError()] * 5),
            retry=Retry(attempts=6, base=2.0, cap=10.0),
        )
        waits.append(list(clock.slept))

    tops = [2.0, 4.0, 8.0, 10.0, 10.0]
    for k, top in enumerate(tops):
        drawn = [each[k] for each in waits]
        assert all(0 <= wait <= top + 1e-9 for wait in drawn)
        # Even from 0 to the top: 200 draws come near to both ends, surely enough.
        assert min(drawn) < top * 0.1
        assert max(drawn) > top * 0.9
        assert abs(sum(drawn) / 200 - top / 2) < top * 0.12


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [Fail("f"), Halt("h")], ids=repr)
async def test_answers_are_not_retried(answer: Fail | Halt) -> None:
    asked = 0

    async def handle(state: int) -> Answer[int]:
        nonlocal asked
        asked += 1
        return answer

    result = await Count.run(handle_batch=handle, retry=Retry(5, base=0))

    assert asked == 1
    assert result.status in ("failed", "halted")


@pytest.mark.asyncio
async def test_nonsense_is_not_retried() -> None:
    asked = 0

    async def handle(state: int) -> object:
        nonlocal asked
        asked += 1
        return None

    result = await Count.run(handle_batch=handle, retry=Retry(5, base=0))

    assert asked == 1
    assert isinstance(result.error, errors.InvalidAnswer)


@pytest.mark.asyncio
async def test_only_what_on_covers_is_retried() -> None:
    handler = Failing(OSError("again"), ValueError("not again"))

    result = await Count.run(
        handle_batch=handler, retry=Retry(5, base=0, on=(OSError,))
    )

    assert handler.handed == [0, 0]
    assert str(result.error) == "not again"


@pytest.mark.asyncio
async def test_a_timeout_counts_as_an_attempt() -> None:
    asked = 0

    async def handle(state: int) -> Answer[int]:
        nonlocal asked
        asked += 1
        await never()
        return DONE

    with capture() as events:
        result = await Count.run(
            handle_batch=handle, timeout=0.005, retry=Retry(3, base=0)
        )

    assert asked == 3
    assert isinstance(result.error, errors.BatchTimeout)
    assert isinstance(result.error, TimeoutError)
    assert names(events) == [
        "start",
        "batch.start", "batch.timeout", "batch.retry",
        "batch.start", "batch.timeout", "batch.retry",
        "batch.start", "batch.timeout",
        "stop",
    ]  # fmt: skip


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("on", "attempts"),
    [
        ((errors.BatchTimeout,), 2),
        ((TimeoutError,), 2),
        ((OSError,), 2),
        ((ValueError,), 1),
        ((), 1),
    ],
)
async def test_a_timeout_is_retried_where_on_covers_it(
    on: tuple[type[Exception], ...], attempts: int
) -> None:
    asked = 0

    async def handle(state: int) -> Answer[int]:
        nonlocal asked
        asked += 1
        await never()
        return DONE

    await Count.run(handle_batch=handle, timeout=0.005, retry=Retry(2, base=0, on=on))

    # BatchTimeout is a TimeoutError, and that is an OSError.
    assert asked == attempts


@pytest.mark.asyncio
async def test_a_pause_of_the_checks_is_waited_out_before_the_next_attempt() -> None:
    check = ScriptedCheck([OK, Pause("busy"), OK])
    handler = Failing(ValueError("1"))

    with capture() as events:
        result = await testing.run(
            Count, FakeClock(), handle_batch=handler, retry=Retry(2, base=0),
            health_checks=[check], mode="sync",
        )  # fmt: skip

    assert result.status is RunStatus.DONE
    assert names(events)[1:6] == [
        "batch.start", "batch.exception", "batch.retry", "pause", "resume",
    ]  # fmt: skip


@pytest.mark.asyncio
async def test_the_wait_for_a_retry_ends_at_once_on_stop() -> None:
    handler = Failing(*[ValueError("x")] * 9)

    # On the real clock: an hour would not pass.
    async with Count.start(
        handle_batch=handler, retry=Retry(9, base=3600, cap=3600)
    ) as run:
        while not handler.handed:
            await turns()
        await turns()
        run.stop()
        result = await asyncio.wait_for(run.wait(), 5)

    assert result.status is RunStatus.STOPPED
    assert handler.handed == [0]


@pytest.mark.asyncio
async def test_a_pause_wish_is_heard_before_the_next_attempt() -> None:
    handed = 0

    async def handle(state: int) -> Answer[int]:
        nonlocal handed
        handed += 1
        if handed == 1:
            await entered.wait()
            run.pause()
            raise ValueError
        return DONE

    entered = asyncio.Event()
    with capture() as events:
        async with Count.start(handle_batch=handle, retry=Retry(2, base=0)) as run:
            entered.set()
            await turns(100)
            waited = (run.progress.status, handed)
            run.resume()
            result = await run.wait()

    assert waited == ("paused", 1)
    assert result.status is RunStatus.DONE
    assert names(events)[1:7] == [
        "batch.start", "batch.exception", "batch.retry", "pause", "resume",
        "batch.start",
    ]  # fmt: skip


@pytest.mark.asyncio
@pytest.mark.parametrize("store", [MemoryStore, AsyncStore, None])
async def test_every_attempt_gets_its_own_copy_of_the_settled_state(
    store: Any,
) -> None:
    seen: list[dict[str, int]] = []

    async def handle(state: dict[str, int]) -> Answer[dict[str, int]]:
        seen.append(dict(state))
        state["done"] = state.get("done", 0) + 1
        if len(seen) in (1, 3):
            raise ValueError
        return Next(state) if len(seen) == 2 else DONE

    result = await Count.run(
        initial_state={},
        handle_batch=handle,
        retry=Retry(2, base=0),
        checkpoint=Checkpoint(store(), "copies") if store else None,
    )

    assert seen == [{}, {}, {"done": 1}, {"done": 1}]
    assert result.state == {"done": 1}


@pytest.mark.asyncio
@pytest.mark.parametrize("store", [MemoryStore, AsyncStore, None])
async def test_what_a_failed_attempt_did_to_its_state_is_seen_nowhere(
    store: Any,
) -> None:
    told: list[object] = []

    async def handle(state: list[int]) -> Answer[list[int]]:
        if len(state) == 1:
            state.append(666)
            raise ValueError
        return Next([*state, 1])

    checkpoint = Checkpoint(store(), "spoilt") if store else None
    with capture() as events:
        result = await Count.run(
            initial_state=[],
            handle_batch=handle,
            retry=Retry(2, base=0),
            checkpoint=checkpoint,
            on_error=lambda error, state: told.append(state),
        )

    assert result.status is RunStatus.FAILED
    assert result.state == [1]
    assert told == [[1]]
    assert only(events, "stop")[0]["state"] == [1]
    assert [each["state"] for each in only(events, "batch.start")] == [[], [1], [1]]
    if checkpoint is not None:
        kept = checkpoint.store
        found = await kept.load("spoilt")  # type: ignore[attr-defined]
        assert (found.state, found.batches) == ([1], 1)


@pytest.mark.asyncio
@pytest.mark.parametrize("store", [MemoryStore, AsyncStore])
async def test_a_state_that_the_handler_holds_on_to_is_not_the_settled_one(
    store: Any,
) -> None:
    mine: list[int] = []
    checkpoint = Checkpoint(store(), "held")

    async def handle(state: list[int]) -> Answer[list[int]]:
        mine.append(len(mine))
        if len(mine) == 2:
            raise ValueError
        return Next(mine, rows=1)

    result = await Count.run(
        initial_state=[], handle_batch=handle, checkpoint=checkpoint
    )

    kept = await checkpoint.store.load("held")  # type: ignore[attr-defined]
    assert result.status is RunStatus.FAILED
    assert mine == [0, 1]
    assert result.state == [0]
    assert kept.state == [0]


@pytest.mark.asyncio
async def test_without_checkpoint_and_retry_nothing_is_copied() -> None:
    state = [0]
    seen: list[object] = []

    class Given(Count):
        def initial_state(self) -> list[int]:  # type: ignore[override]
            return state

        async def handle_batch(self, state: Any) -> Answer[Any]:
            seen.append(state)
            return DONE if len(seen) == 3 else Next(state)

    await Given.run()

    assert all(each is state for each in seen)


@pytest.mark.asyncio
async def test_a_state_that_cannot_be_copied_fails_the_run_and_nothing_else() -> None:
    async def handle(state: object) -> Answer:
        return Next(threading.Lock())

    result = await Count.run(
        handle_batch=handle,
        retry=Retry(2, base=0),
        on_success=lambda state: None,
    )

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, TypeError)
