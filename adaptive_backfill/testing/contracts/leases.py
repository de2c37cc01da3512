"""The suite for stores that hand out leases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from adaptive_backfill._core.result import RunStatus
from adaptive_backfill._core.snapshot import Snapshot
from adaptive_backfill._ports import Held, Lease, LeaseStore
from adaptive_backfill.errors import LeaseLost
from adaptive_backfill.testing.contracts.steps import (
    NAME,
    OTHER,
    result_of,
    running,
    settled,
    taken,
)

__all__ = ["LeaseStoreContract"]


class LeaseStoreContract:
    """What a store that hands out leases has to do."""

    async def test_a_name_is_held_by_one_run_at_a_time(self, store: LeaseStore) -> None:
        """The second is told who has it."""
        await taken(store, "first")

        held = await store.acquire(NAME, "second")

        assert isinstance(held, Held)
        assert held.run_id == "first"

    async def test_names_are_leased_apart(self, store: LeaseStore) -> None:
        """Two names, two runs."""
        await taken(store, "first", NAME)
        await taken(store, "second", OTHER)

    async def test_a_released_name_is_free(self, store: LeaseStore) -> None:
        """Whatever the ending."""
        first = await taken(store, "first")
        await first.release(None, handed_over=False)
        second = await taken(store, "second")
        await second.release(result_of("second", RunStatus.FAILED), handed_over=False)

        await taken(store, "third")

    async def test_the_next_run_loads_what_the_last_one_saved(
        self, store: LeaseStore
    ) -> None:
        """A halted run's snapshot stays."""
        first = await taken(store, "first")
        assert await first.load() is None
        await settled(first.save(Snapshot(5, batches=2, rows=20, batch_size=10)))
        await first.release(result_of("first", RunStatus.HALTED), handed_over=False)

        second = await taken(store, "second")

        assert await second.load() == Snapshot(5, batches=2, rows=20, batch_size=10)
        assert await second.finished() is None

    async def test_a_save_takes_the_state_as_it_is_now(self, store: LeaseStore) -> None:
        """By value, as ever."""
        lease = await taken(store, "first")
        state = [1]

        await settled(lease.save(Snapshot(state)))
        state.append(2)

        assert await lease.load() == Snapshot([1])

    async def test_a_state_of_a_declared_type_comes_back(
        self, store: LeaseStore
    ) -> None:
        """Down to the types of its items."""
        state = (datetime(2024, 5, 1, tzinfo=UTC), UUID(int=7))
        lease = await store.acquire(NAME, "first", tuple[datetime, UUID])
        assert not isinstance(lease, Held)

        await settled(lease.save(Snapshot(state)))

        assert await lease.load() == Snapshot(state)

    async def test_a_released_lease_writes_nothing(self, store: LeaseStore) -> None:
        """Every write of it is `LeaseLost`, and changes nothing."""
        lease = await taken(store, "first")
        await settled(lease.save(Snapshot(1)))
        await lease.release(result_of("first", RunStatus.HALTED), handed_over=False)

        assert await _is_lost(lease)
        assert (await (await taken(store, "second")).load()) == Snapshot(1)

    async def test_a_lease_that_was_taken_over_writes_nothing(
        self, store: LeaseStore
    ) -> None:
        """And releasing it leaves the new holder in place."""
        first = await taken(store, "first")
        await first.release(None, handed_over=False)
        second = await taken(store, "second")
        await settled(second.save(Snapshot(2)))

        assert await _is_lost(first)
        await first.release(result_of("first", RunStatus.DONE), handed_over=False)

        assert await second.load() == Snapshot(2)
        assert isinstance(await store.acquire(NAME, "third"), Held)

    async def test_a_done_run_is_remembered_and_its_snapshot_forgotten(
        self, store: LeaseStore
    ) -> None:
        """In one step."""
        first = await taken(store, "first")
        await settled(first.save(Snapshot(5)))
        await first.release(
            result_of("first", RunStatus.DONE, batches=4), handed_over=False
        )

        second = await taken(store, "second")
        finished = await second.finished()

        assert await second.load() is None
        assert finished is not None
        assert (finished.run_id, finished.batches) == ("first", 4)

    async def test_a_discard_forgets_snapshot_and_finished_mark(
        self, store: LeaseStore
    ) -> None:
        """For a run that starts over."""
        first = await taken(store, "first")
        await first.release(result_of("first", RunStatus.DONE), handed_over=False)
        second = await taken(store, "second")
        await settled(second.save(Snapshot(5)))

        await second.discard()

        assert await second.load() is None
        assert await second.finished() is None

    async def test_an_ending_of_its_own_is_told_to_who_stands_by(
        self, store: LeaseStore
    ) -> None:
        """Not before it, and not of another name."""
        lease = await taken(store, "first")
        assert await store.ending(NAME, "first") is None
        await lease.release(result_of("first", RunStatus.HALTED), handed_over=False)

        ending = await store.ending(NAME, "first")

        assert ending is not None
        assert ending.status is RunStatus.HALTED
        assert await store.ending(OTHER, "first") is None

    async def test_a_run_that_hands_over_has_no_ending_for_who_stands_by(
        self, store: LeaseStore
    ) -> None:
        """Neither with a result nor without."""
        first = await taken(store, "first")
        await first.release(result_of("first", RunStatus.STOPPED), handed_over=True)
        second = await taken(store, "second")
        await second.release(None, handed_over=True)

        assert await store.ending(NAME, "first") is None
        assert await store.ending(NAME, "second") is None


async def _is_lost(lease: Lease) -> bool:
    """Whether every write of *lease* is refused."""
    writes: tuple[Callable[[], object], ...] = (
        lambda: lease.save(Snapshot("stray")),
        lambda: lease.beat(running("stray")),
        lease.discard,
    )
    for write in writes:
        try:
            await settled(write())
        except LeaseLost:
            continue
        return False
    return True
