from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from adaptive_backfill import Progress, RunResult, RunStatus, Snapshot, SqliteStore
from adaptive_backfill._core.snapshot import Wishes
from adaptive_backfill._engine import sqlite_file, sqlite_thread
from adaptive_backfill._ports import Held, Lease, Wish
from adaptive_backfill.errors import (
    CheckpointError,
    ConfigurationError,
    LeaseLost,
    NotRunning,
)

NAME = "users"


class WallClock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backfills.db"


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture
def store(path: Path, clock: WallClock) -> Iterator[SqliteStore]:
    store = SqliteStore(path, clock=clock)
    yield store
    store.close()


async def taken(store: SqliteStore, run_id: str, state_type: object = None) -> Lease:
    lease = await store.acquire(NAME, run_id, state_type)
    assert not isinstance(lease, Held)
    return lease


async def saved(lease: Lease, snapshot: Snapshot) -> None:
    saving = lease.save(snapshot)
    assert saving is not None
    await saving


@pytest_asyncio.fixture
async def complaints() -> list[dict[str, Any]]:
    """What the event loop has to complain of."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, complaint: told.append(complaint)
    )
    return told


def running(run_id: str) -> Progress:
    return Progress(NAME, run_id, "running", 1, batches=1, rows=10)


def worker(store: SqliteStore) -> threading.Thread | None:
    return store._database._thread._thread


def open_files(path: Path) -> list[str]:
    """The descriptors of this process on the database and the files beside it."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return [link for link in links if link.startswith(str(path))]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock, as another process would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def refusal(doing: Coroutine[Any, Any, object]) -> CheckpointError:
    with pytest.raises(CheckpointError) as raised:
        await doing
    return raised.value


# Declaring


def test_every_problem_of_a_store_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        SqliteStore(b"x.db", lease=0)  # type: ignore[arg-type]

    assert str(refused.value) == (
        "SqliteStore cannot be used:\n"
        "  - path must be the path of a file, as a str or a Path, not b'x.db'\n"
        "  - lease must be seconds above 0, or a timedelta, not 0"
    )


@pytest.mark.parametrize("lease", [True, float("nan"), -1, "60", timedelta(0)])
def test_a_lease_is_a_time_above_zero(lease: object) -> None:
    with pytest.raises(ConfigurationError, match="lease must be seconds above 0"):
        SqliteStore("x.db", lease=lease)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["", " ", "a\0b", 3, None])
def test_a_path_is_that_of_a_file(path: object) -> None:
    with pytest.raises(ConfigurationError, match="path must be the path of a file"):
        SqliteStore(path)  # type: ignore[arg-type]


def test_a_database_in_memory_is_refused_in_favour_of_the_memory_store() -> None:
    with pytest.raises(ConfigurationError, match="there is MemoryStore"):
        SqliteStore(":memory:")


def test_making_a_store_touches_no_file_and_starts_no_thread(path: Path) -> None:
    store = SqliteStore(path, lease=timedelta(seconds=30))

    assert not path.exists()
    assert worker(store) is None
    assert repr(store) == f"SqliteStore({str(path)!r})"


@pytest.mark.asyncio
async def test_a_relative_path_means_the_file_where_it_was_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = SqliteStore("own.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    await store.save(NAME, Snapshot(1))
    store.close()

    assert (tmp_path / "own.db").exists()


# Keeping


@pytest.mark.asyncio
async def test_another_store_on_the_same_file_sees_what_was_saved(
    store: SqliteStore, path: Path
) -> None:
    await store.save(NAME, Snapshot((1, "a"), 2, 30, 5))

    other = SqliteStore(path)

    assert await other.load(NAME) == Snapshot((1, "a"), 2, 30, 5)
    other.close()


@pytest.mark.asyncio
async def test_a_state_of_a_declared_type_is_for_its_backfill_only(
    store: SqliteStore, path: Path
) -> None:
    lease = await taken(store, "r1", tuple[int, str])
    await saved(lease, Snapshot((1, "a")))

    error = await refusal(store.load(NAME))

    assert f"The checkpoint of 'users' in {path} cannot be used" in str(error)
    assert "kept as tuple[int, str], and now no type is declared" in str(error)


@pytest.mark.asyncio
async def test_a_state_that_does_not_fit_is_refused_and_the_one_before_stays(
    store: SqliteStore,
) -> None:
    lease = await taken(store, "r1", int)
    await saved(lease, Snapshot(1))

    with pytest.raises(CheckpointError, match="declared type int: state is 'x'"):
        lease.save(Snapshot("x"))

    assert await lease.load() == Snapshot(1)


# Leases


@pytest.mark.asyncio
async def test_a_lease_that_ran_out_is_taken_over_and_its_run_writes_nothing(
    store: SqliteStore, clock: WallClock
) -> None:
    first = await taken(store, "first")
    await saved(first, Snapshot(1))
    clock.now += 60.0

    second = await taken(store, "second")

    for write in (
        saved(first, Snapshot(9)),
        first.beat(running("first")),
        first.discard(),
    ):
        with pytest.raises(LeaseLost):
            await write
    await first.release(RunResult(NAME, "first", RunStatus.DONE), handed_over=False)
    assert await second.load() == Snapshot(1)
    assert isinstance(await store.acquire(NAME, "third"), Held)
    assert await store.history(NAME) == []


@pytest.mark.asyncio
async def test_a_lease_that_ran_out_unnoticed_is_renewed_by_the_next_save(
    store: SqliteStore, clock: WallClock
) -> None:
    lease = await taken(store, "first")
    clock.now += 100.0

    await saved(lease, Snapshot(1))

    assert isinstance(await store.acquire(NAME, "second"), Held)


@pytest.mark.asyncio
async def test_saves_and_beats_renew_the_lease(
    store: SqliteStore, clock: WallClock
) -> None:
    lease = await taken(store, "first")
    clock.now += 59.0
    await saved(lease, Snapshot(1))
    clock.now += 59.0
    await lease.beat(running("first"))
    clock.now += 59.0

    assert isinstance(await store.acquire(NAME, "second"), Held)


@pytest.mark.asyncio
@pytest.mark.parametrize(("lease", "every"), [(60.0, 1.0), (2.0, 0.5)])
async def test_a_lease_beats_every_second_or_every_quarter_of_it(
    path: Path, lease: float, every: float
) -> None:
    store = SqliteStore(path, lease=lease)

    assert (await taken(store, "first")).beat_every == every
    store.close()


@pytest.mark.asyncio
async def test_who_holds_a_name_is_told_with_the_counts_that_are_known(
    store: SqliteStore,
) -> None:
    lease = await taken(store, "first")
    await lease.beat(running("first"))
    await saved(lease, Snapshot(7, batches=4, rows=40))

    assert await store.acquire(NAME, "second") == Held("first", 4, 40)


@pytest.mark.asyncio
async def test_a_run_whose_process_went_away_is_seen_as_stopped(
    store: SqliteStore, clock: WallClock
) -> None:
    lease = await taken(store, "first")
    await lease.beat(running("first"))
    clock.now += 61.0

    (seen,) = await store.look(NAME)

    assert (seen.status, seen.batches) == (RunStatus.STOPPED, 1)
    assert "its process went away" in str(seen.reasons[0])
    with pytest.raises(NotRunning):
        await store.wish(NAME, Wish("stop", "ann"))


@pytest.mark.asyncio
async def test_a_run_that_went_away_is_not_seen_to_run_in_its_successor(
    store: SqliteStore, clock: WallClock
) -> None:
    await (await taken(store, "first")).beat(running("first"))
    clock.now += 61.0
    second = await taken(store, "second")

    (before,) = await store.look(NAME)
    await second.beat(running("second"))
    (after,) = await store.look(NAME)

    assert (before.run_id, before.status) == ("first", RunStatus.STOPPED)
    assert (after.run_id, after.status) == ("second", "running")


@pytest.mark.asyncio
async def test_a_pause_outlives_the_process_that_was_paused(
    store: SqliteStore, clock: WallClock
) -> None:
    await taken(store, "first")
    await store.wish(NAME, Wish("pause", "ann"))
    await store.wish(NAME, Wish("stop", "ann"))
    clock.now += 61.0

    second = await taken(store, "second")

    assert await second.beat(running("second")) == Wishes(paused="ann")


@pytest.mark.asyncio
async def test_no_more_endings_are_kept_than_are_told(store: SqliteStore) -> None:
    for number in range(103):
        result = RunResult(NAME, f"run {number}", RunStatus.STOPPED)
        lease = await taken(store, result.run_id)
        await lease.release(result, handed_over=False)

    (kept,) = await store._database.submit(
        lambda db: db.execute("SELECT count(*) FROM backfill_endings").fetchone()
    )

    assert kept == 100


# The thread


def test_one_store_serves_one_event_loop_after_another(path: Path) -> None:
    store = SqliteStore(path)

    asyncio.run(store.save(NAME, Snapshot(1)))
    loaded = asyncio.run(store.load(NAME))
    store.close()

    assert loaded == Snapshot(1)


def test_one_store_serves_several_event_loops_at_once(path: Path) -> None:
    store = SqliteStore(path)

    async def save_fifty(name: str) -> None:
        for number in range(50):
            await store.save(name, Snapshot(number))

    threads = [
        threading.Thread(target=lambda name=name: asyncio.run(save_fifty(name)))
        for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [asyncio.run(store.load(name)) for name in "abcd"] == [Snapshot(49)] * 4
    store.close()


@pytest.mark.asyncio
async def test_a_save_that_is_cancelled_while_it_waits_is_done_all_the_same(
    store: SqliteStore, path: Path, complaints: list[dict[str, Any]]
) -> None:
    lease = await taken(store, "first")

    with locked(path):
        saving = asyncio.create_task(saved(lease, Snapshot(2)))
        await asyncio.sleep(0)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving

    assert await lease.load() == Snapshot(2)
    assert complaints == []


@pytest.mark.asyncio
async def test_a_save_that_fails_when_nobody_waits_any_more_says_nothing(
    store: SqliteStore, path: Path, complaints: list[dict[str, Any]]
) -> None:
    lease = await taken(store, "first")
    await lease.release(None, handed_over=False)

    lease.save(Snapshot(2))

    # The queue is in order: this comes back after the save has failed.
    assert await store.load(NAME) is None
    gc.collect()
    assert complaints == []


def test_a_save_whose_event_loop_is_closed_is_done_all_the_same(path: Path) -> None:
    store = SqliteStore(path)
    asyncio.run(store.save(NAME, Snapshot(1)))

    with ExitStack() as lock:

        async def save_and_leave() -> None:
            lease = await taken(store, "first")
            lock.enter_context(locked(path))
            lease.save(Snapshot(2))

        asyncio.run(save_and_leave())

    assert asyncio.run(store.load(NAME)) == Snapshot(2)
    store.close()


@pytest.mark.asyncio
async def test_a_lease_whose_taking_was_cancelled_is_given_back(
    store: SqliteStore, path: Path
) -> None:
    await store.save(NAME, Snapshot(1))

    with locked(path):
        taking = asyncio.create_task(store.acquire(NAME, "first"))
        await asyncio.sleep(0)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking

    await taken(store, "second")


LEAVE_A_SAVE_BEHIND = """
import asyncio, sys
from adaptive_backfill import Snapshot, SqliteStore

store = SqliteStore(sys.argv[1])

async def main():
    lease = await store.acquire("users", "first")
    print("taken", flush=True)
    sys.stdin.readline()
    lease.save(Snapshot(2))

asyncio.run(main())
print("leaving", flush=True)
"""


def test_a_process_does_what_is_queued_before_it_ends(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", LEAVE_A_SAVE_BEHIND, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "taken\n"
        with locked(path):
            process.stdin.write("go\n")
            process.stdin.flush()
            assert process.stdout.readline() == "leaving\n"
        assert process.wait(timeout=30) == 0

    store = SqliteStore(path)
    assert asyncio.run(store.load(NAME)) == Snapshot(2)
    store.close()


@pytest.mark.asyncio
async def test_thread_and_file_are_gone_when_the_last_run_has_released(
    store: SqliteStore, path: Path
) -> None:
    first = await taken(store, "first")
    second = await store.acquire("orders", "second")
    assert not isinstance(second, Held)
    thread = worker(store)
    assert thread is not None

    await first.release(None, handed_over=False)
    assert thread.is_alive()
    assert open_files(path)
    await second.release(None, handed_over=False)

    assert not thread.is_alive()
    assert open_files(path) == []


@pytest.mark.asyncio
async def test_many_runs_leave_nothing_behind(store: SqliteStore, path: Path) -> None:
    before = threading.active_count()

    for number in range(30):
        lease = await taken(store, f"run {number}")
        await saved(lease, Snapshot(number))
        result = RunResult(NAME, f"run {number}", RunStatus.STOPPED)
        await lease.release(result, handed_over=False)

    assert threading.active_count() == before
    assert open_files(path) == []


@pytest.mark.asyncio
async def test_a_store_that_is_not_used_lets_its_thread_go(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_thread, "IDLE", 0.01)

    await store.save(NAME, Snapshot(1))
    thread = worker(store)
    if thread is not None:
        thread.join(timeout=30)

    assert worker(store) is None
    assert open_files(path) == []
    assert await store.load(NAME) == Snapshot(1)


@pytest.mark.asyncio
async def test_a_store_that_is_forgotten_takes_its_thread_along(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_thread, "IDLE", 3_600.0)
    store = SqliteStore(path)
    await store.save(NAME, Snapshot(1))
    thread = worker(store)
    assert thread is not None

    del store
    gc.collect()
    thread.join(timeout=30)

    assert not thread.is_alive()
    assert open_files(path) == []


@pytest.mark.asyncio
async def test_a_closed_store_opens_again(store: SqliteStore, path: Path) -> None:
    await store.save(NAME, Snapshot(1))

    store.close()
    store.close()

    assert open_files(path) == []
    assert await store.load(NAME) == Snapshot(1)


FORK = """
import asyncio, os, sys, warnings
from adaptive_backfill import Snapshot, SqliteStore

warnings.simplefilter("ignore", DeprecationWarning)
store = SqliteStore(sys.argv[1])
asyncio.run(store.save("parent", Snapshot(1)))
child = os.fork()
if not child:
    asyncio.run(store.save("child", Snapshot(2)))
    sys.exit(7)
status = os.waitpid(child, 0)[1]
asyncio.run(store.save("after", Snapshot(3)))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_process_has_a_thread_of_its_own(path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", FORK, str(path)], timeout=60)

    store = SqliteStore(path)
    assert ended.returncode == 7
    assert [asyncio.run(store.load(name)) for name in ("parent", "child", "after")] == [
        Snapshot(1),
        Snapshot(2),
        Snapshot(3),
    ]
    store.close()


@pytest.mark.asyncio
async def test_an_error_of_ours_in_the_thread_reaches_who_waits(
    store: SqliteStore,
) -> None:
    with pytest.raises(OverflowError):
        await store.save(NAME, Snapshot(1, rows=2**70))

    assert await store.load(NAME) is None


# What goes wrong with the file


@pytest.mark.asyncio
async def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "no" / "x.db")

    error = await refusal(store.load(NAME))

    assert str(error) == (
        f"The checkpoints in {tmp_path}/no/x.db cannot be used: there is no directory "
        f"{tmp_path}/no; make it. What was saved before is not touched. (SQLite says: "
        "unable to open database file)"
    )
    assert isinstance(error.__cause__, sqlite3.OperationalError)


@pytest.mark.asyncio
async def test_a_path_that_is_a_directory_is_an_error(tmp_path: Path) -> None:
    error = await refusal(SqliteStore(tmp_path).load(NAME))

    assert "that is a directory; name a file in it" in str(error)


@pytest.mark.asyncio
async def test_a_path_that_leads_through_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    error = await refusal(SqliteStore(tmp_path / "file" / "x.db").load(NAME))

    assert "there is no directory" in str(error)


@pytest.mark.asyncio
async def test_a_file_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    error = await refusal(SqliteStore(tmp_path / ("x" * 300)).load(NAME))

    assert "cannot be opened or made; see to its permissions" in str(error)


def content(path: Path) -> bytes:
    return path.read_bytes()


@pytest.fixture
def precious(path: Path) -> str:
    text = "precious " * 1_000
    path.write_text(text)
    return text


@pytest.mark.asyncio
async def test_a_file_that_is_no_database_is_an_error_and_left_alone(
    path: Path, precious: str
) -> None:
    error = await refusal(SqliteStore(path).load(NAME))

    assert "it is not a SQLite database" in str(error)
    assert content(path) == precious.encode()


@pytest.mark.asyncio
async def test_a_damaged_file_is_an_error_and_not_a_new_beginning(path: Path) -> None:
    store = SqliteStore(path)
    for number in range(200):
        await store.save(f"name {number}", Snapshot("x" * 500))
    store.close()
    with path.open("r+b") as file:
        file.seek(8_192)
        file.write(b"\xff" * 60_000)

    error = await refusal(store.load("name 150"))

    assert "the file is damaged; restore it from a backup" in str(error)
    store.close()


@pytest.mark.asyncio
async def test_the_database_of_another_program_is_refused_and_left_alone(
    path: Path,
) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    before = content(path)

    error = await refusal(SqliteStore(path).save(NAME, Snapshot(1)))

    assert str(error) == (
        f"The file {path} is the database of another program. Give the store a file "
        "of its own."
    )
    assert content(path) == before


@pytest.mark.asyncio
async def test_a_newer_schema_is_refused(store: SqliteStore, path: Path) -> None:
    await store.save(NAME, Snapshot(1))
    store.close()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 2")

    error = await refusal(store.load(NAME))

    assert "are in version 2 of the schema, and this version of" in str(error)


@pytest.mark.asyncio
async def test_a_file_that_may_not_be_written_is_an_error(store: SqliteStore) -> None:
    await store.save(NAME, Snapshot(1))
    await store._database.submit(lambda db: db.execute("PRAGMA query_only = ON"))

    error = await refusal(store.save(NAME, Snapshot(2)))

    assert "it may not be written; see to its permissions" in str(error)
    assert await store.load(NAME) == Snapshot(1)


@pytest.mark.asyncio
async def test_a_lock_that_lasts_too_long_is_an_error(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY", 0.01)
    await store.save(NAME, Snapshot(1))

    with locked(path):
        error = await refusal(store.save(NAME, Snapshot(2)))

    assert "another process has kept it locked for" in str(error)
    assert await store.load(NAME) == Snapshot(1)


@pytest.mark.asyncio
async def test_a_full_disk_is_an_error_and_the_checkpoint_before_stays(
    store: SqliteStore,
) -> None:
    lease = await taken(store, "first")
    await saved(lease, Snapshot("small", batches=1))
    await store._database.submit(lambda db: db.execute("PRAGMA max_page_count = 1"))

    error = await refusal(saved(lease, Snapshot("x" * 100_000, batches=2)))

    assert "the disk is full; make room, and run it again to resume" in str(error)
    assert isinstance(error.__cause__, sqlite3.OperationalError)
    assert await lease.load() == Snapshot("small", batches=1)


GROW = """
import asyncio, resource, sys
from adaptive_backfill import Snapshot, SqliteStore
from adaptive_backfill.errors import CheckpointError

resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

async def main():
    lease = await SqliteStore(sys.argv[1]).acquire("users", "first")
    for number in range(1, 1_000):
        try:
            await lease.save(Snapshot("x" * 1_000 * number, number))
        except CheckpointError as error:
            print(number)
            print(error)
            return

asyncio.run(main())
"""


def test_a_file_that_cannot_grow_keeps_the_last_checkpoint_that_was_saved(
    path: Path,
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", GROW, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    failed, message = ended.stdout.splitlines()

    store = SqliteStore(path)
    kept = asyncio.run(store.load(NAME))
    store.close()

    assert str(path) in message
    assert kept is not None
    assert kept.batches == int(failed) - 1
    assert kept.batches > 1


@pytest.mark.asyncio
async def test_stores_that_make_the_file_at_once_all_succeed(tmp_path: Path) -> None:
    for attempt in range(10):
        stores = [SqliteStore(tmp_path / f"{attempt}.db") for _ in range(8)]

        await asyncio.gather(
            *(
                store.save(f"{number}", Snapshot(1))
                for number, store in enumerate(stores)
            )
        )

        assert [await stores[0].load(f"{number}") for number in range(8)] == [
            Snapshot(1)
        ] * 8
        for store in stores:
            store.close()
