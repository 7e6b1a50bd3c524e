"""The fork server: a small process without threads that imports the job once and forks workers from itself.

It is the parent of every worker, so it alone kills and reaps them, and a process ID can't be reused in
between. It never sees an untrusted byte. When the daemon's socket closes, or the daemon is gone, all end.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import resource
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ingestd.offload import lockdown, wire, worker
from ingestd.offload.lockdown import Layer, Limits

# Its own few, and the two ends of a new worker's socket. Low, because a new worker closes them all.
_DESCRIPTORS = 256

_WORKER_DESCRIPTOR = 3

_SELF_TEST_SECONDS = 60.0

_LEAST_ROOM_BYTES = 16 << 20
"""What the memory limit must leave for a document; below that every document would be refused."""

_WITHOUT = {
    "landlock": "a decoder that was taken over is kept from files and network by fewer layers",
    "seccomp": "a decoder that was taken over can reach more of the kernel",
}
_WITHOUT_ANY_PATH = "a decoder that was taken over, and may read some files, can read all that this user can"


def main(control_descriptor: int, daemon: int) -> NoReturn:
    """The whole life of the process. `daemon` is the process ID of the one who started it."""
    libc = lockdown.load_libc()
    lockdown.set_process_name(libc, "ingestd-offload")
    control = socket.socket(fileno=control_descriptor)
    _own_signals()
    _own_limits()
    order = wire.decode(control.recv(wire.CONTROL_BYTES))
    try:
        server = _Server(libc, control, daemon, order)
    except Exception as error:  # whatever importing the job raises: the daemon tells it
        control.send(wire.encode({"broken": f"{type(error).__name__}: {error}"[:2000]}))
        os._exit(1)
    server.run()
    os._exit(0)


def _own_signals() -> None:
    """A Ctrl-C or a stop of the service is for the daemon, which ends this process when it is ready."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    # An ignored signal stays ignored through exec; these two must do their work.
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, lambda *_: None)


def _own_limits() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    # When the machine runs out of memory, a worker goes before the daemon (proc(5)).
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


class _Server:
    def __init__(self, libc: ctypes.CDLL, control: socket.socket, daemon: int, order: dict[str, Any]) -> None:
        self._libc = libc
        self._control = control
        self._limits = Limits(**order["limits"])
        self._work = _load(order["job"])
        self._work.warm_up()
        _await_single_thread()
        self._readable = tuple(self._work.readable())
        self._workers: dict[int, int] = {}  # number -> process ID
        self._killed: set[int] = set()
        gc.collect()
        gc.freeze()  # so that collections in workers don't copy the pages they share with us
        self._wakeup, wake = socket.socketpair()
        self._wake = wake
        for end in (self._wakeup, wake):
            end.setblocking(False)
        # A pidfd tells when the process ends; PR_SET_PDEATHSIG would when the thread that started us does.
        self._daemon = _open_process(daemon)
        self._layers, notices = _self_test(libc, self._limits, self._work.prove, self._readable)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        control.send(wire.encode({"ready": True, "confinement": self._layers, "notices": notices}))

    def run(self) -> None:
        os.dup2(0, 2)  # until here stderr told the daemon why we could not start
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(self._wakeup, select.POLLIN)
        if self._daemon is not None:
            poller.register(self._daemon, select.POLLIN)
        going_on = True
        while going_on:
            ready = {descriptor for descriptor, _ in poller.poll()}
            try:
                if self._wakeup.fileno() in ready:
                    self._reap()
                if self._control.fileno() in ready:
                    going_on = self._obey()
            except (BrokenPipeError, ConnectionResetError):
                going_on = False
            going_on = going_on and self._daemon not in ready
        self._end_workers()

    def _obey(self) -> bool:
        data = self._control.recv(wire.CONTROL_BYTES)
        if not data:
            return False
        match wire.decode(data):
            case {"fork": int(number)}:
                self._fork(number)
            case {"kill": int(number)}:
                self._kill(number)
        return True

    def _fork(self, number: int) -> None:
        try:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                server = os.getpid()
                process = os.fork()
                if process == 0:
                    _work(
                        self._libc, ours, server, self._work.job, self._limits, self._layers, self._readable
                    )
                self._workers[number] = process
                socket.send_fds(self._control, [wire.encode({"forked": number})], [theirs.fileno()])
        except (BrokenPipeError, ConnectionResetError):
            raise
        except OSError as error:
            self._control.send(wire.encode({"refused": number, "reason": str(error)}))

    def _kill(self, number: int) -> None:
        if number in self._workers:
            self._killed.add(number)
            os.kill(self._workers[number], signal.SIGKILL)  # not reaped yet, so it is ours, alive or not

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wakeup.recv(512):
                pass
        for number, process in list(self._workers.items()):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                del self._workers[number]
                killed = number in self._killed
                self._killed.discard(number)
                self._control.send(wire.encode({"ended": number, "status": status, "killed": killed}))

    def _end_workers(self) -> None:
        for process in self._workers.values():
            os.kill(process, signal.SIGKILL)
        for process in self._workers.values():
            os.waitpid(process, 0)


@dataclass(frozen=True, slots=True)
class _Work:
    """What a job's module offers (see the package)."""

    job: worker.Job
    warm_up: Callable[[], None]
    prove: Callable[[], None]
    readable: Callable[[], Sequence[str]]


def _load(job: str) -> _Work:
    module_name, _, name = job.partition(":")
    module = importlib.import_module(module_name)
    warm_up = getattr(module, "warm_up", lambda: None)
    return _Work(
        job=getattr(module, name),
        warm_up=warm_up,
        prove=getattr(module, "prove", warm_up),
        readable=getattr(module, "readable", tuple),
    )


def _await_single_thread() -> None:
    """Only the forking thread lives on in a fork; a lock that another one holds would be held for ever."""
    deadline = time.monotonic() + 1
    while (count := len(list(Path("/proc/self/task").iterdir()))) > 1:
        # A joined thread takes a moment to leave the table.
        if time.monotonic() > deadline:
            names = ", ".join(thread.name for thread in threading.enumerate())
            raise RuntimeError(f"the job left {count} threads running ({names})")
        time.sleep(0.01)


def _open_process(process: int) -> int | None:
    if os.getppid() != process:
        os._exit(0)  # the daemon ended while we started
    try:
        return os.pidfd_open(process)
    except OSError:  # Linux before 5.3: the socket alone tells
        return None


# --- the self-test -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Tested:
    missing: dict[str, str]
    trouble: str | None


def _self_test(
    libc: ctypes.CDLL, limits: Limits, prove: Callable[[], None], readable: Sequence[str]
) -> tuple[list[Layer], list[str]]:
    """Which layers hold here, proved by a worker that does it confined, and notices about those that don't.

    A filter of system calls that this system's libraries can't live with is left off, and that is said;
    refusing every document after an upgrade of libc would be worse. Raises RuntimeError.
    """
    tested = _test_worker(libc, limits, prove, lockdown.LAYERS, readable)
    missing = tested.missing
    if tested.trouble is not None:
        fewer = tuple(layer for layer in lockdown.LAYERS if layer != "seccomp")
        again = _test_worker(libc, limits, prove, fewer, readable)
        if again.trouble is not None:
            raise RuntimeError(f"the self-test in a confined process failed: {again.trouble}")
        missing = {**again.missing, "seccomp": f"the self-test fails with it: {tested.trouble}"}
    holding = [layer for layer in lockdown.LAYERS if layer not in missing]
    without = {**_WITHOUT, "landlock": _WITHOUT_ANY_PATH} if readable else _WITHOUT
    return holding, [f"no {layer} ({reason}): {without[layer]}" for layer, reason in missing.items()]


def _test_worker(
    libc: ctypes.CDLL,
    limits: Limits,
    prove: Callable[[], None],
    wanted: tuple[Layer, ...],
    readable: Sequence[str],
) -> _Tested:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = os.getpid()
        process = os.fork()
        if process == 0:
            _test(libc, theirs, server, limits, prove, wanted, readable)
        theirs.close()
        ours.settimeout(_SELF_TEST_SECONDS)
        try:
            data = ours.recv(wire.CONTROL_BYTES)
        except TimeoutError:
            data = b""
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
    if data:
        told: dict[str, Any] = wire.decode(data)
        return _Tested(missing=told["missing"], trouble=told["trouble"])
    return _Tested({}, f"it ended with status {os.waitstatus_to_exitcode(status)}")


def _test(
    libc: ctypes.CDLL,
    channel: socket.socket,
    server: int,
    limits: Limits,
    prove: Callable[[], None],
    wanted: tuple[Layer, ...],
    readable: Sequence[str],
) -> NoReturn:
    try:
        missing: dict[str, str] = {}
        try:
            missing = lockdown.confine(libc, limits, parent=server, wanted=wanted, readable=readable)
            lockdown.arm_job(limits, writes=False)
            prove()
            gc.collect()  # what a library does at last, it must be able to do here
            bytearray(_LEAST_ROOM_BYTES)
            trouble = _loophole(missing, wanted, readable)
        except MemoryError:
            trouble = f"{limits.memory_bytes} bytes of memory are not enough"
        except BaseException as error:  # the border of the process
            trouble = f"{type(error).__name__}: {error}"[:2000]
        os.write(channel.fileno(), wire.encode({"missing": missing, "trouble": trouble}))
    finally:
        os._exit(0)


def _loophole(missing: dict[str, str], wanted: tuple[Layer, ...], readable: Sequence[str]) -> str | None:
    """Layers that say they hold are tried: some kernels accept a filter and do not apply it."""
    holding = [layer for layer in wanted if layer != "rlimits" and layer not in missing]
    if not holding:
        return None
    # The filter of system calls alone can't tell one file from another, only reading from writing.
    tried = ("/dev/null", os.O_WRONLY) if readable and holding == ["seccomp"] else ("/", os.O_RDONLY)
    try:
        os.close(os.open(*tried))
    except OSError:
        return None
    return f"a confined process could open {tried[0]}"


# --- in the child ------------------------------------------------------------------------------------------


def _work(
    libc: ctypes.CDLL,
    channel: socket.socket,
    server: int,
    job: worker.Job,
    limits: Limits,
    layers: list[Layer],
    readable: Sequence[str],
) -> NoReturn:
    """The forked child: never returns into the server's frames, whose descriptors are closed here."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        lockdown.set_process_name(libc, "ingestd-worker")
        os.dup2(channel.fileno(), _WORKER_DESCRIPTOR, inheritable=False)
        os.closerange(_WORKER_DESCRIPTOR + 1, _DESCRIPTORS)
        own = socket.socket(fileno=_WORKER_DESCRIPTOR)
        if lockdown.confine(libc, limits, parent=server, wanted=tuple(layers), readable=readable):
            os._exit(1)  # what held in the self-test must hold now
        worker.serve(own, job, limits)
        os._exit(0)
    finally:
        os._exit(1)
