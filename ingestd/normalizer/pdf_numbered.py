"""Numbered objects as the bytes of a PDF: one behind the other, or packed together in object streams.

Nothing is drawn from the clock or from chance: the file's identifier is a digest of what stands before it.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Sequence

Body = tuple[bytes, bytes | None]
"""What stands between obj and endobj, and the stream's data apart from it."""

_GROUP = 100  # objects in one object stream
_HEADER = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"


def with_table(bodies: Sequence[Body]) -> bytes:
    """With a cross-reference table (ISO 32000-2 section 7.5.4)."""
    parts, offsets = _objects_in_place(enumerate(bodies, 1), [_HEADER], len(_HEADER))
    start = sum(map(len, parts))
    table = b"".join(b"%010d 00000 n \n" % offsets[number] for number in range(1, len(bodies) + 1))
    identifier = _identifier(parts)
    parts.append(b"xref\n0 %d\n0000000000 65535 f \n%b" % (len(bodies) + 1, table))
    parts.append(
        b"trailer\n<< /Size %d /Root 1 0 R /ID %b >>\nstartxref\n%d\n%%%%EOF\n"
        % (len(bodies) + 1, identifier, start)
    )
    return b"".join(parts)


def with_object_streams(bodies: Sequence[Body]) -> bytes:
    """With objects packed together and a cross-reference stream (sections 7.5.7 and 7.5.8)."""
    numbered = list(enumerate(bodies, 1))
    loose = [(number, content) for number, (content, data) in numbered if data is None]
    groups = [loose[start : start + _GROUP] for start in range(0, len(loose), _GROUP)]
    entries: dict[int, tuple[int, int, int]] = {0: (0, 0, 65535)}
    in_place = [(number, body) for number, body in numbered if body[1] is not None]
    for stream_number, group in enumerate(groups, len(bodies) + 1):
        in_place.append((stream_number, _object_stream(group)))
        entries.update((number, (2, stream_number, index)) for index, (number, _) in enumerate(group))
    parts, offsets = _objects_in_place(in_place, [_HEADER], len(_HEADER))
    entries.update((number, (1, offset, 0)) for number, offset in offsets.items())
    start = sum(map(len, parts))
    own = len(bodies) + len(groups) + 1
    entries[own] = (1, start, 0)
    table = zlib.compress(b"".join(struct.pack(">BIH", *entries[number]) for number in range(own + 1)), 9)
    content = b"<</Type /XRef /Size %d /W [1 4 2] /Root 1 0 R /ID %b /Filter /FlateDecode /Length %d>>" % (
        own + 1,
        _identifier(parts),
        len(table),
    )
    parts, _ = _objects_in_place([(own, (content, table))], parts, start)
    return b"".join([*parts, b"startxref\n%d\n%%%%EOF\n" % start])


def _objects_in_place(
    numbered: Iterable[tuple[int, Body]], parts: list[bytes], position: int
) -> tuple[list[bytes], dict[int, int]]:
    offsets: dict[int, int] = {}
    for number, (content, data) in numbered:
        offsets[number] = position
        stream = b"" if data is None else b"\nstream\n%b\nendstream" % data
        parts.append(b"%d 0 obj\n%b%b\nendobj\n" % (number, content, stream))
        position += len(parts[-1])
    return parts, offsets


def _object_stream(group: Sequence[tuple[int, bytes]]) -> tuple[bytes, bytes]:
    index, position = [], 0
    for number, content in group:
        index.append(b"%d %d" % (number, position))
        position += len(content) + 1
    head = b" ".join(index) + b"\n"
    data = zlib.compress(head + b"\n".join(content for _, content in group), 9)
    entries = b"<</Type /ObjStm /N %d /First %d /Filter /FlateDecode /Length %d>>" % (
        len(group),
        len(head),
        len(data),
    )
    return entries, data


def _identifier(parts: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return b"[<%b> <%b>]" % ((digest.hexdigest()[:32].encode(),) * 2)
