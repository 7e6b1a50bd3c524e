"""A second mail server, Cyrus, under the whole daemon: other names, refusals and habits than Dovecot's.

The mailboxes of a person lie below the INBOX, joined by dots, or beside it, joined by slashes; the
configuration is the same for both.
"""

import email
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from ingestd import samples
from ingestd.sources.mail.imap import ImapSecret, ImapSession
from tests.acceptance.letterbox import Keeper, letter, smtp_server
from tests.acceptance.place import Place, SandboxProcess, wait_until
from tests.mail.cyrus import BELOW_INBOX, BESIDE_INBOX, Cyrus, Layout, what_is_missing
from tests.mail.dovecot import PASSWORD

USER = "ann"
KEYWORD = "$Ingestd"
TABLES = """
[[mailboxes]]
name = "receipts"
host = "{host}"
port = {port}
ca_file = "{ca_file}"
user = "{user}"
password_file = "imap-password"
allow = ["*@example.com"]
require = "none"
reply = true
poll = "5s"
deadline = "5s"
{more}
[smtp]
host = "127.0.0.1"
port = {smtp_port}
security = "none"
sender = "receipts@example.com"
"""

Start = Callable[..., Cyrus]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a Cyrus; options as it has them."""
    if reason := what_is_missing():
        pytest.skip(f"could not do it here: {reason}")
    with ExitStack() as stack:

        def start(**options: Any) -> Cyrus:
            directory = tmp_path / f"cyrus-{len(list(tmp_path.iterdir()))}"
            directory.mkdir()
            server: AbstractContextManager[Cyrus] = Cyrus(directory, **options)
            return stack.enter_context(server)

        yield start


@pytest.fixture
def keeper() -> Iterator[tuple[int, Keeper]]:
    with smtp_server() as running:
        yield running


def read_by(place: Place, server: Cyrus, smtp_port: int, more: str = "") -> None:
    """The place reads the mailbox of the user, and answers."""
    secret = place.directory / "imap-password"
    secret.write_text(server.password)
    secret.chmod(0o600)
    table = TABLES.format(
        host=server.host,
        port=server.port,
        ca_file=server.ca_file,
        user=USER,
        more=more,
        smtp_port=smtp_port,
    )
    place.config.write_text(place.config.read_text() + table)


def receipt(number: int, content: bytes | None = None) -> bytes:
    return letter((f"r{number}.pdf", content or samples.small_pdf(number)), subject=f"receipt {number}")


def uploads(sandbox: SandboxProcess) -> Counter[bytes]:
    return Counter(sandbox.content(image) for image in sandbox.images())


def message_ids(raws: list[bytes]) -> set[str]:
    return {str(_parsed(raw)["Message-ID"]) for raw in raws}


def _parsed(raw: bytes) -> Message:
    return email.message_from_bytes(raw)


# --- the way of a message -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "without"),
    [
        pytest.param(BELOW_INBOX, (), id="below INBOX"),
        pytest.param(BESIDE_INBOX, (), id="beside INBOX"),
        pytest.param(BELOW_INBOX, ("MOVE",), id="without MOVE"),
        pytest.param(BESIDE_INBOX, ("IDLE", "NAMESPACE"), id="without IDLE and NAMESPACE"),
    ],
)
def test_mail_is_taken_uploaded_filed_and_answered(
    place: Place,
    sandbox: SandboxProcess,
    start: Start,
    keeper: tuple[int, Keeper],
    layout: Layout,
    without: tuple[str, ...],
) -> None:
    server = start(layout=layout, without=without)
    read_by(place, server, keeper[0])
    bad = receipt(9, samples.truncated(samples.small_jpeg(9)))
    server.append(receipt(0), USER)
    with place.daemon():
        wait_until(lambda: len(server.messages(USER, "Ingestd/Uploaded")) == 1, "it is filed", place.log)
        began = time.monotonic()
        server.deliver(receipt(1), USER, sender="ann@example.com")
        wait_until(lambda: len(sandbox.images()) == 2, "what came during IDLE is uploaded", place.log)
        print(f"{time.monotonic() - began:.2f} s from LMTP to the target", flush=True)
        server.deliver(bad, USER, sender="ann@example.com")
        wait_until(lambda: len(keeper[1].kept) == 3, "all are answered", place.log)
        wait_until(lambda: server.messages(USER) == [], "the INBOX is empty", place.log)
    assert uploads(sandbox) == {samples.small_pdf(0): 1, samples.small_pdf(1): 1}
    filed = server.messages(USER, "Ingestd/Uploaded")
    assert len(filed) == 2
    assert all(KEYWORD in stored.flags for stored in filed), "Cyrus keeps keywords when it moves"
    assert message_ids([each.raw for each in server.messages(USER, "Ingestd/Rejected")]) == message_ids([bad])
    wanted = {layout.server_name(f"Ingestd/{name}") for name in ("Uploaded", "Rejected")}
    assert wanted <= set(server.mailboxes(USER))
    assert place.balance()["closed"]


def test_a_server_killed_and_started_again_is_read_on(
    place: Place, sandbox: SandboxProcess, start: Start, keeper: tuple[int, Keeper]
) -> None:
    server = start()
    read_by(place, server, keeper[0])
    with place.daemon():
        for number in range(5):
            server.deliver(receipt(number), USER, sender="ann@example.com")
            time.sleep(0.1 * number)
            server.kill9()
            server.start()
        wait_until(lambda: server.messages(USER) == [], "all are filed", place.log)
        wait_until(lambda: len(keeper[1].kept) == 5, "all are answered", place.log)
    assert uploads(sandbox) == {samples.small_pdf(number): 1 for number in range(5)}
    assert len(message_ids([each.raw for each in server.messages(USER, "Ingestd/Uploaded")])) == 5
    assert place.balance()["closed"]


# --- the mailbox is another one -------------------------------------------------------------------------


def test_a_mailbox_made_anew_while_it_is_read_is_read_on(
    place: Place, sandbox: SandboxProcess, start: Start, keeper: tuple[int, Keeper]
) -> None:
    """Cyrus ends no session when a mailbox is deleted: it shows it empty for ever, to both connections."""
    server = start()
    server.make(USER, "Receipts")
    server.append(receipt(0), USER, "Receipts")
    read_by(place, server, keeper[0], more='mailbox = "Receipts"\nafter = "flag"')
    with place.daemon():
        wait_until(lambda: "message.filed" in place.log(), "the first is filed", place.log)
        server.make_anew(USER, "Receipts")
        server.append(receipt(1), USER, "Receipts")
        wait_until(lambda: len(sandbox.images()) == 2, "the new mailbox is read", place.log)
        wait_until(lambda: place.log().count("message.filed") == 2, "it is filed", place.log)
    assert "message.missing" not in place.log()
    (stored,) = server.messages(USER, "Receipts")
    assert {KEYWORD, "$IngestdUploaded"} <= set(stored.flags)


def test_messages_that_come_again_under_other_uids_are_uploaded_once(
    place: Place, sandbox: SandboxProcess, start: Start, keeper: tuple[int, Keeper]
) -> None:
    server = start()
    read_by(place, server, keeper[0], more='mailbox = "Receipts"\nafter = "flag"')
    raws = [receipt(number) for number in range(3)]
    for raw in raws:
        server.append(raw, USER, "Receipts")
    place.ingestd("run", "--until-idle")
    assert [KEYWORD in stored.flags for stored in server.messages(USER, "Receipts")] == [True] * 3
    server.make_anew(USER, "Receipts")
    for raw in reversed([*raws, receipt(3)]):
        server.append(raw, USER, "Receipts")
    place.ingestd("run", "--until-idle")
    assert uploads(sandbox) == {samples.small_pdf(number): 1 for number in range(4)}
    assert [KEYWORD in stored.flags for stored in server.messages(USER, "Receipts")] == [True] * 4
    books = place.balance()
    assert (books["closed"], books["uploaded"]) == (True, 4)


def test_a_mailbox_that_is_gone_is_told_and_waited_for(
    place: Place, sandbox: SandboxProcess, start: Start, keeper: tuple[int, Keeper]
) -> None:
    server = start()
    server.make(USER, "Receipts")
    read_by(place, server, keeper[0], more='mailbox = "Receipts"')
    with place.daemon():
        time.sleep(1)
        server.rename(USER, "Receipts", "Old")
        wait_until(lambda: "source.unavailable" in place.log(), "it is told", place.log)
        assert "Mailbox does not exist" in place.log()
        server.append(receipt(1), USER, "Receipts")
        wait_until(lambda: len(sandbox.images()) == 1, "the new mailbox is read", place.log)


# --- what the commands say ------------------------------------------------------------------------------


def test_the_commands_find_it_well(place: Place, start: Start, keeper: tuple[int, Keeper]) -> None:
    server = start(quota_kilobytes=20_480)
    read_by(place, server, keeper[0])
    assert "The mailboxes can be used." in place.ingestd("check", "--online").stdout
    found = json.loads(place.ingestd("doctor", "--json").stdout)["findings"]
    told = {each["what"]: each for each in found if each["subject"] == "mailbox receipts"}
    assert told.keys() >= {"DNS", "connection", "login", "IDLE", "MOVE", "mailbox", "keywords", "quota"}
    # Its certificate lives two days.
    assert {what for what, each in told.items() if each["state"] != "good"} == {"connection"}
    assert "of 20.0 MiB" in told["quota"]["says"]
    assert told["clock"]["says"] == "agrees with the server's"
    assert not [name for name in server.mailboxes(USER) if "Clock" in name]
    (place.directory / "imap-password").write_text("wrong")
    assert "mailbox receipts: login: " in place.ingestd("check", "--online", expect=2).stderr


@pytest.mark.parametrize("password", ['quo"te', "back\\slash", "ümläut"])
async def test_any_password_reaches_it(start: Start, password: str) -> None:
    server = start(password=password)
    session = await ImapSession.open(server.settings(USER), ImapSecret("login", password))
    await session.close()


async def test_a_clock_mailbox_that_a_crash_left_is_used_and_removed(start: Start) -> None:
    server = start()
    server.make(USER, "Ingestd/Clock")
    session = await ImapSession.open(server.settings(USER), ImapSecret("login", PASSWORD))
    assert await session.server_time() is not None
    await session.close()
    assert not [name for name in server.mailboxes(USER) if "Clock" in name]
