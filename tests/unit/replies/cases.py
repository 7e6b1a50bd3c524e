"""What became of made-up messages: receipts in every state, from people who name their files as people do."""

from collections.abc import Sequence
from pathlib import Path

from ingestd.domain.document import Document, Instant, Origin, OriginKind, ReceiptImage
from ingestd.domain.mail import MESSAGE_TYPE, Filed, MessageOrigin, MessagePlace
from ingestd.domain.receipt import NO_TARGET, Receipt
from ingestd.domain.states import State
from ingestd.interfaces import Answer, Mailed, MailedReceipt, Refusal

NOW = Instant(1_785_320_000_000_000)  # 2026-07-29 10:13:20 UTC
DAY = 86_400_000_000
ARRIVAL = "0198563a-1111-7abc-8def-0123456789ab"
BLURRED = "Page 1 is blurred: it may not be readable."
PASSWORD = (
    "The PDF is protected by a password, and the expense system takes none that is. Remove the password: "
    "open it, print it to a new PDF (Print, then Save as PDF) and send that one."
)


def document(filename: str, *, declared_type: str | None = "application/pdf", path: str = "") -> Document:
    return Document(
        path=Path("/spool/x"),
        filename=filename,
        size=1000,
        sha256="ab" * 32,
        declared_type=declared_type,
        arrived_as=path,
    )


def receipt(
    *filenames: str,
    state: State = State.UPLOADED,
    slot: str = "receipt",
    target: str = "concur",
    reason: str | None = None,
    image_id: str | None = None,
    warnings: tuple[str, ...] = (),
    repeat: bool = False,
    arrival: str = ARRIVAL,
    person: str | None = None,
    at: int = NOW,
    documents: Sequence[Document] | None = None,
) -> MailedReceipt:
    names = filenames or ("receipt.pdf",)
    made_of = tuple(document(name) for name in names) if documents is None else tuple(documents)
    image = ReceiptImage(
        path=Path("/spool/y"),
        mime_type="application/pdf",
        size=1,
        pages=1,
        sha256="cd" * 32,
        warnings=warnings,
    )
    return MailedReceipt(
        receipt=Receipt(
            id="0198563a-2222-7abc-8def-0123456789ab",
            key="k",
            arrival=arrival,
            target=target,
            account=None,
            slot=slot,
            state=state,
            version=5,
            attempts=1,
            due_at=Instant(at),
            received_at=Instant(at),
            updated_at=Instant(at),
            source="receipts",
            path="Hotel bill",
            filename=names[0],
            sha256="ab" * 32,
            documents=len(made_of),
            person=person,
            image=image,
            image_id=image_id or ("8E2F31C4A9" if state is State.UPLOADED else None),
            reason=reason,
        ),
        documents=made_of,
        repeat=repeat,
    )


def mailed(
    *receipts: MailedReceipt,
    ignored: Sequence[Refusal] = (),
    subject: str = "Hotel bill Lyon",
    message_id: str = "<CAF1234@mail.example.com>",
    references: tuple[str, ...] = (),
    arrival: str = ARRIVAL,
) -> Mailed:
    place = MessagePlace(account="receipts@imap.example.com:993", mailbox="INBOX", uidvalidity=1, uid=7)
    mail = MessageOrigin(
        place=place,
        message_id=message_id,
        raw_sha256="ef" * 32,
        subject=subject,
        answer_to="ann@example.com",
        references=references or ((message_id,) if message_id else ()),
    )
    return Mailed(
        arrival=arrival,
        origin=Origin(
            kind=OriginKind.MAIL,
            source="receipts",
            path=subject or "mail",
            sender="ann@example.com",
            mail=mail,
        ),
        received_at=Instant(NOW - 60_000_000),
        receipts=receipts,
        ignored=tuple(ignored),
        place=place,
        filed=Filed.UPLOADED,
        answered=False,
    )


def answer(*receipts: MailedReceipt, to: str = "ann@example.com", ignored: Sequence[Refusal] = ()) -> Answer:
    return Answer(mailed=mailed(*receipts, ignored=ignored), to=to)


LOGOS = (
    Refusal(filename="logo.png", reason="It is as small as a logo."),
    Refusal(filename="image001.png", reason="It is as small as a logo."),
    Refusal(
        filename="facebook.gif", reason="It came in many messages of this mailbox: a part of a signature."
    ),
)


def one_good() -> Mailed:
    return mailed(receipt("hotel-lyon.pdf", warnings=(BLURRED,)), ignored=LOGOS)


def a_mixed_bag() -> Mailed:
    return mailed(
        receipt("hotel-lyon.pdf", slot="report/A1B2C3", person="Ann Example", image_id="5D1C77E0"),
        receipt("statement.pdf", state=State.REJECTED, reason=PASSWORD),
        receipt("taxi.jpg", repeat=True, arrival="0198-an-older-one", at=NOW - 16 * DAY, image_id="77AA01"),
        receipt("taxi copy.jpg", repeat=True, image_id="5D1C77E1"),
        receipt("p1.jpg", "p2.jpg", slot="expenseentry/gWq9", warnings=(BLURRED,), image_id="5D1C77E2"),
        receipt(
            "bistro.heic",
            state=State.HELD,
            target=NO_TARGET,
            slot="",
            reason="No route matches this receipt, so ingestd does not know where it belongs.",
        ),
        receipt("parking.png", state=State.UNCONFIRMED, reason="All was sent, then the connection broke."),
        receipt(
            "train.pdf",
            state=State.FAILED,
            slot="report/999",
            reason="Concur knows no report with this ID. Check the ID in the subject.",
        ),
        receipt("menu.pdf", state=State.DROPPED, reason="Dropped by a person."),
        ignored=LOGOS,
    )


def only_its_text() -> Mailed:
    return mailed(receipt(documents=[document("Uber trip.eml", declared_type=MESSAGE_TYPE)]))


def nothing_found() -> Mailed:
    return mailed(ignored=LOGOS)


def too_many() -> Mailed:
    good = [receipt(f"scan {n:03}.pdf", image_id=f"ID{n}") for n in range(190)]
    bad = [receipt(f"bad {n}.pdf", state=State.REJECTED, reason=PASSWORD) for n in range(10)]
    return mailed(*good, *bad)
