"""Forwarded to the inbox: a real mailbox, a real daemon, the sandbox, and the answers that come back."""

import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from ingestd import samples
from tests.acceptance.letterbox import Keeper, Letterbox, letter, smtp_server
from tests.acceptance.place import Place, SandboxProcess, wait_until
from tests.mail.conftest import dovecot, user
from tests.mail.dovecot import Dovecot

__all__ = ["dovecot", "user"]


@pytest.fixture
def smtp() -> Iterator[tuple[int, Keeper]]:
    with smtp_server() as running:
        yield running


@pytest.fixture
def letterbox(place: Place, dovecot: Dovecot, user: str, smtp: tuple[int, Keeper]) -> Letterbox:
    return Letterbox(place, dovecot, user, smtp[0])


def test_a_forwarded_receipt_is_uploaded_filed_and_answered_while_the_mailbox_idles(
    place: Place, sandbox: SandboxProcess, letterbox: Letterbox, smtp: tuple[int, Keeper]
) -> None:
    _, keeper = smtp
    with place.daemon():
        wait_until(
            lambda: "Ingestd/Uploaded" in letterbox.dovecot.mailboxes(letterbox.user), "it idles", place.log
        )
        time.sleep(1)
        started = time.monotonic()
        raw = letter(("taxi.pdf", samples.pdf(7)), subject="Fwd: taxi [report R-7]")
        letterbox.receive(raw)
        wait_until(lambda: bool(sandbox.images()), "the sandbox holds it", place.log)
        uploaded_s = time.monotonic() - started
        wait_until(lambda: bool(keeper.kept), "an answer comes", place.log)
        print(f"delivered to uploaded {uploaded_s:.2f} s, to answered {time.monotonic() - started:.2f} s")
        wait_until(lambda: len(letterbox.filed("Uploaded")) == 1, "it is filed", place.log)
    (image,) = sandbox.images()
    assert image["place"] == "report/R-7"
    assert sandbox.content(image) == samples.pdf(7)
    assert letterbox.inbox() == []
    ((envelope_from, envelope_to, answer),) = keeper.kept
    (receipt,) = place.receipts()
    assert (envelope_from, envelope_to) == ("<>", ["ann@example.com"])
    assert answer["Subject"] == "Re: Fwd: taxi [report R-7]"
    assert answer["Auto-Submitted"] == "auto-replied"
    assert str(answer["In-Reply-To"]) in raw.decode("ascii", "replace")
    assert receipt["image_id"] in keeper.text()
    assert "taxi.pdf" in keeper.text()
    assert place.balance()["closed"]
    shown = place.ingestd("show", receipt["id"]).stdout
    assert "ann@example.com" in shown
    assert "Ingestd/Uploaded" in shown


def test_the_text_of_a_mail_without_attachments_becomes_the_receipt(
    place: Place, sandbox: SandboxProcess, letterbox: Letterbox, smtp: tuple[int, Keeper]
) -> None:
    letterbox.receive(
        letter(subject="Your booking", html="<h1>Hotel du Lac</h1><p>Paid: <b>142.50 EUR</b></p>")
    )
    place.ingestd("run", "--until-idle")
    (image,) = sandbox.images()
    told = subprocess.run(
        ["pdftotext", "-", "-"], input=sandbox.content(image), capture_output=True, check=True
    ).stdout.decode()
    assert "Hotel du Lac" in told
    assert "142.50 EUR" in told
    assert "Your booking" in told
    assert len(letterbox.filed("Uploaded")) == 1
    assert "uploaded" in smtp[1].text().lower()


def test_attachments_for_one_entry_become_one_receipt_in_mail_order(
    place: Place, sandbox: SandboxProcess, letterbox: Letterbox
) -> None:
    letterbox.receive(
        letter(("b.pdf", samples.pdf(1)), ("a.pdf", samples.pdf(2, pages=2)), to="receipts+E42@example.com")
    )
    place.ingestd("run", "--until-idle")
    (image,) = sandbox.images()
    assert (image["place"], place.receipts()[0]["documents"]) == ("expenseentry/E42", 2)


def test_a_stranger_s_mail_is_held_and_not_answered_until_a_person_releases_it(
    place: Place, sandbox: SandboxProcess, letterbox: Letterbox, smtp: tuple[int, Keeper]
) -> None:
    stranger = "Mallory <mallory@elsewhere.example>"
    letterbox.receive(
        letter(("taxi.pdf", samples.pdf(1)), sender=stranger), sender="mallory@elsewhere.example"
    )
    place.ingestd("run", "--until-idle", expect=3)
    (receipt,) = place.receipts()
    assert receipt["state"] == "held"
    assert "mallory@elsewhere.example" in receipt["reason"]
    assert (sandbox.images(), smtp[1].kept) == ([], [])
    assert len(letterbox.filed("Rejected")) == 1

    place.ingestd("retry", receipt["id"])
    place.ingestd("run", "--until-idle")
    assert len(sandbox.images()) == 1
    assert (len(letterbox.filed("Uploaded")), letterbox.filed("Rejected")) == (1, [])
    assert smtp[1].kept == []


def test_the_sender_is_told_what_is_wrong_with_each_attachment(
    place: Place, sandbox: SandboxProcess, letterbox: Letterbox, smtp: tuple[int, Keeper]
) -> None:
    locked = samples.encrypted_pdf(password="unknown")
    letterbox.receive(
        letter(("good.pdf", samples.pdf(1)), ("bank.pdf", locked), ("list.xyz", b"\x01\x02" * 50))
    )
    place.ingestd("run", "--until-idle", expect=3)
    assert Counter(r["state"] for r in place.receipts()) == {"uploaded": 1, "rejected": 2}
    assert len(sandbox.images()) == 1
    assert len(letterbox.filed("Rejected")) == 1
    told = smtp[1].text()
    for word in ("good.pdf", "bank.pdf", "list.xyz", "password", sandbox.images()[0]["image_id"]):
        assert word in told
    assert len(smtp[1].kept) == 1


def test_a_message_put_back_into_the_inbox_is_noticed_and_not_uploaded_again(
    place: Place, sandbox: SandboxProcess, letterbox: Letterbox
) -> None:
    raw = letter(("taxi.pdf", samples.pdf(1)))
    letterbox.receive(raw)
    place.ingestd("run", "--until-idle")
    letterbox.dovecot.append(raw, letterbox.user)
    letterbox.dovecot.change_uidvalidity(letterbox.user)
    place.ingestd("run", "--until-idle")
    assert len(sandbox.images()) == 1
    assert len(letterbox.filed("Uploaded")) == 2
    books = place.balance()
    assert (books["closed"], books["states"]["uploaded"] if "states" in books else books["uploaded"]) == (
        True,
        1,
    )


def test_a_run_whose_mail_server_is_down_says_so_and_leaves_nothing_undone_elsewhere(
    place: Place, sandbox: SandboxProcess, letterbox: Letterbox
) -> None:
    text = place.config.read_text()
    place.config.write_text(text.replace(f"port = {letterbox.dovecot.port}", "port = 9"))
    place.drop("taxi.pdf", samples.pdf(3))
    done = place.ingestd("run", "--until-idle", "--wait", "3s", expect=1)
    assert "receipts" in done.stderr
    assert len(sandbox.images()) == 1


@pytest.mark.timeout(300)
def test_a_daemon_killed_while_mail_comes_in_loses_none_and_uploads_none_twice(
    place: Place, sandbox: SandboxProcess, letterbox: Letterbox
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(20):
        letterbox.receive(letter((f"r{number}.pdf", samples.small_pdf(number)), subject=f"receipt {number}"))
    for _ in range(5):
        with place.daemon() as process:
            time.sleep(chance.random() * 1.2)
            process.kill()
    place.ingestd("run", "--until-idle", expect=None)
    receipts = place.receipts()
    assert len(receipts) == 20, "one receipt for each message"
    stored = Counter(samples_number(sandbox.content(image)) for image in sandbox.images())
    unconfirmed = [r for r in receipts if r["state"] == "unconfirmed"]
    assert max(stored.values()) == 1
    assert {r["state"] for r in receipts} <= {"uploaded", "unconfirmed"}
    assert len(stored) >= 20 - len(unconfirmed)
    assert place.balance()["closed"]
    assert letterbox.inbox() == []


def samples_number(content: bytes) -> int:
    """Which of the small PDFs this is."""
    return next(number for number in range(20) if samples.small_pdf(number) == content)


def test_check_online_names_the_mailbox_and_finds_nothing_wrong(place: Place, letterbox: Letterbox) -> None:
    done = place.ingestd("check", "--online", expect=None)
    print(done.stdout, done.stderr)
    assert "receipts" in done.stdout + done.stderr
