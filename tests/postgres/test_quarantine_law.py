"""What is done about failing batches, without a database."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_backfill import Retry
from adaptive_backfill.errors import BatchTimeout, CheckpointError, LeaseLost
from adaptive_backfill.postgres._failing import Failing, Patience
from adaptive_backfill.postgres._faults import GaveWay, Kind, kind_of
from adaptive_backfill.postgres._shrinking import Shrinking


def server_error(code: str) -> asyncpg.PostgresError:
    error: asyncpg.PostgresError = asyncpg.PostgresError.new(
        {"C": code, "M": "message", "S": "ERROR"}
    )
    return error


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, Kind.PASSING) for code in ("08000", "08006", "40001", "40P01")),
        *((code, Kind.PASSING) for code in ("57P01", "57P02", "57P03", "53300")),
        *((code, Kind.TOO_MUCH) for code in ("57014", "55P03", "25P03", "25P04")),
        *((code, Kind.ROW) for code in ("22012", "22P02", "23505", "23503", "P0001")),
        *((code, Kind.ROW) for code in ("21000", "54000", "44000")),
        *((code, Kind.LASTING) for code in ("42703", "42601", "42501", "53100")),
        *((code, Kind.LASTING) for code in ("28P01", "3D000", "25006", "XX000")),
    ],
)
def test_what_the_server_says_is_a_case_of_one_kind(code: str, kind: Kind) -> None:
    assert kind_of(server_error(code), lost=False) is kind


@pytest.mark.parametrize(
    ("error", "lost", "kind"),
    [
        (ValueError("bad"), False, Kind.ROW),
        (ValueError("bad"), True, Kind.PASSING),
        (ConnectionResetError(), True, Kind.PASSING),
        (ConnectionRefusedError("another service"), False, Kind.ROW),
        (TimeoutError(), False, Kind.TOO_MUCH),
        (asyncio.CancelledError(), False, Kind.TOO_MUCH),
        (BatchTimeout("Users.handle_batch", 1.0), False, Kind.TOO_MUCH),
        (GaveWay("somebody"), False, Kind.TOO_MUCH),
        (LeaseLost("users"), False, Kind.LASTING),
        (CheckpointError("no"), False, Kind.LASTING),
        (asyncpg.InterfaceError("wrong use"), False, Kind.LASTING),
        (asyncpg.InterfaceError("connection is closed"), True, Kind.PASSING),
        (asyncpg.InvalidCachedStatementError("altered"), False, Kind.PASSING),
    ],
)
def test_what_python_raised_is_a_case_of_one_kind(
    error: BaseException, lost: bool, kind: Kind
) -> None:
    assert kind_of(error, lost=lost) is kind


@given(st.integers(1, 3_000), st.data())
def test_a_bad_row_is_found_in_few_steps_and_no_other_is_set_aside(
    size: int, data: st.DataObject
) -> None:
    rows = data.draw(st.integers(1, 10_000))
    bad = data.draw(st.integers(0, rows - 1))
    shrinking, at, failures, aside = Shrinking(), 0, 0, list[int]()

    while at < rows:
        until = min(rows, at + shrinking.of(size))
        if at <= bad < until and bad not in aside:
            failures += 1
            if shrinking.bad_row():
                aside.append(at)
                at += 1
        else:
            shrinking.done()
            at = until

    assert aside == [bad]
    assert failures <= size.bit_length() + 1


@given(st.integers(1, 100_000), st.lists(st.sampled_from(["much", "row", "done"])))
def test_a_size_is_never_less_than_one_nor_more_than_declared(
    declared: int, events: list[str]
) -> None:
    shrinking = Shrinking()
    for event in events:
        before = shrinking.of(declared)
        assert 1 <= before <= declared
        if event == "much":
            shrinking.too_much()
            assert shrinking.of(declared) <= max(1, before // 2)
        elif event == "row":
            shrinking.bad_row()
        else:
            shrinking.done()

    for _ in range(200):
        shrinking.of(declared)
        shrinking.done()
    assert shrinking.of(declared) == declared


def test_the_server_being_away_is_not_counted_and_ends_with_patience() -> None:
    now = 0.0
    failing = Failing(Retry(attempts=1), 60.0, lambda: now)
    away = ConnectionRefusedError()

    for second in range(60):
        now = float(second)
        failing.failed(away, tried=False, lost=True)
        assert failing.goes_on()
    now = 60.0
    failing.failed(away, tried=False, lost=True)

    assert not failing.goes_on()


def test_to_give_way_is_not_for_retry_to_count_and_ten_times_are_enough() -> None:
    failing = Failing(Retry(attempts=1), None)
    failing.size(100)
    went_on = []
    for _ in range(10):
        failing.failed(GaveWay("somebody"), tried=True, lost=False)
        went_on.append(failing.goes_on())
    failing.done()
    failing.failed(GaveWay("somebody"), tried=True, lost=False)

    assert went_on == [True] * 9 + [False]
    assert failing.goes_on()


def test_waits_grow_with_each_failure_in_a_row_and_are_none_while_a_row_is_sought() -> (
    None
):
    failing = Failing(Retry(attempts=10, base=1.0, cap=60.0, on=()), None)
    failing.size(100)
    waits = []
    for _ in range(4):
        failing.failed(server_error("40001"), tried=True, lost=False)
        waits.append(failing.wait(1.0))
    failing.failed(server_error("22012"), tried=True, lost=False)

    assert waits == [1.0, 2.0, 4.0, 8.0]
    assert failing.wait(1.0) == 0.0
    assert failing.goes_on()


def test_what_nobody_heard_of_is_not_tried_again() -> None:
    failing = Failing(Retry(attempts=10, on=()), None)
    failing.size(100)
    failing.failed(server_error("40001"), tried=True, lost=False)
    patience = Patience(10, on=(), failing=failing)

    assert patience.covers(server_error("40001"), 1)
    assert not patience.covers(asyncio.CancelledError(), 1)
    assert not patience.covers(LeaseLost("users"), 1)
    assert not Patience(10).covers(ValueError(), 1)


@given(st.integers(1, 20), st.integers(1, 5_000))
def test_a_covered_error_has_its_tries_at_the_batch_and_at_the_row_found(
    attempts: int, size: int
) -> None:
    failing = Failing(Retry(attempts=attempts, base=0.0, cap=0.0), None)
    sizes: list[int] = []
    while failing.aside is None:
        sizes.append(failing.size(size))
        failing.failed(server_error("22012"), tried=True, lost=False)
        assert failing.goes_on()

    assert failing.attempts == sizes.count(1) == attempts
    assert sizes.count(size) == attempts
    assert len(sizes) <= 2 * attempts + size.bit_length()


def test_only_the_row_that_failed_by_itself_is_set_aside() -> None:
    failing = Failing(Retry(attempts=3, base=0.0, cap=0.0, on=()), None)
    bad = server_error("22012")
    assert failing.size(1) == 1
    assert not failing.sets_aside((5,))
    failing.failed(bad, tried=True, lost=False)

    # Another came in front of it, and fails as well.
    assert failing.size(1) == 1
    assert not failing.sets_aside((4,))
    failing.failed(bad, tried=True, lost=False)
    assert failing.size(100) == 1
    assert failing.sets_aside((4,))
    assert failing.attempts == 1
    # To set it aside does not go through at once.
    failing.failed(server_error("40001"), tried=True, lost=False)
    assert failing.size(100) == 1
    assert failing.sets_aside((4,))
    failing.done()

    assert failing.size(100) == 100
    assert not failing.sets_aside((5,))


def test_a_row_whose_key_is_nan_is_known_again() -> None:
    failing = Failing(Retry(attempts=3, base=0.0, cap=0.0, on=()), None)
    assert failing.size(1) == 1
    assert not failing.sets_aside((Decimal("NaN"), 1))
    failing.failed(server_error("22012"), tried=True, lost=False)

    assert failing.sets_aside((Decimal("NaN"), 1))
    assert not failing.sets_aside((Decimal("NaN"), 2))
