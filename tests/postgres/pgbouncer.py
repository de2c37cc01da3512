"""A real PgBouncer in transaction mode in front of the server of the tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from adaptive_backfill.testing.postgres import Server
from adaptive_backfill.testing.postgres.account import Account
from adaptive_backfill.testing.postgres.home import Home, temporary_home
from adaptive_backfill.testing.postgres.postmaster import free_port

_HOST = "127.0.0.1"
_SECONDS_TO_START = 30.0
_SECONDS_TO_STOP = 5.0

# Where Debian has it, which is not on everybody's PATH.
_FOLDERS = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))

_SETTINGS = """
[databases]
* = host={host} port={server}

[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = {size}
"""


@contextmanager
def transaction_pooler(server: Server, *, size: int = 2) -> Iterator[int]:
    """Run a PgBouncer with *size* server connections a database; give its port."""
    program = shutil.which("pgbouncer", path=_FOLDERS)
    if program is None:
        pytest.fail(
            "There is no pgbouncer: install the Debian package `pgbouncer` "
            "(apt-get install pgbouncer), or what has it on your system."
        )
    account = Account.unprivileged()
    with temporary_home(account) as home:
        port = free_port(_HOST)
        settings = _settings(home.folder, server, port, size)
        process = home.start([program, settings])
        try:
            _wait_for(process, port, home)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            home.ended()


def through(port: int, database: str) -> str:
    """Return the DSN of *database* by way of the pooler on *port*."""
    parts = urlsplit(database)
    return parts._replace(netloc=f"{parts.username}@{_HOST}:{port}").geturl()


def _settings(folder: Path, server: Server, port: int, size: int) -> Path:
    users, settings = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{server.user}" ""\n')
    settings.write_text(
        _SETTINGS.format(
            host=_HOST, server=server.port, port=port, users=users, size=size
        )
    )
    return settings


def _wait_for(process: subprocess.Popen[bytes], port: int, home: Home) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((_HOST, port), timeout=1.0).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    pytest.fail(home.problem("PgBouncer did not start."))
