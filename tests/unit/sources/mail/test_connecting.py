"""Opening sessions: an access token that ended early is replaced once and at once, whoever comes with it."""

import asyncio
from datetime import timedelta

import pytest

from ingestd.sources.mail.connecting import Connector
from ingestd.sources.mail.imap import ImapLoginRefused, ImapSecret
from tests.mail.conftest import dovecot, user
from tests.mail.dovecot import Dovecot

__all__ = ["dovecot", "user"]


class Logins:
    """Access tokens as MailboxLogin gives them: the same one until it was refused."""

    def __init__(self, dovecot: Dovecot, user: str) -> None:
        self._dovecot, self._user = dovecot, user
        self.refused: list[str] = []
        self.given = 0
        self.token = ""

    def new(self, *, is_good: bool) -> None:
        self.given += 1
        life = timedelta(hours=1 if is_good else -1, seconds=self.given)
        self.token = self._dovecot.token(self._user, lifetime=life)

    async def __call__(self) -> ImapSecret:
        return ImapSecret("xoauth2", self.token)

    def refuse(self, secret: ImapSecret) -> None:
        self.refused.append(secret.value)
        if secret.value == self.token:
            self.new(is_good=True)


@pytest.fixture
def logins(dovecot: Dovecot, user: str) -> Logins:
    return Logins(dovecot, user)


@pytest.fixture
def connector(dovecot: Dovecot, user: str, logins: Logins) -> Connector:
    return Connector(dovecot.settings(user), logins, logins.refuse)


def taken_before(connector: Connector, token: str) -> None:
    connector._taken = ImapSecret("xoauth2", token)


async def test_a_token_that_was_taken_before_and_is_refused_is_replaced_at_once(
    connector: Connector, logins: Logins
) -> None:
    logins.new(is_good=False)
    ended = logins.token
    taken_before(connector, ended)
    session = await connector.open()
    await session.close()
    assert (logins.refused, logins.given) == ([ended], 2)


async def test_two_that_come_with_the_same_ended_token_cause_one_new_one(
    connector: Connector, logins: Logins
) -> None:
    logins.new(is_good=False)
    ended = logins.token
    taken_before(connector, ended)
    for session in await asyncio.gather(connector.open(), connector.open()):
        await session.close()
    assert (logins.refused, logins.given) == ([ended], 2)


async def test_a_fresh_token_that_is_refused_is_not_replaced_at_once(
    connector: Connector, logins: Logins
) -> None:
    logins.new(is_good=False)
    with pytest.raises(ImapLoginRefused):
        await connector.open()
    assert logins.given == 2, "the next one is asked for after a pause"
    assert len(logins.refused) == 1


async def test_a_token_whose_successor_is_refused_too_waits_like_any_other(
    connector: Connector, logins: Logins, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = logins.new
    monkeypatch.setattr(logins, "new", lambda *, is_good: real(is_good=False))
    logins.new(is_good=False)
    taken_before(connector, logins.token)
    with pytest.raises(ImapLoginRefused):
        await connector.open()
    assert len(logins.refused) == 2
