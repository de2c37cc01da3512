"""The law of size: laws as properties, rules as examples."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random
from statistics import quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_backfill._core.adaptive import Adaptive
from adaptive_backfill._core.pacing_cost import Cost
from adaptive_backfill._core.pacing_density import UNKNOWN_DENSITY
from adaptive_backfill._core.pacing_size import (
    Batch,
    Sizing,
    reset_to,
    shrunk,
    sized,
    starting,
)
from tests.core.making import few

POLICY = Adaptive(overhead=0.15)

policies = st.builds(
    lambda target, least, more, overhead: Adaptive(
        target=target, min_size=least, max_size=least + more, overhead=overhead
    ),
    st.floats(1e-3, 10),
    st.integers(1, 1_000),
    st.integers(0, 100_000),
    st.floats(0.01, 0.9),
)
times = st.floats(1e-5, 1e3) | st.floats(0, 1e300, exclude_min=True)
histories = st.lists(st.tuples(times, st.floats(0, 1) | st.none()), max_size=30)
"""Seconds of batches, and the share of their rows that was affected."""

Plant = Callable[[int], float]


def rows_of(size: int, share: float | None) -> int | None:
    return None if share is None else round(size * share)


def after(
    policy: Adaptive,
    history: list[tuple[float, float | None]],
    start: int | None = None,
) -> Sizing:
    sizing = starting(start, policy)
    for seconds, share in history:
        sizing = sized(
            sizing, Batch(seconds, sizing.size, rows_of(sizing.size, share)), policy
        )
    return sizing


def line(fixed: float, a_row: float) -> Plant:
    return lambda size: fixed + a_row * size


def on(
    plant: Plant,
    batches: int,
    *,
    sizing: Sizing | None = None,
    policy: Adaptive = POLICY,
    sigma: float = 0.0,
    seed: int = 1,
) -> list[Sizing]:
    """Return the sizings of *batches* on *plant*, the first one included."""
    random = Random(seed)
    steps = [sizing or starting(None, policy)]
    for _ in range(batches):
        size = steps[-1].size
        seconds = plant(size) * random.lognormvariate(0.0, sigma)
        steps.append(sized(steps[-1], Batch(seconds, size, size), policy))
    return steps


USUAL = line(0.001, 5e-6)
"""A batch costs a millisecond, and a row five thousandths of one."""


def settled(plant: Plant = USUAL) -> Sizing:
    """Return a sizing that has come to rest on *plant*."""
    sizing = on(plant, 400)[-1]
    assert not sizing.probing
    return sizing


@few
@given(policies, histories, st.integers(-10, 10**9) | st.none())
def test_the_size_stays_within_the_bounds_whatever_comes(
    policy: Adaptive, history: list[tuple[float, float | None]], start: int | None
) -> None:
    sizing = after(policy, history, start)
    others = [
        shrunk(sizing, "lock timeout", policy),
        reset_to(sizing, 10**9, policy),
        reset_to(sizing, 0, policy),
    ]

    for each in (sizing, *others):
        assert policy.min_size <= each.size <= policy.max_size


@few
@given(
    policies,
    histories,
    times,
    st.floats(1, 1e3),
    st.floats(0, 1) | st.none(),
)
def test_a_slower_batch_never_leads_to_a_greater_size(
    policy: Adaptive,
    history: list[tuple[float, float | None]],
    seconds: float,
    times: float,
    share: float | None,
) -> None:
    sizing = after(policy, history)
    rows = rows_of(sizing.size, share)

    quick = sized(sizing, Batch(seconds, sizing.size, rows), policy)
    slow = sized(sizing, Batch(seconds * times, sizing.size, rows), policy)

    assert slow.size <= quick.size


@few
@given(policies, histories, times, st.floats(0, 1) | st.none())
def test_a_step_at_most_doubles_and_leaves_at_least_a_quarter(
    policy: Adaptive,
    history: list[tuple[float, float | None]],
    seconds: float,
    share: float | None,
) -> None:
    before = after(policy, history)
    batch = Batch(seconds, before.size, rows_of(before.size, share))

    size = sized(before, batch, policy).steady

    assert size <= 2 * before.steady
    assert size >= max(policy.min_size, int(before.steady / 4))


@few
@given(policies, histories)
def test_a_reason_is_given_for_every_change_and_for_nothing_else(
    policy: Adaptive, history: list[tuple[float, float | None]]
) -> None:
    before = after(policy, history[:-1])
    now = after(policy, history)

    if history and now.steady != before.steady:
        assert now.why is not None
        assert now.why.endswith(f": {before.steady} -> {now.steady} rows")
    else:
        assert now.why is None


@few
@given(st.floats(1e-4, 0.01), st.floats(1e-7, 1e-3), st.integers(0, 10**6))
def test_on_a_constant_plant_the_size_changes_seldom_and_little(
    fixed: float, a_row: float, seed: int
) -> None:
    steps = on(line(fixed, a_row), 1_200, sigma=0.25, seed=seed)[400:]

    sizes = [step.steady for step in steps]
    changes = sum(one != other for one, other in pairwise(sizes))

    low, *_, high = quantiles(sizes, n=20)
    assert changes <= 40
    assert high <= 3 * low


@few
@given(st.floats(1e-4, 0.05), st.floats(1e-7, 1e-3))
def test_without_noise_the_size_comes_to_where_the_fixed_part_is_paid(
    fixed: float, a_row: float
) -> None:
    plant = line(fixed, a_row)
    sizes = [step.steady for step in on(plant, 500)]
    size = sizes[-1]

    assert len(set(sizes[250:])) <= 2
    assert plant(size) <= POLICY.target * 1.15 or size == POLICY.min_size
    if POLICY.min_size < size < POLICY.max_size and plant(size) < 0.5 * POLICY.target:
        # Beside it stand 0.2 ms that a batch costs outside of the database.
        share = (fixed + 0.0002) / (plant(size) + 0.0002)
        assert 0.05 <= share <= 0.3


def test_ten_thousand_batches_of_one_size_do_not_wear_away_what_was_learned() -> None:
    plant = line(0.001, 5e-6)
    steps = on(plant, 10_000, sigma=0.25)

    cost = steps[-1].cost
    assert cost is not None
    assert cost.fixed == pytest.approx(0.001, rel=0.5)
    assert 600 < steps[-1].steady < 2_000


def test_a_few_batches_are_smaller_to_learn_what_one_costs_whatever_its_size() -> None:
    steps = on(USUAL, 10_000, sigma=0.25)

    smaller = [at for at, step in enumerate(steps) if step.probing]
    assert 20 <= len(smaller) <= 100
    assert all(steps[at].size == round(steps[at].probing / 4) for at in smaller)
    assert all(steps[at + 1].probing == 0 for at in smaller)
    assert all(later - sooner >= 8 for sooner, later in pairwise(smaller))
    # In the first twentieth a quarter of them.
    assert sum(at < 500 for at in smaller) >= len(smaller) / 4


def test_where_the_size_is_at_its_bounds_no_batch_compares() -> None:
    for policy in (Adaptive(max_size=100), Adaptive(min_size=5_000)):
        steps = on(USUAL, 300, policy=policy)

        assert not any(step.probing for step in steps)


def test_a_batch_that_only_compares_has_no_reason_and_leads_back() -> None:
    steps = on(USUAL, 100)

    at = next(at for at, step in enumerate(steps) if step.probing)
    assert steps[at].why is None
    assert steps[at].steady == steps[at - 1].size
    assert shrunk(steps[at], "lock timeout", POLICY).size == round(steps[at].steady / 2)
    assert reset_to(steps[at], 777, POLICY).size == 777


def test_the_start_is_a_hundred_where_nobody_says() -> None:
    assert starting(None, POLICY).size == 100
    assert starting(2_000, POLICY).size == 2_000
    assert starting(None, Adaptive(max_size=50)).size == 50
    assert starting(5, POLICY).size == 10


def test_at_first_the_size_doubles_with_every_batch() -> None:
    steps = on(line(0.01, 1e-6), 6, policy=Adaptive(target=1, overhead=0.15))

    assert [step.size for step in steps] == [100, 200, 400, 800, 1600, 3200, 6400]


def test_later_it_grows_by_half_at_most_and_three_batches_apart() -> None:
    cheaper = on(line(0.001, 1e-6), 60, sizing=settled())

    changes = [
        (at, new.steady / old.steady)
        for at, (old, new) in enumerate(pairwise(cheaper))
        if new.steady != old.steady
    ]
    assert cheaper[-1].size > 2 * cheaper[0].size
    assert all(factor <= 1.501 for _, factor in changes)
    assert all(later - sooner >= 3 for (sooner, _), (later, _) in pairwise(changes))


@pytest.mark.parametrize("seconds", [0.005, 0.05, 0.5, 20.0])
def test_a_cold_first_batch_is_soon_forgotten(seconds: float) -> None:
    cold = sized(starting(None, POLICY), Batch(seconds, 100, 100), POLICY)
    steps = on(USUAL, 60, sizing=cold)

    assert 700 <= steps[-1].steady <= 2_000


def test_what_a_slow_batch_says_of_the_fixed_part_counts_later() -> None:
    # Known so little that a batch of another size would tell of the fixed part.
    cost = Cost(0.001, 5e-6, fixed_doubt=0.0005**2, row_doubt=5e-7**2)
    sizing = Sizing(1_000, cost=cost, seeking=False, settled=9)

    usual = sized(sizing, Batch(0.00225, 250, 250), POLICY)
    slow = sized(sizing, Batch(0.0043, 250, 250), POLICY)

    assert slow.steady <= usual.steady
    assert slow.cost is not None
    assert slow.cost.fixed > 0.0012


def test_a_lone_spike_of_five_times_changes_little() -> None:
    rest = settled()
    expected = rest.cost.of(rest.size) if rest.cost else 0.0

    spiked = sized(rest, Batch(5 * expected, rest.size, rest.size), POLICY)
    steps = on(line(0.001, 5e-6), 30, sizing=spiked)

    assert spiked.size >= rest.size / 1.15
    assert spiked.cost is not None
    assert spiked.cost.of(rest.size) <= 1.05 * expected
    assert steps[-1].size >= rest.size / 1.3


def test_a_batch_of_more_than_six_times_shrinks_at_once_to_a_quarter() -> None:
    rest = settled()
    expected = rest.cost.of(rest.size) if rest.cost else 0.0

    late = sized(rest, Batch(30 * expected, rest.size, rest.size), POLICY)

    assert late.size == round(rest.size / 4)
    assert late.why == f"took 30.0 times as long: {rest.size} -> {late.size} rows"


def test_two_in_a_row_of_more_than_three_times_shrink_too_and_one_does_not() -> None:
    rest = settled()
    expected = rest.cost.of(rest.size) if rest.cost else 0.0

    one = sized(rest, Batch(4 * expected, rest.size, rest.size), POLICY)
    two = sized(one, Batch(4 * expected, one.size, one.size), POLICY)

    assert one.size > 0.5 * rest.size
    assert two.size <= 0.34 * one.size


def test_after_a_panic_for_nothing_the_size_is_back_within_thirty_batches() -> None:
    plant = line(0.001, 5e-6)
    rest = settled(plant)
    late = sized(rest, Batch(0.2, rest.size, rest.size), POLICY)

    steps = on(plant, 30, sizing=late)

    assert steps[-1].size >= 0.7 * rest.size


def test_rows_four_times_as_dear_are_believed_and_shrink_the_batch() -> None:
    rest = settled()
    steps = on(line(0.001, 20e-6), 40, sizing=rest)

    assert steps[-1].size <= 0.45 * rest.size


def test_the_target_bounds_a_batch_whose_fixed_cost_is_never_paid() -> None:
    # 80 ms fixed: the knee is far above what may be.
    steps = on(line(0.08, 1e-5), 300, sigma=0.1)

    times = [0.08 + 1e-5 * step.size for step in steps[50:]]
    assert sum(times) / len(times) <= 0.1
    assert steps[-1].why is None
    assert any("at most 0.1 s" in (step.why or "") for step in steps)


def test_where_rows_are_not_known_the_size_stands_for_them() -> None:
    plant = line(0.001, 5e-6)
    sizing = known = starting(None, POLICY)
    for _ in range(50):
        sizing = sized(sizing, Batch(plant(sizing.size), sizing.size), POLICY)
        known = sized(known, Batch(plant(known.size), known.size, known.size), POLICY)

    assert sizing.size == known.size


def test_empty_quick_batches_teach_nothing_of_the_cost_of_a_row() -> None:
    rest = settled()

    empty = rest
    for _ in range(50):
        empty = sized(empty, Batch(0.0003, empty.size, 0), POLICY)

    assert empty.cost is not None
    assert rest.cost is not None
    assert empty.cost.a_row == pytest.approx(rest.cost.a_row, rel=0.1)


def test_an_empty_first_batch_teaches_nothing_at_all() -> None:
    assert sized(starting(None, POLICY), Batch(0.0003, 100, 0), POLICY).cost is None


def test_the_first_dense_batch_after_a_sparse_region_is_bounded() -> None:
    def plant(size: int, density: float) -> float:
        return 0.001 + size * (5e-8 + 5e-6 * density)

    sizing = starting(None, POLICY)
    times, sizes = [], []
    for number in range(1_500):
        density = 0.01 if 100 <= number < 1_000 else 1.0
        seconds = plant(sizing.size, density)
        times.append(seconds)
        rows = round(sizing.size * density)
        sizing = sized(sizing, Batch(seconds, sizing.size, rows), POLICY)
        sizes.append(sizing.size)

    assert sizes[990] > 5_000
    assert max(times) <= 2 * POLICY.target
    assert times[1_010] < 0.02


def test_through_empty_ground_the_size_grows_to_what_a_dense_batch_may_take() -> None:
    rest = settled()

    empty = rest
    for _ in range(200):
        empty = sized(empty, Batch(0.0005, empty.size, 0), POLICY)
    dense = 0.001 + 5e-6 * empty.size

    assert empty.size > 3 * rest.size
    assert dense <= 1.5 * POLICY.target


def test_empty_batches_do_not_grow_where_density_was_never_seen() -> None:
    rest = settled()._replace(density=UNKNOWN_DENSITY)

    for _ in range(10):
        rest = sized(rest, Batch(0.0003, rest.size, 0), POLICY)

    assert rest.size == settled().size


def test_empty_batches_that_take_half_the_target_do_not_grow() -> None:
    policy = Adaptive(overhead=0.001)
    rest = on(USUAL, 400, policy=policy)[-1]._replace(probing=0)
    size = rest.steady

    for _ in range(10):
        rest = sized(rest, Batch(0.06, rest.size, 0), policy)

    assert 0.07 < USUAL(size) < 0.1
    assert rest.steady == size


def test_a_handler_that_never_counts_rows_does_not_grow_on_that() -> None:
    sizing = starting(None, POLICY)
    for _ in range(100):
        sizing = sized(sizing, Batch(0.05, sizing.size, 0), POLICY)

    assert sizing.size == 100


def test_a_size_from_the_guard_is_half_at_once_and_says_why() -> None:
    half = shrunk(settled(), "lock timeout", POLICY)

    assert half.size == round(settled().size / 2)
    assert half.why == f"lock timeout: {settled().size} -> {half.size} rows"
    assert shrunk(Sizing(10), "lock timeout", POLICY) == Sizing(10, seeking=False)


def test_a_size_set_from_outside_is_taken_and_then_followed_up() -> None:
    rest = settled()
    given_size = reset_to(rest, 5_000, POLICY)

    assert given_size.size == 5_000
    assert given_size.why == f"set from outside: {rest.size} -> 5000 rows"
    assert reset_to(rest, rest.size, POLICY).why is None
    assert on(line(0.001, 5e-6), 20, sizing=given_size)[-1].size < 2_000


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_that_cannot_be_is_passed_over(seconds: float) -> None:
    rest = settled()

    assert sized(rest, Batch(seconds, rest.size, 1), POLICY) == rest._replace(why=None)
