"""A worker: serves one job at a time on its socket, confined, until the socket closes or a job goes wrong.

After an error it ends: what a failed job left behind never meets the next document.
"""

import os
import resource
import socket
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

from ingestd.offload import wire
from ingestd.offload.lockdown import Limits, arm_job

Job = Callable[[dict[str, object], Sequence[int], Sequence[int]], dict[str, object]]

_READ_BYTES = 1 << 16
_DETAIL_CHARACTERS = 300

# Made before memory runs out.
_OUT_OF_MEMORY = wire.frame({"error": "memory", "detail": "MemoryError"})


def serve(channel: socket.socket, job: Job, limits: Limits) -> None:
    """Says hello, then answers jobs until the other end closes. Returns after the first failed job."""
    _write(channel, wire.frame({}))
    healthy = True
    while healthy and (received := _receive(channel)) is not None:
        message, descriptors = received
        try:
            reply, healthy = _answer(job, limits, message, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        _write(channel, reply)


def _answer(
    job: Job, limits: Limits, message: dict[str, Any], descriptors: Sequence[int]
) -> tuple[bytes, bool]:
    inputs, outputs = descriptors[: message["inputs"]], descriptors[message["inputs"] :]
    try:
        arm_job(limits, writes=bool(outputs))
        result = job(message["request"], inputs, outputs)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return wire.frame({"result": result, "peak": peak}), True
    except MemoryError:
        return _OUT_OF_MEMORY, False
    except BaseException as error:  # also SystemExit: this is the border of the process
        return _describe(error), False


def _describe(error: BaseException) -> bytes:
    try:
        text = f"{type(error).__name__}: {str(error)[:_DETAIL_CHARACTERS]} ({_place(error)})"
        return wire.frame({"error": "crash", "detail": text})
    except Exception:  # a hostile __str__, no memory: the name alone must do
        return wire.frame({"error": "crash", "detail": type(error).__name__})


def _place(error: BaseException) -> str:
    """File and line where it was raised."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return "nowhere"
    return f"{PurePath(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}"


def _receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next request with its descriptors, which come with its first byte. None: the socket was closed."""
    data, descriptors, _, _ = socket.recv_fds(channel, _READ_BYTES, wire.DESCRIPTORS)
    if not data:
        return None
    buffer = bytearray(data)
    while len(buffer) < wire.HEADER.size:
        buffer += _read(channel)
    length = wire.body_length(bytes(buffer[: wire.HEADER.size]))
    while len(buffer) < wire.HEADER.size + length:
        buffer += _read(channel)
    return wire.decode(bytes(buffer[wire.HEADER.size :])), descriptors


def _read(channel: socket.socket) -> bytes:
    data = os.read(channel.fileno(), _READ_BYTES)
    if not data:
        raise EOFError("the daemon closed the socket within a request")
    return data


def _write(channel: socket.socket, data: bytes) -> None:
    # write(2) and not send(2): the system call filter knows no send.
    view = memoryview(data)
    while view:
        view = view[os.write(channel.fileno(), view) :]
