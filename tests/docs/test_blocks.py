"""Every Python block of the pages runs, and does what the page says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
import structlog

from adaptive_backfill.testing.postgres import Server
from tests.docs.pages import Block, blocks, pages
from tests.docs.running import RunningPage

PAGES = {page: blocks(page, "python") for page in pages()}
BLOCKS = [block for page in PAGES.values() for block in page]


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Keep the library's own log lines out of what the blocks print."""
    critical = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=critical)
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def page_of(server: Server) -> Iterator[Callable[[Path], RunningPage]]:
    """Open each page once, on a database of its own."""
    running: dict[Path, RunningPage] = {}

    def open_page(page: Path) -> RunningPage:
        if page not in running:
            name = f"page_{len(running)}"
            _execute(server, f"CREATE DATABASE {name}")
            running[page] = RunningPage(PAGES[page], server.dsn(name))
        return running[page]

    yield open_page
    for each in running.values():
        each.close()


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_does_what_the_page_says(
    block: Block,
    page_of: Callable[[Path], RunningPage],
    folder_of: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder_of(block.page))

    page_of(block.page).run(block)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Give each page a working directory, for the files that it makes."""
    folders: dict[Path, Path] = {}

    def folder(page: Path) -> Path:
        if page not in folders:
            folders[page] = tmp_path_factory.mktemp(page.stem)
        return folders[page]

    return folder


def _execute(server: Server, statement: str) -> None:
    async def connect_and_execute() -> None:
        connection = await asyncpg.connect(server.dsn(), timeout=10)
        await connection.execute(statement, timeout=30)
        await connection.close()

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(connect_and_execute())
