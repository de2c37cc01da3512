"""What a run is called: by its class, never by its base, in a script as elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adaptive_backfill import DONE, Answer, Backfill, Checkpoint, MemoryStore, Next
from adaptive_backfill.testing import capture
from tests.dsl.bodies import batch, defined

SCRIPT = """
import asyncio
from adaptive_backfill import DONE, Backfill

class Users(Backfill):
    async def handle_batch(self, state):
        return DONE

class Named(Users):
    name = f"{__name__}.users"

class Other(Users):
    name = "a.__main__.b"

async def main():
    for kind in (Users, Named, Other):
        print((await kind.run()).name)

if __name__ == "__main__":
    asyncio.run(main())
"""


class Users(Backfill[int]):
    async def handle_batch(self, state: int) -> Answer[int]:
        return DONE


class Named(Users):
    name = "users_v2"


class Nested:
    class Users(Users):
        pass


@pytest.mark.asyncio
async def test_a_run_is_named_by_module_and_class() -> None:
    assert (await Users.run()).name == f"{__name__}.Users"
    assert (await Nested.Users.run()).name == f"{__name__}.Nested.Users"


@pytest.mark.asyncio
async def test_a_declared_or_given_name_is_the_runs_name() -> None:
    assert (await Named.run()).name == "users_v2"
    assert (await Named.run(name="once")).name == "once"


@pytest.mark.asyncio
async def test_a_name_is_not_inherited() -> None:
    class Child(Named):
        pass

    assert (await Child.run()).name == f"{__name__}.{Child.__qualname__}"


@pytest.mark.asyncio
async def test_a_name_of_a_mixin_is_not_taken_over_either() -> None:
    class Mixin:
        name = "mixin"

    made = defined({"handle_batch": batch, "__module__": "jobs"}, Mixin, Backfill)

    assert (await made.run()).name == "jobs.Users"


@pytest.mark.asyncio
async def test_siblings_with_one_checkpoint_do_not_overwrite_one_another() -> None:
    store = MemoryStore()

    class Base(Backfill[int]):
        initial_state = 0
        max_batches = 1
        checkpoint = Checkpoint(store)

        async def handle_batch(self, state: int) -> Answer[int]:
            return Next(state + 1)

    class One(Base):
        name = "one"

    class Two(Base):
        name = "two"
        initial_state = 10

    await One.run()
    await Two.run()

    one, two = await store.load("one"), await store.load("two")
    assert one is not None
    assert two is not None
    assert (one.state, two.state) == (1, 11)


@pytest.mark.asyncio
async def test_events_go_by_the_runs_name_and_checkpoints_by_their_own() -> None:
    store = MemoryStore()

    async def handle_batch(state: Any) -> Answer[Any]:
        return Next(1)

    with capture() as events:
        await Named.run(
            handle_batch=handle_batch,
            max_batches=1,
            checkpoint=Checkpoint(store, "kept"),
        )

    assert {event.metadata["backfill"] for event in events} == {"users_v2"}
    assert await store.load("kept") is not None
    assert await store.load("users_v2") is None


def test_a_class_imported_from_a_packages_main_is_named_by_the_package() -> None:
    made = defined({"handle_batch": batch, "__module__": "app.__main__"})
    named = defined(
        {"handle_batch": batch, "__module__": "app.__main__", "name": "app.__main__.x"}
    )

    assert made._definition.values["name"] == "app.Users"
    assert named._definition.values["name"] == "app.x"


def names(folder: Path, *arguments: str) -> list[str]:
    root = str(Path(__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PYTHONPATH": root, "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return [line for line in ended.stdout.splitlines() if "backfill=" not in line]


def test_a_script_is_named_by_its_files_stem(tmp_path: Path) -> None:
    (tmp_path / "fill_users.py").write_text(SCRIPT)

    assert names(tmp_path, "fill_users.py") == [
        "fill_users.Users",
        "fill_users.users",
        "a.__main__.b",
    ]


def test_a_module_run_by_name_is_named_by_the_module(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "jobs.py").write_text(SCRIPT)

    assert names(tmp_path, "-m", "app.jobs")[:2] == [
        "app.jobs.Users",
        "app.jobs.users",
    ]


def test_a_package_run_by_name_is_named_by_the_package(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    (tmp_path / "app" / "__main__.py").write_text(SCRIPT)

    assert names(tmp_path, "-m", "app")[:2] == ["app.Users", "app.users"]


def test_without_any_file_main_stays_main(tmp_path: Path) -> None:
    assert names(tmp_path, "-c", SCRIPT)[:2] == ["__main__.Users", "__main__.users"]
