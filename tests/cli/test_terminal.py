"""On a terminal: the live picture, Ctrl-C once and twice, and other signals."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Answer
from tests.cli.processes import in_a_pipe, on_a_terminal

Command = Callable[..., Answer]

STOPPING = "Stopping after the batch under way; Ctrl-C once more cancels it."


def batches_kept(project: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(project / "kept.db")) as kept:
        return kept.execute("SELECT name, batches FROM backfill_names").fetchall()


def test_a_terminal_shows_the_run_live(project: Path) -> None:
    with on_a_terminal("run", "jobs:Endless", folder=project) as run:
        run.waits_for("endless\n")
        run.waits_for(" of 1,000,000 rows (0%)")
        run.waits_for(" rows/s · ")
        run.waits_for(" left · ")
        run.waits_for(" batches · 2 rows each · running for ")
        run.waits_for("health ok")
        run.ctrl_c()

        assert run.ends() == 4
    assert b"\x1b[?25l" in run.raw  # the cursor, hidden
    assert run.raw.rindex(b"\x1b[?25h") > run.raw.rindex(b"\x1b[?25l")
    assert "━" in run.screen


def test_a_picture_fits_a_narrow_terminal(project: Path) -> None:
    with on_a_terminal("run", "jobs:Endless", folder=project, size=(20, 40)) as run:
        run.waits_for("health ok")
        run.ctrl_c()

        assert run.ends() == 4


def test_a_pause_is_shown_with_its_reason_and_since_when(project: Path) -> None:
    with on_a_terminal("run", "jobs:Waiting", folder=project) as run:
        run.waits_for("warning: paused: is_well: replica lag 9 s > 5 s")
        run.waits_for("paused since ")
        run.waits_for("(1 s): is_well: replica lag 9 s > 5 s")
        (project / "well").touch()
        run.waits_for("resumed")

        assert run.ends() == 0
    assert "10 of 10 rows (100%)" in run.screen
    assert "of it paused." in run.screen


def test_what_a_handler_prints_stands_above_the_picture(project: Path) -> None:
    (project / "go").touch()

    with on_a_terminal("run", "jobs:Clinging", folder=project) as run:
        run.waits_for("batch at 2 begins\n")
        run.ctrl_c()

        assert run.ends() == 4


def test_ctrl_c_once_finishes_the_batch_and_stops(project: Path) -> None:
    with on_a_terminal("run", "jobs:Clinging", folder=project) as run:
        run.waits_for("batch at 0 begins")
        run.ctrl_c()
        run.waits_for(STOPPING)
        (project / "go").touch()

        assert run.ends() == 4
    assert "Stopped: clinging\n  stop requested\n  2 rows in 1 batch;" in run.screen
    assert batches_kept(project) == [("clinging", 1)]


def test_ctrl_c_twice_cancels_the_batch(project: Path) -> None:
    with on_a_terminal("run", "jobs:Clinging", folder=project) as run:
        run.waits_for("batch at 0 begins")
        run.ctrl_c()
        run.waits_for(STOPPING)
        run.ctrl_c()

        assert run.ends() == 130
    assert "Cancelled: clinging\n  The batch under way was cancelled" in run.screen
    assert batches_kept(project) == [("clinging", 0)]


def test_more_ctrl_c_interrupt_what_blocks_the_event_loop(project: Path) -> None:
    with on_a_terminal("run", "jobs:Blocking", folder=project) as run:
        run.waits_for("batch at 0 begins")

        assert run.ends_by_ctrl_c() == 130
    assert "Traceback" not in run.screen


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_other_signals_are_like_one_ctrl_c(project: Path, name: str) -> None:
    with on_a_terminal("run", "jobs:Clinging", folder=project) as run:
        run.waits_for("batch at 0 begins")
        run.process.send_signal(signal.Signals[name])
        run.waits_for(f"{name}: stopping after the batch under way")
        run.process.send_signal(signal.Signals[name])
        (project / "go").touch()

        assert run.ends() == 4
    assert batches_kept(project) == [("clinging", 1)]


def test_sigterm_stops_also_without_a_terminal(project: Path) -> None:
    with in_a_pipe("run", "jobs:Clinging", folder=project) as run:
        run.waits_for("batch at 0 begins")
        run.process.send_signal(signal.SIGTERM)
        run.waits_for("SIGTERM: stopping after the batch under way")
        (project / "go").touch()

        assert run.ends() == 4


def test_without_a_terminal_there_is_a_line_every_few_seconds(project: Path) -> None:
    with in_a_pipe("run", "jobs:Endless", "--every", "0.1", folder=project) as run:
        run.waits_for(" of 1,000,000 rows (0%), ")
        run.waits_for(" of 1,000,000 rows (0%), ")
        run.waits_for(" batches, 2 rows each, health ok\n")
        run.process.send_signal(signal.SIGINT)

        assert run.ends() == 4
    assert b"\x1b" not in run.raw


@pytest.mark.parametrize(
    "variables", [{"FORCE_COLOR": "1"}, {"PYTHONIOENCODING": "ascii"}]
)
def test_a_pipe_is_never_drawn_on(project: Path, variables: dict[str, str]) -> None:
    with in_a_pipe("run", "jobs:Count", folder=project, **variables) as run:
        assert run.ends() == 0
    assert b"\x1b[?25l" not in run.raw


def test_a_run_outlives_whoever_reads_it(project: Path, command: Command) -> None:
    with in_a_pipe("run", "jobs:Waiting", folder=project) as run:
        run.waits_for("paused: is_well")
        run.stops_reading()
        (project / "well").touch()

        assert run.process.wait(60) == 0
    assert "done    10 rows in 5 batches" in command("history", "jobs:Waiting").out


def test_a_second_run_of_the_name_is_refused(project: Path) -> None:
    with on_a_terminal("run", "jobs:Clinging", folder=project) as run:
        run.waits_for("batch at 0 begins")

        with on_a_terminal("run", "jobs:Clinging", folder=project) as second:
            assert second.ends() == 5
        assert "'clinging' is already being run, by run " in second.screen

        (project / "go").touch()
        run.ctrl_c()
        assert run.ends() == 4


def test_a_running_run_is_seen_and_steered_from_outside(
    project: Path, command: Command
) -> None:
    with in_a_pipe("run", "jobs:Endless", "--every", "0.1", folder=project) as run:
        run.waits_for(" batches, 2 rows each, health ok\n")

        paused = command("pause", "jobs:Endless")
        run.waits_for("warning: paused: paused by ")
        run.waits_for(", paused since ")
        resumed = command("resume", "endless", "--store", "kept.db")
        run.waits_for("resumed")
        changed = command("set", "jobs:Endless", "batch_size=7")
        run.waits_for(", 7 rows each, health ok\n")
        seen = command("status", "jobs:Endless")
        listed = command("status", "--store", "kept.db")
        stopped = command("stop", "jobs:Endless")

        assert run.ends() == 4
    assert paused.out.startswith("endless will pause after the batch under way")
    assert resumed.out.startswith("endless will go on")
    assert changed.out.startswith("endless will go on with batch_size=7")
    assert seen.out.startswith("endless: running\n")
    assert listed.out.splitlines()[1].startswith("endless  running  ")
    assert stopped.out.startswith("endless will stop after the batch under way")
    assert "Stopped: endless\n  stop requested\n" in run.screen
