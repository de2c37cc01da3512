"""The laws of the judgements, without a server: worse is never judged better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
    reading,
    replication,
    sessions,
    statements,
    wal,
)
from adaptive_backfill.postgres.signals.kinds import gauge, rate

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
TUESDAY = datetime(2026, 1, 6, tzinfo=UTC)
MIB = 2**20

amounts = st.floats(0, 1e12)
positive = st.floats(1e-3, 1e9)
counts = st.integers(0, 10**9)

Rows = Sequence[Mapping[str, Any]]


def judged(judge: Judge, *looks: Rows) -> Finding:
    finding = Finding()
    for rows in looks:
        finding = judge(rows, finding.memory)
    return finding


def never_better(findings: Sequence[Finding]) -> bool:
    broken = [finding.broken for finding in findings]
    return broken == sorted(broken)


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

    assert (fell.broken, another.broken) == (False, False)


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


def test_a_wait_whose_beginning_is_hidden_is_not_known_to_be_short() -> None:
    hidden = [{"seconds": None, "known": False}]
    begun_now = [{"seconds": None, "known": True}]

    assert judged(locks._longest(1.0), hidden).broken
    assert judged(locks._many(0, 1.0), hidden).broken
    assert not judged(locks._longest(1.0), begun_now).broken
    assert not judged(locks._many(0, 1.0), begun_now).broken


# Replicas


def sender(
    behind: int, lag: float | None, *, at: float = 0.0, replayed: int = 100
) -> dict[str, object]:
    return {
        "pid": 1,
        "name": "db2",
        "hidden": False,
        "role": "app",
        "at": at,
        "replayed": replayed,
        "behind": behind,
        "lag": lag,
    }


@given(
    limits=st.tuples(positive, st.integers(1, 10**12)),
    behind=st.tuples(st.integers(1, 10**12), st.integers(1, 10**12)),
    lag=st.tuples(amounts, amounts),
)
def test_a_replica_further_behind_is_never_better(
    limits: tuple[float, int], behind: tuple[int, int], lag: tuple[float, float]
) -> None:
    judge = replication._furthest_behind(*limits)
    pairs = zip(sorted(behind), sorted(lag), strict=True)

    assert never_better([judged(judge, [sender(*pair)]) for pair in pairs])


def test_the_furthest_of_several_replicas_is_told_by_its_name() -> None:
    rows = [sender(1, 2.0), sender(1, 9.0) | {"pid": 2, "name": "db3"}]

    finding = judged(replication._furthest_behind(5.0, 10**9), rows)

    assert finding.over == "replay_lag 9 s > 5 s (db3)"


def test_a_replica_that_does_not_move_is_behind_since_it_stopped() -> None:
    judge = replication._furthest_behind(5.0, 10**9)
    looks = [[sender(10, 0.01, at=at)] for at in (0.0, 3.0, 6.0)]
    moved = [sender(10, 0.01, at=6.0, replayed=110)]

    assert not judged(judge, *looks[:2]).broken
    assert judged(judge, *looks).over == "replay_lag 6 s > 5 s (db2)"
    assert not judged(judge, *looks[:2], moved).broken


def test_a_replica_that_is_level_has_no_lag_whatever_it_last_told() -> None:
    finding = judged(replication._furthest_behind(5.0, 10**9), [sender(0, 60.0)])

    assert (finding.broken, finding.share) == (False, 0)


def test_no_replicas_are_not_behind() -> None:
    finding = judged(replication._furthest_behind(5.0, 10**9), [])

    assert finding.measure == "replay_lag 0 s <= 5 s"


def standby(
    behind: int, age: float | None, *, at: float = 0.0, receives: bool = True
) -> Rows:
    return [
        {
            "is_standby": True,
            "receives": receives,
            "at": at,
            "behind": behind,
            "age": age,
        }
    ]


@given(behind=st.integers(1, 10**6), ages=st.tuples(amounts, amounts))
def test_a_standby_that_is_later_is_never_better(
    behind: int, ages: tuple[float, float]
) -> None:
    judge = replication._apply_lag(5.0, 10**9)

    assert never_better([judged(judge, standby(behind, age)) for age in sorted(ages)])


def test_a_standby_that_receives_nothing_is_as_late_as_its_last_transaction() -> None:
    judge = replication._apply_lag(5.0, 10**9)

    level = judged(judge, standby(0, 60.0))
    cut_off = judged(judge, standby(0, 60.0, receives=False))
    since_then = judged(
        judge, standby(0, 60.0, at=100.0), standby(0, 67.0, at=107.0, receives=False)
    )
    never = judged(judge, standby(0, None, receives=False))

    assert not level.broken
    assert cut_off.over == "standby_lag 60 s > 5 s"
    assert since_then.over == "standby_lag 7 s > 5 s"
    assert str(never.unseen) == ("the standby receives no WAL; see to its replication")


# Reading


def blocks(read: int, hit: int, ms: float = 0.0, since: datetime = MONDAY) -> Rows:
    row = {"read": read, "hit": hit, "seconds": ms / 1000, "since": since}
    return [row | {"counted": True}]


def hits(limit: float = 0.9) -> Judge:
    return reading._by_blocks(10_000, reading._hit_ratio(limit))


@given(
    usual=st.integers(0, 10**6),
    reads=st.tuples(st.integers(0, 20_000), st.integers(0, 20_000)),
    limit=st.floats(0, 1),
)
def test_more_reads_among_the_same_accesses_are_never_better(
    usual: int, reads: tuple[int, int], limit: float
) -> None:
    before = (10**6 - usual, usual)

    findings = [
        judged(
            hits(limit),
            blocks(*before),
            blocks(before[0] + read, before[1] + 20_000 - read),
        )
        for read in sorted(reads)
    ]

    assert never_better(findings)


def test_fewer_hits_than_usual_are_told_with_what_is_usual() -> None:
    finding = judged(hits(), blocks(10**6, 99 * 10**6), blocks(1_004_000, 99_016_000))

    assert finding.over == "cache_hits 0.8 < 0.9 (usual is 0.99)"


def test_a_database_with_few_hits_by_nature_is_healthy() -> None:
    finding = judged(hits(), blocks(500_000, 500_000), blocks(505_000, 505_500))

    assert finding.measure is not None
    assert not finding.broken


def test_too_few_accesses_add_up_until_they_are_enough() -> None:
    looks = [blocks(10**6 + 2_000 * n, 99 * 10**6) for n in range(6)]

    findings = [judged(hits(), *looks[: n + 1]) for n in range(6)]

    assert [finding.broken for finding in findings] == 5 * [False] + [True]


def test_a_reset_of_the_blocks_is_a_new_baseline() -> None:
    finding = judged(hits(), blocks(10**6, 10**8), blocks(10**7, 10**9, since=TUESDAY))

    assert finding.measure is None


def test_slow_reads_are_told_by_their_mean_in_milliseconds() -> None:
    judge = reading._by_blocks(200, reading._mean_read(0.010))

    few = judged(judge, blocks(0, 0), blocks(199, 0, ms=10_000))
    slow = judged(judge, blocks(0, 0), blocks(200, 0, ms=3_000))
    quick = judged(judge, blocks(0, 0), blocks(200, 0, ms=1_000))

    assert few.measure is None
    assert slow.over == "read_latency 15 ms > 10 ms (200 blocks read)"
    assert not quick.broken


# Statements


def statement(
    query: int | None, calls: int, seconds: float, at: float = 0.0
) -> dict[str, object]:
    return {
        "queryid": query,
        "calls": calls,
        "seconds": seconds,
        "at": at,
        "role": "app",
    }


@given(
    limit=positive,
    calls=st.integers(20, 10**6),
    seconds=st.tuples(positive, positive),
)
def test_statements_that_take_longer_are_never_better(
    limit: float, calls: int, seconds: tuple[float, float]
) -> None:
    judge = statements._index(limit)

    findings = [
        judged(
            judge, [statement(1, 100, 1.0)], [statement(1, 100 + calls, 1.0 + taken)]
        )
        for taken in sorted(seconds)
    ]

    assert never_better(findings)


def test_another_mix_of_the_same_statements_is_no_latency() -> None:
    before = [statement(1, 1000, 1.0), statement(2, 20, 20.0)]
    after = [statement(1, 1020, 1.02), statement(2, 1020, 1020.0)]

    finding = judged(statements._index(1.5), before, after)

    assert finding.share == pytest.approx(1 / 1.5)


def test_statements_with_few_calls_or_none_before_do_not_count() -> None:
    before = [statement(1, 19, 0.1), statement(2, 100, 1.0)]
    after = [statement(1, 100, 90.0), statement(2, 119, 90.0), statement(3, 99, 9e9)]

    assert judged(statements._index(1.5), before, after).measure is None


def test_calls_add_up_until_they_are_enough_but_not_for_ever() -> None:
    judge = statements._index(1.5)
    looks = [[statement(1, 100 + 7 * n, 1.0 + n, at=5.0 * n)] for n in range(4)]
    rare = [[statement(1, 100 + n, 1.0 + n, at=200.0 * n)] for n in range(100)]

    findings = [judged(judge, *looks[: n + 1]) for n in range(4)]

    assert [finding.broken for finding in findings] == [False, False, False, True]
    assert judged(judge, *rare).measure is None


def test_statements_that_were_reset_begin_anew() -> None:
    judge = statements._index(1.5)
    before, reset = [statement(1, 100, 1.0)], [statement(1, 30, 0.3)]

    at_reset = judged(judge, before, reset)

    assert at_reset.measure is None
