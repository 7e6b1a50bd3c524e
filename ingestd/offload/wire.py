"""What travels between daemon, fork server and workers: JSON objects, and descriptors beside them.

On a worker's stream socket a message is a frame: four bytes of length, then that much JSON. On the control
socket, which keeps message boundaries, a message is the JSON alone. Whatever a worker sends is untrusted.
"""

import json
import struct
from collections.abc import Mapping

HEADER = struct.Struct(">I")

FRAME_BYTES = 1 << 20
"""Longest JSON of a request or a reply; larger results go to an output descriptor."""

CONTROL_BYTES = 1 << 16

DESCRIPTORS = 128
"""Most descriptors of one job. The kernel takes 253 in one message (SCM_MAX_FD, unix(7))."""


_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


class BadMessage(Exception):
    """The bytes are no message of ours."""


def encode(message: Mapping[str, object]) -> bytes:
    """JSON. Raises TypeError or ValueError for what JSON can't say."""
    return _ENCODER.encode(message).encode()


def decode(data: bytes) -> dict[str, object]:
    """The JSON object. Raises BadMessage."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"not JSON: {error}") from error
    if not isinstance(message, dict):
        raise BadMessage("not a JSON object")
    return message


def frame(message: Mapping[str, object]) -> bytes:
    """Header and JSON. Raises ValueError when it is too long, TypeError or ValueError as `encode`."""
    body = encode(message)
    if len(body) > FRAME_BYTES:
        raise ValueError(f"{len(body)} bytes of JSON are more than the {FRAME_BYTES} allowed")
    return HEADER.pack(len(body)) + body


def body_length(header: bytes) -> int:
    """Bytes that follow these four. Raises BadMessage when they are more than allowed."""
    (length,) = HEADER.unpack(header)
    if length > FRAME_BYTES:
        raise BadMessage(f"a message of {length} bytes, {FRAME_BYTES} are allowed")
    return int(length)
