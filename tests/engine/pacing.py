"""Backfills whose batches take time on a fake clock, by their size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adaptive_backfill import DONE, OK, Answer, Backfill, HealthCheck, Next, Verdict
from adaptive_backfill.testing import FakeClock


class Plant(Backfill[int]):
    """A batch of n rows takes *fixed* + *a_row* · n seconds; remembers what it did."""

    initial_state = 0
    batches: int = 60
    time: FakeClock
    fixed: float = 0.01
    a_row: float = 0.000_1
    did: list[tuple[float, int]]

    async def handle_batch(self, state: int) -> Answer[int]:
        if state >= self.batches:
            return DONE
        size = self.batch_size or 1
        self.did.append((self.time.now, size))
        await self.time.sleep(self.fixed + self.a_row * size)
        return Next(state + 1, rows=size)


class Gauge:
    """A check with a load, both by the time of the clock."""

    def __init__(
        self,
        clock: FakeClock,
        load: Callable[[float], float | None],
        answer: Callable[[float], Verdict] = lambda now: OK,
    ) -> None:
        self.clock = clock
        self.loads = load
        self.answers = answer

    async def __call__(self) -> Verdict:
        return self.answers(self.clock.now)

    def load(self, context: object) -> float | None:
        return self.loads(self.clock.now)


def gauge(clock: FakeClock, load: Callable[[float], float | None]) -> HealthCheck:
    return HealthCheck(Gauge(clock, load), name="load")


def planted(clock: FakeClock, **overrides: Any) -> dict[str, Any]:
    """What a `Plant` is run with."""
    return {"time": clock, "did": [], **overrides}
