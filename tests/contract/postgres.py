"""A real PostgreSQL for the tests: started once for a session, a fresh database for each test.

It listens on a free port of 127.0.0.1, keeps its socket and data in a directory of its own, and is stopped by
its own process ID. PostgreSQL refuses to run as root, so under root it runs as an unprivileged user.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

START_DEADLINE_S = 30.0


class Server:
    def __init__(self, port: int, user: str) -> None:
        self._port = port
        self._user = user

    def new_database(self) -> str:
        """The URL of a database that nobody used before."""
        name = f"ledger_{uuid.uuid4().hex}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return self._url(name)

    def drop_database(self, url: str) -> None:
        name = url.rpartition("/")[2]
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _url(self, database: str) -> str:
        return f"postgresql://{self._user}@127.0.0.1:{self._port}/{database}"


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    user = _unprivileged_user()
    home = Path(tempfile.mkdtemp(prefix="ingestd-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(home, user)
        data = home / "data"
        options = ["--no-sync", "--auth=trust", f"--username={user}", "--encoding=UTF8"]
        _run(user, [_binary("initdb"), "--pgdata", str(data), "--locale=C.UTF-8", *options])
        yield from _serve(user, home, data)
    finally:
        shutil.rmtree(home)


def _serve(user: str, home: Path, data: Path) -> Iterator[Server]:
    port = _free_port()
    settings = ["-h", "127.0.0.1", "-p", str(port), "-k", str(home), "-c", "fsync=off"]
    command = [*_as_user(user), _binary("postgres"), "-D", str(data), *settings]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log)
    try:
        server = Server(port, user)
        _wait_until_it_answers(server, process, home / "log")
        yield server
    finally:
        process.send_signal(signal.SIGINT)  # fast shutdown
        process.wait(timeout=START_DEADLINE_S)


def _wait_until_it_answers(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            server.drop_database(server.new_database())
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.05)


def _binary(name: str) -> str:
    candidates = [Path(found)] if (found := shutil.which(name)) else []
    candidates += sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    if not candidates:
        pytest.fail(f"{name} was not found in PATH or /usr/lib/postgresql: install the package postgresql")
    return str(candidates[0])


def _unprivileged_user() -> str:
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _as_user(user: str) -> list[str]:
    if os.geteuid() != 0:
        return []
    entry = pwd.getpwnam(user)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]


def _run(user: str, command: list[str]) -> None:
    done = subprocess.run([*_as_user(user), *command], cwd="/", capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
