"""Which parts of a message may be receipts: told by their bytes, whatever they are declared as.

Nothing vanishes: each part is a leaf, the text, or left out with an excuse. The text is a receipt only when
nothing else in the message was meant as one, or when it names a total and all the rest are pictures in it.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

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
from ingestd.normalizer.message_excuses import excuse_of_file, excuse_of_part
from ingestd.normalizer.message_headers import text_of
from ingestd.normalizer.message_illustrated import is_illustrated, referenced_in
from ingestd.normalizer.message_letter import automatic, is_auto_reply, letter_of
from ingestd.normalizer.message_parts import MOST_DEPTH, Bounds, Part, read_message
from ingestd.normalizer.message_pictures import is_small, is_tiny
from ingestd.normalizer.message_text import SHOWN_TYPES, Body, body_of, seen_in
from ingestd.normalizer.message_tnef import DamagedTnef, tnef_files
from ingestd.normalizer.message_uuencode import uu_files, without_uu_files

_NOT_HERE = frozenset(
    {Excuse.WEB_PAGE, Excuse.SIGNED, Excuse.ENCRYPTED, Excuse.DAMAGED_TNEF, Excuse.ELSEWHERE}
)
"""Somebody meant to send something that can't be had: then the words around it are no receipt."""
_PGP_MESSAGE = "-----BEGIN PGP MESSAGE-----"  # RFC 9580 section 6.2
_MESSAGES = frozenset({MESSAGE_TYPE, "message/global", "message/news"})
_TNEF_BYTES = "application/vnd.ms-tnef"
_TNEF = frozenset({"application/ms-tnef", _TNEF_BYTES})
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
    opening = _Opening(asked, root.bounds)
    opening.take_message(root, outermost=True)
    return Opened(
        letter=letter,
        automatic=automatic(root.header, letter),
        leaves=tuple(_written(opening.leaves, write)),
        left_out=tuple(opening.left_out),
    )


@dataclass(frozen=True, slots=True)
class _Candidate:
    """`shown`: its Content-ID, if it is a picture that stands within the text and not a file."""

    leaf: FoundLeaf
    content: bytes
    shown: str | None = None


def _written(candidates: Iterable[_Candidate], write: Callable[[bytes], None]) -> Iterator[FoundLeaf]:
    """One behind the other."""
    offset = 0
    for one in candidates:
        write(one.content)
        yield replace(one.leaf, offset=offset)
        offset += one.leaf.size


@dataclass(slots=True)
class _Opening:
    asked: OpenRequest
    bounds: Bounds
    leaf_bytes: int = 0
    leaves: list[_Candidate] = field(default_factory=list)
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
        if any(one.excuse in _NOT_HERE for one in self.left_out[left_out:]):
            return
        if len(self.leaves) > leaves:
            if not is_illustrated(message, body, {one.shown for one in self.leaves[leaves:]}):
                return
            self._take_back(leaves)
        self._take_text(message, body, name, outermost=outermost)

    def _take_back(self, first: int) -> None:
        """Pictures that the text shows, from this one on."""
        for one in self.leaves[first:]:
            self._leave_out(one.leaf.name, Excuse.ILLUSTRATION)
            self.leaf_bytes -= one.leaf.size
        del self.leaves[first:]

    def _take_text(self, message: Part, body: Body, name: str, *, outermost: bool) -> None:
        if not body.is_visible:
            self._leave_out(name, Excuse.NO_TEXT)
        elif is_auto_reply(message.header):
            self._leave_out(name, Excuse.AUTO_REPLY)
        elif any(_PGP_MESSAGE in seen_in(part) for part in body.shown):
            self._leave_out(name, Excuse.ENCRYPTED)
        elif outermost:
            self._add(
                FoundLeaf(
                    name=display_name(name),
                    declared_type=MESSAGE_TYPE,
                    offset=0,
                    size=0,
                    text=True,
                    whole=True,
                ),
                b"",
            )
        else:
            self._add_bytes(name, MESSAGE_TYPE, message.data, text=True)

    def _take_parts(self, message: Part, body: Body) -> None:
        texts = {id(part) for part in body.all}
        referenced = referenced_in(body)
        for part, around in _parts(message):
            if part.mime_type == "multipart/encrypted":
                self._leave_out(self._name(part), Excuse.ENCRYPTED)
            elif id(part) in texts:
                self._take_uu_files(part)
            elif not _is_frame(part):
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
        elif found == _TNEF_BYTES or part.mime_type in _TNEF:
            self._take_tnef(self._name(part), content, part.depth)
        elif _is_message(part, found):
            self._take_nested(part, content)
        elif found == "text/plain" and not without_uu_files(content).strip():
            self._take_uu_files(part)
        elif (excuse := excuse_of_part(part, found)) is not None:
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
            shown = part.content_id if inline and found in SHOWN_TYPES else None
            self._add_part(part, content, found, inline=inline, shown=shown)
        else:
            self._leave_out(self._name(part, found), excuse)

    def _take_tnef(self, name: str, content: bytes, depth: int) -> None:
        """A damaged one is left out as a whole."""
        try:
            files = tnef_files(content)
        except DamagedTnef:
            self._leave_out(name, Excuse.DAMAGED_TNEF)
            return
        if not files:
            self._leave_out(name, Excuse.FORMATTING)
        for file in files:
            self._take_file(file.name, file.content, depth + 1)

    def _take_uu_files(self, part: Part) -> None:
        if part.mime_type != "text/html":
            for file in uu_files(part.content):
                self._take_file(file.name, file.content, part.depth + 1)

    def _take_file(self, name: str, content: bytes, depth: int) -> None:
        """One that stands within a part. It is meant as an attachment; only its name and bytes tell more."""
        if depth > MOST_DEPTH:
            raise Unopenable(Obstacle.NESTED_TOO_DEEP, limit=MOST_DEPTH)
        self.bounds.count_part()
        self.bounds.count_bytes(len(content))
        found = _sniffed(content)
        name = name or self._number_as_name(found)
        if found.startswith("image/") and is_tiny(content, found):
            self._leave_out(name, Excuse.TRACKER)
        elif found == _TNEF_BYTES:
            self._take_tnef(name, content, depth)
        elif found == MESSAGE_TYPE:
            nested = read_message(content, self.bounds, depth + 1)
            self.take_message(nested, outermost=False, fallback=name)
        elif not _is_receipt_type(found) and (excuse := excuse_of_file(name, found)):
            self._leave_out(name, excuse)
        else:
            self._add_bytes(name, found, content)

    def _take_nested(self, part: Part, content: bytes) -> None:
        nested = read_message(content, self.bounds, part.depth + 1)
        if nested.header.fields:
            self.take_message(nested, outermost=False, fallback=part.name)
        else:  # declared as one, and none: preparing it says what it is
            self._add_part(part, content, MESSAGE_TYPE)

    # --- what comes of it

    def _name(self, part: Part, found: str = "") -> str:
        return part.name or self._number_as_name(found)

    def _number_as_name(self, found: str) -> str:
        return f"attachment {len(self.leaves) + len(self.left_out) + 1}{_EXTENSIONS.get(found, '')}"

    def _leave_out(self, name: str, excuse: Excuse) -> None:
        self.left_out.append(LeftOut(name=display_name(name), excuse=excuse))

    def _add_part(
        self, part: Part, content: bytes, found: str, *, inline: bool = False, shown: str | None = None
    ) -> None:
        self._add_bytes(self._name(part, found), part.mime_type, content, inline=inline, shown=shown)

    def _add_bytes(
        self,
        name: str,
        declared_type: str,
        content: bytes,
        *,
        inline: bool = False,
        text: bool = False,
        shown: str | None = None,
    ) -> None:
        leaf = FoundLeaf(
            name=display_name(name),
            declared_type=declared_type[:100],
            offset=0,
            size=len(content),
            inline=inline,
            text=text,
        )
        self._add(leaf, content, shown)

    def _add(self, leaf: FoundLeaf, content: bytes, shown: str | None = None) -> None:
        if len(self.leaves) >= self.asked.max_leaves:
            raise Unopenable(Obstacle.TOO_MANY_LEAVES, limit=self.asked.max_leaves)
        self.leaf_bytes += leaf.size
        if self.leaf_bytes > self.asked.max_bytes:
            raise Unopenable(Obstacle.TOO_LARGE, limit=self.asked.max_bytes)
        self.leaves.append(_Candidate(leaf, content, shown))


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
    return not (_is_receipt_type(found) or part.name or part.disposition == "attachment")


def _is_receipt_type(found: str) -> bool:
    return found.startswith("image/") or found in (sniff.PDF, sniff.ZIP)


def _sniffed(content: bytes) -> str:
    return sniff.sniff(content[: sniff.HEAD_BYTES], content[-sniff.TAIL_BYTES :])


def _is_message(part: Part, found: str) -> bool:
    if part.mime_type in _MESSAGES:
        return True
    return found == MESSAGE_TYPE and (
        part.name.lower().endswith(".eml") or not part.mime_type.startswith("text/")
    )


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
