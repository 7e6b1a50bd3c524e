"""Opening messages with the help of a limited process: interfaces.MailOpener.

The process gives back a header, names, places in a file, and words of a closed set. The daemon makes the
sentences, and copies the leaves into the spool by their own hash. Nothing of the answer is believed.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import BinaryIO

from ingestd.domain.document import Document, InvalidDocument, display_name
from ingestd.domain.errors import StorageExhausted
from ingestd.domain.mail import MESSAGE_TYPE
from ingestd.interfaces import Leaf, OpenedMessage, Refusal
from ingestd.normalizer import message_reasons
from ingestd.normalizer.asking import Offload, stretch
from ingestd.normalizer.exchange import MalformedAnswer, OutputFull
from ingestd.normalizer.exchange_mail import (
    MOST_SIGNATURES,
    FoundLeaf,
    KeyRecord,
    Opened,
    OpenRequest,
    Unopened,
    VerifyRequest,
    read_opened,
    read_verified,
)
from ingestd.normalizer.mail_bounds import MOST_LEAF_BYTES, MOST_LEAVES, MOST_MESSAGE_BYTES
from ingestd.offload.errors import WorkerLost
from ingestd.spool import Spool

_LONGEST_RECORD = 16_000
"""Bytes of a TXT record; a longer one is no key, and would not fit a request ten times."""


class LimitedMailOpener:
    """interfaces.MailOpener. Raises OffloadBroken: broken machinery."""

    def __init__(self, offload: Offload, spool: Spool) -> None:
        self._offload = offload
        self._spool = spool

    async def open_message(self, message: Document) -> OpenedMessage | InvalidDocument:
        if message.size > MOST_MESSAGE_BYTES:
            return message_reasons.too_large(message, MOST_MESSAGE_BYTES)
        asked = OpenRequest(size=message.size, max_leaves=MOST_LEAVES, max_bytes=MOST_LEAF_BYTES)
        with self._spool.scratch() as leaves:
            try:
                told = await self._offload.run(asked.write(), [message.path], [leaves.fileno()])
                opened = read_opened(told, asked=asked)
                if isinstance(opened, Unopened):
                    return message_reasons.unopened(message, opened)
                return await asyncio.to_thread(self._opened, message, opened, leaves)
            except OutputFull:
                raise StorageExhausted(
                    f"no room left in {self._spool.directory} for the parts of a message"
                ) from None
            except WorkerLost as lost:
                return message_reasons.opening_died(message, lost.kind)
            except MalformedAnswer:  # a parser that was taken over costs its own message only
                return message_reasons.opening_died(message, "crash")

    async def signed_by(self, message: Document, keys: Mapping[tuple[str, str], bytes]) -> frozenset[str]:
        records = [
            KeyRecord(domain=domain, selector=selector, record=record.decode("latin-1"))
            for (domain, selector), record in keys.items()
            if len(record) <= _LONGEST_RECORD
        ]
        if not records or message.size > MOST_MESSAGE_BYTES:
            return frozenset()
        asked = VerifyRequest(size=message.size, keys=tuple(records[:MOST_SIGNATURES]), now=int(time.time()))
        try:
            told = await self._offload.run(asked.write(), [message.path])
            return frozenset(read_verified(told, asked=asked).domains)
        except (WorkerLost, MalformedAnswer):
            return frozenset()

    def _opened(self, message: Document, opened: Opened, leaves: BinaryIO) -> OpenedMessage:
        """Blocks until the leaves are durable. Raises StorageExhausted, MalformedAnswer."""
        why = None if opened.automatic is None else message_reasons.AUTOMATIC[opened.automatic]
        return OpenedMessage(
            letter=replace(opened.letter, unanswerable=why),
            leaves=tuple(self._leaf(message, leaf, leaves) for leaf in opened.leaves),
            refused=tuple(
                Refusal(filename=one.name, reason=message_reasons.EXCUSES[one.excuse])
                for one in opened.left_out
            ),
        )

    def _leaf(self, message: Document, leaf: FoundLeaf, leaves: BinaryIO) -> Leaf:
        if leaf.whole:
            document = replace(message, filename=_message_name(leaf.name), declared_type=MESSAGE_TYPE)
            return Leaf(document=document, text=True)
        spooled = self._spool.write(stretch(leaves.fileno(), leaf.offset, leaf.size))
        if spooled.size != leaf.size:
            raise MalformedAnswer("the leaves are not where it says")
        document = Document(
            path=spooled.path,
            filename=_message_name(leaf.name) if leaf.text else leaf.name,
            size=spooled.size,
            sha256=spooled.sha256,
            declared_type=MESSAGE_TYPE if leaf.text else leaf.declared_type or None,
        )
        return Leaf(document=document, inline=leaf.inline, text=leaf.text)


def _message_name(name: str) -> str:
    """Its ending says what it is, also where the subject had one of its own or was cut off."""
    return display_name(name if name.endswith(".eml") else f"{name}.eml")
