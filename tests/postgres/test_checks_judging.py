"""What the numbers of a server mean, without a server."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_backfill import HealthContext
from adaptive_backfill._core.answers import Measure
from adaptive_backfill.postgres import checks
from adaptive_backfill.postgres._finding import MEGABYTES, SECONDS, Finding, measured
from adaptive_backfill.postgres._signal import Judge, Look, load_of
from adaptive_backfill.postgres._terms import Action, Terms
from adaptive_backfill.postgres.signals.activity import unseen_sessions
from adaptive_backfill.postgres.signals.kinds import gauge, growth
from adaptive_backfill.postgres.signals.storage import table_cache_hits
from tests.postgres.judging import judged

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
TUESDAY = datetime(2026, 1, 6, tzinfo=UTC)

seconds = st.floats(0, 1e7)
ratios = st.floats(0, 1)
counts = st.integers(0, 10**12)


def longest_query(limit: float) -> Judge:
    return gauge("longest_query", limit, SECONDS, unseen=unseen_sessions)


def temp_bytes(limit: float) -> Judge:
    return growth("temp_files", limit, MEGABYTES, note="written")


def sessions(seconds: float | None = None, **changes: object) -> dict[str, object]:
    row: dict[str, object] = {
        "role": "app",
        "sees_others": True,
        "hidden": 0,
        "untracked": 0,
        "observed": seconds,
        "note": "pid 123, app web",
    }
    return row | changes


def spilled(
    count: int, since: datetime = MONDAY, *, counted: bool = True
) -> dict[str, object]:
    return {"value": count, "at": 0.0, "since": since, "counted": counted}


def blocks(
    read: int,
    hit: int,
    *,
    at: float = 0.0,
    since: datetime = MONDAY,
    relid: int = 1,
    counted: bool = True,
) -> dict[str, object]:
    return {
        "relid": relid,
        "name": f"public.t{relid}",
        "at": at,
        "read": read,
        "hit": hit,
        "since": since,
        "counted": counted,
    }


@given(limit=seconds, one=seconds, other=seconds)
def test_a_query_that_runs_longer_is_never_judged_better(
    limit: float, one: float, other: float
) -> None:
    shorter, longer = sorted((one, other))
    judge = longest_query(limit)

    over = [judged(judge, [sessions(age)]).over for age in (shorter, longer)]

    assert [one is not None for one in over] == [shorter > limit, longer > limit]


def test_the_longest_query_is_told_with_its_numbers_and_whose_it_is() -> None:
    finding = judged(longest_query(60.0), [sessions(73.0)])

    assert finding.over == "longest_query 73 s > 60 s (pid 123, app web)"
    assert isinstance(finding.over, Measure)
    assert (finding.over.observed, finding.over.limit) == (73.0, 60.0)


def test_a_server_without_queries_is_healthy() -> None:
    finding = judged(longest_query(0.0), [sessions(None, note="")])

    assert finding == Finding()


def test_what_a_role_may_not_see_is_told_with_the_grant_that_it_lacks() -> None:
    finding = judged(longest_query(60.0), [sessions(sees_others=False, hidden=3)])

    assert str(finding.unseen) == (
        "cannot see the queries of other roles (3 hidden now); "
        "grant pg_monitor to app, or say allow_blind=True"
    )


def test_sessions_that_are_not_tracked_are_not_taken_for_idle() -> None:
    finding = judged(longest_query(60.0), [sessions(untracked=2)])

    assert str(finding.unseen) == (
        "cannot see what 2 sessions do; set track_activities = on for them"
    )


def test_a_long_query_is_told_beside_what_is_not_seen() -> None:
    finding = judged(longest_query(60.0), [sessions(73.0, sees_others=False)])

    assert finding.over is not None
    assert finding.unseen is not None


@given(limit=counts, before=counts, one=counts, other=counts)
def test_more_temporary_bytes_are_never_judged_better(
    limit: int, before: int, one: int, other: int
) -> None:
    fewer, more = sorted((one, other))
    judge = temp_bytes(limit)

    over = [
        judged(judge, [spilled(before)], [spilled(before + written)]).over
        for written in (fewer, more)
    ]

    assert [one is not None for one in over] == [fewer > limit, more > limit]


@given(limit=counts, count=counts)
def test_the_first_look_at_temporary_bytes_is_healthy_whatever_was_written(
    limit: int, count: int
) -> None:
    assert judged(temp_bytes(limit), [spilled(count)]).over is None


def test_temporary_bytes_are_told_in_megabytes() -> None:
    finding = judged(temp_bytes(500_000_000), [spilled(0)], [spilled(612_000_000)])

    assert finding.over == (
        "temp_files 612 MB > 500 MB (written since the check before)"
    )


def test_temporary_bytes_that_were_judged_are_not_judged_again() -> None:
    looks = [[spilled(0)], [spilled(600)], [spilled(650)]]

    finding = judged(temp_bytes(500), *looks)

    assert finding.over is None


@pytest.mark.parametrize(
    "after", [spilled(10), spilled(5_000, TUESDAY)], ids=["fell", "another since"]
)
def test_a_reset_of_temporary_bytes_is_a_new_baseline(after: dict[str, object]) -> None:
    judge = temp_bytes(500)
    again = dict(after, value=10**6)

    at_reset = judged(judge, [spilled(1_000)], [after])
    later = judged(judge, [spilled(1_000)], [after], [again])

    assert at_reset.over is None
    assert later.over is not None


def test_a_server_that_does_not_count_is_not_taken_for_idle() -> None:
    unseen = [
        str(judged(temp_bytes(500), [spilled(0, counted=False)]).unseen),
        str(judged(table_cache_hits(0.5, 1), [blocks(0, 0, counted=False)]).unseen),
    ]

    assert unseen == 2 * ["cannot see what is read and written; set track_counts = on"]


@given(
    limit=ratios,
    accesses=st.integers(1, 10**9),
    shares=st.tuples(ratios, ratios),
    least=st.integers(1, 10**6),
)
def test_more_reads_from_disk_are_never_judged_better(
    limit: float, accesses: int, shares: tuple[float, float], least: int
) -> None:
    fewer, more = sorted(round(share * accesses) for share in shares)
    judge = table_cache_hits(limit, least)

    over = [
        judged(judge, [blocks(0, 0)], [blocks(read, accesses - read)]).over
        for read in (fewer, more)
    ]

    assert over[0] is None or over[1] is not None


@given(limit=ratios, read=counts, hit=counts)
def test_the_first_look_at_a_table_is_healthy_whatever_was_read(
    limit: float, read: int, hit: int
) -> None:
    assert judged(table_cache_hits(limit, 1), [blocks(read, hit)]).over is None


def test_a_hot_table_is_told_with_its_name_and_its_reads() -> None:
    judge = table_cache_hits(0.5, 10_000)

    finding = judged(judge, [blocks(50, 900_000)], [blocks(9_050, 901_000)])

    assert finding.over == ("cache_hit_ratio 0.1 < 0.5 (public.t1, 9000 blocks read)")


def test_of_several_hot_tables_the_most_read_is_told() -> None:
    before = [blocks(0, 0, relid=relid) for relid in (1, 2, 3)]
    after = [blocks(100 * relid, 0, relid=relid) for relid in (1, 3, 2)]

    finding = judged(table_cache_hits(0.5, 10), before, after)

    assert finding.over is not None
    assert "public.t3" in finding.over


def test_a_table_that_is_hardly_read_is_not_judged() -> None:
    judge = table_cache_hits(0.5, 10_000)

    assert judged(judge, [blocks(0, 0)], [blocks(9_999, 0)]).over is None


def test_looks_in_quick_succession_add_up_to_one_that_can_be_judged() -> None:
    looks = [[blocks(100 * look, 0, at=look / 100)] for look in range(101)]

    over = [
        judged(table_cache_hits(0.5, 10_000), *looks[:length]).over
        for length in (100, 101)
    ]

    assert over[0] is None
    assert over[1] is not None


def test_reads_of_more_than_a_minute_do_not_add_up() -> None:
    looks = [[blocks(100 * look, 0, at=float(look))] for look in range(1_000)]
    judge = table_cache_hits(0.5, 10_000)
    memory: object = None

    for rows in looks:
        finding = judge(rows, memory)
        memory = finding.memory
        assert finding.over is None


@pytest.mark.parametrize(
    "after",
    [blocks(10, 900), blocks(900, 10), blocks(9_000, 900, since=TUESDAY)],
    ids=["reads fell", "hits fell", "another since"],
)
def test_a_reset_of_a_table_is_a_new_baseline(after: dict[str, object]) -> None:
    judge = table_cache_hits(0.5, 100)
    again = dict(after, read=10**6)

    at_reset = judged(judge, [blocks(800, 800)], [after])
    later = judged(judge, [blocks(800, 800)], [after], [again])

    assert at_reset.over is None
    assert later.over is not None


def test_a_table_that_appears_later_has_its_own_baseline() -> None:
    new = [blocks(0, 0), blocks(10**6, 0, relid=2)]

    assert judged(table_cache_hits(0.5, 1), [blocks(0, 0)], new).over is None


def test_a_table_that_is_gone_is_forgotten() -> None:
    both = [blocks(0, 0), blocks(0, 0, relid=2)]
    back = [blocks(0, 0), blocks(10**6, 0, relid=2)]

    finding = judged(table_cache_hits(0.5, 1), both, [blocks(0, 0)], back)

    assert finding.over is None


def test_the_share_of_one_look_is_not_diluted_by_years_before_it() -> None:
    looks = [[blocks(10**9, 10**12)], [blocks(10**9 + 9_000, 10**12 + 1_000)]]

    finding = judged(table_cache_hits(0.5, 10_000), *looks)

    assert finding.over is not None
    assert finding.over.observed == pytest.approx(0.1)


def test_each_of_a_series_of_looks_is_judged_by_the_one_before() -> None:
    totals = [0, 400, 900, 1_700, 1_700]
    judge = temp_bytes(500)
    memory: object = None
    over = []

    for total in totals:
        finding = judge([spilled(total)], memory)
        memory = finding.memory
        over.append(finding.over is not None)

    assert over == [False] + [b - a > 500 for a, b in pairwise(totals)]


@pytest.mark.parametrize(
    ("observed", "action", "allows", "load"),
    [
        (0.1, "slow", True, 0.1),
        (0.1, "slow", False, None),
        (0.7, "slow", False, 0.7),
        (1.5, "slow", False, 1.5),
        (1.5, "pause", True, None),
        (None, "slow", True, None),
    ],
)
def test_a_gauge_of_what_users_feel_allows_and_any_other_only_holds_back(
    observed: float | None, action: Action, *, allows: bool, load: float | None
) -> None:
    found = measured("signal", observed, 1.0)

    assert load_of(found, Terms(action), allows=allows) == load


def test_a_look_is_told_with_when_it_was_so_that_it_counts_once() -> None:
    run = HealthContext("fill")
    asks: Any = checks.statement_latency().fn
    over = measured("statement_latency", 3.0, 1.5)

    run.memory[asks] = Look(over, at=1.0)
    loads = [asks.load(run), asks.load(run)]
    run.memory[asks] = Look(over, at=31.0)

    assert loads == [(2.0, 1.0), (2.0, 1.0)]
    assert asks.load(run) == (2.0, 31.0)
