"""Where a run begins: a value by copy, or what a method says."""

from __future__ import annotations

from typing import Any

import pytest

from adaptive_backfill import (
    Answer,
    Backfill,
    Checkpoint,
    Done,
    MemoryStore,
    Next,
    Snapshot,
)


class Telling(Backfill[Any]):
    """Answers with the state that it is handed."""

    start_at: int = 5

    async def handle_batch(self, state: Any) -> Answer[Any]:
        return Done(state)


def fresh() -> str:
    raise NotImplementedError


def wants_self(self: object) -> str:
    raise NotImplementedError


@pytest.mark.asyncio
async def test_without_one_the_first_state_is_none() -> None:
    assert (await Telling.run()).result is None


@pytest.mark.asyncio
async def test_a_value_is_copied_all_the_way_down_for_each_run() -> None:
    class Growing(Backfill[Any]):
        initial_state: Any = {"seen": []}

        async def handle_batch(self, state: Any) -> Answer[Any]:
            state["seen"].append(1)
            return Next(state) if len(state["seen"]) < 3 else Done(len(state["seen"]))

    first = await Growing.run()
    second = await Growing.run()

    assert first.result == second.result == 3
    assert Growing.initial_state == {"seen": []}


@pytest.mark.asyncio
async def test_a_value_given_to_a_run_is_copied_as_well() -> None:
    class Growing(Telling):
        async def handle_batch(self, state: Any) -> Answer[Any]:
            state.append(1)
            return Done(state)

    mine: list[int] = []

    result = await Growing.run(initial_state=mine)

    assert result.result == [1]
    assert mine == []


@pytest.mark.asyncio
async def test_it_may_be_any_kind_of_method() -> None:
    class Method(Telling):
        def initial_state(self) -> int:
            return self.start_at

    class Async(Telling):
        async def initial_state(self) -> int:
            return self.start_at + 1

    class Static(Telling):
        @staticmethod
        def initial_state() -> int:
            return 7

    class StaticAsync(Telling):
        @staticmethod
        async def initial_state() -> int:
            return 8

    class Class(Telling):
        @classmethod
        def initial_state(cls) -> str:
            return cls.__name__

    assert (await Method.run()).result == 5
    assert (await Method.run(start_at=50)).result == 50
    assert (await Async.run()).result == 6
    assert (await Static.run()).result == 7
    assert (await StaticAsync.run()).result == 8
    assert (await Class.run()).result == "Class"


@pytest.mark.asyncio
async def test_a_method_is_inherited_and_overridden_like_any_other() -> None:
    class Base(Telling):
        def initial_state(self) -> int:
            return 1

    class Child(Base):
        def initial_state(self) -> int:
            return super().initial_state() + 1

    class Valued(Base):
        initial_state: Any = 7

    assert (await Child.run()).result == 2
    assert (await Valued.run()).result == 7
    assert (await Child.run(initial_state=9)).result == 9


@pytest.mark.asyncio
async def test_any_other_callable_is_a_state() -> None:
    class Function(Telling):
        initial_state = fresh

    class Type(Telling):
        initial_state = dict

    assert (await Function.run()).result is fresh
    assert (await Type.run()).result is dict
    assert (await Telling.run(initial_state=fresh)).result is fresh
    # A run's own functions have no `self`, whatever their argument is called.
    assert (await Telling.run(initial_state=wants_self)).result is wants_self


@pytest.mark.asyncio
async def test_a_method_is_called_only_when_nothing_was_loaded() -> None:
    called: list[int] = []

    class Method(Telling):
        def initial_state(self) -> int:
            called.append(1)
            return 0

    store = MemoryStore()
    await store.save("users", Snapshot(7, batches=1))
    resumed = await Method.run(checkpoint=Checkpoint(store, "users"))

    assert (resumed.result, resumed.resumed, called) == (7, True, [])
    again = await Method.run(checkpoint=Checkpoint(store, "users"))
    assert (again.result, again.resumed, called) == (0, False, [1])


@pytest.mark.asyncio
async def test_one_that_is_given_wins_over_a_checkpoint_without_batches() -> None:
    async def begun(kept: Snapshot, **overrides: Any) -> object:
        store = MemoryStore()
        await store.save("users", kept)
        result = await Telling.run(checkpoint=Checkpoint(store, "users"), **overrides)
        return result.result

    assert await begun(Snapshot(7)) == 7
    assert await begun(Snapshot(7), initial_state=8) == 8
    assert await begun(Snapshot(7, batches=1), initial_state=8) == 7


@pytest.mark.asyncio
async def test_a_method_that_raises_fails_the_run_with_its_own_error() -> None:
    error = OSError("no cursor")

    class Method(Telling):
        async def initial_state(self) -> int:
            raise error

    result = await Method.run()

    assert (result.status, result.error) == ("failed", error)
    assert result.batches == 0


@pytest.mark.asyncio
async def test_the_initial_state_can_be_read_on_the_instance() -> None:
    class Reads(Backfill[int]):
        initial_state = 5

        async def handle_batch(self, state: int) -> Answer[int]:
            return Done(self.initial_state)

    class Unset(Reads):
        async def handle_batch(self, state: int) -> Answer[int]:
            return Done((self.total, self.evaluate is not None))

    assert (await Reads.run()).result == 5
    assert (await Reads.run(initial_state=6)).result == 6
    assert (await Unset.run()).result == (None, True)


@pytest.mark.asyncio
async def test_a_method_stays_a_method_on_the_instance() -> None:
    class Method(Telling):
        def initial_state(self) -> int:
            return 1

        async def handle_batch(self, state: Any) -> Answer[Any]:
            return Done(self.initial_state() if state == 1 else self.initial_state)

    assert (await Method.run()).result == 1
    assert (await Method.run(initial_state=9)).result == 9
