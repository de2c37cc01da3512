"""Health checks: what they may be and say, when they are asked, and that they go."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
import anyio.to_thread
import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    Checkpoint,
    CheckResult,
    Done,
    Fail,
    Halt,
    HealthCheck,
    HealthContext,
    MemoryStore,
    Next,
    Pause,
    RunStatus,
    Slow,
    Verdict,
    errors,
    quorum,
    testing,
    weighted,
    worst_of,
)
from adaptive_backfill.testing import FakeClock, capture
from tests.engine.sharing import Count, HealthAsked, names, never, turns

BOTH = pytest.mark.parametrize("mode", ["sync", "async"])


def _answering(answer: object) -> Callable[[], Awaitable[object]]:
    async def check() -> object:
        return answer

    return check


def _tasks() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


# What a check may say.


@pytest.mark.asyncio
@BOTH
@pytest.mark.parametrize("healthy", [OK, None, True], ids=repr)
async def test_ok_none_and_true_are_healthy(mode: str, healthy: object) -> None:
    result = await Count.run(mode=mode, health_checks=[_answering(healthy)])

    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
@BOTH
async def test_halt_means_halt_with_its_reason(mode: str) -> None:
    result = await Count.run(mode=mode, health_checks=[_answering(Halt("down"))])

    (reason,) = result.reasons
    assert (result.status, result.batches) == ("halted", 0)
    assert (reason.check, reason.answer, reason.value, reason.error) == (
        "check",
        Halt("down"),
        "down",
        None,
    )
    assert "down" in str(reason)


@pytest.mark.asyncio
async def test_false_is_a_halt_with_the_name_of_the_check() -> None:
    async def disk_is_free() -> bool:
        return False

    result = await Count.run(health_checks=[disk_is_free])

    (reason,) = result.reasons
    assert result.status is RunStatus.HALTED
    assert reason.answer == Halt("disk_is_free")
    assert reason.value == "disk_is_free"
    assert str(reason) == "disk_is_free"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "nonsense",
    [
        *[0, 1, "", "ok", ValueError("x"), [], (OK,)],
        *[Halt, Slow, Pause, Fail(1), DONE, Next(1)],
    ],
    ids=repr,
)
async def test_everything_else_is_a_halt_that_names_check_and_value(
    nonsense: object,
) -> None:
    async def replica() -> object:
        return nonsense

    result = await Count.run(health_checks=[replica])

    (reason,) = result.reasons
    assert result.status is RunStatus.HALTED
    assert isinstance(reason.error, errors.InvalidHealthResult)
    assert reason.answer == Halt(reason.error)
    assert reason.value is nonsense
    assert "replica" in str(reason)
    assert repr(nonsense) in str(reason)


@pytest.mark.asyncio
@BOTH
async def test_a_check_that_raises_halts_and_the_checkpoint_stays(mode: str) -> None:
    boom = ConnectionError("refused")
    heard: list[object] = []
    checkpoint = Checkpoint(MemoryStore(), "raising")
    asked = 0

    async def database() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise boom

    result = await testing.run(
        Count,
        FakeClock(),
        mode=mode,
        health_checks=[database],
        health_interval=1,
        delay_between_batches=1.0 if mode == "async" else 0,
        checkpoint=checkpoint,
        on_error=lambda error, state: heard.append(error),
    )

    (reason,) = result.reasons
    assert result.status is RunStatus.HALTED
    assert result.error is None
    assert reason.error is boom
    assert reason.answer == Halt(boom)
    assert "database" in str(reason)
    assert "refused" in str(reason)
    assert heard == []
    kept = await checkpoint.store.load("raising")  # type: ignore[attr-defined]
    assert kept.batches == result.batches
    assert kept.state == result.state
    assert 1 <= result.batches <= 2


@pytest.mark.asyncio
@BOTH
async def test_a_check_that_hangs_halts(mode: str) -> None:
    cancelled: list[str] = []

    async def replica() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            cancelled.append("replica")
            raise

    result = await Count.run(mode=mode, health_checks=[replica], health_timeout=0.01)

    (reason,) = result.reasons
    assert result.status is RunStatus.HALTED
    assert isinstance(reason.error, TimeoutError)
    assert isinstance(reason.error, errors.HealthCheckTimeout)
    assert "replica" in str(reason)
    assert cancelled == ["replica"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("on_error", "answer"), [("halt", Halt), ("pause", Pause), ("slow", Slow)]
)
async def test_on_error_says_what_trouble_counts_as(
    on_error: Any, answer: type[Halt | Pause | Slow]
) -> None:
    boom = ValueError("x")
    asked = 0

    async def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise boom

    with capture() as events:
        result = await testing.run(
            Count,
            FakeClock(),
            mode="sync",
            health_checks=[HealthCheck(check, on_error=on_error)],
        )

    if on_error == "halt":
        assert result.status is RunStatus.HALTED
        assert result.reasons[0].answer == Halt(boom)
        return
    told = {"pause": "backfill.pause", "slow": "backfill.health_check.slow"}
    (event,) = [event for event in events if event.name == told[on_error]]
    reasons = event.metadata["reasons"]
    assert result.status is RunStatus.DONE
    assert [each.answer for each in reasons] == [answer(boom)]  # type: ignore[attr-defined]
    assert reasons[0].error is boom  # type: ignore[index]


@pytest.mark.asyncio
async def test_on_error_holds_for_nonsense_and_for_a_timeout() -> None:
    def run(check: Any, timeout: float) -> Any:
        return testing.run(
            Count,
            FakeClock(),
            mode="sync",
            max_pause=0,
            health_timeout=timeout,
            health_checks=[HealthCheck(check, on_error="pause")],
        )

    nonsense = await run(_answering(17), 5)
    late = await run(never, 0.01)

    assert isinstance(nonsense.reasons[0].answer, Pause)
    assert isinstance(nonsense.reasons[0].error, errors.InvalidHealthResult)
    assert isinstance(late.reasons[0].answer, Pause)
    assert isinstance(late.reasons[0].error, errors.HealthCheckTimeout)


@pytest.mark.asyncio
@BOTH
async def test_a_stray_cancellation_in_a_check_is_unhealthy(mode: str) -> None:
    async def check() -> None:
        task = asyncio.create_task(never())
        await turns(1)
        task.cancel()
        await task

    result = await Count.run(mode=mode, health_checks=[check])

    assert result.status is RunStatus.HALTED
    assert isinstance(result.reasons[0].error, asyncio.CancelledError)


# What may be a check.


async def _asynchronous() -> Verdict:
    return Halt("found")


def _plain() -> Verdict:
    return Halt("found")


def _with_argument(verdict: Verdict) -> Verdict:
    return verdict


async def _async_with_argument(verdict: Verdict) -> Verdict:
    return verdict


class _Object:
    def __call__(self) -> Verdict:
        return Halt("found")

    def method(self) -> Verdict:
        return Halt("found")

    async def async_method(self) -> Verdict:
        return Halt("found")

    @staticmethod
    def static() -> Verdict:
        return Halt("found")


class _AsyncObject:
    async def __call__(self) -> Verdict:
        return Halt("found")


class _Awaitable:
    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        return Halt("found")


CALLABLES: dict[str, Callable[[], object]] = {
    "async def": _asynchronous,
    "def": _plain,
    "lambda": lambda: Halt("found"),
    "lambda of a coroutine": lambda: _asynchronous(),
    "def that returns an awaitable": _Awaitable,
    "partial": functools.partial(_with_argument, Halt("found")),
    "async partial": functools.partial(_async_with_argument, Halt("found")),
    "partial of a partial": functools.partial(functools.partial(_asynchronous)),
    "object": _Object(),
    "async object": _AsyncObject(),
    "partial of an async object": functools.partial(_AsyncObject()),
    "bound method": _Object().method,
    "async bound method": _Object().async_method,
    "static method": _Object.static,
}
CALLABLES["def that returns an awaitable"] = lambda: _Awaitable()


@pytest.mark.asyncio
@BOTH
@pytest.mark.parametrize("kind", CALLABLES)
async def test_a_check_may_be_any_callable(mode: str, kind: str) -> None:
    result = await Count.run(mode=mode, health_checks=[CALLABLES[kind]])

    assert result.status is RunStatus.HALTED
    assert [reason.value for reason in result.reasons] == ["found"]


@pytest.mark.asyncio
async def test_a_context_is_handed_to_who_asks_for_one() -> None:
    seen: list[HealthContext] = []

    async def asks(context: HealthContext) -> None:
        seen.append(context)

    async def asks_not(context: HealthContext | None = None) -> None:
        assert context is None

    def plain(context: HealthContext) -> None:
        seen.append(context)

    pool = object()

    class Pooled(Count):
        name = "pooled"
        pool: object

    result = await Pooled.run(
        pool=pool, mode="sync", max_batches=1, health_checks=[asks, asks_not, plain]
    )

    assert result.status is RunStatus.STOPPED
    assert [(each.name, each.pool) for each in seen] == [("pooled", pool)] * 2


# Plain functions, in threads.


@pytest.mark.asyncio
@BOTH
async def test_a_plain_check_runs_in_a_thread_of_its_own(mode: str) -> None:
    threads: list[int] = []

    def check() -> None:
        threads.append(threading.get_ident())

    await Count.run(mode=mode, health_checks=[check])

    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.asyncio
async def test_a_plain_check_does_not_block_the_loop() -> None:
    gate = threading.Event()
    seen: list[str] = []

    def check() -> None:
        gate.wait(5)
        seen.append("check")

    async def opens() -> None:
        seen.append("loop")
        gate.set()

    task = asyncio.create_task(Count.run(mode="sync", health_checks=[check]))
    await turns()
    await opens()
    result = await task

    assert result.status is RunStatus.DONE
    assert seen[:2] == ["loop", "check"]


@pytest.mark.asyncio
async def test_plain_checks_of_one_run_do_not_wait_for_one_another() -> None:
    both = threading.Barrier(2, timeout=5)

    def first() -> None:
        both.wait()

    def second() -> None:
        both.wait()

    result = await Count.run(mode="sync", max_batches=1, health_checks=[first, second])

    assert result.status is RunStatus.STOPPED


@pytest.mark.asyncio
async def test_a_plain_check_that_hangs_is_not_started_again() -> None:
    gate = threading.Event()
    started = 0

    def hanging() -> None:
        nonlocal started
        started += 1
        gate.wait(20)

    healthy = HealthCheck(hanging, on_error="slow")
    result = await testing.run(
        Count,
        FakeClock(),
        mode="sync",
        health_checks=[healthy],
        health_timeout=0.01,
    )
    gate.set()

    # Four samplings: one that overran, and three that found it still at it.
    assert result.status is RunStatus.DONE
    assert started == 1


@pytest.mark.asyncio
async def test_a_plain_check_that_came_back_is_asked_again() -> None:
    gate = threading.Event()
    back = threading.Event()
    started = 0

    def late_once() -> None:
        nonlocal started
        started += 1
        if started == 1:
            gate.wait(20)
            back.set()

    async def handle(state: int) -> Answer[int]:
        if state == 0:
            gate.set()
            while not back.is_set():
                await asyncio.sleep(0)
            # The thread still has to say that it is back.
            await asyncio.to_thread(lambda: None)
        return DONE if state == 3 else Next(state + 1)

    result = await testing.run(
        Count,
        FakeClock(),
        mode="sync",
        handle_batch=handle,
        health_checks=[HealthCheck(late_once, on_error="slow")],
        health_timeout=0.05,
    )

    assert result.status is RunStatus.DONE
    assert started > 1


@pytest.mark.asyncio
@BOTH
async def test_the_end_of_a_run_does_not_wait_for_a_thread_that_hangs(
    mode: str,
) -> None:
    gate = threading.Event()

    def hanging() -> None:
        gate.wait(20)

    try:
        result = await asyncio.wait_for(
            Count.run(mode=mode, health_checks=[hanging], health_timeout=0.01), 5
        )
    finally:
        gate.set()

    assert result.status is RunStatus.HALTED
    assert isinstance(result.reasons[0].error, errors.HealthCheckTimeout)


@pytest.mark.asyncio
@pytest.mark.parametrize("checks", [1, 2])
async def test_a_single_operation_may_ask_again_while_a_check_is_at_it(
    checks: int,
) -> None:
    started, gate = threading.Event(), threading.Event()
    under_way = most = asked = 0

    def check() -> None:
        nonlocal under_way, most, asked
        asked += 1
        under_way += 1
        most = max(most, under_way)
        if asked > 1:
            started.set()
            gate.wait(5)
        under_way -= 1

    class Once(Backfill):
        mode = "sync"

        async def handle(self, health_check: HealthAsked) -> Done:
            first = asyncio.ensure_future(health_check())
            while not started.is_set():
                await asyncio.sleep(0)
            second = asyncio.ensure_future(health_check())
            await turns(50)
            gate.set()
            return Done([await first, await second])

    others = [_answering(OK)] * (checks - 1)
    result = await Once.run(health_checks=[check, *others])

    assert result.result == [OK, OK]
    assert most == 1


@pytest.mark.asyncio
async def test_plain_checks_need_no_thread_of_the_services_own() -> None:
    limiter = anyio.to_thread.current_default_thread_limiter()
    before = limiter.total_tokens
    limiter.total_tokens = 1
    await limiter.acquire_on_behalf_of("the service")
    try:
        result = await asyncio.wait_for(
            Count.run(mode="sync", health_checks=[lambda: None]), 5
        )
    finally:
        limiter.release_on_behalf_of("the service")
        limiter.total_tokens = before

    assert result.status is RunStatus.DONE


# When they are asked.


@pytest.mark.asyncio
async def test_sync_asks_before_every_batch_the_first_included() -> None:
    order: list[str] = []

    async def check() -> None:
        order.append("check")

    async def handle(state: int) -> Answer[int]:
        order.append(f"batch {state}")
        return DONE if state == 1 else Next(state + 1)

    await Count.run(mode="sync", health_checks=[check], handle_batch=handle)

    assert order == ["check", "batch 0", "check", "batch 1"]


@pytest.mark.asyncio
async def test_async_waits_for_the_first_sampling_and_no_other() -> None:
    first, others = asyncio.Event(), asyncio.Event()
    order: list[str] = []

    async def check() -> None:
        asked = order.count("asked") + 1
        order.append("asked")
        await (first if asked == 1 else others).wait()
        order.append("answered")

    async def handle(state: int) -> Answer[int]:
        order.append(f"batch {state}")
        # The second sampling is under way by now, and stays so.
        while order.count("asked") < 2:
            await asyncio.sleep(0)
        return DONE if state == 2 else Next(state + 1)

    class Impatient(FakeClock):
        async def sleep(self, seconds: float) -> None:
            await turns(50)

    task = asyncio.create_task(
        testing.run(Count, Impatient(), health_checks=[check], handle_batch=handle)
    )
    await turns()
    before = list(order)
    first.set()
    result = await task

    assert before == ["asked"]
    assert result.status is RunStatus.DONE
    assert order == ["asked", "answered", "batch 0", "asked", "batch 1", "batch 2"]


@pytest.mark.asyncio
async def test_the_next_sampling_starts_an_interval_after_the_end_of_the_last() -> None:
    clock = FakeClock()
    started: list[float] = []

    async def check() -> None:
        started.append(clock.now)
        await clock.sleep(3)

    async def handle(state: int) -> Answer[int]:
        await clock.sleep(20)
        return DONE

    await testing.run(
        Count, clock, health_checks=[check], health_interval=5, handle_batch=handle
    )

    assert started == [0, 8, 16]


@pytest.mark.asyncio
@BOTH
async def test_a_single_operation_is_asked_for_before_it_begins(mode: str) -> None:
    begun: list[str] = []

    class Once(Backfill):
        async def handle(self, health_check: HealthAsked) -> Done:
            begun.append("handle")
            return Done()

    result = await Once.run(mode=mode, health_checks=[_answering(Halt("down"))])

    assert result.status is RunStatus.HALTED
    assert begun == []


@pytest.mark.asyncio
async def test_all_checks_are_asked_at_the_same_time() -> None:
    meeting = asyncio.Event()

    async def first() -> None:
        await meeting.wait()

    async def second() -> None:
        meeting.set()

    result = await Count.run(mode="sync", health_checks=[first, second])

    assert result.status is RunStatus.DONE


@pytest.mark.asyncio
@BOTH
async def test_all_reasons_are_kept_in_the_order_of_declaration(mode: str) -> None:
    later = asyncio.Event()
    boom = ValueError("boom")

    async def first() -> Verdict:
        await later.wait()
        return Slow("1")

    async def second() -> Verdict:
        return OK

    async def third() -> Verdict:
        later.set()
        raise boom

    async def fourth() -> Verdict:
        return Pause("4")

    result = await Count.run(mode=mode, health_checks=[first, second, third, fourth])

    assert [(r.check, r.answer, r.value, r.error) for r in result.reasons] == [
        ("first", Slow("1"), "1", None),
        ("third", Halt(boom), result.reasons[1].value, boom),
        ("fourth", Pause("4"), "4", None),
    ]


@pytest.mark.asyncio
async def test_a_handlers_halt_has_no_check_in_its_reason() -> None:
    async def handle(state: int) -> Answer[int]:
        return Halt("quota used up")

    result = await Count.run(handle_batch=handle)

    (reason,) = result.reasons
    assert reason.check is None
    assert reason.answer == Halt("quota used up")
    assert reason.value == "quota used up"
    assert reason.error is None
    assert str(reason) == "quota used up"


@pytest.mark.asyncio
@BOTH
async def test_severity_is_applied(mode: str) -> None:
    seen: list[Sequence[CheckResult]] = []

    def evaluate(results: Sequence[CheckResult]) -> Verdict:
        seen.append(list(results))
        return worst_of(results)

    with capture() as events:
        result = await testing.run(
            Count,
            FakeClock(),
            mode=mode,
            max_batches=1,
            evaluate=evaluate,
            health_checks=[
                HealthCheck(_answering(Halt("w")), name="warns", severity="warning"),
                HealthCheck(
                    _answering(Halt("i")), name="informs", severity="info", weight=2
                ),
                HealthCheck(_answering(OK), name="fine"),
            ],
        )

    assert result.status is RunStatus.STOPPED
    assert [(r.name, r.answer, r.weight, r.severity) for r in seen[0]] == [
        ("warns", Slow("w"), 1.0, "warning"),
        ("informs", OK, 2.0, "info"),
        ("fine", OK, 1.0, "critical"),
    ]
    assert seen[0][0].reason is not None
    assert seen[0][0].reason.answer == Slow("w")
    assert "health_check.slow" in names(events)


@pytest.mark.asyncio
@BOTH
@pytest.mark.parametrize("wrong", [None, True, False, 0, Halt, "halt"], ids=repr)
async def test_an_evaluation_that_answers_nonsense_halts_the_run(
    mode: str, wrong: object
) -> None:
    result = await Count.run(
        mode=mode,
        health_checks=[_answering(OK)],
        evaluate=lambda results: wrong,
    )

    reason = result.reasons[-1]
    assert result.status is RunStatus.HALTED
    assert isinstance(reason.error, errors.InvalidHealthResult)
    assert reason.error.check == "evaluate"
    assert reason.answer == Halt(reason.error)
    assert repr(wrong) in str(reason)


@pytest.mark.asyncio
@BOTH
async def test_an_evaluation_that_raises_halts_the_run(mode: str) -> None:
    boom = ZeroDivisionError("by zero")

    def evaluate(results: Sequence[CheckResult]) -> Verdict:
        raise boom

    result = await Count.run(
        mode=mode, health_checks=[_answering(OK)], evaluate=evaluate
    )

    reason = result.reasons[-1]
    assert result.status is RunStatus.HALTED
    assert isinstance(reason.error, errors.InvalidHealthResult)
    assert reason.error.__cause__ is boom


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("evaluate", "status"),
    [
        (worst_of, "halted"),
        (quorum(1 / 3), "halted"),
        (quorum(0.5), "done"),
        (weighted(5), "halted"),
        (weighted(5.5), "done"),
        (lambda results: Halt("because I say so"), "halted"),
    ],
)
async def test_evaluations(evaluate: Any, status: str) -> None:
    result = await testing.run(
        Count,
        FakeClock(),
        evaluate=evaluate,
        health_checks=[
            HealthCheck(_answering(OK), name="a"),
            HealthCheck(_answering(Halt("b")), name="b", weight=5),
            HealthCheck(_answering(OK), name="c"),
            HealthCheck(_answering(Halt("d")), name="d", weight=9, severity="info"),
        ],
    )

    assert result.status == status


# That they go.


ENDINGS: dict[str, dict[str, Any]] = {
    "done": {},
    "halted": {"handle_batch": Halt("h")},
    "failed": {"handle_batch": Fail("f")},
    "raised": {"handle_batch": ValueError("x")},
    "late": {"handle_batch": None, "timeout": 0.01},
    "stopped": {"max_batches": 2},
}


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", ENDINGS)
async def test_the_monitor_is_gone_before_run_returns(ending: str) -> None:
    overrides = dict(ENDINGS[ending])
    sampling: list[str] = []

    async def check() -> None:
        if sampling:
            # The second one is still under way when the run ends.
            try:
                sampling.append("begun")
                await never()
            finally:
                sampling.append("ended")
        sampling.append("first")

    if "handle_batch" in overrides:
        answer = overrides["handle_batch"]

        async def handle(state: int) -> object:
            while "begun" not in sampling:
                await asyncio.sleep(0)
            if answer is None:
                await never()
            if isinstance(answer, Exception):
                raise answer
            return answer

        overrides["handle_batch"] = handle

    before = _tasks()
    await testing.run(
        Count,
        FakeClock(),
        health_checks=[check],
        health_interval=0.001,
        delay_between_batches=1,
        **overrides,
    )

    assert _tasks() == before
    assert sampling.count("begun") == sampling.count("ended") == 1


@pytest.mark.asyncio
async def test_the_monitor_is_gone_after_a_cancellation_and_a_base_exception() -> None:
    async def interrupts(state: int) -> Answer[int]:
        raise GeneratorExit

    async def hangs(state: int) -> Answer[int]:
        await never()
        return DONE

    before = _tasks()
    with pytest.raises(GeneratorExit):
        await Count.run(health_checks=[_answering(OK)], handle_batch=interrupts)
    after_base = _tasks()
    task = asyncio.create_task(
        Count.run(health_checks=[_answering(OK)], handle_batch=hangs)
    )
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert after_base == before
    assert _tasks() == before


@pytest.mark.asyncio
@BOTH
async def test_cancelled_during_the_first_sampling_nothing_is_left(mode: str) -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def check() -> None:
        begun.set()
        try:
            await never()
        finally:
            ended.append("check")

    before = _tasks()
    task = asyncio.create_task(
        Count.run(mode=mode, health_checks=[check, _answering(OK)])
    )
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ended == ["check"]
    assert _tasks() == before


@pytest.mark.asyncio
async def test_a_failing_check_does_not_disturb_the_batch_under_way() -> None:
    asked = 0
    bad = asyncio.Event()

    async def check() -> Verdict:
        nonlocal asked
        asked += 1
        if asked == 1:
            return OK
        bad.set()
        return Halt("down")

    async def handle(state: int) -> Answer[int]:
        await bad.wait()
        await turns(50)
        return Next(state + 1, rows=1)

    result = await testing.run(
        Count, FakeClock(), health_checks=[check], handle_batch=handle
    )

    assert (result.status, result.state, result.batches) == ("halted", 1, 1)


@pytest.mark.asyncio
@BOTH
async def test_a_run_that_is_cancelled_as_a_check_overruns_is_cancelled(
    mode: str,
) -> None:
    """Both come in the same turn of the loop, and neither may swallow the other."""
    loop = asyncio.get_running_loop()
    short = 0.01

    async def check() -> None:
        loop.call_later(short, task.cancel)
        until = loop.time() + short * 2
        while loop.time() < until:
            pass
        await never()

    task = asyncio.create_task(
        Count.run(mode=mode, health_checks=[check], health_timeout=short)
    )
    await asyncio.wait([task], timeout=5)

    assert task.cancelled()


class Quits(BaseException):
    """Neither an Exception nor a cancellation."""


@pytest.mark.asyncio
@BOTH
@pytest.mark.parametrize("count", [1, 2])
async def test_other_base_exceptions_of_a_check_propagate(
    mode: str, count: int
) -> None:
    thrown = Quits()

    async def check() -> None:
        raise thrown

    others = [_answering(OK)] * (count - 1)
    with pytest.raises(Quits) as caught:
        await testing.run(Count, FakeClock(), mode=mode, health_checks=[check, *others])

    assert caught.value is thrown


@pytest.mark.asyncio
async def test_a_monitor_that_dies_later_does_not_leave_the_run_waiting() -> None:
    thrown = Quits()
    asked = 0

    async def check() -> Verdict:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise thrown
        return Pause("wait")

    with pytest.raises(Quits):
        await testing.run(Count, FakeClock(), max_pause=None, health_checks=[check])


# Staleness.


class Hangs:
    """A check that answers once, and then takes *seconds* of the clock."""

    def __init__(self, clock: FakeClock, seconds: float, answer: Verdict = OK) -> None:
        self.clock = clock
        self.seconds = seconds
        self.answer = answer
        self.asked = 0

    async def __call__(self) -> Verdict:
        self.asked += 1
        if self.asked > 1:
            await self.clock.sleep(self.seconds)
        return self.answer


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("interval", "timeout", "stale"), [(5.0, 5.0, 15.0), (1.0, 9.0, 10.0)]
)
async def test_a_verdict_twice_too_old_is_an_unknown_health_and_pauses(
    interval: float, timeout: float, stale: float
) -> None:
    clock = FakeClock()
    check = Hangs(clock, 1000)
    begun: list[float] = []

    async def handle(state: int) -> Answer[int]:
        begun.append(clock.now)
        return DONE if clock.now > 1000 else Next(state + 1)

    with capture() as events:
        result = await testing.run(
            Count,
            clock,
            health_checks=[check],
            health_interval=interval,
            health_timeout=timeout,
            handle_batch=handle,
            delay_between_batches=1,
        )

    (pause,) = [event for event in events if event.name == "backfill.pause"]
    assert result.status is RunStatus.DONE
    # The last batch before the pause began within twice the time after the sampling
    # at 0, and the next one after the second sampling had ended.
    assert begun == [*map(float, range(int(2 * stale))), interval + 1000]
    reasons = pause.metadata["reasons"]
    assert [str(each)[:14] for each in reasons] == ["health unknown"]  # type: ignore[attr-defined]
    assert isinstance(reasons[0].answer, Pause)  # type: ignore[index]


@pytest.mark.asyncio
async def test_an_unknown_health_halts_after_max_pause() -> None:
    clock = FakeClock()

    async def handle(state: int) -> Answer[int]:
        return Next(state + 1)

    result = await testing.run(
        Count,
        clock,
        health_checks=[Hangs(clock, 1e9)],
        handle_batch=handle,
        delay_between_batches=1,
        max_pause=60,
    )

    assert result.status is RunStatus.HALTED
    assert "health unknown" in str(result.reasons[0])
    assert result.duration == 90.0


@pytest.mark.asyncio
async def test_old_good_news_is_no_good_news_for_ever() -> None:
    """The verdict OK is dropped in time even where batches follow at once."""
    clock = FakeClock()
    check = Hangs(clock, 1e9)

    async def handle(state: int) -> Answer[int]:
        await clock.sleep(10)
        return Next(state + 1)

    result = await testing.run(
        Count, clock, health_checks=[check], handle_batch=handle, max_pause=0
    )

    assert result.status is RunStatus.HALTED
    assert result.batches == 3


@pytest.mark.asyncio
async def test_a_verdict_is_stale_before_it_is_unknown() -> None:
    clock = FakeClock()
    fresh: list[tuple[float, bool]] = []
    entered = asyncio.Event()

    async def handle(state: int) -> Answer[int]:
        await entered.wait()
        loop = run._session._loop  # type: ignore[union-attr]
        assert loop is not None
        fresh.append((clock.now, loop.report.fresh))
        return DONE if clock.now >= 29 else Next(state + 1)

    async with testing.start(
        Count,
        clock,
        health_checks=[Hangs(clock, 1e9)],
        handle_batch=handle,
        delay_between_batches=1,
    ) as run:
        entered.set()
        await run.wait()

    assert fresh == [(float(at), at < 15) for at in range(30)]


@pytest.mark.asyncio
async def test_a_slow_first_sampling_is_waited_for_and_is_no_pause() -> None:
    gate = asyncio.Event()

    async def check() -> None:
        await gate.wait()

    with capture() as events:
        task = asyncio.create_task(Count.run(health_checks=[check], max_pause=0))
        await turns(50)
        waiting = names(events)
        gate.set()
        result = await task

    assert waiting == ["start"]
    assert result.status is RunStatus.DONE
    assert "pause" not in names(events)


@pytest.mark.asyncio
async def test_among_equals_the_first_declared_speaks() -> None:
    class Once(Backfill):
        async def handle(self, health_check: HealthAsked) -> Done:
            return Done(await health_check())

    result = await Once.run(
        health_checks=[
            _answering(OK),
            _answering(Slow("first")),
            _answering(Slow("second")),
        ]
    )

    assert result.result == Slow("first")
