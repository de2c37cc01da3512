"""plan, verify, failures, ensure-finished, doctor and store-script."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adaptive_backfill.postgres import PostgresStore
from tests.cli.conftest import Answer, execute

Command = Callable[..., Answer]

OF_TABLES = ["plan", "verify", "failures"]


def test_a_plan_says_what_a_run_would_do_and_does_nothing(
    command: Command, users: str
) -> None:
    answer = command("plan", "tables:UsersToV2")

    assert answer.code == 0
    assert answer.out.startswith("users_to_v2: may be run\n")
    assert "all rolled back" in answer.out
    assert len(execute(users, "SELECT FROM users WHERE version = 1")) == 10


def test_a_plan_that_is_not_measured_tries_nothing(
    command: Command, users: str
) -> None:
    answer = command("plan", "tables:UsersToV2", "--no-measure")

    assert answer.code == 0
    assert "rolled back" not in answer.out


def test_a_plan_that_refuses_fails_with_the_reason(
    command: Command, users: str
) -> None:
    answer = command("plan", "tables:Keyless")

    assert answer.code == 1
    assert 'refused: table "keyless" has no primary key' in answer.out


def test_what_handle_rows_raises_in_a_plan_is_told_with_its_place(
    command: Command, users: str, project: Path
) -> None:
    (project / "letters.py").write_text(
        "from adaptive_backfill.postgres import TableBackfill\n"
        "class Letters(TableBackfill):\n"
        "    table = 'users'\n"
        "    async def handle_rows(self, rows, connection):\n"
        "        raise ValueError('row 1 has no address')\n"
    )

    answer = command("plan", "letters:Letters")

    assert answer.code == 1
    assert "ValueError: row 1 has no address\n  raised at " in answer.err
    assert "letters.py, line 5" in answer.err
    assert "Traceback" not in answer.err


def test_a_gate_opens_when_every_row_is_done(command: Command, users: str) -> None:
    closed = command("ensure-finished", "tables:UsersToV2")
    left = command("verify", "tables:UsersToV2")
    command("run", "tables:UsersToV2")
    opened = command("ensure-finished", "tables:UsersToV2")
    none = command("verify", "tables:UsersToV2")

    assert (closed.code, left.code, opened.code, none.code) == (1, 1, 0, 0)
    assert "'users_to_v2' is not finished: it was never run" in closed.err
    assert "10 rows still to do" in left.out
    assert opened.out == "users_to_v2 is finished: 10 rows.\n"
    assert "no row is left to do" in none.out


def test_a_gate_may_do_without_counting(command: Command, users: str) -> None:
    command("run", "tables:UsersToV2")
    execute(users, "INSERT INTO users VALUES (11, 1)")

    counted = command("ensure-finished", "tables:UsersToV2")
    remembered = command("ensure-finished", "tables:UsersToV2", "--no-verify")

    assert (counted.code, remembered.code) == (1, 0)
    assert "1 row still to do" in counted.err


def test_rows_that_are_set_aside_are_listed_and_tried_again(
    command: Command, users: str
) -> None:
    before = command("failures", "tables:Dividing")
    command("run", "tables:Dividing")

    listed = command("failures", "tables:Dividing")
    in_vain = command("failures", "tables:Dividing", "--retry")
    execute(users, "UPDATE users SET version = 2")
    mended = command("failures", "tables:Dividing", "--retry")

    assert (before.code, before.out) == (0, "No row is set aside.\n")
    head, row = listed.out.splitlines()
    assert head.split() == ["KEY", "TRIED", "LAST", "WHY"]
    assert row.startswith("7    1      ")
    assert row.endswith("DivisionByZeroError: division by zero")
    assert (listed.code, in_vain.code, mended.code) == (0, 1, 0)
    assert in_vain.out.startswith("0 rows done now.\n")
    assert mended.out == "1 row done now.\nNo row is set aside.\n"


@pytest.mark.parametrize("asking", OF_TABLES)
def test_what_is_no_table_is_refused(command: Command, asking: str) -> None:
    answer = command(asking, "jobs:Count")

    assert answer.code == 2
    assert "jobs:Count walks no table" in answer.err


def test_a_gate_is_for_every_backfill_with_a_checkpoint(command: Command) -> None:
    closed = command("ensure-finished", "jobs:Count")
    command("run", "jobs:Count")
    opened = command("ensure-finished", "jobs:Count")
    unkept = command("ensure-finished", "jobs:Unkept")

    assert (closed.code, opened.code, unkept.code) == (1, 0, 2)
    assert "it has no checkpoint" in unkept.err


def test_the_doctor_says_what_is_seen(command: Command, users: str) -> None:
    answer = command("doctor", "--table", "users")
    nowhere = command("doctor", "--dsn", "postgresql://u:secret@127.0.0.1:1/d")

    assert answer.code == 0
    assert answer.out.startswith("PostgreSQL ")
    assert "\nlock_waits " in answer.out
    assert "\ndead_rows " in answer.out
    assert nowhere.code == 1
    assert "secret" not in nowhere.err


def test_the_script_of_a_store_makes_its_tables(command: Command, users: str) -> None:
    script = command("store-script", "--schema", "kept")

    assert script.code == 0
    assert script.out == f"{PostgresStore.script('kept')}\n"
    assert command("store-script", "--schema", "").code == 2
