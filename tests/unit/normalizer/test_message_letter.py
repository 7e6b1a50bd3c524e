from email.headerregistry import Address

import pytest

from ingestd.domain.mail import Letter, Signature
from ingestd.interfaces import Answer, Mailed
from ingestd.normalizer.exchange_mail import MOST_REFERENCES, MOST_RESULTS, MOST_SIGNATURES, Automatic
from ingestd.normalizer.message_headers import read_header
from ingestd.normalizer.message_letter import automatic, letter_of
from ingestd.replies.composing import compose
from ingestd.replies.wording import Wording
from ingestd.sources.mail.authentication_results import believed
from tests.mail import samples
from tests.unit.replies import cases


def letter(raw: bytes) -> Letter:
    return letter_of(read_header(raw, 0, len(raw))[0])


def why(raw: bytes) -> Automatic | None:
    header, _ = read_header(raw, 0, len(raw))
    return automatic(header, letter_of(header))


def test_a_usual_header_is_understood() -> None:
    raw = samples.fields(
        subject="=?utf-8?q?Hotel_=E2=82=AC?=",
        cc="Bob <bob@Example.org>, receipts@example.net",
        delivered_to="receipts+rpt-A1@example.net",
        reply_to="ann.private@example.org",
        references="<one@x> <two@x>\r\n <three@x>",
        in_reply_to="<three@x>",
        dkim_signature="v=1; a=rsa-sha256; d=Example.COM; s=sel; h=from; b=a b",
        authentication_results="mx.example.net;\r\n dmarc=pass",
    )
    assert letter(raw) == Letter(
        senders=("ann@example.com",),
        reply_to=("ann.private@example.org",),
        recipients=("receipts@example.net", "bob@example.org", "receipts+rpt-A1@example.net"),
        subject="Hotel €",
        message_id="<hotel-1@mail.example.com>",
        references=("<one@x>", "<two@x>", "<three@x>"),
        return_path="ann@example.com",
        authentication=("mx.example.net; dmarc=pass",),
        signatures=(Signature(domain="example.com", selector="sel"),),
        trace=1,
    )


def test_nothing_at_all_is_a_letter_too() -> None:
    assert letter(b"") == Letter()


def test_all_addresses_of_all_from_fields_are_senders() -> None:
    raw = b"From: a@x.y\r\nfrom : b@x.y\r\nFROM:c@x.y, d@x.y\r\n\r\n"
    assert letter(raw).senders == ("a@x.y", "b@x.y", "c@x.y", "d@x.y")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), ("<>", ""), ("<ann@x.y>", "ann@x.y"), ("ann@x.y", "ann@x.y"), ("<a", None)],
)
def test_the_return_path_is_an_address_or_empty_or_unknown(value: str | None, expected: str | None) -> None:
    found = letter(samples.fields(return_path=value)).return_path
    assert found == expected if value != "<a" else found in ("", None)


def test_only_the_topmost_results_count_and_there_is_a_limit() -> None:
    raw = b"".join(b"Authentication-Results: mx%d; none\r\n" % n for n in range(30))
    assert letter(raw).authentication == tuple(f"mx{n}; none" for n in range(MOST_RESULTS))


@pytest.mark.parametrize("filling", ["; dkim=pass header.d=eve.example.net" * 230, " " * 32_000])
def test_results_too_long_to_be_given_whole_are_not_given_at_all(filling: str) -> None:
    # Cut off, example.com.eve.example.net would be example.com, and what contradicts it would be gone.
    field = f"mx{filling}; dkim=pass header.d=example.com.eve.example.net; dmarc=fail"
    raw = f"Authentication-Results: {field}\r\nAuthentication-Results: mx2; none\r\n".encode()
    assert letter(raw).authentication == ("", "mx2; none")
    assert believed(letter(raw).authentication, ["mx", "mx2"]) == ()


def test_signatures_are_bounded_and_those_without_a_domain_are_none() -> None:
    raw = b"DKIM-Signature: d=; s=x\r\nDKIM-Signature: d=a b.example; s=../x\r\n"
    assert letter(raw).signatures == ()
    raw = b"".join(b"DKIM-Signature: d=a.example; s=s%d\r\n" % n for n in range(30))
    assert len(letter(raw).signatures) == MOST_SIGNATURES


def test_references_keep_the_first_and_the_last_ones() -> None:
    raw = b"References: " + b"junk ".join(b"<%d@x>" % n for n in range(100)) + b" <no blank@x>\r\n"
    found = letter(raw).references
    assert (found[0], found[1], found[-1], len(found)) == ("<0@x>", "<81@x>", "<99@x>", MOST_REFERENCES)


def test_an_id_that_is_none_is_left_out() -> None:
    for broken in ("nothing", "<a b@x>", "<@>", "<a@b", "<" + "a" * 300 + "@x>"):
        assert letter(samples.fields(message_id=broken)).message_id == ""


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("Auto-Submitted: auto-replied", Automatic.AUTO_SUBMITTED),
        ("Auto-Submitted: auto-generated; type=x", Automatic.AUTO_SUBMITTED),
        ("Auto-Submitted: No", None),
        ("Auto-Submitted: no\r\nAuto-Submitted: auto-replied", Automatic.AUTO_SUBMITTED),
        ("List-Id: <l.example.com>", Automatic.LIST),
        ("List-Unsubscribe: <mailto:x@y.z>", Automatic.LIST),
        ("Precedence: Bulk", Automatic.BULK),
        ("Precedence: junk", Automatic.BULK),
        ("Precedence: list", Automatic.BULK),
        ("Precedence: first-class", None),
        ("Content-Type: multipart/report; report-type=delivery-status", Automatic.REPORT),
        ("X-Auto-Response-Suppress: DR, OOF", Automatic.SUPPRESSED),
        ("X-Auto-Response-Suppress: All", Automatic.SUPPRESSED),
        ("X-Auto-Response-Suppress: DR, RN", None),
        ("X-Autoreply: yes", Automatic.AUTO_REPLY),
        ("X-Autorespond: Re: Hotel", Automatic.AUTO_REPLY),
        ("X-Mailer: vacation 1.2", Automatic.AUTO_REPLY),
        ("X-Mailer: Thunderbird", None),
    ],
)
def test_nobody_answers_what_no_person_wrote(field: str, expected: Automatic | None) -> None:
    assert why(samples.fields() + field.encode() + b"\r\n\r\n") is expected


def test_bounces_are_not_answered() -> None:
    assert why(samples.fields(return_path="<>")) is Automatic.NO_RETURN_PATH
    assert why(samples.fields(**{"from": "MAILER-DAEMON@x.y"})) is Automatic.REPORT
    assert why(samples.a_bounce()) is Automatic.REPORT
    assert why(samples.fields(return_path=None)) is None


OWN_ADDRESS = Address("ingestd", "receipts", "example.com")
OWN_ANSWERS = (cases.one_good, cases.a_mixed_bag, cases.only_its_text, cases.nothing_found, cases.too_many)


@pytest.mark.parametrize("mailed", [make() for make in OWN_ANSWERS])
def test_our_own_answers_are_never_answered(mailed: Mailed) -> None:
    answer = Answer(mailed=mailed, to="ann@example.com")
    raw = compose(answer, sender=OWN_ADDRESS, words=Wording.load(), at=cases.NOW).as_bytes()
    assert why(raw) is Automatic.AUTO_SUBMITTED
    assert letter(raw).senders == ("receipts@example.com",)
    # One sign is enough: servers on the way take some fields away.
    without = b"\r\n".join(line for line in raw.split(b"\r\n") if not line.startswith(b"Auto-Submitted:"))
    assert why(without) is Automatic.SUPPRESSED
