"""What one check's answer counts as: values, severities, `on_error`, reasons."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import pytest

from adaptive_backfill import OK, Halt, HealthCheck, Pause, Reason, Slow, Verdict
from adaptive_backfill._core.answers import Health, Measure
from adaptive_backfill._core.health import (
    HealthContext,
    OnError,
    Severity,
    as_health_check,
    failed,
    judged,
)
from adaptive_backfill.errors import (
    ConfigurationError,
    HealthCheckTimeout,
    InvalidHealthResult,
)


def database() -> Verdict:
    return OK


class Probe:
    def __call__(self) -> Verdict:
        return OK

    def look(self) -> Verdict:
        return OK


def check(severity: Severity = "critical", on_error: OnError = "halt") -> HealthCheck:
    return HealthCheck(
        database, name="db", weight=2.0, severity=severity, on_error=on_error
    )


@pytest.mark.parametrize("severity", ["critical", "warning", "info"])
@pytest.mark.parametrize("given", [OK, Health.OK, None, True])
def test_ok_none_and_true_are_healthy(given: object, severity: Severity) -> None:
    result = judged(check(severity), given, 0.25)

    assert result.answer is OK
    assert result.reason is None
    assert (result.name, result.weight) == ("db", 2.0)
    assert (result.severity, result.duration) == (severity, 0.25)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (Slow("load"), "load"),
        (Pause(None), None),
        (Halt(7), 7),
        (False, "db"),
    ],
)
def test_a_bad_answer_means_itself_and_false_halts(
    given: object, value: object
) -> None:
    answer = Halt("db") if given is False else cast("Verdict", given)

    result = judged(check(), given, 1.5)

    assert result.answer == answer
    assert result.reason == Reason("db", answer, value)
    assert result.duration == 1.5


def test_the_answer_that_counts_is_the_very_instance() -> None:
    given = Pause("vacuum")

    assert judged(check(), given, 0.0).answer is given


NONSENSE: list[Any] = [
    0, 1, 1.0, "", "ok", b"", [], {}, (), (OK,), object(),
    ValueError("returned, not raised"), Halt, Slow, Health, NotImplemented, ...,
]  # fmt: skip


@pytest.mark.parametrize("given", NONSENSE, ids=repr)
def test_everything_else_is_a_halt_that_names_check_and_value(given: object) -> None:
    result = judged(check(), given, 0.0)

    assert isinstance(result.answer, Halt)
    error = result.answer.reason
    assert isinstance(error, InvalidHealthResult)
    assert (error.check, error.value) == ("db", given)
    assert result.reason == Reason("db", result.answer, given, error)
    assert str(result.reason) == (
        f"health check 'db' returned {given!r} ({type(given).__name__}); return OK, "
        "Slow(reason), Pause(reason) or Halt(reason)"
    )


@pytest.mark.parametrize(
    ("on_error", "kind"), [("halt", Halt), ("pause", Pause), ("slow", Slow)]
)
@pytest.mark.parametrize("trouble", ["raised", "late", "nonsense"])
def test_on_error_says_what_trouble_counts_as(
    on_error: OnError, kind: type[Slow | Pause | Halt], trouble: str
) -> None:
    raised = OSError("refused")
    late = HealthCheckTimeout("db", 5.0)

    result = {
        "raised": lambda: failed(check(on_error=on_error), raised, 0.5),
        "late": lambda: failed(check(on_error=on_error), late, 5.0),
        "nonsense": lambda: judged(check(on_error=on_error), 0, 0.5),
    }[trouble]()

    assert type(result.answer) is kind
    assert result.reason is not None
    assert result.reason.answer == result.answer
    assert result.reason.error is result.answer.reason
    assert result.reason.value == (0 if trouble == "nonsense" else None)


def test_on_error_changes_nothing_about_an_answer() -> None:
    lenient = check(on_error="slow")

    assert judged(lenient, Halt("down"), 0.0).answer == Halt("down")
    assert judged(lenient, False, 0.0).answer == Halt("db")


@pytest.mark.parametrize(
    "given", [Slow("bad"), Pause("bad"), Halt("bad")], ids=lambda v: type(v).__name__
)
def test_a_warning_is_at_most_slow(given: Verdict) -> None:
    result = judged(check("warning"), given, 0.0)

    assert result.answer == Slow("bad")
    assert result.reason == Reason("db", Slow("bad"), "bad")


@pytest.mark.parametrize("on_error", ["halt", "pause", "slow"])
def test_a_warning_that_raises_is_at_most_slow(on_error: OnError) -> None:
    error = OSError("refused")

    result = failed(check("warning", on_error), error, 0.0)

    assert result.answer == Slow(error)
    assert result.reason == Reason("db", Slow(error), None, error)


@pytest.mark.parametrize(
    "given", [Slow("bad"), Pause("bad"), Halt("bad"), False, 0], ids=repr
)
def test_info_is_reported_and_never_counts(given: object) -> None:
    result = judged(check("info"), given, 0.0)

    assert result.answer is OK
    assert result.reason is not None
    assert result.reason.answer is not OK


def test_info_that_raises_is_reported_and_never_counts() -> None:
    error = OSError("refused")

    result = failed(check("info"), error, 0.0)

    assert result.answer is OK
    assert result.reason == Reason("db", Halt(error), None, error)


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        (Reason("db", Halt("down"), "down"), "db: down"),
        (Reason("db", Halt("db_down"), "db_down"), "db_down"),
        (Reason("db", Halt(None)), "db: None"),
        (Reason(None, Halt("enough"), "enough"), "enough"),
        (Reason("lag", Slow("x"), Measure("lag", 3, 2, unit="s")), "lag 3s > 2s"),
        (
            Reason("db", Halt("x"), None, OSError("refused")),
            "db raised OSError: refused",
        ),
        (Reason("db", Halt("x"), None, TimeoutError()), "db raised TimeoutError"),
        (
            Reason("db", Halt("x"), None, HealthCheckTimeout("db", 5.0)),
            "health check 'db' gave no answer in 5 s",
        ),
        (
            Reason("db", Halt("x"), 0, InvalidHealthResult("db", 0)),
            "health check 'db' returned 0 (int); return OK, Slow(reason), "
            "Pause(reason) or Halt(reason)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_reason_is_a_sentence(reason: Reason, sentence: str) -> None:
    assert str(reason) == sentence


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (database, "database"),
        (partial(partial(database)), "database"),
        (Probe(), "Probe"),
        (Probe().look, "look"),
        (lambda: OK, "<lambda>"),
    ],
    ids=["function", "partial", "object", "bound method", "lambda"],
)
def test_a_check_is_named_by_its_callable(fn: Any, name: str) -> None:
    assert HealthCheck(fn).name == name
    assert as_health_check(fn).name == name


def test_a_check_may_bring_its_own_name() -> None:
    probe = Probe()
    setattr(probe, "name", "replica lag")  # noqa: B010

    assert HealthCheck(probe).name == "replica lag"
    assert HealthCheck(probe, name="other").name == "other"
    assert repr(HealthCheck(database, name="db")) == "HealthCheck(db)"


def test_a_plain_callable_becomes_a_critical_check_of_weight_one() -> None:
    plain = as_health_check(database)

    assert (plain.fn, plain.weight) == (database, 1.0)
    assert (plain.severity, plain.on_error) == ("critical", "halt")


def test_a_health_check_in_a_list_stays_itself() -> None:
    own = HealthCheck(database)

    assert as_health_check(own) is own


def test_a_check_over_another_function_keeps_all_else() -> None:
    before = HealthCheck(
        database, name="db", weight=3, severity="warning", on_error="pause"
    )
    probe = Probe()

    after = before.bound(probe)

    assert after.fn is probe
    assert (after.name, after.weight) == ("db", 3.0)
    assert (after.severity, after.on_error) == ("warning", "pause")


def test_everything_wrong_with_a_health_check_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        HealthCheck(
            cast("Any", "database"),
            name=" ",
            weight=-1,
            severity=cast("Any", "fatal"),
            on_error=cast("Any", "ignore"),
        )

    assert str(refused.value) == (
        "HealthCheck cannot be used:\n"
        "  - 'database' is not a callable\n"
        "  - severity must be 'critical' or 'warning' or 'info', not 'fatal'\n"
        "  - on_error must be 'halt' or 'pause' or 'slow', not 'ignore'\n"
        "  - name must be a non-empty str, not ' '\n"
        "  - weight must be a number of 0 or more, not -1"
    )


@pytest.mark.parametrize(
    "weight", [True, float("nan"), float("inf"), "1", None, 10**400]
)
def test_a_weight_is_a_finite_number(weight: object) -> None:
    with pytest.raises(ConfigurationError) as refused:
        HealthCheck(database, weight=cast("float", weight))

    assert refused.value.problems == (
        f"weight must be a number of 0 or more, not {weight!r}",
    )


def test_a_weight_may_be_zero() -> None:
    assert HealthCheck(database, weight=0).weight == 0.0


@pytest.mark.parametrize("make", [HealthCheck, as_health_check])
def test_a_class_is_no_check_but_its_instance_is(make: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        make(Probe)

    assert refused.value.problems == ("Probe is a class; make an instance: Probe(...)",)


def test_a_health_check_over_a_health_check_is_refused() -> None:
    with pytest.raises(ConfigurationError) as refused:
        HealthCheck(cast("Any", HealthCheck(database)))

    assert refused.value.problems == ("HealthCheck(database) is not a callable",)


def test_contexts_are_compared_without_what_checks_remember() -> None:
    one, other = HealthContext("users"), HealthContext("users")
    one.memory["baseline"] = 7

    assert one == other
    assert other.memory == {}
