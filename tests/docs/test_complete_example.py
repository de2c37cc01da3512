"""The guide's complete example is the program in examples/."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks

PROGRAM = ROOT / "examples" / "complete.py"


@pytest.mark.parametrize("name", ["check_memory", "Tally", "UsersToV2", "BatchCounter"])
def test_the_guide_shows_what_the_example_runs(name: str) -> None:
    shown = [
        text
        for block in blocks(Path("docs/guide.md"), "python")
        if "class UsersToV2" in block.text
        for text in _definitions(block.text, name)
    ]

    assert shown == _definitions(PROGRAM.read_text(), name)


def _definitions(source: str, name: str) -> list[str | None]:
    return [
        ast.get_source_segment(source, node)
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name
    ]
