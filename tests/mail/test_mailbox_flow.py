"""A mailbox in the whole flow: a real Dovecot, the real ledger, spool, limited processes and stages.

Only the target is ours: a shelf that counts what it gets.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

from ingestd import samples
from ingestd.clock import process_clock
from ingestd.domain.document import ReceiptImage
from ingestd.domain.outcome import CannotSay, LookUp, Outcome, Uploaded
from ingestd.domain.receipt import Receipt
from ingestd.domain.routing import Route, Slot
from ingestd.domain.rules import TargetRules
from ingestd.interfaces import Balance, Downloaded, Limits, Login
from ingestd.ledger import SqlMailBook, open_ledger, open_reader, sqlite_url
from ingestd.normalizer import JOB
from ingestd.normalizer.mail_opening import LimitedMailOpener
from ingestd.normalizer.normalizing import PreparingNormalizer
from ingestd.offload.pool import Offload
from ingestd.pipeline import Flow, Pipeline
from ingestd.settings import PreparationSettings
from ingestd.sources.mail.dns_keys import DnsKeys
from ingestd.sources.mail.imap import ImapSecret
from ingestd.sources.mail.judging import Doorkeeper
from ingestd.sources.mail.mailbox import MailboxSource
from ingestd.spool import Spool
from tests.mail import samples as mail
from tests.mail.dovecot import PASSWORD, Dovecot
from tests.unit.sources.conftest import Notes

SENDER = "ann@example.com"
LONG_S = 60.0


class Shelf:
    """A target that takes everything, slowly enough to be interrupted."""

    name = "shelf"
    accounts: Collection[str] = ()
    slots: Mapping[str, bool] = {"receipt": False}
    logins: Sequence[Login] = ()

    def __init__(self) -> None:
        self.got: Counter[str] = Counter()

    def limits(self, slot: Slot) -> Limits:
        return Limits(types=frozenset({"image/jpeg", "image/png", "application/pdf"}), max_bytes=10**7)

    async def upload(self, image: ReceiptImage, receipt: Receipt) -> Outcome:
        self.got[receipt.sha256] += 1
        await asyncio.sleep(0.01)
        return Uploaded(image_id=f"IMG-{receipt.id}")

    async def stay_logged_in(self) -> Sequence[str]:
        return []

    def reads_back(self, slot: Slot) -> bool:
        return False

    def shows_alone(self, slot: Slot) -> bool:
        return False

    async def look_up(self, slot: Slot, *, account: str | None, image_id: str | None = None) -> LookUp:
        return CannotSay(reason="Nobody looks at a shelf.")

    async def download(self, url: str, into: BinaryIO) -> Downloaded | CannotSay:
        return CannotSay(reason="Nobody looks at a shelf.")

    async def check(self) -> Sequence[str]:
        return []

    async def aclose(self) -> None:
        return


@pytest.fixture
def offload() -> Iterator[Offload]:
    pool = Offload(
        JOB,
        workers=1,
        memory_bytes=1_500_000_000,
        cpu=timedelta(seconds=30),
        wall=timedelta(seconds=60),
        output_bytes=512_000_000,
    )
    with pool:
        yield pool


class House:
    """A daemon's inside over one storage directory; each run is a new start on it."""

    def __init__(self, directory: Path, dovecot: Dovecot, user: str, offload: Offload) -> None:
        self._directory = directory
        self._dovecot, self._user = dovecot, user
        self._offload = offload
        self._starts = 0
        self.shelf = Shelf()
        self.notes = Notes()
        self.balance: Balance | None = None

    async def run(self, *, until_idle: bool = True) -> None:
        self._starts += 1
        async with AsyncExitStack() as stack:
            spool = Spool(self._directory / "spool", min_free_bytes=0)
            url = sqlite_url(self._directory / "ledger.sqlite")
            ledger = open_ledger(url, migrate=True, spool_path=spool.path, alone=True)
            stack.push_async_callback(ledger.aclose)
            reader = open_reader(url, spool_path=spool.path)
            stack.push_async_callback(reader.aclose)
            settings = self._dovecot.settings(self._user, allow=("*@example.com",), require="none")
            opener = LimitedMailOpener(self._offload, spool)
            clock = process_clock()

            async def credentials() -> ImapSecret:
                return ImapSecret("login", PASSWORD)

            source = MailboxSource(
                settings,
                credentials=credentials,
                spool=spool,
                opener=opener,
                book=SqlMailBook(ledger, reader),
                doorkeeper=Doorkeeper(settings, ()),
                keys=DnsKeys(),
                correspondent=None,
                most_answers_per_hour=10,
                owner="this machine",
                clock=clock,
                observer=self.notes,
            )
            stack.push_async_callback(source.aclose)
            flow = Flow(
                ledger=ledger,
                reader=reader,
                spool=spool,
                normalizer=PreparingNormalizer(self._offload, spool, PreparationSettings()),
                destinations={"shelf": self.shelf},
                rules={"shelf": TargetRules()},
                routes=[Route(send="shelf:receipt")],
                observer=self.notes,
                clock=clock,
                owner=f"start {self._starts}",
            )
            pipeline = Pipeline(flow, {source.name: source})
            await pipeline.run(until_idle=timedelta(seconds=10) if until_idle else None)
            self.balance = await reader.balance()

    def stored(self, mailbox: str) -> int:
        return len(self._dovecot.messages(self._user, mailbox))


@pytest.fixture
def house(tmp_path: Path, dovecot: Dovecot, user: str, offload: Offload) -> House:
    return House(tmp_path, dovecot, user, offload)


def receipt_by_mail(number: int, content: bytes | None = None) -> bytes:
    attachment = mail.attached(content or samples.small_pdf(number), name=f"receipt {number}.pdf")
    return mail.message(
        mail.several(mail.text(), attachment),
        **{"From": SENDER, "Subject": f"Receipt {number}", "Message-ID": f"<{number}@tests>"},
    )


async def test_a_message_becomes_one_receipt_and_is_filed(house: House, dovecot: Dovecot, user: str) -> None:
    dovecot.fill([receipt_by_mail(number) for number in range(5)], user)
    async with asyncio.timeout(LONG_S):
        await house.run()
        await house.run()
    assert sorted(house.shelf.got.values()) == [1] * 5
    assert (house.stored("INBOX"), house.stored("Ingestd/Uploaded")) == (0, 5)
    assert house.balance is not None
    assert house.balance.closed


async def test_a_stranger_and_rubbish_are_filed_as_rejected(
    house: House, dovecot: Dovecot, user: str
) -> None:
    dovecot.append(receipt_by_mail(1).replace(SENDER.encode(), b"eve@evil.test"), user)
    dovecot.append(receipt_by_mail(2, samples.truncated(samples.small_jpeg(2))), user)
    dovecot.append(b"\x00\xff" * 2000, user)
    async with asyncio.timeout(LONG_S):
        await house.run()
    assert not house.shelf.got
    assert (house.stored("INBOX"), house.stored("Ingestd/Rejected")) == (0, 3)
    assert house.balance is not None
    assert house.balance.closed


async def test_runs_that_are_cut_short_anywhere_lose_and_double_nothing(
    house: House, dovecot: Dovecot, user: str
) -> None:
    dovecot.fill([receipt_by_mail(number) for number in range(12)], user)
    for seconds in (0.3, 0.5, 0.7, 0.9, 1.1):
        running = asyncio.create_task(house.run(until_idle=False))
        await asyncio.sleep(seconds)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    async with asyncio.timeout(LONG_S):
        await house.run()
    assert len(house.shelf.got) == 12
    assert house.balance is not None
    assert house.balance.closed
    uploaded_or_unknown = house.stored("Ingestd/Uploaded") + house.stored("Ingestd/Rejected")
    assert (house.stored("INBOX"), uploaded_or_unknown) == (0, 12)
    assert set(house.shelf.got.values()) == {1}
