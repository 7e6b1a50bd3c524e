"""GIF and WebP: their size, and how many pictures they hold, told from the headers alone.

Neither format says at its start how many frames follow; they are counted, no further than the limit.
"""

import struct

from ingestd.normalizer.exchange import Found, Problem
from ingestd.normalizer.image import check_pixels

MAX_FRAMES = 50
"""An animation of more is no receipt."""


def check_frames(frames: int) -> None:
    """Raises Found: ANIMATED."""
    if frames > MAX_FRAMES:
        raise Found(Problem.ANIMATED, frames=frames, limit=MAX_FRAMES)


def gif_frames(data: bytes, *, max_pixels: int) -> int:
    """At least 1. Raises Found: TRUNCATED, CORRUPT, TOO_MANY_PIXELS, ANIMATED."""
    try:
        return _gif_frames(data, max_pixels)
    except (struct.error, IndexError) as error:
        raise Found(Problem.TRUNCATED) from error


def webp_size(data: bytes) -> tuple[int, int]:
    """Of the canvas, in pixels (RFC 9649 section 2). Raises Found: CORRUPT, TRUNCATED."""
    try:
        match data[12:16]:
            case b"VP8 ":
                width, height = struct.unpack_from("<HH", data, 26)
                return width & 0x3FFF, height & 0x3FFF
            case b"VP8L":
                (bits,) = struct.unpack_from("<I", data, 21)
                return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
            case b"VP8X":
                (low,) = struct.unpack_from("<I", data[24:27] + b"\0")
                (high,) = struct.unpack_from("<I", data[27:30] + b"\0")
                return low + 1, high + 1
    except struct.error as error:
        raise Found(Problem.TRUNCATED) from error
    raise Found(Problem.CORRUPT)


_TRAILER = 0x3B


def _gif_frames(data: bytes, max_pixels: int) -> int:
    """GIF89a: a screen descriptor, then blocks, each of sub-blocks whose first byte is their length."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + _colour_table_bytes(flags)
    frames = 0
    while position < len(data) and data[position] != _TRAILER:
        match data[position]:
            case 0x2C:  # _IMAGE
                frames += 1
                check_frames(frames)
                left, top, wide, high, flags = struct.unpack_from("<HHHHB", data, position + 1)
                check_pixels(max(width, left + wide), max(height, top + high), max_pixels)
                position = _after_blocks(data, position + 11 + _colour_table_bytes(flags))
            case 0x21:  # _EXTENSION
                position = _after_blocks(data, position + 2)
            case _:
                raise Found(Problem.CORRUPT)
    if not frames:
        raise Found(Problem.CORRUPT)
    return frames


def _colour_table_bytes(flags: int) -> int:
    return 3 << (flags & 0x07) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, position: int) -> int:
    while length := data[position]:
        position += length + 1
    return position + 1
