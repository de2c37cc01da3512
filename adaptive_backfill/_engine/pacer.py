"""The pace of one run: how many rows a batch, and how much of the time.

There is one for a run, and all loops of its shares ask it. It holds what the laws of
the core make of batches and of health; it never waits itself.
"""

from __future__ import annotations

import math
from bisect import insort
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from adaptive_backfill._core.adaptive import Adaptive
from adaptive_backfill._core.answers import Pause, Slow
from adaptive_backfill._core.evaluation import HEALTHY, HealthReport
from adaptive_backfill._core.health import CheckResult
from adaptive_backfill._core.options import RunOptions, retuned
from adaptive_backfill._core.pacing_level import (
    Seen,
    duty_of,
    pace_at_start,
    paced,
    rest_for,
)
from adaptive_backfill._core.pacing_size import (
    Batch,
    Sizing,
    reset_to,
    shrunk,
    sized,
    starting,
)
from adaptive_backfill._core.saying import said_of_error
from adaptive_backfill._core.snapshot import Wishes
from adaptive_backfill._engine.canary import Canary
from adaptive_backfill._engine.caps import Caps
from adaptive_backfill._engine.clock import Bell
from adaptive_backfill._engine.reporting import Reporter
from adaptive_backfill._engine.wishes import wished_since
from adaptive_backfill._ports import Clock, Work
from adaptive_backfill.errors import BatchTimeout

__all__ = ["Pacer", "Took", "Worker"]

Worker: TypeAlias = tuple[int, int]
"""A worker's number, and the turn of its share: the lower, the sooner it works."""


class Took(NamedTuple):
    """What an attempt at a batch took.

    Attributes:
        began: When, on the run's clock.
        seconds: How long; of the database's time, where that is known.
        size: Rows or keys that it was for.
    """

    began: float
    seconds: float
    size: int | None


SHORTEST_REST = 0.005
"""Seconds. An event loop sleeps by the millisecond, and never less than told."""

LONGEST_CREDIT = 1.0
"""Seconds that somebody may have rested for too long, and will be forgiven."""

SECONDS_A_SAMPLE = 1.0
"""Between two looks at the health that count, where it is asked in every batch."""


class Pacer:
    """What paces one run.

    Args:
        options: The run's, as it starts.
        work: Hears of the size, and tells of WAL.
        size: The size to start with; `None` where nobody says.
        reporter: The run's voice.
        bell: Wakes those who wait for a change.
        clock: Time.

    Attributes:
        size: Rows of the next batch; `None` where that is for the handler to know.
        caps: What it keeps to besides.
        is_on: Whether there is anything to ask it.
        canary: Until it is over, only one worker works; `None` where there is none.
        why: What it changed last, and why.
    """

    def __init__(
        self,
        options: RunOptions,
        work: Work,
        *,
        size: int | None,
        reporter: Reporter,
        bell: Bell,
        clock: Clock,
        canary: Canary | None = None,
    ) -> None:
        self.size = size
        self.canary = canary
        self.why: str | None = None
        self.caps = Caps(options, work, log=reporter.log, clock=clock)
        self._options = options
        self._work = work
        self._reporter = reporter
        self._bell = bell
        self._clock = clock
        self._workers: list[Worker] = []
        self._owed: dict[Worker | None, float] = {}
        self._limit: int | None = None
        self._obeyed = Wishes()
        self._report: HealthReport | None = None
        self._looks: dict[int, CheckResult] = {}
        self._sampled_at = clock.monotonic()
        self._done = 0.0
        self._idled = False
        policy = None if options.pace is None else _bounded(options.pace, work)
        self._policy = policy
        self._pace = None if policy is None else pace_at_start(policy)
        self._sizing: Sizing | None = None
        if policy is not None:
            self._sizing = starting(size, policy)
            self._take(self._sizing.size)
        self.is_on = self._has_a_say()

    @property
    def steady_size(self) -> int | None:
        """The size by what is learned: that of the next batch, unless it compares."""
        return self.size if self._sizing is None else self._sizing.steady

    @property
    def level(self) -> float | None:
        """How many workers' worth of work there may be; `None` without a pace."""
        return None if self._pace is None else min(self._pace.level, self._most())

    @property
    def workers(self) -> int | None:
        """How many workers there is work for; `None` where nobody says."""
        most = self._most()
        level = most if self._pace is None else min(self._pace.level, most)
        return None if level == math.inf else max(1, math.ceil(level))

    def duty(self, worker: Worker | None = None) -> float:
        """Return the share of its time that *worker* may work; 0 for not now."""
        rank = self._workers.index(worker) if worker in self._workers else 0
        level = math.inf if self._pace is None else self._pace.level
        return duty_of(min(level, self._most()), rank) * self._options.duty

    def joined(self, worker: Worker) -> None:
        """Take note that *worker*, by its number and its turn, has work to do."""
        insort(self._workers, worker)

    def left(self, worker: Worker) -> None:
        """Take note that *worker* has nothing to do: another has its place."""
        self._workers.remove(worker)
        self._owed.pop(worker, None)
        self._bell.ring()

    def obey(self, wishes: Wishes) -> None:
        """Take over what is wished since it was asked last; once for all workers."""
        changes = wished_since(self._obeyed, wishes)
        self._obeyed = wishes
        unknown = changes.keys() - self._work.tunable
        if unknown:
            self._reporter.log.warning(
                "cannot be set on this run", options=sorted(unknown)
            )
        changes = {k: v for k, v in changes.items() if k not in unknown}
        if changes:
            self._retune(changes)

    def saw(self, report: HealthReport) -> None:
        """Take the next step, if *report* is news."""
        policy, pace = self._policy, self._pace
        if policy is None or pace is None:
            return
        now = self._clock.monotonic()
        seconds = now - self._sampled_at
        if not self._is_news(report, seconds):
            return
        rate = None if self._idled or seconds <= 0 else self._done / seconds
        seen = self._heard(report, rate, seconds)
        self._report, self._sampled_at = report, now
        self._done, self._idled = 0.0, False
        self._pace = paced(pace, seen, policy)
        self._reporter.sampled(seen, self._pace.level)
        if self._pace.why is not None:
            self._changed(self._pace.why)

    def _heard(self, report: HealthReport, rate: float | None, seconds: float) -> Seen:
        """Return what *report* says to the pace: each look of a gauge once."""
        gauges = [
            (place, result)
            for place, result in enumerate(report.results)
            if result.load is not None and result.severity != "info"
        ]
        news = [
            (result.load, result.name)
            for place, result in gauges
            if result.load is not None and _is_new(result, self._looks.get(place))
        ]
        self._looks = dict(gauges)
        worst = max(news, key=lambda each: _is_bad(each[0]), default=(None, None))
        bad = isinstance(report.verdict, Pause | Slow)
        return Seen(
            load=worst[0],
            tripped=_tripped(report),
            slow=isinstance(report.verdict, Slow),
            fresh=report.fresh,
            rate=rate,
            seconds=seconds,
            said="; ".join(map(str, report.reasons)) or None if bad else None,
            gauge=worst[1],
            pending=len(news) < len(gauges),
        )

    def idled(self) -> None:
        """Take note that the run was paused: its rate says nothing of its pace."""
        self._idled = True

    async def did(self, took: Took, rows: int | None) -> None:
        """Learn from a batch of *rows*, where it says so, and what it *took*."""
        if self.canary is not None and rows is not None:
            self.canary.counted = True
        amount = took.size if rows is None else rows
        self._done += amount or 0
        await self.caps.did(took.began, amount)
        if self._sizing is not None and self._policy is not None and took.size:
            batch = Batch(took.seconds, took.size, rows)
            self._resize(sized(self._sizing, batch, self._policy))

    def failed(
        self, error: BaseException, size: int | None, *, over: bool = False
    ) -> None:
        """Go on with less, if it may be that a batch of *size* was too much.

        Also where the run is *over* by that: the next one would fail as this one did.
        """
        if self._sizing is None or self._policy is None:
            return
        if size is not None and size > self._sizing.size:
            # Several workers failed at once, and one of them was heard already.
            return
        if self._was_too_much(error, over=over):
            cause = said_of_error(error)
            self._resize(shrunk(self._sizing, cause, self._policy))

    def _was_too_much(self, error: BaseException, *, over: bool) -> bool:
        if self._work.too_much is not None:
            return self._work.too_much(error)
        return not over or isinstance(error, BatchTimeout)

    def rest(self, worker: Worker | None, seconds: float) -> float:
        """Return the seconds for *worker* to rest after a batch of *seconds*.

        What is too short to be slept is owed until it is not.
        """
        duty = self.duty(worker)
        if duty <= 0:
            return 0.0
        owed = self._owed.get(worker, 0.0) + rest_for(duty, seconds)
        self._owed[worker] = owed
        return owed if owed >= SHORTEST_REST else 0.0

    def rested(self, worker: Worker | None, seconds: float) -> None:
        """Take note that *worker* has rested for *seconds*."""
        owed = self._owed.get(worker, 0.0) - seconds
        self._owed[worker] = max(-LONGEST_CREDIT, min(0.0, owed))

    def _has_a_say(self) -> bool:
        options = self._options
        return (
            options.pace is not None
            or options.duty < 1
            or self._limit is not None
            or self.caps.are_there
        )

    def _most(self) -> float:
        if self.canary is not None and not self.canary.over:
            return 1.0
        return math.inf if self._limit is None else float(self._limit)

    def _retune(self, changes: dict[str, object]) -> None:
        self._options = options = retuned(self._options, changes)
        self._work_hears(changes)
        if "workers" in changes and isinstance(changes["workers"], int):
            self._limit = changes["workers"]
        self.caps.retuned(options, changes)
        if "batch_size" in changes:
            self.size = options.batch_size
            if self._sizing is not None and self._policy is not None:
                size = options.batch_size or self._sizing.size
                self._sizing = reset_to(self._sizing, size, self._policy)
                self._take(self._sizing.size)
        self.is_on = self._has_a_say()
        self._changed(f"set from outside: {self._now_is(changes)}")

    def _now_is(self, changes: dict[str, object]) -> str:
        """Return *changes* for people, with what became of them within the bounds."""
        said = [f"{name}={value}" for name, value in sorted(changes.items())]
        if "batch_size" in changes and self.size != changes["batch_size"]:
            said.append(f"so {self.size} rows, by the bounds of its pace")
        return ", ".join(said)

    def _changed(self, why: str) -> None:
        self.why = why
        self._reporter.paced(
            size=self.steady_size,
            delay=self._options.delay_between_batches,
            duty=self._options.duty,
            level=self.level,
            why=why,
        )
        # Whoever has no work to do may have some now.
        self._bell.ring()

    def _resize(self, sizing: Sizing) -> None:
        before, self._sizing = self.size, sizing
        if sizing.size != before:
            self._take(sizing.size)
        # Without a reason it is for one batch only, to compare.
        if sizing.why is not None:
            self._changed(sizing.why)

    def _take(self, size: int) -> None:
        self.size = size
        self._work_hears({"batch_size": size})

    def _work_hears(self, values: dict[str, object]) -> None:
        if self._work.retuned is not None:
            self._work.retuned(values)

    def _is_news(self, report: HealthReport, seconds: float) -> bool:
        if report is HEALTHY:
            # Nobody looks, so that nothing changes; time passes all the same.
            return self._report is None or seconds >= self._options.health_interval
        if report is self._report:
            return False
        if _tripped(report) and not _tripped(self._report):
            # A limit that is met now does not wait for the next second.
            return True
        return self._report is None or seconds >= SECONDS_A_SAMPLE


def _bounded(policy: Adaptive, work: Work) -> Adaptive:
    """Return *policy* with no more workers than *work* can have."""
    most = 1 if work.most_workers is None else work.most_workers()
    return replace(policy, max_workers=max(1, min(policy.max_workers, most)))


def _tripped(report: HealthReport | None) -> bool:
    return report is not None and isinstance(report.verdict, Pause)


def _is_new(result: CheckResult, last: CheckResult | None) -> bool:
    """Whether *result* is of another look than *last*, of the same gauge."""
    if last is None or result.load_at is None:
        return result is not last
    return result.load_at != last.load_at


def _is_bad(load: float) -> tuple[bool, float]:
    """What loads are compared by: one that is no number is the worst."""
    return math.isnan(load), load
