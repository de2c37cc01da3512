"""The command line: `adaptive-backfill`.

The door is open without click and rich, so that it can say what to install.

`commands` are the commands; `loading`, `values` and `pools` make a run out of words;
`running` runs it, heard by `signals` and shown by `screen`, `logs` and `ending`;
`stores` and `outside` look at runs from outside; `demo` is the newcomer's first minute.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]

_MISSING = (
    'The command line needs two more packages: pip install "adaptive-backfill[cli]"\n'
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that *argv*, or else the process's arguments, asks for.

    Returns:
        The exit code: see `adaptive_backfill.cli.codes`.
    """
    try:
        from adaptive_backfill.cli.commands import command_line
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("click", "rich"):
            raise
        sys.stderr.write(_MISSING)
        return 2
    return command_line(sys.argv[1:] if argv is None else list(argv))
