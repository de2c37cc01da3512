"""The ends of batches to come, kept as hints."""

from __future__ import annotations

import pytest

from adaptive_backfill.postgres._ahead import KnownEnds, batches_ahead

UNTIL = (1_000,)


def known(*ends: int, size: int = 10, now: float = 0.0) -> KnownEnds:
    known_ends = KnownEnds()
    known_ends.keep([(end,) for end in ends], UNTIL, size, now)
    return known_ends


def test_each_batch_ends_where_the_next_begins() -> None:
    ends = known(10, 20, 30)

    assert ends.take((10,), UNTIL, 10, 0.1) == (20,)
    assert ends.take((20,), UNTIL, 10, 0.2) == (30,)
    assert ends.take((30,), UNTIL, 10, 0.3) is None


def test_an_end_is_used_once_so_that_a_batch_tried_again_looks_anew() -> None:
    ends = known(10, 20)

    assert ends.take((10,), UNTIL, 10, 0.0) == (20,)
    assert ends.take((10,), UNTIL, 10, 0.0) is None


def test_an_end_is_known_for_its_own_size_and_place_only() -> None:
    ends = known(10, 20)

    assert ends.take((10,), UNTIL, 5, 0.0) is None
    assert ends.take((11,), UNTIL, 10, 0.0) is None
    assert ends.take(None, UNTIL, 10, 0.0) is None


def test_an_end_is_not_for_a_walk_that_ends_elsewhere() -> None:
    ends = known(10, 20)

    assert ends.take((10,), (15,), 10, 0.0) is None
    assert ends.take((10,), UNTIL, 10, 0.0) == (20,)


def test_an_old_end_is_forgotten_because_rows_may_have_come_in_front_of_it() -> None:
    ends = known(10, 20, 30)

    assert ends.take((10,), UNTIL, 10, 1.0) == (20,)
    assert ends.take((20,), UNTIL, 10, 1.1) is None


def test_ends_found_later_do_not_make_old_ones_younger() -> None:
    ends = known(10, 20, now=0.0)
    ends.keep([(110,), (120,)], UNTIL, 10, 0.9)

    assert ends.take((110,), UNTIL, 10, 1.1) is None


@pytest.mark.parametrize(
    ("size", "batches"), [(1, 10), (100, 10), (1_000, 10), (5_000, 2), (20_000, 1)]
)
def test_as_many_batches_are_looked_up_as_ten_thousand_keys_make(
    size: int, batches: int
) -> None:
    assert batches_ahead(size) == batches
