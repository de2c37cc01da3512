"""How a run ended, and how far a running one is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from adaptive_backfill._core.answers import OK, Verdict
from adaptive_backfill._core.health import Reason
from adaptive_backfill._core.saying import said_of_error
from adaptive_backfill.errors import RunFailed, RunHalted

__all__ = ["Progress", "RunResult", "RunStatus"]


class RunStatus(StrEnum):
    """How a run ended."""

    DONE = "done"
    """The handler answered `Done`."""
    HALTED = "halted"
    """Bad health, or a handler's `Halt`, stopped it; the next run resumes."""
    FAILED = "failed"
    """A batch failed, or a checkpoint could not be kept; the next run resumes."""
    STOPPED = "stopped"
    """Somebody asked it to stop, or `max_batches` was reached; the next resumes."""
    SKIPPED = "skipped"
    """Nothing was run: it is finished already, or another run is at it."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended.

    Attributes:
        name: The backfill's name.
        run_id: Names this one run.
        status: The ending.
        state: The last settled state; `None` where there is none.
        result: `Done.result`.
        reasons: Why it halted, stopped or was skipped; empty when done.
        error: The exception, or the value of `Fail`, where it failed.
        batches: Batches done in the whole backfill, over all its runs.
        rows: Rows done in the whole backfill.
        duration: Seconds that this run took.
        paused: Seconds of them spent paused.
        resumed: Whether it went on from a checkpoint.
        quarantined: Rows set aside because they cannot be done.
        hook_errors: What hooks raised; they change nothing else.
        busy: Seconds of its duration in which a batch was under way.
        delayed: Seconds in which it rested between batches: by the declared delay, by
            its pace, by a cap, before another try.
        locked: Seconds that its batches waited for locks, where that is known; those
            of several workers added up.
        waited: The paused seconds by what was waited for: the name of a check,
            ``"operator"``, ``"window"``, ``"canary"``, or ``"health"`` where it was
            unknown.
    """

    name: str
    run_id: str
    status: RunStatus
    state: object = None
    result: object = None
    reasons: tuple[Reason, ...] = ()
    error: object = None
    batches: int = 0
    rows: int = 0
    duration: float = 0.0
    paused: float = 0.0
    resumed: bool = False
    quarantined: int = 0
    hook_errors: list[Exception] = field(default_factory=list)
    busy: float = 0.0
    delayed: float = 0.0
    locked: float = 0.0
    waited: Mapping[str, float] = field(default_factory=dict)

    def raise_for_status(self) -> Self:
        """Return this result, or raise where the run halted or failed.

        Raises:
            RunHalted: It halted; running it again resumes it.
            RunFailed: It failed; the cause is the exception that ended it.
        """
        if self.status is RunStatus.HALTED:
            message = f"{self.name} halted after {self._extent()}: {self._why()}"
            raise RunHalted(message, self)
        if self.status is RunStatus.FAILED:
            message = f"{self.name} failed after {self._extent()}: {self._what()}"
            cause = self.error if isinstance(self.error, BaseException) else None
            raise RunFailed(message, self) from cause
        return self

    def _extent(self) -> str:
        return f"{self.batches} batches, {self.rows} rows"

    def _why(self) -> str:
        return "; ".join(map(str, self.reasons)) or "no reason was given"

    def _what(self) -> str:
        return said_of_error(self.error)


@dataclass(frozen=True, slots=True)
class Progress:
    """A frozen look at a run.

    Attributes:
        name: The backfill's name.
        run_id: Names this one run.
        status: A `RunStatus`, or `"starting"`, `"running"`, `"paused"`, `"waiting"`.
        state: The last settled state.
        batches: Batches done in the whole backfill.
        rows: Rows done in the whole backfill.
        total: Rows there are, where the option `total` says.
        share: What is done, from 0 to 1: `rows / total`, or by the place in the table.
        rate: Rows a second over the last 60 s of running time; `None` until a batch
            reported rows.
        eta: Seconds left at the rate of those 60 s, pauses not counted.
        batch_size: The size in force.
        verdict: What the health checks said last.
        reasons: Why it is paused or slowed.
        eta_low: Seconds left if all goes as in the fastest sixth of those 60 s.
        eta_high: Seconds left if all goes as in the slowest sixth.
        level: How many workers' worth of work its pace allows; `None` without `pace`.
        duty: Share of the time that it works at most, by its pace and by `duty`.
        pace: What its pace changed last, and why.
    """

    name: str
    run_id: str
    status: str
    state: object = None
    batches: int = 0
    rows: int = 0
    total: int | None = None
    share: float | None = None
    rate: float | None = None
    eta: float | None = None
    batch_size: int | None = None
    verdict: Verdict = OK
    reasons: Sequence[Reason] = ()
    eta_low: float | None = None
    eta_high: float | None = None
    level: float | None = None
    duty: float = 1.0
    pace: str | None = None
