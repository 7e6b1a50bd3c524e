"""What stands around a mailbox source: a ledger's book in memory, an opener, somebody who takes what arrives.

The book survives its sources, as the ledger does; it refuses what the ledger would refuse, and it counts.
"""

import asyncio
import email
import email.policy
import hashlib
import io
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from ingestd.clock import process_clock
from ingestd.domain.document import Document, Instant, InvalidDocument
from ingestd.domain.mail import Filed, Letter, MessagePlace
from ingestd.domain.receipt import Receipt, new_id
from ingestd.domain.states import State
from ingestd.interfaces import (
    Answer,
    Arrival,
    Leaf,
    Mailed,
    MailedReceipt,
    OpenedMessage,
    Refusal,
    Report,
    SourceUnavailable,
)
from ingestd.settings import MailboxSettings
from ingestd.sources.mail.dns_keys import DnsKeys
from ingestd.sources.mail.imap import ImapSecret
from ingestd.sources.mail.judging import Doorkeeper
from ingestd.sources.mail.mailbox import MailboxSource
from ingestd.spool import Spool
from tests.mail.dovecot import PASSWORD, Dovecot
from tests.unit.sources.conftest import Notes

WAIT_S = 20.0
ANN = "ann@example.com"


def message(
    number: int, *, sender: str = ANN, name: str = "", body: bytes = b"", subject: str = "", extra: str = ""
) -> bytes:
    """One attachment, unless `name` says more: "good.jpg,bad.jpg". Names beginning with bad are rejected."""
    parts = [
        _part(each, body or f"receipt {'' if 'logo' in each else number} {each}".encode())
        for each in (name or "receipt.jpg").split(",")
    ]
    head = (
        f"From: Ann <{sender}>\r\nTo: receipts@example.com\r\nSubject: {subject or f'Receipt {number}'}\r\n"
        f"Message-ID: <{number}@tests>\r\n{extra}MIME-Version: 1.0\r\n"
        "Content-Type: multipart/mixed; boundary=bound\r\n\r\n"
    ).encode()
    return head + b"".join(parts) + b"--bound--\r\n"


def _part(name: str, body: bytes) -> bytes:
    disposition = "inline" if "logo" in name else "attachment"
    head = (
        "--bound\r\nContent-Type: image/jpeg\r\nContent-Transfer-Encoding: binary\r\n"
        f'Content-Disposition: {disposition}; filename="{name}"\r\n\r\n'
    )
    return head.encode() + body + b"\r\n"


class Opener:
    """A MailOpener for the well-formed messages of `message`; `trouble` is what happens instead."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.opened: list[str] = []
        self.trouble: Callable[[bytes], Exception | InvalidDocument | None] = lambda raw: None

    async def open_message(self, message: Document) -> OpenedMessage | InvalidDocument:
        raw = message.path.read_bytes()
        self.opened.append(message.sha256)
        trouble = self.trouble(raw)
        if isinstance(trouble, Exception):
            raise trouble
        if trouble is not None:
            return trouble
        parsed = email.message_from_bytes(raw, policy=email.policy.default)
        letter = Letter(
            senders=(parsed["From"].addresses[0].addr_spec,) if parsed["From"] else (),
            subject=str(parsed["Subject"] or ""),
            message_id=str(parsed["Message-ID"] or ""),
            recipients=("receipts@example.com",),
            unanswerable="a list" if parsed["List-Id"] else None,
        )
        leaves = []
        for part in parsed.walk():
            if name := part.get_filename():
                data = part.get_payload(decode=True)
                assert isinstance(data, bytes)
                spooled = await asyncio.to_thread(self.spool.write, io.BytesIO(data))
                document = Document(
                    path=spooled.path,
                    filename=name,
                    size=spooled.size,
                    sha256=spooled.sha256,
                    declared_type="image/jpeg",
                )
                leaves.append(Leaf(document=document, inline=part.get_content_disposition() == "inline"))
        return OpenedMessage(letter=letter, leaves=tuple(leaves))

    async def signed_by(self, message: Document, keys: Mapping[tuple[str, str], bytes]) -> frozenset[str]:
        return frozenset()


@dataclass
class Entry:
    mailed: Mailed
    keys: list[str]
    sender: str
    answered_to: str | None = None
    answered_at: Instant | None = None

    @property
    def raw(self) -> tuple[str, str]:
        assert self.mailed.origin.mail is not None
        return self.mailed.origin.mail.message_id, self.mailed.origin.mail.raw_sha256


@dataclass
class Book:
    """interfaces.MailBook in memory, with the receipts behind it."""

    clock: Callable[[], Instant] = field(default_factory=process_clock)
    entries: dict[str, Entry] = field(default_factory=dict)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    """By the sha256 of their document: the same bytes are a repeat."""
    uploads: Counter[str] = field(default_factory=Counter)
    leases: dict[str, tuple[str, Instant]] = field(default_factory=dict)
    moves: list[tuple[str, MessagePlace | None, Filed]] = field(default_factory=list)

    def commit(self, arrival: Arrival) -> None:
        assert arrival.id not in self.entries
        now = self.clock()
        mailed = []
        for document in arrival.spooled:
            assert hashlib.sha256(document.path.read_bytes()).hexdigest() == document.sha256
            repeat = document.sha256 in self.receipts
            if not repeat:
                self.receipts[document.sha256] = _receipt(arrival, document, now)
            elif self.receipts[document.sha256].state is State.REJECTED:
                self._set(document.sha256, State.RECEIVED)
            mailed.append((document, repeat))
        assert arrival.origin.mail is not None
        (raw,) = arrival.containers
        assert raw.sha256 == arrival.origin.mail.raw_sha256
        self.entries[arrival.id] = Entry(
            Mailed(
                arrival=arrival.id,
                origin=arrival.origin,
                received_at=now,
                receipts=tuple(
                    MailedReceipt(receipt=self.receipts[d.sha256], documents=(d,), repeat=repeat)
                    for d, repeat in mailed
                ),
                ignored=arrival.refused,
                place=arrival.origin.mail.place,
                filed=Filed.NOWHERE,
                answered=False,
            ),
            [document.sha256 for document in arrival.spooled],
            arrival.origin.sender,
        )

    def decide(self, key: str, state: State) -> None:
        if state is State.UPLOADED:
            self.uploads[key] += 1
        self._set(key, state)

    def _set(self, key: str, state: State) -> None:
        receipt = self.receipts[key]
        self.receipts[key] = replace(receipt, state=state, updated_at=self.clock())

    async def arrived(
        self, account: str, mailbox: str, uidvalidity: int, uids: Collection[int]
    ) -> Mapping[int, str]:
        found = {}
        for arrival, entry in sorted(self.entries.items()):
            assert entry.mailed.origin.mail is not None
            for place in (entry.mailed.origin.mail.place, entry.mailed.place):
                if place and (place.account, place.mailbox, place.uidvalidity) == (
                    account,
                    mailbox,
                    uidvalidity,
                ):
                    found[place.uid] = arrival
        return {uid: found[uid] for uid in uids if uid in found}

    async def mailed(self, arrival: str) -> Mailed | None:
        entry = self.entries.get(arrival)
        if entry is None:
            return None
        receipts = tuple(
            replace(each, receipt=self.receipts[key])
            for each, key in zip(entry.mailed.receipts, entry.keys, strict=True)
        )
        return replace(entry.mailed, receipts=receipts)

    async def unfiled(self, source: str, *, limit: int, after: str = "") -> Sequence[Mailed]:
        found = [await self.mailed(arrival) for arrival in sorted(self.entries) if arrival > after]
        return [
            each
            for each in found
            if each is not None
            and each.filed is Filed.NOWHERE
            and all(one.receipt.settled for one in each.receipts)
        ][:limit]

    async def count_from(self, source: str, sender: str, *, since: Instant) -> int:
        return sum(
            entry.sender == sender and entry.mailed.received_at >= since for entry in self.entries.values()
        )

    async def companions_of(self, sha256: str, *, source: str) -> int:
        return sum(sha256 in entry.keys and len(entry.keys) > 1 for entry in self.entries.values())

    async def taken_from(self, message_id: str, raw_sha256: str) -> frozenset[str] | None:
        same = [entry for entry in self.entries.values() if entry.raw == (message_id, raw_sha256)]
        return frozenset(key for entry in same for key in entry.keys) if same else None

    async def count_answers(self, address: str, *, since: Instant) -> int:
        return sum(
            entry.answered_to == address and (entry.answered_at or 0) >= since
            for entry in self.entries.values()
        )

    async def moved(self, arrival: str, *, place: MessagePlace | None, filed: Filed, now: Instant) -> None:
        entry = self.entries[arrival]
        entry.mailed = replace(entry.mailed, place=place, filed=filed)
        self.moves.append((arrival, place, filed))

    async def answered(self, arrival: str, *, address: str | None, now: Instant) -> None:
        entry = self.entries[arrival]
        entry.mailed = replace(entry.mailed, answered=True, answered_to=address, answered_at=now)
        entry.answered_to, entry.answered_at = address, now
        self.leases.pop(f"answer {arrival}", None)

    async def hold_answer(self, arrival: str, *, owner: str, until: Instant, now: Instant) -> bool:
        return await self._hold(f"answer {arrival}", owner, until, now)

    async def find_message(self, message_id: str) -> Sequence[Mailed]:
        origins = ((entry, entry.mailed.origin.mail) for entry in self.entries.values())
        return [entry.mailed for entry, mail in origins if mail is not None and mail.message_id == message_id]

    async def hold_mailbox(self, name: str, *, owner: str, until: Instant, now: Instant) -> bool:
        return await self._hold(name, owner, until, now)

    async def _hold(self, name: str, owner: str, until: Instant, now: Instant) -> bool:
        holder, held_until = self.leases.get(name, (owner, Instant(0)))
        if holder != owner and held_until > now:
            return False
        if until <= now:
            self.leases.pop(name, None)
            return False
        self.leases[name] = (owner, until)
        return True


class Postman:
    """A Correspondent that keeps what it sends. `failing` is raised instead."""

    def __init__(self) -> None:
        self.sent: list[Answer] = []
        self.failing: Exception | None = None

    async def send(self, answer: Answer) -> None:
        if self.failing is not None:
            raise self.failing
        self.sent.append(answer)


Step = Callable[[Arrival], Awaitable[None]]


async def _nothing(arrival: Arrival) -> None:
    return


class Crash(Exception):
    """Ends the run as kill -9 would, as far as this process can play it."""


class Office:
    """A mailbox on a server, the book, and whoever takes arrivals and uploads their receipts."""

    def __init__(self, dovecot: Dovecot, user: str, tmp: Path) -> None:
        self.dovecot, self.user = dovecot, user
        self.spool = Spool(tmp / "spool", min_free_bytes=0)
        self.opener = Opener(self.spool)
        self.book = Book()
        self.notes = Notes()
        self.postman = Postman()
        self.secret = PASSWORD
        self.logins = 0
        self.before_commit: Step = _nothing
        self.after_commit: Step = _nothing
        self.arrivals: list[Arrival] = []
        self.failures: list[SourceUnavailable] = []
        self.finishes = True

    def source(
        self, *, owner: str = "node", most_answers_per_hour: int = 100, **changes: Any
    ) -> MailboxSource:
        settings = self.settings(**changes)

        async def credentials() -> ImapSecret:
            self.logins += 1
            return ImapSecret("login", self.secret)

        return MailboxSource(
            settings,
            credentials=credentials,
            spool=self.spool,
            opener=self.opener,
            book=self.book,
            doorkeeper=Doorkeeper(settings, ()),
            keys=DnsKeys(),
            correspondent=self.postman,
            most_answers_per_hour=most_answers_per_hour,
            owner=owner,
            clock=process_clock(),
            observer=self.notes,
        )

    def settings(self, **changes: Any) -> MailboxSettings:
        known: dict[str, Any] = {
            "allow": ("*@example.com",),
            "require": "none",
            "reply": True,
            "deadline": timedelta(seconds=5),
        }
        return self.dovecot.settings(self.user, **(known | changes))

    async def run(self, source: MailboxSource, *, once: bool = True) -> None:
        """Everything that arrives is committed, acknowledged, decided and reported; until the source ends."""
        tasks: set[asyncio.Task[None]] = set()
        runner = asyncio.current_task()
        assert runner is not None
        failed: list[BaseException] = []

        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                failed.append(error)
                runner.cancel()

        try:
            async with asyncio.timeout(WAIT_S), aclosing(source.arrivals(once=once)) as arrivals:
                async for arrival in arrivals:
                    self.arrivals.append(arrival)
                    task = asyncio.create_task(self._take(source, arrival))
                    tasks.add(task)
                    task.add_done_callback(ended)
            async with asyncio.timeout(WAIT_S):
                await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            if failed:
                raise failed[0] from None
            raise
        finally:
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await source.aclose()

    async def _take(self, source: MailboxSource, arrival: Arrival) -> None:
        await self.before_commit(arrival)
        self.book.commit(arrival)
        await self.after_commit(arrival)
        await arrival.acknowledge()
        if self.finishes:
            await self._finish(source, arrival)

    async def _finish(self, source: MailboxSource, arrival: Arrival) -> None:
        """Each receipt that waits gets its end, and each is reported until that gets through."""
        for document in arrival.spooled:
            if self.book.receipts[document.sha256].state is State.RECEIVED:
                self.book.decide(document.sha256, _end_of(document.filename))
            await self.report(source, arrival, document.sha256)

    async def report(self, source: MailboxSource, arrival: Arrival, key: str) -> str | None:
        while True:
            try:
                return await source.report(self._report(arrival, key))
            except SourceUnavailable as error:
                self.failures.append(error)
                await asyncio.sleep(0.05)

    def _report(self, arrival: Arrival, key: str) -> Report:
        receipt = self.book.receipts[key]
        return Report(
            origin=arrival.origin,
            arrival=arrival.id,
            receipt=receipt.id,
            documents=arrival.spooled,
            state=receipt.state,
            destined="concur:receipt",
            image_id=None,
            reason=receipt.reason,
            at=receipt.updated_at,
            repeat=False,
            place=None,
        )

    # --- what can be seen

    def stored(self, mailbox: str = "INBOX") -> list[str]:
        """The Message-IDs there, by UID."""
        return [_id_of(each.raw) for each in self.dovecot.messages(self.user, mailbox)]

    @property
    def uploaded(self) -> list[str]:
        return sorted(self.stored("Ingestd/Uploaded"))

    @property
    def rejected(self) -> list[str]:
        return sorted(self.stored("Ingestd/Rejected"))

    def judge(self, raws: Sequence[bytes]) -> None:
        """Nothing lost, nothing twice: each receipt was uploaded once, each message is filed."""
        documents = {_first_document(raw) for raw in raws}
        assert self.book.uploads == Counter(dict.fromkeys(documents, 1))
        assert self.stored() == []
        assert self.uploaded == sorted(_id_of(raw) for raw in raws)
        assert self.rejected == []


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.02)


def refusals(arrival: Arrival) -> list[str]:
    return [_sentence(refusal) for refusal in arrival.refused]


def _sentence(refusal: Refusal) -> str:
    return f"{refusal.filename}: {refusal.reason}"


def _first_document(raw: bytes) -> str:
    parsed = email.message_from_bytes(raw)
    payload = next(part.get_payload(decode=True) for part in parsed.walk() if part.get_filename())
    assert isinstance(payload, bytes)
    return hashlib.sha256(payload).hexdigest()


def _id_of(raw: bytes) -> str:
    return str(email.message_from_bytes(raw)["Message-ID"])


def _end_of(filename: str) -> State:
    ends = {"bad": State.REJECTED, "held": State.HELD}
    return next((state for start, state in ends.items() if filename.startswith(start)), State.UPLOADED)


def _receipt(arrival: Arrival, document: Document, now: Instant) -> Receipt:
    return Receipt(
        id=new_id(now),
        key=document.sha256,
        arrival=arrival.id,
        target="concur",
        account=arrival.account,
        slot="receipt",
        state=State.RECEIVED,
        version=1,
        attempts=0,
        due_at=now,
        received_at=now,
        updated_at=now,
        source=arrival.origin.source,
        path=arrival.origin.path,
        filename=document.filename,
        sha256=document.sha256,
        documents=1,
    )
