"""Options, hooks and handlers along the MRO: mixins, generics, `super()`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import pytest

from adaptive_backfill import (
    DONE,
    Answer,
    Backfill,
    Done,
    Fail,
    Next,
    Retry,
    RunResult,
    Verdict,
)

T = TypeVar("T")

heard: list[object] = []


@pytest.fixture(autouse=True)
def _silence() -> None:
    heard.clear()


class Base(Backfill[int]):
    initial_state = 0
    batch_size = 10
    timeout = 30

    async def handle_batch(self, state: int) -> Answer[int]:
        if state == 2:
            return Done((type(self).__name__, self.batch_size, self.timeout))
        return Next(state + 1, rows=1)

    async def on_success(self, state: int) -> None:
        heard.append(("base", state))


@pytest.mark.asyncio
async def test_options_handlers_and_hooks_are_inherited() -> None:
    class Child(Base):
        batch_size = 20

    assert (await Child.run()).result == ("Child", 20, 30.0)
    assert (await Base.run()).result == ("Base", 10, 30.0)
    assert heard == [("base", 1), ("base", 2)] * 2


@pytest.mark.asyncio
async def test_a_plain_mixin_brings_options_and_hooks() -> None:
    class Gentle:
        batch_size = 1
        retry: Retry | None = Retry(2)

        def on_complete(self, result: RunResult) -> None:
            heard.append(result.status)

    class Child(Gentle, Base):
        pass

    assert (await Child.run()).result == ("Child", 1, 30.0)
    assert heard[-1] == "done"


@pytest.mark.asyncio
async def test_the_first_class_in_the_mro_wins() -> None:
    class One(Base):
        batch_size = 1

    class Two(Base):
        batch_size = 2
        timeout = 5

    class Child(One, Two):
        pass

    assert (await Child.run()).result == ("Child", 1, 5.0)


@pytest.mark.asyncio
async def test_hooks_of_mixins_pass_on_with_super_awaited_or_not() -> None:
    class Loud:
        async def on_success(self, state: int) -> None:
            heard.append(("loud", state))
            await super().on_success(state)  # type: ignore[misc]

        def on_complete(self, result: RunResult) -> None:
            heard.append("loud end")
            super().on_complete(result)  # type: ignore[misc]

        async def on_error(self, error: object, state: int) -> None:
            heard.append("loud error")
            await super().on_error(error, state)  # type: ignore[misc]

    class Child(Loud, Base):
        async def on_success(self, state: int) -> None:
            heard.append(("child", state))
            await super().on_success(state)

    class Bare(Loud, Backfill[int]):
        async def handle_batch(self, state: int) -> Answer[int]:
            return Fail("no") if state else Next(1, rows=1)

    await Child.run()
    assert heard == [
        ("child", 1), ("loud", 1), ("base", 1),
        ("child", 2), ("loud", 2), ("base", 2),
        "loud end",
    ]  # fmt: skip

    heard.clear()
    result = await Bare.run(initial_state=0)
    assert heard == [("loud", 1), "loud error", "loud end"]
    assert result.hook_errors == []


@pytest.mark.asyncio
async def test_what_super_gives_may_be_returned_from_a_hook() -> None:
    class Child(Backfill[int]):
        async def handle_batch(self, state: int) -> Answer[int]:
            return Done(rows=1)

        def on_success(self, state: int) -> Any:
            return super().on_success(state)

    result = await Child.run()

    assert (result.status, result.hook_errors) == ("done", [])


@pytest.mark.asyncio
async def test_hooks_that_no_class_defines_are_not_called_at_all() -> None:
    async def patched(*args: object) -> None:
        raise NotImplementedError

    class Child(Backfill[int]):
        async def handle_batch(self, state: int) -> Answer[int]:
            return Done(rows=1)

    assert (await Child.run()).hook_errors == []


@pytest.mark.asyncio
async def test_an_abc_may_be_defined_and_its_complete_subclass_run() -> None:
    class Abstract(Backfill[int], ABC):
        initial_state = 0

        @abstractmethod
        async def fetch(self) -> list[int]: ...

        async def handle_batch(self, state: int) -> Answer[int]:
            return Done(await self.fetch())

    class Concrete(Abstract):
        async def fetch(self) -> list[int]:
            return [1, 2]

    assert (await Concrete.run()).result == [1, 2]


@pytest.mark.asyncio
async def test_an_abstract_handler_may_be_filled_in_and_call_super() -> None:
    class Abstract(Backfill[int], ABC):
        @abstractmethod
        async def handle_batch(self, state: int) -> Answer[int]:
            return Done("from the base")

    class Concrete(Abstract):
        async def handle_batch(self, state: int) -> Answer[int]:
            return await super().handle_batch(state)

    assert (await Concrete.run()).result == "from the base"


@pytest.mark.asyncio
async def test_generic_bases_work_and_behave_like_plain_ones() -> None:
    class Paged(Backfill[T], Generic[T]):
        pages: int = 1

        async def handle_batch(self, state: T) -> Answer[T]:
            return Done((self.pages, state))

    class Numbered(Paged[int]):
        initial_state = 7

    class Plain(Paged):  # type: ignore[type-arg]
        initial_state = 7

    assert (await Numbered.run(pages=2)).result == (2, 7)
    assert (await Plain.run()).result == (1, 7)


@pytest.mark.asyncio
async def test_class_keywords_reach_a_mixin_that_wants_them() -> None:
    class Registered:
        topic: str

        def __init_subclass__(cls, topic: str = "", **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            heard.append(topic)

    class Child(Registered, Backfill[int], topic="users"):
        async def handle_batch(self, state: int) -> Answer[int]:
            return DONE

    assert heard == ["users"]
    assert (await Child.run(topic="given")).status == "done"


@pytest.mark.asyncio
async def test_a_single_operation_is_inherited_in_the_same_way() -> None:
    class Operation(Backfill):
        async def handle(self, health_check: Any) -> Answer:
            verdict: Verdict = await health_check()
            return Done((type(self).__name__, verdict))

        async def on_success(self, result: object) -> None:
            heard.append(result)

    class Child(Operation):
        pass

    result = await Child.run()

    assert str(result.result) == "('Child', OK)"
    assert heard == [result.result]


@pytest.mark.asyncio
async def test_a_class_changed_after_its_definition_runs_as_it_was_defined() -> None:
    class Child(Base):
        batch_size = 20

    Child.batch_size = 99

    assert (await Child.run()).result == ("Child", 20, 30.0)
