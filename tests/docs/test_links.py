"""What the pages point to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, pages

_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", pages(), ids=str)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = _LINK.findall(_text(page))
    inside = [link for link in links if "://" not in link]

    broken = [link for link in inside if not _leads_somewhere(page, link)]

    assert not broken


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (ROOT / page.parent / path).resolve() if path else ROOT / page
    if not target.exists():
        return False
    return not anchor or anchor in _anchors(target)


def _anchors(page: Path) -> set[str]:
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in _HEADING.findall(_text(page))
    }


def _text(page: Path) -> str:
    return _FENCED.sub("", (ROOT / page).read_text())
