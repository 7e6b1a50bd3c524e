"""Near-duplicates: the same receipt photographed twice for one account.

Fingerprints name candidates, a comparison of the pictures decides. Two twins prepared at the same time must
not miss each other, so a receipt waits for those like it that came first, until they are committed or will
not be; what looks different waits for nobody. Twins on two nodes at the same instant are missed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ingestd.domain.document import MICROSECONDS, Instant, ReceiptImage
from ingestd.domain.likeness import NEAR_BITS, distance
from ingestd.domain.receipt import Receipt
from ingestd.domain.retry import later
from ingestd.interfaces import LedgerReader
from ingestd.pipeline.flow import Flow

MOST_CANDIDATES = 2
"""Pictures compared for one receipt. A comparison takes a limited process for about as long as a document."""

NEAR_DUPLICATE = "This shows a receipt that is here already:"


@dataclass(slots=True, eq=False)
class _InHand:
    fingerprint: str
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Lookalikes:
    """Finds the receipt that an image shows a second time."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._in_hand: dict[tuple[str, str | None], list[_InHand]] = {}
        """By target and account; no more than are prepared at once."""

    def looks_at(self, image: ReceiptImage) -> bool:
        return image.fingerprint is not None and self._flow.preparation.near_duplicates != "off"

    @asynccontextmanager
    async def turn(self, receipt: Receipt, image: ReceiptImage) -> AsyncIterator[None]:
        """From the look to the commit. Enters when no look-alike that came first is in between any more."""
        if image.fingerprint is None or not self.looks_at(image):
            yield
            return
        mine = _InHand(image.fingerprint)
        pair = (receipt.target, receipt.account)
        others = self._in_hand.setdefault(pair, [])
        before = [o for o in others if distance(o.fingerprint, mine.fingerprint) <= NEAR_BITS]
        others.append(mine)
        try:
            for other in before:
                await other.done.wait()
            yield
        finally:
            mine.done.set()
            others.remove(mine)
            if not others:
                self._in_hand.pop(pair, None)

    async def first_of(self, receipt: Receipt, image: ReceiptImage) -> Receipt | None:
        """The receipt that shows the same, the nearest one first. Call it inside a turn."""
        if not self.looks_at(image):
            return None
        flow = self._flow
        since = Instant(later(flow.clock(), -flow.preparation.near_duplicate_window))
        for candidate in await flow.reader.lookalikes(receipt, image, since=since, limit=MOST_CANDIDATES):
            # The same documents for the same slot: that was on purpose (submit --again, repeat = "upload").
            if candidate.key != receipt.key and await self._is_same(receipt, image, candidate):
                return candidate
        return None

    async def _is_same(self, receipt: Receipt, image: ReceiptImage, candidate: Receipt) -> bool:
        if candidate.image is None:
            return False
        if candidate.image.sha256 == image.sha256:
            return True
        try:
            same = await self._flow.normalizer.same(image, candidate.image)
        except FileNotFoundError:
            return False  # its image was purged: it was kept for as long as `keep` says
        except OSError as error:
            self._flow.observer.note(
                "lookalike.unreadable",
                level="warning",
                receipt=receipt.id,
                other=candidate.id,
                reason=error.strerror or str(error),
            )
            return False
        if same is None:
            # Two pictures that break the comparison are not known to be the same.
            self._flow.observer.note(
                "lookalike.broken", level="warning", receipt=receipt.id, other=candidate.id
            )
        return same is True


async def pointer(reader: LedgerReader, first: Receipt) -> str:
    """Which receipt that is, and how it stands now: the candidates were read a comparison ago."""
    current = await reader.get(first.id) or first
    state = f"{current.state} as image {current.image_id}" if current.image_id else str(current.state)
    came = datetime.fromtimestamp(current.received_at / MICROSECONDS, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"receipt {current.id} ({current.filename}, {came}) for {current.destined}, which is {state}"


def warning(pointer: str) -> str:
    return f"{NEAR_DUPLICATE} {pointer}."


def hold_reason(pointer: str, receipt: Receipt) -> str:
    return (
        f"{NEAR_DUPLICATE} {pointer}. If it is another receipt, or wanted twice: ingestd retry {receipt.id}. "
        f"If it is the same: ingestd drop {receipt.id}."
    )


def is_waived(receipt: Receipt) -> bool:
    """A person has said that it is to be uploaded although it looks like another one."""
    return any(reason.startswith(NEAR_DUPLICATE) for reason in receipt.waived)
