"""How long to rest after a batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_backfill import OK, Halt, Pause, Slow, Verdict
from adaptive_backfill._core.pacing import rest_after
from tests.core.making import LEVELS, few

times = st.floats(0, 1e6)


@pytest.mark.parametrize("verdict", [OK, Pause("x"), Halt("x")])
def test_without_slow_the_rest_is_the_declared_delay(verdict: Verdict) -> None:
    assert rest_after(0.5, 30.0, verdict) == 0.5


@pytest.mark.parametrize(
    ("delay", "duration", "rest"), [(0.0, 30.0, 30.0), (45.0, 30.0, 45.0)]
)
def test_slow_rests_as_long_as_the_batch_took_or_the_delay(
    delay: float, duration: float, rest: float
) -> None:
    assert rest_after(delay, duration, Slow("load")) == rest


@few
@given(times, times, st.sampled_from(LEVELS))
def test_no_verdict_rests_less_than_ok_and_slow_works_half_the_time_at_most(
    delay: float, duration: float, verdict: Verdict
) -> None:
    rest = rest_after(delay, duration, verdict)

    assert rest >= rest_after(delay, duration, OK) == delay
    if isinstance(verdict, Slow):
        assert duration <= rest
