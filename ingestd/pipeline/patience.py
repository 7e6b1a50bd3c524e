"""Writes that must get through: a full disk is waited out, and a cancellation waits for the write."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

from ingestd.domain.errors import StorageExhausted
from ingestd.interfaces import Observer

T = TypeVar("T")

LOOK_AGAIN_SECONDS = 1.0


async def until_there_is_room(write: Callable[[], Awaitable[T]], observer: Observer) -> T:
    """Repeats `write` until the ledger has room. A failed write changed nothing, so repeating is safe."""
    said = False
    while True:
        try:
            return await write()
        except StorageExhausted as error:
            if not said:
                observer.note("ledger.full", level="error", reason=str(error))
                said = True
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def shielded(work: Coroutine[None, None, T]) -> T:
    """Runs `work` to its end even when the caller is cancelled meanwhile; then the cancellation goes on.

    A second cancellation is not waited for: the process is about to die.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait([task])
        if not task.cancelled() and task.exception() is not None:
            raise task.exception() from None  # type: ignore[misc]  # done and failed: it is an exception
        raise
