"""The suite for stores through which runs are seen and steered."""

from __future__ import annotations

from typing import Protocol

from adaptive_backfill._core.answers import Halt, Pause
from adaptive_backfill._core.health import Reason
from adaptive_backfill._core.result import Progress, RunResult, RunStatus
from adaptive_backfill._core.snapshot import Wishes
from adaptive_backfill._ports import Control, Held, LeaseStore, Wish
from adaptive_backfill.errors import NotRunning
from adaptive_backfill.testing.contracts.steps import (
    NAME,
    OTHER,
    result_of,
    running,
    taken,
)

__all__ = ["ControlContract", "ControlStore"]


class ControlStore(LeaseStore, Control, Protocol):
    """A store that hands out leases, and carries wishes."""


class ControlContract:
    """What a store has to do through which runs are seen and steered."""

    async def test_nothing_is_known_before_a_run(self, store: ControlStore) -> None:
        """An unknown name is no error."""
        assert list(await store.look()) == []
        assert list(await store.look(NAME)) == []
        assert list(await store.history(NAME)) == []

    async def test_a_run_is_seen_as_it_beats(self, store: ControlStore) -> None:
        """With its counts, its verdict and its reasons."""
        lease = await taken(store, "first")
        full = Pause("replica lag 40s > 10s")
        shown = Progress(
            NAME, "first", "paused", 5, 2, 20, 100, 0.2, 4.0, 20.0, 10, full,
            (Reason("replica", full, "replica lag 40s > 10s"),),
        )  # fmt: skip

        await lease.beat(shown)

        assert list(await store.look(NAME)) == [shown]
        held = await store.acquire(NAME, "second")
        assert held == Held("first", batches=2, rows=20)

    async def test_every_name_is_seen(self, store: ControlStore) -> None:
        """Or only the one that is asked for."""
        for name in (NAME, OTHER):
            await (await taken(store, "first", name)).beat(running("first", name))

        assert sorted(one.name for one in await store.look()) == [OTHER, NAME]
        assert [one.name for one in await store.look(OTHER)] == [OTHER]

    async def test_an_ended_run_is_seen_as_it_ended(self, store: ControlStore) -> None:
        """Status, state, counts and reasons are the result's."""
        lease = await taken(store, "first")
        await lease.beat(running("first"))
        why = Reason("database", Halt("down"), "down")
        result = RunResult(
            NAME, "first", RunStatus.HALTED, 7, reasons=(why,), batches=3, rows=30
        )

        await lease.release(result, handed_over=False)

        (seen,) = await store.look(NAME)
        assert (seen.status, seen.state) == (RunStatus.HALTED, 7)
        assert (seen.batches, seen.rows, seen.eta) == (3, 30, None)
        assert [str(reason) for reason in seen.reasons] == ["database: down"]

    async def test_a_cancelled_run_is_seen_as_stopped(
        self, store: ControlStore
    ) -> None:
        """With a reason that says how to go on."""
        lease = await taken(store, "first")
        await lease.beat(running("first"))

        await lease.release(None, handed_over=True)

        (seen,) = await store.look(NAME)
        assert seen.status is RunStatus.STOPPED
        assert [str(reason) for reason in seen.reasons] == [
            "cancelled; run it again to resume"
        ]

    async def test_a_run_that_did_not_begin_changes_nothing_of_what_is_seen(
        self, store: ControlStore
    ) -> None:
        """The run before it stays as it ended."""
        first = await taken(store, "first")
        await first.beat(running("first"))
        await first.release(result_of("first", RunStatus.DONE), handed_over=False)
        before = list(await store.look(NAME))

        second = await taken(store, "second")
        await second.release(None, handed_over=False)

        assert list(await store.look(NAME)) == before

    async def test_a_pause_is_heard_and_stays_until_it_is_withdrawn(
        self, store: ControlStore
    ) -> None:
        """Over restarts, and also from before the first run."""
        await store.wish(NAME, Wish("pause", "ann@host"))
        first = await taken(store, "first")
        assert await first.beat(running("first")) == Wishes(paused="ann@host")
        await first.release(result_of("first", RunStatus.STOPPED), handed_over=False)

        second = await taken(store, "second")
        again = await second.beat(running("second"))
        await store.wish(NAME, Wish("resume", "bob@host"))
        after = await second.beat(running("second"))

        assert again == Wishes(paused="ann@host")
        assert after == Wishes()

    async def test_a_pause_is_withdrawn_from_a_name_that_does_not_run(
        self, store: ControlStore
    ) -> None:
        """So that its next run goes on."""
        await store.wish(NAME, Wish("pause", "ann@host"))
        await store.wish(NAME, Wish("resume", "ann@host"))

        lease = await taken(store, "first")

        assert await lease.beat(running("first")) == Wishes()

    async def test_wishes_to_stop_and_to_set_are_heard(
        self, store: ControlStore
    ) -> None:
        """Those to set add up."""
        lease = await taken(store, "first")

        await store.wish(NAME, Wish("set", "ann", {"batch_size": 5}))
        await store.wish(NAME, Wish("set", "ann", {"delay_between_batches": 0.5}))
        await store.wish(NAME, Wish("stop", "ann"))
        heard = await lease.beat(running("first"))

        assert heard.stop
        assert heard.paused is None
        assert dict(heard.values or {}) == {
            "batch_size": 5,
            "delay_between_batches": 0.5,
        }

    async def test_wishes_to_stop_and_to_set_end_with_their_run(
        self, store: ControlStore
    ) -> None:
        """They meant that one."""
        first = await taken(store, "first")
        await store.wish(NAME, Wish("stop", "ann"))
        await store.wish(NAME, Wish("set", "ann", {"batch_size": 5}))
        await first.release(result_of("first", RunStatus.STOPPED), handed_over=False)

        second = await taken(store, "second")

        assert await second.beat(running("second")) == Wishes()

    async def test_what_does_not_run_cannot_be_stopped_or_set(
        self, store: ControlStore
    ) -> None:
        """Neither an unknown name nor one whose run has ended."""
        lease = await taken(store, "first", OTHER)
        await lease.release(result_of("first", RunStatus.DONE), handed_over=False)
        set_size = Wish("set", "ann", {"batch_size": 5})

        for name in (NAME, OTHER):
            assert await _is_refused(store, name, Wish("stop", "ann"))
            assert await _is_refused(store, name, set_size)

    async def test_the_history_is_told_newest_first(self, store: ControlStore) -> None:
        """Each result can be read, with what went wrong."""
        first = await taken(store, "first")
        failed = RunResult(
            NAME, "first", RunStatus.FAILED, 3, error=ValueError("boom"), rows=30,
            batches=3, duration=1.5, paused=0.5, resumed=True, quarantined=2,
            hook_errors=[KeyError("hook")],
        )  # fmt: skip
        await first.release(failed, handed_over=False)
        second = await taken(store, "second")
        await second.release(result_of("second", RunStatus.DONE), handed_over=False)

        newest, oldest = await store.history(NAME)

        assert (newest.run_id, newest.status) == ("second", RunStatus.DONE)
        assert (oldest.run_id, oldest.status) == ("first", RunStatus.FAILED)
        assert (oldest.state, oldest.batches, oldest.rows) == (3, 3, 30)
        assert (oldest.duration, oldest.paused, oldest.resumed) == (1.5, 0.5, True)
        assert oldest.quarantined == 2
        assert "boom" in str(oldest.error)
        assert ["hook" in str(error) for error in oldest.hook_errors] == [True]

    async def test_the_last_hundred_endings_of_a_name_are_kept(
        self, store: ControlStore
    ) -> None:
        """Another name's are counted apart."""
        other = await taken(store, "other", OTHER)
        await other.release(
            result_of("other", RunStatus.DONE, OTHER), handed_over=False
        )
        for number in range(103):
            lease = await taken(store, f"run {number}")
            result = result_of(f"run {number}", RunStatus.STOPPED)
            await lease.release(result, handed_over=False)

        history = await store.history(NAME)

        assert [past.run_id for past in history] == [
            f"run {number}" for number in range(102, 2, -1)
        ]
        assert len(await store.history(OTHER)) == 1


async def _is_refused(store: Control, name: str, wish: Wish) -> bool:
    try:
        await store.wish(name, wish)
    except NotRunning:
        return True
    return False
