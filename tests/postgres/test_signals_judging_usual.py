"""What is judged by what is usual, without a server."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_backfill.postgres._signal import Judge
from adaptive_backfill.postgres.signals import reading, statements
from tests.postgres.judging import Rows, judged, never_better

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
TUESDAY = datetime(2026, 1, 6, tzinfo=UTC)

positive = st.floats(1e-3, 1e9)


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
    for length in range(1, 100):
        assert judged(judge, *rare[:length]).measure is None


def test_statements_that_were_reset_begin_anew() -> None:
    judge = statements._index(1.5)
    before, reset = [statement(1, 100, 1.0)], [statement(1, 30, 0.3)]

    busy_reset = [statement(1, 130, 0.3)]

    assert judged(judge, before, reset).measure is None
    assert judged(judge, before, busy_reset).measure is None


def test_what_is_usual_stays_what_it_was_before_the_run() -> None:
    judge = statements._index(1.5)
    looks = [[statement(1, 100 + 50 * n, 1.0 + 2.0 * n)] for n in range(5)]

    findings = [judged(judge, *looks[: n + 1]) for n in range(5)]

    assert [finding.broken for finding in findings] == [False] + 4 * [True]
    assert findings[-1].over == "statement_latency 4 > 1.5 (1 statements)"
