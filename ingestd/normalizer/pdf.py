"""pypdf within limits: what it raises on bad files is a finding, and no stream unpacks to more than allowed.

What it raises because this process is not fit for work (a module that was not imported before it was locked)
is no finding: a document must not be refused for it.
"""

import codecs
import logging
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from pypdf import Configuration, apply_configuration
from pypdf.errors import DependencyError, PyPdfError
from pypdf.generic import ArrayObject, NameObject, PdfObject, StreamObject

from ingestd.normalizer.exchange import Found, Problem

_Value = TypeVar("_Value")

STREAM_BYTES = 25_000_000
FILTERS = 4
"""At most so many one after the other, in one stream."""
PAGES = 5_000
"""Of a document without another limit."""
_PACKED_BYTES = 1_000_000_000  # packed streams are no longer than their document, and that is in memory
_CHUNK_BYTES = 1 << 16

_CONFIGURATION = Configuration(
    maximum_declared_stream_length=_PACKED_BYTES,
    array_based_stream_maximum_output_length=STREAM_BYTES,
    zlib_maximum_output_length=STREAM_BYTES,
    lzw_maximum_output_length=STREAM_BYTES,
    run_length_maximum_output_length=STREAM_BYTES,
    brotli_maximum_output_length=STREAM_BYTES,
    jbig2_maximum_output_length=STREAM_BYTES,
    zlib_maximum_recovery_input_length=0,  # byte-wise repair: slow, and a repaired page is not the receipt
    stream_decoding_work_maximum_length=4 * STREAM_BYTES,
    image_maximum_buffer_size=STREAM_BYTES,
    page_tree_maximum_entries=PAGES,
    page_tree_maximum_page_entries=200_000,
    stream_filters_maximum_length=FILTERS,
    jbig2dec_binary=None,  # it would be run as a program
    disable_legacy_handling=True,
)

# What pypdf raises on bad files, measured over public corpora. MemoryError passes: it is a limit.
PYPDF_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    DependencyError,
    LookupError,
    NotImplementedError,
    OSError,
    PyPdfError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


# pypdf decodes names and strings by these names, some of them only where random bytes (a password's hash, a
# file identifier) look like UTF-16. Python imports a codec when it is first asked for.
_CODECS = (
    *("ascii", "charmap", "gbk", "latin1", "latin-1", "utf8", "utf-8"),
    *("utf-16", "utf-16be", "utf-16-be", "utf-16le", "utf-16-le"),
)


class UnfitProcess(RuntimeError):
    """This process can't do what it should (import, open …): that says nothing about the document."""


def warm_up() -> None:
    """Imports what pypdf asks for late, and silences it: it logs each oddity of a document."""
    for codec in _CODECS:
        codecs.lookup(codec)
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)


@contextmanager
def judging() -> Iterator[None]:
    """pypdf keeps to our limits within, and what it raises on bad files is Found: CORRUPT."""
    with apply_configuration(_CONFIGURATION):
        try:
            yield
        except PYPDF_ERRORS as error:
            check_fit(error)
            raise Found(Problem.CORRUPT) from error


def forgiving(read: Callable[[], _Value]) -> _Value | None:
    """What `read` gives, or None where the document is so damaged that pypdf can't read it."""
    try:
        return read()
    except PYPDF_ERRORS as error:
        check_fit(error)
        return None


def check_fit(error: BaseException) -> None:
    """Raises UnfitProcess for an error that no document causes; `error` is one of `PYPDF_ERRORS`."""
    # No document names a codec to pypdf: an unknown one (LookupError itself) could not be imported.
    if isinstance(error, ImportError | PermissionError) or type(error) is LookupError:
        raise UnfitProcess(str(error)) from error


def filters(stream: StreamObject) -> list[str]:
    """Full names, in the order of unpacking."""
    filters = resolved(stream.get("/Filter"))
    names = filters if isinstance(filters, ArrayObject) else [] if filters is None else [filters]
    return [str(resolved(name)) for name in names]


def packed(stream: StreamObject) -> bytes:
    """The bytes as they stand in the file, still packed."""
    return stream._data  # noqa: SLF001 - pypdf gives out packed bytes in no other way


def repack(stream: StreamObject, entries: Mapping[str, PdfObject], data: bytes) -> None:
    """Other entries and other packed bytes, for whoever refers to this stream."""
    stream.clear()
    stream.update({NameObject(name): value for name, value in entries.items()})
    stream._data = data  # noqa: SLF001 - as above


def resolved(value: object) -> object:
    """The object itself, where `value` is a reference to it."""
    return value.get_object() if isinstance(value, PdfObject) else value


def unpacked(stream: StreamObject, *, limit: int = STREAM_BYTES) -> bytes | None:
    """A stream that only zlib packs, without a predictor undone; None when it is damaged or too long."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed(stream), limit + 1)
    except zlib.error:
        return None
    return data if unpacker.eof and len(data) <= limit else None


def room_after(stream: object, room: int, *, whole: bool = False) -> int:
    """Unpacks the zlib layers of a stream without keeping it. The bytes of `room` left; negative: too much.

    Anything else (no stream, another filter) takes no room. Raises as `inflated` does.
    """
    if not isinstance(stream, StreamObject):
        return room
    for chunk in inflated(stream, whole=whole):
        room -= len(chunk)
        if room < 0:
            break
    return room


def zlib_layers(stream: StreamObject) -> int:
    """How many of the stream's outermost filters are zlib."""
    layers = 0
    for name in filters(stream):
        if name not in ("/FlateDecode", "/Fl"):
            break
        layers += 1
    return layers


def inflated(stream: StreamObject, *, whole: bool = False) -> Iterator[bytes]:
    """What its outermost zlib layers hold, in small pieces; nothing for no layers. No layer is held whole.

    An end that is missing is no error unless `whole`: some producers write a length that is too short, and
    every viewer shows the page. A missing checksum never is. Raises zlib.error.
    """
    layers = zlib_layers(stream)
    if not layers:
        return
    chunks: Iterable[bytes] = [packed(stream)]
    for _ in range(layers):
        chunks = _inflated_once(chunks, whole=whole)
    yield from chunks


def _inflated_once(chunks: Iterable[bytes], *, whole: bool) -> Iterator[bytes]:
    unpacker = zlib.decompressobj()
    for rest in chunks:
        while rest and not unpacker.eof:
            yield unpacker.decompress(rest, _CHUNK_BYTES)
            rest = unpacker.unconsumed_tail  # noqa: PLW2901 - the loop eats one chunk bite by bite
    if whole and not unpacker.eof and not _lacks_only_checksum(unpacker):
        raise zlib.error("the end is missing")


def _lacks_only_checksum(unpacker: "zlib._Decompress") -> bool:
    """Whether all samples came out: bytes that follow are taken for the checksum, a wrong one."""
    try:
        more = unpacker.decompress(_NO_CHECKSUM, _CHUNK_BYTES)
    except zlib.error as error:
        return "incorrect data check" in str(error)
    return not more and unpacker.eof


_NO_CHECKSUM = b"\xff" * 4
