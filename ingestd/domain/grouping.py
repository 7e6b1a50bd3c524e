"""Which documents belong together: names that number pages, and the order people expect of names."""

import re

_PAGE = re.compile(r"(?P<stem>.+?)[ _-]p(?:age)?[ _-]?(?P<page>[0-9]{1,4})", re.IGNORECASE)
_DIGITS = re.compile(r"([0-9]+)")


def page_group(filename: str) -> str | None:
    """NAME for `NAME_p1.jpg`, `NAME-p02.png`, `NAME_page3.pdf`; None for a name that numbers no page."""
    stem = filename.rpartition(".")[0] or filename
    found = _PAGE.fullmatch(stem)
    return found["stem"] if found else None


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts name_2 before name_10; letters without regard to case, ties by the text itself."""
    parts = [part for part in _DIGITS.split(text.casefold()) if part]
    key = [(0, int(part[:18]), part) if part.isascii() and part.isdigit() else (1, 0, part) for part in parts]
    return (*key, (2, 0, text))
