"""A bounded crew of workers that takes from the ledger what it can handle soon, and no more.

In memory are at most `size` items at work and `size` items in hand; everything else waits in the ledger.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Generic, TypeVar

from ingestd.pipeline.flow import Bell

T = TypeVar("T")


class Crew(Generic[T]):
    """`take(limit)` claims up to that many items; `do(item)` works on one and raises only for machinery."""

    def __init__(
        self,
        name: str,
        size: int,
        *,
        take: Callable[[int], Awaitable[Sequence[T]]],
        do: Callable[[T], Coroutine[None, None, None]],
        bell: Bell,
    ) -> None:
        self.name = name
        self._size = size
        self._take = take
        self._do = do
        self._bell = bell
        self._hand: deque[T] = deque()
        self._at_work: set[asyncio.Task[None]] = set()
        self._stopping = False

    def __repr__(self) -> str:
        return f"<Crew {self.name}: {len(self._at_work)} at work, {len(self._hand)} in hand>"

    def stop(self) -> None:
        """Soft stop: nothing new is begun; run() returns when what is at work has ended."""
        self._stopping = True
        self._bell.ring()

    async def run(self) -> None:
        """Works until stopped. Cancelling it cancels what is at work; an error in `do` ends it."""
        async with asyncio.TaskGroup() as group:
            while not self._stopping:
                exhausted = await self._refill()
                self._start(group)
                if exhausted or len(self._at_work) >= self._size:
                    await self._bell.wait()

    async def _refill(self) -> bool:
        """True when the ledger had less than was asked for, or nothing more fits in hand."""
        room = self._size - len(self._hand)
        if room * 2 < self._size:
            return True
        taken = await self._take(room)
        self._hand.extend(taken)
        return len(taken) < room

    def _start(self, group: asyncio.TaskGroup) -> None:
        while self._hand and len(self._at_work) < self._size and not self._stopping:
            task = group.create_task(self._do(self._hand.popleft()), name=f"{self.name} worker")
            self._at_work.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._at_work.discard(task)
        self._bell.ring()
