"""The pages that users read, and the code blocks in them.

A comment above a block tells the tests what to expect of it, and no reader sees it:

* ``<!-- test: ends halted -->``: its runs end so; every run ends ``done`` otherwise;
* ``<!-- test: raises ConfigurationError -->``: it raises.

A ``text`` block that follows a ``python`` block is what that one prints, or the message
of what it raises; ``...`` in it stands for anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^```(\w*)\s*$")
_COMMENT = re.compile(r"^<!-- test: (\w+) ([\w, ]+) -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: The file, relative to the root of the project.
        line: The number of its first line of code, from 1.
        language: The word behind the fence.
        text: The code.
        ends: How the runs in it end.
        raises: The name of the exception that it raises.
        prints: What it prints, where the page says so.
    """

    page: Path
    line: int
    language: str
    text: str
    ends: tuple[str, ...] = ("done",)
    raises: str | None = None
    prints: str | None = None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Return every page, relative to the root."""
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    return sorted(file.relative_to(ROOT) for file in files)


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the blocks of *page* in these *languages*, in order."""
    found = list(_fenced(page, (ROOT / page).read_text().splitlines()))
    return [block for block in found if block.language in languages]


def _fenced(page: Path, lines: list[str]) -> Iterator[Block]:
    number, wanted = 0, {}
    while number < len(lines):
        line = lines[number]
        number += 1
        if comment := _COMMENT.match(line):
            wanted[comment[1]] = comment[2]
        elif fence := _FENCE.match(line):
            end = lines.index("```", number)
            yield Block(
                page,
                number + 1,
                fence[1],
                "\n".join(lines[number:end]) + "\n",
                tuple(wanted.get("ends", "done").split(", ")),
                wanted.get("raises"),
                _printed(lines[end + 1 :]),
            )
            number, wanted = end + 1, {}


def _printed(after: list[str]) -> str | None:
    rest = "\n".join(after).lstrip("\n")
    if not rest.startswith("```text\n"):
        return None
    return rest.removeprefix("```text\n").partition("```")[0]
