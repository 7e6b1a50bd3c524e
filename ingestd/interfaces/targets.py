"""Normalizer and destinations: from documents to one image, and from the image to its slot."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from ingestd.domain.document import Document, Instant, InvalidDocument, ReceiptImage
from ingestd.domain.outcome import CannotSay, LookUp, Outcome
from ingestd.domain.receipt import Receipt
from ingestd.domain.routing import Slot
from ingestd.interfaces.sources import Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a slot takes. `max_bytes` in bytes, `max_pages` None for no limit, `one_image`: never appends."""

    types: frozenset[str]
    max_bytes: int
    max_pages: int | None = None
    one_image: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """The members of an archive, spooled and durable, in the archive's order; and those that are no document.

    Each document's `arrived_as` is the archive's path, a slash, and the member's own name made presentable.
    """

    documents: tuple[Document, ...]
    refused: tuple[Refusal, ...] = ()


class Normalizer(Protocol):
    async def unpack(self, document: Document, path: str) -> Unpacked | None:
        """What an archive holds; None for what is no archive, or one that can't be opened or holds nothing.

        `path` is what the archive arrived as. An archive that stays a document is refused by `normalize`,
        which says why. Raises StorageExhausted, and for broken machinery.
        """
        ...

    async def normalize(
        self, documents: Sequence[Document], limits: Limits, *, passwords: Sequence[str] = ()
    ) -> ReceiptImage | InvalidDocument:
        """One image made of these documents in this order, or why there is none.

        `passwords` are tried on encrypted PDFs. Raises StorageExhausted, OSError for documents that can't be
        read, and for broken machinery.
        """
        ...

    async def compare_returned(
        self, sent: ReceiptImage, returned: Path, declared_type: str
    ) -> Literal["same", "other", "unclear"]:
        """Whether what a target gave back shows what it was sent; the bytes in `returned` are a stranger's.

        `same`: the same bytes, or every page looks the same. `other`: surely something else. Raises OSError
        for files that can't be read, and for broken machinery.
        """
        ...

    async def same(self, first: ReceiptImage, second: ReceiptImage) -> bool | None:
        """Whether two images show the same receipt: aligned, then compared in full. False when in doubt.

        None when the comparison did not come to an end: it took too long, or broke down. Raises OSError for
        images that can't be read, and for broken machinery.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """`mime_type` as the server declares it: data, like every word of a server."""

    mime_type: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """`account` None: the target's own user. `expires_at`: when a person must log in again, None: unknown."""

    account: str | None
    expires_at: Instant | None


class Destination(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def accounts(self) -> Collection[str]:
        """Whom else it can upload as, beside its own user."""
        ...

    @property
    def slots(self) -> Mapping[str, bool]:
        """The slot kinds it has, each with whether it needs an ID."""
        ...

    def limits(self, slot: Slot) -> Limits: ...

    async def upload(self, image: ReceiptImage, receipt: Receipt) -> Outcome: ...

    def reads_back(self, slot: Slot) -> bool:
        """Whether looking a slot up can tell if one upload arrived: the slot takes one image and shows it."""
        ...

    def shows_alone(self, slot: Slot) -> bool:
        """Whether what can be read back from this slot is the one image, and not a bundle of several."""
        ...

    async def look_up(self, slot: Slot, *, account: str | None, image_id: str | None = None) -> LookUp:
        """What the slot holds now. `image_id`: for a slot that keeps many images apart, the one meant.

        Sends nothing that has an effect; never raises for what the server or the network does.
        """
        ...

    async def download(self, url: str, into: BinaryIO) -> Downloaded | CannotSay:
        """The bytes behind the URL of a Found, which lives for minutes; no token goes along.

        Raises OSError when `into` can't be written.
        """
        ...

    @property
    def logins(self) -> Sequence[Login]:
        """What it logs in with, and until when that is good."""
        ...

    async def stay_logged_in(self) -> Sequence[str]:
        """Uses each login that would lapse unused. What went wrong, a sentence for each."""
        ...

    async def check(self) -> Sequence[str]:
        """Problems a person should know before the first upload. Empty: the target answers."""
        ...

    async def aclose(self) -> None: ...
