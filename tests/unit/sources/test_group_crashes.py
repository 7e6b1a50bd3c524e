"""A group is taken, acknowledged and put back whole, whichever system call a crash comes before.

The process ends before its n-th call that changes the folder, for every n: from then on none of its calls has
an effect. Then another process runs to the end, and every page must have arrived once, with all the others.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestd.domain.errors import ContentUnavailable
from ingestd.interfaces import Arrival
from ingestd.sources import filesystem
from tests.unit.sources.conftest import JPEG, Inbox, pages_and_entries, read_payload

PAGES = {f"entries/E1/{name}": JPEG + name.encode() + b"\xff\xd9" for name in ("2.jpg", "10.jpg")}
LATE = b"written late \xff\xd9"
CALLS = ("rename", "unlink", "rmdir", "mkdir", "fsync", "open")

Meddle = Callable[[Arrival, str], None]
"""What somebody does to a claimed arrival "before" it is read, and "after" it was recorded."""


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Process:
    """Counts the calls that change something; from the `last` one on it is dead."""

    last: int | None = None
    calls: list[str] = field(default_factory=list)

    def about_to(self, call: str) -> None:
        self.calls.append(call)
        if self.last is not None and len(self.calls) >= self.last:
            raise Killed

    @property
    def died(self) -> bool:
        return self.last is not None and len(self.calls) >= self.last


@contextmanager
def living(process: Process) -> Iterator[None]:
    def watched(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name != "open" or args[1] & (os.O_CREAT | os.O_WRONLY):
                process.about_to(name)
            return real(*args, **kwargs)

        return call

    def renameat2(*args: Any) -> Any:
        process.about_to("renameat2")
        assert real_renameat2 is not None
        return real_renameat2(*args)

    real_renameat2 = filesystem._RENAMEAT2
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, watched(name, getattr(os, name)))
        patch.setattr(filesystem, "_RENAMEAT2", renameat2)
        yield


@dataclass
class Books:
    """What a ledger would hold: arrival ID to its pages in order, and where they go."""

    pages: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)
    to: dict[str, str] = field(default_factory=dict)

    async def take(self, arrival: Arrival, meddle: Meddle) -> None:
        """As intake does it."""
        meddle(arrival, "before")
        try:
            pages = [(payload.arrived_as, read_payload(payload)) for payload in arrival.payloads]
        except ContentUnavailable:
            await arrival.give_back()
            return
        if arrival.id not in self.pages:
            self.pages[arrival.id] = pages
            self.to[arrival.id] = str(arrival.to)
        elif not {data for _, data in pages} <= {data for _, data in self.pages[arrival.id]}:
            await arrival.give_back(anew=True)
            return
        meddle(arrival, "after")
        await arrival.acknowledge()


async def run(inbox: Inbox, books: Books, meddle: Meddle) -> None:
    source = inbox.source(
        settle=timedelta(seconds=0.01),
        group_quiet=timedelta(seconds=0.04),
        polling=True,
        rescan=timedelta(seconds=1),
    )
    async with aclosing(source.arrivals(once=True)) as arrivals:
        async for arrival in arrivals:
            await books.take(arrival, meddle)


def nothing(arrival: Arrival, when: str) -> None:
    """Nobody meddles."""


def write_to_page_2(wanted: str) -> Meddle:
    """Once, however often the process is started."""
    done: list[str] = []

    def meddle(arrival: Arrival, when: str) -> None:
        if when == wanted and not done:
            done.append(arrival.id)
            (page,) = Path(os.environ["INBOX"]).glob(f".ingestd/claimed/{arrival.id}/entries/E1/2.jpg")
            with page.open("ab") as late:
                late.write(LATE)

    return meddle


def dropped(path: Path) -> Inbox:
    path.mkdir()
    inbox = Inbox(path)
    inbox.group_of = pages_and_entries
    for name, data in PAGES.items():
        inbox.drop(name, data)
    inbox.drop("entries/E1/2.jpg.json", b'{"to": "concur:expenseentry/E1"}')
    inbox.drop("entries/E1/10.json", b'{"note": "the last page"}')
    return inbox


async def at_every_point(
    directory: Path, meddle: Callable[[], Meddle], judge: Callable[[Inbox, Books], None]
) -> int:
    """How many points there were."""
    point = 0
    while True:
        point += 1
        inbox, books, process = dropped(directory / f"{point}"), Books(), Process(last=point)
        meddling = meddle()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("INBOX", str(inbox.path))
            try:
                with living(process):
                    await run(inbox, books, meddling)
            except Killed:
                await run(inbox, books, meddling)
        try:
            judge(inbox, books)
        except AssertionError as error:
            raise AssertionError(f"before call {point}, {process.calls[:point]}") from error
        if not process.died:
            return point


def nothing_is_left(inbox: Inbox) -> None:
    assert inbox.names() == []
    assert list((inbox.path / ".ingestd/claimed").iterdir()) == []


async def test_taken_and_acknowledged_whole(tmp_path: Path) -> None:
    def judge(inbox: Inbox, books: Books) -> None:
        assert list(books.pages.values()) == [list(PAGES.items())]
        assert list(books.to.values()) == ["concur:expenseentry/E1"]
        nothing_is_left(inbox)

    assert await at_every_point(tmp_path, lambda: nothing, judge) > 30


async def test_put_back_whole_when_a_page_changed_while_it_was_read(tmp_path: Path) -> None:
    changed = [*PAGES.items()]
    changed[0] = (changed[0][0], changed[0][1] + LATE)

    def judge(inbox: Inbox, books: Books) -> None:
        (pages,) = books.pages.values()
        assert pages in (changed, list(PAGES.items()))
        assert list(books.to.values()) == ["concur:expenseentry/E1"]
        nothing_is_left(inbox)

    assert await at_every_point(tmp_path, lambda: write_to_page_2("before"), judge) > 45


async def test_put_back_whole_when_a_page_was_written_late(tmp_path: Path) -> None:
    """The ledger has it already; what was written comes as another arrival, with all its pages."""
    changed = [*PAGES.items()]
    changed[0] = (changed[0][0], changed[0][1] + LATE)

    def judge(inbox: Inbox, books: Books) -> None:
        assert list(books.pages.values()) == [list(PAGES.items()), changed]
        assert list(books.to.values()) == ["concur:expenseentry/E1"] * 2
        nothing_is_left(inbox)

    assert await at_every_point(tmp_path, lambda: write_to_page_2("after"), judge) > 45
