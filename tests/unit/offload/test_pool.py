"""The pool: jobs get their files and answers, workers stay warm as long as that is safe."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from ingestd.offload import wire
from ingestd.offload.pool import Offload, OffloadBroken, WorkerLost
from tests.unit.offload.conftest import StartPool, make_pool
from tests.unit.offload.processes import children_of, is_alive, until_gone


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def who(pool: Offload) -> dict[str, Any]:
    return await pool.run({"do": "who"}, [])


async def test_a_job_reads_the_files_it_is_given_in_order(pool: Offload, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text(path.name, encoding="ascii")
    assert await pool.run({"do": "read"}, paths) == {"contents": ["a", "b", "c"]}


async def test_a_job_may_have_as_many_files_as_the_wire_carries(pool: Offload, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("a", encoding="ascii")
    answer: dict[str, Any] = await pool.run({"do": "read"}, [path] * wire.DESCRIPTORS)
    assert answer["contents"] == ["a"] * wire.DESCRIPTORS
    with pytest.raises(ValueError, match="at most"):
        await pool.run({"do": "read"}, [path] * (wire.DESCRIPTORS + 1))


async def test_a_large_request_arrives_whole(pool: Offload) -> None:
    assert await pool.run({"do": "echo", "text": "x" * 900_000}, []) == {"text": "x" * 900_000}
    with pytest.raises(ValueError, match="more than"):
        await pool.run({"do": "echo", "text": "x" * wire.FRAME_BYTES}, [])


async def test_a_symbolic_link_is_not_followed(pool: Offload, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    before = await who(pool)
    with pytest.raises(OSError, match="symbolic links"):
        await pool.run({"do": "read"}, [tmp_path / "link"])
    assert (await who(pool))["pid"] == before["pid"]


async def test_an_open_file_is_read_from_its_beginning_and_stays_open(pool: Offload, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    with (tmp_path / "file").open("rb") as file:
        file.read()
        assert (await pool.run({"do": "read"}, [file.fileno()])) == await pool.run(
            {"do": "read"}, [tmp_path / "file"]
        )
        assert not file.closed and file.seek(0) == 0


async def test_a_job_writes_to_its_outputs(start_pool: StartPool, tmp_path: Path) -> None:
    pool = start_pool(output_bytes=1000)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"abc")
    await pool.run({"do": "copy"}, [source], [target])
    assert target.read_bytes() == b"abc"
    assert target.stat().st_mode & 0o777 == 0o600
    with target.open("r+b") as file:
        await pool.run({"do": "copy", "times": 2}, [source], [file.fileno()])
        assert file.read() == b""  # the offset is shared; the caller seeks
    assert target.read_bytes() == b"abcabc"


async def test_an_output_is_no_larger_than_its_limit(start_pool: StartPool, tmp_path: Path) -> None:
    pool = start_pool(output_bytes=1000)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"abc")
    with pytest.raises(WorkerLost, match="too large"):
        await pool.run({"do": "copy", "times": 1000}, [source], [target])
    assert target.stat().st_size <= 1000


async def test_a_worker_stays_warm_and_is_replaced_after_its_number_of_jobs(start_pool: StartPool) -> None:
    pool = start_pool(jobs_per_worker=100)
    seen = [await who(pool) for _ in range(201)]
    assert len({answer["pid"] for answer in seen[:100]}) == 1
    assert [answer["jobs"] for answer in seen] == [*range(1, 101), *range(1, 101), 1]


async def test_a_process_that_the_daemon_starts_inherits_no_socket_of_a_worker(pool: Offload) -> None:
    await who(pool)
    assert not os.get_inheritable(pool._idle[0].socket.fileno())


async def test_a_worker_that_grew_large_is_replaced(start_pool: StartPool) -> None:
    pool = start_pool(memory_bytes=512 << 20)
    small = await who(pool)
    await pool.run({"do": "use memory", "bytes": 10 << 20}, [])
    assert (await who(pool))["pid"] == small["pid"]
    await pool.run({"do": "use memory", "bytes": 150 << 20}, [])  # twice: the array and its copy
    assert (await who(pool))["pid"] != small["pid"]


async def test_no_more_jobs_run_at_once_than_there_are_workers(start_pool: StartPool) -> None:
    pool = start_pool(workers=2)
    seen: set[object] = set()
    loop = asyncio.get_running_loop()
    started = loop.time()
    await asyncio.gather(*(pool.run({"do": "sleep", "seconds": 0.2}, []) for _ in range(6)))
    assert loop.time() - started >= 0.6
    for _ in range(6):
        seen |= {answer["pid"] for answer in await asyncio.gather(*(who(pool) for _ in range(4)))}
    assert len(seen) <= 2


async def test_nothing_is_left_open_after_many_jobs_and_many_crashes(pool: Offload, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("a", encoding="ascii")
    server = (await who(pool))["server"]
    ours, theirs = open_descriptors(), len(list(Path(f"/proc/{server}/fd").iterdir()))
    for _ in range(200):
        await pool.run({"do": "read"}, [path, path])
        if (await who(pool))["jobs"] == 51:
            warm = await pool.run({"do": "descriptors"}, [path])
            assert warm == {"open": [0, 1, 2, 3, 4], "inputs": [4]}
    for _ in range(50):
        with pytest.raises(WorkerLost):
            await pool.run({"do": "crash"}, [path])
    await who(pool)
    assert open_descriptors() == ours
    assert len(list(Path(f"/proc/{server}/fd").iterdir())) == theirs
    assert len(children_of(server)) == 1


async def test_a_dead_fork_server_is_replaced_and_costs_no_job(start_pool: StartPool) -> None:
    pool = start_pool(workers=2)
    first = await who(pool)
    jobs = [asyncio.create_task(pool.run({"do": "sleep", "seconds": 0.5}, [])) for _ in range(2)]
    await asyncio.sleep(0.1)
    os.kill(first["server"], signal.SIGKILL)
    assert await asyncio.gather(*jobs) == [{}, {}]
    second = await who(pool)
    assert second["server"] != first["server"]
    await until_gone(first["pid"])


async def test_an_idle_worker_that_was_killed_is_replaced(pool: Offload) -> None:
    first = await who(pool)
    os.kill(first["pid"], signal.SIGKILL)
    assert (await who(pool))["jobs"] == 1


async def test_after_aclose_no_process_is_left(start_pool: StartPool) -> None:
    pool = start_pool(workers=2)
    descriptors = open_descriptors() - 1  # its control socket
    seen = await asyncio.gather(who(pool), who(pool))
    running = asyncio.create_task(pool.run({"do": "spin"}, []))
    await asyncio.sleep(0.1)
    await pool.aclose()
    for answer in seen:
        assert not is_alive(answer["pid"])
        assert not is_alive(answer["server"])
    with pytest.raises(OffloadBroken, match="closed"):
        await running
    with pytest.raises(OffloadBroken, match="closed"):
        await who(pool)
    await pool.aclose()
    assert open_descriptors() == descriptors


def test_as_a_context_it_works_around_an_event_loop_and_leaves_no_process() -> None:
    before = set(children_of(os.getpid()))
    with make_pool() as pool:
        (server,) = set(children_of(os.getpid())) - before
        assert asyncio.run(who(pool))["server"] == server
    assert not is_alive(server)


async def test_a_context_left_after_aclose_has_nothing_more_to_do() -> None:
    with make_pool() as pool:
        await who(pool)
        await pool.aclose()


async def test_a_job_module_that_can_not_be_imported_is_named(start_pool: StartPool) -> None:
    with pytest.raises(OffloadBroken, match=r"No module named .*absent"):
        start_pool(job="tests.unit.offload.absent:job")


async def test_a_memory_limit_below_what_the_job_needs_is_found_at_the_start(start_pool: StartPool) -> None:
    with pytest.raises(OffloadBroken, match="not enough"):
        start_pool(memory_bytes=1 << 20)


async def test_a_warm_up_that_leaves_something_for_later_is_found_at_the_start(
    start_pool: StartPool,
) -> None:
    with pytest.raises(OffloadBroken, match="self-test"):
        start_pool(job="tests.unit.offload.jobs_not_warm:job")


async def test_a_job_module_that_leaves_threads_is_refused(start_pool: StartPool) -> None:
    with pytest.raises(OffloadBroken, match="2 threads"):
        start_pool(job="tests.unit.offload.jobs_with_thread:job")


async def test_a_pool_that_was_not_started_says_so() -> None:
    with pytest.raises(OffloadBroken, match="not started"):
        await who(make_pool())
