import base64

import pytest

from ingestd import samples as documents
from ingestd.domain.mail import MESSAGE_TYPE
from ingestd.normalizer.exchange_mail import Automatic, Excuse, Obstacle
from tests.mail import samples
from tests.mail.samples import attached, drawing, forwarded, html, message, picture, several, shown, text
from tests.unit.normalizer.opening import obstacle, opened

PDF = documents.small_pdf(1)


def test_an_attachment_is_the_leaf_and_the_text_is_not() -> None:
    found = opened(samples.with_pdf())
    ((leaf, content),) = found.leaves
    assert (leaf.name, leaf.declared_type, leaf.inline, leaf.text) == (
        "receipt.pdf",
        "application/pdf",
        False,
        False,
    )
    assert content == PDF
    assert found.excuses == {}


@pytest.mark.parametrize(
    "part",
    [
        attached(PDF, None, declared="application/octet-stream"),
        attached(PDF, "scan", declared="text/plain"),
        attached(PDF, None, declared="text/plain", disposition=None),
        attached(PDF, "photo.jpg", declared="image/jpeg", disposition="inline"),
        attached(PDF, "x.p7s", declared="application/pkcs7-signature"),
        attached(PDF, "invite.ics", declared="text/calendar"),
        attached(PDF, "a.html", declared="text/html"),
        attached(PDF, "m.eml", declared="message/rfc822"),
        attached(PDF, None, declared="multipart", disposition=None),
        attached(PDF, None, declared="multipart/related", disposition=None),
    ],
)
def test_the_bytes_say_what_it_is_and_never_the_declared_type(part: bytes) -> None:
    for raw in (message(several(text(), part)), message(part)):
        assert [content for _, content in opened(raw).leaves] == [PDF]


def test_a_file_declared_as_a_frame_around_others_does_not_vanish() -> None:
    archive, unknown = b"PK\x03\x04" + bytes(100), b"\x01\x02"
    parts = (
        attached(archive, "receipts.zip", declared="multipart/x-zip"),
        attached(unknown, "receipts.gz", declared="multipart/x-gzip", disposition=None),
    )
    found = opened(message(several(text(), *parts)))
    assert [(leaf.name, content) for leaf, content in found.leaves] == [
        ("receipts.zip", archive),
        ("receipts.gz", unknown),
    ]


def test_a_message_that_outlook_packed_up_is_opened_too() -> None:
    container = samples.winmail(("Hotel.eml", samples.with_pdf()), ("Taxi.eml", samples.only_text()))
    raw = message(several(text(), attached(container, "winmail.dat", declared="application/ms-tnef")))
    pdf, taxi = opened(raw).leaves
    assert (pdf[0].name, pdf[1]) == ("receipt.pdf", PDF)
    assert (taxi[0].text, taxi[1]) == (True, samples.only_text())


def test_apple_mail_shows_a_pdf_in_the_middle_of_the_text() -> None:
    found = opened(samples.apple_mail())
    assert (found.names, found.leaves[0][0].inline, found.leaves[0][1]) == (["Bill.pdf"], True, PDF)


def test_a_scanner_sends_nothing_but_a_nameless_document() -> None:
    assert opened(samples.a_scanner()).names == ["attachment 1.pdf"]


def test_a_photo_within_the_text_is_a_leaf_and_the_logo_beside_it_is_left_out() -> None:
    found = opened(samples.outlook())
    assert [(leaf.name, leaf.inline) for leaf, _ in found.leaves] == [
        ("image002.png", True),
        ("Bill.pdf", False),
    ]
    assert found.excuses == {"image001.png": Excuse.LOGO}


def test_a_small_photo_that_no_text_has_a_place_for_is_a_receipt() -> None:
    photo = attached(picture(240, 320, "JPEG"), "IMG_1.jpg", declared="image/jpeg", disposition="inline")
    found = opened(message(several(photo, text("Sent from my phone"))))
    assert [(leaf.name, leaf.inline) for leaf, _ in found.leaves] == [("IMG_1.jpg", True)]


def test_an_automatic_reply_without_an_attachment_is_no_receipt_and_a_shop_s_mail_is_one() -> None:
    words = text("I am out of office until Monday. In urgent cases call 1 23 45.")
    for changes in ({"auto_submitted": "auto-replied (vacation)"}, {"x_autoreply": "yes"}):
        found = opened(message(words, **changes))
        assert found.leaves == ()
        assert list(found.excuses.values()) == [Excuse.AUTO_REPLY]
    shop = opened(message(text("Your order: total 12.50"), auto_submitted="auto-generated"))
    assert [leaf.text for leaf, _ in shop.leaves] == [True]


def test_when_only_logos_come_with_it_the_text_is_the_receipt() -> None:
    raw = samples.only_html()
    found = opened(raw)
    ((leaf, content),) = found.leaves
    assert (leaf.name, leaf.declared_type) == ("Your Thursday trip.eml", MESSAGE_TYPE)
    assert (leaf.text, leaf.whole, content) == (True, True, b"")
    assert list(found.excuses.values()) == [Excuse.LOGO, Excuse.LOGO, Excuse.TRACKER]


def test_a_message_of_plain_text_is_a_receipt_too() -> None:
    assert [leaf.whole for leaf, _ in opened(samples.only_text()).leaves] == [True]


def test_a_message_without_text_and_attachments_has_no_leaf_and_says_so() -> None:
    found = opened(samples.without_anything())
    assert (found.names, found.excuses) == ([], {"Hotel Lyon.eml": Excuse.NO_TEXT})


@pytest.mark.parametrize(
    ("image", "excuse"),
    [
        (drawing(180, 600), Excuse.LOGO),
        (drawing(240, 240), Excuse.LOGO),
        (drawing(390, 390), Excuse.LOGO),
        (drawing(1_000, 390), Excuse.LOGO),  # a letterhead
        (drawing(40, 40), Excuse.TRACKER),
        (samples.tracker(), Excuse.TRACKER),
        (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", Excuse.LOGO),
        (picture(320, 240), None),
        (picture(390, 390), None),
        (drawing(480, 640), None),
        (drawing(1_000, 420), None),
        (drawing(300, 900, "JPEG"), None),
        (drawing(800, 1_000, "WEBP"), None),
        (drawing(480, 640, "BMP"), None),
    ],
)
def test_within_the_text_small_pictures_are_logos(image: bytes, excuse: Excuse | None) -> None:
    related = several(html('<img src="cid:a">Total 1'), shown(image, "a", "a.png"), kind="related")
    for raw in (message(related), message(several(text(), shown(image, "b", "a.png")))):
        found = opened(raw)
        assert found.excuses == ({} if excuse is None else {"a.png": excuse})
        assert [leaf.inline for leaf, _ in found.leaves if not leaf.text] == (
            [True] if excuse is None else []
        )


def test_a_small_picture_that_was_attached_as_a_file_is_no_logo_unless_it_is_tiny() -> None:
    icon, small = drawing(40, 40), drawing(150, 150)
    found = opened(message(several(text(), attached(icon, "i.png"), attached(small, "s.png"))))
    assert (found.names, found.excuses) == (["s.png"], {"i.png": Excuse.TRACKER})
    without_disposition = attached(small, "s.png", disposition=None)
    assert opened(message(several(text(), without_disposition))).names == ["s.png"]


def test_a_picture_that_the_html_shows_is_inline_even_where_nothing_else_says_so() -> None:
    page = html('<img src="CID:logo&#64;x">Total 1')
    part = attached(drawing(150, 150), "l.png", disposition=None, cid="logo@x")
    assert opened(message(several(page, part))).excuses == {"l.png": Excuse.LOGO}


def test_the_same_picture_shown_twice_is_one_leaf_and_attached_twice_it_is_two() -> None:
    photo = picture(640, 480)
    found = opened(message(several(text(), shown(photo, "a", "a.png"), shown(photo, "b", "b.png"))))
    assert (found.names, found.excuses) == (["a.png"], {"b.png": Excuse.REPEATED})
    assert opened(message(several(attached(photo, "a.png"), attached(photo, "b.png")))).names == [
        "a.png",
        "b.png",
    ]


def test_what_is_attached_to_attached_messages_is_found_and_their_text_where_nothing_is() -> None:
    found = opened(samples.forwarded_as_attachment())
    assert [(leaf.name, leaf.text, leaf.whole) for leaf, _ in found.leaves] == [
        ("receipt.pdf", False, False),
        ("Taxi.eml", True, False),
    ]
    assert [content for _, content in found.leaves] == [PDF, samples.only_text()]


@pytest.mark.parametrize(
    "part",
    [
        attached(samples.with_pdf(), "mail.eml", declared="application/octet-stream"),
        attached(samples.with_pdf(), "mail.eml", declared="text/plain"),
        attached(samples.with_pdf(), None, declared="message/rfc822"),  # base64, which RFC 2046 forbids
        forwarded(message(several(text(), forwarded(samples.with_pdf())))),
    ],
)
def test_an_attached_message_is_known_by_its_bytes(part: bytes) -> None:
    found = opened(message(several(text(), part)))
    assert [content for _, content in found.leaves] == [PDF]


def test_a_text_that_begins_like_a_header_stays_a_text() -> None:
    inline = text("From: Uber <no-reply@example.com>\nSubject: Your trip\n\nTotal 23.80")
    assert [leaf.whole for leaf, _ in opened(message(inline)).leaves] == [True]
    assert [leaf.name for leaf, _ in opened(message(several(inline, attached(PDF)))).leaves] == [
        "receipt.pdf"
    ]


def test_outlook_containers_are_opened() -> None:
    found = opened(samples.rich_text())
    assert found.names == ["Rechnung für März.pdf", "photo.jpg"]
    assert found.leaves[0][1] == PDF


def test_what_is_no_receipt_in_an_outlook_container_is_left_out_as_it_is_outside_of_one() -> None:
    files = (
        ("invite.ics", b"BEGIN:VCALENDAR\r\n", Excuse.CALENDAR),
        ("ann.vcf", b"BEGIN:VCARD\r\n", Excuse.CONTACT),
        ("smime.p7s", b"0\x80", Excuse.SIGNATURE),
        ("smime.p7m", b"0\x80secret", Excuse.ENCRYPTED),
        ("bill.pdf.gpg", b"\x85\x02", Excuse.ENCRYPTED),
        ("offer.html", b"<html>Offer</html>", Excuse.WEB_PAGE),
        ("dot.gif", samples.tracker(), Excuse.TRACKER),
        ("inner.dat", samples.winmail(), Excuse.FORMATTING),
    )
    container = samples.winmail(("a.pdf", PDF), *((name, content) for name, content, _ in files))
    found = opened(message(several(text(), attached(container, "winmail.dat"))))
    assert found.names == ["a.pdf"]
    assert {**found.excuses, "inner.dat": Excuse.FORMATTING} == {name: excuse for name, _, excuse in files}
    misnamed = samples.winmail(("invite.ics", PDF), ("bill.docx", documents.docx()))
    assert opened(message(attached(misnamed, "winmail.dat"))).names == ["invite.ics", "bill.docx"]


def test_an_invitation_in_an_outlook_container_leaves_the_text_to_be_the_receipt() -> None:
    container = samples.winmail(("invite.ics", b"BEGIN:VCALENDAR\r\n"))
    found = opened(message(several(text("Taxi 18.20 EUR"), attached(container, "winmail.dat"))))
    assert ([leaf.whole for leaf, _ in found.leaves], found.excuses) == (
        [True],
        {"invite.ics": Excuse.CALENDAR},
    )


def test_an_outlook_container_without_files_is_formatting_and_the_text_counts() -> None:
    raw = message(several(text(), attached(samples.winmail(), "winmail.dat", declared="application/ms-tnef")))
    found = opened(raw)
    assert ([leaf.whole for leaf, _ in found.leaves], found.excuses) == (
        [True],
        {"winmail.dat": Excuse.FORMATTING},
    )


@pytest.mark.parametrize(
    ("part", "excuse"),
    [
        (attached(b"\x78\x9f\x3e\x22junk of Outlook", "winmail.dat"), Excuse.DAMAGED_TNEF),
        (attached(b"<html>Receipt</html>", "receipt.html", declared="text/html"), Excuse.WEB_PAGE),
        (attached(b"0\x80secret", "smime.p7m", declared="application/pkcs7-mime"), Excuse.ENCRYPTED),
        (attached(b"anything", "a.pdf.pgp", declared="application/octet-stream"), Excuse.ENCRYPTED),
        (b"Content-Type: message/external-body; access-type=url\r\n\r\nX: y\r\n\r\n", Excuse.ELSEWHERE),
    ],
)
def test_where_somebody_meant_to_send_something_the_words_around_it_are_no_receipt(
    part: bytes, excuse: Excuse
) -> None:
    found = opened(message(several(text("Please find it attached."), part)))
    assert (found.names, list(found.excuses.values())) == ([], [excuse])


def test_encrypted_and_opaquely_signed_messages_say_why_nothing_came_of_them() -> None:
    assert opened(samples.signed_opaque()).excuses == {"smime.p7m": Excuse.SIGNED}
    pgp = several(
        attached(b"Version: 1", None, declared="application/pgp-encrypted", disposition=None),
        attached(b"-----BEGIN PGP MESSAGE-----", "encrypted.asc", declared="application/octet-stream"),
        kind="encrypted",
    )
    assert list(opened(message(pgp)).excuses.values()) == [Excuse.ENCRYPTED]
    in_the_text = message(text("-----BEGIN PGP MESSAGE-----\n\nhQEMA5\n-----END PGP MESSAGE-----"))
    assert list(opened(in_the_text).excuses.values()) == [Excuse.ENCRYPTED]
    signed = message(text("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nTaxi 18.20 EUR"))
    assert [leaf.whole for leaf, _ in opened(signed).leaves] == [True]


@pytest.mark.parametrize(
    ("part", "excuse"),
    [
        (attached(b"0\x80", "smime.p7s", declared="application/pkcs7-signature"), Excuse.SIGNATURE),
        (
            attached(b"-----BEGIN PGP SIGNATURE-----", "signature.asc", declared="text/plain"),
            Excuse.SIGNATURE,
        ),
        (
            attached(b"-----BEGIN PGP PUBLIC KEY BLOCK-----", "0xA.asc", declared="application/pgp-keys"),
            Excuse.SIGNATURE,
        ),
        (attached(b"BEGIN:VCALENDAR\r\n", "invite.ics", declared="text/calendar"), Excuse.CALENDAR),
        (attached(b"BEGIN:VCARD\r\n", "ann.vcf", declared="text/vcard"), Excuse.CONTACT),
        (attached(b"<html>Regards</html>", "ATT00002.htm", declared="text/html"), Excuse.TEXT),
    ],
)
def test_what_mail_programs_add_is_left_out_and_the_text_still_counts(part: bytes, excuse: Excuse) -> None:
    found = opened(message(several(text("Total 18.20"), part, kind="signed")))
    assert ([leaf.whole for leaf, _ in found.leaves], list(found.excuses.values())) == ([True], [excuse])


def test_other_files_are_leaves_so_that_preparing_them_says_what_is_wrong() -> None:
    parts = [
        attached(documents.docx(), "bill.docx"),
        attached(b"", "empty.pdf"),
        attached(b"Total 1", "bill.txt", declared="text/plain"),
    ]
    assert opened(message(several(text(), *parts))).names == ["bill.docx", "empty.pdf", "bill.txt"]


def test_other_forms_of_the_text_are_no_attachments() -> None:
    amp = b"Content-Type: text/x-amp-html\r\n\r\n<html amp4email>Total 1</html>"
    found = opened(message(several(text("Total 1"), amp, html("Total 1"), kind="alternative")))
    assert ([leaf.whole for leaf, _ in found.leaves], found.excuses) == ([True], {})


def test_a_bounce_brings_no_receipt() -> None:
    found = opened(samples.a_bounce())
    assert (found.names, list(found.excuses.values())) == ([], [Excuse.REPORT])
    assert found.opened.automatic is Automatic.REPORT


def test_names_are_read_in_every_way_they_are_written() -> None:
    assert opened(samples.names_in_every_way()).names == [
        *(f"Zürich {number}.pdf" for number in range(1, 6)),
        "Zurich 6.pdf",
        "Zürich 7.pdf",
        "attachment 8.pdf",
    ]


def test_a_broken_message_gives_what_is_in_it() -> None:
    found = opened(samples.broken_in_many_ways())
    assert [content.rstrip(b"\0") for _, content in found.leaves] == [PDF]
    letter = found.opened.letter
    assert (letter.senders, letter.subject, letter.message_id) == (("ann@example.com",), "München", "")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (samples.semicolons(), Obstacle.HEADER_TOO_LONG),
        (samples.many_parameters(), Obstacle.HEADER_TOO_LONG),
        (samples.many_addresses(), Obstacle.HEADER_TOO_LONG),
        (samples.many_addresses(2_000), Obstacle.SENDER_TOO_LONG),
        (samples.encoded_words(), Obstacle.HEADER_TOO_LONG),
        (samples.parentheses(), Obstacle.HEADER_TOO_LONG),
        (samples.many_fields(), Obstacle.TOO_MANY_LINES),
        (samples.deep(), Obstacle.NESTED_TOO_DEEP),
        (samples.messages_within_messages(), Obstacle.NESTED_TOO_DEEP),
        (samples.many_parts(), Obstacle.TOO_MANY_PARTS),
        (samples.many_parts(1_000), Obstacle.TOO_MANY_PARTS),
        (message(several(*[attached(PDF, f"{n}.pdf") for n in range(201)])), Obstacle.TOO_MANY_LEAVES),
        (
            message(several(*[forwarded(several(text(), text())) for _ in range(130)])),
            Obstacle.TOO_MANY_PARTS,
        ),
        (message(text("x" * 10_000_001)), Obstacle.TOO_MUCH_TEXT),
    ],
)
def test_what_is_beyond_a_bound_is_refused_as_a_whole(raw: bytes, expected: Obstacle) -> None:
    assert obstacle(raw) is expected


@pytest.mark.parametrize("count", [51, 100, 200])
def test_two_hundred_photos_in_one_message_are_as_many_receipts(count: int) -> None:
    photo = documents.small_jpeg(1)
    found = opened(message(several(text(), *[attached(photo, f"{n}.jpg") for n in range(count)])))
    assert found.names == [f"{n}.jpg" for n in range(count)]
    forwarded_each = [forwarded(message(several(text("fyi"), attached(PDF, f"{n}.pdf")))) for n in range(99)]
    assert len(opened(message(several(text(), *forwarded_each))).leaves) == 99


def test_leaves_are_bounded_by_their_bytes_together() -> None:
    raw = message(several(attached(PDF, "1.pdf"), attached(PDF, "2.pdf")))
    assert obstacle(raw, max_bytes=2 * len(PDF) - 1) is Obstacle.TOO_LARGE


@pytest.mark.parametrize("raw", [samples.semicolons(30_000), samples.encoded_words(2_000), samples.deep(20)])
def test_odd_headers_within_the_bounds_are_read_in_no_time(raw: bytes) -> None:
    assert [leaf.whole for leaf, _ in opened(raw).leaves] == [True]


def test_twenty_megabytes_of_base64_are_one_leaf() -> None:
    ((leaf, content),) = opened(samples.heavy()).leaves
    assert leaf.size == len(content) > 14_000_000


@pytest.mark.parametrize("raw", samples.everything())
def test_the_same_bytes_give_the_same_leaves(raw: bytes) -> None:
    assert opened(raw) == opened(raw)


def test_line_feeds_alone_end_lines_as_well() -> None:
    raw = samples.outlook().replace(b"\r\n", b"\n")
    assert opened(raw).names == ["image002.png", "Bill.pdf"]
    assert base64.b64encode(opened(raw).leaves[1][1])[:8] == base64.b64encode(PDF)[:8]
