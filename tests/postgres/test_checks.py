"""How the checks are declared, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from adaptive_backfill import errors
from adaptive_backfill.postgres import (
    hot_io_tables,
    long_waiting_queries,
    pg_health_checks,
    temp_file_usage,
)


def test_the_three_of_the_guide_halt() -> None:
    guide = pg_health_checks()

    names = ["long_waiting_queries", "hot_io_tables", "temp_file_usage"]
    assert [check.name for check in guide] == names
    assert [check.on_error for check in guide] == 3 * ["halt"]


def test_a_check_can_be_named() -> None:
    assert temp_file_usage(name="spills").name == "spills"


def test_every_problem_of_a_check_is_told_at_once() -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        long_waiting_queries(
            "mysql://me:hunter2@db/app",
            limit=-1,
            action="stop",  # type: ignore[arg-type]
            name=" ",
            allow_blind=1,  # type: ignore[arg-type]
        )

    assert str(caught.value) == (
        "long_waiting_queries cannot be used:\n"
        "  - pool is no DSN: postgresql://...\n"
        "  - limit must be seconds of 0 or more, not -1\n"
        "  - action must be 'halt' or 'pause' or 'slow', not 'stop'\n"
        "  - name must be a non-empty str, not ' '\n"
        "  - allow_blind must be True or False, not 1"
    )


@pytest.mark.parametrize("limit", [True, float("nan"), float("inf"), -0.1, "60", None])
def test_a_limit_that_is_no_number_is_refused(limit: Any) -> None:
    for check in (long_waiting_queries, hot_io_tables, temp_file_usage):
        with pytest.raises(errors.ConfigurationError, match="limit must be"):
            check(limit=limit)


@pytest.mark.parametrize(
    "wrong", [{"limit": 1.1}, {"min_accesses": 0}, {"min_accesses": 0.5}]
)
def test_bounds_of_a_ratio_and_its_sample_are_kept(wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigurationError, match=f"{next(iter(wrong))} must"):
        hot_io_tables(**wrong)
