"""A daemon that is killed leaves no process behind; a daemon without privileges can start one."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.offload.processes import children_of, is_alive, until_gone

ROOT = Path(__file__).parents[3]

DAEMON = """
import asyncio, json, os, sys, time

sys.path.insert(0, sys.argv[1])
from tests.unit.offload.conftest import make_pool

async def main(pool):
    told = await asyncio.gather(*(pool.run({"do": "who"}, []) for _ in range(2)))
    work = [asyncio.create_task(pool.run({"do": "spin"}, []))] if "spin" in sys.argv else []
    await asyncio.sleep(0.1)
    copy = 0
    if "copy" in sys.argv:
        copy = os.fork()
        if copy == 0:
            time.sleep(3600)
    layers = sorted(pool.confinement)
    print(json.dumps({"workers": told, "copy": copy, "layers": layers, "notices": pool.notices}), flush=True)
    if "stay" in sys.argv:
        await asyncio.sleep(3600)
    await pool.aclose()

pool = make_pool(workers=2)
pool.start()
asyncio.run(main(pool))
"""


@contextmanager
def daemon(*words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    process = subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(ROOT), *words], stdout=subprocess.PIPE, text=True, cwd="/"
    )
    with process:
        assert process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            yield process, told
        finally:
            process.kill()


@pytest.mark.parametrize("words", [("stay",), ("stay", "spin")])
async def test_a_killed_daemon_leaves_no_process(words: tuple[str, ...]) -> None:
    with daemon(*words) as (process, told):
        (server,) = {worker["server"] for worker in told["workers"]}
        family = [server, *children_of(server)]
        assert len(family) == 3
        process.kill()
        for member in family:
            await until_gone(member)


async def test_a_copy_of_the_control_socket_in_another_process_keeps_nothing_alive() -> None:
    with daemon("stay", "copy") as (process, told):
        (server,) = {worker["server"] for worker in told["workers"]}
        family = [server, *children_of(server)]
        try:
            process.kill()
            for member in family:
                await until_gone(member)
            assert is_alive(told["copy"])
        finally:
            os.kill(told["copy"], signal.SIGKILL)


async def test_a_killed_fork_server_takes_its_workers_along() -> None:
    with daemon("stay", "spin") as (_, told):
        (server,) = {worker["server"] for worker in told["workers"]}
        family = children_of(server)
        os.kill(server, signal.SIGKILL)
        for member in family:
            await until_gone(member)


async def test_signals_for_the_daemon_do_not_end_jobs() -> None:
    with daemon("stay") as (_, told):
        (server,) = {worker["server"] for worker in told["workers"]}
        family = [server, *children_of(server)]
        for member in family:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(member, number)
        await asyncio.sleep(0.2)
        assert all(is_alive(member) for member in family)


NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def python_for_nobody() -> str | None:
    """An interpreter that a user without privileges can start, and read this checkout with."""
    check = (
        "import subprocess, sys; assert sys.version_info >= (3, 11); "
        f"open({str(Path(__file__))!r}); subprocess.run([sys.executable, '-c', ''], check=True)"
    )
    for python in (sys.executable, "/usr/bin/python3"):
        if shutil.which(python):
            ran = subprocess.run([*NOBODY, python, "-c", check], capture_output=True, check=False, cwd="/")
            if ran.returncode == 0:
                return python
    return None


_STDLIB_DAEMON = """
import asyncio, json, sys
from datetime import timedelta

sys.path.insert(0, sys.argv[1])
from ingestd.offload.pool import Offload

minute = timedelta(minutes=1)
pool = Offload(
    "tests.unit.offload.jobs:job", workers=1, memory_bytes=512 << 20, cpu=minute, wall=minute
)
pool.start()

async def main():
    told = await pool.run({"do": "who"}, [])
    print(json.dumps({"user": told["user"], "layers": sorted(pool.confinement)}))
    await pool.aclose()

asyncio.run(main())
"""


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
def test_a_daemon_without_privileges_confines_its_workers_as_well() -> None:
    python = python_for_nobody()
    if python is None:
        pytest.skip("no Python that the user nobody can start")
    ran = subprocess.run(
        [*NOBODY, python, "-c", _STDLIB_DAEMON, str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert ran.stderr == ""
    told = json.loads(ran.stdout)
    assert told["user"] == 65534
    with daemon() as (_, as_root):
        assert told["layers"] == as_root["layers"]
