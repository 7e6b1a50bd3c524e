"""Why a message can't be opened, why a part of it is no receipt, and why nobody is answered: in sentences."""

from collections.abc import Mapping
from typing import Literal, assert_never

from ingestd.domain.document import Document, InvalidDocument
from ingestd.normalizer.exchange_mail import Automatic, Excuse, Obstacle, Unopened
from ingestd.normalizer.wording import filled_in, megabytes

_FEWER = "Send the receipts in several messages, or put them into one PDF."
_PLAIN = "Write a new message, attach the receipts themselves to it as PDF or picture, and send that."

OBSTACLES: Mapping[Obstacle, tuple[str, str]] = {
    Obstacle.HEADER_TOO_LONG: (
        "The header of the message, or of a part of it, is longer than {limit} bytes. No mail program "
        "writes such a one.",
        _PLAIN,
    ),
    Obstacle.TOO_MANY_LINES: (
        "The header of the message, or of a part of it, has more than {limit} lines.",
        _PLAIN,
    ),
    Obstacle.SENDER_TOO_LONG: (
        "The sender's address is longer than {limit} bytes, so nobody can tell who sent the message.",
        _PLAIN,
    ),
    Obstacle.NESTED_TOO_DEEP: (
        "The message holds messages within messages, more than {limit} deep.",
        "Forward the innermost message, or attach the receipts themselves to a new one.",
    ),
    Obstacle.TOO_MANY_PARTS: ("The message has more than {limit} parts.", _FEWER),
    Obstacle.TOO_MANY_LEAVES: ("More than {limit} files are attached to the message.", _FEWER),
    Obstacle.TOO_LARGE: ("The files in the message have more than {limit:down} MB together.", _FEWER),
    Obstacle.TOO_MUCH_TEXT: (
        "The text of the message has more than {limit:down} MB, far more than any receipt.",
        "Print it to a PDF, attach that to a new message, and send it.",
    ),
    Obstacle.TANGLED: ("The parts of the message can't be told apart: it is badly damaged.", _PLAIN),
}
"""Reason and fix of each."""

EXCUSES: Mapping[Excuse, str] = {
    Excuse.TRACKER: (
        "It is a picture of a few pixels, as messages use them for bullets or to see who reads them."
    ),
    Excuse.LOGO: (
        "It is shown within the text and as small as a logo or a signature. If it is the receipt, attach it "
        "as a file."
    ),
    Excuse.REPEATED: "The same picture is shown earlier in this message.",
    Excuse.ILLUSTRATION: (
        "It is shown within the text, which is taken for the receipt, as it names a total; the PDF that is "
        "made of the text shows it. If it is a receipt of its own, attach it as a file."
    ),
    Excuse.SIGNATURE: "It is the digital signature of the message, or a key for it.",
    Excuse.CALENDAR: "It is a calendar entry.",
    Excuse.CONTACT: "It is a contact card.",
    Excuse.TEXT: "It is a piece of the message's text that a mail server made a file of.",
    Excuse.REPORT: "It is a report of the mail system about another message.",
    Excuse.FORMATTING: (
        "It only tells how the message or a file looks on the sender's computer; no file is in it."
    ),
    Excuse.WEB_PAGE: (
        "It is a web page. A receipt must be a PDF or a picture: open it in a browser, print it to a PDF "
        "(Print, then Save as PDF) and send that."
    ),
    Excuse.SIGNED: (
        "It is wrapped up in a digital signature (S/MIME). Send the message again without signing it, "
        "or signed as “clear text”."
    ),
    Excuse.ENCRYPTED: "It is encrypted, and can't be read here. Send the message again without encryption.",
    Excuse.DAMAGED_TNEF: (
        "It is an Outlook container (winmail.dat) that is damaged. Send the message again as HTML or plain "
        "text, not as Rich Text."
    ),
    Excuse.ELSEWHERE: (
        "The message only says where this part is to be had, or holds a piece of it. Attach the whole file."
    ),
    Excuse.AUTO_REPLY: "It is an automatic reply (out of office, vacation) with nothing attached.",
    Excuse.NO_TEXT: "The message has no text and nothing is attached to it. Send it again with the receipt.",
}

AUTOMATIC: Mapping[Automatic, str] = {
    Automatic.AUTO_SUBMITTED: "it was sent by a program (Auto-Submitted)",
    Automatic.LIST: "it came through a mailing list",
    Automatic.BULK: "it is bulk mail (Precedence)",
    Automatic.REPORT: "it is a report of the mail system",
    Automatic.NO_RETURN_PATH: "it has no return path, as bounces have none",
    Automatic.SUPPRESSED: "its sender wants no automatic answers (X-Auto-Response-Suppress)",
    Automatic.AUTO_REPLY: "it is an automatic reply",
}


def unopened(message: Document, found: Unopened) -> InvalidDocument:
    reason, fix = OBSTACLES[found.obstacle]
    return InvalidDocument(reason=filled_in(reason, found.numbers), fix=fix, filename=message.filename)


def too_large(message: Document, limit_bytes: int) -> InvalidDocument:
    return InvalidDocument(
        reason=f"The message has {megabytes(message.size, up=True)} MB; at most "
        f"{megabytes(limit_bytes, up=False)} MB can be worked on.",
        fix=_FEWER,
        filename=message.filename,
    )


def opening_died(message: Document, kind: Literal["wall", "cpu", "memory", "crash"]) -> InvalidDocument:
    """The limited process was ended by its limits, or ended itself."""
    match kind:
        case "wall" | "cpu":
            reason = "Reading the message took too long; it is damaged or far too complicated."
        case "memory":
            reason = "Reading the message took too much memory; it is damaged or far too complicated."
        case "crash":
            reason = "The message is so damaged that the program reading it broke down."
        case _:
            assert_never(kind)
    return InvalidDocument(reason=reason, fix=_PLAIN, filename=message.filename)
