"""Receipt: the unit of the ledger, made of one or more documents for one slot of one target.

Also the IDs (UUIDv7 text, RFC 9562 section 5.7) and the idempotency key that recognises a repeat.
"""

import hashlib
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ingestd.domain.document import Instant, ReceiptImage
from ingestd.domain.routing import Destined, Slot
from ingestd.domain.states import SETTLED, State

NO_TARGET = ""
"""Target of a receipt that no route claimed: it is held until a person says where it goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One row of the ledger, as it stood when it was read.

    `version` counts its transitions; a write names the version it read, so that a stale owner can't write.
    `image` is set from `ready` on. `attempts` counts only those that were spent. `waived` are the reasons it
    was held for and that a person overruled; none of those checks holds it again. Of an unconfirmed one
    `ask_at` is when the target is to be asked, None when a person has to look. `tried_since` is the first
    attempt since a person last sent it on its way. Of an uploaded one `verify_at` is when it is to be read
    back, and `verified_at` when it was found to be the same.
    """

    id: str
    key: str
    arrival: str
    target: str
    account: str | None
    slot: str
    state: State
    version: int
    attempts: int
    due_at: Instant
    received_at: Instant
    updated_at: Instant
    source: str
    path: str
    filename: str
    sha256: str
    documents: int
    person: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    owner: str | None = None
    lease_until: Instant | None = None
    image: ReceiptImage | None = None
    image_id: str | None = None
    reference: str | None = None
    reason: str | None = None
    waived: tuple[str, ...] = ()
    ask_at: Instant | None = None
    tried_since: Instant | None = None
    verify_at: Instant | None = None
    verified_at: Instant | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing more happens to it by itself that its sender should wait for."""
        return self.state in SETTLED and self.ask_at is None

    @property
    def destined(self) -> Destined:
        """Where it goes. Only for receipts that have a target."""
        return Destined(self.target, Slot.parse(self.slot))

    def __repr__(self) -> str:
        return f"<Receipt {self.id} {self.state} v{self.version} {self.target}:{self.slot} {self.filename!r}>"


class SlotBefore(StrEnum):
    """What a slot that takes one image held before an attempt."""

    EMPTY = "empty"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One upload attempt as recorded: opened before the first byte, closed with its outcome.

    `outcome` is None while it is open; an attempt left open by a crash is closed as `orphaned`.
    `slot_before`: what the slot was found to hold just before this attempt; None when it was not asked.
    """

    receipt: str
    number: int
    owner: str
    started_at: Instant
    finished_at: Instant | None = None
    outcome: str | None = None
    status: int | None = None
    correlation_id: str | None = None
    error_id: str | None = None
    message: str = ""
    bytes_sent: int = 0
    slot_before: SlotBefore | None = None


def new_id(now: Instant) -> str:
    """A UUIDv7: sorts by time, needs no coordination."""
    random_bits = int.from_bytes(os.urandom(10))
    value = (now // 1000 & (1 << 48) - 1) << 80 | random_bits
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def idempotency_key(documents: Sequence[str], *, target: str, account: str | None, slot: str) -> str:
    """sha256 (hex) over the ordered document hashes and the destination: two equal keys are a repeat."""
    parts = [target, account or "", slot, *documents]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
