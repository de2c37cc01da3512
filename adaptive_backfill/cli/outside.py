"""See and steer runs from another process: the work of the small commands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adaptive_backfill import Progress, RunResult
from adaptive_backfill._core.options import near
from adaptive_backfill.cli.stores import Place
from adaptive_backfill.cli.trouble import Trouble, said
from adaptive_backfill.cli.words import (
    OVER,
    columns,
    condition,
    duration,
    extent,
    pace,
    plural,
    rate,
    reasons_of,
    remaining,
    shown,
)

__all__ = ["history", "pause", "resume", "retune", "status", "stop"]


async def status(place: Place) -> list[str]:
    """Return what is known of a name, or of all, in lines."""
    if not place.name:
        known = await place.runs.list()
        return _table(known) if known else ["Nothing has run in this store yet."]
    progress = await _known(place)
    endings = await place.runs.history(place.name)
    # The error that a run failed by is in its result only.
    last = next((each for each in endings if each.run_id == progress.run_id), None)
    return [f"{place.name}: {progress.status}", *_described(progress, last)]


async def history(place: Place) -> list[str]:
    """Return how the runs of a name ended, newest first, in lines."""
    endings = await place.runs.history(place.name)
    if not endings:
        await _known(place)
        return [f"No run of {place.name} has ended yet."]
    head = ("STATUS", "DONE", "TOOK", "RUN", "WHY")
    return columns([head, *map(_ending, endings)])


async def pause(place: Place) -> str:
    """Pause a name; return what becomes of it."""
    running = await _is_running(place)
    await place.runs.pause(place.name)
    if running:
        return f"{place.name} will pause after the batch under way, until `resume`."
    return f"{place.name} is not running; its next run will wait until `resume`."


async def resume(place: Place) -> str:
    """Withdraw the pause of a name; return what becomes of it."""
    running = await _is_running(place)
    await place.runs.resume(place.name)
    if running:
        return f"{place.name} will go on, unless its health checks say otherwise."
    return f"{place.name} is not running; its next run will not wait."


async def stop(place: Place) -> str:
    """Stop a name; return what becomes of it.

    Raises:
        NotRunning: It does not run.
    """
    await _known_if_typed(place)
    await place.runs.stop(place.name)
    return (
        f"{place.name} will stop after the batch under way; its next run goes on "
        "from there."
    )


async def retune(place: Place, values: dict[str, object]) -> str:
    """Change options of the run of a name; return what becomes of it.

    Raises:
        NotRunning: It does not run.
        ConfigurationError: An option cannot be changed, or not to this value.
    """
    await _known_if_typed(place)
    await place.runs.set(place.name, **values)
    what = ", ".join(f"{option}={value}" for option, value in values.items())
    return f"{place.name} will go on with {what} from its next batch on, until it ends."


async def _is_running(place: Place) -> bool:
    await _known_if_typed(place)
    progress = await place.runs.status(place.name)
    return progress is not None and progress.status not in OVER


async def _known_if_typed(place: Place) -> None:
    # A wish to a name that nobody has would wait in the store for ever, unheard.
    if not place.certain:
        await _known(place)


async def _known(place: Place) -> Progress:
    progress = await place.runs.status(place.name)
    if progress is not None:
        return progress
    names = [each.name for each in await place.runs.list()]
    if place.certain:
        msg = f"{place.name} has not run yet."
    elif meant := near(place.name, names):
        msg = f"Nothing is known of {place.name!r}; did you mean {meant}?"
    else:
        there = f"known are: {', '.join(names)}" if names else "nothing has run there"
        msg = f"Nothing is known of {place.name!r}; {there}."
    raise Trouble(msg)


def _described(progress: Progress, ending: RunResult | None) -> Iterator[str]:
    facts = [extent(progress)]
    if progress.rows or progress.total:
        facts.append(plural(progress.batches, "batch"))
    if progress.batch_size is not None:
        facts.append(f"{progress.batch_size:,} rows each")
    yield f"  {', '.join(facts)}"
    if progress.status not in OVER:
        speed = None if progress.rate is None else rate(progress.rate)
        how_fast = [speed, remaining(progress), pace(progress)]
        if any(how_fast):
            yield f"  {', '.join(each for each in how_fast if each)}"
        if progress.pace is not None:
            yield f"  pace changed: {progress.pace}"
        yield f"  {condition(progress)}"
    elif why := reasons_of(progress.reasons) if ending is None else _why(ending):
        yield f"  {why}"
    yield f"  state {shown(progress.state)}, run {progress.run_id}"


def _table(known: Sequence[Progress]) -> list[str]:
    rows = [("NAME", "STATUS", "DONE", "LEFT", "WHY")]
    for each in known:
        over = each.status in OVER
        left = None if over else remaining(each)
        why = reasons_of(each.reasons) if over else condition(each)
        rows.append((each.name, str(each.status), extent(each), left or "", why))
    return columns(rows)


def _ending(result: RunResult) -> tuple[str, ...]:
    done = f"{plural(result.rows, 'row')} in {plural(result.batches, 'batch')}"
    return (
        str(result.status),
        done,
        duration(result.duration),
        result.run_id,
        _why(result),
    )


def _why(result: RunResult) -> str:
    return reasons_of(result.reasons) if result.error is None else said(result.error)
