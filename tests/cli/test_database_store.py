"""--store DSN, and the store that a table's backfill keeps in its own database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Answer, execute
from tests.cli.processes import in_a_pipe

Command = Callable[..., Answer]

ASKING = ["status", "history", "pause", "resume", "stop"]


def test_a_class_and_a_name_in_its_store_are_the_same(
    command: Command, users: str
) -> None:
    command("run", "tables:UsersToV2", "--set", "max_batches=2")

    by_class = command("status", "tables:UsersToV2")
    by_both = command("status", "tables:UsersToV2", "--store", users)
    by_name = command("status", "users_to_v2", "--store", users)
    every = command("status", "--store", users)

    assert by_class.code == 0
    assert by_class.out.startswith("users_to_v2: stopped\n  8 rows")
    assert by_class.out == by_both.out == by_name.out
    assert every.out.splitlines()[1].split()[:2] == ["users_to_v2", "stopped"]
    assert "8 rows in 2 batches" in command("history", "tables:UsersToV2").out


def test_a_run_is_steered_through_its_database(command: Command, users: str) -> None:
    with in_a_pipe(
        "run", "tables:Resting", folder=Path.cwd(), DATABASE_URL=users
    ) as running:
        running.waits_for("backfill started")
        tuned = command("set", "resting", "batch_size=3", "--store", users)
        stopped = command("stop", "tables:Resting")
        code = running.ends()

    assert (tuned.code, stopped.code, code) == (0, 0, 4)
    assert "will stop after the batch under way" in stopped.out


def test_asking_makes_no_tables(command: Command, users: str) -> None:
    for asking in ASKING:
        by_class = command(asking, "tables:UsersToV2")
        by_name = command(asking, "users_to_v2", "--store", users)

        assert (by_class.code, by_name.code) == (2, 2)
        assert "There is no store in that database" in by_class.err
        assert by_class.err == by_name.err
    found = execute(
        users, "SELECT to_regnamespace('adaptive_backfill') IS NULL AS none"
    )
    assert found[0]["none"]


def test_a_role_that_may_not_read_the_store_is_told_so(
    command: Command, users: str, stranger: str
) -> None:
    command("run", "tables:UsersToV2")

    answer = command("status", "users_to_v2", "--store", stranger)

    assert answer.code == 1
    assert "permission denied" in answer.err
    assert "grant what it names at its end" in answer.err
    assert "Traceback" not in answer.err


def test_a_table_without_a_checkpoint_cannot_be_seen(
    command: Command, users: str
) -> None:
    answer = command("status", "tables:Unkept")

    assert answer.code == 2
    assert "has no checkpoint" in answer.err
