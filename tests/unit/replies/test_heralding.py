"""A plain mail to people of ours, handed to a real SMTP server."""

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest

from ingestd.domain.document import Instant
from ingestd.domain.errors import ConfigurationError
from ingestd.interfaces import SourceUnavailable, Undeliverable
from ingestd.replies import SmtpHerald
from ingestd.settings import SmtpSettings
from tests.unit.replies.sink import Sink, sink

AT = Instant(1_760_000_000_000_000)


def herald(port: int, *, to: str = "it@example.com", sender: str = "receipts@example.com") -> SmtpHerald:
    settings = SmtpSettings(host="127.0.0.1", port=port, security="none", sender=sender)
    return SmtpHerald(settings, to=to, clock=lambda: AT)


def read(here: Sink) -> EmailMessage:
    message = message_from_bytes(here.received[-1].content, policy=default)
    assert isinstance(message, EmailMessage)
    return message


async def test_a_plain_mail_arrives_and_nothing_answers_it() -> None:
    async with sink() as here:
        await herald(here.port).tell("ingestd on srv1: 3 receipts need you", "First — line.\n\n  second\n")
    (received,) = here.received
    assert (received.sender, received.recipients) == ("", ["it@example.com"])
    message = read(here)
    assert message["Subject"] == "ingestd on srv1: 3 receipts need you"
    assert (message["From"], message["To"]) == ("ingestd <receipts@example.com>", "it@example.com")
    assert (message["Auto-Submitted"], message["X-Auto-Response-Suppress"]) == ("auto-generated", "All")
    assert message["Date"] == "Thu, 09 Oct 2025 08:53:20 +0000"
    assert message.get_content_type() == "text/plain"
    assert message.get_content().splitlines() == ["First — line.", "", "  second"]


async def test_two_mails_are_two_messages() -> None:
    async with sink() as here:
        ids = set()
        for _ in range(2):
            await herald(here.port).tell("x", "y")
            ids.add(read(here)["Message-ID"])
    assert len(ids) == 2


async def test_long_lines_are_folded_between_words() -> None:
    async with sink() as here:
        await herald(here.port).tell("x", "  " + "word " * 40 + "\n" + "x" * 2000)
    lines = read(here).get_content().splitlines()
    assert all(len(line) <= 76 for line in lines[:-1]) and lines[1].startswith("    word")
    assert lines[-1] == "x" * 2000
    assert max(map(len, here.received[0].content.split(b"\r\n"))) <= 78, "RFC 5322 section 2.1.1"


async def test_a_subject_of_strangers_adds_no_field() -> None:
    async with sink() as here:
        await herald(here.port).tell("one\r\nBcc: all@example.com\r\n\r\nbody", "text")
    assert read(here)["Bcc"] is None and here.received[0].recipients == ["it@example.com"]


async def test_a_server_that_refuses_the_null_sender_gets_ours() -> None:
    async with sink() as here:
        here.refuse = {"MAIL <>": "550 5.7.1 no null sender"}
        await herald(here.port).tell("x", "y")
    assert here.received[0].sender == "receipts@example.com"


async def test_an_address_that_is_refused_is_undeliverable_and_a_busy_server_is_not() -> None:
    async with sink() as here:
        here.refuse = {"RCPT": "550 5.1.1 no such user"}
        with pytest.raises(Undeliverable, match="no such user"):
            await herald(here.port).tell("x", "y")
        here.refuse = {"RCPT": "451 4.3.0 try again"}
        with pytest.raises(SourceUnavailable, match="try again"):
            await herald(here.port).tell("x", "y")


def test_what_is_no_address_is_named_with_its_key() -> None:
    with pytest.raises(ConfigurationError) as caught:
        herald(25, to="it at example", sender="nobody")
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["smtp.sender", "alerts.mail"]
