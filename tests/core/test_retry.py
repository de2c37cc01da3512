"""How long a retry waits, and what it is for."""

from __future__ import annotations

from asyncio import CancelledError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_backfill import Retry
from adaptive_backfill.errors import BatchTimeout, ConfigurationError, InvalidAnswer
from tests.core.making import few


@few
@given(
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.integers(1, 500),
    st.floats(0, 1),
)
def test_a_wait_is_between_zero_and_the_bound_of_its_attempt(
    base: float, more: float, attempt: int, chance: float
) -> None:
    retry = Retry(base=base, cap=base + more)
    bound = min(retry.cap, base * 2.0 ** (attempt - 1))

    assert 0 <= retry.wait(attempt, chance) <= bound
    assert retry.wait(attempt, 0.0) == 0.0
    assert retry.wait(attempt, 1.0) == bound


@pytest.mark.parametrize(
    ("attempt", "bound"),
    [(1, 1.0), (2, 2.0), (3, 4.0), (6, 32.0), (7, 60.0), (99, 60.0), (9_999, 60.0)],
)
def test_the_bound_doubles_from_base_to_cap(attempt: int, bound: float) -> None:
    assert Retry().wait(attempt, 1.0) == bound
    assert Retry().wait(attempt, 0.25) == bound / 4


def test_a_base_of_zero_does_not_wait() -> None:
    assert Retry(base=0, cap=0).wait(5, 1.0) == 0.0


@pytest.mark.parametrize(
    ("error", "attempt", "again"),
    [
        (OSError("gone"), 1, True),
        (OSError("gone"), 2, True),
        (OSError("gone"), 3, False),
        (ConnectionResetError("gone"), 1, True),
        (BatchTimeout("Users.handle_batch", 1.0), 1, True),
        (ValueError("bad"), 1, False),
        (CancelledError(), 1, False),
    ],
)
def test_what_on_covers_is_tried_again_while_attempts_are_left(
    error: BaseException, attempt: int, again: bool
) -> None:
    # A BatchTimeout is a TimeoutError, and that an OSError.
    retry = Retry(attempts=3, on=(OSError,))

    assert retry.covers(error, attempt) is again


def test_a_timeout_is_tried_again_only_where_on_covers_it() -> None:
    late = BatchTimeout("Users.handle_batch", 1.0)

    assert Retry(on=(BatchTimeout,)).covers(late, 1)
    assert not Retry(on=(ValueError,)).covers(late, 1)


def test_an_invalid_answer_is_never_tried_again() -> None:
    error = InvalidAnswer("Users.handle_batch", None, ["Done()"])

    assert not Retry(on=(Exception,)).covers(error, 1)
    assert not Retry(on=(TypeError, InvalidAnswer)).covers(error, 1)


def test_everything_wrong_with_a_retry_is_said_at_once() -> None:
    arguments: dict[str, Any] = {
        "attempts": 0, "base": -1, "cap": float("nan"), "on": OSError
    }  # fmt: skip

    with pytest.raises(ConfigurationError) as refused:
        Retry(**arguments)

    assert str(refused.value) == (
        "Retry cannot be used:\n"
        "  - attempts must be an int of at least 1, not 0\n"
        "  - base must be seconds of 0 or more, not -1\n"
        "  - cap must be seconds of 0 or more, not nan\n"
        "  - on must be a tuple of Exception types, not <class 'OSError'>"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"attempts": True},
        {"attempts": 2.0},
        {"base": True},
        {"base": float("inf")},
        {"base": 10**400},
        {"base": "1"},
        {"cap": None},
        {"base": 61.0},
        {"base": 2.0, "cap": 1.0},
        {"on": (BaseException,)},
        {"on": (KeyboardInterrupt,)},
        {"on": (OSError("instance"),)},
        {"on": [OSError]},
    ],
    ids=repr,
)
def test_a_retry_out_of_its_bounds_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Retry(**arguments)

    assert len(refused.value.problems) == 1


def test_a_cap_below_base_names_both() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Retry(base=61.0)

    assert refused.value.problems == ("cap must be at least base (61.0), not 60.0",)
