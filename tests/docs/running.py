"""Run the blocks of one page, in order, in one namespace, against the world."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re
import sys
from types import CodeType, ModuleType
from typing import Any, TypeGuard

import asyncpg
from fastapi import FastAPI

from adaptive_backfill import Backfill, telemetry
from adaptive_backfill.testing import capture
from tests.docs.pages import ROOT, Block
from tests.docs.serving import serve
from tests.docs.world import World

_SECONDS_A_RUN = 20.0


class RunningPage:
    """One page under test.

    A block goes on where the ones above it left off, as the reader does; so each is
    run once, after all that stand above it.
    """

    def __init__(self, page_blocks: list[Block], dsn: str) -> None:
        self._left = list(page_blocks)
        self._broken: Block | None = None
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._handlers = telemetry.attached()
        # A real module, so that a page's dataclasses can be found by name.
        name = page_blocks[0].page.stem.lower().replace("-", "_")
        self._module = ModuleType(f"page_{name}")
        sys.modules[self._module.__name__] = self._module
        self._world: World = self._runner.run(_open(dsn))
        vars(self._module).update(self._world.names())

    def close(self) -> None:
        for handler in set(telemetry.attached()) - set(self._handlers):
            telemetry.detach(handler)
        self._runner.run(self._world.pool.close())
        self._runner.close()
        del sys.modules[self._module.__name__]

    def run(self, block: Block) -> None:
        """Run *block*, and whatever stands above it and was not run yet.

        Raises:
            AssertionError: It ended, or printed, other than the page says; or a block
                above it is broken.
        """
        while self._left and self._left[0].line <= block.line:
            if self._broken:
                msg = f"{self._broken}, above this block, is broken"
                raise AssertionError(msg)
            self._run(self._left.pop(0))

    def _run(self, block: Block) -> None:
        self._runner.run(self._world.begin_anew())
        known = set(map(id, vars(self._module).values()))
        printed = io.StringIO()
        with capture("**") as events, contextlib.redirect_stdout(printed):
            self._broken = block
            raised = self._execute(block)
            self._broken = None
            self._use(self._defined(known), events)
        if raised != block.raises:
            msg = f"{block} raised {raised}, not {block.raises}"
            raise AssertionError(msg)
        _check_endings(block, _stops(events))
        said = printed.getvalue()
        if block.prints is not None and not _matches(said, block.prints):
            msg = f"{block} prints\n{said}\nand not\n{block.prints}"
            raise AssertionError(msg)

    def _use(self, defined: list[object], events: list[telemetry.Event]) -> None:
        """Run what a block defines, and does not run itself."""
        begun = {event.metadata["backfill"] for event in events}
        for value in defined:
            if isinstance(value, FastAPI):
                self._runner.run(serve(value, lambda: bool(_stops(events))))
            elif (
                self._is_of_the_page(value)
                and value._definition.values["name"] not in begun
            ):
                self._runner.run(self._run_quickly(value))

    def _execute(self, block: Block) -> str | None:
        code = _compiled(block)
        try:
            made = eval(code, vars(self._module))
            if inspect.iscoroutine(made):
                self._runner.run(made)
        except Exception as error:
            if type(error).__name__ != block.raises:
                raise
            print(error)
            return type(error).__name__
        return None

    def _defined(self, known: set[int]) -> list[object]:
        return [
            value for value in vars(self._module).values() if id(value) not in known
        ]

    def _is_of_the_page(self, value: object) -> TypeGuard[type[Backfill[Any]]]:
        # TableBackfill, which a page imports, is no more to be run than Backfill is.
        return _is_backfill(value) and value.__module__ == self._module.__name__

    async def _run_quickly(self, backfill: type[Backfill[Any]]) -> None:
        definition = backfill._definition
        overrides: dict[str, Any] = {
            name: vars(self._module)[name] for name in definition.required
        }
        # It must leave nothing behind that the blocks below would find.
        overrides["checkpoint"] = None
        if definition.kind == "batch":
            overrides["delay_between_batches"] = 0
            # What the page says works at any hour; that hours are well-formed was
            # checked when the class was defined.
            overrides["windows"] = None
        async with asyncio.timeout(_SECONDS_A_RUN):
            await backfill.run(**overrides)


async def _open(dsn: str) -> World:
    pool = await asyncpg.create_pool(
        dsn, min_size=1, max_size=5, timeout=10, command_timeout=30
    )
    world = World(pool)
    await world.create()
    return world


def _is_backfill(value: object) -> TypeGuard[type[Backfill[Any]]]:
    return (
        isinstance(value, type)
        and issubclass(value, Backfill)
        and value._definition.kind is not None
    )


def _check_endings(block: Block, stops: list[telemetry.Event]) -> None:
    outcomes = {str(event.metadata["outcome"]) for event in stops}
    wanted = set(block.ends)
    if outcomes <= wanted and (outcomes == wanted or wanted == {"done"}):
        return
    # An error's traceback leads to the line of the page.
    errors = [event.metadata.get("error") for event in stops]
    cause = next((each for each in errors if isinstance(each, BaseException)), None)
    msg = f"{block}: runs ended {sorted(outcomes)}, not {sorted(wanted)}"
    raise AssertionError(msg) from cause


def _stops(events: list[telemetry.Event]) -> list[telemetry.Event]:
    return [event for event in events if event.name.endswith(".stop")]


def _compiled(block: Block) -> CodeType:
    """Return code whose tracebacks point into the page."""
    file = str(ROOT / block.page)
    tree = ast.parse(block.text, file)
    ast.increment_lineno(tree, block.line - 1)
    code: CodeType = compile(
        tree,
        file,
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,  # this file's `from __future__` is not the reader's
    )
    return code


def _matches(printed: str, wanted: str) -> bool:
    pattern = ".*?".join(map(re.escape, wanted.split("...")))
    return re.fullmatch(pattern, printed, re.DOTALL) is not None
