from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from adaptive_backfill import (
    Backfill,
    Checkpoint,
    MemoryStore,
    Next,
    Progress,
    RunResult,
    Runs,
    RunStatus,
    SqliteStore,
)
from adaptive_backfill._core.snapshot import Wishes
from adaptive_backfill._ports import Held, Lease
from adaptive_backfill.errors import ConfigurationError, NotRunning
from adaptive_backfill.testing import FakeClock, start
from tests.engine.pacing import Plant, planted

from .sharing import AsyncStore

NAME = "users"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def taken(store: MemoryStore, name: str = NAME) -> Lease:
    lease = await store.acquire(name, "r1")
    assert not isinstance(lease, Held)
    return lease


def running(name: str = NAME) -> Progress:
    return Progress(name, "r1", "running", 1, batches=1)


def test_a_store_that_carries_no_wishes_is_refused() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Runs(AsyncStore(), by=" ")

    assert str(refused.value) == (
        "Runs cannot be used:\n"
        "  - AsyncStore cannot carry wishes between processes; use SqliteStore or "
        "PostgresStore\n"
        "  - by must be a non-empty str or None, not ' '"
    )


def test_the_class_of_a_store_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"pass an instance: MemoryStore\(\.\.\.\)"
    ):
        Runs(MemoryStore)


@pytest.mark.asyncio
async def test_all_runs_are_listed_and_one_is_told_by_name(store: MemoryStore) -> None:
    runs = Runs(store)
    for name in (NAME, "orders"):
        await (await taken(store, name)).beat(running(name))

    assert await runs.list() == [running(), running("orders")]
    assert await runs.status("orders") == running("orders")
    assert await runs.status("unheard of") is None


@pytest.mark.asyncio
async def test_a_pause_says_who_paused_and_lasts_until_resume(
    store: MemoryStore,
) -> None:
    lease = await taken(store)
    runs = Runs(store, by="ann")

    await runs.pause(NAME)
    paused = await lease.beat(running())
    await runs.resume(NAME)
    resumed = await lease.beat(running())

    assert (paused, resumed) == (Wishes(paused="ann"), Wishes())


@pytest.mark.asyncio
async def test_who_wishes_is_the_user_and_the_host_by_default(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "host")
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    lease = await taken(store)

    await Runs(store).pause(NAME)

    assert (await lease.beat(running())).paused == "ann@host"


@pytest.mark.asyncio
async def test_who_wishes_without_a_name_is_a_process(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("uid not found: 10001")

    monkeypatch.setattr(getpass, "getuser", nobody)
    lease = await taken(store)

    await Runs(store).pause(NAME)

    assert str((await lease.beat(running())).paused).startswith("process ")


@pytest.mark.asyncio
async def test_a_stop_and_new_values_reach_the_run(store: MemoryStore) -> None:
    lease = await taken(store)
    runs = Runs(store)

    await runs.set(NAME, batch_size=50, delay_between_batches=2)
    await runs.stop(NAME)
    heard = await lease.beat(running())

    assert heard.stop
    assert heard.values == {"batch_size": 50, "delay_between_batches": 2.0}


@pytest.mark.asyncio
async def test_every_knob_of_the_pace_reaches_a_run_in_another_process(
    tmp_path: Path,
) -> None:
    clock = FakeClock(datetime(2026, 11, 25, 12, tzinfo=UTC))
    store = SqliteStore(tmp_path / "runs.db")
    given = planted(clock, batch_size=10, fixed=0.5, batches=400)

    with capture_logs() as lines:
        async with start(
            Plant, clock, **given, checkpoint=Checkpoint(store, NAME)
        ) as under_way:
            while not given["did"]:
                await asyncio.sleep(0)
            await Runs(store).set(
                NAME,
                duty=0.5,
                windows=["22:00-06:00 Europe/Berlin"],
                max_rows_per_second=100,
                workers=3,
            )
            while under_way.progress.status != "paused":
                await asyncio.sleep(0)
            seen = under_way.progress
            under_way.stop()
            await under_way.wait()

    (warned,) = [line for line in lines if line["log_level"] == "warning"][:1]
    assert seen.duty == 0.5
    assert [str(why) for why in seen.reasons] == [
        "outside of the window 22:00-06:00 Europe/Berlin: until 2026-11-25 22:00 CET"
    ]
    assert (warned["event"], warned["options"]) == (
        "cannot be set on this run",
        ["workers"],
    )


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "nothing to set; name an option, such as batch_size=500"),
        ({"batch_size": 0}, "batch_size must be an int of at least 1, not 0"),
        ({"batch_sise": 5}, "'batch_sise' cannot be set on a running run"),
        ({"timeout": 5}, "'timeout' cannot be set on a running run"),
    ],
)
async def test_what_cannot_be_set_is_refused_before_it_is_wished(
    store: MemoryStore, values: dict[str, object], said: str
) -> None:
    lease = await taken(store)

    with pytest.raises(ConfigurationError) as refused:
        await Runs(store).set(NAME, **values)

    assert said in str(refused.value)
    assert await lease.beat(running()) == Wishes()


@pytest.mark.asyncio
async def test_what_does_not_run_cannot_be_stopped_or_set(store: MemoryStore) -> None:
    runs = Runs(store)

    with pytest.raises(NotRunning):
        await runs.stop(NAME)
    with pytest.raises(NotRunning):
        await runs.set(NAME, batch_size=5)


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["", None, 3])
async def test_a_name_is_a_str(store: MemoryStore, name: str) -> None:
    runs = Runs(store)

    for ask in (runs.status, runs.pause, runs.resume, runs.stop, runs.history):
        with pytest.raises(ConfigurationError, match="a name must be a non-empty str"):
            await ask(name)


@pytest.mark.asyncio
async def test_the_history_of_a_name_is_told(store: MemoryStore) -> None:
    result = RunResult(NAME, "r1", RunStatus.HALTED)
    await (await taken(store)).release(result, handed_over=False)

    assert await Runs(store).history(NAME) == [result]
    assert await Runs(store).history("unheard of") == []


class Endless(Backfill[int]):
    initial_state = 0
    batch_size = 10
    delay_between_batches = 0.001

    async def handle_batch(self, state: int) -> Next[int]:
        sizes = self.batch_size or 0
        return Next(state + sizes, rows=sizes)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Callable[[], SqliteStore]]:
    """Opens the same file again, as another process would; beats twice a second."""
    stores: list[SqliteStore] = []

    def opened() -> SqliteStore:
        stores.append(SqliteStore(tmp_path / "backfills.db", lease=2.0))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():
            await asyncio.sleep(0.005)


@pytest.mark.asyncio
async def test_a_run_is_steered_from_elsewhere(
    elsewhere: Callable[[], SqliteStore],
) -> None:
    runs = Runs(elsewhere(), by="ann")

    async def seen(status: str, batch_size: int = 10) -> bool:
        progress = await runs.status(NAME)
        return progress is not None and (progress.status, progress.batch_size) == (
            status,
            batch_size,
        )

    async with Endless.start(checkpoint=Checkpoint(elsewhere(), NAME)) as run:
        await until(lambda: seen("running"))
        await runs.pause(NAME)
        await until(lambda: seen("paused"))
        paused = await runs.status(NAME)
        await runs.resume(NAME)
        await runs.set(NAME, batch_size=20)
        await until(lambda: seen("running", 20))
        await runs.stop(NAME)
        result = await run.wait()

    assert paused is not None
    assert [str(reason) for reason in paused.reasons] == ["paused by ann"]
    assert result.status is RunStatus.STOPPED
    assert await seen("stopped", 20)
    (past,) = await runs.history(NAME)
    assert (past.run_id, past.state, past.rows) == (
        result.run_id,
        result.state,
        result.rows,
    )
