"""`module:Class`: found, or a sentence on what is near."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Answer

Command = Callable[..., Answer]


def test_a_file_means_the_same_backfill_as_its_module(
    command: Command, project: Path
) -> None:
    (project / "own.py").write_text(
        "from adaptive_backfill import *\n"
        "class Mine(Backfill):\n"
        "    async def handle_batch(self, state):\n"
        "        return DONE\n"
    )

    by_file = command("run", str(project / "own.py") + ":Mine")
    by_module = command("run", "own:Mine")

    assert by_file.out.splitlines()[0] == "Done: own.Mine"
    assert by_module.out.splitlines()[0] == "Done: own.Mine"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("jobs", "'jobs' names no class: write module:Class"),
        (":Count", "':Count' names no class"),
        ("jobs:", "'jobs:' names no class"),
        ("jobs:Cuont", "There is no 'Cuont' in jobs; did you mean Count?"),
        ("jobs:Zebra", "There is no 'Zebra' in jobs; the backfills there: Abstract, "),
        ("jobs:helper", "jobs:helper is a function, and not a subclass of Backfill"),
        ("jobs:Place", "jobs:Place is a class, and not a subclass of Backfill"),
        ("jbos:Count", "There is no module 'jbos'; did you mean jobs?"),
        ("quite.elsewhere:X", "There is no module 'quite' in "),
        ("jobs.deeper:X", "There is no module 'jobs.deeper' in jobs."),
        ("json.decodr:X", "There is no module 'json.decodr'; did you mean json.decode"),
        ("jbos.py:Count", "There is no file jbos.py; did you mean jobs.py?"),
        ("quite.py:Count", "There is no file quite.py."),
        ("jobs:Abstract", "it has no handler: define `async def handle_batch"),
    ],
)
def test_what_is_not_there_is_said_with_what_is_near(
    command: Command, target: str, said: str
) -> None:
    answer = command("run", target)

    assert answer.code == 2
    assert said in answer.err


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(:", "SyntaxError: invalid syntax (broken.py, line 1)"),
        ("import nowhere_at_all", "No module named 'nowhere_at_all'"),
        ("\nx = 1 / 0", "ZeroDivisionError: division by zero\n  raised at"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
@pytest.mark.parametrize("target", ["broken:Job", "broken.py:Job"])
def test_code_that_cannot_be_imported_is_a_sentence(
    command: Command, project: Path, source: str, said: str, target: str
) -> None:
    (project / "broken.py").write_text(source)

    answer = command("run", target)

    assert answer.code == 2
    assert "cannot be imported" in answer.err
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_the_place_in_the_users_own_code_is_named(
    command: Command, project: Path
) -> None:
    (project / "broken.py").write_text("\n\nx = 1 / 0\n")

    answer = command("run", "broken:Job")

    assert f"raised at {project / 'broken.py'}, line 3, in <module>" in answer.err


def test_every_problem_of_a_class_body_is_listed(
    command: Command, project: Path
) -> None:
    (project / "broken.py").write_text(
        "from adaptive_backfill import *\n"
        "class Job(Backfill):\n"
        "    timeout = -1\n"
        "    mode = 'quick'\n"
        "    def on_sucess(self, state): ...\n"
        "    async def handle_batch(self, state): ...\n"
    )

    answer = command("run", "broken:Job")

    assert answer.code == 2
    assert answer.err == (
        "Error: Job cannot be used:\n"
        "  - mode must be 'sync' or 'async', not 'quick'\n"
        "  - timeout must be seconds above 0, or a timedelta, not -1\n"
        "  - on_sucess is not a hook; did you mean on_success?\n"
    )


def test_a_file_named_like_a_module_in_use_is_refused(
    command: Command, project: Path
) -> None:
    (project / "json.py").write_text("")

    answer = command("run", "json.py:Job")

    assert answer.code == 2
    assert "another module of that name is in use. Rename the file." in answer.err


def test_a_traceback_is_shown_where_it_is_wanted(
    command: Command, project: Path
) -> None:
    (project / "broken.py").write_text("x = 1 / 0")

    answer = command("run", "broken:Job", "--traceback")

    assert "Traceback (most recent call last)" in answer.err
    assert answer.err.rstrip().endswith("ZeroDivisionError: division by zero")
