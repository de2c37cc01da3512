"""Backfills that walk a table: run from the command line, on a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from adaptive_backfill import Progress
from adaptive_backfill.cli.words import extent
from tests.cli.conftest import Answer, execute

Command = Callable[..., Answer]


def still_to_do(users: str) -> int:
    rows = execute(users, "SELECT count(*) FROM users WHERE version = 1")
    return int(rows[0]["count"])


@pytest.mark.parametrize("given", [None, "dsn", "pool"])
def test_a_table_is_walked_on_the_dsn_that_is_given(
    command: Command, users: str, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    words = []
    if given is not None:
        monkeypatch.delenv("DATABASE_URL")
        words = ["--set", f"{given}={users}"]

    answer = command("run", "tables:UsersToV2", *words)

    assert answer.code == 0
    assert "10 rows in 3 batches" in answer.out
    assert still_to_do(users) == 0


def test_a_walk_goes_on_from_the_checkpoint_in_its_database(
    command: Command, users: str
) -> None:
    first = command("run", "tables:UsersToV2", "--set", "max_batches=1")
    second = command("run", "tables:UsersToV2")

    assert first.code == 4
    assert "kept as 'users_to_v2' in PostgresStore(" in first.out
    assert "run the same command again; it goes on from there." in first.out
    assert "10 rows in 3 batches in all" in second.out


def test_options_that_are_sql_stay_as_they_are_written(
    command: Command, users: str
) -> None:
    execute(users, "UPDATE users SET version = 3 WHERE id > 5")

    answer = command(
        "run", "tables:UsersToV2", "--set", "where=true", "--set", "workers=2"
    )

    assert answer.code == 0
    assert "10 rows in " in answer.out


def test_rows_that_are_set_aside_are_counted(command: Command, users: str) -> None:
    answer = command("run", "tables:Dividing")

    assert answer.code == 0
    assert "9 rows in " in answer.out
    assert (
        "1 row could not be done, and set aside; `adaptive-backfill failures`"
        in answer.out
    )
    assert still_to_do(users) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Nowhere", 'there is no table "nowhere"'),
        ("Keyless", 'table "keyless" has no primary key'),
    ],
)
def test_a_table_that_cannot_be_walked_is_wrong_configuration(
    command: Command, users: str, name: str, said: str
) -> None:
    answer = command("run", f"tables:{name}")

    assert answer.code == 2
    assert said in answer.out
    assert "Traceback" not in answer.out + answer.err
    assert "ConfigurationError" not in answer.out


def test_the_exit_code_of_a_wrong_table_is_logged_as_it_is(
    command: Command, users: str
) -> None:
    answer = command("run", "tables:Nowhere", "--log-json")

    assert json.loads(answer.err.splitlines()[-1])["exit_code"] == answer.code == 2


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ("localhost/users", 2, "is no DSN"),
        ("postgresql://u:se/cret@localhost/d", 2, "its port is no number"),
        ("postgresql://u:se/cret@127.0.0.1:1/d", 2, "its port is no number"),
        ("postgresql://u:secret@127.0.0.1:1/d", 1, "is the server up?"),
    ],
)
def test_a_dsn_that_leads_nowhere_is_told_and_not_shown(
    command: Command, tables: Path, given: str, code: int, said: str
) -> None:
    run = command("run", "tables:UsersToV2", "--set", f"dsn={given}")
    status = command("status", "tables:UsersToV2", "--store", given)

    assert run.code == code
    assert said in run.err
    if "://" in given:
        assert status.code == code
        assert said in status.err
    heard = run.out + run.err + status.out + status.err
    assert "cret" not in heard
    assert "Traceback" not in heard


@pytest.mark.parametrize("words", [("run",), ("status",)])
def test_without_a_dsn_a_table_says_how_to_give_one(
    command: Command,
    tables: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)

    answer = command(*words, "tables:UsersToV2")

    assert answer.code == 2
    assert "is missing: set the environment variable DATABASE_URL" in answer.err


def test_the_share_of_a_walk_is_the_place_and_not_the_rows() -> None:
    walking = Progress("a", "b", "running", rows=2, total=100, share=0.5)
    ended = Progress("a", "b", "done", rows=100, total=100, share=0.5)

    assert extent(walking) == "2 of 100 rows (50%)"
    assert extent(ended) == "100 of 100 rows (100%)"
    assert extent(Progress("a", "b", "running", rows=2, share=0.29)) == "2 rows (29%)"
