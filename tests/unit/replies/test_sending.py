import asyncio
import email
import email.policy
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Literal

import pytest

from ingestd.domain.document import Instant
from ingestd.domain.errors import ConfigurationError
from ingestd.interfaces import Answer, Correspondent, SourceUnavailable, Undeliverable
from ingestd.replies import SmtpCorrespondent
from ingestd.settings import Secret, SmtpSettings
from tests.unit.replies.cases import ARRIVAL, NOW, a_mixed_bag, answer, mailed, receipt
from tests.unit.replies.sink import PASSWORD, USER, Authority, Sink, make_authority, scripted, sink

SENDER = "receipts@example.com"
QUICK = timedelta(seconds=0.3)


def clock() -> Instant:
    return NOW


def settings(port: int, security: Literal["tls", "starttls", "none"] = "none") -> SmtpSettings:
    return SmtpSettings(
        host="127.0.0.1", port=port, security=security, sender=SENDER, timeout=timedelta(seconds=10)
    )


def correspondent(
    port: int, security: Literal["tls", "starttls", "none"] = "none", **changes: object
) -> SmtpCorrespondent:
    changed = replace(settings(port, security), **changes)  # type: ignore[arg-type] # each test names its own
    return SmtpCorrespondent(changed, clock=clock)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def password(tmp_path: Path) -> Secret:
    return secret(tmp_path, PASSWORD)


def secret(folder: Path, value: str) -> Secret:
    path = folder / "smtp-password"
    path.write_text(value + "\n")
    return Secret(file=path)


def parsed(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    return message


# --- what arrives ------------------------------------------------------------------------------------------


async def test_an_answer_arrives_whole_and_threaded() -> None:
    async with sink() as here:
        speaker: Correspondent = correspondent(here.port)
        await speaker.send(Answer(mailed=a_mixed_bag(), to="ann@example.com"))
    (one,) = here.received
    assert (one.sender, one.recipients, one.encrypted) == ("", ["ann@example.com"], False)
    message = parsed(one.content)
    assert message.defects == []
    assert message["From"] == f"ingestd <{SENDER}>"
    assert message["To"] == "ann@example.com"
    assert message["Message-ID"] == f"<{ARRIVAL}.ingestd@example.com>"
    assert message["In-Reply-To"] == message["References"] == "<CAF1234@mail.example.com>"
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert list(message.iter_attachments()) == []
    for part in message.iter_parts():
        assert isinstance(part, EmailMessage)
        assert part.defects == []
        assert "Image ID 5D1C77E2" in part.get_content()


async def test_sent_twice_it_is_the_same_message() -> None:
    async with sink() as here:
        speaker = correspondent(here.port)
        await speaker.send(answer(receipt("a.pdf")))
        await speaker.send(answer(receipt("a.pdf")))
    assert here.received[0].content == here.received[1].content


async def test_lines_that_begin_with_a_dot_arrive_as_they_were() -> None:
    async with sink() as here:
        await correspondent(here.port).send(answer(receipt("a.pdf"), ignored=()))
        name = ".\r\n.hidden " + ". " * 60
        await correspondent(here.port).send(answer(receipt(name)))
    text = parsed(here.received[1].content).get_body(("plain",))
    assert text is not None
    assert ". .hidden . . ." in text.get_content()


async def test_every_answer_has_a_connection_of_its_own() -> None:
    async with sink() as here:
        speaker = correspondent(here.port)
        await asyncio.gather(*(speaker.send(answer(receipt("a.pdf"))) for _ in range(12)))
    assert (len(here.received), here.connections) == (12, 12)


async def test_the_server_learns_an_address_and_never_the_name_of_nobody() -> None:
    async with sink() as here:
        await correspondent(here.port).send(answer(receipt("a.pdf")))
    hello = here.steps[0].removeprefix("EHLO ")
    assert hello == "[127.0.0.1]" or "." in hello.strip("[]")


# --- how it is secured -------------------------------------------------------------------------------------


async def test_tls_from_the_first_byte_with_login(authority: Authority, password: Secret) -> None:
    async with sink(tls=authority.context(), auth=True) as here:
        speaker = correspondent(here.port, "tls", ca_file=authority.ca, user=USER, password=password)
        await speaker.send(answer(receipt("a.pdf")))
    (one,) = here.received
    assert (one.user, here.logins) == (USER, [USER])


async def test_starttls_before_the_login(authority: Authority, password: Secret) -> None:
    async with sink(starttls=authority.context(), auth=True) as here:
        speaker = correspondent(here.port, "starttls", ca_file=authority.ca, user=USER, password=password)
        await speaker.send(answer(receipt("a.pdf")))
        assert await speaker.check() == ()
    (one,) = here.received
    assert (one.user, one.encrypted) == (USER, True)


@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_a_certificate_of_an_unknown_ca_ends_the_conversation(
    authority: Authority, password: Secret, security: Literal["tls", "starttls"]
) -> None:
    context = authority.context()
    async with sink(
        tls=context if security == "tls" else None, starttls=context if security == "starttls" else None
    ) as here:
        speaker = correspondent(here.port, security, user=USER, password=password)
        with pytest.raises(
            SourceUnavailable, match=r"The certificate of the mail server .* was not accepted"
        ):
            await speaker.send(answer(receipt("a.pdf")))
    assert (here.received, here.logins) == ([], [])


async def test_a_server_without_starttls_gets_neither_password_nor_mail(password: Secret) -> None:
    async with sink(auth=True) as here:
        speaker = correspondent(here.port, "starttls", user=USER, password=password)
        with pytest.raises(SourceUnavailable, match="STARTTLS"):
            await speaker.send(answer(receipt("a.pdf")))
    assert (here.received, here.logins) == ([], [])


async def test_tls_to_a_port_that_speaks_plain_is_explained(authority: Authority) -> None:
    async with sink() as here:
        with pytest.raises(SourceUnavailable, match=r"No TLS connection .* 587 is"):
            await correspondent(here.port, "tls", ca_file=authority.ca).send(answer(receipt("a.pdf")))


async def test_a_ca_file_that_holds_none_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("nothing")
    speaker = correspondent(9, "tls", ca_file=empty)
    with pytest.raises(SourceUnavailable, match=r"ca\.pem can't be used: it holds no certificate"):
        await speaker.send(answer(receipt("a.pdf")))
    missing = correspondent(9, "tls", ca_file=tmp_path / "none.pem")
    with pytest.raises(SourceUnavailable, match="No such file"):
        await missing.send(answer(receipt("a.pdf")))


async def test_a_wrong_password_is_tried_once_and_never_told(authority: Authority, tmp_path: Path) -> None:
    wrong = secret(tmp_path, "hunter2-hunter2")
    async with sink(tls=authority.context(), auth=True) as here:
        speaker = correspondent(here.port, "tls", ca_file=authority.ca, user=USER, password=wrong)
        with pytest.raises(
            SourceUnavailable, match=r"does not let receipts@example\.com log in: 535"
        ) as error:
            await speaker.send(answer(receipt("a.pdf")))
        problems = await speaker.check()
    assert "hunter2" not in f"{error.value!r} {error.value.__cause__!r} {problems}"
    assert len(problems) == 1
    assert here.logins == [USER, USER]


@pytest.mark.parametrize("value", ["hunter2-hunter2", "abc"])
async def test_a_server_that_repeats_the_password_does_not_spread_it(tmp_path: Path, value: str) -> None:
    async def talk(reader: Reader, writer: Writer) -> None:
        writer.write(b"220 hi\r\n")
        await reader.readline()
        writer.write(b"250-hi\r\n250 AUTH PLAIN\r\n")
        command = (await reader.readline()).split()[-1].decode()
        writer.write(f"535 no: {value} {command}\r\n".encode())
        await reader.readline()

    async with scripted(talk) as port:
        speaker = correspondent(port, user=USER, password=secret(tmp_path, value))
        with pytest.raises(SourceUnavailable) as error:
            await speaker.send(answer(receipt("a.pdf")))
    assert value not in str(error.value)
    assert "535" in str(error.value)
    assert error.value.__cause__ is None or value not in repr(error.value.__cause__)


async def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    async with sink(auth=True) as here:
        speaker = correspondent(here.port, user=USER, password=Secret(file=tmp_path / "gone"))
        with pytest.raises(SourceUnavailable, match="gone does not exist"):
            await speaker.send(answer(receipt("a.pdf")))


async def test_a_server_that_knows_no_login_is_explained(password: Secret) -> None:
    async with scripted(take_it_and_hang) as port:
        speaker = correspondent(port, user=USER, password=password)
        with pytest.raises(SourceUnavailable, match="offers no login by password"):
            await speaker.send(answer(receipt("a.pdf")))


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("reply", ["451 4.3.0 later", "421 4.3.2 closing", "452 4.2.2 full"])
async def test_a_temporary_no_is_tried_again_later(step: str, reply: str) -> None:
    async with sink() as here:
        here.refuse[step] = reply
        with pytest.raises(SourceUnavailable, match=reply):
            await correspondent(here.port).send(answer(receipt("a.pdf")))
    assert here.connections == 1


@pytest.mark.parametrize(
    ("step", "reply"),
    [("RCPT", "550 no such user"), ("RCPT", "550 5.1.1 no such user"), ("DATA", "554 5.7.1 looks like spam")],
)
async def test_a_no_for_good_is_undeliverable_and_says_why(step: str, reply: str) -> None:
    async with sink() as here:
        here.refuse[step] = reply
        with pytest.raises(Undeliverable, match=reply):
            await correspondent(here.port).send(answer(receipt("a.pdf")))
    assert here.received == []


async def test_an_unknown_recipient_is_not_asked_about_twice() -> None:
    async with sink() as here:
        here.refuse["RCPT"] = "550 5.1.1 no such user"
        with pytest.raises(Undeliverable):
            await correspondent(here.port).send(answer(receipt("a.pdf")))
    assert [step for step in here.steps if step.startswith("MAIL")] == ["MAIL <>"]


@pytest.mark.parametrize("step", ["MAIL <>", "RCPT after <>"])
async def test_a_relay_that_refuses_the_null_sender_gets_ours_and_is_not_asked_again(step: str) -> None:
    async with sink() as here:
        here.refuse[step] = "553 5.7.1 Sender address rejected"
        speaker = correspondent(here.port)
        await speaker.send(answer(receipt("a.pdf")))
        await speaker.send(answer(receipt("a.pdf")))
        assert await speaker.check() == ()
    assert [one.sender for one in here.received] == [SENDER, SENDER]
    sends = here.steps[: -here.steps[::-1].index("DATA")]
    assert [s for s in sends if s.startswith("MAIL")] == ["MAIL <>", f"MAIL <{SENDER}>", f"MAIL <{SENDER}>"]


async def test_a_relay_that_takes_neither_sender_is_a_trouble_of_the_configuration() -> None:
    async with sink() as here:
        here.refuse["MAIL"] = "550 5.7.60 not allowed to send as this sender"
        speaker = correspondent(here.port)
        with pytest.raises(
            SourceUnavailable, match=r"takes no mail from receipts@example\.com: 550 5\.7\.60"
        ):
            await speaker.send(answer(receipt("a.pdf")))
        (problem,) = await speaker.check()
    assert "550 5.7.60" in problem


async def test_a_server_that_wants_a_login_first_is_no_fault_of_the_message() -> None:
    async with sink() as here:
        here.refuse["RCPT"] = "530 5.7.0 Authentication required"
        with pytest.raises(SourceUnavailable, match="530"):
            await correspondent(here.port).send(answer(receipt("a.pdf")))


async def test_an_answer_too_large_for_the_server_is_undeliverable() -> None:
    async with sink() as here:
        here.refuse["MAIL"] = "552 5.3.4 too big"
        with pytest.raises(Undeliverable, match="552"):
            await correspondent(here.port).send(answer(receipt("a.pdf")))


async def test_what_a_server_says_is_one_bounded_line() -> None:
    async with sink() as here:
        here.refuse["RCPT"] = "550-5.1.1 \x1b[31mred\x07\r\n550 5.1.1 " + "x" * 400
        with pytest.raises(Undeliverable) as error:
            await correspondent(here.port).send(answer(receipt("a.pdf")))
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ann",
        "ann@",
        "ann@example.com\r\nRCPT TO:<eve@example.com>",
        "ann@example.com>\r\nDATA",
        "ann@example.com, eve@example.com",
        "ann@exa mple.com",
        "<ann@example.com> SIZE=1",
        '"ann eve"@example.com',
        "ann@" + "x" * 300 + ".com",
        "ann@example..com",
        "a\x00nn@example.com",
    ],
)
async def test_what_is_no_address_is_undeliverable_before_a_connection_is_made(address: str) -> None:
    async with sink() as here:
        with pytest.raises(Undeliverable, match="is not a"):
            await correspondent(here.port).send(answer(receipt("a.pdf"), to=address))
    assert here.connections == 0


# --- addresses beyond ASCII --------------------------------------------------------------------------------


async def test_smtputf8_is_asked_for_only_where_an_address_needs_it() -> None:
    async with sink() as here:
        speaker = correspondent(here.port)
        await speaker.send(answer(receipt("Übernachtung.pdf")))
        await speaker.send(answer(receipt("a.pdf"), to="jörg@müller.example"))
    plain, wide = here.received
    assert "SMTPUTF8" not in plain.options
    assert plain.content.isascii()
    assert "SMTPUTF8" in wide.options
    assert wide.recipients == ["jörg@xn--mller-kva.example"]
    assert parsed(wide.content)["To"] == "jörg@xn--mller-kva.example"


async def test_an_address_that_the_server_can_not_take_is_undeliverable() -> None:
    async with sink(utf8=False) as here:
        with pytest.raises(Undeliverable, match="SMTPUTF8"):
            await correspondent(here.port).send(answer(receipt("a.pdf"), to="jörg@example.com"))
        await correspondent(here.port).send(answer(receipt("a.pdf"), to="joerg@müller.example"))
    assert [one.recipients for one in here.received] == [["joerg@xn--mller-kva.example"]]


# --- servers that break ------------------------------------------------------------------------------------


async def say_nothing(reader: Reader, writer: Writer) -> None:
    await reader.read()


async def trickle(reader: Reader, writer: Writer) -> None:
    writer.write(b"220 hi\r\n")
    while await reader.readline():
        for _ in range(40):
            await asyncio.sleep(0.2)
            writer.write(b"250-more\r\n")


async def hang_up(reader: Reader, writer: Writer) -> None:
    writer.write(b"220 hi\r\n")
    await reader.readline()


async def speak_http(reader: Reader, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await reader.readline()


async def flood(reader: Reader, writer: Writer) -> None:
    writer.write(b"220-" + b"x" * 10_000_000)
    await reader.readline()


async def hang_up_after_the_body(reader: Reader, writer: Writer) -> None:
    writer.write(b"220 hi\r\n")
    while line := await reader.readline():
        if line == b".\r\n":
            return
        if line[:4] in (b"EHLO", b"MAIL", b"RCPT"):
            writer.write(b"250 ok\r\n")
        if line[:4] == b"DATA":
            writer.write(b"354 go\r\n")


async def take_it_and_hang(reader: Reader, writer: Writer) -> None:
    writer.write(b"220 hi\r\n")
    while line := await reader.readline():
        if line[:4] in (b"EHLO", b"MAIL", b"RCPT") or line == b".\r\n":
            writer.write(b"250 ok\r\n")
        if line[:4] == b"DATA":
            writer.write(b"354 go\r\n")


@pytest.mark.parametrize(
    ("talk", "said"),
    [
        (say_nothing, "did not answer within 0.3 s"),
        (trickle, "did not answer within 0.3 s"),
        (hang_up, "closed the connection"),
        (speak_http, "does not take it now"),
        (flood, "does not take it now"),
        (hang_up_after_the_body, "closed the connection"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_a_server_that_breaks_is_tried_again_later(
    talk: Callable[[Reader, Writer], Awaitable[None]], said: str
) -> None:
    async with scripted(talk) as port:
        with pytest.raises(SourceUnavailable, match=said):
            await correspondent(port, timeout=QUICK).send(answer(receipt("a.pdf")))


async def test_a_server_that_took_the_answer_may_forget_to_say_goodbye() -> None:
    async with scripted(take_it_and_hang) as port:
        await correspondent(port, timeout=QUICK).send(answer(receipt("a.pdf")))


async def test_a_port_where_nobody_listens_is_named() -> None:
    async with sink() as here:
        port = here.port
    with pytest.raises(
        SourceUnavailable, match=rf"No connection to the mail server 127\.0\.0\.1:{port}: .*refused"
    ):
        await correspondent(port).send(answer(receipt("a.pdf")))


async def test_a_name_that_is_not_there_is_named() -> None:
    speaker = correspondent(25, host="no-such-host.invalid")
    with pytest.raises(SourceUnavailable, match=r"The name no-such-host\.invalid can't be resolved"):
        await speaker.send(answer(receipt("a.pdf")))
    (problem,) = await speaker.check()
    assert "no-such-host.invalid" in problem


async def test_no_connection_and_no_task_is_left_behind_by_a_silent_server(authority: Authority) -> None:
    before = asyncio.all_tasks()
    async with silent_tls(authority) as port:
        speaker = correspondent(port, "tls", ca_file=authority.ca, timeout=QUICK)
        with pytest.raises(SourceUnavailable, match="did not answer"):
            await speaker.send(answer(receipt("a.pdf")))
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() - before == set()


@asynccontextmanager
async def silent_tls(authority: Authority) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(
        asyncio.Protocol, "127.0.0.1", 0, ssl=authority.context()
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


# --- checking ----------------------------------------------------------------------------------------------


async def test_a_check_sends_no_mail() -> None:
    async with sink() as here:
        assert await correspondent(here.port).check() == ()
    assert "DATA" not in here.steps
    assert here.received == []


async def test_a_check_does_not_mind_that_its_sender_has_no_mailbox() -> None:
    async with sink() as here:
        here.refuse["RCPT"] = "550 5.1.1 no such user"
        assert await correspondent(here.port).check() == ()
        here.refuse["RCPT"] = "554 5.7.1 relay access denied"
        (problem,) = await correspondent(here.port).check()
    assert "relay access denied" in problem


async def test_a_sender_that_is_no_address_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match=r"smtp\.sender"):
        SmtpCorrespondent(replace(settings(25), sender="receipts"), clock=clock)


async def test_a_sender_may_bring_its_own_name() -> None:
    async with sink() as here:
        await correspondent(here.port, sender="Receipts Desk <desk@example.com>").send(
            answer(receipt("a.pdf"))
        )
    assert parsed(here.received[0].content)["From"] == "Receipts Desk <desk@example.com>"


async def test_the_sink_itself_refuses_a_stranger_without_login(authority: Authority) -> None:
    """Else the tests of the login would prove nothing."""
    async with sink(tls=authority.context(), auth=True) as here:
        with pytest.raises(SourceUnavailable, match="530"):
            await correspondent(here.port, "tls", ca_file=authority.ca).send(answer(receipt("a.pdf")))
    assert isinstance(here, Sink)
    assert mailed().receipts == ()
