"""Where positions are kept, and states by value."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import pytest

from adaptive_backfill import Checkpoint, MemoryStore, Snapshot
from adaptive_backfill._core.snapshot import by_value, is_immutable
from adaptive_backfill.errors import ConfigurationError


class ThreeMethods:
    def load(self, name: str) -> None:
        return None

    def save(self, name: str, snapshot: Snapshot) -> None:
        return None

    def delete(self, name: str) -> None:
        return None


class NoDelete:
    load = save = ThreeMethods.load
    delete = "not callable"


IMMUTABLE: list[object] = [
    None, True, 0, 1.5, 2j, "text", b"bytes", date(2024, 1, 1), time(12),
    datetime(2024, 1, 1, tzinfo=UTC), timedelta(seconds=1), Decimal("1.5"), UUID(int=7),
]  # fmt: skip


@pytest.mark.parametrize("state", IMMUTABLE, ids=repr)
def test_a_state_that_nobody_can_change_is_kept_as_it_is(state: object) -> None:
    assert is_immutable(state)
    assert by_value(state) is state


@pytest.mark.parametrize("state", [[1], {"a": [1]}, {1}, bytearray(b"x")], ids=repr)
def test_a_state_that_can_be_changed_is_kept_as_a_copy(state: object) -> None:
    assert not is_immutable(state)
    assert by_value(state) == state
    assert by_value(state) is not state


def test_a_copy_reaches_all_the_way_down() -> None:
    state = ([1], {"a": [2]})

    copied = by_value(state)
    state[0].append(9)
    state[1]["a"].append(9)

    assert copied == ([1], {"a": [2]})


def test_a_users_subclass_of_a_plain_value_may_be_changed_and_is_copied() -> None:
    class Cursor(int):
        seen: list[int]

    state = Cursor(7)
    state.seen = [1]

    assert not is_immutable(state)
    assert by_value(state).seen is not state.seen


def test_a_store_of_three_methods_will_do() -> None:
    store = ThreeMethods()

    assert Checkpoint(store).store is store
    assert Checkpoint(store).name is None
    assert Checkpoint(store, "users_v2").name == "users_v2"


def test_a_checkpoint_shows_where_it_is_kept() -> None:
    class Shown(ThreeMethods):
        def __repr__(self) -> str:
            return "Shown()"

    assert repr(Checkpoint(Shown())) == "Checkpoint(Shown())"
    assert repr(Checkpoint(Shown(), "a")) == "Checkpoint(Shown(), 'a')"


def test_a_class_is_no_store() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Checkpoint(MemoryStore)

    assert str(refused.value) == (
        "Checkpoint cannot be used:\n"
        "  - the store is the class MemoryStore; pass an instance: MemoryStore(...)"
    )


def test_every_missing_method_and_a_bad_name_are_said_at_once() -> None:
    class OnlyLoad:
        load = ThreeMethods.load

    with pytest.raises(ConfigurationError) as refused:
        Checkpoint(OnlyLoad(), "")

    has = "a store has load(name), save(name, snapshot) and delete(name)"
    assert refused.value.problems == (
        f"the store OnlyLoad has no method 'save'; {has}",
        f"the store OnlyLoad has no method 'delete'; {has}",
        "the name must be a non-empty str or None, not ''",
    )


def test_an_attribute_that_cannot_be_called_is_no_method() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Checkpoint(NoDelete())

    assert refused.value.problems == (
        "the store NoDelete has no method 'delete'; a store has load(name), "
        "save(name, snapshot) and delete(name)",
    )


@pytest.mark.parametrize("name", ["", "  ", 7, b"users"])
def test_a_checkpoint_is_named_by_a_str_with_something_in_it(name: object) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Checkpoint(ThreeMethods(), cast("Any", name))

    assert refused.value.problems == (
        f"the name must be a non-empty str or None, not {name!r}",
    )


@pytest.mark.parametrize("store", [None, "backfills.db", 7])
def test_what_has_no_methods_at_all_is_no_store(store: object) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Checkpoint(store)

    assert len(refused.value.problems) == 3
