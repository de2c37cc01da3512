"""The rules of the code that tools can check."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import adaptive_backfill

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "adaptive_backfill"
FILES = sorted(PACKAGE.rglob("*.py"))

LINES = 400

GUARDED = {
    "_core/saying.py": "the `__str__` of a user's value",
    "_engine/attempt.py": "one attempt",
    "_engine/outside.py": "hooks, checks, stores: whatever users write",
    "_engine/sqlite_thread.py": "the one sink: hands an error to whoever waits for it",
    "cli/loading.py": "imports the user's module, which may raise anything",
    "telemetry.py": "one telemetry handler",
}
"""Where `except Exception` may stand, and why."""

HEAVY = ["asyncpg", "fastapi", "click", "opentelemetry", "prometheus_client"]


def where(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def exported(module: ast.Module) -> list[str] | None:
    """Return what `__all__` of *module* lists, or `None` where it has none."""
    for node in module.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = ast.literal_eval(node.value)
            assert isinstance(names, list)
            return names
    return None


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_floors_import_only_from_the_floors_beneath_them() -> None:
    checked = python(
        "-c", "from importlinter.cli import lint_imports_command as lint; lint()",
        "--no-cache",
    )  # fmt: skip

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "0 broken" in checked.stdout


def test_the_door_exports_all_that_it_imports_in_order() -> None:
    door = tree(PACKAGE / "__init__.py")
    imported = [
        alias.asname or alias.name
        for node in door.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    ]

    names = exported(door)

    assert names is not None
    assert sorted(names) == sorted(imported)
    assert names == _sorted(names)
    assert [name for name in names if not hasattr(adaptive_backfill, name)] == []


@pytest.mark.parametrize(
    "path", [path for path in FILES if exported(tree(path)) is not None], ids=where
)
def test_what_a_module_exports_is_there_once(path: Path) -> None:
    module = tree(path)

    names = exported(module) or []

    assert set(names) - _bound(module) == set()
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "path", [path for path in FILES if where(path).startswith("_")], ids=where
)
def test_a_module_of_a_lower_floor_says_what_it_exports(path: Path) -> None:
    module = tree(path)
    defines = any(
        isinstance(node, ast.FunctionDef | ast.ClassDef) for node in module.body
    )

    assert (exported(module) is not None) or not defines


def _sorted(names: list[str]) -> list[str]:
    """Return *names* in the order that ruff keeps: constants, classes, the rest."""

    def rank(name: str) -> tuple[int, str]:
        if name.isupper():
            return 0, name
        return (1 if name[:1].isupper() else 2), name

    return sorted(names, key=rank)


def _bound(module: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = python(
        "-c",
        "import sys, adaptive_backfill; "
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))",
    )

    assert (loaded.stdout, loaded.stderr) == ("[]\n", "")


def test_the_package_is_typed_for_its_users() -> None:
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.parametrize("path", FILES, ids=where)
def test_a_file_says_what_it_is_for_and_stays_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    module = tree(path)

    assert len(text.splitlines()) <= LINES
    assert ast.get_docstring(module)
    if len(module.body) > 1:
        assert ast.unparse(module.body[1]) == "from __future__ import annotations"


@pytest.mark.parametrize("path", FILES, ids=where)
def test_no_warning_of_a_linter_is_silenced(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert re.findall(r"#.*\b(?:noqa|type:\s*ignore|pragma)\b", text) == []


@pytest.mark.parametrize("path", FILES, ids=where)
def test_nothing_is_pickled_left_open_or_put_off(path: Path) -> None:
    module = tree(path)
    imported = {
        name.partition(".")[0]
        for node in ast.walk(module)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    }

    assert imported & {"pickle", "cPickle", "dill", "cloudpickle", "marshal"} == set()
    assert "TYPE_CHECKING" not in _bound(module)
    assert re.findall(r"\b(?:TODO|FIXME|XXX)\b", path.read_text("utf-8")) == []


def caught(path: Path) -> set[str]:
    """Return the names of the exceptions that *path* catches."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            names |= {f"suppress({ast.unparse(each)})" for each in node.args}
        if not isinstance(node, ast.ExceptHandler):
            continue
        kind = node.type
        kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
        names |= {"" if each is None else ast.unparse(each) for each in kinds}
    return names


def test_exceptions_of_every_kind_are_caught_in_a_few_places_only() -> None:
    found = [where(path) for path in FILES if "Exception" in caught(path)]

    assert found == [place for place in GUARDED if (PACKAGE / place).exists()]


def test_nobody_catches_just_anything() -> None:
    everything = {"", "BaseException", "suppress(Exception)", "suppress(BaseException)"}

    assert [where(path) for path in FILES if caught(path) & everything] == []


@pytest.mark.parametrize(
    "path", [path for path in FILES if where(path).startswith("_")], ids=where
)
def test_no_function_of_a_lower_floor_imports_anything(path: Path) -> None:
    inner = [
        ast.unparse(node)
        for function in ast.walk(tree(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]

    assert inner == []


@pytest.mark.parametrize("word", ["utils", "helpers", "manager", "misc", "common"])
def test_no_file_is_named_by_a_word_that_says_nothing(word: str) -> None:
    assert [where(path) for path in FILES if word in path.stem] == []
