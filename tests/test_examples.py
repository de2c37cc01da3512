"""Every program in examples/ runs, and finds its own result right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PROGRAMS = sorted(
    file.stem for file in EXAMPLES.glob("*.py") if file.stem != "scaffold"
)
SECONDS = 100


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_finds_its_result_right(
    name: str, database: str, tmp_path: Path
) -> None:
    ended = run_python(EXAMPLES / f"{name}.py", folder=tmp_path, dsn=database)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1].startswith(f"{name}: ok: ")
    assert ended.stderr == ""


def test_an_example_without_a_database_makes_one(tmp_path: Path) -> None:
    ended = run_python(EXAMPLES / "basic_batch.py", folder=tmp_path, dsn=None)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("basic_batch: ok: ")


def test_an_example_that_finds_its_result_wrong_says_so_and_fails(
    database: str, tmp_path: Path
) -> None:
    program = tmp_path / "wrong.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(EXAMPLES)!r})\n"
        "from scaffold import expect, run_example\n"
        "async def example(pool):\n"
        "    expect('one', await pool.fetchval('SELECT 1'), 2)\n"
        "run_example('wrong', example)\n"
    )

    ended = run_python(program, folder=tmp_path, dsn=database)

    assert ended.returncode == 1
    assert ended.stderr == "wrong: WRONG: one: 1, expected 2\n"


def run_python(
    program: Path, *, folder: Path, dsn: str | None
) -> subprocess.CompletedProcess[str]:
    """Run *program* as a user would, in an empty working directory."""
    environment = {
        name: value for name, value in os.environ.items() if name != "DATABASE_URL"
    }
    if dsn is not None:
        environment["DATABASE_URL"] = dsn
    path = [str(ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(part for part in path if part)
    return subprocess.run(
        [sys.executable, program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
