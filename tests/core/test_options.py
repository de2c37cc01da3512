"""What each option takes, what it makes of it, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

import pytest

from adaptive_backfill import (
    Adaptive,
    Checkpoint,
    HealthCheck,
    MemoryStore,
    Retry,
    quorum,
    worst_of,
)
from adaptive_backfill._core.options import (
    OPTIONS,
    Refused,
    changed,
    near,
    parsed,
    retuned,
    tuned,
)
from adaptive_backfill._core.rules import is_count, is_error_types, is_name, is_number
from adaptive_backfill.errors import ConfigurationError
from tests.core.making import options

NAN, INF = float("nan"), float("inf")
NO_SECONDS = [
    True, False, NAN, INF, -INF, -1, -0.001, "5", b"5", [5], 10**400, 1j,
    Decimal(5), Fraction(5), timedelta(seconds=-1), object(),
]  # fmt: skip
NO_COUNTS = [True, False, 0, -1, 1.0, "10", NAN, timedelta(seconds=1), [1]]

FROM_ZERO = ("delay_between_batches", "max_pause")
ABOVE_ZERO = ("timeout", "health_interval", "health_timeout")


class Mode(StrEnum):
    SYNC = "sync"


def check() -> None:
    return None


def count_rows() -> int:
    return 7


def refusal(name: str, value: object) -> str:
    with pytest.raises(Refused) as refused:
        parsed(name, value)
    return str(refused.value)


@pytest.mark.parametrize("name", [*FROM_ZERO, *ABOVE_ZERO])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (5, 5.0),
        (0.25, 0.25),
        (timedelta(minutes=2), 120.0),
        (timedelta(milliseconds=1), 0.001),
    ],
)
def test_times_are_seconds_or_a_timedelta_and_become_floats(
    name: str, value: object, seconds: float
) -> None:
    made = parsed(name, value)

    assert made == seconds
    assert type(made) is float


@pytest.mark.parametrize("value", NO_SECONDS, ids=repr)
def test_what_is_no_time_is_refused(value: object) -> None:
    for name in FROM_ZERO:
        assert refusal(name, value) == (
            f"{name} must be seconds of 0 or more, or a timedelta, not {value!r}"
        )
    for name in ABOVE_ZERO:
        assert refusal(name, value) == (
            f"{name} must be seconds above 0, or a timedelta, not {value!r}"
        )


@pytest.mark.parametrize("value", [0, 0.0, timedelta(0)], ids=repr)
def test_zero_seconds_will_do_for_waits_but_not_for_limits(value: object) -> None:
    assert [parsed(name, value) for name in FROM_ZERO] == [0.0, 0.0]
    for name in ABOVE_ZERO:
        assert refusal(name, value) == (
            f"{name} must be seconds above 0, or a timedelta, not {value!r}"
        )


@pytest.mark.parametrize("name", ["batch_size", "max_batches"])
def test_counts_are_ints_of_at_least_one(name: str) -> None:
    assert parsed(name, 1) == 1
    assert parsed(name, 10**9) == 10**9
    for value in NO_COUNTS:
        assert refusal(name, value) == (
            f"{name} must be an int of at least 1, not {value!r}"
        )


def test_a_total_is_an_int_from_zero_or_something_to_call() -> None:
    assert parsed("total", 0) == 0
    assert parsed("total", count_rows) is count_rows
    values: list[object] = [True, -1, 1.5, "7", NAN]
    for value in values:
        assert refusal("total", value) == (
            "total must be an int of 0 or more, or a method that returns one, "
            f"not {value!r}"
        )


@pytest.mark.parametrize(
    ("name", "words", "rule"),
    [
        ("mode", ("sync", "async"), "'sync' or 'async'"),
        ("if_running", ("raise", "skip", "wait"), "'raise' or 'skip' or 'wait'"),
    ],
)
def test_words_are_exact(name: str, words: tuple[str, ...], rule: str) -> None:
    assert tuple(parsed(name, word) for word in words) == words
    for value in ("SYNC", "", None, True, 0, b"sync", ["sync"]):
        assert refusal(name, value) == f"{name} must be {rule}, not {value!r}"


def test_a_word_may_come_from_an_enum_of_the_users() -> None:
    assert parsed("mode", Mode.SYNC) == "sync"


def test_flags_are_booleans_and_nothing_like_them() -> None:
    assert parsed("once", True) is True
    assert parsed("once", False) is False
    values: list[object] = [0, 1, "yes", []]
    for value in values:
        assert refusal("once", value) == f"once must be True or False, not {value!r}"


@pytest.mark.parametrize(
    ("value", "prefix"),
    [
        ("backfill", "backfill"),
        ("my_app.backfill.users", "my_app.backfill.users"),
        (("my_app", "backfill"), "my_app.backfill"),
        (["my_app", "a.b"], "my_app.a.b"),
    ],
)
def test_a_prefix_is_dotted_or_a_sequence_of_its_parts(
    value: object, prefix: str
) -> None:
    assert parsed("telemetry_prefix", value) == prefix


@pytest.mark.parametrize(
    "value", ["", ".", "a..b", ".a", "a.", " ", (), [], ("a", ""), ("a", 1), 7, b"ab"]
)
def test_a_prefix_with_nothing_between_its_dots_is_refused(value: object) -> None:
    assert refusal("telemetry_prefix", value) == (
        "telemetry_prefix must be a dotted str or a non-empty sequence of non-empty "
        f"str, not {value!r}"
    )


@pytest.mark.parametrize("value", ["", " ", None, 7, b"users"])
def test_a_name_is_a_str_with_something_in_it(value: object) -> None:
    assert refusal("name", value) == f"name must be a non-empty str, not {value!r}"


def test_health_checks_become_health_checks_in_their_order() -> None:
    own = HealthCheck(check, name="own")

    made = parsed("health_checks", [check, own])

    assert isinstance(made, tuple)
    assert made[1] is own
    assert (made[0].name, made[0].fn) == ("check", check)


@pytest.mark.parametrize("value", [5, "check", b"", {"a": check}, {check}, iter(())])
def test_what_is_no_sequence_of_checks_is_refused(value: object) -> None:
    assert refusal("health_checks", value) == (
        f"health_checks must be a sequence of callables or HealthChecks, not {value!r}"
    )


def test_a_bare_function_as_health_checks_is_told_to_go_into_a_list() -> None:
    assert refusal("health_checks", check) == (
        "health_checks must be a sequence of callables or HealthChecks; put it in a "
        f"list, not {check!r}"
    )


def test_every_check_that_is_none_is_named() -> None:
    given = [check, 5, HealthCheck]

    assert refusal("health_checks", given) == (
        "health_checks must be a sequence of callables or HealthChecks (5 is not a "
        "callable; HealthCheck is a class; make an instance: HealthCheck(...)), "
        f"not {given!r}"
    )


def test_an_evaluation_is_a_callable_but_no_class() -> None:
    most = quorum(0.5)

    assert parsed("evaluate", most) is most
    values: list[object] = ["worst_of", 0.5, HealthCheck]
    for value in values:
        assert refusal("evaluate", value) == (
            "evaluate must be worst_of, quorum(share), weighted(limit), or a callable "
            f"of the results, not {value!r}"
        )


def test_a_retry_and_a_checkpoint_are_made_by_their_classes() -> None:
    retry, checkpoint = Retry(), Checkpoint(MemoryStore())

    assert parsed("retry", retry) is retry
    assert parsed("checkpoint", checkpoint) is checkpoint
    assert refusal("retry", 3) == "retry must be a Retry(...), or None, not 3"
    assert refusal("checkpoint", "users") == (
        "checkpoint must be a Checkpoint(store, name), or None, not 'users'"
    )


def test_any_value_is_an_initial_state() -> None:
    values: list[object] = [None, 0, "", [], check, Retry]
    for value in values:
        assert parsed("initial_state", value) is value


@pytest.mark.parametrize(
    ("name", "off"),
    [
        ("initial_state", None),
        ("health_checks", ()),
        ("evaluate", worst_of),
        ("batch_size", None),
        ("pace", None),
        ("duty", 1.0),
        ("max_rows_per_second", None),
        ("max_wal_per_second", None),
        ("windows", None),
        ("canary", None),
        ("timeout", None),
        ("delay_between_batches", 0.0),
        ("max_pause", None),
        ("retry", Retry(attempts=1)),
        ("total", None),
        ("max_batches", None),
        ("telemetry_prefix", "backfill"),
        ("checkpoint", None),
        ("once", False),
    ],
)
def test_none_switches_an_option_off(name: str, off: object) -> None:
    assert parsed(name, None) == off


@pytest.mark.parametrize(
    "name", ["name", "mode", "health_interval", "health_timeout", "if_running"]
)
def test_none_is_refused_where_there_is_nothing_to_switch_off(name: str) -> None:
    assert refusal(name, None).endswith(", not None")


def test_every_option_has_a_default_that_its_own_rule_accepts() -> None:
    for name, option in OPTIONS.items():
        if name != "name":
            assert parsed(name, option.default) == option.default


def test_the_defaults_are_those_of_the_contract() -> None:
    told = {name: option.default for name, option in OPTIONS.items()}

    assert told == {
        "name": None,
        "initial_state": None,
        "mode": "async",
        "health_checks": (),
        "health_interval": 5.0,
        "health_timeout": 5.0,
        "evaluate": worst_of,
        "batch_size": None,
        "pace": None,
        "duty": 1.0,
        "max_rows_per_second": None,
        "max_wal_per_second": None,
        "windows": None,
        "canary": None,
        "timeout": None,
        "delay_between_batches": 0.0,
        "max_pause": 3600.0,
        "retry": Retry(attempts=1),
        "total": None,
        "max_batches": None,
        "telemetry_prefix": "backfill",
        "checkpoint": None,
        "once": False,
        "if_running": "raise",
    }


def test_batch_only_options_are_those_of_the_contract() -> None:
    assert {name for name, option in OPTIONS.items() if option.batch_only} == {
        "initial_state",
        "batch_size",
        "pace",
        "duty",
        "max_rows_per_second",
        "max_wal_per_second",
        "windows",
        "canary",
        "delay_between_batches",
        "max_batches",
        "total",
    }


@pytest.mark.parametrize(
    ("checkpoint", "key"),
    [
        (None, "users"),
        (Checkpoint(MemoryStore()), "users"),
        (Checkpoint(MemoryStore(), "users_v2"), "users_v2"),
    ],
)
def test_a_store_knows_a_run_by_its_checkpoints_name_or_its_own(
    checkpoint: Checkpoint | None, key: str
) -> None:
    assert options(checkpoint=checkpoint).key == key


def test_options_are_changed_by_making_new_ones() -> None:
    before = options(batch_size=10)

    after = changed(before, {"batch_size": 20})

    assert (before.batch_size, after.batch_size) == (10, 20)
    assert after.name == before.name


def test_a_running_run_may_be_told_its_size_and_its_delay() -> None:
    assert tuned({"batch_size": 5, "delay_between_batches": timedelta(seconds=2)}) == {
        "batch_size": 5,
        "delay_between_batches": 2.0,
    }
    assert tuned({}) == {}


def test_a_running_run_may_be_told_its_pace_by_every_knob() -> None:
    assert tuned(
        {
            "duty": 1,
            "max_rows_per_second": 500,
            "max_wal_per_second": None,
            "windows": "Mon-Fri 22:00-06:00 Europe/Berlin",
            "workers": 2,
        }
    ) == {
        "duty": 1.0,
        "max_rows_per_second": 500.0,
        "max_wal_per_second": None,
        "windows": ("Mon-Fri 22:00-06:00 Europe/Berlin",),
        "workers": 2,
    }


def test_a_run_without_workers_cannot_be_told_their_number() -> None:
    with pytest.raises(ConfigurationError) as refused:
        tuned({"workers": 2}, frozenset({"duty", "batch_size"}))

    assert str(refused.value) == (
        "set cannot be used:\n"
        "  - 'workers' cannot be set on a running run; batch_size, duty can"
    )


def test_what_is_no_option_of_every_run_is_left_out_of_what_is_retuned() -> None:
    before = options(batch_size=10)

    after = retuned(before, {"batch_size": 20, "workers": 3})

    assert after == options(batch_size=20)


@pytest.mark.parametrize("value", [0, 1.01, -0.5, True, NAN, "half", timedelta(0)])
def test_a_duty_is_a_share_of_the_time(value: object) -> None:
    assert refusal("duty", value) == (
        f"duty must be a share of the time, above 0 and at most 1, not {value!r}"
    )


@pytest.mark.parametrize(
    ("name", "unit"), [("max_rows_per_second", "rows"), ("max_wal_per_second", "bytes")]
)
@pytest.mark.parametrize("value", [0, -1, True, NAN, INF, "500", 10**400])
def test_a_cap_is_above_zero(name: str, unit: str, value: object) -> None:
    assert parsed(name, 500) == 500.0
    assert refusal(name, value) == (
        f"{name} must be {unit} a second, above 0, or None, not {value!r}"
    )


def test_windows_are_one_or_several() -> None:
    night = "22:00-06:00 Europe/Berlin"

    assert parsed("windows", night) == (night,)
    assert parsed("windows", [night, "12:00-13:00"]) == (night, "12:00-13:00")
    assert parsed("windows", parsed("windows", night)) == (night,)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (
            "at night",
            " ('at night' is not hours, such as 22:00-06:00, and a time zone)",
        ),
        (["22:00-06:00", "24:01-1:00"], " (24:01 is no time of a day)"),
        ([5], " (a non-empty str)"),
        ([], ""),
        (5, ""),
        (b"22:00-06:00", ""),
    ],
)
def test_windows_are_refused_with_an_example(value: object, problem: str) -> None:
    assert refusal("windows", value) == (
        'windows must be "22:00-06:00 Europe/Berlin", "Mon-Fri 22:00-06:00 '
        f'Europe/Berlin", a sequence of such, or None{problem}, not {value!r}'
    )


def test_a_pace_is_an_instance() -> None:
    assert parsed("pace", Adaptive(target=1)) == Adaptive(target=1.0)
    assert refusal("pace", Adaptive) == (
        f"pace must be an Adaptive(...), or None, not {Adaptive!r}"
    )
    assert refusal("pace", "fast") == (
        "pace must be an Adaptive(...), or None, not 'fast'"
    )


def test_everything_wrong_with_a_change_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        tuned({"batch_size": 0, "timeout": 5, "nonsense": 1})

    assert str(refused.value) == (
        "set cannot be used:\n"
        "  - batch_size must be an int of at least 1, not 0\n"
        "  - 'timeout' cannot be set on a running run; "
        "batch_size, delay_between_batches, duty, max_rows_per_second, "
        "max_wal_per_second, windows, workers can\n"
        "  - 'nonsense' cannot be set on a running run; "
        "batch_size, delay_between_batches, duty, max_rows_per_second, "
        "max_wal_per_second, windows, workers can"
    )


def test_the_nearest_name_is_found_or_none() -> None:
    assert near("timout", OPTIONS) == "timeout"
    assert near("zzz", OPTIONS) is None
    assert near("modes", OPTIONS, cutoff=0.95) is None


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        (is_number, [0, 1, 0.5, 1e308], [-1, NAN, INF, True, "1", None, 10**400]),
        (is_count, [1, 10**400], [0, -1, True, 1.0, None]),
        (is_name, ["a", " a"], ["", " ", None, b"a"]),
        (
            is_error_types,
            [(), (ValueError,), (OSError, Exception)],
            [(BaseException,), [ValueError], ValueError, (1,), None],
        ),
    ],
    ids=["is_number", "is_count", "is_name", "is_error_types"],
)
def test_the_rules_that_options_share(
    rule: Callable[[object], bool], yes: list[object], no: list[object]
) -> None:
    assert [value for value in yes if not rule(value)] == []
    assert [value for value in no if rule(value)] == []


def test_zero_is_no_number_above_zero_and_may_be_a_count_from_zero() -> None:
    assert not is_number(0, above_zero=True)
    assert is_number(5e-324, above_zero=True)
    assert is_count(0, least=0)
    assert not is_count(False, least=0)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://me:s3cret@db/app",
        "postgresql://me:s3cret@s3cret@db/app",
        "host=db user=me password=s3cret dbname=app",
        "host=db password='s3cret with s3cret' dbname=app",
        "host=db password = s3cret",
        {"host": "db", "password": "s3cret"},
    ],
)
def test_what_is_refused_is_shown_without_its_password(dsn: object) -> None:
    with pytest.raises(Refused) as refused:
        parsed("total", dsn)

    assert "s3cret" not in str(refused.value)
    assert "***" in str(refused.value)
    assert "db" in str(refused.value)
