"""TIFF files taken apart without a decoder: the chain of directories (TIFF 6.0 section 2, and BigTIFF).

Finds the pages, and what would cost a decoder dear, before anything is unpacked: endless and circular chains,
tiles of gigabytes, more strips than the picture has rows. Where the samples of a page lie is told by `Page`;
whether they are all there is the matter of tiff_strips.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from ingestd.normalizer.exchange import Found, Problem
from ingestd.normalizer.image import check_pixels

MAX_DIRECTORIES = 5_000

_SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_FILL_ORDER, _STRIPS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_SIZES, _PLANAR = 266, 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_SIZES = 322, 323, 324, 325
_LISTS = frozenset({_STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES})
_WANTED = _LISTS | {
    *(_SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES),
    *(_ROWS_PER_STRIP, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT),
}
_REDUCED_OR_MASK = 0b101
_FORMATS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MAX_LAYERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A picture of the file: `index` counts all directories from 0, width and height are pixels as stored.

    `pieces`: where its strips or tiles lie, (offset, size) in bytes; a piece is `piece_width` by
    `piece_height` pixels of `samples` samples of `bits` bits; with `layers` each colour has its own.
    """

    index: int
    width: int
    height: int
    bits: int
    samples: int
    layers: int
    compression: int
    photometric: int
    fill_order: int
    piece_width: int
    piece_height: int
    tiled: bool
    pieces: tuple[tuple[int, int], ...]


def pages_of(data: bytes, *, max_pixels: int) -> list[Page]:
    """The pages in order; small previews and masks of other pages are none.

    Raises Found: CORRUPT, TRUNCATED, NO_PAGES, TOO_COMPLEX, TOO_MANY_PIXELS.
    """
    layout, directories = _directories(data)
    chosen = [
        (index, tags)
        for index, tags in enumerate(directories)
        if not _first(tags, _SUBFILE_TYPE, 0) & _REDUCED_OR_MASK
    ] or list(enumerate(directories))[:1]
    if not chosen:
        raise Found(Problem.NO_PAGES)
    return [_page(data, layout, index, tags, max_pixels) for index, tags in chosen]


_Tag = tuple[int, int, int, bytes]
"""How many values it has, the first one, their type, and what stands in the entry: the values, or where."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """How numbers are written: in TIFF a directory's count, its entries and its offsets are shorter."""

    order: str
    count: str
    entry: str
    offset: str


def _directories(data: bytes) -> tuple[_Layout, list[Mapping[int, _Tag]]]:
    layout, position = _header(data)
    directories: list[Mapping[int, _Tag]] = []
    seen: set[int] = set()
    while position:
        if position in seen:
            raise Found(Problem.CORRUPT)
        if len(seen) >= MAX_DIRECTORIES:
            raise Found(Problem.TOO_COMPLEX)
        seen.add(position)
        tags, position = _directory(data, layout, position)
        directories.append(tags)
    return layout, directories


def _header(data: bytes) -> tuple[_Layout, int]:
    order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
    try:
        (version,) = struct.unpack_from(order + "H", data, 2)
        if order and version == 42:
            return _Layout(order, "H", "HHI4s", "I"), struct.unpack_from(order + "I", data, 4)[0]
        if order and version == 43:
            return _Layout(order, "Q", "HHQ8s", "Q"), struct.unpack_from(order + "Q", data, 8)[0]
    except struct.error as error:
        raise Found(Problem.TRUNCATED) from error
    raise Found(Problem.CORRUPT)


def _directory(data: bytes, layout: _Layout, position: int) -> tuple[Mapping[int, _Tag], int]:
    entry = struct.Struct(layout.order + layout.entry)
    try:
        (count,) = struct.unpack_from(layout.order + layout.count, data, position)
        position += struct.calcsize(layout.order + layout.count)
        end = position + count * entry.size
        (following,) = struct.unpack_from(layout.order + layout.offset, data, end)
    except struct.error as error:
        raise Found(Problem.TRUNCATED) from error
    tags: dict[int, _Tag] = {}
    for tag, kind, number, value in entry.iter_unpack(data[position:end]):
        if tag in _WANTED and tag not in tags:
            tags[tag] = number, _first_value(data, layout, kind, number, value), kind, value
    return tags, following


def _first_value(data: bytes, layout: _Layout, kind: int, number: int, inline: bytes) -> int:
    code = _FORMATS.get(kind)
    if code is None or number == 0:
        return 0
    if number * struct.calcsize("=" + code) <= len(inline):
        return int(struct.unpack_from(layout.order + code, inline)[0])
    (offset,) = struct.unpack(layout.order + layout.offset, inline)
    try:
        return int(struct.unpack_from(layout.order + code, data, offset)[0])
    except struct.error as error:
        raise Found(Problem.TRUNCATED) from error


def _first(tags: Mapping[int, _Tag], tag: int, otherwise: int) -> int:
    return tags[tag][1] if tag in tags else otherwise


def _page(data: bytes, layout: _Layout, index: int, tags: Mapping[int, _Tag], max_pixels: int) -> Page:
    width, height = _first(tags, _WIDTH, 0), _first(tags, _HEIGHT, 0)
    check_pixels(width, height, max_pixels)
    tiled = _TILES in tags
    tile_width = _first(tags, _TILE_WIDTH, width) if tiled else width
    rows = _first(tags, _TILE_HEIGHT if tiled else _ROWS_PER_STRIP, height)
    tile_height = rows if tiled else min(rows, height)
    if tiled:
        # A small picture may lie in one tile that is larger than it.
        check_pixels(tile_width, tile_height, max(max_pixels, 1 << 20))
    if not tile_width or not tile_height:
        raise Found(Problem.CORRUPT)
    pieces = -(-width // tile_width) * -(-height // tile_height)
    layers = _first(tags, _SAMPLES, 1) if _first(tags, _PLANAR, 1) == 2 else 1
    offsets, sizes = (_TILES, _TILE_SIZES) if tiled else (_STRIPS, _STRIP_SIZES)
    stored = tags[offsets][0] if offsets in tags else 0
    if stored > pieces * layers + _SPARE_PIECES or layers > _MAX_LAYERS:
        raise Found(Problem.CORRUPT)
    return Page(
        index=index,
        width=width,
        height=height,
        bits=_first(tags, _BITS, 1),
        samples=1 if layers > 1 else _first(tags, _SAMPLES, 1),
        layers=layers,
        compression=_first(tags, _COMPRESSION, 1),
        photometric=_first(tags, _PHOTOMETRIC, 0),
        fill_order=_first(tags, _FILL_ORDER, 1),
        piece_width=tile_width,
        piece_height=tile_height,
        tiled=tiled,
        pieces=tuple(
            zip(_all(data, layout, tags.get(offsets)), _all(data, layout, tags.get(sizes)), strict=False)
        )[: pieces * layers],
    )


def _all(data: bytes, layout: _Layout, tag: _Tag | None) -> tuple[int, ...]:
    """All values of an entry; none where it has no numbers, or its list is not in the file."""
    if tag is None or tag[2] not in _FORMATS:
        return ()
    number, _value, kind, inline = tag
    code = _FORMATS[kind]
    if number * struct.calcsize("=" + code) <= len(inline):
        return struct.unpack_from(f"{layout.order}{number}{code}", inline)
    (offset,) = struct.unpack(layout.order + layout.offset, inline)
    try:
        return struct.unpack_from(f"{layout.order}{number}{code}", data, offset)
    except struct.error as error:
        raise Found(Problem.TRUNCATED) from error


_SPARE_PIECES = 8
"""Some writers count a few strips too many."""
