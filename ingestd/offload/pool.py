"""The pool the daemon uses: at most so many jobs at once, each in a limited process, warm where that is safe.

A worker serves one job at a time. It is replaced after any loss, after a number of jobs, and when its memory
grew large. Nothing a worker says is believed beyond its own reply, and the event loop never waits for one.
"""

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from ingestd.offload import wire
from ingestd.offload.errors import LossKind, OffloadBroken, WorkerLost
from ingestd.offload.forkserver import ForkServer, Worker, signal_name
from ingestd.offload.lockdown import Layer, Limits

__all__ = ["LossKind", "Offload", "OffloadBroken", "WorkerLost"]

_READ_BYTES = 1 << 16

_GREETING_SECONDS = 30.0
"""Longest wait for a forked worker to be confined and ready; it takes milliseconds."""

_ENDING_SECONDS = 2.0
"""Longest wait for the news of a worker's end after its socket closed, or after it was killed."""

_RESTART_DELAYS_SECONDS = (0.1, 1.0, 3.0)


class Offload:
    """Runs one job function in limited processes.

    `job` is "module:name" (see the package). Limits of each job: `cpu` (the kernel counts whole seconds, it
    may get one more) and `wall`; of each worker: `memory_bytes` of address space, libraries included; of
    each output file: `output_bytes`. `start` it before the event loop runs, then use it in that one loop.
    """

    def __init__(
        self,
        job: str,
        *,
        workers: int,
        memory_bytes: int,
        cpu: timedelta,
        wall: timedelta,
        jobs_per_worker: int = 100,
        output_bytes: int = 0,
        start_deadline: timedelta = timedelta(seconds=60),
    ) -> None:
        self._job = job
        self._workers = workers
        self._wall = wall
        self._limits = Limits(
            memory_bytes=memory_bytes,
            cpu_seconds=cpu.total_seconds(),
            output_bytes=output_bytes,
            jobs=jobs_per_worker,
        )
        self._start_deadline = start_deadline
        self._slots = asyncio.Semaphore(workers)
        self._server: ForkServer | None = None
        self._restart: asyncio.Task[ForkServer] | None = None
        self._idle: list[Worker] = []
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "started" if self._server else "not started"
        return f"<Offload {self._job}, {state}, {len(self._idle)} of {self._workers} workers idle>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the fork server and wait until it is ready. Blocks. Raises OffloadBroken, which says why."""
        self._server = self._start_server()

    @property
    def confinement(self) -> frozenset[Layer]:
        """The layers that hold on this system, proved by a self-test at the start."""
        return self._server.confinement if self._server else frozenset()

    @property
    def notices(self) -> tuple[str, ...]:
        """A sentence for each layer this system does not offer."""
        return self._server.notices if self._server else ()

    async def run(
        self,
        request: Mapping[str, object],
        inputs: Sequence[Path | int],
        outputs: Sequence[Path | int] = (),
    ) -> dict[str, object]:
        """The job's answer, which is as trustworthy as the document. Waits for a free worker.

        `inputs` are opened for reading, never through a symbolic link; a descriptor is rewound. `outputs` are
        emptied, or created for the owner alone; a descriptor must be open for reading and writing. All
        descriptors stay open. Raises WorkerLost, OffloadBroken; OSError for a file that can't be opened,
        ValueError for a request that is too large.
        """
        if self._server is None:
            raise OffloadBroken("the pool of limited processes was not started")
        if len(inputs) + len(outputs) > wire.DESCRIPTORS:
            raise ValueError(f"a job takes at most {wire.DESCRIPTORS} files")
        message = wire.frame({"request": request, "inputs": len(inputs), "outputs": len(outputs)})
        async with self._slots:
            worker = await self._take()
            first_job = worker.jobs == 0
            try:
                return await self._serve(worker, message, inputs, outputs)
            except WorkerLost as lost:
                # Perhaps an earlier document broke this worker, or it was not about documents at all: a
                # good one must not pay for it. A limit of time is the document's own.
                innocent = lost.kind in ("crash", "memory") and (not first_job or worker.server.lost)
                if not innocent:
                    raise
            return await self._serve(await self._fork(), message, inputs, outputs)

    async def aclose(self) -> None:
        """End all processes and wait for that. Jobs still running raise OffloadBroken."""
        self._closed = True
        if self._restart is not None:
            await asyncio.wait({self._restart})
        if self._server is not None:
            self._server.attach()
            await self._server.aclose()
        self._forget_idle()

    def close(self) -> None:
        """As `aclose`, for when no event loop runs (any more). Either may be called after the other."""
        if self._server is not None and not self._closed:
            self._server.close()
        self._closed = True
        self._forget_idle()

    def _start_server(self) -> ForkServer:
        return ForkServer.start(self._job, self._limits, self._start_deadline)

    def _forget_idle(self) -> None:
        for worker in self._idle:
            worker.socket.close()
        self._idle.clear()

    # --- workers -------------------------------------------------------------------------------------------

    async def _take(self) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            if not worker.ended.done():
                return worker
            worker.discard()
        return await self._fork()

    async def _fork(self) -> Worker:
        """A fresh worker, confined and ready. Starts the fork server again if need be."""
        for delay in (*_RESTART_DELAYS_SECONDS, None):
            if self._closed:
                raise OffloadBroken("the pool of limited processes is closed")
            try:
                return await self._greeted(await (await self._running_server()).fork())
            except OffloadBroken:
                if delay is None:
                    raise
            await asyncio.sleep(delay)
        raise AssertionError("unreachable")

    async def _greeted(self, worker: Worker) -> Worker:
        try:
            async with asyncio.timeout(_GREETING_SECONDS):
                await _receive(worker.socket)
        except (TimeoutError, EOFError, ConnectionError, wire.BadMessage) as error:
            worker.discard()
            raise OffloadBroken("a new worker ended before it was ready") from error
        except BaseException:
            worker.discard()
            raise
        return worker

    async def _running_server(self) -> ForkServer:
        assert self._server is not None
        if self._server.lost:
            if self._restart is None:
                self._restart = asyncio.create_task(self._start_again(), name="offload restart")
                # Those who wait hear of a failure; when all of them were cancelled, nobody needs to.
                self._restart.add_done_callback(lambda task: task.cancelled() or task.exception())
            # Shielded: many may wait for it, and a half started process would be left over.
            return await asyncio.shield(self._restart)
        self._server.attach()
        return self._server

    async def _start_again(self) -> ForkServer:
        try:
            self._server = await asyncio.to_thread(self._start_server)
            self._server.attach()
            return self._server
        finally:
            self._restart = None

    # --- jobs ----------------------------------------------------------------------------------------------

    async def _serve(
        self, worker: Worker, message: bytes, inputs: Sequence[Path | int], outputs: Sequence[Path | int]
    ) -> dict[str, object]:
        reusable = False
        try:
            with _opened(inputs, outputs) as descriptors:
                reply = await self._exchange(worker, message, descriptors)
            worker.jobs += 1
            result, peak_bytes = _read_reply(reply)
            reusable = worker.jobs < self._limits.jobs and peak_bytes <= self._limits.memory_bytes // 2
            return result
        except OSError:
            reusable = True  # a file could not be opened or handed over: nothing was sent
            raise
        finally:
            if reusable and not self._closed:
                self._idle.append(worker)
            else:
                worker.discard()

    async def _exchange(
        self, worker: Worker, message: bytes, descriptors: Sequence[int]
    ) -> dict[str, object]:
        try:
            async with asyncio.timeout(self._wall.total_seconds()):
                await _send(worker.socket, message, descriptors)
                return await _receive(worker.socket)
        except TimeoutError:
            worker.server.kill(worker)
            # Its memory is free before the next one starts.
            await asyncio.wait({worker.ended}, timeout=_ENDING_SECONDS)
            raise WorkerLost("wall", f"no answer after {self._wall.total_seconds():g} s") from None
        except wire.BadMessage as error:
            raise WorkerLost("crash", f"its answer was broken: {error}") from error
        except (EOFError, ConnectionError) as error:
            raise await self._obituary(worker) from error

    async def _obituary(self, worker: Worker) -> WorkerLost | OffloadBroken:
        await asyncio.wait({worker.ended}, timeout=_ENDING_SECONDS)
        if self._closed:
            return OffloadBroken("the pool of limited processes was closed")
        if not worker.ended.done():
            return WorkerLost("crash", "it closed its socket")
        ending = worker.ended.result()
        if ending is None:
            return WorkerLost("crash", "the fork server ended, and the worker with it")
        return WorkerLost(*_cause_of(ending.code))


def _cause_of(code: int) -> tuple[LossKind, str]:
    match signal_name(code) if code < 0 else None:
        case "SIGXCPU":
            return "cpu", "it used up its CPU time"
        case "SIGKILL":
            return "memory", "killed by SIGKILL, most likely because the machine ran out of memory"
        case str(name):
            return "crash", f"killed by {name}"
        case None:
            return "crash", f"ended with exit code {code}"


def _read_reply(reply: Mapping[str, object]) -> tuple[dict[str, object], int]:
    match reply:
        case {"result": dict(result), "peak": int(peak_bytes)}:
            return result, peak_bytes
        case {"error": "memory", "detail": str(detail)}:
            raise WorkerLost("memory", detail)
        case {"error": "crash", "detail": str(detail)}:
            raise WorkerLost("crash", detail)
    raise WorkerLost("crash", "its answer has no meaning")


@contextmanager
def _opened(inputs: Sequence[Path | int], outputs: Sequence[Path | int]) -> Iterator[list[int]]:
    with ExitStack() as stack:
        descriptors = []
        for given in inputs:
            if isinstance(given, int):
                os.lseek(given, 0, os.SEEK_SET)
                descriptors.append(given)
                continue
            descriptors.append(os.open(given, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
            stack.callback(os.close, descriptors[-1])
        for output in outputs:
            if isinstance(output, int):
                os.ftruncate(output, 0)
                os.lseek(output, 0, os.SEEK_SET)
                descriptors.append(output)
                continue
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptors.append(os.open(output, flags, 0o600))
            stack.callback(os.close, descriptors[-1])
        yield descriptors


async def _send(channel: socket.socket, message: bytes, descriptors: Sequence[int]) -> None:
    """The descriptors go with the first bytes. Raises OSError, BadMessage."""
    try:
        sent = socket.send_fds(channel, [message], descriptors)
    except BlockingIOError:
        raise wire.BadMessage("it left an earlier request unread") from None
    if sent < len(message):
        await asyncio.get_running_loop().sock_sendall(channel, memoryview(message)[sent:])


async def _receive(channel: socket.socket) -> dict[str, object]:
    """One message and nothing after it. Raises EOFError, OSError, BadMessage."""
    buffer = bytearray()
    while len(buffer) < wire.HEADER.size:
        buffer += await _read(channel)
    length = wire.body_length(bytes(buffer[: wire.HEADER.size]))
    while len(buffer) < wire.HEADER.size + length:
        buffer += await _read(channel)
    if len(buffer) > wire.HEADER.size + length:
        raise wire.BadMessage("it says more than it was asked")
    return wire.decode(bytes(buffer[wire.HEADER.size :]))


async def _read(channel: socket.socket) -> bytes:
    data = await asyncio.get_running_loop().sock_recv(channel, _READ_BYTES)
    if not data:
        raise EOFError
    return data
