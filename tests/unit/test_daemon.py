"""The daemon and its service manager, as far as it can be seen from within one process."""

import asyncio
import socket
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestd import daemon
from ingestd.assembly import House, assemble
from ingestd.configfile import parse_configuration
from tests.unit.sources.conftest import Notes

WATCHDOG_S = 0.3
CLOSING_S = 1.5

CONFIGURATION = """
[storage]
directory = "data"
[targets.concur]
kind = "concur-image-v1"
url = "http://127.0.0.1:9"
[[folders]]
name = "inbox"
path = "inbox"
[[routes]]
send = "concur:receipt"
"""


def test_the_watchdog_is_fed_while_everything_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inbox").mkdir()

    @asynccontextmanager
    async def slow_to_close(*things: Any) -> AsyncIterator[House]:
        async with assemble(*things) as house:
            yield house
            heard(manager)
            await asyncio.sleep(CLOSING_S)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "manager"))
        manager.setblocking(False)
        monkeypatch.setattr(daemon, "assemble", slow_to_close)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "manager"))
        monkeypatch.setenv("WATCHDOG_USEC", str(round(WATCHDOG_S * 1_000_000)))
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        monkeypatch.setenv("INGESTD_CONCUR_TOKEN", "token")
        settings = parse_configuration(tomllib.loads(CONFIGURATION), base=tmp_path, origin="x.toml")
        daemon.run_daemon(settings, Notes(), until_idle=timedelta())
        told = heard(manager)
    assert told.count("WATCHDOG=1") > 5, "of about 15, and the last word"
    assert told[-2:] == ["STOPPING=1", "WATCHDOG=1"]


def heard(manager: socket.socket) -> list[str]:
    lines: list[str] = []
    while True:
        try:
            lines += manager.recv(65536).decode().splitlines()
        except BlockingIOError:
            return lines
