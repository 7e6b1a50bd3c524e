"""A move that ends in the middle: the copy is there, the original too, and nobody was told."""

from collections.abc import Callable

import pytest

from ingestd.domain.mail import Filed
from ingestd.domain.states import State
from ingestd.sources.mail.connecting import MailboxSession
from ingestd.sources.mail.imap import Moved
from tests.unit.sources.mail.mailboxes import office, own, soon
from tests.unit.sources.mail.office import Crash, Office, message

__all__ = ["office", "own", "soon"]

UPLOADED = "Ingestd/Uploaded"


def half_done(
    monkeypatch: pytest.MonkeyPatch, times: int, ending: Callable[[MailboxSession], None]
) -> list[int]:
    """The first so many moves copy and do no more, as a Dovecot that is killed in between does."""
    halves: list[int] = []
    move = MailboxSession.move

    async def half(self: MailboxSession, uid: int, mailbox: str) -> Moved | None:
        if len(halves) < times:
            halves.append(uid)
            await self._into(mailbox, "COPY", uid)
            ending(self)
        return await move(self, uid, mailbox)

    monkeypatch.setattr(MailboxSession, "move", half)
    return halves


def cut(session: MailboxSession) -> None:
    session.abort()


def crash(session: MailboxSession) -> None:
    raise Crash


async def test_a_move_whose_answer_was_lost_leaves_one_message(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [message(number) for number in range(3)]
    office.dovecot.fill(raws, office.user)
    halves = half_done(monkeypatch, 3, cut)
    await office.run(office.source())
    assert len(halves) == 3
    office.judge(raws)
    assert {entry.mailed.filed for entry in office.book.entries.values()} == {Filed.UPLOADED}


async def test_a_move_that_was_lost_before_it_began_is_done_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [message(1)]
    office.dovecot.fill(raws, office.user)
    asked: list[int] = []
    move = MailboxSession.move

    async def lost(self: MailboxSession, uid: int, mailbox: str) -> Moved | None:
        asked.append(uid)
        if len(asked) < 4:
            self.abort()
        return await move(self, uid, mailbox)

    monkeypatch.setattr(MailboxSession, "move", lost)
    await office.run(office.source())
    assert len(asked) == 4
    office.judge(raws)


async def test_a_crash_in_the_middle_of_a_move_leaves_one_message(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [message(1)]
    office.dovecot.fill(raws, office.user)
    half_done(monkeypatch, 1, crash)
    with pytest.raises(Crash):
        await office.run(office.source())
    assert (office.stored(), office.uploaded) == (["<1@tests>"], ["<1@tests>"])
    await office.run(office.source())
    office.judge(raws)


async def test_a_message_that_only_has_the_same_message_id_is_no_copy(office: Office) -> None:
    """A stranger wrote it; the original would be removed for it."""
    office.dovecot.append(message(1), office.user)
    office.finishes = False
    await office.run(office.source())
    other = message(1, body=b"something else")
    office.dovecot.append(other, office.user, UPLOADED)
    (entry,) = office.book.entries.values()
    office.book.decide(entry.keys[0], State.UPLOADED)
    await office.run(office.source())
    filed = {each.raw for each in office.dovecot.messages(office.user, UPLOADED)}
    assert filed == {message(1), other}
    assert office.stored() == []
