"""The pacer: how many workers' worth of work the database can take.

One actuator, the *level*: worker i, from 0, works the share `duty_of(level, i)` of its
time, so that 1.5 is one worker at full duty and one at half. One law, once a health
sample: `paced`. Rule: for each sample, a higher load, a `Slow` or a `Pause` in its
place never gives a higher level.
"""

from __future__ import annotations

from math import ceil, inf, isnan
from typing import NamedTuple

from adaptive_backfill._core import pacing_trial as trials
from adaptive_backfill._core.adaptive import Adaptive
from adaptive_backfill._core.pacing_memory import NOT_BANNED, Ban, aged, banned

__all__ = [
    "LONGEST_REST",
    "MIN_LEVEL",
    "Pace",
    "Seen",
    "duty_of",
    "pace_at_start",
    "paced",
    "rest_for",
]

MIN_LEVEL = 0.05
"""Never nothing: 5 % of one worker still shows whether the database has recovered."""

UNSEEN_LEVEL = 0.5
"""Workers before the first look."""

FIRST_LEVEL = 1.0
"""Workers from the first good look on, and at most where no gauge can be read: one was
right at most loads that were measured, and more has to be earned."""

GROW, SHED, HALVE = 0.70, 0.90, 1.00
"""Loads that bound the zones. Between the first two nothing changes: the gap is wider
than what one step up adds, so that a step cannot lead from growing to shedding."""

ROOM = 0.50
"""Below this load more workers than one are tried. On two processors, beside users at
steady rates, a second one added 11 to 43 % of speed to 1.1 to 1.6 times their p99."""

FAR = GROW / 2
"""Below this load the limit is so far away that no step waits for the last one."""

DECAY = 0.5
"""Share of a fall in load that is believed in one sample, before anything grows."""

COOL_DOWN = 2
"""Samples from a change to a step up, and from one shed to the next: the first may
still show what was before. Only a halving does not wait."""

HEALTHY = 2
"""Samples in a row without a pause, and below `SHED`, until a level is let go."""

STEP, SMALLEST_STEP = 0.25, 0.1
"""Share of the level that a step up adds, below one worker and above it in workers."""

FAST_STEP = 0.5
"""Workers at most that a step adds far from the limit; below that, it doubles. It also
doubles on the way back to where an overload began."""

SAFE = 0.9
"""Share of a level that was too much which is taken to be bearable."""

SLOW_LEVEL = 0.5
"""Workers at most while a check says `Slow`: half of the time, as without a pace. Many
that say so, such as one that sees a vacuum, cannot be helped by resting more."""

LONGEST_REST = 30.0
"""Seconds between two batches at most, so that a run is seen to be alive."""


class Seen(NamedTuple):
    """What one health sample said.

    Attributes:
        load: The worst gauge, as observed / limit; `None` where none has news.
        gauge: Whose that is, for people.
        pending: A gauge has not been judged anew: what it said last stands. So nothing
            falls, nothing grows, and nothing is answered twice.
        tripped: The verdict is a `Pause`: a budget is spent.
        slow: The verdict is `Slow`.
        fresh: Young enough to trust. Nothing grows on what is not.
        rate: Own rows, or keys, a second since the last sample; `None`: not known.
        seconds: Since the last sample.
        said: Why it is tripped or slow, for people.
    """

    load: float | None
    tripped: bool = False
    slow: bool = False
    fresh: bool = True
    rate: float | None = None
    seconds: float = 5.0
    said: str | None = None
    gauge: str | None = None
    pending: bool = False


class Pace(NamedTuple):
    """The level, and what the pacer remembers.

    Attributes:
        level: Workers' worth of work, from `MIN_LEVEL` to the policy's `max_workers`.
        why: Why this sample changed it, as a sentence; `None`: it did not.
        load: Of the last sample; while a gauge is pending, the worst since its news.
        strain: The load, smoothed: up at once, down by half a sample.
        looked: A first fresh sample has come.
        held: A budget has tripped, and health is not yet back.
        healthy: Good samples in a row.
        settled: Samples since the level changed.
        relieved: Samples since it was shed.
        ill: Too much load, and not yet healthy since.
        overloaded: Too much load at a level. Forgotten when the load of others falls.
        useless: More workers that gained nothing, or a tripped budget: the load does
            not show it, so only time forgets it.
        borne: Up to here it is the way back to where trouble began last, and quick.
        trial: The last step to more workers, while it is being measured.
        rates: Own rows a second since the level changed.
    """

    level: float
    why: str | None = None
    load: float | None = None
    strain: float | None = None
    looked: bool = False
    held: bool = False
    healthy: int = 0
    settled: int = COOL_DOWN
    relieved: int = COOL_DOWN
    ill: bool = False
    overloaded: Ban = NOT_BANNED
    useless: Ban = NOT_BANNED
    borne: float = 0.0
    trial: trials.Trial | None = None
    rates: tuple[float, ...] = ()


def pace_at_start(policy: Adaptive, level: float | None = None) -> Pace:
    """Return the pace to start with: *level*, or half a worker until a first look."""
    if level is None:
        return Pace(min(UNSEEN_LEVEL, policy.max_workers))
    return Pace(_within(level, policy), looked=True)


def paced(pace: Pace, seen: Seen, policy: Adaptive) -> Pace:
    """Return the pace after *seen*. Always within *policy*'s bounds."""
    now = _noted(pace, seen)
    load = _load(seen)
    if not now.held and seen.tripped:
        now = _tripped(now, seen)
    elif load is not None and load >= SHED:
        now = _shed(now, load, seen)
    elif now.held:
        now = _holding(now)
    elif seen.fresh and not seen.slow and not seen.pending:
        now = _grown(_forgiven(now), seen, policy)
    if now.trial and trials.is_over(now.trial, pace.level, now.rates):
        now = _judged(now, now.trial, pace.level)
    return _told(pace, _capped(now, seen), policy)


def duty_of(level: float, worker: int) -> float:
    """Return the share of its time, 0 to 1, that *worker*, from 0, works at *level*."""
    return min(max(level - worker, 0.0), 1.0)


def rest_for(duty: float, seconds: float) -> float:
    """Return the seconds to rest after a batch of *seconds*, so as to work at *duty*.

    At most `LONGEST_REST`; `inf` at a duty of 0: this worker has nothing to do.
    """
    if duty <= 0:
        return inf
    return min(max(seconds / duty - seconds, 0.0), LONGEST_REST)


def _noted(pace: Pace, seen: Seen) -> Pace:
    """Return *pace* with what *seen* says folded in, and nothing decided yet."""
    load, strain = _load(seen), pace.strain
    if seen.pending:
        load, strain = _worse(load, pace.load), _worse(load, strain)
    else:
        strain = _smoothed(strain, load)
    calm = not seen.tripped and not seen.slow and (load is None or load < SHED)
    good = seen.fresh and calm
    healthy = pace.healthy + 1 if good else 0
    # While an overload goes on, its end cannot be waited for.
    overloaded = pace.overloaded if pace.ill else aged(pace.overloaded, seen.seconds)
    return pace._replace(
        why=None,
        load=load,
        strain=strain,
        healthy=healthy,
        ill=pace.ill and healthy < HEALTHY,
        settled=pace.settled + 1,
        relieved=pace.relieved + 1,
        overloaded=overloaded,
        useless=aged(pace.useless, seen.seconds),
        rates=trials.measured(pace.rates, seen.rate, seen.seconds),
    )


def _load(seen: Seen) -> float | None:
    """Return the load of *seen*; one that is no number is bad."""
    return HALVE if seen.load is not None and isnan(seen.load) else seen.load


def _worse(one: float | None, other: float | None) -> float | None:
    return max((load for load in (one, other) if load is not None), default=None)


def _smoothed(strain: float | None, load: float | None) -> float | None:
    if load is None or strain is None or load >= strain:
        return load
    # From an infinite load there is no way down but at once.
    return load if strain == inf else strain + DECAY * (load - strain)


def _holding(pace: Pace) -> Pace:
    """Return *pace*, let go once health is back; it grows after that."""
    if pace.healthy < HEALTHY:
        return pace
    return pace._replace(held=False, relieved=0, rates=())


def _tripped(pace: Pace, seen: Seen) -> Pace:
    return pace._replace(
        level=0.5 * pace.level,
        why=seen.said or "paused by a check",
        held=True,
        # One that trips again and again says nothing of the levels on the way down.
        useless=banned(pace.useless, max(SAFE * pace.level, _remembered(pace.useless))),
        borne=SAFE * pace.level,
    )


def _remembered(ban: Ban) -> float:
    """Return the ceiling of *ban* while it holds; 0 where it does not."""
    return 0.0 if ban.limit == inf else ban.limit


def _shed(pace: Pace, load: float, seen: Seen) -> Pace:
    if load >= HALVE:
        factor, why = 0.5, f"load {load:.2f} >= {HALVE:g}"
    elif pace.relieved >= COOL_DOWN:
        factor, why = 0.8, f"load {load:.2f} >= {SHED:g}"
    else:
        return pace
    if seen.gauge is not None:
        why = f"{seen.gauge}: {why}"
    if not pace.ill:
        # Of an overload, its first level: those on the way down say nothing.
        borne = SAFE * pace.level
        pace = pace._replace(overloaded=banned(pace.overloaded, borne), borne=borne)
    return pace._replace(level=factor * pace.level, why=why, ill=True, relieved=0)


def _first_look(pace: Pace, policy: Adaptive) -> Pace:
    level = max(pace.level, min(FIRST_LEVEL, policy.max_workers))
    return pace._replace(level=level, why=f"first look, {_words(pace.load)}")


def _forgiven(pace: Pace) -> Pace:
    """Return *pace* without its ban, if others left so much room that it is no more.

    Load grows with the level at most in proportion. So where even the level that was
    too much would be in the zone of growth, the load of others has fallen.
    """
    ban, strain = pace.overloaded, pace.strain
    if ban.limit == inf or strain is None or pace.healthy < HEALTHY:
        return pace
    if strain * max(1.0, ban.ceiling / SAFE / pace.level) < GROW:
        return pace._replace(overloaded=NOT_BANNED)
    return pace


def _grown(pace: Pace, seen: Seen, policy: Adaptive) -> Pace:
    if not pace.looked:
        return _first_look(pace, policy)
    strain = pace.strain
    if strain is not None and strain >= GROW:
        return pace
    far = strain is not None and strain < FAR
    if pace.settled < (1 if far else COOL_DOWN) or pace.relieved < COOL_DOWN:
        return pace
    limit = _limit(pace, seen, policy)
    level = min(pace.level + _step(pace, far=far), limit)
    if level <= pace.level:
        return pace
    trial = pace.trial
    if trial is None and ceil(level) > ceil(pace.level):
        trial = trials.begun(pace.level, pace.rates)
    return pace._replace(level=level, why=_words(strain), trial=trial)


def _limit(pace: Pace, seen: Seen, policy: Adaptive) -> float:
    """Return the workers that a step up leads to at most."""
    limits = [policy.max_workers, pace.overloaded.limit, pace.useless.limit]
    if pace.trial:
        # One worker more is measured before there is a second one.
        limits.append(pace.trial.level + 1.0)
    if pace.strain is not None and pace.strain >= ROOM:
        limits.append(_kept(pace))
    if seen.load is None:
        limits.append(FIRST_LEVEL)
    return min(limits)


def _kept(pace: Pace) -> float:
    """Return the workers that there may be where there is no room for more of them.

    One; and those that there were when there was room, a trial of one more included.
    """
    came_back = pace.overloaded != NOT_BANNED or pace.useless != NOT_BANNED
    borne = pace.borne if came_back else 0.0
    tried = pace.trial.level + 1.0 if pace.trial else 0.0
    return max(FIRST_LEVEL, pace.level, borne, tried)


def _step(pace: Pace, *, far: bool) -> float:
    """Return the workers to add."""
    if pace.level < pace.borne:
        return max(SMALLEST_STEP, min(pace.level, pace.borne - pace.level))
    if far:
        return max(SMALLEST_STEP, min(pace.level, FAST_STEP))
    return max(SMALLEST_STEP, STEP * min(pace.level, 1.0))


def _judged(pace: Pace, trial: trials.Trial, measured_at: float) -> Pace:
    """Return *pace*, back where *trial* began if the step gained too little."""
    pace = pace._replace(trial=None)
    gain = trials.gain_of(trial, pace.rates)
    extra = measured_at - trial.level
    if gain >= trials.GAIN * extra:
        return pace
    back = pace._replace(useless=banned(pace.useless, trial.level))
    if pace.level <= trial.level:
        return back
    why = f"{extra:.2f} more workers changed the rate by {gain:+.0%}"
    return back._replace(level=trial.level, why=why)


def _capped(pace: Pace, seen: Seen) -> Pace:
    """Return *pace* at the level, at most, that *seen* leaves whatever the load."""
    if seen.slow and pace.level > SLOW_LEVEL:
        slow = seen.said or "a check says Slow"
        why = f"{pace.why}, and {slow}" if pace.why else slow
        return pace._replace(level=SLOW_LEVEL, why=why, relieved=0)
    if pace.load is None and pace.level > FIRST_LEVEL:
        return pace._replace(level=FIRST_LEVEL, why="no gauge can be read")
    return pace


def _told(before: Pace, now: Pace, policy: Adaptive) -> Pace:
    """Return *now* within bounds, its reason with its numbers, or none."""
    level = _within(now.level, policy)
    if level == before.level:
        return now._replace(level=level, why=None, looked=True)
    return now._replace(
        level=level,
        why=f"{now.why}: {before.level:.2f} -> {level:.2f} workers",
        looked=True,
        settled=0,
        rates=(),
        trial=now.trial if level > before.level else None,
    )


def _within(level: float, policy: Adaptive) -> float:
    return min(max(level, MIN_LEVEL), float(policy.max_workers))


def _words(strain: float | None) -> str:
    if strain is None:
        return "no gauge says otherwise"
    return f"load {strain:.2f} < {GROW if strain < GROW else SHED:g}"
