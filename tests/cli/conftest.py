"""A folder with a project's module in it, and the commands run in that folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from adaptive_backfill.cli import main
from tests.cli.project import MODULE, SOURCE


class Answer(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with the module `jobs`; what is imported is forgotten."""
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        path = getattr(sys.modules[name], "__file__", None)
        if path and Path(path).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.fixture
def command(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs a command in the project's folder."""

    def run(*argv: str) -> Answer:
        code = main(argv)
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return run
