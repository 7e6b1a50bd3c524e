"""Names in a bundle: what a stranger called a file becomes a name that every system can unpack.

No path, no duplicate in any case of letters, nothing that Windows forbids or reserves
(https://learn.microsoft.com/windows/win32/fileio/naming-a-file): a number in front keeps the order and
settles the rest.
"""

from ingestd.domain.document import display_name

LONGEST_BYTES = 80
"""Windows still has programs that end at 260 characters for the whole path."""

_FORBIDDEN = dict.fromkeys(map(ord, '<>:"/\\|?*'), "_")
_LONGEST_SUFFIX_BYTES = 10


def safe_name(raw: str, number: int) -> str:
    """`07-lunch.jpg` for the seventh, "lunch.jpg". At most LONGEST_BYTES and the number."""
    name = display_name(raw).translate(_FORBIDDEN).rstrip(". ") or "unnamed"
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode()) > _LONGEST_SUFFIX_BYTES:
        stem, dot, suffix = name, "", ""
    room_bytes = LONGEST_BYTES - len((dot + suffix).encode())
    stem = stem.encode()[:room_bytes].decode("utf-8", "ignore")
    return f"{number:02}-{stem}{dot}{suffix}".rstrip(". ")
