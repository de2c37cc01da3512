"""How far behind is judged, without a server."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adaptive_backfill.postgres.signals import replication
from tests.postgres.judging import Rows, judged, never_better

amounts = st.floats(0, 1e12)
positive = st.floats(1e-3, 1e9)


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

    for order in (rows, rows[::-1]):
        finding = judged(replication._furthest_behind(5.0, 10**9), order)
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
