"""One answer for each message, when all of its receipts have settled: who is told, how often, and when it is
given up. An answer that fails never touches a receipt.

Once at most, whatever number of nodes share the ledger: who answers has a lease for it, and looks once more
whether it was done. Only a crash between the sending and the record sends it again, with the same Message-ID.
"""

import asyncio
from datetime import timedelta
from weakref import WeakValueDictionary

from ingestd.domain.document import Instant
from ingestd.domain.retry import later
from ingestd.interfaces import (
    Answer,
    Clock,
    Correspondent,
    MailBook,
    Mailed,
    Observer,
    SourceUnavailable,
    Undeliverable,
)

TRIED_FOR = timedelta(days=2)
"""After this an answer that could not be sent is given up; counted from the last change of a receipt."""

SENT_WITHIN_S = 240.0
"""The whole talk with the mail server."""

LEASE = timedelta(minutes=10)
"""Of the node that answers; longer than that takes. After a crash another node waits for its end."""

AT_ONCE = 4
"""Answers on their way to the mail server at the same time."""

_HOUR = timedelta(hours=1)


class Answering:
    """Answers the messages of one mailbox; without a correspondent, nobody is answered."""

    def __init__(
        self,
        source: str,
        *,
        book: MailBook,
        correspondent: Correspondent | None,
        most_per_hour: int,
        owner: str,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._source = source
        self._book = book
        self._correspondent = correspondent
        self._most_per_hour = most_per_hour
        self._owner = owner
        self._clock = clock
        self._observer = observer
        self._sending = asyncio.Semaphore(AT_ONCE)
        self._addresses: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._unrecorded: set[str] = set()
        """Arrivals whose answer is out while the disk is full: nobody gets it with every new try."""

    def owes(self, mailed: Mailed) -> bool:
        return self._correspondent is not None and not mailed.answered and _address(mailed) is not None

    async def answer(self, mailed: Mailed) -> None:
        """Sends what is owed, or gives it up for good. Raises SourceUnavailable: it may be tried again."""
        address = _address(mailed)
        correspondent = self._correspondent
        if correspondent is None or mailed.answered or address is None:
            return
        # One after the other for each address: the cap is counted from what was sent before.
        async with self._addresses.setdefault(address, asyncio.Lock()), self._sending:
            now, arrival = self._clock(), mailed.arrival
            if not await self._book.hold_answer(arrival, owner=self._owner, until=later(now, LEASE), now=now):
                raise SourceUnavailable("another ingestd is answering it, or was when it stopped")
            try:
                await self._answer_once(correspondent, mailed, address)
            except SourceUnavailable:
                await self._let_go(mailed.arrival)
                raise

    async def _let_go(self, arrival: str) -> None:
        """Of its lease: whoever tries next need not wait."""
        now = self._clock()
        await self._book.hold_answer(arrival, owner=self._owner, until=now, now=now)

    async def _answer_once(self, correspondent: Correspondent, mailed: Mailed, address: str) -> None:
        since = later(self._clock(), -_HOUR)
        present = await self._book.mailed(mailed.arrival)
        if present is None or present.answered:  # by another node, before we had the lease
            await self._let_go(mailed.arrival)
        elif mailed.arrival in self._unrecorded:
            await self._record(mailed, address)
        elif await self._was_told(mailed):
            await self._give_up(mailed, "the same message was answered before, and nothing is new")
        elif await self._book.count_answers(address, since=since) >= self._most_per_hour:
            reason = f"{address} got {self._most_per_hour} answers within an hour"
            await self._give_up(mailed, reason)
        else:
            await self._send(correspondent, mailed, address)

    async def _send(self, correspondent: Correspondent, mailed: Mailed, address: str) -> None:
        try:
            await _sent_in_time(correspondent, Answer(mailed=mailed, to=address))
        except SourceUnavailable as error:
            if self._clock() < later(_settled_at(mailed), TRIED_FOR):
                raise
            return await self._give_up(mailed, f"it could not be sent for {TRIED_FOR.days} days: {error}")
        except Undeliverable as error:
            return await self._give_up(mailed, str(error))
        except Exception as error:
            # Whatever composing it stumbled over would be there again: this one must not stop the others.
            return await self._give_up(mailed, f"{type(error).__name__}: {error}")
        self._unrecorded.add(mailed.arrival)
        await self._record(mailed, address)
        return None

    async def _record(self, mailed: Mailed, address: str) -> None:
        await self._book.answered(mailed.arrival, address=address, now=self._clock())
        self._unrecorded.discard(mailed.arrival)
        self._observer.note("answer.sent", source=self._source, arrival=mailed.arrival)

    async def _was_told(self, mailed: Mailed) -> bool:
        """The very same message came before (copied back, another UIDVALIDITY), with no news since."""
        mail = mailed.origin.mail
        if mail is None:
            return False
        changed = max((each.receipt.updated_at for each in mailed.receipts), default=Instant(0))
        return any(
            other.answered_to is not None
            and (other.answered_at or 0) >= changed
            and other.origin.mail is not None
            and other.origin.mail.raw_sha256 == mail.raw_sha256
            for other in await self._book.find_message(mail.message_id)
        )

    async def _give_up(self, mailed: Mailed, reason: str) -> None:
        self._observer.note(
            "answer.given_up", level="warning", source=self._source, arrival=mailed.arrival, reason=reason
        )
        await self._book.answered(mailed.arrival, address=None, now=self._clock())


async def _sent_in_time(correspondent: Correspondent, answer: Answer) -> None:
    """Within the lease: afterwards another node may send it."""
    try:
        async with asyncio.timeout(SENT_WITHIN_S):
            await correspondent.send(answer)
    except TimeoutError:
        raise SourceUnavailable(f"the mail server took longer than {SENT_WITHIN_S:g} s") from None


def _address(mailed: Mailed) -> str | None:
    return mailed.origin.mail.answer_to if mailed.origin.mail is not None else None


def _settled_at(mailed: Mailed) -> Instant:
    return max([mailed.received_at, *(each.receipt.updated_at for each in mailed.receipts)])
