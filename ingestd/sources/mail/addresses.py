"""Addresses and domains, compared so that what only looks alike is not alike.

Case is ignored for ASCII letters alone (the Kelvin sign is not a k); domains are compared as A-labels
(RFC 5890). Quoted local parts and address literals, which no person sends receipts from, are no addresses.
"""

import re
import string
import unicodedata

import idna

_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_ATEXT = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-/=?^_`{|}~")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_LOCAL_BYTES = 64
_DOMAIN_CHARS = 253


def ascii_lower(text: str) -> str:
    """Lower case for A to Z only: what Unicode calls the same letter may be another one (U+212A, U+0130)."""
    return text.translate(_ASCII_LOWER)


def canonical_address(text: str) -> str | None:
    """`local@domain` fit to be compared; None for what is no plain address.

    The local part is a dot-atom (RFC 5322 section 3.2.3, with letters of any script: RFC 6532).
    """
    local, at, domain = text.rpartition("@")
    name = canonical_domain(domain)
    if not at or name is None or not _is_dot_atom(local):
        return None
    return f"{ascii_lower(local)}@{name}"


def canonical_domain(text: str) -> str | None:
    """A domain in lower case and A-labels; None for IP addresses, literals and what is no host name."""
    if len(text) > _DOMAIN_CHARS + 1:
        return None
    labels = [_a_label(label) for label in text.removesuffix(".").split(".")]
    name = ".".join(labels)
    if len(name) > _DOMAIN_CHARS or labels[-1].isdigit():
        return None
    return name if all(_LABEL.fullmatch(label) for label in labels) else None


def domain_of(address: str) -> str:
    """The domain of an address that `canonical_address` made."""
    return address.rpartition("@")[2]


def without_tag(address: str) -> str:
    """The address without `+tag` (RFC 5233). One that is nothing but a tag keeps it."""
    local, at, domain = address.rpartition("@")
    name = local.split("+", 1)[0] or local
    return f"{name}{at}{domain}"


def flood_key(address: str) -> str:
    """What messages of one sender are counted by: plus-addresses are the same sender."""
    return without_tag(ascii_lower(address))


def is_aligned(domain: str, with_domain: str, *, exactly: bool = False) -> bool:
    """Whether one domain speaks for the other: they are the same, or one is a subdomain of the other.

    DMARC's relaxed alignment (RFC 7489 section 3.1) compares organisational domains, which takes a public
    suffix list that is never up to date. This is narrower: siblings (a.example.com, b.example.com) are not
    aligned, and a top-level domain speaks for nobody.
    """
    if domain == with_domain:
        return True
    if exactly or "." not in domain or "." not in with_domain:
        return False
    return domain.endswith(f".{with_domain}") or with_domain.endswith(f".{domain}")


def compile_sender_pattern(pattern: str) -> re.Pattern[str] | None:
    """A regular expression for canonical addresses. `*` stands for anything on its side of the `@`.

    `*` alone is everybody; `*@example.com` takes no subdomain. None: no address can match it.
    """
    if pattern == "*":
        return re.compile(r".+", re.DOTALL)
    local, _, domain = pattern.rpartition("@")
    labels = [label if "*" in label else _a_label(label) for label in domain.split(".")]
    if not all(labels) or canonical_address(re.sub(r"\*+", "a", pattern)) is None:
        return None
    text = ascii_lower(f"{local}@{'.'.join(labels)}")
    return re.compile("[^@]*".join(re.escape(part) for part in re.split(r"\*+", text)))


def _a_label(label: str) -> str:
    """IDNA 2008; empty for what it does not allow, full-width letters among them.

    The standard library's codec is IDNA 2003, where faß.example is fass.example.
    """
    if label.isascii():
        return ascii_lower(label)
    lower = "".join(char if char.lower().isascii() else char.lower() for char in ascii_lower(label))
    try:
        return idna.alabel(lower).decode("ascii")
    except idna.IDNAError:
        return ""


def _is_dot_atom(local: str) -> bool:
    if not 0 < len(local.encode("utf-8", "replace")) <= _LOCAL_BYTES:
        return False
    return all(part and all(_is_atom_char(c) for c in part) for part in local.split("."))


def _is_atom_char(char: str) -> bool:
    # Letters, marks and numbers: no blanks, no controls, nothing that changes the direction of a line.
    return char in _ATEXT if char.isascii() else unicodedata.category(char)[0] in "LMN"
