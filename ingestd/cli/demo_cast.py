"""What the demo drops, where each file must end, and the judgement over it.

The judge is the sandbox: a receipt counts as uploaded when the sandbox holds its image in the right slot, and
what was converted is opened here once more, by its bytes.
"""

import hashlib
import io
import json
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from pypdf import PdfReader

from ingestd import samples
from ingestd.domain.receipt import Receipt
from ingestd.domain.states import State

PASSWORD = "trade-fair-2026"  # noqa: S105 - of a sample
MOST_BYTES = 10_000_000
REPEAT_OF = "taxi.jpg"
REPEAT = "taxi (copy).jpg"


@dataclass(frozen=True, kw_only=True)
class Act:
    """The files of one receipt, and how it must end.

    `becomes`: MIME type and pages of what is sent instead; None: the file itself. `word`: in the reason.
    """

    files: Mapping[str, bytes]
    slot: str = "receipt"
    state: State = State.UPLOADED
    becomes: tuple[str, int] | None = None
    word: str = ""
    about: str = ""

    @property
    def path(self) -> str:
        return next(iter(self.files))

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.files[self.path]).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An image that the sandbox holds."""

    place: str
    sha256: str
    image_id: str | None
    content: Callable[[], bytes]


def cast() -> Sequence[Act]:
    """All that is dropped. Takes a few seconds to draw."""
    statement, bill = (samples.pdf(seed) for seed in (11, 12))
    return (
        _act("taxi.jpg", samples.jpeg(1)),
        _act("parking.png", samples.png(2)),
        _act("hotel.pdf", samples.pdf(3, pages=2)),
        _act("entries/E-1042/dinner.jpg", samples.jpeg(4), slot="expenseentry/E-1042"),
        _act("reports/R-2207/flight.pdf", samples.pdf(5), slot="report/R-2207"),
        _act("invoices/I-77/printer.png", samples.png(6), slot="invoice/I-77"),
        _act(
            "lunch.heic",
            samples.heic(9, width=900, lying=True),
            becomes=("image/jpeg", 1),
            about="a phone's photo, lying on its side",
        ),
        _act(
            "tolls.tif",
            samples.tiff(13, pages=3),
            becomes=("application/pdf", 3),
            about="a scan of three pages",
        ),
        _act(
            "phone-bill.pdf",
            samples.encrypted_pdf(password=PASSWORD, document=bill),
            becomes=("application/pdf", 1),
            about="its password is known",
        ),
        _act(
            "scan-12MB.png",
            samples.grainy_scan(),
            becomes=("image/jpeg", 1),
            about="larger than the 10 MB limit",
        ),
        Act(
            files={
                "entries/E-2001/page1.jpg": samples.jpeg(16),
                "entries/E-2001/page2.jpg": samples.jpeg(17),
            },
            slot="expenseentry/E-2001",
            becomes=("application/pdf", 2),
            about="two pages for one entry",
        ),
        _act(
            "bank-statement.pdf",
            samples.encrypted_pdf(password="nobody-knows", document=statement),  # noqa: S106 - of a sample
            state=State.REJECTED,
            word="password",
        ),
        _act("half-a-photo.jpg", samples.truncated(samples.jpeg(7)), state=State.REJECTED, word="incomplete"),
        _act("notes.pdf", samples.text(), state=State.REJECTED, word="text"),
    )


def kept(inbox: Path, act: Act) -> list[Path]:
    """Where the daemon must have put the files of this receipt."""
    place = inbox / ("uploaded" if act.state is State.UPLOADED else "rejected")
    return [place / path for path in act.files]


def stored(url: str) -> list[Stored]:
    """What the sandbox at this URL holds."""

    def content(number: int) -> bytes:
        return _fetched(f"{url}/_sandbox/images/{number}/content")

    return [
        Stored(
            place=f"{image['slot']}/{image['id']}" if image["id"] else image["slot"],
            sha256=image["sha256"],
            image_id=image["image_id"],
            content=lambda number=image["number"]: content(number),  # type: ignore[misc] # bound now
        )
        for image in json.loads(_fetched(f"{url}/_sandbox/images"))["images"]
    ]


def verdict(
    acts: Sequence[Act], receipts: Mapping[str, Receipt], images: Sequence[Stored], inbox: Path
) -> list[str]:
    """What is not as it should be, a sentence each. `receipts` by the sha256 of their first document."""
    wrong = [sentence for act in acts for sentence in _wrong(act, receipts.get(act.sha256), images, inbox)]
    if len(images) != sum(act.state is State.UPLOADED for act in acts):
        wrong.append(f"the sandbox holds {len(images)} images")
    if not (inbox / "uploaded" / REPEAT).exists():
        wrong.append(f"{REPEAT} should be in uploaded/, as a repeat")
    return wrong


def _wrong(act: Act, receipt: Receipt | None, images: Sequence[Stored], inbox: Path) -> list[str]:
    if receipt is None or receipt.state is not act.state:
        return [f"{act.path} should be {act.state}"]
    wrong = [f"{path} should be there" for path in kept(inbox, act) if not path.exists()]
    if receipt.documents != len(act.files):
        wrong.append(f"{act.path} should be one receipt of {len(act.files)} files")
    if act.word not in (receipt.reason or "").lower():
        wrong.append(f"the reason of {act.path} should speak of {act.word!r}")
    held = [image for image in images if image.image_id is not None and image.image_id == receipt.image_id]
    if act.state is State.UPLOADED and len(held) != 1:
        return [*wrong, f"the sandbox should hold the image of {act.path} once"]
    return wrong + [sentence for image in held for sentence in _wrong_image(act, receipt, image)]


def _wrong_image(act: Act, receipt: Receipt, image: Stored) -> list[str]:
    wrong = []
    if image.place != act.slot:
        wrong.append(f"{act.path} should be in {act.slot}, not in {image.place}")
    expected = act.sha256 if act.becomes is None else receipt.image.sha256 if receipt.image else ""
    if image.sha256 != expected:
        wrong.append(f"the sandbox holds other bytes for {act.path}")
    if act.becomes is not None:
        content = image.content()
        found = type_and_pages(content)
        if found != act.becomes or len(content) > MOST_BYTES:
            wrong.append(f"{act.path} should have become {act.becomes}, and is {found}, {len(content)} bytes")
    return wrong


def type_and_pages(content: bytes) -> tuple[str, int]:
    """MIME type and pages, by opening it."""
    if content.startswith(b"%PDF-"):
        return "application/pdf", len(PdfReader(io.BytesIO(content)).pages)
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        return picture.get_format_mimetype() or "unknown", 1


def _act(
    path: str,
    content: bytes,
    *,
    slot: str = "receipt",
    state: State = State.UPLOADED,
    becomes: tuple[str, int] | None = None,
    word: str = "",
    about: str = "",
) -> Act:
    return Act(files={path: content}, slot=slot, state=state, becomes=becomes, word=word, about=about)


def _fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own sandbox
        content: bytes = answer.read()
    return content
