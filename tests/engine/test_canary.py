"""The first rows, which somebody looks at before all others are done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    Checkpoint,
    Halt,
    MemoryStore,
    Next,
    RunResult,
    Runs,
    RunStatus,
    SqliteStore,
)
from adaptive_backfill.errors import InvalidAnswer
from adaptive_backfill.testing import FakeClock, run, start
from tests.engine.sharing import AsyncStore, SyncStore, cancel, turns

WHY = "canary of 25 rows done: look at it, then resume"


class Rows(Backfill[int]):
    """Ten rows a batch, ten batches."""

    initial_state = 0
    batch_size = 10
    canary = 25
    mode = "sync"

    async def handle_batch(self, state: int) -> Answer[int]:
        return DONE if state == 10 else Next(state + 1, rows=10)


class Looks:
    """An `on_canary` that answers *answer*, and keeps what it looked at."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.at: list[RunResult] = []

    def __call__(self, result: RunResult) -> object:
        self.at.append(result)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class LooksLonger(Looks):
    """The same, and takes its time."""

    async def wait(self, result: RunResult) -> object:
        await asyncio.sleep(0)
        return self(result)


async def until_paused(look: Callable[[], str]) -> None:
    while look() != "paused":
        await asyncio.sleep(0)


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [True, OK], ids=repr)
async def test_who_approves_of_the_first_rows_lets_the_run_go_on(
    answer: object,
) -> None:
    looks = Looks(answer)

    result = await run(Rows, FakeClock(), on_canary=looks)

    assert (result.status, result.rows) == (RunStatus.DONE, 100)
    (seen,) = looks.at
    assert (seen.status, seen.rows, seen.batches, seen.state) == ("stopped", 30, 3, 3)
    assert [str(why) for why in seen.reasons] == [WHY]
    assert result.paused == 0.0


@pytest.mark.asyncio
async def test_the_hook_may_be_async() -> None:
    looks = LooksLonger(True)

    result = await run(Rows, FakeClock(), on_canary=looks.wait)

    assert (result.status, len(looks.at)) == (RunStatus.DONE, 1)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (False, "canary of 25 rows was refused"),
        (Halt("wrong domains"), "wrong domains"),
    ],
    ids=repr,
)
async def test_who_refuses_halts_the_run_and_is_asked_again_by_the_next(
    answer: object, why: str
) -> None:
    looks = Looks(answer)
    checkpoint = Checkpoint(MemoryStore(), "rows")

    halted = await run(Rows, FakeClock(), on_canary=looks, checkpoint=checkpoint)
    looks.answer = True
    done = await run(Rows, FakeClock(), on_canary=looks, checkpoint=checkpoint)

    assert (halted.status, halted.rows) == (RunStatus.HALTED, 30)
    assert [str(each) for each in halted.reasons] == [why]
    assert (done.status, done.rows, len(looks.at)) == (RunStatus.DONE, 100, 2)


@pytest.mark.asyncio
async def test_without_a_hook_the_run_waits_until_it_is_resumed() -> None:
    clock = FakeClock()

    async with start(Rows, clock) as under_way:
        await until_paused(lambda: under_way.progress.status)
        await clock.sleep(60.0)
        seen = under_way.progress
        under_way.resume()
        result = await under_way.wait()

    assert (seen.status, seen.rows) == ("paused", 30)
    assert [str(why) for why in seen.reasons] == [WHY]
    assert (result.status, result.rows) == (RunStatus.DONE, 100)
    assert result.waited == {"canary": pytest.approx(60.0)}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "errors"),
    [
        (None, []),
        (5, [InvalidAnswer]),
        (ValueError("no such view"), [ValueError]),
    ],
    ids=repr,
)
async def test_who_does_not_answer_has_the_run_wait(
    answer: object, errors: list[type[Exception]]
) -> None:
    looks = Looks(answer)

    async with start(Rows, FakeClock(), on_canary=looks) as under_way:
        await until_paused(lambda: under_way.progress.status)
        rows = under_way.progress.rows
        under_way.resume()
        result = await under_way.wait()

    assert rows == 30
    assert (result.status, len(looks.at)) == (RunStatus.DONE, 1)
    assert [type(error) for error in result.hook_errors] == errors


@pytest.mark.asyncio
async def test_an_answer_that_says_nothing_is_told_with_those_allowed() -> None:
    async with start(Rows, FakeClock(), on_canary=Looks("fine")) as under_way:
        await until_paused(lambda: under_way.progress.status)
        under_way.resume()
        result = await under_way.wait()

    (error,) = result.hook_errors
    assert str(error) == (
        "Rows.on_canary returned 'fine' (str), which is not an answer. Return one of "
        "True or OK (go on), None (wait for resume), False, Halt(reason), or raise; "
        "a `return` may be missing."
    )


@pytest.mark.asyncio
async def test_a_canary_that_waits_can_be_stopped() -> None:
    async with start(Rows, FakeClock()) as under_way:
        await until_paused(lambda: under_way.progress.status)
        under_way.stop()
        result = await under_way.wait()

    assert (result.status, result.rows) == (RunStatus.STOPPED, 30)


@pytest.mark.asyncio
@pytest.mark.parametrize("make", [MemoryStore, AsyncStore, SyncStore])
async def test_a_run_beyond_its_canary_is_not_asked_again(
    make: Callable[[], Any],
) -> None:
    looks = Looks(True)
    checkpoint = Checkpoint(make(), "rows")

    await run(Rows, FakeClock(), on_canary=looks, checkpoint=checkpoint, max_batches=5)
    done = await run(Rows, FakeClock(), on_canary=looks, checkpoint=checkpoint)

    assert (done.status, done.rows, done.resumed) == (RunStatus.DONE, 100, True)
    assert len(looks.at) == 1


@pytest.mark.asyncio
async def test_a_backfill_that_is_done_leaves_nothing_of_its_canary() -> None:
    store = AsyncStore()
    checkpoint = Checkpoint(store, "rows")
    about: dict[str, Any] = {"on_canary": Looks(True), "checkpoint": checkpoint}

    await run(Rows, FakeClock(), **about, max_batches=5)
    kept = set(store.kept)
    await run(Rows, FakeClock(), **about)

    assert kept == {"rows", "rows#canary"}
    assert store.kept == {}


@pytest.mark.asyncio
async def test_a_backfill_that_begins_anew_has_a_canary_anew() -> None:
    looks = Looks(True)
    checkpoint = Checkpoint(MemoryStore(), "rows")
    about: dict[str, Any] = {"on_canary": looks, "checkpoint": checkpoint}

    await run(Rows, FakeClock(), **about, max_batches=5)
    await run(Rows, FakeClock(), **about, max_batches=5, restart=True)
    await run(Rows, FakeClock(), **about)
    await run(Rows, FakeClock(), **about)

    assert len(looks.at) == 3


@pytest.mark.asyncio
async def test_the_canary_is_of_the_whole_backfill_and_not_of_each_run() -> None:
    looks = Looks(True)
    checkpoint = Checkpoint(MemoryStore(), "rows")
    about: dict[str, Any] = {"on_canary": looks, "checkpoint": checkpoint}

    await run(Rows, FakeClock(), **about, max_batches=2)
    before = len(looks.at)
    await run(Rows, FakeClock(), **about)

    assert before == 0
    assert [each.rows for each in looks.at] == [30]


@pytest.mark.asyncio
async def test_a_run_that_fell_while_it_waited_waits_again_until_resumed() -> None:
    store = MemoryStore()
    checkpoint = Checkpoint(store, "rows")

    async def waiting() -> None:
        async with start(Rows, FakeClock(), checkpoint=checkpoint) as under_way:
            await under_way.wait()

    task = asyncio.create_task(waiting())
    while (seen := await Runs(store).status("rows")) is None or seen.rows < 30:
        await asyncio.sleep(0)
    await turns(50)
    await cancel(task)

    async with start(Rows, FakeClock(), checkpoint=checkpoint) as under_way:
        await until_paused(lambda: under_way.progress.status)
        again = under_way.progress
        await Runs(store).resume("rows")
        result = await under_way.wait()

    assert (again.rows, [str(why) for why in again.reasons]) == (30, [WHY])
    assert (result.status, result.rows) == (RunStatus.DONE, 100)


@pytest.mark.asyncio
async def test_each_run_asks_its_hook_first_whatever_an_earlier_one_waits_for() -> None:
    store = MemoryStore()
    checkpoint = Checkpoint(store, "rows")

    async with start(Rows, FakeClock(), checkpoint=checkpoint) as under_way:
        await until_paused(lambda: under_way.progress.status)
    looks = Looks(True)
    result = await run(Rows, FakeClock(), checkpoint=checkpoint, on_canary=looks)

    assert (result.status, [each.rows for each in looks.at]) == (RunStatus.DONE, [30])


@pytest.mark.asyncio
async def test_a_pause_for_a_canary_does_not_hold_up_a_backfill_begun_anew() -> None:
    store = MemoryStore()
    checkpoint = Checkpoint(store, "rows")
    about: dict[str, Any] = {"checkpoint": checkpoint}

    async with start(Rows, FakeClock(), **about) as under_way:
        await until_paused(lambda: under_way.progress.status)
    looks = Looks(True)
    result = await run(Rows, FakeClock(), **about, restart=True, on_canary=looks)

    assert (result.status, [each.rows for each in looks.at]) == (RunStatus.DONE, [30])


@pytest.mark.asyncio
async def test_whoever_shares_the_store_may_resume_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    runs = Runs(store)

    async with Rows.start(checkpoint=Checkpoint(store, "rows")) as under_way:
        await until_paused(lambda: under_way.progress.status)
        # Not before the store knows that it waits, or it would be told so after.
        await it_is_known(runs)
        await runs.resume("rows")
        result = await under_way.wait()

    assert (result.status, result.rows) == (RunStatus.DONE, 100)


async def it_is_known(runs: Runs) -> None:
    while (seen := await runs.status("rows")) is None or seen.status != "paused":
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_where_no_rows_are_counted_a_batch_counts_as_its_size() -> None:
    looks = Looks(True)

    async def handle(state: int) -> Answer[int]:
        return DONE if state == 10 else Next(state + 1)

    await run(Rows, FakeClock(), on_canary=looks, handle_batch=handle)

    assert [each.batches for each in looks.at] == [3]


@pytest.mark.asyncio
async def test_an_end_before_the_canary_needs_no_look() -> None:
    looks = Looks(None)

    result = await run(Rows, FakeClock(), on_canary=looks, canary=1_000)

    assert (result.status, looks.at) == (RunStatus.DONE, [])


@pytest.mark.asyncio
async def test_an_approval_that_cannot_be_kept_is_said_and_the_run_goes_on() -> None:
    class Forgetful(AsyncStore):
        async def save(self, name: str, snapshot: Any) -> None:
            if name.endswith("#canary"):
                raise OSError("disk full")
            await super().save(name, snapshot)

    with capture_logs() as lines:
        result = await run(
            Rows,
            FakeClock(),
            on_canary=Looks(True),
            checkpoint=Checkpoint(Forgetful(), "rows"),
        )

    warned = [line for line in lines if line["log_level"] == "warning"]
    assert result.status is RunStatus.DONE
    assert [(line["event"], line["error"]) for line in warned] == [
        ("approval of the canary not kept", "disk full")
    ]


@pytest.mark.asyncio
async def test_a_class_may_look_at_its_canary_and_hand_on_to_its_base() -> None:
    class Careful(Rows):
        async def on_canary(self, result: RunResult) -> object:
            await super().on_canary(result)
            return result.rows == 30

    result = await run(Careful, FakeClock())

    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("answer", [None, ValueError("no such view")], ids=repr)
async def test_where_nobody_could_resume_it_a_canary_without_approval_halts(
    *, kept: bool, answer: object
) -> None:
    # Of a store with three methods nobody hears a wish.
    checkpoint = Checkpoint(AsyncStore()) if kept else None
    looks = Looks(answer)

    result = await Rows.run(checkpoint=checkpoint, on_canary=looks)
    without_a_hook = await Rows.run(checkpoint=checkpoint)

    why = (
        "canary of 25 rows done, nobody has approved of it, and nobody could resume "
        "this run: have on_canary answer True, keep a checkpoint in a store that "
        "carries wishes, such as SqliteStore, or begin it by start()"
    )
    for halted in (result, without_a_hook):
        assert (halted.status, halted.rows) == (RunStatus.HALTED, 30)
        assert [str(reason) for reason in halted.reasons] == [why]
    assert (await Rows.run(checkpoint=checkpoint, on_canary=Looks(True))).rows == 100
    assert len(looks.at) == 1


@pytest.mark.asyncio
async def test_an_approval_from_before_is_enough_where_nobody_could_resume() -> None:
    store = AsyncStore()
    async with Rows.start(checkpoint=Checkpoint(store), max_batches=4) as one:
        await until_paused(lambda: one.progress.status)
        one.resume()
        await one.wait()

    result = await Rows.run(checkpoint=Checkpoint(store))

    assert (result.status, result.resumed) == (RunStatus.DONE, True)
