"""What the tests of a ledger make: documents, arrivals, receipts in every state."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from ingestd.domain.document import Document, Instant, Origin, OriginKind, ReceiptImage
from ingestd.domain.outcome import (
    Outcome,
    Refused,
    Unconfirmed,
    Uploaded,
)
from ingestd.domain.receipt import Receipt, idempotency_key, new_id
from ingestd.domain.retry import Step
from ingestd.domain.states import Event, State
from ingestd.interfaces import Feedback, NewArrival, NewReceipt, Refusal, Report
from ingestd.ledger import (
    SqlLedger,
)

SPOOL = Path("/spool")
START = Instant(1_760_000_000_000_000)
SECOND = 1_000_000
LEASE = timedelta(seconds=60)
NO_ROUTE = "No route fits this file."


def spool_path(sha256: str) -> Path:
    return SPOOL / sha256


def after(seconds: float) -> Instant:
    return Instant(START + round(seconds * SECOND))


def document(name: str = "lunch.pdf", content: str = "lunch", arrived_as: str = "") -> Document:
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    return Document(
        path=spool_path(sha256),
        filename=name,
        size=len(content),
        sha256=sha256,
        declared_type=None,
        arrived_as=arrived_as,
    )


def new_receipt(
    *documents: Document,
    target: str = "concur",
    slot: str = "receipt",
    account: str | None = None,
    again: bool = False,
    hold: str | None = None,
) -> NewReceipt:
    documents = documents or (document(),)
    key = idempotency_key([d.sha256 for d in documents], target=target, account=account, slot=slot)
    return NewReceipt(
        documents=documents, target=target, slot=slot, key=key, account=account, again=again, hold=hold
    )


def new_arrival(
    *receipts: NewReceipt,
    ignored: Sequence[Refusal] = (),
    kind: OriginKind = OriginKind.FILE,
    path: str = "lunch.pdf",
    containers: Sequence[Document] = (),
) -> NewArrival:
    origin = Origin(kind=kind, source="scanner", path=path)
    return NewArrival(
        id=new_id(START),
        origin=origin,
        receipts=receipts,
        ignored=tuple(ignored),
        containers=tuple(containers),
    )


def image_of(sha256: str, *, fingerprint: str | None = None, pages: int = 2) -> ReceiptImage:
    return ReceiptImage(
        path=spool_path(sha256),
        mime_type="application/pdf",
        size=5,
        pages=pages,
        sha256=sha256,
        fingerprint=fingerprint,
    )


def fingerprint(bits: int) -> str:
    """One that differs in so many bits from `fingerprint(0)`."""
    return f"{(1 << bits) - 1:064x}"


async def accept_one(
    ledger: SqlLedger, content: str = "lunch", *, now: Instant = START, account: str | None = None
) -> Receipt:
    new = new_receipt(document(f"{content}.pdf", content), account=account)
    return (await ledger.accept(new_arrival(new, path=f"{content}.pdf"), now=now)).receipts[0]


async def make_ready(ledger: SqlLedger, content: str = "lunch", *, account: str | None = None) -> Receipt:
    receipt = await accept_one(ledger, content, account=account)
    return await prepare(ledger, receipt)


async def prepare(
    ledger: SqlLedger,
    receipt: Receipt,
    image: ReceiptImage | None = None,
    *,
    one_image: bool = False,
    now: Instant = START,
) -> Receipt:
    """With an image of its own bytes, as one that is sent as it is."""
    image = image or image_of(receipt.sha256)
    return await ledger.prepare(receipt, image, one_image=one_image, now=now)


async def claim_one(ledger: SqlLedger, *, now: Instant = START, owner: str = "here") -> Receipt:
    (receipt,) = await ledger.claim(owner=owner, lease=LEASE, limit=1, now=now)
    return receipt


async def start_upload(ledger: SqlLedger, content: str = "lunch") -> Receipt:
    await make_ready(ledger, content)
    return await ledger.begin(await claim_one(ledger), now=START)


async def upload(ledger: SqlLedger, content: str = "lunch", *, now: Instant = START) -> Receipt:
    receipt = await start_upload(ledger, content)
    step = Step(event=Event.CONFIRM)
    return await ledger.finish(receipt, step, Uploaded(image_id="IMG1"), now=now)


async def fail(ledger: SqlLedger, ready: Receipt) -> Receipt:
    claimed = await ledger.claim(owner="here", lease=LEASE, limit=100, now=after(1))
    (mine,) = [receipt for receipt in claimed if receipt.id == ready.id]
    begun = await ledger.begin(mine, now=after(1))
    return await ledger.finish(
        begun, Step(event=Event.REFUSE), Refused(reason="No.", fix="Ask."), now=after(1)
    )


async def due(ledger: SqlLedger, now: Instant = START) -> list[Report]:
    return [feedback.report for feedback in await ledger.feedback_due(limit=100, now=now)]


async def expired(ledger: SqlLedger, before: Instant) -> list[str]:
    """All that have expired, each once, with as few in each look as can be."""
    found: list[str] = []
    last: str | None = ""
    while last is not None:
        some = await ledger.expired(before=before, after=last, limit=2)
        found += some.sha256s
        last = some.last
    return list(dict.fromkeys(found))


async def settle_feedback(ledger: SqlLedger, place: str = "uploaded/lunch.pdf") -> list[Feedback]:
    told = list(await ledger.feedback_due(limit=100, now=after(10_000)))
    for feedback in told:
        await ledger.feedback_done(feedback, place=place, now=START)
    return told


async def accept_for(ledger: SqlLedger, content: str, slot: str, *, target: str = "concur") -> Receipt:
    """Another receipt for this slot."""
    new = new_receipt(document(f"{content}.pdf", content), slot=slot, target=target)
    return (await ledger.accept(new_arrival(new), now=START)).receipts[0]


async def bring_to(
    ledger: SqlLedger, state: State, *, slot: str = "receipt", look: str | None = None
) -> Receipt:
    """The lunch receipt in this state, by the way that leads through `ready` wherever there is one."""
    receipt = await accept_for(ledger, "lunch", slot)
    match state:
        case State.RECEIVED:
            return receipt
        case State.REJECTED:
            return await ledger.move(receipt, Event.REJECT, now=START, reason="blank")
    image = image_of(receipt.sha256, fingerprint=look)
    ready = await prepare(ledger, receipt, image, one_image=slot != "receipt")
    match state:
        case State.READY:
            return ready
        case State.DROPPED:
            return await ledger.move(ready, Event.DROP, now=START)
    claimed = await claim_one(ledger)
    match state:
        case State.CLAIMED:
            return claimed
        case State.HELD:
            return await ledger.move(claimed, Event.HOLD, now=START, reason="odd")
    uploading = await ledger.begin(claimed, now=START)
    step: Step
    outcome: Outcome
    match state:
        case State.UPLOADING:
            return uploading
        case State.UPLOADED:
            step, outcome = Step(event=Event.CONFIRM), Uploaded(image_id="IMG1")
        case State.UNCONFIRMED:
            step, outcome = Step(event=Event.LOSE), Unconfirmed(reason="No answer.")
        case State.FAILED:
            step, outcome = Step(event=Event.REFUSE), Refused(reason="No.", fix="")
    return await ledger.finish(uploading, step, outcome, now=START)
