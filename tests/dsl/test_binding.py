"""Which functions of a class are given their `self`, and which are called plainly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    CheckResult,
    Done,
    Halt,
    HealthCheck,
    HealthContext,
    Next,
    Pause,
    Slow,
    Verdict,
    quorum,
)

heard: list[object] = []


@pytest.fixture(autouse=True)
def _silence() -> None:
    heard.clear()


async def outside() -> Verdict:
    heard.append("outside")
    return OK


def outside_self(self: object) -> Verdict:
    heard.append(self)
    return OK


class Checked(Backfill[int]):
    mode = "sync"
    healthy: bool = True

    async def own(self) -> Verdict:
        heard.append(("own", type(self).__name__, self.healthy))
        return OK if self.healthy else Halt("unhealthy")

    def own_with_context(self, context: HealthContext) -> Verdict:
        heard.append(("context", type(self).__name__, context.name))
        return OK

    def of_no_instance(context: HealthContext) -> Verdict:  # type: ignore[misc] # noqa: N805
        heard.append(("plain", context.name))
        return OK

    @staticmethod
    def static() -> Verdict:
        heard.append("static")
        return OK

    health_checks = [
        own,
        HealthCheck(own_with_context, name="wrapped"),
        of_no_instance,
        static,
        outside,
    ]

    async def handle_batch(self, state: int) -> Answer[int]:
        return Done("ran")


@pytest.mark.asyncio
async def test_checks_of_the_class_are_bound_and_all_others_called_plainly() -> None:
    result = await Checked.run(name="checked")

    assert result.raise_for_status().result == "ran"
    assert sorted(map(str, heard)) == sorted(
        map(
            str,
            [
                ("own", "Checked", True),
                ("context", "Checked", "checked"),
                ("plain", "checked"),
                "static",
                "outside",
            ],
        )
    )


@pytest.mark.asyncio
async def test_a_bound_check_sees_the_parameters_of_its_run() -> None:
    result = await Checked.run(healthy=False)

    assert result.status == "halted"
    assert [(reason.check, reason.value) for reason in result.reasons] == [
        ("own", "unhealthy")
    ]


@pytest.mark.asyncio
async def test_a_bound_check_keeps_what_its_health_check_says() -> None:
    class Lenient(Checked):
        health_checks = [
            HealthCheck(Checked.own, name="mine", severity="info"),
        ]

    result = await Lenient.run(healthy=False)

    assert result.status == "done"
    assert heard == [("own", "Lenient", False)]


@pytest.mark.asyncio
async def test_checks_are_inherited_and_bound_to_the_instance_of_the_subclass() -> None:
    class Child(Checked):
        pass

    await Child.run()

    assert ("own", "Child", True) in heard


@pytest.mark.asyncio
async def test_a_check_of_the_class_given_to_one_run_is_bound_as_well() -> None:
    await Checked.run(health_checks=[Checked.own, HealthCheck(Checked.own, name="b")])

    assert heard == [("own", "Checked", True)] * 2


@pytest.mark.asyncio
async def test_a_function_with_a_self_from_elsewhere_is_called_plainly() -> None:
    class Other(Backfill[int]):
        mode = "sync"
        health_checks = [outside_self]

        async def handle_batch(self, state: int) -> Answer[int]:
            return DONE

    await Other.run(name="other")

    # Its first parameter is one that it needs, so it is given the context.
    assert [type(each) for each in heard] == [HealthContext]


@pytest.mark.asyncio
async def test_a_context_is_given_only_to_a_parameter_that_is_needed() -> None:
    def optional(context: object = "default") -> Verdict:
        heard.append(context)
        return OK

    def generous(*contexts: object, **more: object) -> Verdict:
        heard.append(contexts)
        return OK

    def needed(context: HealthContext, /) -> Verdict:
        heard.append(context.name)
        return OK

    await Checked.run(name="n", health_checks=[optional, generous, needed])

    assert sorted(map(str, heard)) == sorted(["default", "()", "n"])


@pytest.mark.asyncio
async def test_evaluate_may_be_a_method() -> None:
    class Judged(Checked):
        health_checks = [lambda: Slow("load")]

        def evaluate(self, results: Sequence[CheckResult]) -> Verdict:
            heard.append((type(self).__name__, [result.answer for result in results]))
            return Halt("judged")

    result = await Judged.run()

    assert heard == [("Judged", [Slow("load")])]
    assert result.status == "halted"


@pytest.mark.asyncio
async def test_evaluate_may_be_an_async_a_static_or_a_class_method() -> None:
    class Base(Checked):
        health_checks = [lambda: Slow("load")]

    class Async(Base):
        async def evaluate(self, results: Sequence[CheckResult]) -> Verdict:
            return Halt(f"async {len(results)}")

    class Static(Base):
        @staticmethod
        def evaluate(results: Sequence[CheckResult]) -> Verdict:
            return Halt(f"static {len(results)}")

    class Class(Base):
        @classmethod
        def evaluate(cls, results: Sequence[CheckResult]) -> Verdict:
            return Halt(f"{cls.__name__} {len(results)}")

    said = [(await kind.run()).reasons[-1].value for kind in (Async, Static, Class)]

    assert said == ["async 1", "static 1", "Class 1"]


def judge(results: Sequence[CheckResult]) -> Verdict:
    heard.append(len(results))
    return OK


@pytest.mark.asyncio
async def test_evaluate_may_be_a_plain_function_or_one_that_is_made() -> None:
    class Plain(Checked):
        health_checks = [lambda: Halt("down"), lambda: OK, lambda: OK]
        evaluate = judge

    class Made(Plain):
        evaluate = quorum(0.5)

    assert (await Plain.run()).status == "done"
    assert heard == [3]
    assert (await Made.run()).status == "done"


@pytest.mark.asyncio
async def test_a_run_may_be_given_an_evaluate_be_it_a_method_of_the_class() -> None:
    class Judged(Checked):
        health_checks = [lambda: Pause("load")]

        def lenient(self, results: Sequence[CheckResult]) -> Verdict:
            heard.append(type(self).__name__)
            return OK

    assert (await Judged.run(evaluate=judge)).status == "done"
    assert (await Judged.run(evaluate=Judged.lenient)).status == "done"
    assert heard == [1, "Judged"]


@pytest.mark.asyncio
async def test_total_may_be_a_value_a_function_or_any_kind_of_method() -> None:
    async def told(kind: type[Backfill[Any]], **overrides: Any) -> object:
        async with kind.start(**overrides) as run:
            await run.wait()
            return run.progress.total

    class Counted(Backfill[int]):
        initial_state = 0
        rows: int = 7

        async def handle_batch(self, state: int) -> Answer[int]:
            return Next(1, rows=1) if state == 0 else DONE

    class Value(Counted):
        total = 5

    class Method(Counted):
        def total(self) -> int:
            return self.rows

    class Async(Counted):
        async def total(self) -> int:
            return self.rows + 1

    class Static(Counted):
        @staticmethod
        def total() -> int:
            return 9

    class Class(Counted):
        @classmethod
        async def total(cls) -> int:
            return len(cls.__name__)

    class Function(Counted):
        total = lambda: 11  # noqa: E731

    assert await told(Counted) is None
    assert await told(Value) == 5
    assert await told(Method) == 7
    assert await told(Method, rows=70) == 70
    assert await told(Async) == 8
    assert await told(Static) == 9
    assert await told(Class) == 5
    assert await told(Function) == 11
    assert await told(Counted, total=12) == 12
    assert await told(Counted, total=lambda: 13) == 13
    assert await told(Method, total=None) is None
