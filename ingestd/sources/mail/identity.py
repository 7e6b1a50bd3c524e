"""Whether a UID still means the message that the ledger means.

A server that was restored from a backup gives UIDs out again without changing UIDVALIDITY. Nothing is moved,
deleted or passed over because of its number alone.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable

from ingestd.interfaces import Mailed
from ingestd.sources.mail.connecting import MailboxSession
from ingestd.sources.mail.imap import Outline
from ingestd.sources.mail.imap_names import quoted

Raw = Callable[[MailboxSession, Outline], Awaitable[bytes | None]]
"""What was hashed of a message when it was taken (Fetcher.raw)."""

_SEARCHABLE_ID = re.compile(r"[!-~]{1,900}")


async def is_another(session: MailboxSession, uid: int, mailed: Mailed, raw: Raw) -> bool:
    """True: the message with this UID is not this one. Costs one short question in the usual case.

    False also when there is none with this UID: whoever goes on will be told so. Raises SourceUnavailable.
    """
    mail = mailed.origin.mail
    if mail is None:
        return False
    message_id = searchable_id(mailed)
    if message_id:
        criteria = ("UID", str(uid), "HEADER", "Message-ID", quoted(message_id))
        if uid in await session.search(*criteria):
            return False
    # It has none, or the server's index has not caught up: then the bytes decide.
    found = await _sha256(session, uid, raw)
    return found is not None and found != mail.raw_sha256


async def has_its_bytes(session: MailboxSession, uid: int, mailed: Mailed, raw: Raw) -> bool:
    """Whether the message with this UID, in any mailbox, is byte for byte what was taken."""
    mail = mailed.origin.mail
    return mail is not None and await _sha256(session, uid, raw) == mail.raw_sha256


def searchable_id(mailed: Mailed) -> str:
    """Its Message-ID as a server can be asked for it; empty when it can't be."""
    message_id = mailed.origin.mail.message_id if mailed.origin.mail is not None else ""
    return message_id if _SEARCHABLE_ID.fullmatch(message_id) else ""


async def _sha256(session: MailboxSession, uid: int, raw: Raw) -> str | None:
    """None: there is no such message."""
    for outline in await session.outlines([uid]):
        found = await raw(session, outline)
        return None if found is None else hashlib.sha256(found).hexdigest()
    return None
