"""The daemon's side of the fork server: starts it, asks it for workers and kills, hears what ended.

The process is a fresh interpreter with an environment of its own making, so no secret of the daemon is in
its memory. The control socket is its only descriptor; when it closes, the fork server and all workers end.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from array import array
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from ingestd.offload import wire
from ingestd.offload.errors import OffloadBroken
from ingestd.offload.lockdown import LAYERS, Layer, Limits

# -I keeps PYTHON* variables, the user's site directory and the current directory out; where our own packages
# are is told explicitly, so that a wheel and a source checkout work alike.
_BOOT = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "from ingestd.offload.server import main; main(int(sys.argv[1]), int(sys.argv[2]))"
)

# Some installations of Python need it to start at all.
_KEPT_VARIABLES = ("LD_LIBRARY_PATH",)

_END_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a worker ended: `code` as subprocess gives it (negative: a signal), `killed`: we asked for that."""

    code: int
    killed: bool


@dataclass(slots=True, kw_only=True, eq=False)
class Worker:
    """A forked worker. `ended` resolves when it was reaped; with None when the fork server itself is gone."""

    number: int
    socket: socket.socket
    server: "ForkServer"
    ended: asyncio.Future[Ending | None]
    jobs: int = 0

    def discard(self) -> None:
        """Kill it, unless it ended already. Any state will do, the socket included."""
        self.socket.close()
        if not self.ended.done():
            self.server.kill(self)


class ForkServer:
    """One fork server process. `start` blocks; from `attach` on it belongs to the running event loop."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        control: socket.socket,
        confinement: frozenset[Layer],
        notices: tuple[str, ...],
    ) -> None:
        self.confinement = confinement
        self.notices = notices
        self._process = process
        self._control = control
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lost: asyncio.Future[None] | None = None
        self._asked = 0
        self._forks: dict[int, asyncio.Future[Worker]] = {}
        self._workers: dict[int, Worker] = {}

    @classmethod
    def start(cls, job: str, limits: Limits, deadline: timedelta) -> Self:
        """Returns when the job is imported, warmed up and proved to work confined. Raises OffloadBroken."""
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        errors = os.memfd_create("stderr of the fork server")
        try:
            with theirs:
                process = _spawn(theirs.fileno(), errors)
            try:
                confinement, notices = _await_ready(control, job, limits, deadline, errors)
            except BaseException:
                process.kill()
                process.wait()
                raise
        except BaseException:
            control.close()
            raise
        finally:
            os.close(errors)
        return cls(process, control, confinement, notices)

    def attach(self) -> None:
        """Listen to it in the running event loop. Does nothing the second time."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._lost = self._loop.create_future()
            self._control.setblocking(False)
            self._loop.add_reader(self._control, self._hear)

    @property
    def lost(self) -> bool:
        """The process is gone, and every worker with it."""
        return self._lost is not None and self._lost.done()

    async def fork(self) -> Worker:
        """A new worker, not greeted yet. Raises OffloadBroken."""
        if self.lost:
            raise OffloadBroken("the fork server ended")
        self._asked += 1
        forked: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._forks[self._asked] = forked
        self._tell({"fork": self._asked})
        return await forked

    def kill(self, worker: Worker) -> None:
        if worker.number in self._workers:
            self._tell({"kill": worker.number})

    async def aclose(self) -> None:
        """End it and its workers; returns when all are reaped."""
        assert self._loop is not None and self._lost is not None
        if not self.lost:
            # Half closed: it ends its workers, then itself, and that closes the other half.
            self._control.shutdown(socket.SHUT_WR)
            await asyncio.wait({self._lost}, timeout=_END_SECONDS)
        self._lose()
        await self._loop.run_in_executor(None, self._process.wait)

    def close(self) -> None:
        """As `aclose`, blocking, for when no event loop runs."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._control)
        self._control.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, message: dict[str, object]) -> None:
        try:
            self._control.send(wire.encode(message))
        except OSError:  # gone, or it has not read for a hundred messages: of no use either way
            self._lose()

    def _hear(self) -> None:
        try:
            data, descriptors = _receive(self._control)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._lose()
            return
        match wire.decode(data):
            case {"forked": int(number)}:
                self._welcome(number, socket.socket(fileno=descriptors[0]))
            case {"refused": int(number), "reason": str(reason)}:
                _fail(self._forks.pop(number), OffloadBroken(f"no worker could be forked: {reason}"))
            case {"ended": int(number), "status": int(status), "killed": bool(killed)}:
                worker = self._workers.pop(number, None)
                if worker is not None and not worker.ended.done():
                    worker.ended.set_result(Ending(code=os.waitstatus_to_exitcode(status), killed=killed))

    def _welcome(self, number: int, channel: socket.socket) -> None:
        assert self._loop is not None
        channel.setblocking(False)
        worker = Worker(number=number, socket=channel, server=self, ended=self._loop.create_future())
        self._workers[number] = worker
        forked = self._forks.pop(number)
        if forked.done():  # whoever asked was cancelled
            worker.discard()
        else:
            forked.set_result(worker)

    def _lose(self) -> None:
        """It is gone, or we give it up; its workers die with it (PR_SET_PDEATHSIG)."""
        if self.lost:
            return
        assert self._loop is not None and self._lost is not None
        self._loop.remove_reader(self._control)
        self._control.close()
        self._process.kill()
        self._loop.run_in_executor(None, self._process.wait)
        self._lost.set_result(None)
        for forked in self._forks.values():
            _fail(forked, OffloadBroken("the fork server ended"))
        for worker in self._workers.values():
            if not worker.ended.done():
                worker.ended.set_result(None)
        self._forks.clear()
        self._workers.clear()


def signal_name(code: int) -> str:
    """Of a negative exit code."""
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _spawn(control: int, errors: int) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    # One heap for all threads: glibc reserves 64 MB of address space for each more, and that is limited.
    environment |= {"LC_ALL": "C.UTF-8", "MALLOC_ARENA_MAX": "1"}
    # Linear algebra libraries start a thread for each core when they are imported; a fork must find none.
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    packages = [str(Path(entry).absolute()) for entry in sys.path]
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _BOOT, str(control), str(os.getpid()), *packages],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        pass_fds=(control,),
        env=environment,
        cwd="/",
        # A Ctrl-C at the terminal is for the daemon alone.
        start_new_session=True,
    )


def _await_ready(
    control: socket.socket, job: str, limits: Limits, deadline: timedelta, errors: int
) -> tuple[frozenset[Layer], tuple[str, ...]]:
    control.settimeout(deadline.total_seconds())
    try:
        control.send(wire.encode({"job": job, "limits": asdict(limits)}))
        data = control.recv(wire.CONTROL_BYTES)
    except TimeoutError:
        raise OffloadBroken(f"the fork server was not ready after {deadline.total_seconds():g} s") from None
    except ConnectionError:
        data = b""
    if not data:
        told = os.pread(errors, 1 << 16, 0).decode(errors="replace").strip()
        raise OffloadBroken(f"the fork server did not start: {told[-2000:] or 'it said nothing'}")
    match wire.decode(data):
        case {"confinement": list(confinement), "notices": list(notices)}:
            return frozenset(layer for layer in LAYERS if layer in confinement), tuple(notices)
        case {"broken": str(reason)}:
            raise OffloadBroken(f"the fork server can't serve {job}: {reason}")
    raise OffloadBroken("the fork server gave an answer that was not understood")


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """A message and the descriptors with it, which no process started from here inherits.

    socket.recv_fds takes flags and loses them (Python 3.11).
    """
    descriptors = array("i")
    room = socket.CMSG_LEN(descriptors.itemsize)
    data, ancillary, _, _ = control.recvmsg(wire.CONTROL_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content)
    return data, descriptors.tolist()


def _fail(future: asyncio.Future[Worker], error: OffloadBroken) -> None:
    if not future.done():
        future.set_exception(error)
