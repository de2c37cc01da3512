"""Annotated attributes that are no options are parameters of `run`."""

from __future__ import annotations

import typing
import typing as t
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import pytest

from adaptive_backfill import Answer, Backfill, Done
from adaptive_backfill.errors import ConfigurationError
from tests.dsl.bodies import batch, defined


class Client:
    pass


class Base(Backfill[int]):
    client: Client
    retries: int = 3
    limit: int
    _private: int
    kind: ClassVar[str]
    other_kind: typing.ClassVar[str]
    quoted_kind: "t.ClassVar[str]"  # noqa: UP037
    fixed: Final[int] = 5
    batch_size: int
    unannotated = 7

    async def handle_batch(self, state: int) -> Answer[int]:
        return Done((self.client, self.retries, self.limit, self.unannotated))


async def problems(run: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as refused:
        await run
    return refused.value.problems


@pytest.mark.asyncio
async def test_parameters_are_put_on_the_instance_and_never_on_the_class() -> None:
    client = Client()

    result = await Base.run(client=client, limit=0)
    other = await Base.run(client=client, limit=1, retries=9)

    assert result.result == (client, 3, 0, 7)
    assert other.result == (client, 9, 1, 7)
    assert not hasattr(Base, "client")
    assert Base.retries == 3


@pytest.mark.asyncio
async def test_every_parameter_without_a_default_has_to_be_given() -> None:
    assert await problems(Base.run()) == (
        "client is missing: it has no default, so pass run(client=...)",
        "limit is missing: it has no default, so pass run(limit=...)",
    )


@pytest.mark.asyncio
async def test_none_is_a_value_of_a_parameter() -> None:
    result = await Base.run(client=None, limit=None)

    assert result.result == (None, 3, None, 7)


@pytest.mark.parametrize(
    "name",
    ["_private", "kind", "other_kind", "quoted_kind", "fixed", "unannotated"],
)
@pytest.mark.asyncio
async def test_class_variables_constants_private_and_plain_names_are_no_parameters(
    name: str,
) -> None:
    given = await problems(Base.run(client=1, limit=1, **{name: 5}))

    assert len(given) == 1
    assert given[0].startswith(f"{name} is not an option; ")


@pytest.mark.asyncio
async def test_a_subclass_may_add_parameters_and_give_those_of_its_base() -> None:
    class Child(Base):
        limit = 10
        region: str

    assert await problems(Child.run()) == (
        "client is missing: it has no default, so pass run(client=...)",
        "region is missing: it has no default, so pass run(region=...)",
    )
    result = await Child.run(client=1, region="eu")
    assert result.result == (1, 3, 10, 7)


@pytest.mark.asyncio
async def test_parameters_of_a_plain_mixin_count() -> None:
    class WithRegion:
        region: str

    class Child(WithRegion, Backfill[int]):
        async def handle_batch(self, state: int) -> Answer[int]:
            return Done(self.region)

    assert await problems(Child.run()) == (
        "region is missing: it has no default, so pass run(region=...)",
    )
    assert (await Child.run(region="eu")).result == "eu"


@pytest.mark.asyncio
async def test_annotations_may_be_objects_or_strings_that_name_nothing() -> None:
    made = defined(
        {
            "handle_batch": batch,
            "__annotations__": {
                "one": int,
                "two": "Nowhere.Known",
                "three": ClassVar[int],
                "four": "ClassVar[Nowhere]",
                "five": list[int],
            },
        }
    )

    assert await problems(made.run()) == tuple(
        f"{name} is missing: it has no default, so pass run({name}=...)"
        for name in ("one", "two", "five")
    )


@pytest.mark.asyncio
async def test_a_misspelt_parameter_is_told_its_name() -> None:
    assert await problems(Base.run(clinet=1, limit=1)) == (
        "clinet is not an option; did you mean client?",
        "client is missing: it has no default, so pass run(client=...)",
    )


@pytest.mark.asyncio
async def test_an_annotated_option_is_an_option_still() -> None:
    class Sized(Backfill[int]):
        batch_size: int = 5

        async def handle_batch(self, state: int) -> Answer[int]:
            return Done(self.batch_size)

    assert (await Sized.run()).result == 5
    assert await problems(Sized.run(batch_size=0)) == (
        "batch_size must be an int of at least 1, not 0",
    )


@pytest.mark.asyncio
async def test_parameters_may_have_any_name_that_calls_do_not_use() -> None:
    class Odd(Backfill[int]):
        cls: str
        self: str
        overrides: str
        clock: str

        async def handle_batch(it, state: int) -> Answer[int]:  # noqa: N805
            return Done(f"{it.cls}{it.self}{it.overrides}{it.clock}")

    given: dict[str, Any] = {"cls": "a", "self": "b", "overrides": "c", "clock": "d"}
    result = await Odd.run(**given)
    async with Odd.start(**given) as run:
        started = await run.wait()

    assert result.result == started.result == "abcd"


@pytest.mark.asyncio
async def test_a_dataclass_with_defaults_may_be_a_backfill() -> None:
    @dataclass
    class Data(Backfill[int]):
        limit: int = 5
        size: int = 1

        async def handle_batch(self, state: int) -> Answer[int]:
            return Done((self.limit, self.size))

    assert (await Data.run(limit=7)).result == (7, 1)


@pytest.mark.asyncio
async def test_an_init_that_needs_arguments_is_refused_and_told_what_to_do() -> None:
    made = defined(
        {"handle_batch": batch, "__init__": lambda self, client, size=1: None}
    )

    assert await problems(made.run()) == (
        "its __init__ needs arguments (missing a required argument: 'client'); "
        "annotate them as attributes instead (`client: Client`) and pass them to "
        "run(client=...)",
    )


@pytest.mark.asyncio
async def test_an_init_without_arguments_runs_before_options_and_parameters() -> None:
    class Own(Backfill[int]):
        client: str = "default"
        batch_size = 10

        def __init__(self) -> None:
            self.client = "from init"
            self.seen: list[int] = []

        async def handle_batch(self, state: int) -> Answer[int]:
            self.seen.append(self.batch_size)
            return Done((self.client, self.seen))

    assert (await Own.run()).result == ("from init", [10])
    assert (await Own.run(client="given", batch_size=2)).result == ("given", [2])
