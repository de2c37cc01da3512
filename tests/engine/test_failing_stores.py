"""What a store that fails comes to."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from adaptive_backfill import (
    DONE,
    Answer,
    Checkpoint,
    Done,
    MemoryStore,
    Next,
    RunResult,
    RunStatus,
    Snapshot,
    errors,
)
from adaptive_backfill.testing import capture
from tests.engine.sharing import (
    CUSTOM,
    Count,
    names,
    only,
)


@pytest.mark.asyncio
@CUSTOM
async def test_a_load_that_raises_fails_the_run_without_a_batch(store: Any) -> None:
    broken = OSError("gone")
    kept = store(load=broken)
    kept.kept["x"] = Snapshot(2, 2, 20)
    asked: list[object] = []
    heard: list[tuple[object, object]] = []
    completed: list[RunResult] = []

    async def handle(state: int) -> Answer[int]:
        asked.append(state)
        return DONE

    with capture() as events:
        result = await Count.run(
            handle_batch=handle,
            checkpoint=Checkpoint(kept, "x"),
            on_error=lambda error, state: heard.append((error, state)),
            on_complete=completed.append,
        )

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, errors.CheckpointError)
    assert result.error.__cause__ is broken
    assert "x" in str(result.error)
    assert heard == [(result.error, None)]
    assert completed == [result]
    assert asked == []
    assert names(events) == ["start", "stop"]
    assert only(events, "start")[0]["resumed"] is False
    assert kept.kept["x"] == Snapshot(2, 2, 20)


@pytest.mark.asyncio
@CUSTOM
@pytest.mark.parametrize("loaded", [0, {"state": 1}, (1, 2), "x", False], ids=repr)
async def test_a_load_that_gives_something_else_fails_the_run(
    store: Any, loaded: object
) -> None:
    kept = store()
    kept.kept["x"] = loaded

    result = await Count.run(checkpoint=Checkpoint(kept, "x"))

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, errors.CheckpointError)
    assert kept.kept["x"] is loaded


@pytest.mark.asyncio
@CUSTOM
async def test_a_save_that_raises_fails_the_run_with_no_further_batch(
    store: Any,
) -> None:
    broken = OSError("disk full")
    kept = store()
    asked: list[int] = []
    heard: list[object] = []
    told: list[tuple[object, object]] = []

    async def handle(state: int) -> Answer[int]:
        asked.append(state)
        if state == 1:
            kept.fails["save"] = broken
        return Next(state + 1, rows=10)

    result = await Count.run(
        handle_batch=handle,
        checkpoint=Checkpoint(kept, "x"),
        on_success=heard.append,
        on_error=lambda error, state: told.append((error, state)),
    )

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, errors.CheckpointError)
    assert result.error.__cause__ is broken
    assert asked == [0, 1]
    assert heard == [1]
    assert told == [(result.error, 1)]
    assert (result.state, result.batches, result.rows) == (1, 1, 10)
    assert kept.kept["x"] == Snapshot(1, 1, 10)
    assert kept.asked == ["load", "save", "save"]


@pytest.mark.asyncio
@CUSTOM
async def test_a_save_of_the_last_batch_that_raises_fails_the_run(store: Any) -> None:
    kept = store(save=OSError("disk full"))

    async def handle(state: int) -> Answer[int]:
        return Done("all", rows=5)

    result = await Count.run(handle_batch=handle, checkpoint=Checkpoint(kept, "x"))

    assert (result.status, result.rows, result.result) == ("failed", 0, None)
    assert kept.asked == ["load", "save"]


@pytest.mark.asyncio
@CUSTOM
async def test_a_delete_that_raises_leaves_the_run_done_and_is_logged(
    store: Any,
) -> None:
    kept = store(delete=OSError("read-only"))

    with capture() as events, capture_logs() as lines:
        result = await Count.run(checkpoint=Checkpoint(kept, "x"))

    assert result.status is RunStatus.DONE
    assert names(events)[-1] == "stop"
    assert [line for line in lines if "read-only" in str(line)]
    again = await Count.run(checkpoint=Checkpoint(kept, "x"))
    assert again.status is RunStatus.DONE


@pytest.mark.asyncio
@CUSTOM
async def test_a_restart_that_cannot_delete_fails_the_run(store: Any) -> None:
    kept = store(delete=OSError("read-only"))
    kept.kept["x"] = Snapshot(2, 2, 20)

    result = await Count.run(checkpoint=Checkpoint(kept, "x"), restart=True)

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, errors.CheckpointError)
    assert result.batches == 0


class Partial:
    """A store that cannot delete."""

    async def load(self, name: str) -> None: ...

    async def save(self, name: str, snapshot: Snapshot) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((MemoryStore,), "MemoryStore"),
        ((Partial(),), "delete"),
        ((object(),), "load"),
        ((None,), "NoneType"),
        ((MemoryStore(), ""), "name"),
        ((MemoryStore(), 5), "name"),
    ],
)
def test_a_checkpoint_is_checked_when_it_is_made(
    arguments: tuple[Any, ...], says: str
) -> None:
    with pytest.raises(errors.ConfigurationError, match=says):
        Checkpoint(*arguments)


class Refusing(MemoryStore):
    """A store whose leases cannot be asked for."""

    async def acquire(self, name: str, run_id: str, state_type: object = None) -> Any:
        raise ConnectionError("no route")


@pytest.mark.asyncio
async def test_a_lease_that_cannot_be_asked_for_fails_the_run() -> None:
    heard: list[tuple[object, object]] = []

    with capture() as events:
        result = await Count.run(
            checkpoint=Checkpoint(Refusing(), "x"),
            on_error=lambda error, state: heard.append((error, state)),
        )

    assert result.status is RunStatus.FAILED
    assert isinstance(result.error, errors.CheckpointError)
    assert isinstance(result.error.__cause__, ConnectionError)
    assert heard == [(result.error, None)]
    assert names(events) == ["start", "stop"]
    assert only(events, "start")[0]["resumed"] is False


@pytest.mark.asyncio
async def test_an_initial_state_that_raises_is_the_error_itself() -> None:
    boom = ValueError("no table")
    heard: list[tuple[object, object]] = []

    class Starts(Count):
        async def initial_state(self) -> int:  # type: ignore[override]
            raise boom

    result = await Starts.run(
        checkpoint=Checkpoint(MemoryStore(), "x"),
        on_error=lambda error, state: heard.append((error, state)),
    )

    assert result.status is RunStatus.FAILED
    assert result.error is boom
    assert heard == [(boom, None)]
    again = await Count.run(checkpoint=Checkpoint(MemoryStore(), "x"))
    assert again.status is RunStatus.DONE
