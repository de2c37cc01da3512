"""What handlers and checks answer: the order of badness, and reasons in numbers."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, dataclass

import pytest

from adaptive_backfill import DONE, OK, Done, Fail, Halt, Next, Pause, Slow
from adaptive_backfill._core.answers import Measure, badness
from tests.core.making import LEVELS


def test_badness_rises_from_ok_over_slow_and_pause_to_halt() -> None:
    assert [badness(level) for level in LEVELS] == [0, 1, 2, 3]


def test_a_verdict_of_a_users_own_subclass_is_as_bad_as_its_base() -> None:
    @dataclass(frozen=True)
    class Overloaded(Pause):
        pass

    assert badness(Overloaded("cpu")) == badness(Pause("cpu"))


@pytest.mark.parametrize(
    "answer", [Next(1), Done(), Halt("x"), Fail("x"), Slow("x"), Pause("x")]
)
def test_answers_cannot_be_changed(answer: object) -> None:
    name = next(iter(asdict(answer)))  # type: ignore[call-overload]

    with pytest.raises(FrozenInstanceError):
        setattr(answer, name, "other")


def test_answers_are_compared_by_what_they_say() -> None:
    assert Next(None) == Next(None, rows=None)
    assert Next(1) != Next(1, rows=1)
    assert Done(result=None, rows=None) == DONE
    assert {Slow("x"), Pause("x"), Halt("x")} == {Halt("x"), Slow("x"), Pause("x")}
    assert len({Slow("x"), Pause("x"), Halt("x"), Halt("x")}) == 3


def test_ok_is_one_value_however_it_is_copied() -> None:
    assert copy.deepcopy(OK) is OK
    assert pickle.loads(pickle.dumps(OK)) is OK
    assert (str(OK), repr(OK)) == ("OK", "OK")


@pytest.mark.parametrize(
    ("measure", "sentence"),
    [
        (Measure("lag", 12.3456, 10, unit="s"), "lag 12.35s > 10s"),
        (Measure("lag", 1_234_567.0, 9_999.0), "lag 1234567 > 9999"),
        (Measure("hits", 0.25, 0.5, sign="<"), "hits 0.25 < 0.5"),
        (Measure("lag", 2, 1, unit=" MB", note="slot a"), "lag 2 MB > 1 MB (slot a)"),
        (Measure("rate", -3.0, 0), "rate -3 > 0"),
        (Measure("free", -123_456.7, 0), "free -123457 > 0"),
    ],
)
def test_a_measure_is_the_sentence_signal_observed_limit(
    measure: Measure, sentence: str
) -> None:
    assert measure == sentence


def test_a_measure_keeps_its_numbers() -> None:
    measure = Measure("lag", 12.3456, 10, unit="s")

    assert measure.signal == "lag"
    assert measure.observed == 12.3456
    assert measure.limit == 10
    assert measure.unit == "s"


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda measure: pickle.loads(pickle.dumps(measure))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_measure_can_be_copied_with_its_numbers(
    copied: Callable[[Measure], Measure],
) -> None:
    twin = copied(Measure("lag", 2, 1, unit="s", note="slot a"))

    assert twin == "lag 2s > 1s (slot a)"
    assert (twin.signal, twin.observed, twin.limit, twin.unit) == ("lag", 2, 1, "s")
