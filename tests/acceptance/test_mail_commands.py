"""`check`, `doctor`, `login` and `replay` with a real mail server, and what they say of mistakes."""

import asyncio
import base64
import hashlib
import io
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ingestd import samples
from ingestd.cli.examining import examine_mailbox
from ingestd.clock import process_clock
from ingestd.configfile import load_configuration
from ingestd.domain.document import Document, Origin, OriginKind
from ingestd.domain.mail import MESSAGE_TYPE, MessageOrigin, MessagePlace
from ingestd.domain.receipt import new_id
from ingestd.interfaces import NewArrival, Refusal
from ingestd.settings import Secret
from ingestd.storage import open_spool, writing
from tests.acceptance.place import PROGRAM, ROOT, Place, SandboxProcess
from tests.mail.conftest import dovecot, user
from tests.mail.dovecot import PASSWORD, Dovecot
from tests.mail.oauth_server import OAuthServer, oauth_server

__all__ = ["dovecot", "user"]

MAILBOX = """
[[mailboxes]]
name = "receipts"
host = "localhost"
port = {port}
ca_file = "{ca}"
user = "{user}"
allow = ["*@example.com"]
deadline = "5s"
trusted_authserv = ["mx.example.com"]
"""


@pytest.fixture
def lonely(tmp_path: Path) -> Place:
    """A place whose target is never asked."""
    return Place(tmp_path / "place", "http://127.0.0.1:9")


def with_mailbox(
    place: Place, server: Dovecot, user: str, text: str = 'password_file = "imap-password"'
) -> None:
    secret = place.directory / "imap-password"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    mailbox = MAILBOX.format(port=server.port, ca=server.ca_file, user=user)
    place.config.write_text(place.config.read_text() + mailbox + text + "\n")


def changed(place: Place, old: str, new: str) -> None:
    text = place.config.read_text()
    assert old in text
    place.config.write_text(text.replace(old, new))


def findings(place: Place, *, expect: int) -> list[dict[str, Any]]:
    told: dict[str, Any] = json.loads(place.ingestd("doctor", "--json", expect=expect).stdout)
    assert told["healthy"] == (expect == 0)
    return list(told["findings"])


def of_mailbox(found: list[dict[str, Any]]) -> dict[str, str]:
    return {f["what"]: f["state"] for f in found if f["subject"] == "mailbox receipts"}


# --- doctor ------------------------------------------------------------------------------------------------


def test_a_doctor_finds_a_good_mailbox_well(place: Place, dovecot: Dovecot, user: str) -> None:
    with_mailbox(place, dovecot, user)
    done = place.ingestd("doctor")
    lines = done.stdout
    assert "  ! connection: " in lines and "have the certificate renewed" in lines, "it lives two days"
    for what in ("DNS", "login", "IDLE", "MOVE", "mailbox", "keywords", "quota", "clock"):
        assert f"  ✓ {what}: " in lines, (what, lines)
    assert "Ingestd/Uploaded is there" in lines
    assert "  ✓ text of mails: " in lines
    assert "✗" not in lines
    assert {"Ingestd/Uploaded", "Ingestd/Rejected"} <= set(dovecot.mailboxes(user))
    assert "Ingestd/Clock" not in dovecot.mailboxes(user)
    assert PASSWORD not in lines.replace("secrets", "")


def test_a_doctor_looks_at_everything_else_too(place: Place) -> None:
    place.ingestd("run", "--until-idle")
    found = findings(place, expect=0)
    seen = {(f["subject"], f["what"]) for f in found}
    assert {
        ("configuration", "keys"),
        ("target concur", "answer"),
        ("storage", "directory"),
        ("storage", "room"),
        ("folder inbox", "path"),
        ("limited processes", "start"),
        ("ledger", "books"),
    } <= seen


def test_a_doctor_names_what_does_not_work_and_goes_on(lonely: Place) -> None:
    lonely.inbox.rmdir()
    found = findings(lonely, expect=1)
    bad = {f["subject"] for f in found if f["state"] == "bad"}
    assert bad == {"target concur", "folder inbox"}
    assert any(f["subject"] == "ledger" for f in found)


@pytest.mark.parametrize(
    ("changes", "what", "words"),
    [
        ({"host": "nowhere.invalid"}, "DNS", "nowhere.invalid"),
        ({"port": 9}, "connection", "nothing listens"),
        ({"port": "plain"}, "connection", "TLS"),
        ({"ca_file": None}, "connection", "ca_file"),
        ({"password": Secret(environment="WRONG_PASSWORD")}, "login", "refuses the password"),
        ({"password": Secret(environment="NO_PASSWORD")}, "login", "NO_PASSWORD is not set"),
        ({"mailbox": "No/Such"}, "mailbox", "check mailbox"),
    ],
)
async def test_what_is_wrong_with_a_mailbox_is_the_last_that_is_said(
    dovecot: Dovecot,
    user: str,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    what: str,
    words: str,
) -> None:
    monkeypatch.setenv("GOOD_PASSWORD", PASSWORD)
    monkeypatch.setenv("WRONG_PASSWORD", "wrong-9f3c")
    known = {"password": Secret(environment="GOOD_PASSWORD")} | changes
    if known.get("port") == "plain":
        known["port"] = dovecot.plain_port
    found = await examine_mailbox(dovecot.settings(user, **known))
    assert (found[-1].what, found[-1].weight) == (what, "bad"), found
    assert words in found[-1].sentence
    assert all(finding.weight != "bad" for finding in found[:-1])
    assert not any("wrong-9f3c" in finding.sentence for finding in found)


def test_a_doctor_names_messages_that_another_ingestd_marked(
    place: Place, sandbox: SandboxProcess, dovecot: Dovecot, user: str
) -> None:
    with_mailbox(place, dovecot, user, 'password_file = "imap-password"\nafter = "flag"')
    dovecot.append(a_message(), user)
    place.ingestd("run", "--until-idle", expect=3)  # nothing proves its sender: held, and marked
    assert "marks" not in of_mailbox(findings(place, expect=0)), "its own"
    uids = [dovecot.append(a_message(number), user, flags="($Ingestd)") for number in (2, 3)]
    (told,) = [each for each in findings(place, expect=0) if each["what"] == "marks"]
    assert told["state"] == "warning"
    assert (
        f"2 message(s) bear the mark $Ingestd, but this ledger does not know them (UID {uids[0]}, {uids[1]})"
        in (told["says"])
    )
    assert "take the mark off" in told["fix"]


def test_a_doctor_tells_what_a_poor_server_lacks(place: Place, tmp_path: Path) -> None:
    with Dovecot(
        _directory(tmp_path), without=("IDLE", "MOVE", "UIDPLUS", "KEYWORDS"), quota_kilobytes=100
    ) as server:
        with_mailbox(place, server, "ann")
        server.fill([b"Subject: x\r\n\r\n" + b"x" * 95_000], "ann")
        found = findings(place, expect=0)
    states = of_mailbox(found)
    assert {what for what, state in states.items() if state == "warning"} >= {"IDLE", "MOVE", "keywords"}
    (quota,) = [f for f in found if f["what"] == "quota"]
    assert quota["state"] == "warning" and "are used" in quota["says"]


def _directory(tmp_path: Path) -> Path:
    path = tmp_path / "dovecot"
    path.mkdir()
    return path


# --- replay ------------------------------------------------------------------------------------------------

RAW = b"""\
From: Ann <ann@example.com>
To: receipts@example.com
Subject: Fwd: taxi
Message-ID: <taxi-1@mail.example.com>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain

Here it is.
--b
Content-Type: image/jpeg; name="taxi.jpg"
Content-Disposition: attachment; filename="taxi.jpg"
Content-Transfer-Encoding: base64

"""
TAXI = "taxi-1@mail.example.com"


def a_message(number: int = 1) -> bytes:
    return RAW + base64.encodebytes(samples.small_jpeg(number)) + b"--b--\n"


async def came_in(place: Place, raw: bytes) -> str:
    """As if the sender had not been on the list then: nothing came of it but a refusal. The arrival's ID."""
    settings = load_configuration(place.config)
    spooled = open_spool(settings).write(io.BytesIO(raw))
    now = process_clock()()
    where = MessagePlace(account="a", mailbox="INBOX", uidvalidity=1, uid=now % 1_000_000)
    mail = MessageOrigin(place=where, message_id=f"<{TAXI}>", raw_sha256=spooled.sha256)
    document = Document(
        path=spooled.path,
        filename="taxi.eml",
        size=spooled.size,
        sha256=spooled.sha256,
        declared_type=MESSAGE_TYPE,
    )
    new = NewArrival(
        id=new_id(now),
        origin=Origin(
            kind=OriginKind.MAIL, source="receipts", path="taxi", sender="ann@example.com", mail=mail
        ),
        receipts=(),
        ignored=(Refusal(filename="taxi", reason="ann@example.com may not send here."),),
        containers=(document,),
    )
    async with writing(settings) as ledger:
        await ledger.accept(new, now=now)
    return new.id


async def test_a_message_is_replayed_from_the_spool(
    place: Place, sandbox: SandboxProcess, dovecot: Dovecot, user: str
) -> None:
    with_mailbox(place, dovecot, user)
    await came_in(place, a_message())
    (receipt,) = json.loads(place.ingestd("replay", TAXI, "--json").stdout)["receipts"]
    assert (receipt["filename"], receipt["state"], receipt["repeat"]) == ("taxi.jpg", "received", False)
    repeat = place.ingestd("replay", f"<{TAXI}>").stdout
    assert "(a repeat: nothing is uploaded twice" in repeat and receipt["id"] in repeat
    place.ingestd("run", "--until-idle")
    content = hashlib.sha256(samples.small_jpeg(1)).hexdigest()
    assert [image["sha256"] for image in sandbox.images()] == [content]
    assert "image ID" in place.ingestd("replay", TAXI).stdout
    again = place.ingestd("replay", TAXI, "--again").stdout
    assert "a repeat" not in again and ": received" in again
    books = place.balance()
    assert books["closed"] and books["receipts"] == 2


async def test_a_message_that_can_not_be_replayed_says_why(
    lonely: Place, dovecot: Dovecot, user: str
) -> None:
    with_mailbox(lonely, dovecot, user)
    first = await came_in(lonely, a_message(1))
    told = lonely.ingestd("replay", "nobody@example.com", expect=2).stderr
    assert "no message with this Message-ID" in told and len(told.splitlines()) == 1
    await came_in(lonely, a_message(2))
    assert "several messages" in lonely.ingestd("replay", TAXI, expect=2).stderr
    assert "taxi.jpg" in lonely.ingestd("replay", first).stdout
    for blob in (lonely.directory / "data/spool").glob("[0-9a-f][0-9a-f]/*"):
        blob.unlink()
    assert "not kept any more, since about" in lonely.ingestd("replay", first, expect=1).stderr
    changed(lonely, 'name = "receipts"', 'name = "other"')
    assert "'receipts', which is not in [[mailboxes]]" in lonely.ingestd("replay", first, expect=2).stderr


async def test_who_is_still_a_stranger_is_held(lonely: Place, dovecot: Dovecot, user: str) -> None:
    with_mailbox(lonely, dovecot, user)
    changed(lonely, '["*@example.com"]', '["*@example.org"]')
    await came_in(lonely, a_message())
    assert ": held" in lonely.ingestd("replay", TAXI).stdout


# --- check -------------------------------------------------------------------------------------------------


def test_check_says_offline_what_is_missing_for_mail(lonely: Place, dovecot: Dovecot, user: str) -> None:
    with_mailbox(lonely, dovecot, user, "reply = true")
    lonely.config.write_text(
        lonely.config.read_text() + '[smtp]\nhost = "localhost"\nsender = "r@example.com"\nuser = "r"\n'
        'ca_file = "token"\ntemplates = "templates"\n'
    )
    changed(lonely, f'ca_file = "{dovecot.ca_file}"', 'ca_file = "none.pem"')
    told = lonely.ingestd("check", expect=2).stderr
    assert "mailboxes[1]: environment variable INGESTD_RECEIPTS_PASSWORD is not set" in told
    assert "smtp: environment variable INGESTD_SMTP_PASSWORD is not set" in told
    assert re.search(r"mailboxes\[1\]\.ca_file: .*none\.pem can't be read", told)
    assert re.search(r"smtp\.ca_file: .*token holds no certificate", told)
    assert "smtp.templates: " in told
    assert "Traceback" not in told


def test_check_online_asks_the_mailboxes(place: Place, dovecot: Dovecot, user: str) -> None:
    with_mailbox(place, dovecot, user)
    assert "The mailboxes can be used." in place.ingestd("check", "--online").stdout
    (place.directory / "imap-password").write_text("wrong-9f3c")
    told = place.ingestd("check", "--online", expect=2).stderr
    assert "mailbox receipts: login: " in told and "wrong-9f3c" not in told


# --- login -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def office(place: Place, server: Dovecot, user: str, login_url: str) -> AsyncIterator[OAuthServer]:
    """A mailbox that wants OAuth, and the server that gives its tokens."""
    async with oauth_server() as oauth:
        oauth.new_access_token = lambda: server.token(user)
        with_mailbox(
            place,
            server,
            user,
            '[mailboxes.oauth]\nclient_id = "client-of-the-tests"\nscope = "mail"\n'
            f'token_url = "{oauth.url}/token"\n{login_url.format(url=oauth.url)}',
        )
        yield oauth


async def ingestd(place: Place, *arguments: str, says: str = "", expect: int = 0) -> tuple[str, str]:
    process = await asyncio.create_subprocess_exec(
        *place.command(*arguments),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    stdout, stderr = await process.communicate(says.encode())
    assert process.returncode == expect, (stdout, stderr)
    return stdout.decode(), stderr.decode()


async def test_a_person_logs_in_with_a_code(lonely: Place, dovecot: Dovecot, user: str) -> None:
    async with office(lonely, dovecot, user, 'device_url = "{url}/device"') as oauth:
        _, told = await ingestd(lonely, "check", expect=2)
        assert "mailboxes[1].oauth: nobody has logged in yet; run: ingestd login receipts" in told
        told, _ = await ingestd(lonely, "login", "receipts")
        assert "https://login.example.com/device" in told and "WDJB-MJHT" in told and user in told
        assert f"It works: {user} is let in" in told
        assert not any(token in told for token in oauth.refresh_tokens)
        store = lonely.directory / "data/tokens/receipts.json"
        assert json.loads(store.read_text())["refresh_token"] in oauth.refresh_tokens
        await ingestd(lonely, "check")


async def test_a_person_logs_in_with_a_browser(lonely: Place, dovecot: Dovecot, user: str) -> None:
    async with office(lonely, dovecot, user, 'authorize_url = "{url}/authorize"') as oauth:
        process = await asyncio.create_subprocess_exec(
            *lonely.command("login", "receipts"),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None and process.stdin is not None
        told = ""
        while not (found := re.search(r"^http\S+/authorize\?\S+$", told, re.MULTILINE)):
            told += (await process.stdout.readline()).decode()
        query = dict(re.findall(r"(state|code_challenge)=([^&\s]+)", found[0]))
        code = oauth.grant_code(query["code_challenge"])
        process.stdin.write(f"http://127.0.0.1:1/?state={query['state']}&code={code}\n".encode())
        stdout, stderr = await process.communicate()
        assert process.returncode == 0, stderr
        assert "It works" in stdout.decode()


async def test_a_login_for_the_daemon_belongs_to_the_owner_of_the_storage(
    lonely: Place, dovecot: Dovecot, user: str
) -> None:
    data = lonely.directory / "data"
    data.mkdir()
    os.chown(data, 65534, 65533)
    async with office(lonely, dovecot, user, 'device_url = "{url}/device"'):
        await ingestd(lonely, "login", "receipts")
    for path in (data / "tokens", *(data / "tokens").iterdir()):
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65533), path


async def test_a_login_that_is_refused_says_why(lonely: Place, dovecot: Dovecot, user: str) -> None:
    async with office(lonely, dovecot, user, 'device_url = "{url}/device"') as oauth:
        oauth.device = ["access_denied"]
        _, told = await ingestd(lonely, "login", "receipts", expect=1)
        assert "said no" in told and len(told.splitlines()) == 1
        oauth.device = [""]
        oauth.new_access_token = lambda: dovecot.token("somebody-else")
        _, told = await ingestd(lonely, "login", "receipts", expect=1)
        assert f"the person who logged in must be {user}" in told


def test_a_mailbox_with_a_password_is_tried(lonely: Place, dovecot: Dovecot, user: str) -> None:
    with_mailbox(lonely, dovecot, user)
    done = lonely.ingestd("login", "receipts")
    assert "imap-password" in done.stdout and "It works" in done.stdout
    (lonely.directory / "imap-password").unlink()
    told = lonely.ingestd("login", "receipts", expect=2).stderr
    assert str(lonely.directory / "imap-password") in told and "password_file" in told


def test_a_mailbox_that_is_not_there(lonely: Place, dovecot: Dovecot, user: str) -> None:
    with_mailbox(lonely, dovecot, user)
    told = lonely.ingestd("login", "reciepts", expect=2).stderr
    assert "the mailboxes are: receipts" in told
    assert subprocess.run([*PROGRAM, "login"], cwd=ROOT, capture_output=True, check=False).returncode == 2
