"""A gate for deploys: go on only where a backfill is finished."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from adaptive_backfill._core.last_seen import is_over
from adaptive_backfill._core.options import RunOptions
from adaptive_backfill._core.result import Progress, RunResult, RunStatus
from adaptive_backfill._dsl.backfill import Backfill, prepared_for
from adaptive_backfill._engine.runs import Runs
from adaptive_backfill.errors import ConfigurationError, NotFinished
from adaptive_backfill.postgres.planning import Planning

__all__ = ["ensure_finished"]


async def ensure_finished(
    backfill: type[Backfill[Any]], /, *, verify: bool = True, **overrides: Any
) -> RunResult:
    """Return how *backfill* was finished.

    To be awaited before something that needs it: a release that reads the new column,
    a migration that sets it NOT NULL.

    Args:
        backfill: The class.
        verify: Whether to count the rows of a `TableBackfill` that still match
            `where`, too. False where rows go on matching it when they are done.
        overrides: As in `run`: `pool` or `dsn`, and `checkpoint` where it is not
            declared.

    Raises:
        NotFinished: It was never run, or is running, or ended before it was done; or
            rows are quarantined, or still match `where`. The message says which.
        ConfigurationError: The class, or an override, is not usable, or its store
            remembers no endings.
        CheckpointError: The store cannot be asked.
    """
    async with _opened(backfill, overrides) as options:
        if options.checkpoint is None:
            msg = "it has no checkpoint, and so nothing remembers how it ended"
            raise ConfigurationError([msg], subject=backfill.__qualname__)
        runs, name = Runs(options.checkpoint.store), options.key
        result = _finished(name, await runs.status(name), await runs.history(name))
    # Those that the run set aside may have been done since.
    failures = getattr(backfill, "failures", None)
    aside = len(await failures(**overrides)) if failures else result.quarantined
    if aside:
        raise NotFinished(name, _aside(aside))
    if verify and issubclass(backfill, Planning):
        await _verified(backfill, name, overrides)
    return result


@asynccontextmanager
async def _opened(
    backfill: type[Backfill[Any]], overrides: dict[str, Any]
) -> AsyncIterator[RunOptions]:
    """Open what a run of *backfill* would have, and begin none."""
    prepared = prepared_for(backfill, overrides)
    if prepared.work.resources is None:
        yield prepared.options
        return
    async with prepared.work.resources():
        yield prepared.options


def _finished(name: str, seen: Progress | None, history: list[RunResult]) -> RunResult:
    if seen is not None and not is_over(seen):
        raise NotFinished(name, _under_way(seen))
    latest = history[0] if history else None
    if latest is None and seen is None:
        raise NotFinished(name, "it was never run")
    if latest is None or (seen is not None and seen.run_id != latest.run_id):
        # A run that was cancelled, or whose process went away, has no ending.
        why = "; ".join(map(str, seen.reasons)) if seen else ""
        raise NotFinished(name, f"its last run did not end by itself: {why}")
    if latest.status is not RunStatus.DONE:
        raise NotFinished(name, _ended(latest))
    return latest


async def _verified(
    backfill: type[Planning], name: str, overrides: dict[str, Any]
) -> None:
    left = await backfill.verify(**overrides)
    if left.remaining:
        said = str(left).removeprefix(f"{left.name}: ")
        raise NotFinished(name, f"{said}; run it again")


def _under_way(seen: Progress) -> str:
    parts = [
        f"it is {seen.status}" if seen.status != "waiting" else "it is standing by"
    ]
    if seen.share is not None:
        parts.append(f"{seen.share:.0%} done")
    if seen.eta is not None:
        parts.append(f"about {round(seen.eta):,} s left")
    parts += map(str, seen.reasons)
    return ", ".join(parts)


def _ended(latest: RunResult) -> str:
    why = [str(reason) for reason in latest.reasons]
    if latest.error is not None:
        error = latest.error
        kind = f"{type(error).__name__}: " if isinstance(error, BaseException) else ""
        why.append(f"{kind}{error}")
    said = f": {'; '.join(why)}" if why else ""
    return (
        f"its last run {latest.status} after {latest.batches:,} batches, "
        f"{latest.rows:,} rows{said}; run it again to resume"
    )


def _aside(rows: int) -> str:
    said = "1 row is" if rows == 1 else f"{rows:,} rows are"
    return (
        f"{said} quarantined; `failures()` lists what is, and `retry_failures()` tries "
        "it again"
    )
