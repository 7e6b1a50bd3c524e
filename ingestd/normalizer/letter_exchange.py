"""What the daemon asks a limited process that makes a PDF of a mail's text, and what that may answer.

As in `exchange`: the answer is numbers and words of a closed set, and every shape is checked.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from ingestd.normalizer.exchange import Finding, MalformedAnswer, read_prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterRequest:
    """Make a PDF of this message's text. Output: the PDF.

    `plain`: only its words, without the layout, which may be more than can be worked on.
    """

    size: int
    max_pages: int
    max_pixels: int
    plain: bool = False

    def write(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> Self:
        return cls(**request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lettered:
    """The PDF is in the output, with what is not to be seen in it.

    `remote`: pictures that the mail only refers to; `unreadable`: pictures in it that can't be shown;
    `unknown`: characters that no font has; `cut`: it is wider than can be shown.
    """

    pages: int
    remote: int = 0
    unreadable: int = 0
    unknown: int = 0
    cut: bool = False

    def write(self) -> dict[str, object]:
        return {"answer": type(self).__name__, **asdict(self)}


def read_lettered(answer: Mapping[str, object]) -> Lettered | Finding:
    """Raises OutputFull, and MalformedAnswer for what nobody answers to a LetterRequest."""
    match answer:
        case {
            "answer": "Lettered",
            "pages": int(pages),
            "remote": int(remote),
            "unreadable": int(unreadable),
            "unknown": int(unknown),
            "cut": bool(cut),
        } if pages > 0 and all(0 <= number < 1 << 31 for number in (pages, remote, unreadable, unknown)):
            return Lettered(pages=pages, remote=remote, unreadable=unreadable, unknown=unknown, cut=cut)
    found = read_prepared(answer)
    if not isinstance(found, Finding):
        raise MalformedAnswer("an image was not asked for")
    return found
