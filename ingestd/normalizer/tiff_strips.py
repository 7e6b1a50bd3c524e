"""Whether all samples of a TIFF page are in the file, and no more than those.

Decoders forgive: libtiff leaves white what a cut fax or JPEG strip no longer holds, and passes over what is
too much. Here each packing (TIFF 6.0 sections 10, 11, 22; deflate) is asked in the cheapest way that tells.
"""

import zlib
from enum import IntEnum

import numpy as np
from PIL import Image

from ingestd.normalizer.exchange import Found, Problem
from ingestd.normalizer.tiff import Page

_YCBCR = 6
_UPSIDE_DOWN_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class _Packing(IntEnum):
    """TIFF's numbers of the packings that are looked into."""

    FAX_3 = 3
    FAX_4 = 4
    LZW = 5
    JPEG = 7
    DEFLATE = 8
    OLD_DEFLATE = 32946
    PACKBITS = 32773


def check_pieces(data: bytes, page: Page) -> None:
    """Before the page is decoded. Raises Found: TRUNCATED, CORRUPT."""
    for number, (offset, size) in enumerate(page.pieces):
        if offset + size > len(data):
            raise Found(Problem.TRUNCATED)
        piece = memoryview(data)[offset : offset + size]
        match page.compression:
            case _Packing.DEFLATE | _Packing.OLD_DEFLATE:
                _check_deflated(piece, least=_samples_bytes(page, number), most=_full_bytes(page))
            case _Packing.LZW | _Packing.PACKBITS:  # that too little is there is what the decoder finds
                if size > 2 * _full_bytes(page) + _SLACK_BYTES:
                    raise Found(Problem.CORRUPT)
            case _Packing.JPEG:
                if bytes(piece[-_JPEG_END_BYTES:]).rfind(b"\xff\xd9") < 0:
                    raise Found(Problem.TRUNCATED)
            case _Packing.FAX_3:
                _check_fax_lines(_bits(piece, page), _rows(page, number))


def check_fax(data: bytes, page: Page, image: Image.Image) -> None:
    """After it was decoded as it is stored, not turned (mode 1). Raises Found: TRUNCATED.

    White lines at the end of a strip stand in T.6 as one bit 1 each. Where the picture has many more of them
    than the strip has such bits, the decoder made them up.
    """
    if page.compression != _Packing.FAX_4 or page.tiled or image.mode != "1":
        return
    ink = np.asarray(image)
    # Coded white is what libtiff leaves where nothing was decoded; with photometric 1 it is shown black.
    blank = np.asarray(~ink.any(axis=1) if page.photometric else ink.all(axis=1))
    for number, (offset, size) in enumerate(page.pieces):
        top = number * page.piece_height
        lines = blank[top : top + _rows(page, number)]
        inked = np.flatnonzero(~lines)
        at_end = len(lines) - (int(inked[-1]) + 1 if len(inked) else 0)
        if at_end > _forgiven(len(lines)) + _ones_at_end(
            _bits(memoryview(data)[offset : offset + size], page)
        ):
            raise Found(Problem.TRUNCATED)


_SLACK_BYTES = 4_096
_JPEG_END_BYTES = 64
"""What may stand behind the end of a strip's JPEG: padding."""
_STEP_BYTES = 1 << 20


def _rows(page: Page, number: int) -> int:
    """Of this strip or tile; the last strip of a layer may have fewer."""
    if page.tiled:
        return page.piece_height
    per_layer = -(-page.height // page.piece_height)
    return min(page.piece_height, page.height - number % per_layer * page.piece_height)


def _samples_bytes(page: Page, number: int) -> int:
    """At least so many bytes the unpacked piece has; of YCbCr colours some are left out."""
    row = -(-page.piece_width * page.bits * page.samples // 8)
    return 0 if page.photometric == _YCBCR else row * _rows(page, number)


def _full_bytes(page: Page) -> int:
    """At most: some writers fill up the last strip."""
    return -(-page.piece_width * page.bits * page.samples // 8) * page.piece_height


def _check_deflated(piece: memoryview, *, least: int, most: int) -> None:
    """Unpacked once without being kept: the checksum at the end is what libtiff does not look at."""
    unpacking = zlib.decompressobj()
    unpacked, waiting = 0, bytes(piece)
    try:
        while waiting and not unpacking.eof and unpacked <= most + _SLACK_BYTES:
            unpacked += len(unpacking.decompress(waiting, _STEP_BYTES))
            waiting = unpacking.unconsumed_tail
    except zlib.error as error:
        raise Found(Problem.CORRUPT) from error
    if unpacked < least:
        raise Found(Problem.TRUNCATED)
    # Who forgets the checksum still ends at the last sample.
    if unpacked > most + _SLACK_BYTES or not (unpacking.eof or unpacked in (least, most)):
        raise Found(Problem.CORRUPT)


# --- fax ----------------------------------------------------------------------------------------------------

_END_OF_LINE = "000000000001"  # T.4 section 4.1.2; no code has so many zeros
_END_OF_BLOCK_MARKS = 2  # T.6 section 2.4.1.1


def _forgiven(lines: int) -> int:
    """A fax line lost to noise is no reason to refuse the page, and writers round heights up."""
    return 8 + lines // 50


def _bits(piece: memoryview, page: Page) -> str:
    packed = bytes(piece).translate(_UPSIDE_DOWN_BITS) if page.fill_order == 2 else bytes(piece)
    return f"{int.from_bytes(packed, 'big'):0{8 * len(packed)}b}" if packed else ""


def _check_fax_lines(bits: str, rows: int) -> None:
    """Each line of T.4 begins with a mark; files that have none at all exist, and are left to the decoder."""
    marks = bits.count(_END_OF_LINE)
    if 0 < marks < rows - _forgiven(rows):
        raise Found(Problem.TRUNCATED)


def _ones_at_end(bits: str) -> int:
    bare = bits.rstrip("0")  # up to a whole byte
    for _ in range(_END_OF_BLOCK_MARKS):
        bare = bare.removesuffix(_END_OF_LINE)
    return len(bare) - len(bare.rstrip("1"))
