"""Tell the world what a run does: events for whoever listens, lines for people.

Rule: nothing is built for nobody; states are logged at debug level only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import structlog
from structlog.typing import FilteringBoundLogger

from adaptive_backfill._core.answers import Done, Halt, Next
from adaptive_backfill._core.evaluation import HealthReport
from adaptive_backfill._core.health import Reason
from adaptive_backfill._core.options import RunOptions
from adaptive_backfill._core.pacing_level import Seen
from adaptive_backfill._core.result import RunResult, RunStatus
from adaptive_backfill._core.run import Outcome, Raised, RunState
from adaptive_backfill._core.saying import said_of_error
from adaptive_backfill._ports import Clock
from adaptive_backfill.errors import BatchTimeout
from adaptive_backfill.telemetry import Emitter, traced

__all__ = ["Reporter"]


class Reporter:
    """One run's voice.

    Args:
        options: The run's options.
        run_id: Names it.
        single: Whether it is a single operation.
        part: What part of the run it speaks for, as events and lines tell it.
    """

    def __init__(
        self,
        options: RunOptions,
        run_id: str,
        *,
        single: bool,
        part: Mapping[str, object] | None = None,
    ) -> None:
        about = {"backfill": options.name, "run_id": run_id, **(part or {})}
        self.log: FilteringBoundLogger = structlog.get_logger("adaptive_backfill").bind(
            **about
        )
        self._emitter = Emitter(
            options.telemetry_prefix, {**about, "mode": options.mode}
        )
        self._prefix = "" if single else "batch."
        self._single = single
        self._verbose = structlog.is_configured() and _shows_debug(self.log)
        self._started = False

    @property
    def is_heard(self) -> bool:
        """Whether anybody would hear of a batch."""
        return self._verbose or self._emitter.heard

    def started(self, state: object, *, resumed: bool) -> None:
        """The run begins."""
        self._started = True
        self._emitter.open("start", {}, {"resumed": resumed, "state": state})
        self.log.info("backfill started", resumed=resumed)

    def stopped(self, result: RunResult) -> None:
        """The run is over, with *result*."""
        numbers = {
            "duration": result.duration,
            "batches": result.batches,
            "rows": result.rows,
            "paused": result.paused,
        }
        metadata: dict[str, object] = {
            "outcome": str(result.status),
            "state": result.state,
        }
        if result.error is not None:
            metadata["error"] = result.error
        self._stop(numbers, metadata)
        said = {**numbers, "duration": round(result.duration, 3)}
        if result.status is RunStatus.FAILED:
            self.log.error(
                "backfill failed",
                **said,
                error=said_of_error(result.error),
                **_traced(result),
            )
        elif result.status is RunStatus.DONE:
            self.log.info("backfill done", **said)
        else:
            reasons = _texts(result.reasons)
            self.log.warning(f"backfill {result.status}", **said, reasons=reasons)

    def cancelled(self, run: RunState | None, duration: float, paused: float) -> None:
        """The run is over, because somebody cancelled it."""
        if not self._started:
            return
        numbers: dict[str, float] = {"duration": duration, "paused": paused}
        if run is not None:
            numbers |= {"batches": run.batches, "rows": run.rows}
        self._stop(numbers, {"outcome": "cancelled"})
        self.log.warning("backfill cancelled", duration=round(duration, 3))

    def _stop(self, numbers: dict[str, float], metadata: dict[str, object]) -> None:
        self._emitter.close("pause")
        self._emitter.emit("stop", numbers, metadata)
        self._emitter.close("start")

    def attempting(self, run: RunState, state: object, size: int | None) -> None:
        """An attempt at the next batch, of *size*, begins."""
        emitter = self._emitter
        if self._single or not emitter.hears("batch.start"):
            return
        numbers: dict[str, float] = {"batch": run.batches + 1}
        if size is not None:
            numbers["size"] = size
        emitter.open("batch.start", numbers, {"state": state, "attempt": run.attempt})

    def attempted(
        self,
        run: RunState,
        outcome: Outcome,
        duration: float,
        of_database: tuple[float, int | None] | None = None,
    ) -> None:
        """The attempt that began at *run* ended in *outcome*, and was saved.

        *of_database* are the seconds, and the size, that the pace goes by, where the
        *duration* is not what it goes by.
        """
        event = self._prefix + _event_of(outcome, single=self._single)
        if self._emitter.hears(event):
            numbers = self._numbers(run, duration)
            metadata: dict[str, object] = {"state": run.state, "attempt": run.attempt}
            _describe(outcome, numbers, metadata)
            if of_database is not None and isinstance(outcome, Next | Done):
                numbers["database"], size = of_database
                if size is not None:
                    numbers["size"] = size
            self._emitter.emit(event, numbers, metadata)
        self._emitter.close("batch.start")
        if self._verbose:
            number = run.batches + 1
            self.log.debug(event, batch=number, duration=duration, state=run.state)

    def broken_off(
        self, run: RunState, duration: float, *, outcome: str, error: object = None
    ) -> None:
        """The attempt at *run* did not come to its end: cancelled, or not saved."""
        if self._single and outcome == "cancelled":
            return
        metadata: dict[str, object] = {"state": run.state, "attempt": run.attempt}
        metadata["outcome"] = outcome
        if error is not None:
            metadata["error"] = error
        self._emitter.emit(
            f"{self._prefix}exception", self._numbers(run, duration), metadata
        )
        self._emitter.close("batch.start")

    def retrying(self, run: RunState, error: object, wait: float) -> None:
        """*run* is to be tried again in *wait* seconds."""
        failed = run.attempt - 1
        numbers = {"batch": run.batches + 1, "attempt": failed, "wait": wait}
        self._emitter.emit(
            f"{self._prefix}retry", numbers, {"state": run.state, "error": error}
        )
        self.log.warning(
            "batch failed, trying again",
            batch=run.batches + 1,
            attempt=failed,
            wait=round(wait, 3),
            error=said_of_error(error),
        )

    def saved(self, state: object, began: float, clock: Clock) -> None:
        """A checkpoint is safe, whose saving *began* on *clock*."""
        if self._emitter.heard and self._emitter.hears("checkpoint.save"):
            numbers = {"duration": clock.monotonic() - began}
            self._emitter.emit("checkpoint.save", numbers, {"state": state})

    def halting(self, report: HealthReport) -> None:
        """The health checks end the run."""
        self._emitter.emit(
            "halt" if self._single else "health_check.halt", {}, _findings(report)
        )

    def slowing(self, report: HealthReport) -> None:
        """The health checks ask for a gentler pace."""
        self._emitter.emit("health_check.slow", {}, _findings(report))
        self.log.warning("slowing down", reasons=_texts(report.reasons))

    def pausing(self, report: HealthReport, reasons: tuple[Reason, ...]) -> None:
        """The run waits, for *reasons*."""
        self._emitter.open("pause", {}, {"results": report.results, "reasons": reasons})
        self.log.warning("paused", reasons=_texts(reasons))

    def resuming(self, paused: float, reasons: tuple[Reason, ...]) -> None:
        """The run goes on after *paused* seconds, for *reasons*."""
        self._emitter.emit("resume", {"paused": paused}, {"reasons": reasons})
        self._emitter.close("pause")
        why = "; ".join(_texts(reasons))
        self.log.info(
            "resumed", paused=round(paused, 3), after=f"paused {paused:.0f} s: {why}"
        )

    def sampled(self, seen: Seen, level: float) -> None:
        """The pace has looked at the health, and is *level* now."""
        if not self._emitter.hears("pace.sample"):
            return
        numbers: dict[str, float] = {
            "level": level,
            "seconds": seen.seconds,
            "tripped": float(seen.tripped),
            "slow": float(seen.slow),
            "fresh": float(seen.fresh),
            "pending": float(seen.pending),
        }
        if seen.load is not None:
            numbers["load"] = seen.load
        if seen.rate is not None:
            numbers["rate"] = seen.rate
        told = {"gauge": seen.gauge, "said": seen.said}
        self._emitter.emit("pace.sample", numbers, told)

    def paced(
        self,
        *,
        size: int | None,
        delay: float,
        duty: float,
        level: float | None,
        why: str,
    ) -> None:
        """The pace has changed, because of *why*; this is how it is now."""
        numbers: dict[str, float] = {"delay": delay, "duty": duty}
        if size is not None:
            numbers["batch_size"] = size
        if level is not None:
            numbers["level"] = level
        self._emitter.emit("pace.change", numbers, {"reasons": (why,)})
        self.log.info("pace changed", reasons=[why], **numbers)

    def hook_failed(self, hook: str, error: BaseException) -> None:
        """A hook raised, which changes nothing."""
        self._emitter.emit("hook.exception", {}, {"hook": hook, "error": error})
        self.log.error("hook failed", hook=hook, **traced(error))

    def _numbers(self, run: RunState, duration: float) -> dict[str, float]:
        if self._single:
            return {"duration": duration}
        return {"batch": run.batches + 1, "duration": duration}


def _shows_debug(log: FilteringBoundLogger) -> bool:
    """Whether debug lines, one a batch, would be seen.

    structlog as it comes prints them, too; who wants them configures it.
    """
    asked = getattr(log, "is_enabled_for", None) or getattr(log, "isEnabledFor", None)
    return asked is None or bool(asked(logging.DEBUG))


def _event_of(outcome: Outcome, *, single: bool) -> str:
    if isinstance(outcome, Next):
        return "success"
    if isinstance(outcome, Done):
        return "success" if single else "done"
    if isinstance(outcome, Raised):
        late = isinstance(outcome.error, BatchTimeout)
        return "timeout" if late else "exception"
    return "halt" if isinstance(outcome, Halt) else "error"


def _describe(
    outcome: Outcome, numbers: dict[str, float], metadata: dict[str, object]
) -> None:
    """Add to *numbers* and *metadata* what *outcome* has to say."""
    if isinstance(outcome, Next | Done):
        if outcome.rows is not None:
            numbers["rows"] = outcome.rows
        if isinstance(outcome, Next):
            metadata["next_state"] = outcome.state
        else:
            metadata["result"] = outcome.result
    elif isinstance(outcome, Raised):
        metadata["error"] = outcome.error
    else:
        metadata["error"] = outcome.reason


def _findings(report: HealthReport) -> dict[str, object]:
    return {"results": report.results, "reasons": report.reasons}


def _texts(reasons: Iterable[Reason]) -> list[str]:
    return [str(reason) for reason in reasons]


def _traced(result: RunResult) -> dict[str, object]:
    return traced(result.error) if isinstance(result.error, BaseException) else {}
