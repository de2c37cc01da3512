"""What one call of `run` may set, and what it puts in force."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from datetime import timedelta
from typing import Any

import pytest

from adaptive_backfill import (
    DONE,
    OK,
    Answer,
    Backfill,
    Checkpoint,
    Done,
    Halt,
    MemoryStore,
    Next,
    Retry,
    RunResult,
)
from adaptive_backfill.errors import ConfigurationError
from tests.dsl.bodies import batch, defined, message, single


class Users(Backfill[int]):
    """Tells what is in force, and goes on until 3."""

    initial_state = 0
    mode = "sync"
    batch_size = 10
    timeout = timedelta(minutes=1)

    async def handle_batch(self, state: int) -> Answer[int]:
        if state == 3:
            return Done(self.in_force())
        return Next(state + 1, rows=self.batch_size)

    def in_force(self) -> dict[str, object]:
        return {
            name: getattr(self, name)
            for name in (
                "name", "mode", "health_checks", "health_interval", "health_timeout",
                "batch_size", "timeout", "delay_between_batches", "max_pause",
                "retry", "max_batches", "telemetry_prefix", "checkpoint", "once",
                "if_running", "initial_state", "total",
            )
        }  # fmt: skip


async def refused(run: Any) -> str:
    with pytest.raises(ConfigurationError) as error:
        await run
    return str(error.value)


@pytest.mark.asyncio
async def test_the_options_in_force_are_on_the_instance() -> None:
    result = await Users.run()

    assert result.result == {
        "name": "tests.dsl.test_overrides.Users",
        "mode": "sync",
        "health_checks": (),
        "health_interval": 5.0,
        "health_timeout": 5.0,
        "batch_size": 10,
        "timeout": 60.0,
        "delay_between_batches": 0.0,
        "max_pause": 3600.0,
        "retry": Retry(attempts=1),
        "max_batches": None,
        "telemetry_prefix": "backfill",
        "checkpoint": None,
        "once": False,
        "if_running": "raise",
        "initial_state": 0,
        "total": None,
    }


@pytest.mark.asyncio
async def test_overrides_are_in_force_for_one_run_and_never_on_the_class() -> None:
    before = dict(vars(Users))

    overridden = await Users.run(
        batch_size=7, timeout=timedelta(minutes=2), initial_state=1, name="other"
    )
    after = await Users.run()

    assert (overridden.rows, overridden.name) == (14, "other")
    assert isinstance(overridden.result, dict)
    assert overridden.result["timeout"] == 120.0
    assert overridden.result["initial_state"] == 1
    assert (after.rows, after.name) == (30, "tests.dsl.test_overrides.Users")
    assert dict(vars(Users)) == before


@pytest.mark.asyncio
async def test_handler_and_hooks_of_one_run_share_an_instance_of_their_own() -> None:
    seen: list[object] = []

    class Sharing(Backfill[int]):
        initial_state = 0

        async def handle_batch(self, state: int) -> Answer[int]:
            seen.append(self)
            return Done(rows=1)

        async def on_success(self, state: int) -> None:
            seen.append(self)

        def on_complete(self, result: RunResult) -> None:
            seen.append(self)

    await Sharing.run()
    await Sharing.run()

    one, other = seen[:3], seen[3:]
    assert len(set(map(id, one))) == len(set(map(id, other))) == 1
    assert one[0] is not other[0]
    assert isinstance(one[0], Sharing)


@pytest.mark.asyncio
async def test_none_switches_options_off() -> None:
    class Loaded(Users):
        batch_size = 5
        timeout = timedelta(seconds=5)
        delay_between_batches = 1
        max_pause = 5
        max_batches = 5
        total = 100
        retry = Retry(3)
        telemetry_prefix = "loaded"
        health_checks = [lambda: Halt("down")]
        checkpoint = Checkpoint(MemoryStore())
        once = True
        evaluate = staticmethod(lambda results: Halt("never"))

        async def on_success(self, state: int) -> None:
            raise AssertionError

    async def tell(state: int) -> Answer[int]:
        return DONE

    options = [
        "batch_size", "timeout", "delay_between_batches", "max_pause", "max_batches",
        "total", "retry", "telemetry_prefix", "health_checks", "checkpoint", "once",
        "evaluate", "on_success",
    ]  # fmt: skip
    result = await Loaded.run(**dict.fromkeys(options), initial_state=3)

    in_force = result.raise_for_status().result
    assert isinstance(in_force, dict)
    assert {name: in_force[name] for name in options if name in in_force} == {
        "batch_size": None,
        "timeout": None,
        "delay_between_batches": 0.0,
        "max_pause": None,
        "max_batches": None,
        "total": None,
        "retry": Retry(attempts=1),
        "telemetry_prefix": "backfill",
        "health_checks": (),
        "checkpoint": None,
        "once": False,
    }
    assert result.hook_errors == []


@pytest.mark.asyncio
async def test_none_is_a_state_and_no_mode() -> None:
    seen: list[object] = []

    async def tell(state: object) -> Answer:
        seen.append(state)
        return DONE

    await Users.run(initial_state=None, handle_batch=tell)

    assert seen == [None]
    assert await refused(Users.run(mode=None)) == message(
        "mode must be 'sync' or 'async', not None"
    )


@pytest.mark.asyncio
async def test_an_unknown_name_is_told_the_nearest_or_all() -> None:
    assert await refused(Users.run(timout=5, on_succes=None)) == message(
        "timout is not an option; did you mean timeout?",
        "on_succes is not an option; did you mean on_success?",
    )
    assert await refused(Users.run(qqq=5)) == message(
        "qqq is not an option; there are: batch_size, canary, checkpoint, "
        "delay_between_batches, duty, evaluate, handle, handle_batch, health_checks, "
        "health_interval, health_timeout, if_running, initial_state, max_batches, "
        "max_pause, max_rows_per_second, max_wal_per_second, mode, name, on_canary, "
        "on_complete, on_error, on_success, once, pace, restart, retry, "
        "telemetry_prefix, timeout, total, windows"
    )


@pytest.mark.asyncio
async def test_a_cap_on_wal_needs_a_backfill_that_knows_its_wal() -> None:
    assert await refused(Users.run(max_wal_per_second=1_000_000)) == message(
        "max_wal_per_second needs a backfill that knows its WAL: subclass "
        "PostgresBackfill or TableBackfill of adaptive_backfill.postgres"
    )


@pytest.mark.asyncio
async def test_every_problem_of_a_call_is_in_one_error() -> None:
    class Needs(Users):
        client: object

        def __init__(self, connection: object) -> None:
            raise NotImplementedError

    async def wrong(state: int, size: int) -> Answer[int]:
        return DONE

    given = Needs.run(
        timeout=0,
        batch_sise=5,
        once=True,
        if_running="skip",
        restart="yes",
        handle_batch=wrong,
        on_error=lambda: None,
        evaluate=lambda: OK,
        health_checks=[lambda one, two: OK],
    )

    assert (await refused(given)).splitlines()[1:] == [
        "  - timeout must be seconds above 0, or a timedelta, not 0",
        "  - health check '<lambda>' must take no argument, or one (a HealthContext)",
        "  - evaluate must take (results)",
        "  - handle_batch must take one argument: (state)",
        "  - on_error must take (error, state)",
        "  - batch_sise is not an option; did you mean batch_size?",
        "  - restart must be True or False, not 'yes'",
        "  - client is missing: it has no default, so pass run(client=...)",
        "  - its __init__ needs arguments (missing a required argument: 'connection'); "
        "annotate them as attributes instead (`client: Client`) and pass them to "
        "run(client=...)",
        "  - once=True and if_running='skip' needs a store that holds leases and "
        "remembers endings, such as SqliteStore or MemoryStore; here is no checkpoint",
    ]


@pytest.mark.asyncio
async def test_options_of_batches_cannot_be_given_to_a_single_operation() -> None:
    operation = defined({"handle": single})

    assert await refused(operation.run(batch_size=None, total=5)) == message(
        "batch_size is for batches; a single operation (handle) has no use for it",
        "total is for batches; a single operation (handle) has no use for it",
    )


@pytest.mark.asyncio
async def test_functions_given_to_a_run_are_called_without_self() -> None:
    heard: list[object] = []

    async def handle_batch(state: int) -> Answer[int]:
        return Next(state + 1, rows=1) if state < 2 else Done(rows=5)

    result = await Users.run(
        handle_batch=handle_batch,
        on_success=heard.append,
        on_complete=heard.append,
        on_error=lambda error, state: heard.append(error),
    )

    assert heard == [1, 2, 2, result]
    assert result.rows == 7


@pytest.mark.asyncio
async def test_a_base_without_a_handler_may_be_given_one_for_a_run() -> None:
    async def handle(health_check: object) -> Answer:
        return Done("one")

    base = defined({"timeout": 5})

    assert (await base.run(handle=handle)).result == "one"


@pytest.mark.asyncio
async def test_a_handler_of_the_other_kind_is_refused() -> None:
    async def handle(health_check: object) -> Answer:
        return DONE

    assert await refused(Users.run(handle=handle)) == message(
        "it has both handle_batch and handle; keep one"
    )


@pytest.mark.asyncio
async def test_a_handler_that_is_none_or_not_async_is_refused() -> None:
    assert await refused(Users.run(handle_batch=None)) == message(
        "handle_batch must be an async function, not None"
    )
    assert await refused(Users.run(handle_batch=lambda state: DONE)) == message(
        "handle_batch must be a coroutine function: write `async def handle_batch`"
    )


@pytest.mark.asyncio
async def test_a_class_that_python_makes_no_instance_of_is_refused() -> None:
    class Base(Backfill[int], ABC):
        @abstractmethod
        async def handle_batch(self, state: int) -> Answer[int]: ...

    async def handle_batch(state: int) -> Answer[int]:
        return DONE

    said = await refused(Base.run(handle_batch=handle_batch))

    assert said.splitlines()[1:] == [
        "  - handle_batch is abstract; define it in a subclass"
    ]


@pytest.mark.asyncio
async def test_a_start_refuses_what_a_run_refuses_when_it_is_entered() -> None:
    handle = Users.start(timout=5)

    with pytest.raises(ConfigurationError) as error:
        async with handle:
            raise NotImplementedError

    assert str(error.value) == message("timout is not an option; did you mean timeout?")


@pytest.mark.asyncio
async def test_a_class_may_be_run_many_times_at_once_with_different_options() -> None:
    results = await asyncio.gather(*(Users.run(batch_size=size) for size in (1, 2, 3)))

    assert [result.rows for result in results] == [3, 6, 9]


@pytest.mark.asyncio
async def test_a_handler_patched_onto_the_class_is_the_one_that_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = defined({"handle_batch": batch})

    async def patched(self: object, state: object) -> Done:
        return Done("patched")

    monkeypatch.setattr(made, "handle_batch", patched)

    assert (await made.run()).result == "patched"
