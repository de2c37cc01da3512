"""The commands on the pages exist, with the options that they are given."""

from __future__ import annotations

import re
import shlex

import pytest

from adaptive_backfill.cli import main
from tests.docs.pages import ROOT, Block, blocks, pages

COMMANDS = [
    (block, line.removeprefix("$ ").partition(" #")[0].strip())
    for page in pages()
    for block in blocks(page, "console", "sh", "bash")
    for line in block.text.splitlines()
    if line.startswith("$ ")
]
OURS = [(block, line) for block, line in COMMANDS if "adaptive-backfill " in line]
PROGRAMS = [
    (block, file)
    for block, line in COMMANDS
    for file in re.findall(r"\b(?:examples|benchmarks)/\w+\.py\b", line)
]


def _id(value: object) -> str:
    return str(value)


@pytest.mark.parametrize(("block", "line"), OURS, ids=_id)
def test_a_command_is_one_of_ours(
    block: Block, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(line.rpartition("adaptive-backfill ")[2])

    status = main([words[0], "--help"])

    said = capsys.readouterr().out
    options = [word for word in words if word.startswith("--")]
    assert status == 0
    assert [option for option in options if option not in said] == []


@pytest.mark.parametrize(("block", "file"), PROGRAMS, ids=_id)
def test_a_program_is_there(block: Block, file: str) -> None:
    assert (ROOT / file).is_file()
