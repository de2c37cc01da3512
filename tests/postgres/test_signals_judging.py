"""The laws of the judgements, without a server: worse is never judged better."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_backfill.postgres._finding import (
    MEBIBYTES_A_SECOND,
    MILLISECONDS,
    NUMBER,
    RATIO,
    SECONDS,
    Finding,
    measured,
    worse,
)
from adaptive_backfill.postgres._signal import Judge
from adaptive_backfill.postgres.signals import (
    locks,
    sessions,
    wal,
)
from adaptive_backfill.postgres.signals.kinds import gauge, rate
from tests.postgres.judging import Rows, judged, never_better

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
TUESDAY = datetime(2026, 1, 6, tzinfo=UTC)
MIB = 2**20

amounts = st.floats(0, 1e12)
positive = st.floats(1e-3, 1e9)
counts = st.integers(0, 10**9)

# Units and sentences


@given(limit=amounts, seen=st.tuples(amounts, amounts))
def test_more_is_never_better_than_less(
    limit: float, seen: tuple[float, float]
) -> None:
    findings = [judged(gauge("x", limit), [{"observed": one}]) for one in sorted(seen)]

    assert never_better(findings)
    assert [finding.broken for finding in findings] == [
        one > limit for one in sorted(seen)
    ]


@given(limit=st.floats(0, 1), seen=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_of_what_should_be_much_less_is_never_better(
    limit: float, seen: tuple[float, float]
) -> None:
    falling = sorted(seen, reverse=True)

    findings = [
        judged(gauge("x", limit, RATIO, sign="<"), [{"observed": one}])
        for one in falling
    ]

    assert never_better(findings)


def test_a_measure_that_is_healthy_keeps_its_numbers_and_says_so() -> None:
    finding = measured("replay_lag", 0.5, 5, SECONDS)

    assert finding.over is None
    assert finding.measure == "replay_lag 0.5 s <= 5 s"
    assert (finding.measure.observed, finding.measure.limit) == (0.5, 5)
    assert finding.share == 0.1


def test_nothing_seen_is_no_measure() -> None:
    assert judged(gauge("x", 0), [{"observed": None}]) == Finding()


def test_of_two_findings_the_broken_one_is_worse_and_else_the_nearer() -> None:
    far, near = measured("a", 1, 10), measured("b", 9, 10)
    broken = measured("c", 1, 0)

    assert worse(far, near) is worse(near, far) is near
    assert worse(near, broken) is worse(broken, near) is broken
    assert worse(Finding(), far) is far


@pytest.mark.parametrize("unit", [SECONDS, MILLISECONDS])
def test_a_time_may_be_given_as_a_timedelta(unit: Any) -> None:
    assert unit.number(timedelta(minutes=2)) == 120
    assert unit.problems(timedelta(minutes=2)) == []


def test_what_is_no_time_may_not_be_given_as_a_timedelta() -> None:
    assert math.isnan(NUMBER.number(timedelta(minutes=2)))
    assert NUMBER.problems(timedelta(minutes=2)) == [
        "limit must be a number of 0 or more, not datetime.timedelta(seconds=120)"
    ]


# Rates


def count(value: float, at: float, since: datetime = MONDAY) -> Rows:
    return [{"value": value, "at": at, "since": since, "counted": True}]


def wal_rate(limit: float) -> Judge:
    return rate("wal_rate", limit, MEBIBYTES_A_SECOND)


@given(
    limit=amounts,
    before=counts,
    grown=st.tuples(counts, counts),
    window=st.floats(2, 600),
)
def test_a_faster_rate_is_never_better(
    limit: float, before: int, grown: tuple[int, int], window: float
) -> None:
    findings = [
        judged(wal_rate(limit), count(before, 0.0), count(before + more, window))
        for more in sorted(grown)
    ]

    assert never_better(findings)


def test_a_rate_is_a_second() -> None:
    finding = judged(wal_rate(3 * MIB), count(0, 0.0), count(40 * MIB, 10.0))

    assert finding.over == "wal_rate 4 MiB/s > 3 MiB/s"


def test_looks_in_quick_succession_repeat_what_the_last_window_said() -> None:
    looks = [count(40 * MIB * look, look / 10) for look in range(22)]

    findings = [judged(wal_rate(1), *looks[:length]) for length in range(1, 23)]

    assert [finding.broken for finding in findings] == 20 * [False] + 2 * [True]


@pytest.mark.parametrize(
    "after", [count(10, 9.0), count(9 * MIB, 9.0, TUESDAY)], ids=["fell", "since"]
)
def test_a_reset_is_a_new_baseline_of_a_rate(after: Rows) -> None:
    again = [dict(after[0], value=10**9, at=19.0)]

    at_reset = judged(wal_rate(1), count(MIB, 0.0), after)
    later = judged(wal_rate(1), count(MIB, 0.0), after, again)

    assert at_reset.measure is None
    assert later.broken


# Checkpoints


def requested(*values: tuple[float, int]) -> list[Rows]:
    return [count(value, at) for at, value in values]


def test_a_requested_checkpoint_counts_for_a_minute() -> None:
    judge = wal._lately(0)
    looks = requested((0, 5), (5, 6), (30, 6), (60, 6), (64, 6), (66, 6), (70, 6))

    broken = [judged(judge, *looks[: n + 1]).broken for n in range(len(looks))]

    assert broken == [False, True, True, True, False, False, False]


def test_a_reset_of_the_checkpoints_is_a_new_baseline() -> None:
    judge = wal._lately(0)

    fell = judged(judge, count(50, 0.0), count(3, 5.0))
    another = judged(judge, count(5, 0.0), count(50, 5.0, TUESDAY))

    grown = judged(judge, count(50, 0.0), count(3, 5.0), count(4, 10.0))
    assert (fell.broken, another.broken, grown.broken) == (False, False, True)


# Sessions


def session_row(active: int, *, sees: bool = True) -> Rows:
    return [
        {
            "active": active,
            "role": "app",
            "sees_others": sees,
            "hidden": 0,
            "untracked": 0,
        }
    ]


@given(
    limit=st.integers(0, 1000),
    usual=st.integers(0, 1000),
    now=st.tuples(st.integers(0, 5000), st.integers(0, 5000)),
)
def test_more_sessions_are_never_better_and_the_usual_is_frozen(
    limit: int, usual: int, now: tuple[int, int]
) -> None:
    judge = sessions._crowd("active_sessions", "active", limit, above_usual=1.2)
    first = judge(session_row(usual), None)

    findings = [judge(session_row(one), first.memory) for one in sorted(now)]

    assert never_better(findings)
    assert {finding.memory for finding in findings} == {usual}
    assert findings[1].broken == (max(now) > max(limit, 1.2 * usual))


# Locks


@given(waits=st.lists(amounts), more=amounts, limit=st.integers(0, 5))
def test_one_more_waiter_is_never_better(
    waits: list[float], more: float, limit: int
) -> None:
    judge = locks._many(limit, 1.0)
    rows = [{"seconds": wait, "known": True} for wait in [*waits, more]]

    assert never_better([judged(judge, rows[:-1]), judged(judge, rows)])


def test_a_wait_counts_from_its_limit_on() -> None:
    rows = [{"seconds": wait, "known": True} for wait in (0.999, 1.0, 1.001)]

    finding = judged(locks._many(1, 1.0), rows)

    assert finding.over == "lock_waits 2 > 1 (for 1 s or more)"


def test_a_wait_whose_beginning_is_hidden_is_not_known_to_be_short() -> None:
    hidden = [{"seconds": None, "known": False}]
    begun_now = [{"seconds": None, "known": True}]

    assert judged(locks._longest(1.0), hidden).broken
    assert judged(locks._many(0, 1.0), hidden).broken
    assert not judged(locks._longest(1.0), begun_now).broken
    assert not judged(locks._many(0, 1.0), begun_now).broken
