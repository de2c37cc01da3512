"""What `Adaptive` takes, and what it refuses."""

from __future__ import annotations

from copy import copy
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from typing import Any

import pytest

from adaptive_backfill._core.adaptive import Adaptive
from adaptive_backfill.errors import ConfigurationError


def test_the_defaults_are_those_of_the_documentation() -> None:
    policy = Adaptive()

    assert (policy.target, policy.min_size, policy.max_size) == (0.1, 10, 100_000)
    assert (policy.max_workers, policy.overhead) == (4, 0.05)


def test_a_target_may_be_a_timedelta() -> None:
    assert Adaptive(target=timedelta(milliseconds=250)) == Adaptive(target=0.25)


def test_policies_are_values() -> None:
    policy = Adaptive(target=1, max_size=500)

    assert policy == Adaptive(target=1.0, max_size=500)
    assert hash(policy) == hash(copy(policy))
    assert policy != Adaptive()
    assert replace(policy, max_size=600) == Adaptive(target=1.0, max_size=600)
    assert "target=1.0" in repr(policy)
    with pytest.raises(FrozenInstanceError):
        policy.target = 2.0  # type: ignore[misc]


def test_arguments_are_named() -> None:
    with pytest.raises(TypeError):
        Adaptive(0.1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"target": 0}, "target must be seconds above 0, or a timedelta, not 0"),
        ({"target": "1"}, "target must be seconds above 0, or a timedelta, not '1'"),
        (
            {"target": float("inf")},
            "target must be seconds above 0, or a timedelta, not inf",
        ),
        (
            {"target": timedelta(seconds=-1)},
            "target must be seconds above 0, or a timedelta, not -1.0",
        ),
        ({"min_size": 0}, "min_size must be an int of at least 1, not 0"),
        ({"max_size": 1.5}, "max_size must be an int of at least 1, not 1.5"),
        ({"max_workers": True}, "max_workers must be an int of at least 1, not True"),
        ({"max_size": 5}, "max_size must be at least min_size (10), not 5"),
        (
            {"overhead": 0},
            "overhead must be a share between 0 and 1, both excluded, not 0",
        ),
        (
            {"overhead": 1},
            "overhead must be a share between 0 and 1, both excluded, not 1",
        ),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Adaptive(**values)

    assert str(refused.value) == f"Adaptive cannot be used:\n  - {problem}"


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Adaptive(target=-1, overhead=2, min_size=0, max_workers=0)

    assert refused.value.subject == "Adaptive"
    assert len(refused.value.problems) == 4
