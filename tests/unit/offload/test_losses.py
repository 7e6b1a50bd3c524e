"""Whatever goes wrong within a job costs that job only, and is told by its right name."""

import asyncio

import pytest

from ingestd.offload.pool import Offload, WorkerLost
from tests.unit.offload.conftest import StartPool
from tests.unit.offload.processes import until_gone

LOSSES = [
    ("allocate", "memory", "MemoryError"),
    ("endless list", "memory", "MemoryError"),
    ("crash", "crash", "SIGSEGV"),
    ("abort", "crash", "SIGABRT"),
    ("exit", "crash", "exit code 7"),
    ("system exit", "crash", "SystemExit"),
    ("raise", "crash", "LookupError: no?such?[31m page"),
    ("raise unspeakable", "crash", "_Unspeakable"),
    ("recurse", "crash", "RecursionError"),
    ("recurse in c", "crash", "SIGSEGV"),
    ("not json", "crash", "TypeError"),
    ("no object", "crash", "no meaning"),
    ("huge reply", "crash", "are more than"),
    ("half reply", "crash", "exit code 0"),
    ("endless reply", "crash", "4294967295 bytes"),
    ("nested reply", "crash", "not JSON"),
    ("two replies", "crash", "more than it was asked"),
    ("senseless reply", "crash", "no meaning"),
    ("close socket", "crash", "closed its socket"),
]


@pytest.mark.parametrize(("deed", "kind", "detail"), LOSSES, ids=[deed for deed, _, _ in LOSSES])
async def test_a_job_gone_wrong_costs_that_job_only(pool: Offload, deed: str, kind: str, detail: str) -> None:
    with pytest.raises(WorkerLost) as caught:
        await pool.run({"do": deed}, [])
    assert caught.value.kind == kind
    assert detail in caught.value.detail
    assert (await pool.run({"do": "who"}, []))["jobs"] == 1


async def test_a_detail_is_one_short_printable_line(pool: Offload) -> None:
    with pytest.raises(WorkerLost) as caught:
        await pool.run({"do": "raise"}, [])
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) <= 500
    assert "jobs.py:" in caught.value.detail


async def test_a_job_that_computes_for_ever_runs_out_of_cpu_time(start_pool: StartPool) -> None:
    pool = start_pool(cpu=1)
    with pytest.raises(WorkerLost) as caught:
        await pool.run({"do": "spin"}, [])
    assert caught.value.kind == "cpu"
    assert await pool.run({"do": "who"}, [])


async def test_cpu_time_is_counted_for_each_job_and_not_for_the_worker(start_pool: StartPool) -> None:
    pool = start_pool(cpu=1)
    workers = set()
    for _ in range(4):
        await pool.run({"do": "compute", "seconds": 0.7}, [])
        workers.add((await pool.run({"do": "who"}, []))["pid"])
    assert len(workers) == 1


@pytest.mark.parametrize(
    "request_", [{"do": "sleep", "seconds": 3600}, {"do": "spin"}, {"do": "spin", "stubborn": True}]
)
async def test_a_job_that_never_answers_is_ended_after_the_wall_time(
    start_pool: StartPool, request_: dict[str, object]
) -> None:
    pool = start_pool(cpu=60, wall=0.5)
    with pytest.raises(WorkerLost) as caught:
        await pool.run(request_, [])
    assert caught.value.kind == "wall"
    assert await pool.run({"do": "who"}, [])


async def test_a_job_that_ignores_the_cpu_signal_is_ended_all_the_same(start_pool: StartPool) -> None:
    pool = start_pool(cpu=0.5, wall=3, jobs_per_worker=1)
    with pytest.raises(WorkerLost) as caught:
        await pool.run({"do": "spin", "stubborn": True}, [])
    assert caught.value.kind in ("wall", "memory")
    assert await pool.run({"do": "who"}, [])


async def test_a_bomb_does_not_disturb_the_good_jobs_beside_it(start_pool: StartPool) -> None:
    pool = start_pool(workers=3)
    bad = ["crash", "allocate", "exit", "half reply"]
    work = [pool.run({"do": bad[number % 4] if number % 3 == 0 else "who"}, []) for number in range(30)]
    results = await asyncio.gather(*work, return_exceptions=True)
    for number, result in enumerate(results):
        assert isinstance(result, WorkerLost if number % 3 == 0 else dict), result


async def test_a_good_job_does_not_pay_for_what_an_earlier_one_broke(pool: Offload) -> None:
    await pool.run({"do": "poison"}, [])
    assert (await pool.run({"do": "who"}, []))["jobs"] == 1


async def test_a_cancelled_job_takes_its_worker_with_it(pool: Offload) -> None:
    before = await pool.run({"do": "who"}, [])
    job = asyncio.create_task(pool.run({"do": "sleep", "seconds": 3600}, []))
    await asyncio.sleep(0.1)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    await until_gone(int(str(before["pid"])))
    after = await pool.run({"do": "who"}, [])
    assert before["server"] == after["server"]
    assert before["pid"] != after["pid"]


async def test_the_event_loop_goes_on_while_a_job_hangs(start_pool: StartPool) -> None:
    pool = start_pool(wall=0.5)
    job = asyncio.create_task(pool.run({"do": "spin"}, []))
    turns = 0
    while not job.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert isinstance(job.exception(), WorkerLost)
    assert turns >= 10
