"""The code on the pages passes mypy, as it would in a reader's editor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mypy import api

from tests.docs.pages import ROOT, Block, blocks, pages
from tests.docs.world import World

# The long pages leave annotations out where they would hide what is being shown.
_LENIENT = ["--allow-untyped-defs", "--allow-incomplete-defs", "--allow-untyped-calls"]


PAGES = [page for page in pages() if blocks(page, "python")]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_blocks_of_a_page_pass_mypy(page: Path, tmp_path: Path) -> None:
    found = [block for block in blocks(page, "python") if block.raises is None]
    module = tmp_path / f"{page.stem.lower()}.py"
    module.write_text(_as_a_module(found))
    leniency = [] if page.name == "README.md" else _LENIENT

    said, _, status = api.run(
        [
            "--strict",
            "--config-file=",
            f"--cache-dir={ROOT / '.mypy_cache' / 'pages'}",
            *leniency,
            str(module),
        ]
    )

    assert status == 0, said


@pytest.fixture(autouse=True)
def package_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let mypy find the package and these tests from wherever it is started."""
    monkeypatch.setenv("MYPYPATH", os.fspath(ROOT))


def _as_a_module(page_blocks: list[Block]) -> str:
    """Return a module in which every line of code has the number it has in the page.

    The blocks are the body of one coroutine, because they await.
    """
    names = "; ".join(f"{name} = world.{name}" for name in World.NAMES)
    lines = [
        "from tests.docs.world import World",
        "async def page(world: World) -> None:",
        f"    {names}",
    ]
    for block in page_blocks:
        lines += [""] * (block.line - 1 - len(lines))
        lines += [f"    {line}" for line in block.text.splitlines()]
    return "\n".join(lines) + "\n"
