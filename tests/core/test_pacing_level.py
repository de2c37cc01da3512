"""The law of the level: laws as properties, rules as examples."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import inf, nan, sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_backfill._core.adaptive import Adaptive
from adaptive_backfill._core.pacing_level import (
    MIN_LEVEL,
    Pace,
    Seen,
    duty_of,
    pace_at_start,
    paced,
    rest_for,
)
from adaptive_backfill._core.pacing_memory import NOT_BANNED, aged, banned
from adaptive_backfill._core.pacing_trial import Trial
from tests.core.making import few

POLICY = Adaptive()

loads = st.floats(0, 3) | st.none()
seens = st.builds(
    Seen,
    load=loads,
    tripped=st.sampled_from([False, False, False, True]),
    slow=st.sampled_from([False, False, False, True]),
    fresh=st.sampled_from([True, True, True, False]),
    rate=st.floats(0, 1e5) | st.none(),
    seconds=st.floats(0.1, 60),
    pending=st.sampled_from([False, False, False, True]),
)
histories = st.lists(seens, max_size=25)
policies = st.builds(lambda most: Adaptive(max_workers=most), st.integers(1, 8))


def after(policy: Adaptive, history: list[Seen], level: float | None = None) -> Pace:
    pace = pace_at_start(policy, level)
    for seen in history:
        pace = paced(pace, seen, policy)
    return pace


def on(
    base: Callable[[int], float],
    samples: int,
    *,
    gain: float = 0.25,
    pace: Pace | None = None,
    rate: Callable[[float], float] | None = None,
    policy: Adaptive = POLICY,
    noise: float = 0.0,
) -> list[Pace]:
    """Return the paces of *samples* where a worker adds *gain* to the load of others.

    Args:
        base: The load of others, by the number of the sample.
        samples: Their number.
        gain: The load of one worker.
        pace: The first pace.
        rate: Own rows a second, by the level.
        policy: The bounds.
        noise: The deviation of the load.
    """
    random = Random(1)
    steps = [pace or pace_at_start(policy)]
    for number in range(samples):
        level = steps[-1].level
        load = max(base(number) + gain * level + random.gauss(0.0, noise), 0.0)
        seen = Seen(load, rate=rate(level) if rate else None)
        steps.append(paced(steps[-1], seen, policy))
    return steps


def quiet(_: int) -> float:
    return 0.1


def changes(steps: list[Pace]) -> int:
    return sum(one.level != other.level for one, other in pairwise(steps))


@few
@given(policies, histories, st.floats(0, 20) | st.none())
def test_the_level_stays_within_the_bounds_whatever_comes(
    policy: Adaptive, history: list[Seen], level: float | None
) -> None:
    pace = after(policy, history, level)

    assert MIN_LEVEL <= pace.level <= policy.max_workers


@few
@given(policies, histories, st.floats(0, 8) | st.none(), seens, st.floats(0, 2))
def test_more_load_never_leads_to_a_higher_level(
    policy: Adaptive,
    history: list[Seen],
    level: float | None,
    seen: Seen,
    more: float,
) -> None:
    pace = after(policy, history, level)
    less = seen._replace(load=seen.load or 0.0)
    worse = less._replace(load=(less.load or 0.0) + more)

    assert paced(pace, worse, policy).level <= paced(pace, less, policy).level


@few
@given(policies, histories, st.floats(0, 8) | st.none(), seens)
def test_slow_pause_and_stale_never_lead_to_a_higher_level(
    policy: Adaptive, history: list[Seen], level: float | None, seen: Seen
) -> None:
    pace = after(policy, history, level)
    good = seen._replace(slow=False, tripped=False, fresh=True)
    at_best = paced(pace, good, policy).level

    for worse in (
        good._replace(slow=True),
        good._replace(tripped=True),
        good._replace(fresh=False),
        good._replace(slow=True, tripped=True),
        good._replace(pending=True),
    ):
        assert paced(pace, worse, policy).level <= at_best


@few
@given(policies, histories, st.floats(0, 8) | st.none(), seens)
def test_nothing_grows_on_what_is_not_fresh(
    policy: Adaptive, history: list[Seen], level: float | None, seen: Seen
) -> None:
    pace = after(policy, history, level)

    assert paced(pace, seen._replace(fresh=False), policy).level <= pace.level


@few
@given(policies, histories, st.floats(0, 8) | st.none(), seens)
def test_nothing_grows_while_a_gauge_is_waited_for(
    policy: Adaptive, history: list[Seen], level: float | None, seen: Seen
) -> None:
    pace = after(policy, history, level)

    assert paced(pace, seen._replace(pending=True), policy).level <= pace.level


@few
@given(policies, histories, seens)
def test_a_reason_with_both_levels_is_given_for_every_change_and_for_nothing_else(
    policy: Adaptive, history: list[Seen], seen: Seen
) -> None:
    before = after(policy, history)

    now = paced(before, seen, policy)

    if now.level == before.level:
        assert now.why is None
    else:
        assert now.why is not None
        assert now.why.endswith(f": {before.level:.2f} -> {now.level:.2f} workers")


@few
@given(policies, histories)
def test_a_signal_that_never_worked_makes_nobody_wait(
    policy: Adaptive, history: list[Seen]
) -> None:
    pace = after(policy, history)

    for _ in range(40):
        pace = paced(pace, Seen(None), policy)

    # A ban may hold for ten minutes, at a tenth below what was.
    if pace.overloaded.limit == pace.useless.limit == inf:
        assert pace.level == 1.0
    for _ in range(200):
        pace = paced(pace, Seen(None), policy)
    assert pace.level == 1.0


@few
@given(st.floats(0, 1.5), st.floats(0.01, 2))
def test_on_a_constant_plant_the_level_comes_to_rest(base: float, gain: float) -> None:
    steps = on(lambda _: base, 400, gain=gain)

    assert changes(steps[60:]) <= 12
    load = base + gain * steps[-1].level
    assert load < 1.0 or steps[-1].level == MIN_LEVEL


@few
@given(st.floats(0, 0.6), st.floats(0.2, 1.0))
def test_on_a_noisy_constant_plant_the_level_changes_seldom(
    base: float, gain: float
) -> None:
    steps = on(lambda _: base, 720, gain=gain, noise=0.05)

    # An hour of samples; a change a minute at most.
    assert changes(steps) <= 60


@few
@given(st.floats(0.02, 0.3), st.floats(0.1, 0.45), st.integers(3, 200))
def test_a_minute_after_an_incident_the_pace_is_back(
    base: float, gain: float, lasts: int
) -> None:
    def incident(number: int) -> float:
        return base + 1.0 if 200 <= number < 200 + lasts else base

    steps = on(incident, 200 + lasts + 12, gain=gain)

    assert steps[200 + lasts].level <= max(0.25 * steps[200].level, MIN_LEVEL)
    assert steps[-1].level >= 0.9 * steps[200].level - 0.01


@pytest.mark.parametrize("level", [1.0, 2.0, 4.0])
def test_an_overload_is_a_quarter_after_ten_seconds(level: float) -> None:
    pace = after(POLICY, [Seen(1.2), Seen(1.1)], level)

    assert pace.level == level / 4
    assert pace.why == f"load 1.10 >= 1: {level / 2:.2f} -> {level / 4:.2f} workers"


def test_half_a_worker_until_the_first_look_and_one_from_then_on() -> None:
    start = pace_at_start(POLICY)
    looked = paced(start, Seen(0.3), POLICY)

    assert start.level == 0.5
    assert looked.level == 1.0
    assert looked.why == "first look, load 0.30 < 0.7: 0.50 -> 1.00 workers"
    assert paced(start, Seen(0.3, fresh=False), POLICY).level == 0.5
    assert paced(start, Seen(0.95), POLICY).level == pytest.approx(0.4)


def test_a_level_that_is_given_is_where_it_starts() -> None:
    assert pace_at_start(POLICY, 2.5).level == 2.5
    assert pace_at_start(POLICY, 9).level == 4.0
    assert pace_at_start(POLICY, 0).level == MIN_LEVEL


@pytest.mark.parametrize(
    ("load", "level"),
    [(0.49, 2.25), (0.5, 2.0), (0.8, 2.0), (0.95, 1.6), (1.0, 1.0)],
)
def test_each_zone_has_its_answer(load: float, level: float) -> None:
    pace = after(POLICY, [Seen(load), Seen(load)], 2.0)

    first = next(
        (step.level for step in (after(POLICY, [Seen(load)], 2.0), pace) if step.why),
        2.0,
    )
    assert first == pytest.approx(level)


@pytest.mark.parametrize("load", [0.5, 0.69])
def test_where_a_gauge_is_half_way_to_its_limit_one_worker_is_the_most(
    load: float,
) -> None:
    pace = after(POLICY, [Seen(load)] * 20, 0.6)

    assert pace.level == 1.0


def test_many_workers_are_come_back_to_where_a_gauge_is_half_way_to_its_limit() -> None:
    pace = paced(pace_at_start(POLICY, 3.0), Seen(1.2), POLICY)

    for _ in range(10):
        pace = paced(pace, Seen(0.6), POLICY)

    assert pace.level == pytest.approx(2.7)


def test_where_trouble_began_is_no_room_once_it_is_forgotten() -> None:
    pace = paced(pace_at_start(POLICY, 3.0), Seen(1.2), POLICY)
    for _ in range(60):
        pace = paced(pace, Seen(0.05), POLICY)

    # What it does after a `Slow`, when there are more users by then.
    pace = pace._replace(level=0.5)
    for _ in range(10):
        pace = paced(pace, Seen(0.6), POLICY)

    assert pace.level == 1.0


def test_a_worker_whose_own_load_leaves_no_room_is_measured_all_the_same() -> None:
    def scales(level: float) -> float:
        return 1_000.0 * level

    steps = on(
        lambda _: 0.17, 60, rate=scales, pace=pace_at_start(POLICY, 1.0), gain=0.28
    )

    assert steps[-1].level > 1.5
    assert steps[-1].trial is None


def test_a_fall_in_load_is_believed_by_half_and_a_rise_at_once() -> None:
    pace = after(POLICY, [Seen(0.8), Seen(0.4)], 2.0)

    assert pace.strain == pytest.approx(0.6)
    assert paced(pace, Seen(0.85), POLICY).strain == 0.85


def test_steps_up_are_two_samples_apart_and_a_shed_defers_them() -> None:
    steady = on(lambda _: 0.2, 12, pace=pace_at_start(POLICY, 1.0), gain=0.2)
    ups = [at for at, (a, b) in enumerate(pairwise(steady)) if b.level > a.level]
    shed = after(POLICY, [Seen(0.95), Seen(0.3)], 2.0)

    assert all(later - sooner == 2 for sooner, later in pairwise(ups))
    assert shed.level == pytest.approx(1.6)


def test_a_shed_below_the_limit_waits_for_the_last_one_to_show() -> None:
    pace = after(POLICY, [Seen(0.95), Seen(0.95)], 2.0)
    again = paced(pace, Seen(0.95), POLICY)

    assert pace.level == pytest.approx(1.6)
    assert again.level == pytest.approx(1.28)


def test_slow_leaves_half_a_worker_and_no_less_whatever_the_gauges_say() -> None:
    for load in (None, 0.2):
        pace = paced(pace_at_start(POLICY, 3.0), Seen(load, slow=True), POLICY)

        assert pace.level == 0.5
        assert pace.why == "a check says Slow: 3.00 -> 0.50 workers"
        for _ in range(20):
            pace = paced(pace, Seen(load, slow=True), POLICY)
        assert pace.level == 0.5


def test_slow_at_a_load_above_the_limit_is_both() -> None:
    pace = paced(pace_at_start(POLICY, 4.0), Seen(1.3, slow=True), POLICY)

    assert pace.level == 0.5
    assert pace.why is not None
    assert pace.why.startswith("load 1.30 >= 1, and a check says Slow: 4.00 -> 0.50")
    assert paced(pace, Seen(1.3, slow=True), POLICY).level == 0.25


@pytest.mark.parametrize("load", [nan, inf])
def test_a_load_that_is_no_number_counts_as_bad_and_does_not_stay(load: float) -> None:
    pace = paced(pace_at_start(POLICY, 1.0), Seen(load), POLICY)

    assert pace.level == 0.5
    assert 0.8 <= (paced(pace, Seen(0.8), POLICY).strain or 0.0) <= 0.9
    assert on(quiet, 30, pace=pace)[-1].level > 1.0


def test_a_pause_halves_at_once_and_holds_until_two_good_samples() -> None:
    pace = paced(pace_at_start(POLICY, 2.0), Seen(0.2, tripped=True), POLICY)
    held = [pace]
    old = Seen(0.2, fresh=False)
    for seen in (Seen(0.2, tripped=True), old, Seen(0.2), old, Seen(0.2)):
        held.append(paced(held[-1], seen, POLICY))
    free = paced(held[-1], Seen(0.2), POLICY)

    assert pace.why == "paused by a check: 2.00 -> 1.00 workers"
    assert [step.level for step in held] == [1.0] * 6
    assert all(step.held for step in held)
    assert not free.held
    assert free.level == 1.0
    assert paced(free, Seen(0.2), POLICY).level == 1.0


def test_a_load_over_its_limit_takes_work_away_while_a_budget_is_waited_for() -> None:
    pace = paced(pace_at_start(POLICY, 4.0), Seen(0.2, tripped=True), POLICY)
    near, over = [pace], [pace]
    for _ in range(8):
        near.append(paced(near[-1], Seen(0.95), POLICY))
        over.append(paced(over[-1], Seen(1.2), POLICY))

    assert pace.level == 2.0
    assert near[-1].level < 1.0
    assert over[-1].level == MIN_LEVEL


def test_what_a_gauge_said_stands_until_it_is_judged_anew() -> None:
    pace = paced(pace_at_start(POLICY, 1.0), Seen(0.95, gauge="latency"), POLICY)
    steps = [pace]
    for _ in range(5):
        steps.append(paced(steps[-1], Seen(None, pending=True), POLICY))

    assert pace.why == "latency: load 0.95 >= 0.9: 1.00 -> 0.80 workers"
    # Answered once, and neither forgotten nor grown upon.
    assert [step.level for step in steps] == [0.8] * 6
    assert steps[-1].load == steps[-1].strain == 0.95
    assert steps[-1].ill


def test_a_gauge_that_is_judged_seldom_lets_the_level_grow_at_each_news() -> None:
    pace = pace_at_start(POLICY, 0.25)
    for number in range(24):
        seen = Seen(None, pending=True) if number % 6 else Seen(0.667)
        pace = paced(pace, seen, POLICY)

    assert pace.level > 0.35


def test_another_gauge_may_tell_of_too_much_while_one_is_waited_for() -> None:
    pace = paced(pace_at_start(POLICY, 2.0), Seen(0.6), POLICY)
    worse = paced(pace, Seen(1.1, pending=True), POLICY)

    assert worse.level == 1.0
    assert paced(worse, Seen(0.1, pending=True), POLICY).load == 1.1


def test_the_reason_of_a_change_says_what_was_seen_of_what() -> None:
    pace = pace_at_start(POLICY, 2.0)
    lag = Seen(0.2, tripped=True, said="replay_lag 7.2s > 5s")
    vacuum = Seen(0.2, slow=True, said="vacuum_running 1 > 0")

    assert paced(pace, lag, POLICY).why == "replay_lag 7.2s > 5s: 2.00 -> 1.00 workers"
    assert paced(pace, vacuum, POLICY).why == (
        "vacuum_running 1 > 0: 2.00 -> 0.50 workers"
    )


def test_after_a_pause_the_level_is_kept_a_tenth_lower_for_a_minute() -> None:
    pace = paced(pace_at_start(POLICY, 2.0), Seen(0.2, tripped=True), POLICY)
    steps = on(quiet, 24, pace=pace, gain=0.2)

    # Each sample is of five seconds.
    assert max(step.level for step in steps[:12]) == pytest.approx(1.8)
    assert steps[-1].level > 1.8


def test_a_level_that_was_too_much_is_left_alone_for_twice_as_long_each_time() -> None:
    steps = on(lambda _: 0.45, 400, gain=0.3, pace=pace_at_start(POLICY, 2.0))

    assert steps[1].level == 1.0
    assert steps[1].overloaded.limit == pytest.approx(1.8)
    assert changes(steps[100:]) <= 8
    assert banned(banned(NOT_BANNED, 1.0), 1.0).left == 120.0


def test_a_ban_lasts_a_minute_to_ten_and_is_forgotten_after_as_long_again() -> None:
    ban, lasts = NOT_BANNED, []
    for _ in range(6):
        ban = banned(ban, 1.5)
        lasts.append(ban.left)

    assert lasts == [60.0, 120.0, 240.0, 480.0, 600.0, 600.0]
    assert aged(ban, 599.0).limit == 1.5
    assert aged(ban, 600.0).limit == inf
    assert aged(ban, 1_199.0).lasts == 600.0
    assert aged(ban, 1_200.0) == NOT_BANNED


def test_what_is_banned_is_not_gone_above_while_the_load_is_near_the_limit() -> None:
    pace = paced(pace_at_start(POLICY, 1.0), Seen(1.2), POLICY)
    steps = [pace]
    for _ in range(16):
        steps.append(paced(steps[-1], Seen(0.66), POLICY))

    assert max(step.level for step in steps[:12]) == pytest.approx(0.9)
    assert steps[-1].level > 0.9


def test_while_an_overload_goes_on_its_ban_does_not_run_out() -> None:
    pace = after(POLICY, [Seen(1.2)] * 40, 2.0)

    assert pace.level == MIN_LEVEL
    assert pace.overloaded.left == 60.0
    assert pace.overloaded.limit == pytest.approx(1.8)


def test_a_ban_is_forgotten_when_the_load_of_others_falls() -> None:
    def falls(number: int) -> float:
        return 0.8 if number < 2 else 0.05

    steps = on(falls, 11, pace=pace_at_start(POLICY, 2.0), gain=0.2)

    assert steps[2].overloaded.limit == pytest.approx(1.8)
    assert steps[-1].overloaded == NOT_BANNED
    assert steps[-1].level > 1.8


def test_a_worker_that_gains_too_little_is_taken_back_and_remembered() -> None:
    def saturated(level: float) -> float:
        return 1_000.0 * min(level, 1.05)

    steps = on(quiet, 12, rate=saturated, pace=pace_at_start(POLICY, 1.0), gain=0.1)
    taken_back = next(step for step in steps if step.useless.limit < inf)

    assert max(step.level for step in steps) == 2.0
    assert taken_back.level == 1.0
    assert taken_back.why is not None
    assert "more workers changed the rate by +5%" in taken_back.why
    assert steps[-1].level == 1.0


def test_a_first_sample_after_a_step_does_not_judge_a_worker() -> None:
    # What it measured is for the most part of before the step.
    trial = Trial(1.0, 1_000.0)
    pace = Pace(2.0, looked=True, settled=0, trial=trial)

    first = paced(pace, Seen(0.8, rate=1_010.0), POLICY)
    second = paced(first, Seen(0.8, rate=1_900.0), POLICY)

    assert first.trial == trial
    assert second.level == 2.0
    assert second.trial is None


def test_a_sample_over_a_moment_is_no_measure_of_a_rate() -> None:
    pace = after(POLICY, [Seen(0.8, rate=0.0, seconds=0.02)], 1.0)

    assert pace.rates == ()
    assert paced(pace, Seen(0.8, rate=9.0, seconds=5.0), POLICY).rates == (9.0,)


def test_without_a_rate_more_workers_are_neither_tried_nor_taken_back() -> None:
    steps = on(quiet, 40, pace=pace_at_start(POLICY, 1.0), gain=0.1)

    assert steps[-1].level == 4.0
    assert all(step.trial is None for step in steps)


def test_workers_that_gain_enough_are_kept() -> None:
    def scales(level: float) -> float:
        return 1_000.0 * sqrt(level)

    steps = on(quiet, 40, rate=scales, pace=pace_at_start(POLICY, 1.0), gain=0.1)

    assert steps[-1].level == 4.0
    assert steps[-1].useless == NOT_BANNED


def test_without_a_gauge_there_is_one_worker_at_most() -> None:
    down = paced(pace_at_start(POLICY, 3.0), Seen(None), POLICY)
    up = after(POLICY, [Seen(None)] * 30, 0.2)

    assert down.level == 1.0
    assert down.why == "no gauge can be read: 3.00 -> 1.00 workers"
    assert up.level == 1.0
    assert after(POLICY, [Seen(None)], 0.9).why == (
        "no gauge says otherwise: 0.90 -> 1.00 workers"
    )


def test_the_share_of_a_worker_is_what_the_level_leaves_for_it() -> None:
    assert [duty_of(1.5, worker) for worker in range(3)] == [1.0, 0.5, 0.0]
    assert duty_of(0.05, 0) == 0.05


@pytest.mark.parametrize(
    ("duty", "seconds", "rest"),
    [(1.0, 3.0, 0.0), (0.5, 3.0, 3.0), (0.25, 1.0, 3.0), (0.05, 10.0, 30.0)],
)
def test_a_rest_makes_the_share_true_and_is_bounded(
    duty: float, seconds: float, rest: float
) -> None:
    assert rest_for(duty, seconds) == pytest.approx(rest)


def test_a_worker_without_a_share_rests_until_it_has_one() -> None:
    assert rest_for(0.0, 1.0) == inf


@few
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1e4))
def test_a_smaller_share_never_rests_less(
    one: float, other: float, seconds: float
) -> None:
    low, high = sorted((one, other))

    assert rest_for(low, seconds) >= rest_for(high, seconds) >= 0


def test_a_budget_that_trips_again_and_again_leaves_the_first_ceiling() -> None:
    pace = pace_at_start(POLICY, 4.0)
    for _ in range(20):
        for tripped in (True, False, False, False):
            pace = paced(pace, Seen(0.2, tripped=tripped), POLICY)

    assert pace.useless.ceiling == pytest.approx(3.6)
    # It is back where this plant holds it, and not at the floor for ten minutes.
    assert on(quiet, 30, pace=pace, gain=0.2)[-1].level > 2.0
