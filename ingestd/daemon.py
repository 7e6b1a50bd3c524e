"""The daemon: signals, what the service manager is told, and exit codes.

SIGTERM and SIGINT ask for the soft stop; a second one ends at once. sd_notify(3) speaks READY, STATUS,
STOPPING and WATCHDOG; the watchdog is fed from the event loop, so a loop that hangs is restarted.
"""

import asyncio
import os
import signal
import socket
from contextlib import AsyncExitStack, ExitStack
from datetime import timedelta

from ingestd.assembly import House, assemble, new_letters, new_offload
from ingestd.beside import Beside
from ingestd.clock import Clock, process_clock
from ingestd.descriptors import allow_many, intake_width
from ingestd.domain.errors import IngestdError
from ingestd.domain.states import NEEDS_PERSON, State
from ingestd.interfaces import Observer
from ingestd.offload.pool import Offload, OffloadBroken
from ingestd.pipeline import RunResult
from ingestd.settings import Settings

DONE, BROKEN, USAGE, NEEDS_ATTENTION = 0, 1, 2, 3
"""Exit codes: all done; broken; usage or configuration; done, but receipts wait or need a person."""

STATUS_EVERY = timedelta(seconds=5)

WALL_EVERY = timedelta(seconds=5)
WALL_APART = timedelta(minutes=1)
"""A wall clock that was set by more is spoken of; people compare what we write with their watches."""


def run_daemon(
    settings: Settings,
    observer: Observer,
    *,
    until_idle: timedelta | None = None,
) -> RunResult:
    """Runs until stopped (or idle). Raises what broke, ConfigurationError and LedgerLocked among it."""
    allow_many()
    intake_width(settings)  # that there are too few open files is said before any process is started
    beside = Beside(settings, observer)
    observer = beside.observer
    with ExitStack() as stack:
        offload = stack.enter_context(new_offload(settings))
        letters = _letters(settings, observer, stack)
        return asyncio.run(_run(settings, beside, offload, letters, until_idle))


def exit_code(result: RunResult) -> int:
    if result.trouble:
        return BROKEN
    return NEEDS_ATTENTION if result.people or result.waiting or result.refused else DONE


class ServiceManager:
    """Tells systemd how we are, by sd_notify(3). Does nothing when nobody asked ($NOTIFY_SOCKET unset)."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.connect("\0" + address[1:] if address[0] == "@" else address)
            self._socket.setblocking(False)

    @property
    def listens(self) -> bool:
        return self._socket is not None

    @property
    def watchdog(self) -> timedelta | None:
        """How often to feed the watchdog: a third of what the manager allows."""
        allowed = int(os.environ.get("WATCHDOG_USEC", "0"))
        meant_for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return timedelta(microseconds=allowed) / 3 if allowed and meant_for_us and self.listens else None

    def tell(self, *lines: str) -> None:
        if self._socket is not None:
            try:
                self._socket.send("\n".join(lines).encode())
            except BlockingIOError:
                pass  # a manager too busy to listen hears the next one
            except OSError:
                self._socket = None  # the manager is gone; nobody is left to tell

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


def _letters(settings: Settings, observer: Observer, stack: ExitStack) -> Offload | None:
    """What makes PDFs of mails, started. A mailbox is of use without it: most receipts are attachments."""
    letters = new_letters(settings)
    if letters is not None:
        try:
            return stack.enter_context(letters)
        except OffloadBroken as error:
            observer.note("letters.unavailable", level="warning", reason=str(error))
    elif settings.mailboxes:
        observer.note("letters.unavailable", level="warning", reason="WeasyPrint is not installed")
    return None


async def _run(
    settings: Settings,
    beside: Beside,
    offload: Offload,
    letters: Offload | None,
    until_idle: timedelta | None,
) -> RunResult:
    manager, observer = ServiceManager(), beside.observer
    # Fed until all is closed: a ledger or a process that takes its time to end is no hang.
    feeding = asyncio.create_task(_feed_watchdog(manager), name="watchdog")
    try:
        async with AsyncExitStack() as stack:
            house = await stack.enter_async_context(assemble(settings, observer, offload, letters))
            if until_idle is None:  # who starts a single run sees how it ends
                await stack.enter_async_context(beside.running(house))
            _obey_signals(house, manager, observer)
            telling = asyncio.create_task(_tell_status(manager, house), name="status")
            watching = asyncio.create_task(_watch_wall(process_clock(), observer), name="wall")
            notices = dict.fromkeys((*offload.notices, *(letters.notices if letters else ())))
            for notice in notices:
                observer.note("offload.weakened", level="warning", reason=notice)
            observer.note("run.started", version=house.version, sources=sorted(house.sources))
            try:
                result = await house.pipeline.run(
                    until_idle=until_idle, started=lambda: manager.tell("READY=1")
                )
            finally:
                await _ended(telling)
                await _ended(watching)
            observer.note("run.stopped", trouble="; ".join(result.trouble))
            return result
    finally:
        await _ended(feeding)
        # Once more: the processes that are left are ended without an event loop.
        manager.tell("STOPPING=1", *(["WATCHDOG=1"] if manager.watchdog else []))
        manager.close()


def _obey_signals(house: House, manager: ServiceManager, observer: Observer) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    asked = False

    def stop() -> None:
        nonlocal asked
        if asked and task is not None:
            observer.note("run.aborted", level="warning")
            task.cancel()
            return
        asked = True
        observer.note("run.stopping")
        manager.tell("STOPPING=1", "STATUS=finishing what began")
        house.pipeline.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _feed_watchdog(manager: ServiceManager) -> None:
    pause = manager.watchdog
    while pause is not None:
        manager.tell("WATCHDOG=1")
        await asyncio.sleep(pause.total_seconds())


async def _tell_status(manager: ServiceManager, house: House) -> None:
    while manager.listens:
        try:
            counts = await house.reader.counts()
        except IngestdError as error:
            manager.tell(f"STATUS=the ledger can't be read now: {error}")
            await asyncio.sleep(STATUS_EVERY.total_seconds())
            continue
        people = sum(counts[state] for state in NEEDS_PERSON)
        settled = people + counts[State.UPLOADED] + counts[State.DROPPED]
        waiting = sum(counts.values()) - settled
        words = [f"{waiting} waiting", f"{counts[State.UPLOADED]} uploaded", f"{people} need a person"]
        words += house.pipeline.trouble
        manager.tell("STATUS=" + "; ".join(words).replace("\n", " "))
        await asyncio.sleep(STATUS_EVERY.total_seconds())


async def _watch_wall(clock: Clock, observer: Observer) -> None:
    """Say once when the machine's clock was set. Ours goes on as it was: nothing is due sooner or later."""
    said = timedelta()
    while True:
        await asyncio.sleep(WALL_EVERY.total_seconds())
        jumped = clock.wall_jumped
        if abs(jumped - said) > WALL_APART:
            said = jumped
            observer.note(
                "clock.set",
                level="warning",
                seconds=round(jumped.total_seconds()),
                reason="the clock of this machine was set; ingestd goes by its own until it is restarted",
            )
