"""Text of strangers, fit for an answer: one line, bounded, without control or bidi characters.

File names, reasons that quote them, image IDs and subjects all come from outside; none is used as it came.
"""

import unicodedata

_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
_FIRST_STRONG_ISOLATE, _POP_ISOLATE = "\u2068", "\u2069"


def one_line(text: str, *, most: int) -> str:
    """At most `most` characters, blanks collapsed; a shortened text ends with an ellipsis."""
    # Bounded first, so that megabytes cost nothing; control characters and marks can only make it shorter.
    head = text[: most * 4].encode("utf-8", "replace").decode()
    spaced = "".join(" " if c.isspace() else c for c in unicodedata.normalize("NFC", head))
    visible = " ".join("".join(c for c in spaced if unicodedata.category(c)[0] != "C").split())
    if len(visible) <= most and len(text) <= most * 4:
        return visible
    return visible[: most - 1].rstrip() + "…"


def isolated(text: str) -> str:
    """Right-to-left text enclosed, so that it turns no words beside it around (UAX #9 section 2.4.2)."""
    if any(unicodedata.bidirectional(c) in _RIGHT_TO_LEFT for c in text):
        return f"{_FIRST_STRONG_ISOLATE}{text}{_POP_ISOLATE}"
    return text
