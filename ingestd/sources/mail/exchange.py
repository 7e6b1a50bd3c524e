"""What Exchange says of mail between colleagues, which carries neither DKIM nor, often, results of DMARC.

Exchange writes X-MS-Exchange-Organization-AuthAs into every message, `Internal` when it came authenticated
from within, and removes all X-MS-Exchange-Organization fields from what comes from outside ("Header
firewall", technet.microsoft.com/library/bb232136). Behind any other server they prove nothing.
"""

import re
from pathlib import Path

LONGEST_HEADER = 262_144
"""Bytes that are looked at."""

_HEADER = re.compile(rb"(?:(?:[!-9;-~]+[ \t]*:|[ \t]+[^\s])[^\n]*\n)*+")
"""Fields and their continuations, up to the first line that is neither: there some programs see the end."""
_NAMED = re.compile(rb"(?:\A|[\x00-\x1f\x7f])[ \t]*X-MS-Exchange-Organization-AuthAs[ \t]*:", re.IGNORECASE)
"""Whatever some program may take for this field: folded, blanks before the colon, behind a bare CR."""

_INTERNAL = re.compile(
    rb"^X-MS-Exchange-Organization-AuthAs: Internal(?!\r?\n[ \t])\r?$", re.IGNORECASE | re.MULTILINE
)
"""As Exchange writes it (RFC 5322 section 2.2: one line, no blank before the colon)."""


def is_internal(message: Path) -> bool:
    """Whether the header of the message has this field exactly once, plainly written, with this value.

    A second one, or one in disguise, is not from Exchange, and nobody can tell which of them is. Parts and
    forwarded messages come after the header. Raises OSError.
    """
    with message.open("rb") as file:
        start = file.read(LONGEST_HEADER)
    found = _HEADER.match(start)
    header = found.group() if found is not None else b""
    if len(start) == LONGEST_HEADER and b"\n" not in start[len(header) :]:
        return False  # it goes on
    return len(_NAMED.findall(header)) == 1 and _INTERNAL.search(header) is not None
