"""`adaptive-backfill demo`: from beginning to end, and when it is cut short."""

from __future__ import annotations

import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from adaptive_backfill.cli import main
from tests.cli.processes import in_a_pipe, on_a_terminal

pytestmark = pytest.mark.postgres


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demo makes its folder: short, and open to the server's user."""
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir="/tmp"))
    folder.chmod(0o755)
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder)


def test_the_demo_survives_its_kill_and_proves_it(temporary: Path) -> None:
    with on_a_terminal("demo", "--rows", "20000", folder=temporary) as demo:
        demo.waits_for("with a table of 20,000 users")
        demo.waits_for("$ adaptive-backfill run adaptive_backfill.cli.demo_backfill")
        demo.waits_for("--set batch_size=200")
        demo.waits_for("health ok")
        demo.waits_for("kill -9 ")
        demo.waits_for("backfill started  resumed=True")
        demo.waits_for("slowing down: no_old_transaction: another session's")
        demo.waits_for("paused since ")
        demo.waits_for("resumed")
        demo.waits_for("Done: fill_email_domain")
        demo.waits_for("20,000 of 20,000 rows are filled\n          0 are wrong\n")
        twice = re.search(r"(\d+) were done twice", demo.waits_for("were done twice"))

        assert demo.ends() == 0
    assert twice is not None
    assert int(twice[1]) in (0, 200)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_nothing_behind(
    temporary: Path, number: signal.Signals
) -> None:
    with in_a_pipe("demo", "--rows", "20000", folder=temporary) as demo:
        demo.waits_for("health ok")
        demo.process.send_signal(number)

        assert demo.ends() == 130
    assert "Interrupted; the server and its folder are removed." in demo.screen
    assert "Traceback" not in demo.screen
    assert list(temporary.iterdir()) == []


def test_ctrl_c_on_a_terminal_ends_the_demo_and_its_process(temporary: Path) -> None:
    with on_a_terminal("demo", "--rows", "20000", folder=temporary) as demo:
        demo.waits_for("health ok")
        demo.ctrl_c()
        demo.waits_for("Stopped: fill_email_domain")

        assert demo.ends() == 130
    assert "Traceback" not in demo.screen
    assert list(temporary.iterdir()) == []


def test_the_server_can_be_kept_until_ctrl_c(temporary: Path) -> None:
    options = ("--rows", "1000", "--no-kill", "--keep")

    with on_a_terminal("demo", *options, folder=temporary) as demo:
        demo.waits_for("1,000 of 1,000 rows are filled")
        demo.waits_for("The server stays until you press Ctrl-C")
        demo.waits_for("backfills.db")
        demo.ctrl_c()

        assert demo.ends() == 0
    assert "kill -9" not in demo.screen
    assert list(temporary.iterdir()) == []


def test_without_a_server_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADAPTIVE_BACKFILL_PG_BIN", "/nowhere")

    code = main(["demo"])

    assert code == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: The demo needs a PostgreSQL server.\n")
    assert "pip install 'adaptive-backfill[demo]'" in said
