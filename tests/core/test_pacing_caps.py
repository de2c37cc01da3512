"""So many of something a second, and no more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_backfill._core.pacing_caps import (
    BURST,
    NOTHING_SPENT,
    Spent,
    spent,
    wait_until_free,
)
from tests.core.making import few

batches = st.lists(
    st.tuples(st.integers(0, 10_000), st.floats(0, 10), st.floats(0, 5)), max_size=40
)


def test_a_batch_that_was_too_much_for_its_time_is_waited_out() -> None:
    after = spent(Spent(7.0), amount=300, limit=100.0, began=7.0)

    assert wait_until_free(after, now=8.0) == 2.0


def test_who_was_woken_late_catches_up() -> None:
    late = spent(Spent(7.0), amount=100, limit=100.0, began=7.05)
    then = spent(late, amount=100, limit=100.0, began=8.0)

    assert wait_until_free(late, now=7.05) == pytest.approx(0.95)
    assert wait_until_free(then, now=8.0) == 1.0


def test_a_batch_that_took_its_time_is_not_waited_for() -> None:
    after = spent(NOTHING_SPENT, amount=300, limit=100.0, began=7.0)

    assert wait_until_free(after, now=10.5) == 0.0


def test_what_a_slow_batch_left_unused_is_not_saved_up() -> None:
    slow = spent(NOTHING_SPENT, amount=1, limit=100.0, began=0.0)
    after = spent(slow, amount=300, limit=100.0, began=60.0)

    assert wait_until_free(after, now=60.0) == pytest.approx(3.0 - BURST)


def test_batches_at_the_same_time_share_one_cap() -> None:
    one = spent(NOTHING_SPENT, amount=100, limit=100.0, began=0.0)
    both = spent(one, amount=100, limit=100.0, began=0.0)

    assert wait_until_free(both, now=1.0) == 1.0


@few
@given(batches, st.floats(1, 1_000))
def test_between_any_two_begins_there_is_no_more_than_the_cap_and_a_burst(
    done: list[tuple[int, float, float]], limit: float
) -> None:
    now, account = 0.0, NOTHING_SPENT
    begins: list[tuple[float, float]] = []
    total = 0.0
    for amount, takes, idles in done:
        now += wait_until_free(account, now)
        begins.append((now, total))
        account = spent(account, amount, limit, now)
        now, total = now + takes + idles, total + amount

    for began, before in begins:
        for later, by_then in begins:
            if later > began:
                allowed = limit * (later - began + BURST)
                assert by_then - before <= allowed * (1 + 1e-9) + 1e-6
