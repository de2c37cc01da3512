"""How a result turns into an exception, and what it says."""

from __future__ import annotations

import dataclasses

import pytest

from adaptive_backfill import Halt, Progress, Reason, RunResult, RunStatus
from adaptive_backfill._core.answers import Measure
from adaptive_backfill.errors import RunFailed, RunHalted


def result(status: RunStatus, **values: object) -> RunResult:
    made = RunResult("users", "run-1", status, batches=3, rows=42)
    return dataclasses.replace(made, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "status", [RunStatus.DONE, RunStatus.STOPPED, RunStatus.SKIPPED]
)
def test_an_ending_that_is_no_trouble_is_handed_back(status: RunStatus) -> None:
    ended = result(status)

    assert ended.raise_for_status() is ended


def test_a_halted_run_is_raised_with_all_its_reasons() -> None:
    ended = result(
        RunStatus.HALTED,
        reasons=(
            Reason("db", Halt("down"), "down"),
            Reason(None, Halt("enough"), "enough"),
        ),
    )

    with pytest.raises(RunHalted) as raised:
        ended.raise_for_status()

    assert str(raised.value) == (
        "users halted after 3 batches, 42 rows: db: down; enough"
    )
    assert raised.value.result is ended
    assert raised.value.__cause__ is None


def test_a_halted_run_without_a_reason_says_so() -> None:
    with pytest.raises(RunHalted) as raised:
        result(RunStatus.HALTED).raise_for_status()

    assert str(raised.value) == (
        "users halted after 3 batches, 42 rows: no reason was given"
    )


def test_a_failed_run_is_raised_from_the_error() -> None:
    error = OSError("gone")
    ended = result(RunStatus.FAILED, error=error)

    with pytest.raises(RunFailed) as raised:
        ended.raise_for_status()

    assert str(raised.value) == "users failed after 3 batches, 42 rows: OSError: gone"
    assert raised.value.__cause__ is error
    assert raised.value.result is ended


def test_a_failed_run_may_have_any_value_as_its_error() -> None:
    with pytest.raises(RunFailed) as raised:
        result(RunStatus.FAILED, error={"code": 7}).raise_for_status()

    assert str(raised.value) == ("users failed after 3 batches, 42 rows: {'code': 7}")
    assert raised.value.__cause__ is None


def test_a_status_is_its_word() -> None:
    assert [str(status) for status in RunStatus] == [
        "done",
        "halted",
        "failed",
        "stopped",
        "skipped",
    ]
    assert RunStatus("done") is RunStatus.DONE


def test_a_result_can_be_shown_as_plain_data() -> None:
    slow = Measure("lag", 3, 2, unit="s")
    ended = result(RunStatus.HALTED, reasons=(Reason("lag", Halt(slow), slow),))

    shown = dataclasses.asdict(ended)

    assert shown["status"] == "halted"
    assert shown["reasons"][0]["value"] == "lag 3s > 2s"


def test_each_result_has_a_list_of_hook_errors_of_its_own() -> None:
    one, other = result(RunStatus.DONE), RunResult("a", "b", RunStatus.DONE)
    one.hook_errors.append(ValueError("hook"))

    assert other.hook_errors == []


def test_results_and_progress_cannot_be_changed() -> None:
    for value in (result(RunStatus.DONE), Progress("users", "run-1", "running")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, "name", "other")  # noqa: B010
