"""Runs a command and kills it right before a call: python tracer.py CALL N DIRECTORY COMMAND…

Seen are the calls of all threads of the process that change files below the directory, and those on TCP
connections, each with what it is made on: "fsync data/spool", "connect TCP". CALL is one of these, N says
which time; 0 only looks. (strace can inject a signal too, but it counts in each thread on its own, so that
a thread that makes few calls is never hit.) Prints one JSON document: {"calls": […]} with what was seen,
the last one not executed if the process was killed, and "code", its exit code, negative for a signal.

The kernel stops only what a seccomp filter picks (ptrace(2), PTRACE_O_TRACESECCOMP). Needs nothing but the
standard library.
"""

import ctypes
import json
import os
import platform
import re
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

_NUMBERS = {
    "x86_64": {
        "write": 1, "pwrite64": 18, "writev": 20, "connect": 42, "sendto": 44, "recvfrom": 45, "sendmsg": 46,
        "recvmsg": 47, "fsync": 74, "fdatasync": 75, "ftruncate": 77, "rename": 82, "mkdir": 83, "rmdir": 84,
        "link": 86, "unlink": 87, "fchmod": 91, "openat": 257, "mkdirat": 258, "unlinkat": 263,
        "renameat": 264, "linkat": 265, "utimensat": 280, "renameat2": 316,
    },
    "aarch64": {
        "mkdirat": 34, "unlinkat": 35, "linkat": 37, "renameat": 38, "ftruncate": 46, "fchmod": 52,
        "openat": 56, "write": 64, "writev": 66, "pwrite64": 68, "fsync": 82, "fdatasync": 83,
        "utimensat": 88, "connect": 203, "sendto": 206, "recvfrom": 207, "sendmsg": 211, "recvmsg": 212,
        "renameat2": 276,
    },
}  # fmt: skip  # a table
KNOWN = platform.machine() in _NUMBERS
_BY_PATH = {"rename": 0, "mkdir": 0, "rmdir": 0, "link": 1, "unlink": 0}
"""Which argument is the path that shows where it happens."""
_BY_DIRECTORY = {
    "openat": 0, "mkdirat": 0, "unlinkat": 0, "renameat": 0, "renameat2": 0, "linkat": 2, "utimensat": 0,
}  # fmt: skip  # a table
"""Which argument is the descriptor of the directory; the path is the next one."""
_ON_SOCKETS = frozenset({"sendto", "recvfrom", "sendmsg", "recvmsg", "write", "writev"})

_TRACEME, _CONT, _SETOPTIONS, _GETEVENTMSG, _GET_SYSCALL_INFO = 0, 7, 0x4200, 0x4201, 0x420E
_OPTIONS = 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000  # FORK, VFORK, CLONE, EXEC, SECCOMP, EXITKILL
_EVENT_SECCOMP = 7
_WALL = 0x40000000
_INFO = struct.Struct("=B3xIQQQ6Q")
_AT_FDCWD = 0xFFFFFF9C
_CHANGING_FLAGS = os.O_CREAT | os.O_TRUNC
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER_MODE = 38, 22, 2
_RET_TRACE, _RET_ALLOW = 0x7FF00000, 0x7FFF0000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class Tracer:
    def __init__(self, call: str, at: int, directory: Path, command: list[str]) -> None:
        self._names = {number: name for name, number in _NUMBERS[platform.machine()].items()}
        self._call = call
        self._left = at
        self._directory = str(directory.resolve())
        self._processes: dict[int, int] = {}
        self._sockets: set[str] = set()
        self.calls: list[str] = []
        self._main = self._start(command)

    def run(self) -> int:
        """To the end of the process. Returns its exit code."""
        while True:
            thread, status = os.waitpid(-1, _WALL)
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                if thread == self._main:
                    return os.waitstatus_to_exitcode(status)
                continue
            number = os.WSTOPSIG(status)
            event = status >> 16
            if event == _EVENT_SECCOMP:
                self._see(thread)
                number = 0
            elif event or (number == signal.SIGSTOP and thread not in self._processes):
                number = 0  # its first stop
            self._processes.setdefault(thread, 0)
            _libc.ptrace(_CONT, thread, None, number)

    def _start(self, command: list[str]) -> int:
        child = os.fork()
        if child == 0:
            _ptrace(_TRACEME, 0, None, None)
            os.kill(os.getpid(), signal.SIGSTOP)
            _trace_calls(list(self._names))
            os.execvp(command[0], command)  # noqa: S606 - arguments are ours, never a shell line
        os.waitpid(child, _WALL)
        _ptrace(_SETOPTIONS, child, None, _OPTIONS)
        self._processes[child] = child
        _ptrace(_CONT, child, None, None)
        return child

    def _see(self, thread: int) -> None:
        """A thread is about to make a call that may count."""
        if self._process_of(thread) != self._main:
            return
        buffer = ctypes.create_string_buffer(_INFO.size)
        _ptrace(_GET_SYSCALL_INFO, thread, _INFO.size, ctypes.addressof(buffer))
        _, _, _, _, number, *arguments = _INFO.unpack(buffer.raw)
        name = self._names[number]
        place = self._place(thread, name, arguments)
        if place is None:
            return
        self.calls.append(f"{name} {place}")
        if self.calls[-1] == self._call:
            self._left -= 1
            if self._left == 0:
                os.kill(self._main, signal.SIGKILL)

    def _place(self, thread: int, name: str, arguments: list[int]) -> str | None:
        """Where it happens; None when it does not count."""
        if name == "connect":
            return self._connection(thread, arguments)
        if name in _BY_PATH:
            return self._below(_text(thread, arguments[_BY_PATH[name]]))
        if name in _BY_DIRECTORY:
            if name == "openat" and not arguments[2] & _CHANGING_FLAGS:
                return None
            position = _BY_DIRECTORY[name]
            if name == "utimensat" and arguments[1] == 0:
                return self._below(_link(thread, arguments[0]))
            path = _text(thread, arguments[position + 1])
            relative = not path.startswith("/") and arguments[position] & 0xFFFFFFFF != _AT_FDCWD
            return self._below(f"{_link(thread, arguments[position])}/{path}" if relative else path)
        link = _link(thread, arguments[0])
        if name in _ON_SOCKETS and link in self._sockets:
            return "TCP"
        return self._below(link)

    def _connection(self, thread: int, arguments: list[int]) -> str | None:
        with Path(f"/proc/{thread}/mem").open("rb") as memory:
            memory.seek(arguments[1])
            (family,) = struct.unpack("=H", memory.read(2))
        if family not in (2, 10):  # AF_INET, AF_INET6
            return None
        self._sockets.add(_link(thread, arguments[0]))
        return "TCP"

    def _below(self, path: str) -> str | None:
        if not path.startswith(self._directory + "/"):
            return None
        return _without_chance(path.removeprefix(self._directory + "/"))

    def _process_of(self, thread: int) -> int:
        if not self._processes.get(thread):
            status = Path(f"/proc/{thread}/status").read_text()
            match = re.search(r"^Tgid:\s*(\d+)", status, re.MULTILINE)
            assert match is not None
            self._processes[thread] = int(match[1])
        return self._processes[thread]


def _trace_calls(numbers: list[int]) -> None:
    """Ask the kernel to stop at these, and at nothing else."""
    load, equal, answer = 0x20, 0x15, 0x06  # BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ, BPF_RET
    instructions = [(load, 0, 0, 0)]
    instructions += [(equal, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    instructions += [(answer, 0, 0, _RET_ALLOW), (answer, 0, 0, _RET_TRACE)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in instructions))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(instructions), ctypes.addressof(code)))
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_SECCOMP, _FILTER_MODE, ctypes.addressof(program))):
        padded = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0)][:5]
        if _libc.prctl(*padded) != 0:
            os._exit(126)


def _ptrace(request: int, thread: int, address: int | None, data: int | None) -> None:
    if _libc.ptrace(request, thread, address, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace: {os.strerror(number)}")


def _link(thread: int, descriptor: int) -> str:
    try:
        return str(Path(f"/proc/{thread}/fd/{descriptor & 0xFFFFFFFF}").readlink())
    except OSError:
        return ""


def _text(thread: int, address: int) -> str:
    """A C string in the thread's memory, page by page: the next page may not be there."""
    return os.fsdecode(b"".join(_pieces(thread, address)))


def _pieces(thread: int, address: int) -> Iterator[bytes]:
    with Path(f"/proc/{thread}/mem").open("rb", buffering=0) as memory:
        while address:
            memory.seek(address)
            piece = memory.read(4096 - address % 4096)
            text, end, _ = piece.partition(b"\0")
            yield text
            if end or not piece:
                return
            address += len(piece)


def _without_chance(path: str) -> str:
    path = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", path)
    path = re.sub(r"\b[0-9a-f]{2}/[0-9a-f]{64}|[0-9a-f]{32,64}", "HASH", path)
    return re.sub(r"spool/[0-9a-f]{2}$", "spool/SHARD", path.removesuffix(" (deleted)"))


def main() -> None:
    tracer = Tracer(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
    code = tracer.run()
    sys.stdout.write(json.dumps({"calls": tracer.calls, "code": code}))


if __name__ == "__main__":
    main()
