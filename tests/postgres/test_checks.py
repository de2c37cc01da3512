"""How the checks are declared, and what is refused."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from adaptive_backfill import OK, Slow, errors
from adaptive_backfill.postgres import (
    checks,
    hot_io_tables,
    long_waiting_queries,
    pg_health_checks,
    temp_file_usage,
)
from tests.postgres.asking import ask, new_run


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


def test_what_is_recommended_halts_only_for_what_needs_a_person() -> None:
    actions = {
        check.name: check.fn.terms.action  # type: ignore[attr-defined]
        for check in checks.recommended(table="users", standbys=["postgresql://db2/"])
    }

    by_action = {
        action: [name for name, its in actions.items() if its == action]
        for action in ("halt", "pause", "slow")
    }
    assert by_action == {
        "halt": ["read_only", "endangered_slots", "xid_age"],
        "pause": [
            "replay_lag",
            "standby_lag",
            "slot_lag",
            "archive_queue",
            "archiver_failing",
            "blocked_by_us",
            "wraparound_vacuum",
        ],
        "slow": [
            "vacuum_running",
            "vacuum_debt",
            "dead_rows",
            "lock_waits",
            "connections",
            "active_sessions",
            "long_waiting_queries",
            "oldest_transaction",
            "idle_in_transaction",
            "prepared_transactions",
            "wal_rate",
            "checkpoint_pressure",
            "requested_checkpoints",
            "hot_io_tables",
            "temp_file_usage",
            "deadlocks",
            "event_loop_lag",
        ],
    }


def test_checks_of_several_standbys_can_be_told_apart() -> None:
    standbys = ["postgresql://db2/", "postgresql://db3/"]

    names = [check.name for check in checks.everything(standbys=standbys)]

    assert len(set(names)) == len(names)
    assert {"standby_lag", "standby_lag_2"} < set(names)


def test_every_check_there_is_can_be_declared_and_is_asked_by_the_doctor() -> None:
    bundles = {"everything", "pg_health_checks", "recommended"}
    declared = {name for name in checks.__all__ if name[0].islower()} - bundles
    # Only its author knows what to time.
    declared.remove("latency_probe")

    asked = checks.everything(table="users", standbys=["postgresql://db2/"])

    assert {check.name for check in asked} == declared


def test_every_check_has_a_row_in_the_manual() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "signals.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \|", manual, re.MULTILINE)
    recommended = re.findall(r"^\| `(\w+)` \|.*\| [RTS] \|$", manual, re.MULTILINE)

    standbys = ["postgresql://db2/"]
    asked = checks.everything(table="users", standbys=standbys)
    bundle = checks.recommended(table="users", standbys=standbys)
    names = [check.name for check in asked] + ["latency_probe"]
    assert sorted(listed) == sorted(names)
    assert sorted(recommended) == sorted(check.name for check in bundle)


DECLARATIONS: dict[str, dict[str, Any]] = {
    "standby_lag": {"dsn": "postgresql://db2/"},
    "recovery_conflicts": {"dsn": "postgresql://db2/"},
    "replicas": {"limit": 1},
    "vacuum_running": {"table": "users"},
    "wraparound_vacuum": {"table": "users"},
    "vacuum_debt": {"table": "users"},
    "dead_rows": {"table": "users"},
}


@pytest.mark.parametrize(
    "title", [check.name for check in checks.everything(table="users")]
)
def test_every_check_refuses_what_is_out_of_bounds_and_can_be_named(title: str) -> None:
    declare, needed = getattr(checks, title), DECLARATIONS.get(title, {})

    with pytest.raises(errors.ConfigurationError) as caught:
        declare(**needed, action="stop", name=" ")

    assert str(caught.value) == (
        f"{title} cannot be used:\n"
        "  - action must be 'halt' or 'pause' or 'slow', not 'stop'\n"
        "  - name must be a non-empty str, not ' '"
    )
    named = declare(**needed, name="mine", action="halt")
    assert (named.name, named.on_error) == ("mine", "halt")


@pytest.mark.parametrize(
    ("title", "argument", "wrong"),
    [
        ("replay_lag", "limit_bytes", -1),
        ("lock_waits", "limit_seconds", "1"),
        ("active_sessions", "cpus", 0),
        ("lwlock_io_waits", "cpus", 1.5),
        ("replicas", "limit", -1),
        ("connections", "limit", 80),
        ("cache_hits", "limit", 1.01),
        ("xid_age", "limit", float("nan")),
        ("wal_rate", "limit", True),
        ("vacuum_debt", "table", ""),
    ],
)
def test_limits_out_of_bounds_are_refused_by_their_names(
    title: str, argument: str, wrong: Any
) -> None:
    given = DECLARATIONS.get(title, {}) | {argument: wrong}

    with pytest.raises(errors.ConfigurationError, match=f"- {argument} must be "):
        getattr(checks, title)(**given)


@pytest.mark.asyncio
async def test_an_event_loop_that_is_held_up_slows() -> None:
    async def hold_up() -> None:
        # Longer than the look naps, however slow this machine is.
        time.sleep(0.05)  # noqa: ASYNC251

    check = checks.event_loop_lag(limit=0.03)
    asked = asyncio.create_task(ask(check))
    await asyncio.sleep(0)
    await hold_up()

    verdict = await asked

    assert isinstance(verdict, Slow)
    assert str(verdict.reason).startswith("event_loop_lag ")
    assert str(verdict.reason).endswith(" ms > 30 ms")


@pytest.mark.asyncio
async def test_the_first_look_at_an_event_loop_is_short_because_a_run_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    naps: list[float] = []

    async def nap(due: float) -> None:
        naps.append(due)

    monkeypatch.setattr(anyio, "sleep_until", nap)
    check, run = checks.event_loop_lag(limit=30), new_run()

    counts = []
    for _ in range(2):
        naps.clear()
        await ask(check, run)
        counts.append(len(naps))

    assert counts == [1, 10]


@pytest.mark.asyncio
async def test_an_event_loop_with_nothing_to_do_is_healthy() -> None:
    assert await ask(checks.event_loop_lag(limit=30)) is OK
