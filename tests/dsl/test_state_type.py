"""The state's type: the argument of `Backfill[...]`, through whatever bases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Generic, Optional, TypeVar

import pytest

from adaptive_backfill import Answer, Backfill, Checkpoint, Done, MemoryStore
from adaptive_backfill._dsl.state_type import state_type_of
from adaptive_backfill.errors import ConfigurationError
from tests.dsl import elsewhere
from tests.dsl.elsewhere import Cursor

S = TypeVar("S")
T = TypeVar("T")
U = TypeVar("U")


@dataclass
class Local:
    at: int


class Bare(Backfill):
    pass


class Ints(Backfill[int]):
    pass


class IntsAgain(Ints):
    pass


class Lists(Backfill[list[dict[str, int]]]):
    pass


class Unions(Backfill[int | None]):
    pass


class Optionals(Backfill[Optional[Local]]):  # noqa: UP045
    pass


class Forward(Backfill["Later"]):
    pass


class ForwardInside(Backfill[list["Later"]]):
    pass


class ForwardText(Backfill["dict[str, Later] | None"]):
    pass


class Anything(Backfill[Any]):
    pass


class Objects(Backfill[object]):
    pass


class Nothing(Backfill[None]):
    pass


class Open(Backfill[T], Generic[T]):
    pass


class Still(Open[S]):
    pass


class Closed(Still[int]):
    pass


class Listed(Backfill[list[T]]):
    pass


class ListedInts(Listed[int]):
    pass


class ListedOfLists(Listed[list[U]]):
    pass


class Deep(ListedOfLists[str]):
    pass


class NotFilled(Listed):  # type: ignore[type-arg]
    pass


class Mixin:
    pass


class Mixed(Mixin, Ints):
    pass


class Loud(Backfill):
    pass


class LoudInts(Loud, Backfill[int]):
    pass


class LoudestInts(Loud, Anything, Ints):
    pass


class Subject(Generic[T]):
    pass


class OtherGenericFirst(Subject[str], Backfill[int]):
    pass


class Marked(Backfill[Annotated[int, "of rows"]]):
    pass


class ByName(elsewhere.ByName):
    pass


class Pair(elsewhere.Pairs[int, str]):
    pass


class HalfPair(elsewhere.Pairs[T, Local]):
    pass


class WholePair(HalfPair[bytes]):
    pass


@dataclass
class Later:
    at: int


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (Ints, int),
        (IntsAgain, int),
        (Lists, list[dict[str, int]]),
        (Unions, int | None),
        (Optionals, Optional[Local]),  # noqa: UP045
        (Forward, Later),
        (ForwardInside, list[Later]),
        (ForwardText, dict[str, Later] | None),
        (Closed, int),
        (ListedInts, list[int]),
        (Deep, list[list[str]]),
        (Mixed, int),
        (LoudInts, int),
        (LoudestInts, int),
        (OtherGenericFirst, int),
        (Marked, int),
        (ByName, Cursor),
        (elsewhere.ByName, Cursor),
        (elsewhere.ByNameInside, dict[str, Cursor]),
        (elsewhere.Cursors, tuple[Cursor, str]),
        (Pair, tuple[str, int]),
        (WholePair, tuple[Local, bytes]),
    ],
)
def test_the_type_is_found_through_bases_variables_and_names(
    kind: type, state: object
) -> None:
    assert state_type_of(kind, Backfill) == state


@pytest.mark.parametrize("kind", [Bare, Anything, Objects, Nothing, Open, Still])
def test_a_class_that_says_nothing_has_no_type(kind: type) -> None:
    assert state_type_of(kind, Backfill) is None


def test_a_variable_that_was_left_open_may_be_anything() -> None:
    assert state_type_of(NotFilled, Backfill) == list[Any]


@pytest.mark.asyncio
async def test_a_name_that_is_not_there_is_refused_where_a_checkpoint_needs_it() -> (
    None
):
    class Missing(Backfill["Nowhere"]):  # type: ignore[name-defined]
        async def handle_batch(self, state: Any) -> Answer[Any]:
            return Done("ran")

    with pytest.raises(ConfigurationError) as refused:
        await Missing.run(checkpoint=Checkpoint(MemoryStore()))

    assert refused.value.problems == (
        "the state type 'Nowhere' cannot be resolved (name 'Nowhere' is "
        "not defined); define it in module tests.dsl.test_state_type, or give the "
        "class itself instead of its name",
    )
    assert (await Missing.run()).result == "ran"


def test_a_dotted_name_that_is_not_there_is_refused_as_well() -> None:
    class Missing(Backfill["elsewhere.Nowhere"]):  # type: ignore[name-defined]
        pass

    with pytest.raises(ConfigurationError, match="has no attribute 'Nowhere'"):
        state_type_of(Missing, Backfill)


@pytest.mark.asyncio
async def test_a_single_operation_has_no_state_and_needs_no_type() -> None:
    class Missing(Backfill["Nowhere"]):  # type: ignore[name-defined]
        async def handle(self, health_check: object) -> Answer[Any]:
            return Done("ran")

    result = await Missing.run(checkpoint=Checkpoint(MemoryStore()))

    assert result.result == "ran"
