"""A run as others see it."""

from __future__ import annotations

from adaptive_backfill._core.result import Progress, RunResult
from adaptive_backfill._engine.loop import Loop
from adaptive_backfill._engine.meter import Meter
from adaptive_backfill._engine.outside import shown

__all__ = ["early_progress", "progress_of"]


def progress_of(
    name: str, run_id: str, loop: Loop, meter: Meter, result: RunResult | None
) -> Progress:
    """Return a look at the run that *loop* drives, or did until its *result*."""
    run, pacer = loop.run, loop.pacer
    eta = meter.eta(run)
    status = "paused" if meter.is_paused else "running"
    return Progress(
        name=name,
        run_id=run_id,
        status=str(result.status) if result else status,
        state=shown(run.state),
        batches=run.batches,
        rows=run.rows,
        total=meter.total,
        share=meter.share(run),
        rate=meter.rate(),
        eta=eta.seconds,
        batch_size=pacer.steady_size,
        verdict=loop.report.verdict,
        reasons=loop.reasons or loop.report.reasons,
        eta_low=eta.low,
        eta_high=eta.high,
        level=pacer.level,
        duty=pacer.duty(),
        pace=pacer.why,
    )


def early_progress(
    name: str,
    run_id: str,
    size: int | None,
    *,
    result: RunResult | None,
    waiting: bool,
) -> Progress:
    """Return a look at a run that has not begun, or will not."""
    if result is None:
        status = "waiting" if waiting else "starting"
        return Progress(name, run_id, status, batch_size=size)
    return Progress(
        name,
        run_id,
        str(result.status),
        batches=result.batches,
        rows=result.rows,
        batch_size=size,
        reasons=result.reasons,
    )
