"""So many rows, or so much WAL, a second, and no more."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from adaptive_backfill import DONE, Answer, Backfill, Next, RunStatus
from adaptive_backfill._dsl.preparing import Prepared
from adaptive_backfill.testing import FakeClock, run, start
from tests.engine.pacing import Plant, planted


class Logged(Plant):
    """Writes 100 bytes of WAL a row, and tells so where *known*."""

    known: object = True

    @classmethod
    def _adapted(cls, prepared: Prepared) -> Prepared:
        plant: Any = prepared.instance

        async def wal() -> int | None:
            if isinstance(plant.known, Exception):
                raise plant.known
            rows = sum(size for _, size in plant.did)
            return rows * 100 if plant.known else None

        return prepared._replace(work=replace(prepared.work, wal=wal))


def began(given: dict[str, Any]) -> list[float]:
    return [round(at, 6) for at, _ in given["did"]]


def hundred(clock: FakeClock, **overrides: Any) -> dict[str, Any]:
    """What a `Plant` is run with that does 100 rows in 0.1 s."""
    about = {"fixed": 0.1, "a_row": 0.0, "batch_size": 100, "batches": 5}
    return planted(clock, **{**about, **overrides})


@pytest.mark.asyncio
async def test_a_cap_on_rows_has_each_batch_wait_until_it_is_kept() -> None:
    clock = FakeClock()
    given = hundred(clock, max_rows_per_second=200)

    result = await run(Plant, clock, **given)

    assert began(given) == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert result.delayed == pytest.approx(2.0)


@pytest.mark.asyncio
async def test_a_cap_that_is_not_met_delays_nothing() -> None:
    clock = FakeClock()
    given = hundred(clock, max_rows_per_second=2_000)

    result = await run(Plant, clock, **given)

    assert began(given) == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert result.delayed == 0.0


@pytest.mark.asyncio
async def test_a_cap_may_be_set_and_taken_away_while_it_runs() -> None:
    clock = FakeClock()
    given = hundred(clock, max_rows_per_second=10, batches=4)

    async with start(Plant, clock, **given) as under_way:
        await clock.sleep(3.0)
        under_way.set(max_rows_per_second=None)
        await under_way.wait()

    assert began(given) == [0.0, 3.0, 3.1, 3.2]


@pytest.mark.asyncio
async def test_who_waits_for_a_cap_hears_a_pause_and_waits_on_after_it() -> None:
    clock = FakeClock()
    given = hundred(clock, max_rows_per_second=10, batches=2)

    async with start(Plant, clock, **given) as under_way:
        await clock.sleep(3.0)
        under_way.pause()
        await clock.sleep(1.0)
        seen = under_way.progress.status
        under_way.resume()
        result = await under_way.wait()

    assert seen == "paused"
    assert began(given) == [0.0, 10.0]
    assert result.delayed + result.paused == pytest.approx(9.9 + 9.9)


@pytest.mark.asyncio
async def test_who_waits_for_a_cap_stops_at_once() -> None:
    clock = FakeClock()
    given = hundred(clock, max_rows_per_second=1)

    async with start(Plant, clock, **given) as under_way:
        await clock.sleep(3.0)
        under_way.stop()
        result = await under_way.wait()

    assert result.status is RunStatus.STOPPED
    assert clock.now < 5


@pytest.mark.asyncio
async def test_a_cap_on_wal_has_each_batch_wait_until_it_is_kept() -> None:
    clock = FakeClock()
    given = hundred(clock, max_wal_per_second=20_000)

    await run(Logged, clock, **given)

    assert began(given) == [0.0, 0.5, 1.0, 1.5, 2.0]


@pytest.mark.asyncio
async def test_of_two_caps_the_tighter_one_counts() -> None:
    clock = FakeClock()
    given = hundred(clock, max_wal_per_second=20_000, max_rows_per_second=100)

    await run(Logged, clock, **given)

    assert began(given) == [0.0, 1.0, 2.0, 3.0, 4.0]


@pytest.mark.asyncio
async def test_a_cap_on_wal_that_is_set_later_counts_from_then_on() -> None:
    clock = FakeClock()
    given = hundred(clock, batches=8)

    async with start(Logged, clock, **given) as under_way:
        await clock.sleep(0.25)
        under_way.set(max_wal_per_second=20_000)
        await under_way.wait()

    waits = [round(b - a, 6) for a, b in pairwise(began(given))]
    # The first of them has the burst of who was not capped until then.
    assert waits == [0.1, 0.1, 0.1, 0.1, 0.4, 0.5, 0.5]


@pytest.mark.asyncio
@pytest.mark.parametrize("known", [False, ConnectionError("gone")], ids=repr)
async def test_wal_that_nobody_knows_is_said_once_and_delays_nothing(
    known: object,
) -> None:
    clock = FakeClock()
    given = hundred(clock, max_wal_per_second=1, known=known)

    with capture_logs() as lines:
        result = await run(Logged, clock, **given)

    warned = [line["event"] for line in lines if line["log_level"] == "warning"]
    assert warned == ["WAL is not known: max_wal_per_second is not kept to"]
    assert result.delayed == 0.0


@pytest.mark.asyncio
async def test_a_cap_on_rows_that_nobody_counts_is_said_once() -> None:
    class Untold(Backfill[int]):
        initial_state = 0
        max_rows_per_second = 1

        async def handle_batch(self, state: int) -> Answer[int]:
            return Next(state + 1) if state < 5 else DONE

    with capture_logs() as lines:
        await run(Untold, FakeClock())

    warned = [line["event"] for line in lines if line["log_level"] == "warning"]
    assert warned == [
        "rows are not known: max_rows_per_second is not kept to; answer "
        "Next(state, rows=...), or say batch_size"
    ]
