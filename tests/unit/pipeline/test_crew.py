"""A crew takes no more than it can handle soon, and works in parallel as far as it may."""

import asyncio
from collections.abc import Sequence

from ingestd.pipeline.crew import Crew
from ingestd.pipeline.flow import Bell

SIZE, ITEMS = 4, 60


class Counter:
    """Hands out numbers, and counts how many are out and at work at once."""

    def __init__(self) -> None:
        self.left = list(range(ITEMS))
        self.done: list[int] = []
        self.out = self.at_work = self.most_out = self.most_at_work = self.takes = 0

    async def take(self, limit: int) -> Sequence[int]:
        self.takes += 1
        await asyncio.sleep(0)
        taken, self.left = self.left[:limit], self.left[limit:]
        self.out += len(taken)
        self.most_out = max(self.most_out, self.out)
        return taken

    async def do(self, item: int) -> None:
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        await asyncio.sleep(0.001 * (item % 3))
        self.at_work -= 1
        self.out -= 1
        self.done.append(item)


async def test_a_crew_never_has_more_than_its_size_at_work_and_in_hand() -> None:
    counter = Counter()
    crew = Crew("test", SIZE, take=counter.take, do=counter.do, bell=Bell())
    running = asyncio.create_task(crew.run())
    async with asyncio.timeout(10):
        while len(counter.done) < ITEMS:
            await asyncio.sleep(0.005)
    crew.stop()
    await asyncio.wait_for(running, 10)
    assert sorted(counter.done) == list(range(ITEMS))
    assert counter.most_at_work == SIZE
    assert counter.most_out <= 2 * SIZE
    assert counter.takes < ITEMS, "it takes several at once"


async def test_a_crew_that_is_stopped_ends_what_is_at_work_and_begins_nothing() -> None:
    gate, begun, ended = asyncio.Event(), list[int](), list[int]()

    async def take(limit: int) -> Sequence[int]:
        return range(limit)

    async def do(item: int) -> None:
        begun.append(item)
        await gate.wait()
        ended.append(item)

    crew = Crew("test", SIZE, take=take, do=do, bell=Bell())
    running = asyncio.create_task(crew.run())
    while len(begun) < SIZE:
        await asyncio.sleep(0)
    crew.stop()
    await asyncio.sleep(0.01)
    assert not running.done()
    gate.set()
    await asyncio.wait_for(running, 10)
    assert begun == ended and len(begun) == SIZE
