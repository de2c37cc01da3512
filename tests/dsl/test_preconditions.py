"""What a run needs before it begins; and nothing happens before it has it."""

from __future__ import annotations

from typing import Any

import pytest

from adaptive_backfill import Answer, Backfill, Checkpoint, Done, MemoryStore, Verdict
from adaptive_backfill.errors import ConfigurationError
from adaptive_backfill.testing import capture
from tests.dsl.bodies import LeasingStore, PlainStore, message

touched: list[str] = []


class Users(Backfill[int]):
    """Says whatever is done to it."""

    initial_state: Any = 0
    mode = "sync"

    async def handle_batch(self, state: int) -> Answer[int]:
        touched.append("handle_batch")
        return Done("ran")

    def on_success(self, state: int) -> None:
        touched.append("on_success")

    def on_error(self, error: object, state: int) -> None:
        touched.append("on_error")

    def on_complete(self, result: object) -> None:
        touched.append("on_complete")

    async def check(self) -> Verdict:
        raise NotImplementedError

    def total(self) -> int:
        touched.append("total")
        return 7


class Touching(Users):
    def __init__(self) -> None:
        touched.append("__init__")

    def initial_state(self) -> int:
        touched.append("initial_state")
        return 0


@pytest.fixture(autouse=True)
def _untouched() -> None:
    touched.clear()


async def refused(run: Any) -> str:
    with pytest.raises(ConfigurationError) as error:
        await run
    return str(error.value)


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        ({"once": True}, "once=True"),
        ({"if_running": "skip"}, "if_running='skip'"),
        ({"if_running": "wait"}, "if_running='wait'"),
        ({"once": True, "if_running": "wait"}, "once=True and if_running='wait'"),
    ],
)
@pytest.mark.asyncio
async def test_once_and_if_running_need_a_store_that_can_do_it(
    overrides: dict[str, Any], wanted: str
) -> None:
    plain = Checkpoint(PlainStore(), "users")
    needs = (
        f"{wanted} needs a store that holds leases and remembers endings, such as "
        "SqliteStore or MemoryStore; here is"
    )

    assert await refused(Users.run(**overrides)) == message(f"{needs} no checkpoint")
    assert await refused(Users.run(checkpoint=plain, **overrides)) == message(
        f"{needs} PlainStore"
    )


@pytest.mark.asyncio
async def test_once_and_if_running_of_the_class_need_such_a_store_too() -> None:
    class Once(Users):
        once = True
        if_running = "skip"

    said = await refused(Once.run())

    assert said.startswith(
        "test_once_and_if_running_of_the_class_need_such_a_store_too.<locals>.Once "
        "cannot be used:\n  - once=True and if_running='skip' needs a store"
    )


@pytest.mark.parametrize(
    "overrides", [{"once": True}, {"if_running": "skip"}, {"if_running": "wait"}]
)
@pytest.mark.asyncio
async def test_a_store_with_leases_will_do(overrides: dict[str, Any]) -> None:
    result = await Users.run(checkpoint=Checkpoint(MemoryStore()), **overrides)

    assert result.status == "done"


@pytest.mark.asyncio
async def test_without_them_three_methods_will_do() -> None:
    store = PlainStore()

    result = await Users.run(checkpoint=Checkpoint(store, "users"), once=False)

    assert result.status == "done"
    assert store.asked == ["load users", "delete users"]


@pytest.mark.asyncio
async def test_a_checkpoint_that_is_switched_off_takes_both_along() -> None:
    class Once(Users):
        checkpoint = Checkpoint(MemoryStore(), "users")
        once = True
        if_running = "wait"

    results = [await Once.run(checkpoint=None) for _ in range(2)]
    explicit = await Once.run(checkpoint=None, once=True, if_running="skip")

    assert [result.status for result in (*results, explicit)] == ["done"] * 3


@pytest.mark.parametrize("store", [PlainStore, LeasingStore])
@pytest.mark.parametrize(
    "overrides",
    [
        {"timout": 5},
        {"timeout": 0},
        {"mode": None},
        {"restart": 1},
        {"on_success": 5},
        {"health_checks": Users.check},
        {"handle": None},
    ],
    ids=str,
)
@pytest.mark.asyncio
async def test_nothing_happens_before_a_call_is_refused(
    store: type[PlainStore] | type[LeasingStore], overrides: dict[str, Any]
) -> None:
    own = store()

    with capture() as events:
        await refused(Touching.run(checkpoint=Checkpoint(own), **overrides))
        with pytest.raises(ConfigurationError):
            async with Touching.start(checkpoint=Checkpoint(own), **overrides):
                raise NotImplementedError

    assert (own.asked, touched, events) == ([], [], [])


@pytest.mark.asyncio
async def test_nothing_happens_before_a_missing_store_or_type_is_refused() -> None:
    class Typed(Backfill["Nowhere"]):  # type: ignore[name-defined]
        async def handle_batch(self, state: Any) -> Answer[Any]:
            raise NotImplementedError

    store = LeasingStore()

    with capture() as events:
        await refused(Touching.run(checkpoint=Checkpoint(PlainStore()), once=True))
        await refused(Typed.run(checkpoint=Checkpoint(store)))

    assert (store.asked, touched, events) == ([], [], [])


@pytest.mark.asyncio
async def test_what_is_not_refused_touches_all_of_it() -> None:
    store = LeasingStore()

    with capture() as events:
        await Touching.run(checkpoint=Checkpoint(store, "users"))

    assert store.asked == ["acquire users"]
    assert touched == [
        "__init__",
        "initial_state",
        "total",
        "handle_batch",
        "on_complete",
    ]
    assert [event.name for event in events] == [
        "backfill.start",
        "backfill.batch.start",
        "backfill.batch.done",
        "backfill.stop",
    ]
