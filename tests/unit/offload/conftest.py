"""A pool of real limited processes that does the jobs of this folder."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest

from ingestd.offload.pool import Offload

JOB = "tests.unit.offload.jobs:job"

StartPool = Callable[..., Offload]


def make_pool(
    *,
    job: str = JOB,
    workers: int = 1,
    memory_bytes: int = 512 << 20,
    cpu: float = 10,
    wall: float = 30,
    jobs_per_worker: int = 100,
    output_bytes: int = 0,
) -> Offload:
    """Not started. Generous limits, unless told otherwise."""
    return Offload(
        job,
        workers=workers,
        memory_bytes=memory_bytes,
        cpu=timedelta(seconds=cpu),
        wall=timedelta(seconds=wall),
        jobs_per_worker=jobs_per_worker,
        output_bytes=output_bytes,
    )


@pytest.fixture
async def start_pool() -> AsyncIterator[StartPool]:
    """Starts pools, and ends them after the test."""
    async with AsyncExitStack() as stack:

        def start(**limits: Any) -> Offload:
            pool = make_pool(**limits)
            pool.start()
            stack.push_async_callback(pool.aclose)
            return pool

        yield start


@pytest.fixture
async def pool(start_pool: StartPool) -> Offload:
    return start_pool()
