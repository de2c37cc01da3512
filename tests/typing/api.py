"""What users write, as mypy sees it. Checked, never run.

An `assert_type` fails where a type is another one than here; a mistake behind an
ignore that mypy would not find is an error itself, an unused ignore.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Generic, Literal, TypeVar, assert_never, assert_type

from adaptive_backfill import (
    DONE,
    OK,
    Adaptive,
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
    Progress,
    Reason,
    Retry,
    Run,
    RunResult,
    RunStatus,
    Slow,
    Snapshot,
    Verdict,
    errors,
    quorum,
    telemetry,
    weighted,
    worst_of,
)

T = TypeVar("T")


# Checks, sync and async, with and without a context.


async def reachable() -> bool:
    return True


async def check_database() -> Verdict:
    return OK if await reachable() else Halt("database_down")


def check_load() -> Slow | None:
    return None


def check_pool(context: HealthContext) -> bool:
    assert_type(context.name, str)
    assert_type(context.memory, dict[object, object])
    return context.pool is not None


class Probe:
    async def __call__(self) -> object:
        return OK


def judge(results: Sequence[CheckResult]) -> Verdict:
    return results[0].answer if results else OK


# Batches.


class MigrateUsers(Backfill[int]):
    """Every option as the README writes it."""

    name = "users"
    initial_state = 0
    mode = "sync"
    health_checks = [
        check_database,
        check_load,
        HealthCheck(check_pool, name="pool", weight=2, severity="warning"),
        HealthCheck(Probe(), on_error="pause"),
        lambda: OK,
    ]
    health_interval = 2
    health_timeout = timedelta(seconds=1)
    evaluate = quorum(0.5)
    batch_size = 100
    pace = Adaptive(target=0.05, max_workers=2)
    duty = 0.5
    max_rows_per_second = 5_000
    windows = ["Mon-Fri 22:00-06:00 Europe/Berlin"]
    canary = 1_000
    timeout = 60.0
    delay_between_batches = 1
    max_pause = timedelta(hours=1)
    retry = Retry(attempts=5, base=0.5, cap=30, on=(OSError, errors.BatchTimeout))
    total = 1_000
    max_batches = 10
    telemetry_prefix = ("my_app", "users")
    checkpoint = Checkpoint(MemoryStore(), "users_v2")
    once = True
    if_running = "skip"

    async def handle_batch(self, state: int) -> Answer[int]:
        assert_type(self.batch_size, int)
        users = list(range(state, state + self.batch_size))
        if not users:
            return DONE
        if state > 10:
            return Halt("enough")
        if state > 20:
            return Fail(ValueError("bad"))
        return Next(state + len(users), rows=len(users))

    async def on_success(self, state: int) -> None: ...

    async def on_canary(self, result: RunResult) -> bool:
        assert_type(result.waited, Mapping[str, float])
        return result.quarantined == 0

    async def on_error(self, error: Exception, state: int) -> None: ...

    async def on_complete(self, result: RunResult) -> None: ...


class Without(Backfill):
    """No state type, no annotations of answers, plain hooks."""

    async def handle_batch(self, state: dict[str, int]) -> Next[dict[str, int]] | Done:
        if state["id"] > 3:
            return Done(result={"ids": state}, rows=1)
        return Next({"id": state["id"] + 1})

    def on_success(self, state: dict[str, int]) -> None: ...

    def on_error(self, error: object, state: object) -> None: ...

    def on_complete(self, result: RunResult) -> object:
        return result.status


@dataclass
class Cursor:
    tenant: int
    user: int


class Methods(Backfill[Cursor | None]):
    """Options that are methods, and options that are switched off."""

    timeout = None
    max_pause = None
    retry = None
    checkpoint = None
    max_batches = None
    health_checks = None
    client: Cursor
    page: int = 5
    kind: ClassVar[str] = "users"

    async def initial_state(self) -> Cursor | None:
        return Cursor(1, self.page)

    async def total(self) -> int:
        return 7

    def evaluate(self, results: Sequence[CheckResult]) -> Verdict:
        return worst_of(results)

    async def own_check(self) -> Verdict:
        return OK

    async def handle_batch(self, state: Cursor | None) -> Answer[Cursor | None]:
        return Next(None) if state else Next(self.client, rows=1)


class MoreMethods(Methods):
    """Each of them in another kind."""

    @staticmethod
    async def initial_state() -> Cursor | None:
        return None

    @classmethod
    def total(cls) -> int:  # type: ignore[override]
        return len(cls.kind)


class StaticInitial(Backfill[int]):
    @staticmethod
    async def initial_state() -> int:
        return 1

    @classmethod
    def total(cls) -> int:
        return 5

    evaluate = weighted(2.0)


class Plain(Backfill[int]):
    def initial_state(self) -> int:
        return 1

    evaluate = judge


# Bases: abstract, generic, mixed.


class Base(Backfill[T], ABC, Generic[T]):
    @abstractmethod
    async def fetch(self, state: T) -> list[int]: ...

    async def handle_batch(self, state: T) -> Answer[T]:
        rows = await self.fetch(state)
        return Next(state, rows=len(rows)) if rows else DONE

    async def on_success(self, state: T) -> None:
        await super().on_success(state)


class Concrete(Base[str]):
    batch_size = 10

    async def fetch(self, state: str) -> list[int]:
        assert_type(state, str)
        return []

    async def on_success(self, state: str) -> None:
        await super().on_success(state)


class Loud:
    batch_size = 5

    async def on_complete(self, result: RunResult) -> None: ...


class Mixed(Loud, Concrete):
    pass


# Single operations.


class ProcessUser(Backfill):
    health_checks = [check_database]
    timeout = timedelta(minutes=5)

    async def handle(
        self, health_check: Callable[[], Awaitable[Verdict]]
    ) -> Done | Verdict | Fail:
        verdict = await health_check()
        assert_type(verdict, Verdict)
        if isinstance(verdict, Halt):
            assert_type(verdict.reason, object)
            return verdict
        if verdict is not OK:
            assert_type(verdict, Slow | Pause)
            return verdict
        return Done({"id": 1})

    async def on_success(self, result: object) -> None: ...

    async def on_error(self, error: object) -> None: ...


# Answers and verdicts narrow.


def told(verdict: Verdict) -> str:
    if verdict is OK:
        return "ok"
    assert_type(verdict, Slow | Pause | Halt)
    match verdict:
        case Slow(reason=reason) | Pause(reason=reason):
            return str(reason)
        case Halt():
            return "halt"
        case _:
            assert_never(verdict)


def moved(answer: Answer[int]) -> int | None:
    match answer:
        case Next(state=state, rows=rows):
            assert_type(state, int)
            assert_type(rows, int | None)
            return state
        case Done(result=result):
            assert_type(result, object)
            return None
        case Halt() | Fail():
            return None
        case _:
            assert_never(answer)


def answers() -> None:
    assert_type(Next(5), Next[int])
    assert_type(Next(None), Next[None])
    assert_type(DONE, Done)
    moved(Next("text"))  # type: ignore[arg-type]
    moved(None)  # type: ignore[arg-type]
    moved(OK)  # type: ignore[arg-type]
    told("ok")  # type: ignore[arg-type]


# Running, in the foreground and in the background.


async def runs() -> None:
    result = await MigrateUsers.run(timeout=120, initial_state=1_000, client=object())
    assert_type(result, RunResult)
    assert_type(result.raise_for_status(), RunResult)
    assert_type(result.status, RunStatus)
    assert_type(result.reasons, tuple[Reason, ...])
    assert_type(result.error, object)
    assert_type(result.batches, int)
    assert_type(result.rows, int)
    assert_type(result.duration, float)
    assert_type(result.resumed, bool)
    assert_type(result.run_id, str)
    assert_type(result.hook_errors, list[Exception])
    if result.status is RunStatus.DONE:
        assert_type(result.status, Literal[RunStatus.DONE])
    for reason in result.reasons:
        assert_type(reason.check, str | None)
        assert_type(reason.answer, Verdict)
        assert_type(reason.error, BaseException | None)

    await ProcessUser.run(on_success=print, restart=True)
    await Concrete.run()
    await MigrateUsers.run(5)  # type: ignore[call-arg]


async def handles() -> None:
    async with MigrateUsers.start(grace=5, batch_size=10) as run:
        assert_type(run, Run)
        run.pause()
        run.resume()
        run.set(batch_size=5)
        run.stop()
        assert_type(run.progress, Progress)
        assert_type(run.progress.share, float | None)
        assert_type(run.progress.eta, float | None)
        assert_type(run.progress.batch_size, int | None)
        assert_type(run.progress.verdict, Verdict)
        assert_type(await run.wait(), RunResult)
    MigrateUsers.start(grace="5")  # type: ignore[arg-type]


async def troubles() -> None:
    try:
        (await MigrateUsers.run()).raise_for_status()
    except errors.RunHalted as halted:
        assert_type(halted.result, object)
    except errors.RunFailed as failed:
        assert_type(failed.__cause__, BaseException | None)
    except errors.ConfigurationError as refused:
        assert_type(refused.problems, tuple[str, ...])
    except errors.AlreadyRunning as running:
        assert_type(running.owner, str | None)


# Stores, checks, telemetry.


async def stores() -> None:
    store = MemoryStore()
    assert_type(await store.load("users"), Snapshot | None)
    await store.save("users", Snapshot({"id": 1}, batches=1, rows=2, batch_size=None))
    assert_type(Checkpoint(store).name, str | None)
    Checkpoint(store, 5)  # type: ignore[arg-type]


def checks() -> None:
    HealthCheck(check_database, severity="fatal")  # type: ignore[arg-type]
    HealthCheck(5)  # type: ignore[arg-type]
    Retry(on=OSError)  # type: ignore[arg-type]
    quorum("half")  # type: ignore[arg-type]


def heard(event: telemetry.Event) -> AbstractContextManager[None]:
    assert_type(event.name, str)
    assert_type(event.measurements.get("rows"), float | None)
    return nullcontext()


def listens() -> None:
    telemetry.attach("one", "my_app.**", heard)
    telemetry.attach("two", "**", lambda event: None)
    telemetry.attach("three", "**", print)
    assert_type(telemetry.detach("one"), bool)
    telemetry.attach("four", "**", 5)  # type: ignore[arg-type]


# Mistakes that a type checker can see before a run does.


class WrongMode(Backfill[int]):
    mode = "fast"  # type: ignore[assignment]


class WrongBatchSize(Backfill[int]):
    batch_size = "many"  # type: ignore[assignment]


class WrongRetry(Backfill[int]):
    retry = 3  # type: ignore[assignment]


class WrongHooks(Backfill[int]):
    on_error = 5  # type: ignore[assignment]


class WrongNext(Backfill[int]):
    async def handle_batch(self, state: int) -> Answer[int]:
        return Next(str(state))  # type: ignore[arg-type]


class WrongRun(Backfill[int]):
    def run(self) -> None:  # type: ignore[override]
        ...
