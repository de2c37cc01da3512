"""The events that the tests expect, put together."""

from __future__ import annotations

from typing import Any

from adaptive_backfill import (
    Backfill,
    Done,
    telemetry,
)
from tests.engine.sharing import (
    HealthAsked,
    Told,
)

START: Told = ("start", {}, {"resumed": False, "state": 0})


def started(state: object = 0, *, resumed: bool = False) -> Told:
    return ("start", {}, {"resumed": resumed, "state": state})


def began(batch: int, state: object, attempt: int = 1, **size: float) -> Told:
    return (
        "batch.start",
        {"batch": batch, **size},
        {"state": state, "attempt": attempt},
    )


def stopped(
    outcome: str, state: object, batches: int = 0, rows: int = 0, **more: Any
) -> Told:
    duration, paused = more.pop("duration", 0.0), more.pop("paused", 0.0)
    return (
        "stop",
        {"duration": duration, "batches": batches, "rows": rows, "paused": paused},
        {"outcome": outcome, "state": state, **more},
    )


class Single(Backfill):
    async def handle(self, health_check: HealthAsked) -> object:
        return Done("made")


def results_of(event: telemetry.Event) -> list[Any]:
    results = event.metadata["results"]
    assert isinstance(results, tuple | list)
    return list(results)
