"""Why a document is refused, and what to do about it, in the words of the person who sent it.

Every refusal of this room is worded here: a reason in plain sentences without jargon, and a fix that this
person can carry out.
"""

from collections.abc import Mapping
from typing import Literal, assert_never

from ingestd import sniff
from ingestd.domain.document import Document, InvalidDocument
from ingestd.interfaces import Limits
from ingestd.normalizer.exchange import Finding, Problem

MEGABYTE = 1_000_000
_OTHER_NAMES = {"image/jpg": sniff.JPEG}
_FORMATS = {sniff.PDF: "PDF", sniff.JPEG: "JPEG", sniff.PNG: "PNG"}
_EXTENSIONS = {
    sniff.PDF: frozenset({"pdf"}),
    sniff.JPEG: frozenset({"jpg", "jpeg", "jpe", "jfif", "mpo"}),
    sniff.PNG: frozenset({"png"}),
}

_SEND_AGAIN = "Scan or photograph the receipt again, or get the original once more, and send that."


def nothing_to_send() -> InvalidDocument:
    return InvalidDocument(
        reason="Nothing came with this receipt: there is no document in it.",
        fix="Send the receipt again with its picture or PDF.",
    )


def several_documents(filenames: list[str]) -> InvalidDocument:
    return InvalidDocument(
        reason=f"{len(filenames)} documents came for one receipt; merging them into one isn't possible yet.",
        fix="Put all pages into one PDF and send that, or send each document as a receipt of its own.",
        filename=filenames[0],
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


def too_large(document: Document, limits: Limits) -> InvalidDocument:
    return InvalidDocument(
        reason=f"The file has {_megabytes(document.size, up=True)} MB; the expense system takes at most "
        f"{_megabytes(limits.max_bytes, up=False)} MB.",
        fix="Scan it at a lower resolution (200 dpi is plenty), in grey instead of colour, or send a smaller "
        "copy of the photo.",
        filename=document.filename,
    )


def wrong_format(document: Document, mime_type: str, limits: Limits) -> InvalidDocument:
    """Not one of the types the target takes; `mime_type` is what the bytes say."""
    what = sniff.describe(mime_type)
    claimed = _claimed_type(document.filename)
    if claimed is None or claimed == mime_type:
        named = f"This is {what}"
    else:
        named = f"The file is named like a {_FORMATS[claimed]}, but it is {what}"
    return InvalidDocument(
        reason=f"{named}. A receipt must be {_accepted(limits)}.",
        fix=_conversion(mime_type, limits),
        filename=document.filename,
    )


def unsound(document: Document, mime_type: str, finding: Finding) -> InvalidDocument:
    """What the inspection found in a document of an accepted type."""
    what = _FORMATS.get(mime_type, "document")
    reason, fix = _worded(finding, what)
    return InvalidDocument(reason=reason, fix=fix, filename=document.filename)


def inspection_died(document: Document, kind: Literal["wall", "cpu", "memory", "crash"]) -> InvalidDocument:
    """The limited process was ended by its limits, or ended itself."""
    match kind:
        case "wall" | "cpu":
            reason = "Checking the file took too long; it is damaged or far too complicated for a receipt."
        case "memory":
            reason = "Checking the file took too much memory; it is damaged or far too large when opened."
        case "crash":
            reason = "The file could not be checked: it is so damaged that the check broke down on it."
        case _:
            assert_never(kind)
    return InvalidDocument(
        reason=reason,
        fix="Open it, print it to a new PDF or take a photo of the receipt, and send that.",
        filename=document.filename,
    )


def _worded(finding: Finding, what: str) -> tuple[str, str]:
    number: Mapping[str, int] = finding.numbers
    match finding.problem:
        case Problem.TRUNCATED:
            return (
                f"The {what} is incomplete: its end is missing, as after a copy or download that broke off.",
                "Copy or download it again, or scan the receipt once more, and send that.",
            )
        case Problem.CORRUPT:
            return f"The {what} is damaged and can't be opened.", _SEND_AGAIN
        case Problem.DAMAGED_PAGE:
            return f"Page {number['page']} of the {what} is damaged.", _SEND_AGAIN
        case Problem.MISSING_PAGES:
            return (
                f"The {what} is damaged: of its {number['declared']} pages only {number['pages']} are there.",
                _SEND_AGAIN,
            )
        case Problem.ENCRYPTED:
            return (
                f"The {what} is encrypted or protected by a password; the expense system can't take it.",
                "Open it, print it to a new PDF (Print, then Save as PDF) and send that one.",
            )
        case Problem.NO_PAGES:
            return f"The {what} has no pages.", _SEND_AGAIN
        case Problem.TOO_MANY_PAGES:
            return (
                f"The {what} has {number['pages']} pages; the expense system takes at most "
                f"{number['limit']}.",
                "Send only the pages of the receipt itself.",
            )
        case Problem.TOO_MANY_PIXELS:
            return (
                f"A picture in the file has {number['width']} x {number['height']} pixels, "
                f"{_megapixels(number['width'] * number['height'])} million; at most "
                f"{_megapixels(number['limit'])} million are allowed.",
                "Scan it at a lower resolution (200 dpi is plenty) or send a smaller copy of the photo.",
            )
        case Problem.TOO_COMPLEX:
            return (
                f"The {what} unpacks to far more than any receipt needs.",
                "Print it to a new PDF, or take a photo of the receipt, and send that.",
            )
        case Problem.ANIMATED:
            return (
                f"The picture is an animation of {number['frames']} frames; a receipt is one still picture.",
                "Take a photo or a screenshot of the receipt and send that.",
            )
        case _:
            assert_never(finding.problem)


def _conversion(mime_type: str, limits: Limits) -> str:
    """How to get from that format to one that is taken."""
    best = "a PDF" if sniff.PDF in limits.types else f"a {_accepted(limits)}"
    if mime_type in ("image/heic", "image/heif"):
        return (
            "On the phone set Camera > Formats to 'Most Compatible' and take it again, "
            f"or share the photo as {best}."
        )
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


def _megabytes(size_bytes: int, *, up: bool) -> str:
    """With one decimal where it says something; rounded so that a file over the limit reads as over it."""
    tenths = -(-size_bytes * 10 // MEGABYTE) if up else size_bytes * 10 // MEGABYTE
    return f"{tenths / 10:.1f}".removesuffix(".0")


def _megapixels(pixels: int) -> str:
    return f"{pixels // 1_000_000:,}"
