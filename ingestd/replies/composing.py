"""One answer as a message: threaded, marked as automatic (RFC 3834), in text and in HTML, the same each time.

Nothing of the original is attached or quoted but its subject and the names of its parts.
"""

import html
import re
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime, parseaddr

from ingestd.domain.document import MICROSECONDS, Instant
from ingestd.domain.mail import MessageOrigin
from ingestd.interfaces import Answer
from ingestd.replies.presentable import one_line
from ingestd.replies.verdicts import Content, Entry, Section, content
from ingestd.replies.wording import Wording

LONGEST_SUBJECT = 200
"""Characters, with the Re:."""
MOST_REFERENCES = 20
LONGEST_MESSAGE_ID = 250
"""Longer ones are left out: header lines must stay far below 998 (RFC 5322 section 2.1.1)."""
_LONGEST_ADDRESS = 254  # RFC 5321 section 4.5.3.1.3, without the angle brackets
_LINE = 76
_ANSWERED = re.compile(r"(?:(?:re|aw|antw|sv|vs|odp)\s*(?:\[\d{1,3}\])?\s*:\s*)+", re.IGNORECASE)
_MESSAGE_ID = re.compile(r"<[!-;=?A-~]+@[!-;=?A-~]+>")
# RFC 5321 section 4.1.2 Dot-string, with RFC 6531 also beyond ASCII. Nobody who mails receipts has a quoted
# local part, and servers read them in different ways.
_ADDRESS = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\"(),:;<>@\[\\\].]+(?:\.[^\s\x00-\x1f\x7f-\x9f\"(),:;<>@\[\\\].]+)*"
    r"@[^\s\x00-\x1f\x7f-\x9f\"(),:;<>@\[\\\]]+"
)
_PLAIN_FIELDS = frozenset({"subject", "references", "in-reply-to"})
_COLOURS = {
    "refused": "#c62828",
    "waiting": "#ef8f00",
    "underway": "#ef8f00",
    "uploaded": "#2e8b57",
    "repeated": "#2e8b57",
    "dropped": "#8a8a8a",
    "left_out": "#8a8a8a",
}
"""Each is told apart on white and on black; the headings say the same in words."""


class InvalidAddress(ValueError):
    """This is no address a message can be sent to."""


def compose(answer: Answer, *, sender: Address, words: Wording, at: Instant) -> EmailMessage:
    """The whole message but for its envelope; with UTF-8 in its header only if an address wants it.

    Raises InvalidAddress when `answer.to` is no address."""
    to = address(answer.to)
    mailed = answer.mailed
    message = EmailMessage(policy=_policy(utf8=wants_utf8(to, sender)))
    message["From"] = sender
    message["To"] = to
    message["Subject"] = _subject(mailed.origin.mail, words)
    message["Date"] = format_datetime(datetime.fromtimestamp(at // MICROSECONDS, UTC))
    message["Message-ID"] = f"<{_token(mailed.arrival)}.ingestd@{sender.domain}>"
    for name, value in _thread(mailed.origin.mail).items():
        message[name] = value
    # RFC 3834 section 5: what keeps other responders, and other ingestd, from answering this. Exchange looks
    # at X-Auto-Response-Suppress. Precedence is left out: RFC 3834 section 3.1.8 advises against it, filters
    # take it for advertising, and it would add nothing.
    message["Auto-Submitted"] = "auto-replied"
    message["X-Auto-Response-Suppress"] = "All"
    said = content(mailed, words, own_name=sender.display_name)
    message.set_content(as_text(said, words), cte="quoted-printable")
    message.add_alternative(as_html(said, words), subtype="html", cte="quoted-printable")
    # "=_" can't occur in quoted-printable (RFC 2045 section 6.7), so no body holds it. The same each time.
    message.set_boundary(f"=_{_token(mailed.arrival)}")
    return message


def address(text: str, *, name: str = "") -> Address:
    """`local@domain` and nothing else; its domain in ASCII. Raises InvalidAddress."""
    if not _ADDRESS.fullmatch(text) or len(text) > _LONGEST_ADDRESS:
        raise InvalidAddress(f"{one_line(text, most=100)!r} is not an address")
    local, _, domain = text.rpartition("@")
    try:
        return Address(name, local, domain.encode("idna").decode())
    except UnicodeError:
        raise InvalidAddress(f"{one_line(domain, most=100)!r} is not a domain") from None


def own_address(text: str, *, name: str) -> Address:
    """The same for the sender in the configuration; that may be `Receipts <receipts@example.com>`."""
    shown, bare = parseaddr(text) if "<" in text else ("", text)
    return address(bare, name=one_line(shown, most=100) or name)


def wants_utf8(*addresses: Address) -> bool:
    """Whether only a server that knows SMTPUTF8 (RFC 6531) can deliver between these."""
    return not all(one.addr_spec.isascii() for one in addresses)


def as_text(said: Content, words: Wording) -> str:
    text = words.frame(
        "answer.txt",
        headline=_filled(said.headline),
        sections="".join(_section_text(section, words) for section in said.sections),
        more=_filled(said.more),
        footer=_filled(said.footer),
        space=" ",  # "-- " begins a signature (RFC 3676 section 4.3); editors eat blanks at the end of lines
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


def as_html(said: Content, words: Wording) -> str:
    return words.frame(
        "answer.html",
        headline=html.escape(said.headline),
        sections="\n".join(_section_html(section, words) for section in said.sections),
        more=html.escape(said.more),
        footer=html.escape(said.footer),
        space=" ",
    )


def _section_text(section: Section, words: Wording) -> str:
    return words.frame(
        "section.txt",
        heading=_filled(section.heading.upper()),
        advice=_filled(section.advice),
        entries="".join(_entry_text(entry, words) for entry in section.entries),
        colour="",
    )


def _entry_text(entry: Entry, words: Wording) -> str:
    lines = "\n".join(_filled(line, indent="  ") for line in entry.lines)
    return words.frame("entry.txt", title=_filled(f"* {entry.title}", indent="  ", first=""), lines=lines)


def _filled(text: str, *, indent: str = "", first: str | None = None) -> str:
    return textwrap.fill(
        text,
        _LINE,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _section_html(section: Section, words: Wording) -> str:
    return words.frame(
        "section.html",
        heading=html.escape(section.heading),
        advice=html.escape(section.advice),
        entries="\n".join(_entry_html(entry, words) for entry in section.entries),
        colour=_COLOURS[section.kind],
    )


def _entry_html(entry: Entry, words: Wording) -> str:
    lines = "\n".join(f"<div>{html.escape(line)}</div>" for line in entry.lines)
    return words.frame("entry.html", title=html.escape(entry.title), lines=lines)


def _subject(mail: MessageOrigin | None, words: Wording) -> str:
    """`Re:` and the original, so that mail programs that thread by subject keep it in its thread."""
    original = one_line(mail.subject if mail else "", most=LONGEST_SUBJECT * 2)
    original = _ANSWERED.sub("", original, count=1) if _ANSWERED.match(original) else original
    return one_line(f"Re: {original or words.say('no_subject')}", most=LONGEST_SUBJECT)


def _thread(mail: MessageOrigin | None) -> dict[str, str]:
    """In-Reply-To and References (RFC 5322 section 3.6.4), of well-formed IDs only."""
    if mail is None:
        return {}
    fields = {}
    if is_message_id(mail.message_id):
        fields["In-Reply-To"] = mail.message_id
    references = list(dict.fromkeys(i for i in (*mail.references, mail.message_id) if is_message_id(i)))
    if references:
        fields["References"] = " ".join(_shortened(references))
    return fields


def _shortened(references: Sequence[str]) -> Sequence[str]:
    """The first one tells the thread, the last ones the place in it."""
    if len(references) <= MOST_REFERENCES:
        return references
    return [references[0], *references[1 - MOST_REFERENCES :]]


def is_message_id(text: str) -> bool:
    return len(text) <= LONGEST_MESSAGE_ID and _MESSAGE_ID.fullmatch(text) is not None


def _token(text: str) -> str:
    """An arrival ID as part of a message ID and of a boundary."""
    return re.sub(r"[^A-Za-z0-9-]", "", text)[:60]


class _Policy(EmailPolicy):
    """Stores and folds the fields that hold strangers' text by rules as plain as they need.

    The library would decode what looks like an encoded word in a subject, line breaks and all; turn a
    message ID longer than a line into an encoded word, which breaks the thread; and lose blanks between
    encoded words.
    """

    def header_store_parse(self, name: str, value: str) -> tuple[str, str]:
        if name.lower() not in _PLAIN_FIELDS:
            stored: tuple[str, str] = super().header_store_parse(name, value)
            return stored
        if not value.isprintable():
            raise ValueError(f"{name} must be one line of visible characters")
        return name, value

    def fold(self, name: str, value: str) -> str:
        match name.lower():
            case "references" | "in-reply-to":
                return f"{name}: " + "\r\n ".join(value.split()) + "\r\n"
            case "subject":
                return f"{name}: {_encoded(value)}\r\n"
            case _:
                folded: str = super().fold(name, value)
                return folded

    def fold_binary(self, name: str, value: str) -> bytes:
        return self.fold(name, value).encode("utf-8" if self.utf8 else "ascii")


def _encoded(subject: str) -> str:
    """RFC 2047; also for ASCII that could be taken for an encoded word."""
    charset = "us-ascii" if subject.isascii() and "=?" not in subject else "utf-8"
    return Header(subject, charset, _LINE, header_name="Subject").encode(linesep="\r\n")


def _policy(*, utf8: bool) -> EmailPolicy:
    return _Policy(linesep="\r\n", max_line_length=_LINE, utf8=utf8, cte_type="7bit")
