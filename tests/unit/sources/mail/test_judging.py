import pytest

from ingestd.domain.mail import Letter, Person
from ingestd.settings import MailboxSettings
from ingestd.sources.mail.authenticity import UNASKED, Proof
from ingestd.sources.mail.judging import Doorkeeper, Verdict, facts_of, sender_of

PROVED = Proof(True, "mx.example.com says that DMARC passed for example.com.")
FORGED = Proof(False, "Nothing proves that it comes from example.com.")
ANN = Person(name="Ann", addresses=("ann@example.org",), account="ann", delegates=("assistant@example.net",))
BOB = Person(name="Bob", addresses=("bob@example.org",), account="bob", delegates=("assistant@example.net",))
KELVIN = "\N{KELVIN SIGN}"


def settings(**more: object) -> MailboxSettings:
    values: dict[str, object] = {
        "name": "receipts",
        "host": "localhost",
        "user": "Receipts@example.com",
        "addresses": ("bills@example.com",),
        "allow": ("*@example.com",),
    }
    return MailboxSettings(**(values | more))  # type: ignore[arg-type] # each test names real settings


def keeper(**more: object) -> Doorkeeper:
    return Doorkeeper(settings(**more), [ANN, BOB], own=["noise@example.com", "ingestd@example.com"])


def letter(*senders: str, **more: object) -> Letter:
    return Letter(senders=senders, **more)  # type: ignore[arg-type] # each test names real fields


def judged(sender: str, proof: Proof = PROVED, **more: object) -> Verdict:
    return keeper().judge(letter(sender, **more), proof)


# --- who gets in


def test_a_listed_and_proved_sender_is_admitted() -> None:
    assert judged("guest@example.com") == Verdict(admitted=True, answer_to="guest@example.com")


def test_a_person_is_admitted_without_being_in_allow_and_uploads_with_their_account() -> None:
    verdict = judged("Ann@example.org")
    assert (verdict.admitted, verdict.person, verdict.account) == (True, "Ann", "ann")
    assert verdict.hold is None


@pytest.mark.parametrize(
    "sender",
    [
        "eve@evil.example",
        "ann@mail.example.com",
        "ann@example.com.evil.example",
        "ann@notexample.com",
        "ann+x@example.org",
        f"ann@example.{KELVIN}om",
    ],
)
def test_a_stranger_is_held_and_the_reason_says_how_to_let_them_in(sender: str) -> None:
    verdict = judged(sender, UNASKED)
    assert not verdict.admitted
    assert verdict.answer_to is None
    assert verdict.hold is not None
    assert "ingestd retry ID" in verdict.hold
    assert "ingestd drop ID" in verdict.hold
    if sender.isascii():
        assert f"Add {sender} to allow of the mailbox receipts" in verdict.hold


def test_strangers_are_rejected_where_that_is_set() -> None:
    verdict = keeper(strangers="reject").judge(letter("eve@evil.example"), UNASKED)
    assert verdict.hold is None
    assert verdict.reject is not None
    assert verdict.reject.startswith("eve@evil.example may not send here.")
    assert "ingestd retry" not in verdict.reject


@pytest.mark.parametrize(
    "senders",
    [
        (),
        ("ann@example.com", "eve@evil.example"),
        ("ann@example.com", "bob@example.com"),
        ("ann@example.com", "ann@example.com"),
        ("boss@example.com <eve@evil.example>",),
        ("<ann@example.com>",),
        ("eve@evil.example ann@example.com",),
        ("eve@evil.example,ann@example.com",),
        ("eve@evil.example\x00@example.com",),
        ("eve@evil.example\n@example.com",),
        ('"eve@evil.example"@example.com',),
        ("@evil.example:ann@example.com",),
        ("ann@[192.0.2.1]",),
        ("ann",),
        ("",),
    ],
)
def test_whoever_has_not_exactly_one_plain_from_address_stays_out(senders: tuple[str, ...]) -> None:
    everybody = keeper(allow=("*",))
    assert not everybody.knows(letter(*senders))
    verdict = everybody.judge(letter(*senders), PROVED)
    assert not verdict.admitted
    assert verdict.answer_to is None
    assert verdict.hold is not None
    assert "Forward the receipt as a new message." in verdict.hold


def test_a_listed_sender_who_is_not_proved_is_held_and_never_answered() -> None:
    verdict = judged("ann@example.org", FORGED)
    assert not verdict.admitted
    assert verdict.answer_to is None
    assert verdict.hold is not None
    assert FORGED.sentence in verdict.hold
    assert (verdict.person, verdict.account) == ("Ann", "ann")


def test_an_unproved_sender_is_rejected_where_strangers_are() -> None:
    verdict = keeper(strangers="reject").judge(letter("ann@example.org"), FORGED)
    assert verdict == Verdict(
        admitted=False,
        reject=f"ann@example.org may send here, but may be forged. {FORGED.sentence}",
        person="Ann",
        account="ann",
    )


def test_only_senders_on_the_list_are_worth_a_proof() -> None:
    assert keeper().knows(letter("guest@example.com"))
    assert keeper().knows(letter("assistant@example.net"))
    assert not keeper().knows(letter("eve@evil.example"))


def test_an_empty_list_lets_in_people_only() -> None:
    assert not keeper(allow=()).judge(letter("guest@example.com"), PROVED).admitted
    assert keeper(allow=()).judge(letter("ann@example.org"), PROVED).admitted


def test_an_answer_that_was_sent_back_to_us_is_kept_out() -> None:
    verdict = judged("ingestd@example.com", unanswerable="It is automatic (Auto-Submitted).")
    assert not verdict.admitted
    assert verdict.hold is not None
    assert "sent back" in verdict.hold
    assert judged("ingestd@example.com").admitted


# --- for whom


def test_a_delegate_uploads_with_the_account_of_the_person_in_the_subject() -> None:
    verdict = judged("assistant@example.net", subject="Fwd: bob@example.org")
    assert (verdict.admitted, verdict.hold) == (True, None)
    assert (verdict.person, verdict.account) == ("Bob", "bob")
    assert verdict.answer_to == "assistant@example.net"


def test_a_delegate_of_several_who_names_nobody_is_held_and_told() -> None:
    verdict = judged("assistant@example.net", subject="Taxi")
    assert verdict.admitted
    assert verdict.hold is not None
    assert "ann@example.org or bob@example.org" in verdict.hold
    assert (verdict.person, verdict.account) == (None, None)
    assert verdict.answer_to == "assistant@example.net"


def test_a_forged_delegate_gets_nothing_by_naming_a_person() -> None:
    verdict = judged("assistant@example.net", FORGED, subject="bob@example.org")
    assert not verdict.admitted
    assert verdict.hold is not None


def test_a_guest_does_not_send_for_a_person() -> None:
    verdict = judged("guest@example.com", subject="ann@example.org")
    assert verdict.hold is not None
    assert verdict.account is None


# --- who is answered


@pytest.mark.parametrize(
    "fields",
    [
        {"unanswerable": "It is a mailing list (List-Id)."},
        {"return_path": ""},
        {"trace": 51},
    ],
)
def test_what_may_not_be_answered_is_admitted_without_an_answer(
    fields: dict[str, object],
) -> None:
    verdict = keeper().judge(letter("guest@example.com", **fields), PROVED)
    assert verdict.admitted
    assert verdict.answer_to is None


def test_an_unknown_return_path_and_fifty_hops_may_be_answered() -> None:
    assert judged("guest@example.com", return_path=None, trace=50).answer_to == "guest@example.com"
    assert judged("guest@example.com", return_path="b@bounce.example").answer_to == "guest@example.com"


@pytest.mark.parametrize(
    "sender",
    [
        "receipts@example.com",
        "RECEIPTS+A1@example.com",
        "bills@example.com",
        "ingestd@example.com",
        "ingestd+x@example.com",
        "mailer-daemon@example.com",
        "MAILER-DAEMON@example.com",
        "postmaster@example.com",
        "noreply@example.com",
        "no-reply@example.com",
        "no_reply+12@example.com",
        "do-not-reply@example.com",
        "donotreply@example.com",
        "invoices-noreply@example.com",
        "bounces+ann=example.org@example.com",
    ],
)
def test_ourselves_and_addresses_that_nobody_reads_are_never_answered(sender: str) -> None:
    verdict = judged(sender)
    assert verdict.admitted
    assert verdict.answer_to is None


def test_a_name_that_only_begins_alike_is_answered() -> None:
    for sender in ("noreplyson@example.com", "bouncer@example.com", "postmasters@example.com"):
        assert judged(sender).answer_to == sender


@pytest.mark.parametrize(
    ("reply_to", "answered"),
    [
        (("desk@example.com",), "desk@example.com"),
        (("Desk@EXAMPLE.com",), "desk@example.com"),
        (("victim@other.example",), "guest@example.com"),
        (("desk@mail.example.com",), "guest@example.com"),
        (("desk@example.com", "victim@other.example"), "guest@example.com"),
        (("desk@example.com <victim@other.example>",), "guest@example.com"),
        (("noreply@example.com",), None),
        (("receipts@example.com",), None),
    ],
)
def test_reply_to_counts_within_the_senders_domain_only(
    reply_to: tuple[str, ...], answered: str | None
) -> None:
    assert judged("guest@example.com", reply_to=reply_to).answer_to == answered


# --- routing


def test_the_address_for_routing_is_the_first_that_is_ours_with_its_tag_as_written() -> None:
    recipients = ("team@example.com", "Receipts+A1bC@example.com", "bills@example.com")
    facts = facts_of(letter("Ann@example.org", recipients=recipients, subject="Hotel"), settings())
    assert facts == {"from": "ann@example.org", "address": "Receipts+A1bC@example.com", "subject": "Hotel"}


def test_without_an_address_of_ours_it_is_the_first_recipient() -> None:
    assert (
        facts_of(letter("a@b.example", recipients=("x@y.example", "z@y.example")), settings())["address"]
        == "x@y.example"
    )
    assert facts_of(letter("a@b.example"), settings())["address"] == ""


def test_two_senders_are_nobody_for_routing() -> None:
    two = letter("ann@example.org", "eve@evil.example")
    assert sender_of(two) is None
    assert facts_of(two, settings())["from"] == ""


def test_a_login_that_is_no_address_is_no_address_of_ours() -> None:
    facts = facts_of(
        letter("a@b.example", recipients=("x@y.example", "bills@example.com")), settings(user="receipts")
    )
    assert facts["address"] == "bills@example.com"
