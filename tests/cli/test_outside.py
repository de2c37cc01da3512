"""status, history, pause, resume, stop and set: from outside of the run's process."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Answer

Command = Callable[..., Answer]

ASKING = ["status", "history", "pause", "resume", "stop"]


def test_status_says_how_a_run_ended(command: Command) -> None:
    command("run", "jobs:Count", "--set", "max_batches=2")

    by_class = command("status", "jobs:Count")
    by_name = command("status", "count", "--store", "kept.db")

    assert by_class.code == 0
    assert by_class.out == by_name.out
    head, extent, why, state = by_class.out.splitlines()
    assert head == "count: stopped"
    assert extent == "  4 of 10 rows (40%), 2 batches, 2 rows each"
    assert why == "  max_batches 2 reached"
    assert state.startswith("  state 4, run ")


def test_status_says_what_error_a_run_failed_by(command: Command) -> None:
    command("run", "jobs:Failing")

    answer = command("status", "jobs:Failing")

    assert answer.out.splitlines()[0] == "failing: failed"
    assert "ValueError: row 5 has no e-mail" in answer.out


def test_status_without_a_name_lists_all(command: Command) -> None:
    command("run", "jobs:Count")
    command("run", "jobs:Halting")

    answer = command("status", "--store", "kept.db")

    head, first, second = answer.out.splitlines()
    assert head.split() == ["NAME", "STATUS", "DONE", "LEFT", "WHY"]
    assert first.split()[:5] == ["count", "done", "10", "of", "10"]
    assert second.split()[:2] == ["halting", "halted"]
    assert second.endswith("the disk is nearly full")


def test_history_is_newest_first(command: Command) -> None:
    command("run", "jobs:Count", "--set", "max_batches=2")
    command("run", "jobs:Count")

    answer = command("history", "jobs:Count")

    head, newest, oldest = answer.out.splitlines()
    assert head.split() == ["STATUS", "DONE", "TOOK", "RUN", "WHY"]
    assert newest.startswith("done     10 rows in 5 batches")
    assert oldest.startswith("stopped  4 rows in 2 batches")
    assert oldest.endswith("max_batches 2 reached")


def test_a_pause_waits_for_the_next_run_until_it_is_withdrawn(
    command: Command,
) -> None:
    command("run", "jobs:Count", "--set", "max_batches=1")

    paused = command("pause", "count", "--store", "kept.db")
    resumed = command("resume", "count", "--store", "kept.db")

    assert paused.out == (
        "count is not running; its next run will wait until `resume`.\n"
    )
    assert resumed.out == "count is not running; its next run will not wait.\n"
    assert command("run", "jobs:Count").code == 0


@pytest.mark.parametrize(
    "words", [("stop", "jobs:Count"), ("set", "jobs:Count", "batch_size=5")]
)
def test_what_needs_a_run_says_that_there_is_none(
    command: Command, words: tuple[str, ...]
) -> None:
    command("run", "jobs:Count")

    answer = command(*words)

    assert answer.code == 1
    assert "'count' is not running; `adaptive-backfill status` shows" in answer.err


def test_set_refuses_what_cannot_be_changed(command: Command) -> None:
    command("run", "jobs:Count")

    answer = command("set", "jobs:Count", "timeout=5")

    assert answer.code == 2
    assert "'timeout' cannot be set on a running run" in answer.err


def test_set_knows_every_knob_of_the_pace(command: Command) -> None:
    command("run", "jobs:Count")

    answer = command(
        *("set", "jobs:Count", "duty=0.5", "max_rows_per_second=none", "workers=2"),
        "windows=Mon-Fri 22:00-06:00 Europe/Berlin",
    )

    # All of it is understood, and nobody is there to hear of it.
    assert answer.code == 1
    assert "'count' is not running" in answer.err


@pytest.mark.parametrize("asking", ASKING)
def test_an_unknown_name_is_refused_with_what_is_near(
    command: Command, asking: str
) -> None:
    command("run", "jobs:Count")

    near = command(asking, "cuont", "--store", "kept.db")
    far = command(asking, "zebra", "--store", "kept.db")

    assert (near.code, far.code) == (2, 2)
    assert near.err == "Error: Nothing is known of 'cuont'; did you mean count?\n"
    assert far.err == "Error: Nothing is known of 'zebra'; known are: count.\n"


@pytest.mark.parametrize("asking", ASKING)
def test_asking_makes_no_file(command: Command, project: Path, asking: str) -> None:
    by_class = command(asking, "jobs:Count")
    by_name = command(asking, "count", "--store", "kept.db")

    assert (by_class.code, by_name.code) == (2, 2)
    assert "jobs:Count has not run yet: there is no file " in by_class.err
    assert "There is no file kept.db" in by_name.err
    assert not (project / "kept.db").exists()


@pytest.mark.parametrize("asking", ASKING)
def test_asking_leaves_what_is_no_store_alone(
    command: Command, project: Path, asking: str
) -> None:
    (project / "empty.db").touch()
    (project / "corrupt.db").write_text("this is a letter to my aunt")
    with sqlite3.connect(project / "other.db") as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = (project / "other.db").read_bytes()

    empty = command(asking, "count", "--store", "empty.db")
    corrupt = command(asking, "count", "--store", "corrupt.db")
    others = command(asking, "count", "--store", "other.db")
    folder = command(asking, "count", "--store", ".")

    assert (empty.code, corrupt.code, others.code, folder.code) == (2, 1, 1, 2)
    assert "empty.db is empty: no backfill has kept anything in it." in empty.err
    assert "it is not a SQLite database" in corrupt.err
    assert "is the database of another program" in others.err
    assert ". is a folder" in folder.err
    assert (project / "empty.db").stat().st_size == 0
    assert (project / "other.db").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give module:Class, or --store PATH|DSN and a name in it."),
        (("count",), "'count' does not say which store to ask"),
        (("jobs:Unkept",), "jobs:Unkept has no checkpoint"),
        (("count", "--store", "mysql://u:pw@h/d"), "looks like postgresql://"),
    ],
)
def test_what_says_no_store_is_refused(
    command: Command, words: tuple[str, ...], said: str
) -> None:
    answer = command("status", *words)

    assert answer.code == 2
    assert said in answer.err
    assert "pw" not in answer.err


def test_a_store_in_memory_cannot_be_seen(command: Command, project: Path) -> None:
    (project / "memory.py").write_text(
        "from adaptive_backfill import *\n"
        "class Job(Backfill):\n"
        "    checkpoint = Checkpoint(MemoryStore())\n"
        "    async def handle_batch(self, state):\n"
        "        return DONE\n"
    )

    answer = command("status", "memory:Job")

    assert answer.code == 2
    assert "keeps its checkpoint in memory" in answer.err


def test_nothing_is_known_of_an_unused_store(command: Command) -> None:
    command("run", "jobs:Count", "--set", "max_batches=1")

    answer = command("status", "jobs:Halting")

    assert answer.code == 2
    assert answer.err == "Error: halting has not run yet.\n"
