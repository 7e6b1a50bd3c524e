"""Messages in the flow: parts that are in the spool already, whose receipts they are, what a crash leaves."""

import io
import os
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.daemon import NEEDS_ATTENTION, exit_code
from ingestd.domain.document import Document, Origin, OriginKind
from ingestd.domain.mail import MESSAGE_TYPE, MessageOrigin, MessagePlace
from ingestd.domain.receipt import NO_TARGET, Receipt, new_id
from ingestd.domain.routing import Destined, Pages, Route
from ingestd.domain.states import Event, State
from ingestd.interfaces import Arrival, Refusal, Report, SourceStatus
from ingestd.ledger import SqlMailBook
from ingestd.pipeline import Pipeline, UpkeepSettings
from ingestd.pipeline.upkeep import Upkeep
from ingestd.spool import Spool
from tests.unit.pipeline.rooms import Ears, Rooms, Sound, Vault, now, open_rooms

SOON = timedelta(seconds=1)
STRANGER = "Nobody knows stranger@example.com here."
BY_SUBJECT = Route(patterns={"subject": "*[entry {entry}]*"}, send="vault:entry/{entry}")
LOGO = Refusal(filename="logo.png", reason="It is a logo.")


@dataclass
class Message:
    """`leaves` maps the names of its parts to their bytes; the message itself is `raw`."""

    leaves: dict[str, bytes]
    raw: bytes = b"From: ann@example.com\n\n"
    sender: str = "ann@example.com"
    subject: str = "Fwd: hotel"
    refused: tuple[Refusal, ...] = ()
    hold: str | None = None
    person: str | None = None
    account: str | None = None
    id: str = field(default_factory=lambda: new_id(now()))


class Postbox:
    """A source of messages. With `crashes` nothing is acknowledged, as if the process had ended before."""

    name = "postbox"

    def __init__(self, spool: Spool, *messages: Message) -> None:
        self.status = SourceStatus(scans=1)
        self.left = dict(enumerate(messages, start=1))
        self.reports: list[Report] = []
        self.given_back: list[bool] = []
        self.crashes = False
        self._spool = spool

    async def arrivals(self, *, once: bool) -> AsyncGenerator[Arrival, None]:
        for uid, message in list(self.left.items()):
            yield self._arrival(uid, message)

    def _arrival(self, uid: int, message: Message) -> Arrival:
        async def acknowledge() -> None:
            if not self.crashes:
                del self.left[uid]

        async def give_back(*, anew: bool = False) -> None:
            self.given_back.append(anew)

        raw = self._document("message.eml", message.raw, MESSAGE_TYPE)
        mail = MessageOrigin(
            place=MessagePlace(account="me", mailbox="INBOX", uidvalidity=1, uid=uid),
            message_id=f"<{uid}@example.com>",
            raw_sha256=raw.sha256,
        )
        facts = {"from": message.sender, "address": "receipts@example.com", "subject": message.subject}
        return Arrival(
            id=message.id,
            origin=Origin(
                kind=OriginKind.MAIL,
                source=self.name,
                path=message.subject,
                sender=message.sender,
                facts=facts,
                mail=mail,
            ),
            payloads=(),
            spooled=tuple(
                self._document(name, content, None, f"{message.subject}/{name}")
                for name, content in message.leaves.items()
            ),
            containers=(raw,),
            refused=message.refused,
            hold=message.hold,
            person=message.person,
            account=message.account,
            acknowledge=acknowledge,
            give_back=give_back,
        )

    def _document(self, name: str, content: bytes, declared_type: str | None, path: str = "") -> Document:
        spooled = self._spool.write(io.BytesIO(content))
        return Document(
            path=spooled.path,
            filename=name,
            size=spooled.size,
            sha256=spooled.sha256,
            declared_type=declared_type,
            arrived_as=path,
        )

    async def report(self, report: Report) -> str | None:
        self.reports.append(report)
        return None

    async def tidy(self) -> None:
        return None


async def run(
    rooms: Rooms,
    *messages: Message,
    vault: Vault | None = None,
    ears: Ears | None = None,
    **changes: object,
) -> Postbox:
    postbox = Postbox(rooms.spool, *messages)
    flow = rooms.flow(vault or Vault(), ears=ears, **changes)
    await Pipeline(flow, {postbox.name: postbox}).run(until_idle=SOON)
    assert (await rooms.reader.balance()).closed
    return postbox


async def retry(rooms: Rooms, receipt: Receipt, **changes: object) -> Receipt:
    """As a person does, then as the daemon does."""
    await rooms.ledger.move(receipt, Event.REQUEUE, now=now())
    await Pipeline(rooms.flow(Vault(), ears=None, **changes), {}).run(until_idle=SOON)
    found = await rooms.reader.get(receipt.id)
    assert found is not None
    return found


# --- what a message brings ---------------------------------------------------------------------------------


async def test_the_parts_of_a_message_become_receipts_and_what_is_no_receipt_is_counted(
    tmp_path: Path,
) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault, ears = Vault(), Ears()
        message = Message({"hotel.pdf": b"h", "taxi.jpg": b"t"}, refused=(LOGO,))
        postbox = await run(rooms, message, vault=vault, ears=ears)
        assert sorted(vault.stored) == ["hotel.pdf", "taxi.jpg"]
        assert postbox.left == {}
        books = await rooms.reader.balance()
        assert (books.payloads, books.documents, books.ignored) == (3, 2, 1)
        assert "payload.ignored" in ears.events()
        receipts = await rooms.reader.find()
        (raw,) = await rooms.reader.containers(receipts[0].id)
        assert (raw.filename, raw.declared_type) == ("message.eml", MESSAGE_TYPE)
        assert {report.origin.mail.message_id for report in postbox.reports if report.origin.mail} == {
            "<1@example.com>"
        }


async def test_a_logo_that_was_left_out_needs_nobody(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        postbox = Postbox(rooms.spool, Message({"hotel.pdf": b"h"}, refused=(LOGO,)))
        result = await Pipeline(rooms.flow(Vault()), {postbox.name: postbox}).run(until_idle=SOON)
        assert (list(result.refused), list(result.people), list(result.trouble)) == ([], [], [])


async def test_an_archive_in_a_message_is_opened(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault = Vault()
        batch = b"ZIP\na.jpg=one\nb.jpg=two\nThumbs.db="
        await run(rooms, Message({"c.jpg": b"c", "batch.zip": batch}), vault=vault)
        assert sorted(vault.stored) == ["a.jpg", "b.jpg", "c.jpg"]
        books = await rooms.reader.balance()
        assert (books.payloads, books.documents, books.ignored) == (4, 3, 1)
        (receipt, *_) = await rooms.reader.find()
        names = [archive.filename for archive in await rooms.reader.containers(receipt.id)]
        assert names == ["message.eml", "batch.zip"]
        documents = [(await rooms.reader.documents(r.id))[0] for r in await rooms.reader.find()]
        assert "Fwd: hotel/batch.zip/a.jpg" in {document.arrived_as for document in documents}


async def test_parts_that_become_one_receipt_keep_the_order_of_the_message(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        sound = Sound(rooms.spool)
        names = ("page10.jpg", "page2.jpg", "a.jpg")
        message = Message({name: name.encode() for name in names}, subject="bill [entry E1]")
        await run(rooms, message, routes=[BY_SUBJECT], normalizer=sound)
        assert sound.asked == [names]
        (receipt,) = await rooms.reader.find()
        assert (receipt.state, receipt.slot, receipt.documents) == (State.UPLOADED, "entry/E1", 3)


async def test_a_message_that_brings_nothing_is_committed_and_acknowledged(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        message = Message({}, refused=(LOGO,))
        postbox = await run(rooms, message)
        assert postbox.left == {}
        mailed = await SqlMailBook(rooms.ledger, rooms.reader).mailed(message.id)
        assert mailed is not None
        assert (mailed.receipts, mailed.ignored) == ((), (LOGO,))


async def test_the_message_itself_goes_when_its_receipts_have_gone(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        text = b"From: ann@example.com\n\nYour receipt: 12.00"
        await run(rooms, Message({"Fwd: hotel": text}, raw=text))
        (receipt,) = await rooms.reader.find(states={State.UPLOADED})
        (raw,) = await rooms.reader.containers(receipt.id)
        assert raw.sha256 == receipt.sha256
        long_ago = time.time() - timedelta(days=2).total_seconds()
        os.utime(raw.path, (long_ago, long_ago))
        flow = rooms.flow(Vault(), upkeep=UpkeepSettings(keep=timedelta(0), tidy_every=timedelta(0)))
        await Upkeep([], flow)._tidy()
        assert not raw.path.exists()
        assert await rooms.ledger.known([raw.sha256]) == frozenset()


# --- whose they are ----------------------------------------------------------------------------------------


async def test_receipts_name_the_person_and_are_uploaded_with_the_persons_account(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        await run(rooms, Message({"a.jpg": b"a"}, person="Ann", account="ann"), Message({"b.jpg": b"b"}))
        found = {r.filename: (r.person, r.account, r.state) for r in await rooms.reader.find()}
        assert found == {
            "a.jpg": ("Ann", "ann", State.UPLOADED),
            "b.jpg": (None, None, State.UPLOADED),
        }


async def test_the_account_of_a_route_wins_over_the_persons(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        route = Route(send="vault:receipt", account="bob")
        await run(rooms, Message({"a.jpg": b"a"}, person="Ann", account="ann"), routes=[route])
        (receipt,) = await rooms.reader.find()
        assert (receipt.person, receipt.account) == ("Ann", "bob")


async def test_the_same_bytes_of_two_people_are_two_receipts(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault = Vault()
        messages = [Message({"menu.jpg": b"same"}, account=account) for account in ("ann", "bob", "ann")]
        await run(rooms, *messages, vault=vault)
        assert len(vault.stored) == 2
        assert (await rooms.reader.balance()).sightings == 1


async def test_an_account_that_the_target_does_not_have_holds_the_receipt_until_it_is_there(
    tmp_path: Path,
) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault = Vault()
        await run(rooms, Message({"a.jpg": b"a"}, person="Zoe", account="zoe"), vault=vault)
        (held,) = await rooms.reader.find()
        assert (held.state, held.account, vault.stored) == (State.HELD, "zoe", [])
        assert held.reason is not None
        assert "no account 'zoe'" in held.reason and "targets.vault.accounts.zoe" in held.reason
        again = await retry(rooms, held)
        assert (again.state, again.reason) == (State.HELD, held.reason)
        there = Vault(accounts={"zoe"})
        await rooms.ledger.move(again, Event.REQUEUE, now=now())
        await Pipeline(rooms.flow(there), {}).run(until_idle=SOON)
        (done,) = await rooms.reader.find()
        assert (done.state, done.account, done.slot) == (State.UPLOADED, "zoe", "receipt")


# --- held, and let in by a person --------------------------------------------------------------------------


async def test_a_mail_of_a_stranger_that_is_let_in_goes_where_its_subject_says(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        message = Message({"a.jpg": b"a"}, subject="Re: [entry E7] bill", hold=STRANGER, account="ann")
        await run(rooms, message, routes=[BY_SUBJECT])
        (held,) = await rooms.reader.find()
        assert (held.state, held.target, held.reason) == (State.HELD, NO_TARGET, STRANGER)
        done = await retry(rooms, held, routes=[BY_SUBJECT])
        assert (done.state, done.slot, done.account) == (State.UPLOADED, "entry/E7", "ann")


@pytest.mark.parametrize(
    "pattern",
    [{"from": "ann@*"}, {"address": "receipts@example.com"}, {"subject": "*HOTEL*"}, {"source": "postbox"}],
)
async def test_a_mail_held_for_want_of_a_route_asks_the_routes_of_today_with_all_its_facts(
    tmp_path: Path, pattern: dict[str, str]
) -> None:
    async with open_rooms(tmp_path) as rooms:
        await run(rooms, Message({"a.jpg": b"a"}, account="ann"), routes=[])
        (held,) = await rooms.reader.find()
        wrong = Route(patterns={**pattern, "filename": "b.jpg"}, send="vault:entry/wrong")
        right = Route(patterns={**pattern, "filename": "a.jpg"}, send="vault:receipt", account="bob")
        done = await retry(rooms, held, routes=[wrong, right])
        assert (done.state, done.slot, done.account) == (State.UPLOADED, "receipt", "bob")


async def test_a_stranger_that_no_route_is_for_is_held_again_and_told_so(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        await run(rooms, Message({"a.jpg": b"a"}, hold=STRANGER), routes=[])
        (held,) = await rooms.reader.find()
        again = await retry(rooms, held, routes=[BY_SUBJECT])
        assert again.state is State.HELD and "No route" in (again.reason or "")


async def test_a_person_sends_a_held_mail_on_with_the_account_it_came_with(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        await run(rooms, Message({"a.jpg": b"a"}, person="Ann", account="ann"), routes=[])
        (held,) = await rooms.reader.find()
        destined = Destined.parse("vault:entry/E1")
        assigned = await rooms.ledger.assign(held, destined=destined, account=None, now=now())
        assert (assigned.account, assigned.person) == ("ann", "Ann")
        done = await retry(rooms, assigned)
        assert (done.state, done.slot, done.account) == (State.UPLOADED, "entry/E1", "ann")


async def test_the_passwords_of_a_route_for_mail_open_its_documents(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        words = tmp_path / "words"
        words.write_text("sesame\n")
        words.chmod(0o600)
        route = Route(
            patterns={"from": "ann@example.com"},
            send="vault:receipt",
            passwords_file=words,
            pages=Pages.SEPARATE,
        )
        messages = [
            Message({"a.pdf": b"LOCKED sesame"}),
            Message({"b.pdf": b"LOCKED sesame!"}, sender="bob@example.com"),
        ]
        await run(rooms, *messages, routes=[route, Route(send="vault:receipt")])
        assert {r.filename: r.state for r in await rooms.reader.find()} == {
            "a.pdf": State.UPLOADED,
            "b.pdf": State.REJECTED,
        }


# --- crashes -----------------------------------------------------------------------------------------------


async def handed_over_again(rooms: Rooms, messages: Sequence[Message]) -> Postbox:
    """A crash came between commit and acknowledgement; the next start hands the messages over again."""
    vault, postbox = Vault(), Postbox(rooms.spool, *messages)
    postbox.crashes = True
    await Pipeline(rooms.flow(vault), {postbox.name: postbox}).run(until_idle=SOON)
    assert len(postbox.left) == len(messages)
    stored = list(vault.stored)
    postbox.crashes = False
    await Pipeline(rooms.flow(vault), {postbox.name: postbox}).run(until_idle=SOON)
    assert vault.stored == stored, "nothing is uploaded twice"
    assert postbox.left == {} and postbox.given_back == []
    return postbox


async def test_a_message_that_was_committed_but_not_flagged_is_known_and_not_doubled(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        messages = [
            Message({"a.jpg": b"a", "batch.zip": b"ZIP\nb.jpg=b\nThumbs.db="}, refused=(LOGO,)),
            Message({}, refused=(LOGO,)),
            Message({"bill": b"text"}, raw=b"text"),
            Message({"c.jpg": b"c"}, hold=STRANGER),
        ]
        await handed_over_again(rooms, messages)
        books = await rooms.reader.balance()
        assert books.closed
        assert (books.payloads, books.documents, books.sightings, books.ignored) == (7, 4, 0, 3)
        book = SqlMailBook(rooms.ledger, rooms.reader)
        uids = await book.arrived("me", "INBOX", 1, range(1, 9))
        assert uids == {uid: message.id for uid, message in enumerate(messages, start=1)}


async def test_the_same_message_copied_back_is_another_arrival_of_known_receipts(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault, leaves = Vault(), {"a.jpg": b"a", "b.jpg": b"b"}
        postbox = await run(rooms, Message(leaves, refused=(LOGO,)), vault=vault)
        copy = Message(leaves, refused=(LOGO,))
        postbox = await run(rooms, copy, vault=vault)
        assert sorted(vault.stored) == ["a.jpg", "b.jpg"]
        assert {report.repeat for report in postbox.reports} == {True}
        mailed = await SqlMailBook(rooms.ledger, rooms.reader).mailed(copy.id)
        assert mailed is not None
        assert [(one.repeat, one.receipt.state) for one in mailed.receipts] == [(True, State.UPLOADED)] * 2


async def test_nothing_is_acknowledged_before_it_is_committed(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        message = Message({"a.jpg": b"a"})
        postbox = Postbox(rooms.spool, message)
        committed: list[bool] = []
        original = postbox._arrival

        def watched(uid: int, message: Message) -> Arrival:
            arrival = original(uid, message)

            async def acknowledge() -> None:
                committed.append(await rooms.reader.mailed(message.id) is not None)
                await arrival.acknowledge()

            return replace(arrival, acknowledge=acknowledge)

        postbox._arrival = watched  # type: ignore[method-assign]  # a witness
        await Pipeline(rooms.flow(Vault()), {postbox.name: postbox}).run(until_idle=SOON)
        assert committed == [True]


async def test_a_run_until_idle_tells_what_its_mailbox_left_behind(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        postbox = Postbox(rooms.spool)
        postbox.status = SourceStatus(scans=1, trouble="Three messages wait.", troubled_since=now())
        result = await Pipeline(rooms.flow(Vault()), {postbox.name: postbox}).run(until_idle=SOON)
    assert (result.trouble, result.refused) == ([], ["postbox: Three messages wait."])
    assert exit_code(result) == NEEDS_ATTENTION
