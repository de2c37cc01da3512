"""Hooks: when they are called, with what, and that they cannot hurt."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from adaptive_backfill import (
    DONE,
    Answer,
    Backfill,
    Checkpoint,
    Done,
    Fail,
    Halt,
    MemoryStore,
    Next,
    RunResult,
    RunStatus,
    errors,
)
from adaptive_backfill.testing import ScriptedCheck, capture
from tests.engine.sharing import (
    AsyncStore,
    Count,
    HealthAsked,
    names,
    never,
    only,
    turns,
)

BOOM = ValueError("boom")


async def _raises(state: object) -> Answer[int]:
    raise BOOM


ENDINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "done": ("done", {}),
    "halted by the handler": ("halted", {"handle_batch": "halt"}),
    "halted by a check": ("halted", {"health_checks": "halt"}),
    "failed by Fail": ("failed", {"handle_batch": "fail"}),
    "failed by an exception": ("failed", {"handle_batch": "raise"}),
    "failed at the start": ("failed", {"checkpoint": "load"}),
    "failed to save": ("failed", {"checkpoint": "save"}),
    "stopped": ("stopped", {"max_batches": 1}),
}


def _overrides(given: dict[str, Any]) -> dict[str, Any]:
    async def answers(state: int) -> Answer[int]:
        return Halt("h") if given["handle_batch"] == "halt" else Fail("f")

    made = dict(given)
    if given.get("handle_batch") == "raise":
        made["handle_batch"] = _raises
    elif "handle_batch" in given:
        made["handle_batch"] = answers
    if "health_checks" in given:
        made["health_checks"] = [ScriptedCheck([Halt("down")])]
    if "checkpoint" in given:
        broken = AsyncStore(**{given["checkpoint"]: OSError("broken")})
        made["checkpoint"] = Checkpoint(broken, "broken")
    return made


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", ENDINGS)
async def test_on_complete_hears_once_of_the_very_object_that_run_returns(
    ending: str,
) -> None:
    status, given = ENDINGS[ending]
    heard: list[RunResult] = []

    result = await Count.run(on_complete=heard.append, **_overrides(given))

    assert result.status == status
    assert len(heard) == 1
    assert heard[0] is result


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", ENDINGS)
async def test_on_error_hears_once_and_only_of_failures(ending: str) -> None:
    status, given = ENDINGS[ending]
    heard: list[tuple[object, object]] = []

    result = await Count.run(
        on_error=lambda error, state: heard.append((error, state)),
        **_overrides(given),
    )

    expected = [(result.error, result.state)] if status == "failed" else []
    assert heard == expected


@pytest.mark.asyncio
async def test_on_complete_comes_after_on_error_and_before_the_delete() -> None:
    order: list[str] = []
    store = AsyncStore()

    await Count.run(
        handle_batch=_raises,
        on_error=lambda error, state: order.append("on_error"),
        on_complete=lambda result: order.append("on_complete"),
    )
    await Count.run(
        checkpoint=Checkpoint(store, "x"),
        on_complete=lambda result: order.append(f"kept {'x' in store.kept}"),
    )

    assert order == ["on_error", "on_complete", "kept True"]
    assert store.kept == {}


@pytest.mark.asyncio
async def test_on_complete_does_not_hear_of_skips_or_configuration_errors() -> None:
    heard: list[RunResult] = []
    checkpoint = Checkpoint(MemoryStore(), "once")
    await Count.run(checkpoint=checkpoint, once=True)

    skipped = await Count.run(
        checkpoint=checkpoint, once=True, on_complete=heard.append
    )
    with pytest.raises(errors.ConfigurationError):
        await Count.run(timeout=-1, on_complete=heard.append)

    assert skipped.status is RunStatus.SKIPPED
    assert heard == []


@pytest.mark.asyncio
@pytest.mark.parametrize("sync", [True, False], ids=["def", "async def"])
@pytest.mark.parametrize("ending", ENDINGS)
async def test_hooks_that_raise_change_nothing(ending: str, sync: bool) -> None:
    status, given = ENDINGS[ending]
    called: list[str] = []

    def broken(name: str) -> Any:
        def raising(*args: object) -> None:
            called.append(name)
            raise BOOM

        async def raising_later(*args: object) -> None:
            await asyncio.sleep(0)
            raising()

        return raising if sync else raising_later

    overrides = _overrides(given)
    overrides.setdefault("checkpoint", Checkpoint(MemoryStore(), "hooks"))
    plain = await Count.run(**_overrides(given))
    with capture() as events:
        result = await Count.run(
            on_success=lambda *a: broken("on_success")(*a),
            on_error=lambda *a: broken("on_error")(*a),
            on_complete=lambda *a: broken("on_complete")(*a),
            **overrides,
        )

    assert result.status == status == plain.status
    assert (result.state, result.batches, result.rows, result.result) == (
        plain.state,
        plain.batches,
        plain.rows,
        plain.result,
    )
    assert called.count("on_error") == (status == "failed")
    assert called.count("on_complete") == 1
    assert isinstance(result.hook_errors, list)
    assert result.hook_errors == [BOOM] * len(called)
    assert [each["hook"] for each in only(events, "hook.exception")] == called
    assert {each["error"] for each in only(events, "hook.exception")} == {BOOM}
    assert names(events)[-1] == "stop"


@pytest.mark.asyncio
async def test_a_hook_that_raises_leaves_the_checkpoint_as_it_is() -> None:
    store = AsyncStore()

    def hook(state: object) -> None:
        raise BOOM

    result = await Count.run(
        on_success=hook, checkpoint=Checkpoint(store, "x"), max_batches=2
    )

    assert result.status is RunStatus.STOPPED
    assert (store.kept["x"].state, store.kept["x"].batches) == (2, 2)


@pytest.mark.asyncio
async def test_a_hook_that_raises_is_logged_with_its_traceback() -> None:
    def hook(state: object) -> None:
        raise BOOM

    with capture_logs() as lines:
        await Count.run(on_success=hook, max_batches=1)

    (line,) = [line for line in lines if "hook" in line["event"]]
    assert line["log_level"] == "error"
    assert line["hook"] == "on_success"
    assert line["exc_info"] is BOOM
    assert BOOM.__traceback__ is not None


@pytest.mark.asyncio
@pytest.mark.parametrize("hook", ["on_success", "on_error", "on_complete"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_other_base_exceptions_of_hooks_propagate(
    hook: str, kind: type[BaseException]
) -> None:
    thrown = kind()
    checkpoint = Checkpoint(MemoryStore(), "base")

    def raising(*args: object) -> None:
        raise thrown

    # on_error needs a failure to hear of.
    failing: dict[str, Any] = {"handle_batch": _raises} if hook == "on_error" else {}
    with pytest.raises(kind) as caught:
        await Count.run(
            checkpoint=checkpoint, **failing, **{hook: lambda *a: raising(*a)}
        )

    assert caught.value is thrown
    again = await Count.run(checkpoint=checkpoint)
    assert again.status is RunStatus.DONE


@pytest.mark.asyncio
async def test_hooks_may_be_plain_or_async_functions() -> None:
    order: list[str] = []

    class Mixed(Count):
        async def on_success(self, state: object) -> None:
            await asyncio.sleep(0)
            order.append(f"on_success {state}")

        def on_complete(self, result: RunResult) -> None:
            order.append(f"on_complete {result.status}")

    await Mixed.run(max_batches=1)

    assert order == ["on_success 1", "on_complete stopped"]


@pytest.mark.asyncio
async def test_the_next_batch_waits_for_the_hook() -> None:
    order: list[str] = []

    async def handle(state: int) -> Answer[int]:
        order.append(f"batch {state}")
        return DONE if state == 1 else Next(state + 1)

    async def on_success(state: object) -> None:
        await turns(50)
        order.append(f"hook {state}")

    await Count.run(handle_batch=handle, on_success=on_success)

    assert order == ["batch 0", "hook 1", "batch 1"]


@pytest.mark.asyncio
async def test_a_single_operation_tells_on_error_the_error_alone() -> None:
    heard: list[tuple[object, ...]] = []

    class Once(Backfill):
        async def handle(self, health_check: HealthAsked) -> Done:
            raise BOOM

        async def on_error(self, error: object) -> None:
            heard.append((error,))

    result = await Once.run()

    assert result.error is BOOM
    assert heard == [(BOOM,)]


@pytest.mark.asyncio
async def test_hooks_may_call_super() -> None:
    heard: list[object] = []

    class Mixin:
        async def on_success(self, state: object) -> None:
            heard.append(state)
            await super().on_success(state)  # type: ignore[misc]

    class Mixed(Mixin, Count):
        async def on_success(self, state: object) -> None:
            await super().on_success(state)

    result = await Mixed.run(max_batches=1)

    assert heard == [1]
    assert result.hook_errors == []


@pytest.mark.asyncio
async def test_a_hook_that_spoils_its_state_does_not_spoil_the_run() -> None:
    seen: list[list[int]] = []

    async def handle(state: list[int]) -> Answer[list[int]]:
        seen.append(list(state))
        return DONE if len(state) == 2 else Next([*state, len(state)])

    def spoil(state: list[int]) -> None:
        state.clear()

    result = await Count.run(
        initial_state=[],
        handle_batch=handle,
        on_success=spoil,
        checkpoint=Checkpoint(AsyncStore(), "x"),
    )

    assert seen == [[], [0], [0, 1]]
    assert result.state == [0, 1]


@pytest.mark.asyncio
async def test_no_hook_is_called_after_a_cancellation() -> None:
    heard: list[str] = []
    began = asyncio.Event()

    async def handle(state: int) -> Answer[int]:
        began.set()
        await never()
        return DONE

    task = asyncio.create_task(
        Count.run(
            handle_batch=handle,
            on_success=lambda state: heard.append("on_success"),
            on_error=lambda error, state: heard.append("on_error"),
            on_complete=lambda result: heard.append("on_complete"),
        )
    )
    await began.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard == []
