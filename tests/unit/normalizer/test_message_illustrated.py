"""HTML with one large picture in it: the text is the receipt, or the picture is."""

import time

import pytest

from ingestd.domain.mail import MESSAGE_TYPE
from ingestd.normalizer.exchange_mail import Excuse
from ingestd.normalizer.letter_pictures import _FORMATS
from ingestd.normalizer.message_text import SHOWN_TYPES
from ingestd.normalizer.message_total import LEAST_SIGNS, names_a_total
from tests.mail import samples
from tests.mail.samples import attached, drawing, forwarded, html, message, picture, several, shown, text
from tests.unit.normalizer.opening import opened

PHOTO = picture(900, 1_200, "JPEG")
TERMS = "The room is yours from three in the afternoon, and breakfast is served until ten every morning. " * 4
SIGNATURE = "Best regards, Ann Example, Example Ltd, 12 High Street, London, +44 20 7946 0000. " * 2
DISCLAIMER = "This message is confidential. If it is not meant for you, delete it and tell its sender. " * 8


def mail(words: str, *pictures: bytes, **changes: str | None) -> bytes:
    places = "".join(f'<p><img src="cid:p{n}@x"></p>' for n in range(len(pictures)))
    parts = [shown(one, f"p{n}@x", f"image{n}.png") for n, one in enumerate(pictures)]
    return message(several(html(f"{places}<p>{words}</p>"), *parts, kind="related"), **changes)


@pytest.mark.parametrize(
    "words",
    [
        samples.HOTEL,
        TERMS + "<table><tr><td>Total</td><td>&euro;&nbsp;342.00</td></tr></table>",
        TERMS + "<td>Gesamtbetrag</td><td>1.342,00 €</td>",
        TERMS + "Montant total TTC : 89,90 €",
        TERMS + "Importe total: 1 200,00 EUR",
        TERMS + "You paid <b>$1,204.50</b> with your card",
        TERMS + "CHF 120.- total",
        TERMS + "Razem: 129,99 zł",
        TERMS + "お支払い合計 12,400円",
        TERMS + "Итого: 5 400 руб.",
    ],
)
def test_a_long_text_that_names_a_total_is_the_receipt_and_its_pictures_are_shown_in_it(words: str) -> None:
    found = opened(mail(words, picture(1_200, 800), picture(640, 480)))
    ((leaf, _),) = found.leaves
    assert (leaf.text, leaf.declared_type) == (True, MESSAGE_TYPE)
    assert found.excuses == {"image0.png": Excuse.ILLUSTRATION, "image1.png": Excuse.ILLUSTRATION}


@pytest.mark.parametrize(
    "words",
    [
        "",
        "Lunch with Bob, total 23.50 EUR. Sent from my phone",
        "Lunch with Bob, total 23.50 EUR." + SIGNATURE,
        "Receipt attached." + SIGNATURE + DISCLAIMER,
        "The taxi to the fair, booking 4711, on 2 July 2026 at 10.30" + DISCLAIMER,
        "In total there were 14 of us." + DISCLAIMER,
        "Our share capital is EUR 50,000." + DISCLAIMER,
    ],
)
def test_a_photo_with_a_note_or_a_disclaimer_is_the_receipt(words: str) -> None:
    found = opened(mail(words, PHOTO))
    assert [(leaf.name, leaf.inline, leaf.text) for leaf, _ in found.leaves] == [("image0.png", True, False)]
    assert found.leaves[0][1] == PHOTO


def test_whatever_is_attached_is_the_receipt_and_the_pictures_in_the_text_stay_leaves_beside_it() -> None:
    page = several(html(f'{samples.HOTEL}<img src="cid:a">'), shown(PHOTO, "a", "a.png"), kind="related")
    attached_photo = attached(PHOTO, "bill.jpg", declared="image/jpeg")
    assert opened(message(several(page, attached_photo))).names == ["a.png", "bill.jpg"]


@pytest.mark.parametrize(
    "part",
    [
        attached(PHOTO, "a.jpg", declared="image/jpeg", cid="a"),  # as a file
        attached(PHOTO, "a.jpg", declared="image/jpeg", disposition="inline"),  # nothing shows it
        shown(PHOTO, "b", "a.jpg"),  # the text shows another one
        shown(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500), "a", "a.heic"),  # no PDF would show it
    ],
)
def test_a_picture_that_the_pdf_of_the_text_would_not_show_is_never_left_to_it(part: bytes) -> None:
    found = opened(message(several(html(f'{samples.HOTEL}<img src="cid:a">'), part)))
    assert [leaf.text for leaf, _ in found.leaves] == [False]
    with_plain_text = message(several(text(samples.HOTEL), shown(PHOTO, "a", "a.png"), kind="related"))
    assert [leaf.text for leaf, _ in opened(with_plain_text).leaves] == [False]


def test_a_forwarded_confirmation_is_judged_by_itself() -> None:
    inner = mail(samples.HOTEL, picture(1_200, 800), subject="Your stay")
    found = opened(message(several(text("fyi"), forwarded(inner), attached(PHOTO, "taxi.jpg"))))
    assert [(leaf.name, leaf.text) for leaf, _ in found.leaves] == [
        ("Your stay.eml", True),
        ("taxi.jpg", False),
    ]
    assert [content for _, content in found.leaves] == [inner, PHOTO]


def test_an_automatic_reply_with_a_picture_is_no_receipt_by_its_text() -> None:
    found = opened(mail(samples.HOTEL, PHOTO, auto_submitted="auto-replied"))
    assert [leaf.text for leaf, _ in found.leaves] == [False]


def test_a_logo_alone_changes_nothing() -> None:
    found = opened(mail("Total 1", drawing(180, 60)))
    assert ([leaf.text for leaf, _ in found.leaves], found.excuses) == ([True], {"image0.png": Excuse.LOGO})


def test_the_total_stands_beside_its_amount_and_not_just_somewhere() -> None:
    filler = "word " * LEAST_SIGNS
    assert names_a_total(f"{filler} Total {'.' * 40} 12.00 EUR")
    assert not names_a_total(f"{filler} Total {'.' * 80} 12.00 EUR")
    assert not names_a_total(f"{filler} 12.00 EUR {'.' * 80} total")
    assert not names_a_total(f"{filler} Total 12.00")
    assert not names_a_total(f"{filler} totally 12.00 EUR")
    assert not names_a_total("Total 12.00 EUR")


@pytest.mark.parametrize("piece", ["€1 ", "1 ", "total ", "$" * 10, "1" * 20 + " ", "a", "EUR ", "٣ €"])
def test_a_long_text_is_judged_in_no_time(piece: str) -> None:
    before = time.process_time()
    names_a_total(piece * (3_000_000 // len(piece)))
    assert time.process_time() - before < 10


def test_what_is_left_to_the_letter_is_what_the_letter_shows() -> None:
    assert set(_FORMATS) == SHOWN_TYPES
