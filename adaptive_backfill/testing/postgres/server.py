"""Starts, stops and crashes a PostgreSQL server."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from adaptive_backfill.testing.postgres.account import Account
from adaptive_backfill.testing.postgres.binaries import (
    Installation,
    ServerUnavailable,
    installation,
)
from adaptive_backfill.testing.postgres.data import initialise
from adaptive_backfill.testing.postgres.home import Home, temporary_home
from adaptive_backfill.testing.postgres.postmaster import (
    children,
    free_port,
    is_ready,
)

_SECONDS_TO_START = 30.0
_SECONDS_TO_STOP = 5.0
_SECONDS_BETWEEN_LOOKS = 0.01
_SECONDS_BETWEEN_TRIES = 0.1

_PRELOAD = "shared_preload_libraries"
_DEFAULTS = {"fsync": "off", _PRELOAD: "pg_stat_statements"}

# What the log says when the start is worth another try.
_NO_PRELOAD = 'could not access file "pg_stat_statements"'
_PORT_TAKEN = "Address already in use"
# A server on the same data was killed, or its owner was, and is not quite gone yet.
_NOT_GONE_YET = (
    'lock file "postmaster.pid" already exists',
    "pre-existing shared memory block",
)


class Server:
    """A PostgreSQL server of our own; made by `temporary_server`.

    Its methods take some hundred milliseconds and block: call them from async code
    by `asyncio.to_thread`. Not for use by two threads at once.

    Attributes:
        host: Always 127.0.0.1.
        port: Stays the same over `stop`, `kill`, `restart` and `start`.
        user: The superuser; it has no password.
        bin: The folder of `initdb` and `postgres`.
        version: As the server's own `server_version_num`: 150018 is 15.18.
        data: The data directory.
    """

    host = "127.0.0.1"
    user = "postgres"

    def __init__(
        self,
        programs: Installation,
        home: Home,
        *,
        data: Path,
        settings: Mapping[str, str],
    ) -> None:
        self.bin = programs.bin
        self.version = programs.version
        self.data = data
        self.port = free_port(self.host)
        self._home = home
        self._defaults = dict(_DEFAULTS)
        self._settings = dict(settings)
        self._port_was_used = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the postmaster, or None while it does not run."""
        process = self._running()
        return process.pid if process else None

    def dsn(self, database: str = "postgres", user: str | None = None) -> str:
        """Return the address of *database*, for *user* or else the superuser."""
        who, what = quote(user or self.user, safe=""), quote(database, safe="")
        return f"postgresql://{who}@{self.host}:{self.port}/{what}"

    def start(self) -> None:
        """Start on the data that is there; does nothing while it runs.

        Returns when connections are accepted: after a `kill`, when it has recovered.

        Raises:
            ServerUnavailable: It ended, or was not ready in 30 s. The message has
                the end of the log.
        """
        deadline = time.monotonic() + _SECONDS_TO_START
        while not self._running():
            self._process = self._home.start(self._command())
            if self._is_ready_by(deadline):
                self._port_was_used = True
                return
            if time.monotonic() > deadline or not self._is_worth_another_try():
                raise ServerUnavailable(
                    self._home.problem(f"The server on {self.data} did not start.")
                )

    def stop(self) -> None:
        """Stop, breaking all connections, and keep the data.

        Does nothing while it is stopped. What has not ended after 5 s is told to
        shut down immediately, and 5 s later it is killed.
        """
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if process := self._running():
                process.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_SECONDS_TO_STOP)
        self._home.ended()

    def restart(self) -> None:
        """Stop, and start again on the same data and port."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Crash: SIGKILL the server wherever it is, and keep the data.

        Clients see their connections reset without a word. `start` then recovers
        what was committed. Where there is no `/proc`, a backend that is at work ends
        only when it next waits for its client, and may commit before that.
        """
        if process := self._running():
            # Held still first, so that it starts no backend that is not seen here.
            process.send_signal(signal.SIGSTOP)
            for child in children(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            process.kill()
            process.wait()
        self._home.ended()

    def _running(self) -> subprocess.Popen[bytes] | None:
        process = self._process
        return process if process and process.poll() is None else None

    def _command(self) -> list[str | Path]:
        ours = {
            "port": str(self.port),
            "listen_addresses": self.host,
            "unix_socket_directories": str(self._home.folder),
        }
        command: list[str | Path] = [self.bin / "postgres", "-D", self.data]
        for name, value in (self._defaults | self._settings | ours).items():
            command += ["-c", f"{name}={value}"]
        return command

    def _is_ready_by(self, deadline: float) -> bool:
        """Wait; False when it ended, also when we ended it at the *deadline*."""
        while process := self._running():
            if is_ready(self.data, process.pid):
                return True
            if time.monotonic() > deadline:
                self.kill()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        self._home.ended()
        return False

    def _is_worth_another_try(self) -> bool:
        log = self._home.log()
        if _NO_PRELOAD in log:
            return self._defaults.pop(_PRELOAD, None) is not None
        if _PORT_TAKEN in log and not self._port_was_used:
            self.port = free_port(self.host)
            return True
        time.sleep(_SECONDS_BETWEEN_TRIES)
        return any(sign in log for sign in (_PORT_TAKEN, *_NOT_GONE_YET))


@contextmanager
def temporary_server(
    *,
    bin: Path | None = None,
    settings: Mapping[str, str] | None = None,
    data: Path | None = None,
) -> Iterator[Server]:
    """Run a PostgreSQL server for the length of the block.

    Anybody on this machine can connect to it as its superuser, so keep nothing in
    it. It does not `fsync`: data outlives a crash of the server (`Server.kill`), but
    not one of the machine.

    Args:
        bin: The folder of `initdb` and `postgres`. By default what the environment
            variable `ADAPTIVE_BACKFILL_PG_BIN` says, or else the first of
            `find_binaries`.
        settings: Of the server, by name, on top of `fsync=off` and
            `shared_preload_libraries=pg_stat_statements` (which is left out where
            it is not installed). Ports and sockets are the launcher's own.
        data: A data directory to keep. It is made if it is not there, and a later
            block goes on with what this one left, also when this process is killed.
            By default it is temporary and goes with the block.

    Raises:
        ServerUnavailable: There is no PostgreSQL, or it would not start. Says what
            was tried, or how the log ended, and what to do.

    Example:
        with temporary_server(settings={"max_connections": "20"}) as server:
            connection = await asyncpg.connect(server.dsn())
    """
    account = Account.unprivileged()
    programs = installation(bin, account)
    with temporary_home(account) as home:
        if not programs.reachable:
            programs = programs.copied_to(home.folder, account)
        place = data.resolve() if data else home.folder / "data"
        if not (place / "PG_VERSION").exists():
            initialise(place, programs, home, superuser=Server.user)
        server = Server(programs, home, data=place, settings=settings or {})
        server.start()
        try:
            yield server
        finally:
            _end(server)


def _end(server: Server) -> None:
    server.stop()
    # One that was killed has left shared memory in the system, and its lock file;
    # only to start it once more cleans up.
    if (server.data / "postmaster.pid").exists():
        with suppress(ServerUnavailable):
            server.start()
        server.stop()
