"""winmail.dat: the files that Outlook packed into its own container (MS-OXTNEF), with their names.

The library that reads it loops as often as a number in the file says, and copies the rest of the file for
each attribute. So the attributes are counted and sorted out here, and it gets one attachment at a time.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tnefparse import TNEF, TNEFAttachment

from ingestd.normalizer.message_charsets import decoded

_MOST_ATTRIBUTES = 2_000
_MOST_PROPERTIES = 1_000
"""Of one attachment; Outlook writes about thirty."""
_MOST_DEPTH = 5
_LONGEST_NAME = 1_000
_SIGNATURE = struct.pack("<IH", TNEF.TNEF_SIGNATURE, 1)
_ATTRIBUTE = struct.Struct("<BII")  # level, ID with type, length: MS-OXTNEF section 2.1.3
_CHECKSUM_BYTES = 2
_BEGINS = struct.pack("<BIIH", TNEF.LVL_ATTACHMENT, 0x00060000 | TNEF.ATTATTACHRENDDATA, 0, 0)
_PADDING = bytes(16)  # the library does not look at an attribute shorter than that at the very end
_WANTED = frozenset({TNEF.ATTATTACHDATA, TNEF.ATTATTACHTITLE, TNEF.ATTATTACHMENT})
# What it raises over damaged attributes; MemoryError passes: it is a limit.
_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


class DamagedTnef(Exception):
    """What is in it can't be told, or not all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TnefFile:
    name: str
    content: bytes


def tnef_files(data: bytes) -> list[TnefFile]:
    """The attachments in their order, those of messages inside it too. Raises DamagedTnef."""
    return list(_files(data, 1))


def warm_up() -> None:
    """Unpacks a tiny container."""
    title = _ATTRIBUTE.pack(TNEF.LVL_ATTACHMENT, TNEF.ATTATTACHTITLE, 2) + b"a\0" + bytes(_CHECKSUM_BYTES)
    content = _ATTRIBUTE.pack(TNEF.LVL_ATTACHMENT, TNEF.ATTATTACHDATA, 1) + b"x" + bytes(_CHECKSUM_BYTES)
    assert tnef_files(_SIGNATURE + _BEGINS + title + content) == [TnefFile(name="a", content=b"x")]


def _files(data: bytes, depth: int) -> Iterator[TnefFile]:
    if depth > _MOST_DEPTH:
        raise DamagedTnef
    for group in _groups(data):
        attachment = _attachment(_SIGNATURE + _BEGINS + b"".join(group) + _PADDING)
        if attachment is None:
            continue
        embedded = getattr(attachment, "embed", None)
        if embedded is not None:
            yield from _files(attachment.data, depth + 1)
        elif attachment.data:
            yield TnefFile(name=_name(attachment), content=bytes(attachment.data))


def _attachment(stream: bytes) -> TNEFAttachment | None:
    try:
        attachments: list[TNEFAttachment] = TNEF(stream, do_checksum=False).attachments
    except _ERRORS as error:
        raise DamagedTnef from error
    return attachments[0] if attachments else None


def _groups(data: bytes) -> Iterator[list[bytes]]:
    """The attributes that matter of each attachment, in order."""
    if len(data) < 6 or struct.unpack_from("<I", data)[0] != TNEF.TNEF_SIGNATURE:
        raise DamagedTnef
    group: list[bytes] | None = None
    for name, attribute in _attributes(data):
        if name == TNEF.ATTATTACHRENDDATA:
            if group:
                yield group
            group = []
        elif name in _WANTED:
            group = [*(group or []), attribute]
    if group:
        yield group


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Of attachments. Raises DamagedTnef where it breaks off."""
    offset = len(_SIGNATURE)
    for _ in range(_MOST_ATTRIBUTES):
        if not data[offset : offset + _ATTRIBUTE.size].strip(b"\0"):  # the end, perhaps padded
            return
        if offset + _ATTRIBUTE.size > len(data):
            raise DamagedTnef
        level, identity, length = _ATTRIBUTE.unpack_from(data, offset)
        start, end = offset, offset + _ATTRIBUTE.size + length + _CHECKSUM_BYTES
        if level not in (TNEF.LVL_MESSAGE, TNEF.LVL_ATTACHMENT) or end > len(data):
            raise DamagedTnef
        name = identity & 0xFFFF
        if level == TNEF.LVL_ATTACHMENT:
            attribute = data[start:end]
            if name == TNEF.ATTATTACHMENT and _properties(attribute) > _MOST_PROPERTIES:
                raise DamagedTnef
            yield name, attribute
        offset = end
    raise DamagedTnef


def _properties(attribute: bytes) -> int:
    if len(attribute) < _ATTRIBUTE.size + 4:
        raise DamagedTnef
    return int(struct.unpack_from("<I", attribute, _ATTRIBUTE.size)[0])


def _name(attachment: TNEFAttachment) -> str:
    try:
        name = attachment.long_filename()
    except _ERRORS:
        name = attachment._name  # noqa: SLF001 - its own accessor knows UTF-8 only
    text = decoded(name) if isinstance(name, bytes) else str(name)
    return text[:_LONGEST_NAME].strip("\0 ")
