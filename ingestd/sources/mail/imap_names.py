"""Names on the wire: quoted strings, mailbox names in modified UTF-7 (RFC 3501 section 5.1.3), and where the
server wants mailboxes to be (NAMESPACE, RFC 2342).

A configured name is written with "/" between its levels, whatever the server's own delimiter is.
"""

import binascii
import re
from dataclasses import dataclass


def quoted(text: str) -> str:
    """A quoted string (RFC 9051 section 4.3). Raises ValueError for what would end the command line."""
    if _LINE_ENDING.search(text):
        raise ValueError("CR, LF and NUL can't be sent to an IMAP server")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def encoded(name: str) -> str:
    """A mailbox name in modified UTF-7. Raises ValueError for CR, LF and NUL."""
    if _LINE_ENDING.search(name):
        raise ValueError("CR, LF and NUL can't be part of a mailbox name")
    return _NOT_DIRECT.sub(lambda run: "&-" if run[0] == "&" else f"&{_shifted(run[0])}-", name)


def decoded(name: str) -> str:
    """The inverse; what is no modified UTF-7 (many servers let it in) stays as it is."""
    return _SHIFT.sub(lambda shift: _unshifted(shift[1]) if shift[1] else "&", name)


@dataclass(frozen=True, slots=True)
class Namespaces:
    """`prefix` of the personal namespace, `delimiter` (empty: no hierarchy), and the prefixes of others."""

    prefix: str = ""
    delimiter: str = "/"
    foreign: tuple[str, ...] = ()

    def resolve(self, name: str) -> str:
        """The server's name of a configured mailbox, not yet encoded: "A/B" is INBOX.A.B where that rules."""
        if name.upper() == "INBOX":
            return "INBOX"
        name = name.replace("/", self.delimiter or "-")
        if self._is_complete(name):
            return name
        return self.prefix + name

    def _is_complete(self, name: str) -> bool:
        """INBOX is the only name without regard to case (RFC 9051 section 5.1), also as the first level."""
        own = name.upper().startswith("INBOX" + self.delimiter) and bool(self.delimiter)
        inbox_prefix = self.prefix.upper().startswith("INBOX")
        if own and inbox_prefix:
            return True
        return any(prefix and name.startswith(prefix) for prefix in (self.prefix, *self.foreign))


_LINE_ENDING = re.compile(r"[\x00\r\n]")
_NOT_DIRECT = re.compile(r"&|[^\x20-\x7e]+")
_SHIFT = re.compile(r"&([A-Za-z0-9+,]*)-")


def _shifted(text: str) -> str:
    coded = binascii.b2a_base64(text.encode("utf-16-be"), newline=False)
    return coded.rstrip(b"=").replace(b"/", b",").decode("ascii")


def _unshifted(text: str) -> str:
    padded = text.replace(",", "/") + "=" * (-len(text) % 4)
    try:
        name = binascii.a2b_base64(padded).decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        return f"&{text}-"
    # Such a name could never be sent back.
    return f"&{text}-" if _LINE_ENDING.search(name) else name
