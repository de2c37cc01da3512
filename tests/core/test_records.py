from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType

import pytest

from adaptive_backfill import (
    OK,
    Halt,
    Pause,
    Progress,
    Reason,
    RunResult,
    RunStatus,
    Slow,
)
from adaptive_backfill._core.answers import Measure
from adaptive_backfill._core.last_seen import is_over, last_seen, went_away
from adaptive_backfill._core.records import (
    progress_from,
    progress_text,
    result_from,
    result_text,
    wishes_from,
    wishes_text,
)
from adaptive_backfill._core.snapshot import Wishes
from adaptive_backfill.errors import BackfillError, HealthCheckTimeout


@dataclass
class Cursor:
    key: int
    shards: list[object] = field(default_factory=list)


def result_with(**values: object) -> RunResult:
    return RunResult("users", "r1", RunStatus.FAILED, **values)  # type: ignore[arg-type]


def kept(result: RunResult) -> RunResult:
    return result_from(result_text(result))


def test_a_plain_result_comes_back_as_it_was() -> None:
    result = RunResult(
        "users", "r1", RunStatus.DONE, (1, "a"), {"n": 2}, (), None, 3, 30, 1.5, 0.5,
        True, 4,
    )  # fmt: skip

    assert kept(result) == result


def test_where_the_time_went_comes_back_as_it_was() -> None:
    result = result_with(
        busy=61.0, delayed=9.0, locked=0.5, waited={"lag": 29.0, "operator": 1.0}
    )

    assert kept(result) == result


def test_a_result_of_an_older_version_tells_nothing_of_its_time() -> None:
    text = (
        '{"name":"users","run_id":"r1","status":"done","state":{"text":"3","shown":'
        '"3"},"result":{"text":"null","shown":"None"},"reasons":[],"error":null,'
        '"batches":3,"rows":30,"duration":1.5,"paused":0.5,"resumed":true,'
        '"quarantined":4,"hook_errors":[]}'
    )

    read = result_from(text)

    assert (read.state, read.rows, read.paused) == (3, 30, 0.5)
    assert (read.busy, read.delayed, read.locked, read.waited) == (0.0, 0.0, 0.0, {})


def test_the_pace_comes_back_with_the_progress() -> None:
    progress = Progress(
        "users", "r1", "running", level=2.5, duty=0.8, pace="load 0.5: 2.0 -> 2.5"
    )

    assert progress_from(progress_text(progress)) == progress


def test_a_plain_progress_comes_back_as_it_was() -> None:
    slow = Slow("busy")
    progress = Progress(
        "users", "r1", "running", 7, 2, 20, 100, 0.2, 4.0, 20.0, 10, slow,
        (Reason("load", slow, "busy"), Reason(None, Halt(3), 3)),
    )  # fmt: skip

    assert progress_from(progress_text(progress)) == progress


def test_what_a_newer_version_has_to_say_is_passed_over() -> None:
    progress = Progress("users", "r1", "running")
    text = progress_text(progress).replace("{", '{"news":1,', 1)

    assert progress_from(text) == progress


def test_the_status_of_an_ending_is_one_again() -> None:
    ended = progress_from(progress_text(Progress("users", "r1", RunStatus.HALTED)))
    running = progress_from(progress_text(Progress("users", "r1", "waiting")))

    assert ended.status is RunStatus.HALTED
    assert is_over(ended)
    assert running.status == "waiting"
    assert not is_over(running)


def test_an_error_becomes_its_text() -> None:
    result = kept(result_with(error=ValueError("boom"), hook_errors=[KeyError("hook")]))

    assert result.error == "ValueError: boom"
    assert [(type(error), str(error)) for error in result.hook_errors] == [
        (BackfillError, "KeyError: 'hook'")
    ]


@pytest.mark.parametrize("given", ["no such user", 42, None, 1.5, True])
def test_a_plain_value_of_a_failure_stays(given: object) -> None:
    assert kept(result_with(error=given)).error == given


def test_any_other_value_of_a_failure_becomes_its_text() -> None:
    assert kept(result_with(error={"a": 1})).error == "{'a': 1}"
    assert kept(result_with(error=float("nan"))).error == "nan"
    assert kept(result_with(error="\ud800")).error == "\\ud800"


@pytest.mark.parametrize(
    "reason",
    [
        Reason("database", Halt("down"), "down"),
        Reason("database", Pause(ValueError("boom")), None, ValueError("boom")),
        Reason("slow", Slow("x"), None, HealthCheckTimeout("slow", 5)),
        Reason("lag", Pause(Measure("lag", 40, 10, unit="s")), Measure("lag", 40, 10)),
        Reason(None, Halt("stop requested"), "stop requested"),
        Reason("odd", Halt("x"), {"a": 1}),
    ],
)
def test_a_reason_keeps_its_check_the_kind_of_its_answer_and_its_sentence(
    reason: Reason,
) -> None:
    (came,) = kept(result_with(reasons=(reason,))).reasons

    assert came.check == reason.check
    assert type(came.answer) is type(reason.answer)
    assert came.error is None
    assert str(came).endswith(str(reason))


def test_good_health_comes_back_as_itself() -> None:
    assert (
        progress_from(progress_text(Progress("users", "r1", "running"))).verdict is OK
    )


def test_a_state_of_a_class_that_is_here_comes_back() -> None:
    assert kept(result_with(state=Cursor(3))).state == Cursor(3)


def test_a_state_of_a_class_that_is_not_here_is_shown_and_nothing_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = ModuleType("elsewhere")
    elsewhere.Cursor = Cursor  # type: ignore[attr-defined]
    with monkeypatch.context() as there:
        there.setitem(sys.modules, "elsewhere", elsewhere)
        there.setattr(Cursor, "__module__", "elsewhere")
        text = result_text(result_with(state=Cursor(3)))

    assert result_from(text).state == "Cursor(key=3, shards=[])"
    assert "elsewhere" not in sys.modules


def test_a_state_that_does_not_describe_itself_is_shown() -> None:
    result = kept(result_with(state=range(3), result=[object]))

    assert result.state == "range(0, 3)"
    assert result.result == "[<class 'object'>]"


def test_a_long_state_is_shown_in_short() -> None:
    state = Cursor(1, [object()] * 10_000)

    assert len(str(kept(result_with(state=state)).state)) < 2_000


@pytest.mark.parametrize(
    "wishes",
    [
        Wishes(),
        Wishes(stop=True, paused="ann@host"),
        Wishes(values={"batch_size": None, "delay_between_batches": 0.5}),
    ],
)
def test_wishes_come_back(wishes: Wishes) -> None:
    assert wishes_from(wishes_text(wishes)) == wishes


def test_there_are_no_wishes_where_nothing_was_kept() -> None:
    assert wishes_from(None) == Wishes()


def test_a_run_is_last_seen_with_what_its_result_says() -> None:
    progress = Progress("users", "r1", "running", 1, 1, 10, eta=9.0, batch_size=5)
    why = (Reason(None, Halt("x"), "x"),)
    result = RunResult("users", "r1", RunStatus.HALTED, 2, None, why, None, 2, 20)

    assert last_seen(progress, result) == Progress(
        "users", "r1", RunStatus.HALTED, 2, 2, 20, batch_size=5, reasons=why
    )


def test_a_run_that_went_away_is_stopped_and_says_that_the_next_resumes() -> None:
    seen = went_away(Progress("users", "r1", "running", 4, 2, 20, eta=9.0))

    assert (seen.status, seen.state, seen.batches) == (RunStatus.STOPPED, 4, 2)
    assert seen.eta is None
    assert [str(reason) for reason in seen.reasons] == [
        "its process went away without an ending; the next run resumes"
    ]
