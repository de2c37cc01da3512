"""What an UPDATE sets, read from its text.

The server is not asked, because it tells the columns of a plan without their names.
Rule: what cannot be read is `None`, never a guess.
"""

from __future__ import annotations

import re

__all__ = ["set_columns"]

_TOKEN = re.compile(
    r"""
    (?P<skipped>\s+ | --[^\n]* | /\*.*?\*/)
  | (?P<text>[eE]'(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*'
           | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
  | "(?P<quoted>(?:[^"]|"")+)"
  | (?P<word>[A-Za-z_\x80-\U0010ffff][\w$]*)
  | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)

_ENDS = frozenset({"where", "from", "returning"})


def set_columns(statement: str) -> frozenset[str] | None:
    """Return the columns that an UPDATE sets; `None` where it is no such statement."""
    found: set[str] = set()
    seen_set = targets = False
    depth, before = 0, ""
    for kind, text in _tokens(statement):
        if kind == "word" and depth == 0 and not seen_set:
            seen_set = targets = text == "set"
        elif not seen_set:
            depth += _deeper(text)
        elif kind == "word" and depth == 0 and text in _ENDS and before != "distinct":
            break
        elif targets and kind in ("word", "quoted"):
            found.add(text)
        elif text == "=" and depth == 0:
            targets = False
        elif text == "," and depth == 0:
            targets = True
        else:
            depth += _deeper(text)
        before = text
    return frozenset(found) or None


def _deeper(text: str) -> int:
    return {"(": 1, ")": -1}.get(text, 0)


def _tokens(statement: str) -> list[tuple[str, str]]:
    tokens = []
    for match in _TOKEN.finditer(statement):
        kind = match.lastgroup or ""
        if kind == "quoted":
            tokens.append((kind, match["quoted"].replace('""', '"')))
        elif kind in ("word", "sign"):
            tokens.append((kind, match[0].lower()))
    return tokens
