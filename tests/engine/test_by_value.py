"""States are kept by value: nobody changes them by the way."""

from __future__ import annotations

from typing import Any

import pytest

from adaptive_backfill import (
    DONE,
    Answer,
    Checkpoint,
    Fail,
    Halt,
    MemoryStore,
    Next,
    Snapshot,
)
from tests.engine.sharing import (
    STORES,
    Count,
    snapshot_in,
)


@pytest.mark.asyncio
async def test_the_memory_store_copies_on_save_and_on_load() -> None:
    store = MemoryStore()
    state = {"ids": [1]}

    await store.save("x", Snapshot(state, 1, 1))
    state["ids"].append(2)
    first = await store.load("x")
    assert first is not None
    first.state["ids"].append(3)  # type: ignore[index]
    second = await store.load("x")

    assert second == Snapshot({"ids": [1]}, 1, 1)


@pytest.mark.asyncio
@STORES
async def test_a_handler_that_spoils_what_it_was_handed_spoils_nothing(
    store: Any,
) -> None:
    checkpoint = Checkpoint(store(), "value")
    told: list[object] = []

    async def handle(state: dict[str, list[int]]) -> Answer:
        if state["ids"] == [1]:
            state["ids"].append(666)
            raise ValueError
        return Next({"ids": [1]}, rows=1)

    result = await Count.run(
        initial_state={"ids": []},
        handle_batch=handle,
        checkpoint=checkpoint,
        on_error=lambda error, state: told.append(state),
    )

    assert result.state == {"ids": [1]}
    assert told == [{"ids": [1]}]
    assert await snapshot_in(checkpoint) == Snapshot({"ids": [1]}, 1, 1)


@pytest.mark.asyncio
@STORES
async def test_hooks_that_spoil_what_they_hear_spoil_nothing(store: Any) -> None:
    checkpoint = Checkpoint(store(), "hooks")

    async def handle(state: list[int]) -> Answer:
        return Fail("f") if len(state) == 2 else Next([*state, 1])

    def spoil(*args: Any) -> None:
        args[-1].append(666)

    result = await Count.run(
        initial_state=[],
        handle_batch=handle,
        checkpoint=checkpoint,
        on_success=spoil,
        on_error=lambda error, state: spoil(state),
    )

    assert result.hook_errors == []
    assert result.state == [1, 1]
    assert await snapshot_in(checkpoint) == Snapshot([1, 1], 2, 0)


@pytest.mark.asyncio
async def test_initial_state_is_the_runs_own() -> None:
    class Shared(Count):
        initial_state: Any = {"ids": []}

        async def handle_batch(self, state: Any) -> Answer[Any]:
            state["ids"].append(1)
            return DONE if len(state["ids"]) > 2 else Next(state)

    given: dict[str, list[int]] = {"ids": []}
    await Shared.run()
    await Shared.run(initial_state=given)

    assert Shared.initial_state == {"ids": []}
    assert given == {"ids": []}


@pytest.mark.asyncio
async def test_a_result_that_is_changed_does_not_change_what_is_kept() -> None:
    checkpoint = Checkpoint(MemoryStore(), "result")

    async def handle(state: list[int]) -> Answer:
        return Halt("h") if state == [1] else Next([1])

    result = await Count.run(
        initial_state=[], handle_batch=handle, checkpoint=checkpoint
    )
    assert isinstance(result.state, list)
    result.state.append(666)

    assert await snapshot_in(checkpoint) == Snapshot([1], 1, 0)
