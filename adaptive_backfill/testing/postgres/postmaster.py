"""What the operating system knows of servers: their ports, state and processes."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from adaptive_backfill.testing.postgres.binaries import ServerUnavailable

# Below 32768, where Linux begins to lend ports to outgoing connections: a client
# that reconnects in a loop to a server that is down would else be given the server's
# own port one day, and be connected to itself.
_PORTS = range(15_432, 32_768)
_PORTS_TO_TRY = 100

# Of `postmaster.pid`, counted from 0.
_LINE_OF_PID = 0
_LINE_OF_STATUS = 7


def free_port(host: str) -> int:
    """Return a port that nobody listens on; somebody may before you do."""
    for port in random.sample(_PORTS, _PORTS_TO_TRY):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((host, port))
            return port
    tried = f"{_PORTS_TO_TRY} ports of {host} were tried, and all are in use."
    raise ServerUnavailable(tried)


def is_ready(data: Path, pid: int) -> bool:
    """Whether the postmaster *pid* accepts connections, by its own account.

    `pg_ctl` looks there too. Better than to connect: whoever answers at the port may
    be the server of somebody else, who was quicker to take it.
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    # The file grows line by line, and after a crash it is that of the last server.
    if len(lines) <= _LINE_OF_STATUS or lines[_LINE_OF_PID] != str(pid):
        return False
    return lines[_LINE_OF_STATUS].strip() == "ready"


def children(pid: int) -> Iterator[int]:
    """Yield the process ids of the children of *pid*; none without a `/proc`."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            # After the name, which is in brackets and may hold anything: state, parent.
            parent = stat.read_bytes().rpartition(b")")[2].split()[1]
            if int(parent) == pid:
                yield int(stat.parent.name)
