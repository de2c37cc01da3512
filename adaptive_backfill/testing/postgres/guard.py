"""Cleans up after an owner that could not: one that was killed.

A shell waits at the end of a pipe that only we hold open. The kernel closes it when
we end, however we end; the shell then stops the server and removes the folder. A
signal at the parent's death (`PR_SET_PDEATHSIG`) would not do: it exists on Linux
only, comes when the *thread* that started the server ends, and removes nothing.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

# Each line read is the process group to end; an empty one, that there is none. The
# group, so that the children of initdb go with it. Three seconds for each signal:
# a fast shutdown, an immediate one, and no more questions. Its leader is an orphan by
# then, and in a container there may be nobody to bury one: a zombie is as good as gone.
_SCRIPT = """
lives() {
    kill -0 "-$1" || return 1
    state=
    read -r pid name state rest < "/proc/$1/stat"
    [ "$state" != Z ]
}
group=
while read -r line; do group=$line; done
if [ -n "$group" ]; then
    for signal in INT QUIT KILL; do
        lives "$group" || break
        kill -$signal "-$group"
        tries=60
        while [ $tries -gt 0 ] && lives "$group"; do
            tries=$((tries - 1))
            sleep 0.05
        done
    done
fi
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
"""


class Guard:
    """Knows what to end when its owner is gone; made by `guarded`."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe

    def watch(self, group: int | None) -> None:
        """Say which process group is to be ended, or that there is none any more."""
        # Should the shell have been killed, then nobody is left to be told; what
        # runs goes on all the same.
        with suppress(BrokenPipeError):
            self._pipe.write(f"{group or ''}\n".encode())


@contextmanager
def guarded(folder: Path) -> Iterator[Guard]:
    """Remove *folder* when the block ends, or when this process does.

    A process forked without an exec (`os.fork`, `multiprocessing` with "fork") holds
    the pipe open too: the guard then acts when that one has ended as well.
    """
    with subprocess.Popen(
        ["/bin/sh", "-c", _SCRIPT, "sh", folder],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,
    ) as shell:
        assert shell.stdin is not None
        yield Guard(shell.stdin)
