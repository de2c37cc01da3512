"""The suite for checkpoint stores, of three methods."""

from __future__ import annotations

from typing import Protocol, cast

from adaptive_backfill._core.snapshot import Snapshot
from adaptive_backfill.testing.contracts.steps import NAME, OTHER, settled

__all__ = ["CheckpointStoreContract", "PlainStore"]

FALSY: tuple[object, ...] = (None, 0, False, "", {}, [])


class PlainStore(Protocol):
    """A checkpoint store, sync or async: `load`, `save`, `delete`."""

    def load(self, name: str) -> object:
        """Return the snapshot, or `None` where there is none."""
        ...

    def save(self, name: str, snapshot: Snapshot) -> object:
        """Replace the snapshot."""
        ...

    def delete(self, name: str) -> object:
        """Forget the snapshot."""
        ...


class CheckpointStoreContract:
    """What every checkpoint store has to do."""

    async def test_there_is_nothing_before_a_save(self, store: PlainStore) -> None:
        """Nothing saved is `None`, not an error."""
        assert await _loaded(store, NAME) is None

    async def test_what_was_saved_is_loaded(self, store: PlainStore) -> None:
        """A snapshot comes back whole."""
        saved = Snapshot({"id": 7, "seen": [1, 2]}, batches=3, rows=300, batch_size=50)

        await settled(store.save(NAME, saved))

        assert await _loaded(store, NAME) == saved

    async def test_a_save_replaces_the_one_before(self, store: PlainStore) -> None:
        """There is one snapshot a name, the last."""
        await settled(store.save(NAME, Snapshot(1, batches=1, batch_size=10)))
        await settled(store.save(NAME, Snapshot(2, batches=2)))

        assert await _loaded(store, NAME) == Snapshot(2, batches=2)

    async def test_falsy_states_are_states(self, store: PlainStore) -> None:
        """`None`, `0`, `False`, `""`, `{}` and `[]` are not nothing."""
        for state in FALSY:
            await settled(store.save(NAME, Snapshot(state, batches=1)))
            loaded = await _loaded(store, NAME)

            assert loaded is not None
            assert (type(loaded.state), loaded.state) == (type(state), state)

    async def test_a_delete_forgets(self, store: PlainStore) -> None:
        """Then there is nothing."""
        await settled(store.save(NAME, Snapshot(1)))

        await settled(store.delete(NAME))

        assert await _loaded(store, NAME) is None

    async def test_a_delete_of_nothing_does_nothing(self, store: PlainStore) -> None:
        """Neither before a save nor twice."""
        await settled(store.delete(NAME))
        await settled(store.save(NAME, Snapshot(1)))
        await settled(store.delete(NAME))
        await settled(store.delete(NAME))

        assert await _loaded(store, NAME) is None

    async def test_names_are_kept_apart(self, store: PlainStore) -> None:
        """What happens to one name does not touch another."""
        await settled(store.save(NAME, Snapshot(1)))
        await settled(store.save(OTHER, Snapshot(2)))

        await settled(store.delete(NAME))

        assert await _loaded(store, OTHER) == Snapshot(2)

    async def test_a_state_is_kept_by_value(self, store: PlainStore) -> None:
        """What becomes of the object, before or after, does not reach the store."""
        state = [1]
        await settled(store.save(NAME, Snapshot(state)))
        state.append(2)

        loaded = await _loaded(store, NAME)
        assert loaded == Snapshot([1])
        cast("list[int]", loaded.state).append(3)

        assert await _loaded(store, NAME) == Snapshot([1])


async def _loaded(store: PlainStore, name: str) -> Snapshot | None:
    loaded = await settled(store.load(name))
    assert loaded is None or isinstance(loaded, Snapshot)
    return loaded
