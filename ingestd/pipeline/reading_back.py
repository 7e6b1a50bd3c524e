"""What a target gave back for a slot, compared with what it was sent. Used in doubt, and to verify."""

import random
from pathlib import Path

from ingestd.domain.doubt import Compared
from ingestd.domain.errors import StorageExhausted
from ingestd.domain.outcome import CannotSay, Found, LookUp
from ingestd.domain.receipt import Receipt
from ingestd.pipeline.flow import Flow
from ingestd.pipeline.gate import Gates


async def ask(flow: Flow, gates: Gates, receipt: Receipt, *, image_id: str | None = None) -> LookUp:
    """What the slot holds, for one that was let through the gate; the gate learns of an obstacle.

    A good answer opens no gate: that a target can be read does not say that it takes images again.
    """
    key, began = (receipt.target, receipt.account), flow.clock()
    obstacle = None
    try:
        look = await look_up(flow, receipt, image_id=image_id)
        obstacle = look.obstacle if isinstance(look, CannotSay) else None
    finally:
        if obstacle is None:
            gates.leave(key, flow.clock())
    if obstacle is not None:
        gates.settle(key, obstacle, began=began, now=flow.clock(), jitter=random.random())
    return look


async def look_up(flow: Flow, receipt: Receipt, *, image_id: str | None = None) -> LookUp:
    """The target's answer; a defect of ours is one that decides nothing, and costs only this receipt."""
    destination = flow.destinations[receipt.target]
    try:
        return await destination.look_up(receipt.destined.slot, account=receipt.account, image_id=image_id)
    except Exception as error:
        return _broke(flow, receipt, error)


async def compared(flow: Flow, receipt: Receipt, found: Found) -> Compared | CannotSay:
    """Downloads it and compares. CannotSay: it could not be read back, and why.

    Raises StorageExhausted, and for broken machinery.
    """
    assert receipt.image is not None
    if found.url is None:
        return CannotSay(reason="The target names no URL for the image.")
    if not receipt.image.path.exists():
        return CannotSay(reason="What was sent is not in the spool any more.")
    with flow.spool.scratch() as scratch:
        try:
            downloaded = await flow.destinations[receipt.target].download(found.url, scratch)
        except StorageExhausted:
            raise
        except OSError as error:
            raise StorageExhausted(f"what is read back can't be written: {error.strerror}") from error
        except Exception as error:
            downloaded = _broke(flow, receipt, error)
        if isinstance(downloaded, CannotSay):
            return downloaded
        scratch.flush()
        # It has no name: a crash leaves nothing behind.
        returned = Path(f"/proc/self/fd/{scratch.fileno()}")
        try:
            return await flow.normalizer.compare_returned(receipt.image, returned, downloaded.mime_type)
        except OSError as error:
            # As for an upload: one file that can't be read is that receipt's trouble, not the daemon's.
            why = error.strerror or type(error).__name__
            return CannotSay(reason=f"What was sent can't be read from the spool: {why}.", passing=True)


def _broke(flow: Flow, receipt: Receipt, error: Exception) -> CannotSay:
    flow.observer.note("look_up.broke", level="error", receipt=receipt.id, error=repr(error), exc_info=True)
    return CannotSay(reason=f"The question broke off with an internal error ({type(error).__name__}).")
