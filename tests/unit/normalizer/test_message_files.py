"""The messages in tests/mail/eml, as mail programs write them."""

from pathlib import Path

import pytest

from ingestd import samples as documents
from ingestd.normalizer.exchange_mail import Automatic, Excuse
from ingestd.normalizer.message_text import texts_of
from tests.mail import samples
from tests.unit.normalizer.opening import opened

FILES = Path(samples.__file__).with_name("eml")
PDF = documents.small_pdf(1)


def both(name: str) -> list[bytes]:
    """With line feeds, as the file has them, and as it comes over the wire."""
    raw = (FILES / name).read_bytes()
    return [raw, raw.replace(b"\n", b"\r\n")]


@pytest.mark.parametrize(
    ("name", "document", "excuses"),
    [
        ("iphone.eml", "Facture Hôtel.pdf", {}),
        ("outlook-reply.eml", "Rechnung 4711.pdf", {"image001.png": Excuse.LOGO}),
        ("thunderbird-eml.eml", "parking.pdf", {}),
        ("old-scanner.eml", "Quittung München.pdf", {}),
        ("gmail-forward-pdf.eml", "Invoice 4711.pdf", {}),
        ("scanner-app.eml", "attachment 1.pdf", {}),
        ("uuencoded-scan.eml", "scan0001.pdf", {}),
        ("smime-signed.eml", "Hotel.pdf", {"smime.p7s": Excuse.SIGNATURE}),
    ],
)
def test_the_receipt_in_it_is_found(name: str, document: str, excuses: dict[str, Excuse]) -> None:
    for raw in both(name):
        found = opened(raw)
        assert [(leaf.name, content) for leaf, content in found.leaves] == [(document, PDF)]
        assert found.excuses == excuses
        assert found.opened.automatic is None


def test_a_photo_in_the_text_and_a_pdf_behind_it_are_two_receipts() -> None:
    for raw in both("apple-mail-photo.eml"):
        assert [(leaf.name, leaf.inline) for leaf, _ in opened(raw).leaves] == [
            ("IMG_4711.jpeg", True),
            ("Bill.pdf", True),
        ]


def test_a_booking_is_its_text_with_the_picture_in_it() -> None:
    for raw in both("outlook-booking.eml"):
        found = opened(raw)
        assert [(leaf.name, leaf.whole) for leaf, _ in found.leaves] == [
            ("FW: Booking confirmation 4711.eml", True)
        ]
        assert found.excuses == {"image001.png": Excuse.LOGO, "image002.jpg": Excuse.ILLUSTRATION}
        assert set(texts_of(raw).images) == {"image001.png@01DB0001", "image002.jpg@01DB0001"}


def test_a_photo_of_a_receipt_is_no_illustration_of_the_note_around_it() -> None:
    for raw in both("outlook-photo.eml"):
        found = opened(raw)
        assert [(leaf.name, leaf.text) for leaf, _ in found.leaves] == [("image003.jpg", False)]
        assert found.excuses == {"image001.jpg": Excuse.LOGO, "image002.png": Excuse.LOGO}


@pytest.mark.parametrize(
    ("name", "excuse"),
    [
        ("smime-opaque.eml", Excuse.SIGNED),
        ("smime-encrypted.eml", Excuse.ENCRYPTED),
        ("pgp-encrypted.eml", Excuse.ENCRYPTED),
    ],
)
def test_what_can_not_be_read_says_so_and_is_no_receipt(name: str, excuse: Excuse) -> None:
    for raw in both(name):
        found = opened(raw)
        assert (found.leaves, list(found.excuses.values())) == ((), [excuse])


def test_a_ride_is_a_receipt_by_its_text() -> None:
    for raw in both("gmail-ride.eml"):
        (leaf,) = opened(raw).opened.leaves
        assert (leaf.name, leaf.whole) == ("Fwd: Your Thursday morning trip.eml", True)
        text = texts_of(raw)
        assert text.html is not None and "€23.80" in text.html


def test_an_automatic_reply_is_never_answered() -> None:
    for raw in both("out-of-office.eml"):
        assert opened(raw).opened.automatic is Automatic.AUTO_SUBMITTED


def test_every_file_is_told_of() -> None:
    told = (FILES / "README").read_text()
    assert all(path.name in told for path in FILES.glob("*.eml"))
