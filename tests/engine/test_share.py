"""Where the work itself tells how much of it is done, progress goes by that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from adaptive_backfill import (
    DONE,
    Answer,
    Backfill,
    Checkpoint,
    MemoryStore,
    Next,
    Progress,
    Runs,
    RunStatus,
)
from adaptive_backfill._dsl.backfill import session_of
from adaptive_backfill._dsl.preparing import Prepared
from adaptive_backfill._engine.session import Session
from adaptive_backfill.testing import FakeClock


class Sparse(Backfill[int]):
    """A hundred places to look at, with one row to do in every tenth."""

    initial_state = 0
    left: Callable[[object], object] | None = None
    seen: Callable[[], object]

    @classmethod
    def _adapted(cls, prepared: Prepared) -> Prepared:
        work = replace(prepared.work, left=cls.left, share=_place)
        return prepared._replace(work=work)

    async def handle_batch(self, state: int) -> Answer[int]:
        self.seen()
        if state == 100:
            return DONE
        return Next(state + 1, rows=int(state % 10 == 0))


def _place(state: object) -> float | None:
    return state / 100 if isinstance(state, int) else None


async def looks_of(backfill: type[Sparse], **overrides: Any) -> list[Progress]:
    """Run *backfill* at a batch a second; return what it showed before each."""
    looks: list[Progress] = []
    clock = FakeClock()
    session: Session = session_of(
        backfill,
        {
            "seen": lambda: looks.append(session.progress()),
            "delay_between_batches": 1.0,
            **overrides,
        },
        clock=clock,
    )
    await session.run()
    return [*looks, session.progress()]


@pytest.mark.asyncio
async def test_the_share_goes_by_the_place_and_the_rate_by_rows() -> None:
    looks = await looks_of(Sparse, total=1_000_000)

    assert looks[0].share == 0.0
    assert (looks[50].share, looks[50].rows) == (0.5, 5)
    assert looks[50].rate == pytest.approx(0.1)
    assert looks[50].eta == pytest.approx(50.0)


@pytest.mark.asyncio
async def test_an_eta_is_told_while_no_row_was_to_be_done() -> None:
    looks = await looks_of(Sparse, initial_state=1)

    assert (looks[8].rows, looks[8].rate) == (0, None)
    assert looks[8].eta == pytest.approx(91.0)
    assert looks[8].eta_low is not None
    assert looks[8].eta_high is not None
    assert looks[8].eta_low <= 91.0 <= looks[8].eta_high


@pytest.mark.asyncio
async def test_a_finished_run_is_whole_also_for_who_looks_from_outside() -> None:
    store = MemoryStore()
    checkpoint = Checkpoint(store, "sparse")

    *_, stopped = await looks_of(Sparse, checkpoint=checkpoint, max_batches=30)
    seen = await Runs(store).status("sparse")
    *_, done = await looks_of(Sparse, checkpoint=checkpoint)
    at_last = await Runs(store).status("sparse")

    assert (stopped.status, stopped.share) == (RunStatus.STOPPED, 0.3)
    assert seen is not None
    assert seen.share == pytest.approx(0.3, abs=0.05)
    assert (done.status, done.share) == (RunStatus.DONE, 1.0)
    assert at_last is not None
    assert (at_last.share, at_last.eta_low, at_last.eta_high) == (1.0, None, None)


@pytest.mark.asyncio
async def test_what_is_left_counts_on_top_of_what_earlier_runs_did() -> None:
    class Counted(Sparse):
        @staticmethod
        def left(state: Any) -> int:
            return len(range(state, 100)) // 10

    checkpoint = Checkpoint(MemoryStore())

    first, *_ = await looks_of(Counted, checkpoint=checkpoint, max_batches=30)
    second, *_ = await looks_of(Counted, checkpoint=checkpoint)

    assert (first.rows, first.total) == (0, 10)
    assert (second.rows, second.total) == (3, 10)
