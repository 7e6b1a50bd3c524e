"""Slots that take one image: one row for each, naming the receipt that has it or is on its way to it.

The primary key lets one of two nodes in, and the other waits for it. Nobody gives a slot back: a receipt that
ended in another way doesn't count, and the next one takes its row. Rows stay when the bytes of their receipt
are purged: a page that comes years later still finds its slot taken.
"""

from typing import Any

from sqlalchemy import bindparam, select, update

from ingestd.domain.errors import SLOT_TAKEN, SlotTaken
from ingestd.domain.states import State
from ingestd.ledger.rows import Stored
from ingestd.ledger.schema import receipts, slots
from ingestd.ledger.transaction import Transaction

IN_THE_SLOT = frozenset(
    {State.READY, State.CLAIMED, State.UPLOADING, State.UNCONFIRMED, State.UPLOADED},
)
"""States in which the slot of a receipt has its image, may have it, or will."""


def take(tx: Transaction, receipt: Stored) -> None:
    """The slot is this receipt's, or it goes there beside the one that has it. Raises SlotTaken."""
    if tx.is_there(_KNOWN, _key(receipt)):
        take_again(tx, receipt)
    else:
        # Where another node is faster, this violates the key, and the operation is run again.
        tx.insert(slots, {"target": receipt.target, "slot": receipt.slot, "receipt_id": receipt.id})


def take_again(tx: Transaction, receipt: Stored) -> None:
    """The same for one that had it, or whose slot takes many: then there is no row, and nothing to do."""
    other = _in_the_way(tx, receipt)
    if other is None:
        tx.change(_HAND_OVER, {**_key(receipt), "receipt_id": receipt.id})
    elif not (_is_overruled(receipt) or (receipt.again and other.key == receipt.key)):
        raise _taken(other)


def lost(tx: Transaction, receipt: Stored) -> SlotTaken | None:
    """Who got the slot of a receipt that failed meanwhile; None also when a person overruled that before.

    That it was sent again on purpose is no answer here: who sends it once more without saying so may not.
    """
    if receipt.state is not State.FAILED or _is_overruled(receipt):
        return None
    other = _in_the_way(tx, receipt)
    return None if other is None else _taken(other)


def _in_the_way(tx: Transaction, receipt: Stored) -> Any | None:
    """Who has the slot, when it is another receipt. The row stays locked until the end of the transaction."""
    holder = tx.execute(_HOLDER, _key(receipt)).scalar_one_or_none()
    if holder is None or holder == receipt.id:
        return None
    # A statement of its own: it sees what was committed while this one waited for the lock.
    found = tx.execute(_STANDING, {"b_id": holder}).one()
    return found if State(found.state) in IN_THE_SLOT else None


def _taken(other: Any) -> SlotTaken:
    return SlotTaken(other.id, other.filename, other.state)


def _is_overruled(receipt: Stored) -> bool:
    return any(reason.startswith(SLOT_TAKEN) for reason in receipt.waived)


def _key(receipt: Stored) -> dict[str, str]:
    return {"b_target": receipt.target, "b_slot": receipt.slot}


_SAME = (slots.c.target == bindparam("b_target"), slots.c.slot == bindparam("b_slot"))
_KNOWN = select(slots.c.receipt_id).where(*_SAME)
_HOLDER = _KNOWN.with_for_update()
_HAND_OVER = update(slots).where(*_SAME).values(receipt_id=bindparam("receipt_id"))
_STANDING = select(receipts.c.id, receipts.c.key, receipts.c.filename, receipts.c.state).where(
    receipts.c.id == bindparam("b_id")
)
