"""Why a document is refused, and what to do about it, in the words of the person who sent it.

Every refusal of this room is worded here: a reason in plain sentences without jargon, and a fix that this
person can carry out.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, assert_never

from ingestd import sniff
from ingestd.domain.document import Document, InvalidDocument
from ingestd.interfaces import Limits
from ingestd.normalizer.exchange import NAMES, Finding, Problem
from ingestd.normalizer.wording import filled_in, megabytes

PASSED_OVER = "It is an empty archive, or something an operating system put there."
_OTHER_NAMES = {"image/jpg": sniff.JPEG}
_FORMATS = {
    sniff.PDF: "PDF",
    sniff.JPEG: "JPEG",
    sniff.PNG: "PNG",
    sniff.ZIP: "ZIP archive",
    "image/heic": "HEIC photo",
    "image/heif": "HEIF photo",
    "image/avif": "AVIF picture",
    "image/tiff": "TIFF",
    "image/webp": "WebP picture",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/jp2": "JPEG 2000 picture",
}
_EXTENSIONS = {
    sniff.PDF: frozenset({"pdf"}),
    sniff.JPEG: frozenset({"jpg", "jpeg", "jpe", "jfif", "mpo"}),
    sniff.PNG: frozenset({"png"}),
}

_SEND_AGAIN = "Scan or photograph the receipt again, or get the original once more, and send that."
_SMALLER = (
    "Scan it at a lower resolution (200 dpi is plenty), in grey instead of colour, or send a smaller copy of "
    "the photo."
)
_PRINT_TO_PDF = "Open it, print it to a new PDF (Print, then Save as PDF) and send that one."


_ONE_BY_ONE = "Unpack it and send the receipts inside it one by one."

WORDS: Mapping[Problem, tuple[str, str]] = {
    Problem.TRUNCATED: (
        "The {what} is incomplete: its end is missing, as after a copy or download that broke off.",
        "Copy or download it again, or scan the receipt once more, and send that.",
    ),
    Problem.CORRUPT: ("The {what} is damaged and can't be opened.", _SEND_AGAIN),
    Problem.DAMAGED_PAGE: ("Page {page} of the {what} is damaged.", _SEND_AGAIN),
    Problem.MISSING_PAGES: (
        "The {what} is damaged: of its {declared} pages only {pages} are there.",
        _SEND_AGAIN,
    ),
    Problem.ENCRYPTED: (
        "The {what} is protected by a password, and the expense system takes no protected files.",
        "Remove the password: open it, print it to a new PDF (Print, then Save as PDF) and send that one.",
    ),
    Problem.LOCKED_FOREVER: (
        "The {what} is encrypted so that only certain people can open it, or in an unusual way.",
        _PRINT_TO_PDF,
    ),
    Problem.NO_PAGES: ("The {what} has no pages.", _SEND_AGAIN),
    Problem.TOO_MANY_PAGES: (
        "The {what} has {pages} pages; at most {limit} are taken.",
        "Send only the pages of the receipt itself.",
    ),
    Problem.TOO_MANY_PIXELS: (
        "A picture in the file has {width} x {height} pixels; at most {limit:million} million are allowed.",
        "Scan it at a lower resolution (200 dpi is plenty) or send a smaller copy of the photo.",
    ),
    Problem.TOO_COMPLEX: (
        "The {what} holds far more than any receipt needs once it is opened; it may be damaged.",
        "Print it to a new PDF, or take a photo of the receipt, and send that.",
    ),
    Problem.ANIMATED: (
        "The picture is an animation of more than {limit} frames; a receipt is one still picture.",
        "Take a photo or a screenshot of the receipt and send that.",
    ),
    Problem.UNSUPPORTED: (
        "The {what} is of a rare kind that can't be read here.",
        "Open it, save it as a usual JPEG or PDF, and send that.",
    ),
    Problem.TOO_LARGE: (
        "The {what} has {size:up} MB; the expense system takes at most {limit:down} MB. The smallest it can "
        "be made and still be read has {smallest:up} MB.",
        f"{_SMALLER} A long document can be split into several receipts.",
    ),
    Problem.BLANK: (
        "The {what} is blank: there is nothing to read in it.",
        "Check the scanner or the camera, and send it again.",
    ),
    Problem.TINY: (
        "The picture has only {width} x {height} pixels: too few to read anything.",
        "Send the photo in its full size, not a preview of it.",
    ),
    Problem.PORTFOLIO: (
        "The {what} is a collection of files, and these in it are neither PDF nor picture: {names}.",
        "Save the receipts out of it and send them one by one.",
    ),
    Problem.FORM: (
        "The {what} is an interactive form that only Adobe Reader can show; what is sent would be empty.",
        "Open it in Adobe Reader, print it to a new PDF and send that one.",
    ),
    Problem.LOCKED_MEMBERS: ("The {what} is protected by a password.", _ONE_BY_ONE),
    Problem.TOO_MANY_MEMBERS: ("The {what} holds more than {limit} files.", _ONE_BY_ONE),
    Problem.UNPACKS_TOO_LARGE: (
        "The {what} unpacks to more than {limit:down} MB, far more than receipts need.",
        _ONE_BY_ONE,
    ),
    Problem.NESTED_TOO_DEEP: (
        "The {what} holds archives within archives, more than {limit} deep.",
        _ONE_BY_ONE,
    ),
    Problem.NO_MEMBERS: ("The {what} is empty.", "Put the receipts into it, or send them one by one."),
}
"""Reason and fix of each problem; `{what}` is the kind of document."""

_TRIED = (
    "The {what} is protected by a password, and none of the {tried} known passwords opens it.",
    "Remove the password (open it, print it to a new PDF) and send that one; or ask whoever looks after "
    "ingestd to add the password to the passwords_file, so that it is known, and to try the receipt again.",
)
_UNSHOWN_VALUE = (
    "Page {page} of the {what} is a form, and what was filled into one of its fields can't be shown: the "
    "form brings no font for these letters (Chinese, Greek, Cyrillic …), so the field would be sent empty.",
    "Open it in the program that it was filled in with, print it to a new PDF (Print, then Save as PDF) and "
    "send that one.",
)


def nothing_to_send() -> InvalidDocument:
    return InvalidDocument(
        reason="Nothing came with this receipt: there is no document in it.",
        fix="Send the receipt again with its picture or PDF.",
    )


def several_documents(documents: Sequence[Document]) -> InvalidDocument:
    return InvalidDocument(
        reason=f"{len(documents)} documents came for one receipt, and the expense system takes no PDF that "
        "could hold them all.",
        fix="Send each document as a receipt of its own.",
        filename=documents[0].filename,
    )


def too_much(documents: Sequence[Document], size_bytes: int, limit_bytes: int) -> InvalidDocument:
    what = "The file has" if len(documents) == 1 else f"The {len(documents)} files of this receipt have"
    return InvalidDocument(
        reason=f"{what} {megabytes(size_bytes, up=True)} MB; at most {megabytes(limit_bytes, up=False)} MB "
        "can be worked on.",
        fix=_SMALLER,
        filename=documents[0].filename,
    )


def empty(document: Document) -> InvalidDocument:
    return InvalidDocument(
        reason="The file is empty.",
        fix="Its copy or scan did not work: save it again and send it once more.",
        filename=document.filename,
    )


def only_zeros(document: Document) -> InvalidDocument:
    return InvalidDocument(
        reason="The file holds nothing but zeros: its copy or download did not finish.",
        fix="Copy it once more from where it came from.",
        filename=document.filename,
    )


def wrong_format(document: Document, mime_type: str, limits: Limits) -> InvalidDocument:
    """Nothing an image can be made of; `mime_type` is what the bytes say."""
    what = sniff.describe(mime_type)
    claimed = _claimed_type(document.filename)
    if claimed is None or claimed == mime_type:
        named = f"This is {what}"
    else:
        named = f"The file is named like a {_FORMATS[claimed]}, but it is {what}"
    return InvalidDocument(
        reason=f"{named}. A receipt must be a PDF or a picture (JPEG, PNG, HEIC, TIFF …).",
        fix=_conversion(mime_type, limits),
        filename=document.filename,
    )


def unsound(document: Document, mime_type: str, finding: Finding, *, of: int = 1) -> InvalidDocument:
    """What was found in a document; `of`: of how many documents that make one receipt."""
    what = _FORMATS.get(mime_type, "document")
    reason, fix = _worded(finding, what)
    if of > 1:
        reason = f"{document.filename}, one of the {of} files of this receipt: {reason}"
    return InvalidDocument(reason=reason, fix=fix, filename=document.filename)


def inspection_died(document: Document, kind: Literal["wall", "cpu", "memory", "crash"]) -> InvalidDocument:
    """The limited process was ended by its limits, or ended itself."""
    match kind:
        case "wall" | "cpu":
            reason = "Reading the file took too long; it is damaged or far too complicated for a receipt."
        case "memory":
            reason = "Reading the file took too much memory; it is damaged or far too large when opened."
        case "crash":
            reason = "The file could not be read: it is so damaged that the program reading it broke down."
        case _:
            assert_never(kind)
    return InvalidDocument(
        reason=reason,
        fix="Open it, print it to a new PDF or take a photo of the receipt, and send that.",
        filename=document.filename,
    )


def _worded(finding: Finding, what: str) -> tuple[str, str]:
    """Reason and fix, with the numbers of the finding."""
    words = WORDS[finding.problem]
    if finding.problem is Problem.ENCRYPTED and finding.numbers.get("tried"):
        words = _TRIED
    if finding.problem is Problem.FORM and "page" in finding.numbers:
        words = _UNSHOWN_VALUE
    if what == _FORMATS[sniff.ZIP] and words[1] in (_SEND_AGAIN, WORDS[Problem.UNSUPPORTED][1]):
        words = (words[0], _ONE_BY_ONE)
    names = ", ".join(f"“{name}”" for name in finding.names[:NAMES])
    reason, fix = (text.replace("{what}", what).replace("{names}", "\0") for text in words)
    return filled_in(reason, finding.numbers).replace("\0", names), fix


def _conversion(mime_type: str, limits: Limits) -> str:
    """How to get from that format to one that is taken."""
    best = "a PDF" if sniff.PDF in limits.types else f"a {_accepted(limits)}"
    if mime_type in ("message/rfc822", "application/vnd.ms-outlook", "application/vnd.ms-tnef"):
        return "Save the receipt out of the message and send it, or print the message to a PDF and send that."
    if mime_type == "application/pkcs7-mime":
        return "Open it with your signature program, save the document inside it, and send that."
    if mime_type in _ARCHIVES:
        return "Unpack it and send the receipts inside it one by one."
    if mime_type.startswith("image/") or mime_type in _FORMATS:
        return f"Open it, save or export it as {best}, and send that."
    if mime_type.startswith(("video/", "audio/")) or mime_type in _NO_DOCUMENTS:
        return f"Send the receipt itself: a photo of it, or {best}."
    if mime_type == sniff.UNKNOWN:
        return f"Check that it opens on your computer; if it does, print it to {best} and send that."
    return f"Open it, print it to {best} (Print, then Save as PDF) and send that."


_ARCHIVES = frozenset(
    {
        sniff.ZIP,
        "application/vnd.rar",
        "application/x-7z-compressed",
        "application/gzip",
        "application/x-bzip2",
        "application/x-xz",
        "application/zstd",
    }
)
_NO_DOCUMENTS = frozenset(
    {
        "application/vnd.microsoft.portable-executable",
        "application/x-elf",
        "application/x-mach-binary",
        "application/x-ms-shortcut",
        "application/x-mswinurl",
        "text/calendar",
        "text/vcard",
    }
)


def _accepted(limits: Limits) -> str:
    names = sorted({_OTHER_NAMES.get(mime_type, mime_type) for mime_type in limits.types})
    words = [_FORMATS.get(name, name) for name in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _claimed_type(filename: str) -> str | None:
    """What the name promises, when it promises a format of receipts; used for this one sentence only."""
    extension = filename.rpartition(".")[2].lower()
    for mime_type, extensions in _EXTENSIONS.items():
        if extension in extensions:
            return mime_type
    return None
