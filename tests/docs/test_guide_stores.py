"""The stores of the guide are stores."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from adaptive_backfill import Snapshot
from adaptive_backfill.testing.contracts import CheckpointStoreContract
from tests.docs.pages import blocks
from tests.docs.world import World


@pytest.mark.asyncio
class TestFileStore(CheckpointStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        return _class("FileStore")(tmp_path)


@pytest.mark.asyncio
class TestTableStore(CheckpointStoreContract):
    @pytest_asyncio.fixture
    async def store(self, pool: asyncpg.Pool) -> Any:
        await World(pool).create()
        return _class("TableStore")(pool)


def _class(name: str) -> Any:
    names = {"json": json, "Path": Path, "Snapshot": Snapshot, "asyncpg": asyncpg}
    for block in blocks(Path("docs/guide.md"), "python"):
        for node in ast.parse(block.text).body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                exec(ast.unparse(node), names)
                return names[name]
    msg = f"the guide has no class {name}"
    raise AssertionError(msg)
