"""Laws of `evaluate`: worse findings never give a better verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_backfill import (
    OK,
    CheckResult,
    Halt,
    Pause,
    Reason,
    Slow,
    Verdict,
    quorum,
    weighted,
    worst_of,
)
from adaptive_backfill._core.answers import badness
from adaptive_backfill._core.evaluation import (
    HEALTHY,
    Evaluation,
    misjudged,
    report_of,
    unknown_for,
)
from adaptive_backfill.errors import ConfigurationError, InvalidHealthResult
from tests.core.making import LEVELS, few, finding

evaluations = st.one_of(
    st.just(worst_of),
    st.floats(0.01, 1.0).map(quorum),
    st.floats(0.01, 5.0).map(weighted),
)
findings = st.lists(
    st.builds(
        finding,
        st.sampled_from(LEVELS),
        weight=st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0]),
        severity=st.sampled_from(["critical", "warning"]),
    ),
    min_size=1,
    max_size=6,
)


@few
@given(evaluations, findings, st.data())
def test_a_worse_finding_never_gives_a_better_verdict(
    evaluate: Evaluation, results: list[CheckResult], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(results) - 1))
    worse = data.draw(st.sampled_from(LEVELS[badness(results[at].answer) :]))
    changed = finding(worse, weight=results[at].weight, severity=results[at].severity)

    before = evaluate(results)
    after = evaluate([*results[:at], changed, *results[at + 1 :]])

    assert badness(after) >= badness(before)


@few
@given(evaluations, findings)
def test_a_verdict_is_never_worse_than_the_worst_finding(
    evaluate: Evaluation, results: list[CheckResult]
) -> None:
    assert badness(evaluate(results)) <= badness(worst_of(results))


@few
@given(evaluations, findings, st.lists(st.sampled_from(LEVELS), max_size=4))
def test_info_findings_never_count(
    evaluate: Evaluation, results: list[CheckResult], answers: list[Verdict]
) -> None:
    # What `judged` makes of an info check: OK, with the reason beside it.
    info = [
        CheckResult("info", OK, Reason("info", answer, "bad"), 100.0, "info")
        for answer in answers
    ]

    assert evaluate([*info, *results]) == evaluate(results)


@few
@given(st.permutations(LEVELS * 2), st.sampled_from(["worst_of", "all", "weighed"]))
def test_among_equals_the_first_declared_speaks(
    answers: Sequence[Verdict], how: str
) -> None:
    evaluate = {"worst_of": worst_of, "all": quorum(0.1), "weighed": weighted(1.0)}[how]
    own = [_told_apart(answer, at) for at, answer in enumerate(answers)]

    verdict = evaluate([finding(answer) for answer in own])

    worst = max(map(badness, own))
    assert verdict is next(answer for answer in own if badness(answer) == worst)


def _told_apart(answer: Verdict, at: int) -> Verdict:
    return OK if answer is OK else type(answer)(at)


def test_without_findings_all_is_well() -> None:
    assert [evaluate([]) for evaluate in (worst_of, quorum(0.5), weighted(1))] == [
        OK,
        OK,
        OK,
    ]


@pytest.mark.parametrize(
    ("share", "unhealthy", "checks", "speaks"),
    [
        (0.5, 1, 2, True),
        (0.5, 1, 3, False),
        (0.5, 2, 3, True),
        (1.0, 2, 3, False),
        (1.0, 3, 3, True),
        (1, 3, 3, True),
        # 0.29 * 100 is 28.999999999999996, 0.07 * 100 is 7.000000000000001.
        (0.29, 29, 100, True),
        (0.07, 7, 100, True),
        (0.07, 6, 100, False),
    ],
)
def test_a_quorum_speaks_once_its_share_is_unhealthy(
    share: float, unhealthy: int, checks: int, speaks: bool
) -> None:
    bad = [finding(Slow("bad"))] * unhealthy
    good = [finding(OK)] * (checks - unhealthy)

    assert quorum(share)(good + bad) == (Slow("bad") if speaks else OK)


def test_a_quorum_does_not_count_info_checks_among_all() -> None:
    info = [finding(OK, severity="info")] * 10

    assert quorum(0.5)([*info, finding(Pause("bad")), finding(OK)]) == Pause("bad")


@pytest.mark.parametrize(
    ("limit", "weights", "speaks"),
    [
        (1.0, [1.0], True),
        (1.0, [0.5], False),
        (1.0, [0.5, 0.5], True),
        # 0.7 + 0.1 is 0.7999999999999999.
        (0.8, [0.7, 0.1], True),
        (0.3, [0.1, 0.1, 0.1], True),
        (0.8, [0.7, 0.09], False),
        (1e-12, [0.0], False),
    ],
)
def test_weights_speak_once_they_reach_the_limit(
    limit: float, weights: list[float], speaks: bool
) -> None:
    bad = [finding(Halt("bad"), weight=weight) for weight in weights]

    assert weighted(limit)([finding(OK, weight=9), *bad]) == (
        Halt("bad") if speaks else OK
    )


@pytest.mark.parametrize(
    "share", [0, -1, 1.01, float("nan"), float("inf"), True, "0.5", None]
)
def test_a_quorum_of_no_sensible_share_is_refused(share: object) -> None:
    with pytest.raises(ConfigurationError) as refused:
        quorum(cast("float", share))

    assert str(refused.value) == (
        "quorum cannot be used:\n"
        f"  - the share must be more than 0 and at most 1, not {share!r}"
    )


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf"), True, "1", None])
def test_a_weight_limit_that_is_no_number_above_zero_is_refused(limit: object) -> None:
    with pytest.raises(ConfigurationError) as refused:
        weighted(cast("float", limit))

    assert str(refused.value) == (
        "weighted cannot be used:\n"
        f"  - the limit must be a number above 0, not {limit!r}"
    )


@pytest.mark.parametrize("verdict", LEVELS)
def test_a_report_keeps_the_verdict_every_finding_and_every_reason(
    verdict: Verdict,
) -> None:
    results = [finding(OK), finding(Slow("a")), finding(Halt("b")), finding(verdict)]

    report = report_of(results, verdict)

    assert report.verdict == verdict
    assert report.results == tuple(results)
    assert report.reasons == tuple(r.reason for r in results if r.answer is not OK)
    assert report.fresh


def test_the_reasons_of_a_healthy_verdict_are_kept_too() -> None:
    report = report_of([finding(Slow("a")), finding(OK)], OK)

    assert report.verdict is OK
    assert [reason.answer for reason in report.reasons] == [Slow("a")]


def test_a_verdict_of_evaluates_own_is_a_reason_of_its_own() -> None:
    report = report_of([finding(Slow("a"))], Pause("too many"))

    assert report.verdict == Pause("too many")
    assert report.reasons[1:] == (Reason("evaluate", Pause("too many"), "too many"),)
    assert str(report.reasons[1]) == "evaluate: too many"


@pytest.mark.parametrize("given_back", [None, True, False, 0, "halt", Halt, {}])
def test_an_evaluation_that_says_nothing_halts(given_back: object) -> None:
    report = report_of([finding(Slow("a"))], given_back)

    verdict = report.verdict
    assert isinstance(verdict, Halt)
    assert isinstance(verdict.reason, InvalidHealthResult)
    assert verdict.reason.check == "evaluate"
    assert verdict.reason.value is given_back
    assert [reason.check for reason in report.reasons] == ["check", "evaluate"]
    assert report.reasons[-1].error is verdict.reason
    assert report.reasons[-1].value is given_back


def test_an_evaluation_that_raises_halts_with_what_it_raised_as_the_cause() -> None:
    raised = ZeroDivisionError("by zero")

    report = misjudged([finding(Halt("a")), finding(OK)], raised)

    verdict = report.verdict
    assert isinstance(verdict, Halt)
    assert isinstance(verdict.reason, InvalidHealthResult)
    assert verdict.reason.__cause__ is raised
    assert str(report.reasons[-1]) == (
        "health check 'evaluate' raised ZeroDivisionError('by zero') "
        "(ZeroDivisionError); return OK, Slow(reason), Pause(reason) or Halt(reason)"
    )


def test_what_was_not_looked_at_is_not_healthy() -> None:
    report = unknown_for(31.4)

    assert report.verdict == Pause("health unknown for 31 s")
    assert [str(reason) for reason in report.reasons] == ["health unknown for 31 s"]
    assert not report.fresh


def test_a_run_without_checks_is_told_that_all_is_well() -> None:
    assert HEALTHY.verdict is OK
    assert HEALTHY.reasons == ()
    assert HEALTHY.fresh


def test_any_callable_of_the_results_is_an_evaluation() -> None:
    def two_of_them(results: Sequence[CheckResult]) -> Verdict:
        bad = [result for result in results if result.answer is not OK]
        return bad[0].answer if len(bad) > 1 else OK

    evaluate: Callable[[Sequence[CheckResult]], Verdict] = two_of_them

    assert evaluate([finding(Halt("a")), finding(Slow("b"))]) == Halt("a")
