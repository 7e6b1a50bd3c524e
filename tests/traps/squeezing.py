"""Deflate streams (RFC 1951, RFC 1950) of any number of zeros, made at once: a packed megabyte, repeated."""

import zlib
from functools import cache

_PIECE_BYTES = 1 << 20


def zlib_zeros(count: int) -> bytes:
    """What zlib.compress(bytes(count)) would be like, about a thousand to one."""
    checksum = (count % 65521) << 16 | 1  # Adler-32 of zeros
    return b"\x78\xda" + raw_zeros(count) + checksum.to_bytes(4)


def raw_zeros(count: int, head: bytes = b"") -> bytes:
    """Deflate without a wrapper: `head`, then the zeros."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = squeezer.compress(head) + squeezer.flush(zlib.Z_FULL_FLUSH)
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    last = squeezer.compress(bytes(count % _PIECE_BYTES)) + squeezer.flush()
    return first + _piece() * (count // _PIECE_BYTES) + last


@cache
def _piece() -> bytes:
    """A megabyte of zeros that ends at a byte and refers to nothing before it."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeezer.compress(bytes(_PIECE_BYTES)) + squeezer.flush(zlib.Z_FULL_FLUSH)
