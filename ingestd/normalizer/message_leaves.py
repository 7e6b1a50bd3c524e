"""Which parts of a message may be receipts: told by their bytes, whatever they are declared as.

Nothing vanishes: each part is a leaf, the text, or left out with an excuse. Only when nothing in the message
was meant as a receipt is its text one.
"""

import hashlib
import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ingestd import sniff
from ingestd.domain.document import display_name
from ingestd.domain.mail import MESSAGE_TYPE
from ingestd.normalizer.exchange_mail import (
    Excuse,
    FoundLeaf,
    LeftOut,
    Obstacle,
    Opened,
    OpenRequest,
    Unopenable,
)
from ingestd.normalizer.message_headers import text_of
from ingestd.normalizer.message_letter import automatic, is_auto_reply, letter_of
from ingestd.normalizer.message_parts import Bounds, Part, read_message
from ingestd.normalizer.message_pictures import is_small, is_tiny
from ingestd.normalizer.message_text import Body, body_of, text_in
from ingestd.normalizer.message_tnef import DamagedTnef, tnef_files

_NOT_HERE = frozenset(
    {Excuse.WEB_PAGE, Excuse.SIGNED, Excuse.ENCRYPTED, Excuse.DAMAGED_TNEF, Excuse.ELSEWHERE}
)
"""Somebody meant to send something that can't be had: then the words around it are no receipt."""
_CID = re.compile(r"cid:([^\"'\s)>]{1,500})", re.IGNORECASE)
_DETACHED_SIGNATURES = frozenset(
    {"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"}
    | {"application/pgp-keys"}  # Thunderbird puts the key beside it
)
_SMIME = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
_REPORTS = frozenset(
    {"message/delivery-status", "message/disposition-notification", "message/global-delivery-status"}
    | {"message/feedback-report", "text/rfc822-headers", "message/global-headers"}
)
_MESSAGES = frozenset({MESSAGE_TYPE, "message/global", "message/news"})
_TNEF = frozenset({"application/ms-tnef", "application/vnd.ms-tnef"})
# Exchange turns text that stands behind an attachment into a file of this name.
_TEXT_AS_FILE = re.compile(r"att\d{5}\.(?:txt|htm|html)", re.IGNORECASE)
_EXTENSIONS = {
    sniff.PDF: ".pdf",
    sniff.JPEG: ".jpg",
    sniff.PNG: ".png",
    sniff.ZIP: ".zip",
    "image/gif": ".gif",
    "image/heic": ".heic",
    "image/tiff": ".tif",
    "image/webp": ".webp",
    MESSAGE_TYPE: ".eml",
}


def open_message(raw: bytes, write: Callable[[bytes], None], asked: OpenRequest) -> Opened:
    """Hands the bytes of the leaves to `write`, in order. Raises Unopenable, and what `write` raises."""
    root = read_message(raw)
    letter = letter_of(root.header)
    opening = _Opening(write, asked, root.bounds)
    opening.take_message(root, outermost=True)
    return Opened(
        letter=letter,
        automatic=automatic(root.header, letter),
        leaves=tuple(opening.leaves),
        left_out=tuple(opening.left_out),
    )


@dataclass(slots=True)
class _Opening:
    write: Callable[[bytes], None]
    asked: OpenRequest
    bounds: Bounds
    written_bytes: int = 0
    leaves: list[FoundLeaf] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)

    def take_message(self, message: Part, *, outermost: bool, fallback: str = "") -> None:
        """Its leaves; its text if there are none. `fallback`: its name where it has no subject."""
        name = _message_name(message, fallback)
        if message.mime_type == "multipart/report":  # RFC 6522: what it brings is another's
            self._leave_out(name, Excuse.REPORT)
            return
        body = body_of(message)
        leaves, left_out = len(self.leaves), len(self.left_out)
        self._take_parts(message, body)
        if len(self.leaves) > leaves or any(one.excuse in _NOT_HERE for one in self.left_out[left_out:]):
            return
        if not body.is_visible:
            self._leave_out(name, Excuse.NO_TEXT)
        elif is_auto_reply(message.header):
            self._leave_out(name, Excuse.AUTO_REPLY)
        elif outermost:
            self._add(
                FoundLeaf(
                    name=display_name(name),
                    declared_type=MESSAGE_TYPE,
                    offset=0,
                    size=0,
                    text=True,
                    whole=True,
                )
            )
        else:
            self._add_bytes(name, MESSAGE_TYPE, message.data, text=True)

    def _take_parts(self, message: Part, body: Body) -> None:
        texts = {id(part) for part in body.all}
        referenced = _referenced(body)
        for part, around in _parts(message):
            if part.mime_type == "multipart/encrypted":
                self._leave_out(self._name(part), Excuse.ENCRYPTED)
            elif id(part) not in texts and not _is_frame(part):
                self._take(part, around, referenced)

    def _take(self, part: Part, around: str, referenced: frozenset[str]) -> None:
        content = part.content
        found = _sniffed(content)
        if found.startswith("image/"):
            is_shown = part.content_id.lower() in referenced or around == "multipart/related"
            inline = part.disposition == "inline" or (part.disposition != "attachment" and is_shown)
            self._take_picture(part, content, found, inline=inline, within_text=is_shown)
        elif found in (sniff.PDF, sniff.ZIP):
            self._add_part(part, content, found, inline=part.disposition == "inline")
        elif found == "application/vnd.ms-tnef" or part.mime_type in _TNEF:
            self._take_tnef(part, content)
        elif _is_message(part, found):
            self._take_nested(part, content)
        elif (excuse := _excuse(part, found)) is not None:
            self._leave_out(self._name(part, found), excuse)
        elif not _is_mere_text(part, around):
            self._add_part(part, content, found)

    def _take_picture(
        self, part: Part, content: bytes, found: str, *, inline: bool, within_text: bool
    ) -> None:
        """`within_text`: the text has a place for it. Photos from phones (JPEG) stand inline, too."""
        digest = hashlib.sha256(content).digest()
        excuse = None
        if is_tiny(content, found):
            excuse = Excuse.TRACKER
        elif inline and (within_text or found != sniff.JPEG) and is_small(content, found):
            excuse = Excuse.LOGO
        elif inline and digest in self.seen:
            excuse = Excuse.REPEATED
        self.seen.add(digest)
        if excuse is None:
            self._add_part(part, content, found, inline=inline)
        else:
            self._leave_out(self._name(part, found), excuse)

    def _take_tnef(self, part: Part, content: bytes) -> None:
        """Its files are meant as attachments, whatever they are. A damaged one is left out as a whole."""
        try:
            files = tnef_files(content)
        except DamagedTnef:
            self._leave_out(self._name(part), Excuse.DAMAGED_TNEF)
            return
        if not files:
            self._leave_out(self._name(part), Excuse.FORMATTING)
        for file in files:
            self.bounds.count_part()
            self.bounds.count_bytes(len(file.content))
            found = _sniffed(file.content)
            name = file.name or f"attachment {self._number}{_EXTENSIONS.get(found, '')}"
            if found.startswith("image/") and is_tiny(file.content, found):
                self._leave_out(name, Excuse.TRACKER)
            elif found == MESSAGE_TYPE:
                nested = read_message(file.content, self.bounds, part.depth + 1)
                self.take_message(nested, outermost=False, fallback=name)
            else:
                self._add_bytes(name, found, file.content)

    def _take_nested(self, part: Part, content: bytes) -> None:
        nested = read_message(content, self.bounds, part.depth + 1)
        if nested.header.fields:
            self.take_message(nested, outermost=False, fallback=part.name)
        else:  # declared as one, and none: preparing it says what it is
            self._add_part(part, content, MESSAGE_TYPE)

    # --- what comes of it

    @property
    def _number(self) -> int:
        return len(self.leaves) + len(self.left_out) + 1

    def _name(self, part: Part, found: str = "") -> str:
        return part.name or f"attachment {self._number}{_EXTENSIONS.get(found, '')}"

    def _leave_out(self, name: str, excuse: Excuse) -> None:
        self.left_out.append(LeftOut(name=display_name(name), excuse=excuse))

    def _add_part(self, part: Part, content: bytes, found: str, *, inline: bool = False) -> None:
        self._add_bytes(self._name(part, found), part.mime_type, content, inline=inline)

    def _add_bytes(
        self, name: str, declared_type: str, content: bytes, *, inline: bool = False, text: bool = False
    ) -> None:
        leaf = FoundLeaf(
            name=display_name(name),
            declared_type=declared_type[:100],
            offset=self.written_bytes,
            size=len(content),
            inline=inline,
            text=text,
        )
        self._add(leaf)
        if self.written_bytes + len(content) > self.asked.max_bytes:
            raise Unopenable(Obstacle.TOO_LARGE, limit=self.asked.max_bytes)
        self.write(content)
        self.written_bytes += len(content)

    def _add(self, leaf: FoundLeaf) -> None:
        if len(self.leaves) >= self.asked.max_leaves:
            raise Unopenable(Obstacle.TOO_MANY_LEAVES, limit=self.asked.max_leaves)
        self.leaves.append(leaf)


def _parts(part: Part, around: str = "") -> Iterator[tuple[Part, str]]:
    """All parts in mail order, each with the type of the multipart around it; nothing inside ciphertext."""
    yield part, around
    if part.mime_type != "multipart/encrypted":
        for one in part.parts:
            yield from _parts(one, part.mime_type)


def _is_frame(part: Part) -> bool:
    """Around other parts; and not a file that is declared so, as archives once were (multipart/x-zip)."""
    if not part.mime_type.startswith("multipart/") or part.parts:
        return part.mime_type.startswith("multipart/")
    found = _sniffed(part.content)
    is_file = found in (sniff.PDF, sniff.ZIP) or found.startswith("image/")
    return not (is_file or part.name or part.disposition == "attachment")


def _sniffed(content: bytes) -> str:
    return sniff.sniff(content[: sniff.HEAD_BYTES], content[-sniff.TAIL_BYTES :])


def _referenced(body: Body) -> frozenset[str]:
    """The Content-IDs that the HTML shows."""
    found: set[str] = set()
    for part in body.shown:
        if part.mime_type == "text/html":
            found.update(html.unescape(one).lower() for one in _CID.findall(text_in(part)))
    return frozenset(found)


def _is_message(part: Part, found: str) -> bool:
    if part.mime_type in _MESSAGES:
        return True
    return found == MESSAGE_TYPE and (
        part.name.lower().endswith(".eml") or not part.mime_type.startswith("text/")
    )


def _excuse(part: Part, found: str) -> Excuse | None:
    """For what is neither a PDF, a picture, an archive nor a message."""
    name = part.name.lower()
    if part.mime_type in _DETACHED_SIGNATURES or name.endswith(".p7s") or name == "signature.asc":
        return Excuse.SIGNATURE
    if "text/calendar" in (found, part.mime_type) or name.endswith(".ics"):
        return Excuse.CALENDAR
    if {"text/vcard", "text/x-vcard", "text/directory"} & {found, part.mime_type} or name.endswith(".vcf"):
        return Excuse.CONTACT
    if part.mime_type in _REPORTS:
        return Excuse.REPORT
    if part.mime_type in ("message/external-body", "message/partial"):
        return Excuse.ELSEWHERE
    if part.mime_type == "application/pgp-encrypted" or name.endswith((".pgp", ".gpg")):
        return Excuse.ENCRYPTED
    if found == "application/pkcs7-mime" or part.mime_type in _SMIME:
        is_signed = found == "application/pkcs7-mime" or part.parameters.get("smime-type") == "signed-data"
        return Excuse.SIGNED if is_signed else Excuse.ENCRYPTED
    if part.mime_type in ("application/applefile", "application/mac-binhex40"):
        return Excuse.FORMATTING
    if _TEXT_AS_FILE.fullmatch(name):
        return Excuse.TEXT
    is_page = found == "text/html" or (part.mime_type == "text/html" and found == "text/plain")
    if is_page and (part.name or part.disposition == "attachment"):
        return Excuse.WEB_PAGE
    return None


def _is_mere_text(part: Part, around: str) -> bool:
    """Another form of the text that is no file, as text/enriched and AMP are; or nothing at all."""
    if part.name or part.disposition == "attachment":
        return False
    is_text = part.mime_type.startswith("text/")
    return is_text and (around == "multipart/alternative" or not part.content.strip())


def _message_name(message: Part, fallback: str) -> str:
    subject = text_of(message.header.first("subject"))
    name = subject or fallback.removesuffix(".eml") or "message"
    return f"{name}.eml"
