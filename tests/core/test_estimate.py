"""Rates over a minute of running time, in bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_backfill._core.estimate import (
    UNKNOWN,
    WINDOW,
    Eta,
    Sample,
    eta_of,
    rate_of,
    share_of,
    windowed,
)
from tests.core.making import few

steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.001, 0.3, 0.999, 1.0, 1.0, 1.0, 2.5, 59.0, 61.0]),
        st.integers(0, 100),
    ),
    min_size=1,
    max_size=200,
)


def walked(moves: list[tuple[float, int]]) -> tuple[tuple[Sample, ...], list[Sample]]:
    """Return the window after *moves*, and every sample that was put into it."""
    samples: tuple[Sample, ...] = ((0.0, 0),)
    put: list[Sample] = [(0.0, 0)]
    for seconds, rows in moves:
        sample = (put[-1][0] + seconds, put[-1][1] + rows)
        samples = windowed(samples, sample)
        put.append(sample)
    return samples, put


@few
@given(steps)
def test_a_window_stays_bounded_in_order_and_ends_with_the_newest(
    moves: list[tuple[float, int]],
) -> None:
    samples, put = walked(moves)

    assert len(samples) <= 62
    assert list(samples) == sorted(samples)
    assert samples[-1] == put[-1]
    assert set(samples) <= set(put)


@few
@given(steps)
def test_a_window_reaches_back_a_minute_and_one_sample(
    moves: list[tuple[float, int]],
) -> None:
    samples, put = walked(moves)

    start = put[-1][0] - WINDOW
    inside = [at for at, _ in samples[:-1] if at >= start]
    outside = [at for at, _ in samples if at < start]
    assert len(outside) <= (1 if inside else 2)
    if put[0][0] < start:
        assert samples[0][0] <= start


@pytest.mark.parametrize("step", [0.1, 0.35, 1.0, 1.5])
def test_a_window_is_full_at_62_samples(step: float) -> None:
    samples: tuple[Sample, ...] = ()
    for number in range(1_000):
        samples = windowed(samples, (number * step, number))

    again = windowed(samples, (999 * step, 1_000))

    assert len(samples) <= 62
    assert len(again) <= 62


@few
@given(st.floats(0.001, 120.0), st.integers(1, 1_000), st.integers(2, 200))
def test_a_steady_pace_has_its_own_rate(
    seconds: float, rows: int, batches: int
) -> None:
    samples: tuple[Sample, ...] = ((0.0, 0),)
    for batch in range(1, batches):
        samples = windowed(samples, (batch * seconds, batch * rows))

    assert rate_of(samples) == pytest.approx(rows / seconds, rel=1e-6)


def test_a_rate_forgets_what_is_older_than_a_minute() -> None:
    samples: tuple[Sample, ...] = ((0.0, 0),)
    rows = 0
    for second in range(1, 301):
        rows += 1_000 if second <= 200 else 10
        samples = windowed(samples, (float(second), rows))

    assert rate_of(samples) == pytest.approx(10.0)


def test_a_batch_longer_than_the_window_lets_the_rate_sink_but_not_vanish() -> None:
    samples: tuple[Sample, ...] = ((0.0, 0), (9.0, 90), (10.0, 100))

    rates = [rate_of(windowed(samples, (float(now), 100))) for now in (11, 69, 71, 109)]

    assert rates == pytest.approx([100 / 11, 10 / 60, 10 / 62, 10 / 100])


@pytest.mark.parametrize(
    "samples",
    [
        (),
        ((5.0, 100),),
        ((5.0, 100), (9.0, 100)),
        ((5.0, 100), (5.0, 200)),
    ],
)
def test_there_is_no_rate_before_rows_and_time_have_passed(
    samples: tuple[Sample, ...],
) -> None:
    assert rate_of(samples) is None


def test_a_rate_counts_only_what_was_done_since_the_run_began() -> None:
    assert rate_of(((0.0, 1_000_000), (10.0, 1_000_050))) == 5.0


@pytest.mark.parametrize(
    ("rows", "total", "share"),
    [
        (0, 100, 0.0),
        (25, 100, 0.25),
        (100, 100, 1.0),
        (130, 100, 1.0),
        (0, 0, 1.0),
        (5, None, None),
    ],
)
def test_a_share_is_between_zero_and_one(
    rows: int, total: int | None, share: float | None
) -> None:
    assert share_of(rows, total) == share


def test_an_eta_is_what_is_left_at_this_rate() -> None:
    samples = ((0.0, 0), (5.0, 25))

    assert eta_of(75, samples) == Eta(15.0)
    assert eta_of(0, samples) == Eta(0.0)
    assert eta_of(-30, samples) == Eta(0.0)
    assert eta_of(75, samples[:1]) == UNKNOWN


def test_an_eta_lies_between_those_of_the_fastest_and_of_the_slowest_part() -> None:
    samples = ((0.0, 0), (10.0, 100), (20.0, 300), (30.0, 350), (60.0, 350))

    assert eta_of(700, samples) == Eta(120.0, 35.0, 140.0)


def test_an_eta_has_no_interval_before_there_is_anything_to_compare() -> None:
    assert eta_of(60, ((0.0, 0), (1.0, 10), (2.0, 30))) == Eta(4.0)


@few
@given(steps, st.floats(0.0, 1e9))
def test_an_eta_lies_in_its_own_interval(
    moves: list[tuple[float, int]], left: float
) -> None:
    samples, _ = walked(moves)

    eta = eta_of(left, samples)

    if eta.low is None or eta.high is None:
        assert (eta.low, eta.high) == (None, None)
    else:
        assert eta.seconds is not None
        assert 0.0 <= eta.low <= eta.seconds <= eta.high


@few
@given(st.floats(0.001, 10.0), st.integers(1, 1_000), st.integers(4, 200))
def test_a_steady_run_has_a_narrow_interval(
    seconds: float, rows: int, batches: int
) -> None:
    samples: tuple[Sample, ...] = ()
    for batch in range(batches):
        samples = (*samples, (batch * seconds, batch * rows))

    eta = eta_of(1_000, samples)

    assert eta.low == pytest.approx(eta.seconds, rel=1e-6)
    assert eta.high == pytest.approx(eta.seconds, rel=1e-6)


@few
@given(steps, st.floats(0.001, 1e6), st.floats(0.0, 1e6))
def test_less_that_is_left_never_takes_longer(
    moves: list[tuple[float, int]], left: float, more: float
) -> None:
    samples, _ = walked(moves)
    sooner, later = eta_of(left, samples), eta_of(left + more, samples)

    for one, other in zip(sooner, later, strict=True):
        assert one is None or (other is not None and one <= other)
