"""Jobs that a limited process is asked to do: decent ones, and what hostile bytes might make of a decoder."""

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

REPLY = 3
"""The descriptor on which a worker answers."""

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

_state = {"jobs": 0, "poisoned": 0}


def job(request: dict[str, Any], inputs: Sequence[int], outputs: Sequence[int]) -> dict[str, object]:
    """Does what `do` names."""
    if _state["poisoned"]:
        _crash(request)
    _state["jobs"] += 1
    action = request["do"]
    if action in _ATTEMPTS:
        try:
            return {"done": repr(_ATTEMPTS[action](request))}
        except OSError as error:
            return {"refused": errno.errorcode[error.errno or 0]}
    if action in _FILES:
        return _FILES[action](request, inputs, outputs)
    return _DEEDS[action](request)


# --- decent ------------------------------------------------------------------------------------------------


def _read(request: Mapping[str, Any], inputs: Sequence[int], outputs: Sequence[int]) -> dict[str, object]:
    return {"contents": [os.read(descriptor, 100).decode() for descriptor in inputs]}


def _copy(request: Mapping[str, Any], inputs: Sequence[int], outputs: Sequence[int]) -> dict[str, object]:
    for source, sink in zip(inputs, outputs, strict=True):
        with open(source, "rb", closefd=False) as reader, open(sink, "r+b", closefd=False) as writer:
            writer.write(reader.read() * request.get("times", 1))
    return {"copied": len(outputs)}


def _write_to_input(
    request: Mapping[str, Any], inputs: Sequence[int], outputs: Sequence[int]
) -> dict[str, object]:
    try:
        os.write(inputs[0], b"x")
    except OSError as error:
        return {"refused": errno.errorcode[error.errno or 0]}
    return {"done": "written"}


def _descriptors(
    request: Mapping[str, Any], inputs: Sequence[int], outputs: Sequence[int]
) -> dict[str, object]:
    found = []
    for descriptor in range(300):
        try:
            os.lseek(descriptor, 0, os.SEEK_CUR)
        except OSError as error:
            if error.errno == errno.EBADF:
                continue
        found.append(descriptor)
    return {"open": found, "inputs": list(inputs)}


def _who(request: Mapping[str, Any]) -> dict[str, object]:
    return {"pid": os.getpid(), "server": os.getppid(), "jobs": _state["jobs"], "user": os.getuid()}


def _environment(request: Mapping[str, Any]) -> dict[str, object]:
    return {"environment": dict(os.environ), "arguments": sys.orig_argv, "modules": sorted(sys.modules)}


def _sleep(request: Mapping[str, Any]) -> dict[str, object]:
    time.sleep(request["seconds"])
    return {}


def _echo(request: Mapping[str, Any]) -> dict[str, object]:
    return {"text": request["text"]}


def _compute(request: Mapping[str, Any]) -> dict[str, object]:
    end = time.process_time() + request["seconds"]
    while time.process_time() < end:
        pass
    return {}


def _thread(request: Mapping[str, Any]) -> dict[str, object]:
    heard: list[int] = []
    thread = threading.Thread(target=lambda: heard.append(1))
    thread.start()
    thread.join()
    return {"heard": heard}


def _use_memory(request: Mapping[str, Any]) -> dict[str, object]:
    return {"used": len(bytes(bytearray(b"x") * request["bytes"]))}


def _poison(request: Mapping[str, Any]) -> dict[str, object]:
    _state["poisoned"] = 1
    return {}


# --- out of bounds -----------------------------------------------------------------------------------------


def _spin(request: Mapping[str, Any]) -> dict[str, object]:
    if request.get("stubborn"):
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    while True:
        pass


def _allocate(request: Mapping[str, Any]) -> dict[str, object]:
    return {"bytes": len(bytearray(4 << 30))}


def _endless_list(request: Mapping[str, Any]) -> dict[str, object]:
    grows: list[str] = []
    while True:
        grows.append("x" * 100_000 + str(len(grows)))


def _crash(request: Mapping[str, Any]) -> dict[str, object]:
    ctypes.string_at(0)
    return {}


def _abort(request: Mapping[str, Any]) -> dict[str, object]:
    os.abort()


def _exit(request: Mapping[str, Any]) -> dict[str, object]:
    os._exit(7)


def _system_exit(request: Mapping[str, Any]) -> dict[str, object]:
    raise SystemExit(0)


def _raise(request: Mapping[str, Any]) -> dict[str, object]:
    raise LookupError("no\nsuch\x1b[31m page" + "!" * 10_000)


class _Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def _raise_unspeakable(request: Mapping[str, Any]) -> dict[str, object]:
    raise _Unspeakable


def _recurse(request: Mapping[str, Any]) -> dict[str, object]:
    return _recurse(request)


def _recurse_in_c(request: Mapping[str, Any]) -> dict[str, object]:
    sys.setrecursionlimit(1 << 30)
    nested: list[object] = []
    for _ in range(1_000_000):
        nested = [nested]
    return {"text": repr(nested)}


def _not_json(request: Mapping[str, Any]) -> dict[str, object]:
    return {"object": object()}


def _no_object(request: Mapping[str, Any]) -> Any:
    return [1, 2]


def _huge_reply(request: Mapping[str, Any]) -> dict[str, object]:
    return {"text": "x" * (2 << 20)}


def _answer_raw(*frames: bytes) -> None:
    os.write(REPLY, b"".join(frames))


def _half_reply(request: Mapping[str, Any]) -> dict[str, object]:
    _answer_raw(struct.pack(">I", 100), b'{"result": {')
    os._exit(0)


def _endless_reply(request: Mapping[str, Any]) -> dict[str, object]:
    _answer_raw(struct.pack(">I", 0xFFFFFFFF), b"x" * 100)
    return _sleep({"seconds": 3600})


def _nested_reply(request: Mapping[str, Any]) -> dict[str, object]:
    body = b"[" * 1_000_000
    view = memoryview(struct.pack(">I", len(body)) + body)
    while view:
        view = view[os.write(REPLY, view) :]
    return _sleep({"seconds": 3600})


def _two_replies(request: Mapping[str, Any]) -> dict[str, object]:
    body = json.dumps({"result": {}, "peak": 0}).encode()
    _answer_raw((struct.pack(">I", len(body)) + body) * 2)
    return _sleep({"seconds": 3600})


def _senseless_reply(request: Mapping[str, Any]) -> dict[str, object]:
    body = json.dumps({"result": 5}).encode()
    _answer_raw(struct.pack(">I", len(body)) + body)
    return _sleep({"seconds": 3600})


def _close_socket(request: Mapping[str, Any]) -> dict[str, object]:
    os.close(REPLY)
    return _sleep({"seconds": 3600})


# --- attempts to get out: each must fail with an errno -----------------------------------------------------


def _open(request: Mapping[str, Any]) -> object:
    return os.open(request["path"], request.get("flags", os.O_RDONLY))


def _ptrace(request: Mapping[str, Any]) -> object:
    if _LIBC.ptrace(16, request["pid"], None, None) < 0:  # PTRACE_ATTACH
        raise OSError(ctypes.get_errno(), "ptrace")
    return "attached"


def _become_dumpable(request: Mapping[str, Any]) -> object:
    if _LIBC.prctl(4, 1, 0, 0, 0) < 0:  # PR_SET_DUMPABLE
        raise OSError(ctypes.get_errno(), "prctl")
    return "dumpable"


def _system_call(*arguments: int) -> object:
    wide = [ctypes.c_long(argument) for argument in arguments]
    if _LIBC.syscall(*wide) < 0:
        raise OSError(ctypes.get_errno(), "system call")
    return "done"


def _own_fork(request: Mapping[str, Any]) -> object:
    if os.fork() == 0:
        os._exit(0)
    return "forked"


_ATTEMPTS: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "open": _open,
    "read environ": lambda request: Path(f"/proc/{request['pid']}/environ").read_bytes(),
    "list": lambda request: list(Path("/").iterdir()),
    "unlink": lambda request: Path(request["path"]).unlink(),
    "chmod": lambda request: Path(request["path"]).chmod(0),
    "rename": lambda request: Path(request["path"]).rename("gone"),
    "stat": lambda request: Path(request["path"]).stat(),
    "socket": lambda request: socket.socket(),
    "unix socket": lambda request: socket.socket(socket.AF_UNIX),
    "socketpair": lambda request: socket.socketpair(),
    "fork": _own_fork,
    "exec": lambda request: os.execv("/bin/true", ["true"]),  # noqa: S606 it must fail
    "run": lambda request: subprocess.run(["/bin/true"], check=True),
    "kill": lambda request: os.kill(request["pid"], signal.SIGKILL),
    "probe": lambda request: os.kill(request["pid"], 0),
    "ptrace": _ptrace,
    "limit": lambda request: resource.prlimit(request["pid"], resource.RLIMIT_NOFILE, (3, 3)),
    "memfd": lambda request: os.memfd_create("x"),
    "machine code": lambda request: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
    "dumpable": _become_dumpable,
    "root": lambda request: os.setresuid(0, 0, 0),
    "raise memory limit": lambda request: resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40)),
    "x32": lambda request: _system_call(0x40000000 + 39),
    "io_uring": lambda request: _system_call(425, 1, 0),
}

_FILES: dict[str, Callable[[Mapping[str, Any], Sequence[int], Sequence[int]], dict[str, object]]] = {
    "read": _read,
    "copy": _copy,
    "write to input": _write_to_input,
    "descriptors": _descriptors,
}

_DEEDS: dict[str, Callable[[Mapping[str, Any]], dict[str, object]]] = {
    "who": _who,
    "environment": _environment,
    "sleep": _sleep,
    "echo": _echo,
    "compute": _compute,
    "thread": _thread,
    "use memory": _use_memory,
    "poison": _poison,
    "spin": _spin,
    "allocate": _allocate,
    "endless list": _endless_list,
    "crash": _crash,
    "abort": _abort,
    "exit": _exit,
    "system exit": _system_exit,
    "raise": _raise,
    "raise unspeakable": _raise_unspeakable,
    "recurse": _recurse,
    "recurse in c": _recurse_in_c,
    "not json": _not_json,
    "no object": _no_object,
    "huge reply": _huge_reply,
    "half reply": _half_reply,
    "endless reply": _endless_reply,
    "nested reply": _nested_reply,
    "two replies": _two_replies,
    "senseless reply": _senseless_reply,
    "close socket": _close_socket,
}
