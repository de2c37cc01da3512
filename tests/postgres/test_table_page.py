"""The page on tables tells of every option, with the default that it has."""

from __future__ import annotations

import re

from adaptive_backfill import Retry
from adaptive_backfill._core.options import OPTIONS
from adaptive_backfill.postgres._options import TABLE_OPTIONS
from tests.docs.pages import ROOT

_ROW = re.compile(r"^\| `(\w+)` \| .+ \| (.+) \|$", re.MULTILINE)

# In words, because they are no values that a reader would write.
_IN_WORDS = {
    "table": "has to be said",
    "key": "the primary key",
    "statement": "this, or `handle_rows`, has to be there",
    "pool": "one is opened for the run",
    "dsn": "`DATABASE_URL` of the environment",
    "checkpoint": "in the same database, by `name`",
}


def told() -> dict[str, str]:
    """The default of each option, as the page tells it."""
    page = (ROOT / "docs" / "table.md").read_text()
    section = page.partition("\n## Options\n")[2].partition("\n## ")[0]
    return dict(_ROW.findall(section))


def test_every_option_of_tables_is_told() -> None:
    own = {
        name
        for name, option in TABLE_OPTIONS.items()
        if name not in OPTIONS or option.default != OPTIONS[name].default
    }

    assert own | {"health_checks"} == set(told())


def test_each_default_is_the_one_told() -> None:
    values = {
        name: default.split(":")[0].strip("`")
        for name, default in told().items()
        if name not in _IN_WORDS
    }

    assert {name: told()[name] for name in _IN_WORDS} == _IN_WORDS
    assert {name: eval(value, {"Retry": Retry}) for name, value in values.items()} == {
        name: TABLE_OPTIONS[name].default for name in values
    }
