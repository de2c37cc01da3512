"""What is logged, at which level, and what is left of it in the user's context."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.contextvars import bound_contextvars, get_contextvars
from structlog.testing import capture_logs
from structlog.typing import EventDict

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    Checkpoint,
    Done,
    Fail,
    Halt,
    MemoryStore,
    Next,
    Pause,
    Retry,
    Slow,
    errors,
    telemetry,
    testing,
)
from adaptive_backfill.testing import FakeClock, ScriptedCheck
from tests.engine.sharing import AsyncStore, Count, HealthAsked, never

SECRET = "state-4711"


@pytest.fixture
def unconfigured() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    assert not structlog.is_configured()


async def _keeps(state: object) -> Answer:
    return Next(state, rows=1)


async def _raises(state: object) -> Answer:
    raise ValueError("boom")


async def _fails(state: object) -> Answer:
    return Fail("broken")


async def _halts(state: object) -> Answer:
    return Halt("enough")


async def _hangs(state: object) -> Answer:
    await never()
    return DONE


def _broken_hook(*args: object) -> None:
    raise ValueError("hook")


ENDINGS: dict[str, dict[str, Any]] = {
    "stopped": {"max_batches": 2},
    "raised": {"handle_batch": _raises},
    "failed": {"handle_batch": _fails},
    "halted": {"handle_batch": _halts},
    "late": {"handle_batch": _hangs, "timeout": 0.005},
    "retried": {"handle_batch": _raises, "retry": Retry(3)},
    "bad health": {"health_checks": [ScriptedCheck([Halt("down")] * 99)]},
    "slow and paused": {
        "max_batches": 3,
        "mode": "sync",
        "health_checks": [ScriptedCheck([Slow("s"), Pause("p"), OK] * 9)],
    },
    "hooks": {
        "max_batches": 1,
        "on_success": lambda s: _broken_hook(),
        "on_complete": lambda r: _broken_hook(),
    },
    "not saved": {"checkpoint": Checkpoint(AsyncStore(save=OSError("full")), "x")},
    "not loaded": {"checkpoint": Checkpoint(AsyncStore(load=OSError("gone")), "x")},
}


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", ENDINGS)
async def test_states_are_logged_at_debug_level_only(ending: str) -> None:
    overrides = {"handle_batch": _keeps, **ENDINGS[ending]}

    with capture_logs() as lines:
        await testing.run(Count, FakeClock(), initial_state=SECRET, **overrides)

    assert lines
    for line in lines:
        assert line["log_level"] == "debug" or SECRET not in str(line)


@pytest.mark.asyncio
async def test_states_of_cancelled_runs_are_not_logged_either() -> None:
    begun = asyncio.Event()

    async def handle(state: object) -> Answer:
        begun.set()
        return await _hangs(state)

    with capture_logs() as lines:
        task = asyncio.create_task(Count.run(initial_state=SECRET, handle_batch=handle))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])

    assert "cancelled" in lines[-1]["event"]
    assert SECRET not in str(lines)


@pytest.mark.asyncio
async def test_states_are_there_for_who_debugs() -> None:
    with capture_logs() as lines:
        await Count.run(initial_state=SECRET, handle_batch=_keeps, max_batches=1)

    debug = [line for line in lines if line["log_level"] == "debug"]
    assert [line["state"] for line in debug] == [SECRET]
    assert [line["batch"] for line in debug] == [1]


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", ENDINGS)
async def test_every_line_says_which_backfill_and_which_run(ending: str) -> None:
    overrides = {"handle_batch": _keeps, **ENDINGS[ending]}

    with capture_logs() as lines:
        result = await testing.run(Count, FakeClock(), name="users", **overrides)

    assert {line["backfill"] for line in lines} == {"users"}
    assert {line["run_id"] for line in lines} == {result.run_id}
    if result.batches or result.status == "failed":
        batches = [line["batch"] for line in lines if line["log_level"] == "debug"]
        assert batches == sorted(batches)


@pytest.mark.asyncio
async def test_beginning_and_end_are_logged() -> None:
    with capture_logs() as lines:
        await Count.run(handle_batch=_raises)

    assert (lines[0]["event"], lines[0]["log_level"]) == ("backfill started", "info")
    assert (lines[-1]["event"], lines[-1]["log_level"]) == ("backfill failed", "error")
    assert "boom" in lines[-1]["error"]


# Configured or not.


@pytest.mark.asyncio
@pytest.mark.usefixtures("unconfigured")
@pytest.mark.parametrize("ending", ENDINGS)
async def test_works_unconfigured_and_shows_no_state(
    ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = {"handle_batch": _keeps, **ENDINGS[ending]}

    await testing.run(Count, FakeClock(), initial_state=SECRET, **overrides)

    printed = capsys.readouterr().out
    assert "backfill started" in printed
    assert SECRET not in printed


@pytest.mark.asyncio
@pytest.mark.usefixtures("unconfigured")
async def test_unconfigured_tracebacks_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await Count.run(handle_batch=_raises)
    failed = capsys.readouterr().out
    await Count.run(on_complete=lambda result: _broken_hook())
    hooked = capsys.readouterr().out

    assert "Traceback (most recent call last)" in failed
    assert "ValueError: boom" in failed
    assert "Traceback (most recent call last)" in hooked
    assert "ValueError: hook" in hooked


@pytest.mark.asyncio
@pytest.mark.usefixtures("unconfigured")
async def test_an_unconfigured_telemetry_handler_that_raises_shows_no_state(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(event: telemetry.Event) -> None:
        raise ValueError("dashboard")

    telemetry.attach("broken", "backfill.batch.start", broken)
    result = await Count.run(initial_state=SECRET, handle_batch=_keeps, max_batches=2)

    printed = capsys.readouterr().out
    assert result.status == "stopped"
    assert printed.count("ValueError: dashboard") == 1
    assert SECRET not in printed


@pytest.mark.asyncio
async def test_a_configuration_is_left_alone() -> None:
    heard: list[EventDict] = []

    def keep(logger: Any, method: str, event: EventDict) -> EventDict:
        heard.append(dict(event))
        raise structlog.DropEvent

    structlog.configure(
        processors=[keep],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    before = structlog.get_config()
    await Count.run()

    assert structlog.get_config() == before
    assert [event["event"] for event in heard] == ["backfill started", "backfill done"]


@pytest.mark.asyncio
async def test_works_over_the_standard_librarys_logging(
    caplog: pytest.LogCaptureFixture,
) -> None:
    structlog.configure(
        processors=[structlog.stdlib.render_to_log_kwargs],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    caplog.set_level(logging.DEBUG, logger="adaptive_backfill")
    await Count.run()
    loud = [(record.levelname, record.message) for record in caplog.records]
    caplog.clear()
    caplog.set_level(logging.WARNING, logger="adaptive_backfill")
    await Count.run(handle_batch=_raises)
    quiet = [record.levelname for record in caplog.records]

    assert ("INFO", "backfill started") in loud
    assert [level for level, _ in loud].count("DEBUG") == 4
    assert quiet == ["ERROR"]


# The context.


class Context:
    """What the user's own context is before, in and after a run."""

    def __init__(self) -> None:
        self.inside: list[dict[str, Any]] = []

    async def handle(self, state: object) -> Answer:
        self.inside.append(get_contextvars())
        return DONE


@pytest.mark.asyncio
async def test_the_users_own_lines_say_which_backfill_and_which_run() -> None:
    context = Context()
    with bound_contextvars(request="r1"):
        result = await Count.run(name="users", handle_batch=context.handle)

    (inside,) = context.inside
    assert inside == {"request": "r1", "backfill": "users", "run_id": result.run_id}


@pytest.mark.asyncio
@pytest.mark.parametrize("ending", ENDINGS)
async def test_the_context_is_restored_on_every_exit(ending: str) -> None:
    overrides = {"handle_batch": _keeps, **ENDINGS[ending]}

    with bound_contextvars(request="r1", run_id="mine"):
        before = get_contextvars()
        await testing.run(Count, FakeClock(), initial_state=SECRET, **overrides)
        after = get_contextvars()

    assert after == before == {"request": "r1", "run_id": "mine"}


@pytest.mark.asyncio
async def test_the_context_is_restored_where_run_raises() -> None:
    checkpoint = Checkpoint(MemoryStore(), "one")
    begun = asyncio.Event()

    async def handle(state: object) -> Answer:
        begun.set()
        return await _hangs(state)

    async def quits(state: object) -> Answer:
        raise GeneratorExit

    with bound_contextvars(request="r1", run_id="mine"):
        before = get_contextvars()
        with pytest.raises(GeneratorExit):
            await Count.run(handle_batch=quits)
        after = [get_contextvars()]
        with pytest.raises(errors.ConfigurationError):
            await Count.run(timeout=-1)
        after.append(get_contextvars())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await Count.run(handle_batch=_hangs)
        after.append(get_contextvars())
        other = asyncio.create_task(
            Count.run(checkpoint=checkpoint, handle_batch=handle)
        )
        await begun.wait()
        with pytest.raises(errors.AlreadyRunning):
            await Count.run(checkpoint=checkpoint)
        after.append(get_contextvars())
        skipped = await Count.run(checkpoint=checkpoint, if_running="skip")
        after.append(get_contextvars())
        other.cancel()
        await asyncio.wait([other])

    assert skipped.status == "skipped"
    assert after == [before] * 5


@pytest.mark.asyncio
async def test_a_run_within_a_run_has_its_own_context() -> None:
    inner, outer = Context(), Context()

    class Outer(Backfill):
        name = "outer"

        async def handle(self, health_check: HealthAsked) -> Done:
            await outer.handle(None)
            await Count.run(name="inner", handle_batch=inner.handle)
            await outer.handle(None)
            return Done()

    await Outer.run()

    assert [each["backfill"] for each in inner.inside] == ["inner"]
    assert [each["backfill"] for each in outer.inside] == ["outer"] * 2
    assert outer.inside[0] == outer.inside[1]
    assert get_contextvars() == {}
