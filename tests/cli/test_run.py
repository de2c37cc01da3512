"""`adaptive-backfill run`: what it says at the end, and its exit code."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from tests.cli.conftest import Answer

Command = Callable[..., Answer]


def test_a_finished_run_says_what_was_done(command: Command) -> None:
    answer = command("run", "jobs:Count")

    assert answer.code == 0
    first, second = answer.out.splitlines()
    assert first == "Done: count"
    assert second.startswith("  10 rows in 5 batches; it took ")
    assert "backfill started" in answer.err
    assert "backfill done" in answer.err


def test_a_run_that_rested_says_where_its_time_went(command: Command) -> None:
    answer = command("run", "jobs:Count", "--set", "delay_between_batches=0.02")

    (line,) = [each for each in answer.out.splitlines() if "Its time" in each]
    assert re.fullmatch(r"  Its time: busy \d+%, delayed \d+%\.", line)


def test_a_run_at_a_pace_says_what_it_changed_and_why(command: Command) -> None:
    answer = command("run", "jobs:Count", "--set", "pace=adaptive")

    assert answer.code == 0
    assert "pace changed: first look, no gauge says otherwise" in answer.err


def test_a_single_operation_says_its_result(command: Command) -> None:
    answer = command("run", "jobs:Single")

    assert answer.code == 0
    assert "Result: 'cleaned up'" in answer.out
    assert "batch" not in answer.out


def test_a_run_that_was_finished_before_is_skipped(command: Command) -> None:
    command("run", "jobs:Once")

    answer = command("run", "jobs:Once")

    assert answer.code == 0
    assert answer.out.startswith("Skipped: once\n")


def test_a_halted_run_says_why_where_it_stands_and_what_to_do(
    command: Command, project: Path
) -> None:
    answer = command("run", "jobs:Halting")

    assert answer.code == 3
    head, why, counts, where, then = answer.out.splitlines()
    assert head == "Halted: halting"
    assert why == "  the disk is nearly full"
    assert counts.startswith("  4 rows in 2 batches; it took ")
    assert where == (
        "  It stands at 4, after batch 2, kept as 'halting' in "
        f"SqliteStore('{project / 'kept.db'}')."
    )
    assert then == (
        "  Next: once that is better, run the same command again; it goes on from "
        "there."
    )


def test_bad_health_halts_with_its_reason(command: Command) -> None:
    answer = command("run", "jobs:Sick")

    assert answer.code == 3
    assert "replica lag 9 s > 5 s" in answer.out
    assert "No batch was done." in answer.out


@pytest.mark.parametrize("backfill", ["Unkept", "InMemory"])
def test_a_canary_that_nobody_outside_could_approve_halts(
    command: Command, backfill: str
) -> None:
    answer = command("run", f"jobs:{backfill}", "--set", "canary=4")

    assert answer.code == 3
    assert "canary of 4 rows done, nobody has approved of it" in answer.out
    assert "keep a checkpoint in a store that carries wishes" in answer.out


def test_every_reason_has_its_line_and_a_known_error_its_hint(
    command: Command,
) -> None:
    answer = command("run", "jobs:Unreachable")

    _, first, second, hint, *_ = answer.out.splitlines()
    assert answer.code == 3
    assert first.startswith("  database raised ConnectionRefusedError: ")
    assert second == "  <lambda>: replica lag 9 s > 5 s"
    assert hint.startswith("  Nothing listens at that host and port")


def test_a_failed_run_says_the_error_and_where_it_was_raised(
    command: Command, project: Path
) -> None:
    answer = command("run", "jobs:Failing")

    assert answer.code == 1
    assert "ValueError: row 5 has no e-mail\n" in answer.out
    assert f"raised at {project / 'jobs.py'}, line " in answer.out
    assert ", in handle_batch\n" in answer.out
    assert "Traceback" not in answer.out + answer.err


def test_the_traceback_of_a_failed_run_is_shown_where_it_is_wanted(
    command: Command,
) -> None:
    answer = command("run", "jobs:Failing", "--traceback")

    assert answer.code == 1
    assert "Traceback (most recent call last)" in answer.err


def test_a_handlers_fail_is_told_as_it_is(command: Command) -> None:
    answer = command("run", "jobs:Refusing")

    assert answer.code == 1
    assert answer.out.splitlines()[1] == "  no room on the shelf"


def test_a_run_that_stops_goes_on_from_there(command: Command) -> None:
    stopped = command("run", "jobs:Count", "--set", "max_batches=2")
    resumed = command("run", "jobs:Count")

    assert stopped.code == 4
    assert "max_batches 2 reached" in stopped.out
    assert resumed.code == 0
    assert "10 rows in 5 batches in all; this run took" in resumed.out


def test_a_run_without_a_checkpoint_says_that_it_begins_anew(
    command: Command,
) -> None:
    answer = command("run", "jobs:Unkept", "--set", "max_batches=2")

    assert answer.code == 4
    assert "It stands at 4, after batch 2.\n" in answer.out
    assert "Next: the next run begins from the start." in answer.out


def test_a_checkpoint_that_is_switched_off_stays_as_it_was(command: Command) -> None:
    command("run", "jobs:Count", "--set", "max_batches=1")

    off = command(
        "run", "jobs:Count", "--set", "max_batches=3", "--set", "checkpoint=none"
    )
    resumed = command("run", "jobs:Count", "--set", "max_batches=1")

    assert "this run kept no checkpoint; the one from before is as it was." in off.out
    assert "It stands at 4, after batch 2" in resumed.out


def test_a_state_that_cannot_be_kept_fails_by_name(command: Command) -> None:
    answer = command("run", "jobs:Unkeepable")

    assert answer.code == 1
    assert "CheckpointError: The state cannot be kept: state is <object" in answer.out


@pytest.mark.parametrize(
    "content", [b"no database at all, not even nearly", b"\0" * 99]
)
def test_a_corrupt_store_fails_and_is_left_alone(
    command: Command, project: Path, content: bytes
) -> None:
    (project / "kept.db").write_bytes(content)

    answer = command("run", "jobs:Count")

    assert answer.code == 1
    assert "it is not a SQLite database; give the store another path" in answer.out
    assert "No batch was done." in answer.out
    assert (project / "kept.db").read_bytes() == content


def test_a_store_in_another_programs_database_fails(
    command: Command, project: Path
) -> None:
    with sqlite3.connect(project / "kept.db") as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()

    answer = command("run", "jobs:Count")

    assert answer.code == 1
    assert "is the database of another program" in answer.out


def test_json_lines_are_all_that_is_printed(command: Command) -> None:
    answer = command("run", "jobs:Failing", "--log-json")

    lines = [json.loads(line) for line in answer.err.splitlines()]
    assert answer.code == 1
    assert answer.out == ""
    assert [line["event"] for line in lines] == [
        "backfill started",
        "backfill failed",
        "ended",
    ]
    assert lines[-1]["status"] == "failed"
    assert lines[-1]["exit_code"] == 1
    assert lines[-1]["error"] == "ValueError: row 5 has no e-mail"
    assert {line["backfill"] for line in lines} == {"failing"}


def test_verbose_logs_every_batch(command: Command) -> None:
    quiet = command("run", "jobs:Count")
    verbose = command("run", "jobs:Count", "--verbose")

    assert "batch.success" not in quiet.err
    assert verbose.err.count("batch.success") == 5


def test_logs_of_the_standard_library_are_lines_like_all_others(
    command: Command, project: Path
) -> None:
    (project / "chatty.py").write_text(
        "import logging\n"
        "from adaptive_backfill import *\n"
        "class Job(Backfill):\n"
        "    async def handle_batch(self, state):\n"
        "        logging.getLogger('mine').warning('%d [b]rows[/b]', 3)\n"
        "        logging.getLogger('mine').info('not worth a word')\n"
        "        return DONE\n"
    )

    answer = command("run", "chatty:Job")

    assert answer.code == 0
    assert "warning: 3 [b]rows[/b]  logger=mine\n" in answer.err
    assert "not worth a word" not in answer.err
    assert "Traceback" not in answer.err


def test_structlog_is_as_it_was_afterwards(command: Command) -> None:
    was_configured = structlog.is_configured()

    command("run", "jobs:Count")

    assert structlog.is_configured() is was_configured


def test_without_arguments_the_help_is_shown(command: Command) -> None:
    assert "Usage: adaptive-backfill run" in command("run", "--help").out
    assert command("run").code == 2
    assert command("no-such-command").code == 2
