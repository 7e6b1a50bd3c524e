"""A watched folder on the disk, and a source over it with short times."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestd.clock import process_clock
from ingestd.domain.document import Payload
from ingestd.domain.grouping import page_group
from ingestd.interfaces import Arrival
from ingestd.settings import FolderSettings
from ingestd.sources.folder import FolderSource

JPEG = b"\xff\xd8\xff\xe0 a receipt \xff\xd9"
SETTLE_S = 0.15
INCOMPLETE_S = 0.6
QUIET_S = 0.3
WAIT_S = 20.0


class Notes:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, object]]] = []

    def note(self, event: str, /, *, level: str = "info", **fields: object) -> None:
        self.heard.append((event, fields))

    def named(self, event: str) -> list[dict[str, object]]:
        return [fields for name, fields in self.heard if name == event]


class Inbox:
    """A folder, and sources over it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes = Notes()
        self.group_of: Callable[[str], str | None] = lambda path: None
        self.settings = FolderSettings(
            name="inbox",
            path=path,
            settle=timedelta(seconds=SETTLE_S),
            settle_incomplete=timedelta(seconds=INCOMPLETE_S),
            group_quiet=timedelta(seconds=QUIET_S),
            rescan=timedelta(seconds=30),
        )

    def source(self, **changes: Any) -> FolderSource:
        settings = replace(self.settings, **changes)
        return FolderSource(settings, clock=process_clock(), observer=self.notes, group_of=self.group_of)

    def drop(self, name: str, data: bytes = JPEG) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def names(self) -> list[str]:
        """Every file below the folder, claims included, the lock left out."""
        files = (p for p in self.path.rglob("*") if p.is_file() and p.name != "lock")
        return sorted(str(p.relative_to(self.path)) for p in files)

    async def collect(self, **changes: Any) -> dict[str, bytes]:
        """One full pass: path -> bytes, everything acknowledged."""
        found: dict[str, bytes] = {}
        async with asyncio.timeout(WAIT_S), aclosing(self.source(**changes).arrivals(once=True)) as arrivals:
            async for arrival in arrivals:
                found[arrival.origin.path] = read(arrival)
                await arrival.acknowledge()
        return found


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    path = tmp_path / "inbox"
    path.mkdir()
    return Inbox(path)


def pages_and_entries(path: str) -> str | None:
    """What belongs together with routes for entries/{entry}/*, and for everything else."""
    parents, _, name = path.rpartition("/")
    return "entry" if parents.startswith("entries/") else page_group(name)


def read(arrival: Arrival) -> bytes:
    (payload,) = arrival.payloads
    return read_payload(payload)


def read_payload(payload: Payload) -> bytes:
    with payload.content.open() as stream:
        data = stream.read()
    payload.content.recheck()
    return data


async def next_of(arrivals: AsyncIterator[Arrival]) -> Arrival:
    async with asyncio.timeout(WAIT_S):
        return await anext(arrivals)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.01)
