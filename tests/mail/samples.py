"""Messages for tests, as bytes: those that people really send, and those that are meant to hurt.

Written by hand rather than by a library, which would refuse to make most of them. The same each time.
"""

import base64
import binascii
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from email.utils import quote
from urllib.parse import quote as percent

from PIL import Image

from ingestd import samples

FROM = "Ann Example <ann@example.com>"
HEAD: Mapping[str, str] = {
    "Return-Path": "<ann@example.com>",
    "Received": "from mail.example.com (192.0.2.7) by mx.example.net; Thu, 2 Jul 2026 08:00:01 +0000",
    "From": FROM,
    "To": "receipts@example.net",
    "Date": "Thu, 02 Jul 2026 10:00:00 +0200",
    "Message-ID": "<hotel-1@mail.example.com>",
    "Subject": "Hotel Lyon",
    "MIME-Version": "1.0",
}
CRLF = b"\r\n"
HOTEL = """
<h1>Your booking at the Grand Hotel Lyon is confirmed</h1><p>Dear Ann Example, thank you for booking with us.
We look forward to welcoming you.</p><table><tr><td>Check-in</td><td>2 July 2026, from 15:00</td></tr>
<tr><td>Check-out</td><td>4 July 2026, until 11:00</td></tr><tr><td>Double room, 2 nights</td><td>EUR 310.00
</td></tr><tr><td>City tax</td><td>EUR 12.00</td></tr><tr><td>Total price</td><td>EUR 322.00</td></tr></table>
<p>Paid with the card that ends in 4711. Cancellation is free until 30 June 2026, 18:00.</p>"""
"""What a hotel says: the text is the receipt, whatever pictures there are in it."""


# --- building blocks ---------------------------------------------------------------------------------------


def fields(**changes: str | None) -> bytes:
    """The usual header with changes (`message_id="…"`); None leaves a field out. No blank line after it."""
    values: dict[str, str | None] = dict(HEAD)
    for name, value in changes.items():
        wanted = name.replace("_", "-").lower()
        known = next((key for key in values if key.lower() == wanted), wanted)
        values[known] = value
    lines = [f"{name}: {value}".encode() for name, value in values.items() if value is not None]
    return b"".join(line + CRLF for line in lines)


def message(body: bytes, **changes: str | None) -> bytes:
    """`body` is a part with its own header: what `text`, `attached`, `several` … make."""
    return fields(**changes) + body


def text(content: str = "Please find the receipt attached.", *, subtype: str = "plain") -> bytes:
    head = f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    return head.encode() + content.replace("\n", "\r\n").encode()


def html(content: str = "<p>Your stay: <b>142.50 EUR</b></p>") -> bytes:
    return text(f"<html><body>{content}</body></html>", subtype="html")


def several(*parts: bytes, kind: str = "mixed", boundary: str = "", more: str = "") -> bytes:
    boundary = boundary or f"=_{zlib.crc32(b''.join(parts)):08x}"
    head = f'Content-Type: multipart/{kind}; boundary="{boundary}"{more}\r\n\r\n'.encode()
    mark = b"--" + boundary.encode()
    return head + b"".join(mark + CRLF + part + CRLF for part in parts) + mark + b"--" + CRLF


def attached(
    content: bytes,
    name: str | None = "receipt.pdf",
    *,
    declared: str = "application/pdf",
    disposition: str | None = "attachment",
    cid: str | None = None,
) -> bytes:
    lines = [f"Content-Type: {declared}" + (f'; name="{quote(name)}"' if name else "")]
    if disposition is not None:
        lines.append(f"Content-Disposition: {disposition}" + (f'; filename="{quote(name)}"' if name else ""))
    if cid is not None:
        lines.append(f"Content-ID: <{cid}>")
    lines.append("Content-Transfer-Encoding: base64")
    return "\r\n".join(lines).encode() + CRLF + CRLF + base64.encodebytes(content).replace(b"\n", CRLF)


def shown(content: bytes, cid: str = "image001.png@01D", name: str | None = "image001.png") -> bytes:
    """A picture within the text."""
    return attached(content, name, declared="image/png", disposition="inline", cid=cid)


def forwarded(inner: bytes, name: str | None = None) -> bytes:
    """A message as an attachment (RFC 2046 section 5.2.1): neither base64 nor quoted-printable."""
    disposition = f'Content-Disposition: attachment; filename="{name}"\r\n' if name else ""
    return f"Content-Type: message/rfc822\r\n{disposition}\r\n".encode() + inner


def picture(width: int, height: int, kind: str = "PNG", *, seed: int = 1) -> bytes:
    """Noise, so that it weighs what a photo weighs."""
    grain = Image.frombytes("L", (width, height), random.Random(seed).randbytes(width * height))
    return _saved(grain, kind)


def drawing(width: int, height: int, kind: str = "PNG") -> bytes:
    """One colour: as light as an emblem."""
    return _saved(Image.new("RGB", (width, height), "navy"), kind)


def tracker() -> bytes:
    return _saved(Image.new("P", (1, 1)), "GIF")


def winmail(*files: tuple[str, bytes], embedded: bytes = b"") -> bytes:
    """An Outlook container (MS-OXTNEF) with these files; `embedded`: another one, as an attached message."""
    made = [struct.pack("<IH", 0x223E9F78, 7), _tnef(1, 0x00089006, struct.pack("<I", 0x10000))]
    made.append(_tnef(1, 0x0006900A, b"\0" * 8))
    for name, content in files:
        made.append(_tnef(2, 0x00069002, bytes(14)))
        made.append(_tnef(2, 0x00018010, name.encode("cp1252", "replace") + b"\0"))
        made.append(_tnef(2, 0x00069005, _mapi(name)))
        made.append(_tnef(2, 0x0006800F, content))
    if embedded:
        made.append(_tnef(2, 0x00069002, bytes(14)))
        made.append(_tnef(2, 0x00018010, b"Message\0"))
        made.append(_tnef(2, 0x00069005, _mapi_object(embedded)))
    return b"".join(made)


def uuencoded(content: bytes, name: str, *, backtick: bool = True) -> bytes:
    """Lines to be put into a text (POSIX uuencode)."""
    lines = [binascii.b2a_uu(content[n : n + 45], backtick=backtick) for n in range(0, len(content), 45)]
    end = b"`\n" if backtick else b" \n"
    made = b"begin 644 " + name.encode() + b"\n" + b"".join(lines) + end + b"end\n"
    return made.replace(b"\n", CRLF)


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name.replace("_pdf", ".pdf")), content)
    return buffer.getvalue()


# --- what people send --------------------------------------------------------------------------------------


def with_pdf() -> bytes:
    return message(several(text(), attached(samples.small_pdf(1))))


def a_scanner() -> bytes:
    """A PDF and nothing else, declared as bytes, without a name."""
    return message(attached(samples.small_pdf(1), None, declared="application/octet-stream"))


def apple_mail() -> bytes:
    """A PDF in the middle of the text, within the HTML form of it only."""
    pdf = attached(samples.small_pdf(1), "Bill.pdf", disposition="inline")
    rich = several(html("<p>Here:</p>"), pdf, html("<p>Regards</p>"), boundary="=_rich")
    return message(several(text("Here: Regards"), rich, kind="alternative"))


def outlook() -> bytes:
    """An HTML text with a logo, a photo shown within it, and an attachment."""
    page = html('<p>Hi</p><img src="cid:logo@x"><img src="cid:photo@x">')
    related = several(
        several(text("Hi"), page, kind="alternative", boundary="=_a"),
        shown(drawing(180, 60), "logo@x", "image001.png"),
        shown(picture(800, 1000), "photo@x", "image002.png"),
        kind="related",
        boundary="=_r",
    )
    return message(several(related, attached(samples.small_pdf(2), "Bill.pdf")))


def only_html() -> bytes:
    """An order confirmation: the text is the receipt, with a logo, a banner and a tracker in it."""
    page = html('<img src="cid:l"><h1>Ride</h1><img src="cid:b"><p>Total 23.80</p><img src="cid:t">')
    return message(
        several(
            several(text("Total 23.80"), page, kind="alternative", boundary="=_a"),
            shown(drawing(300, 120), "l", None),
            shown(picture(900, 300), "b", None),
            shown(tracker(), "t", None),
            kind="related",
        ),
        subject="Your Thursday trip",
    )


def only_text() -> bytes:
    return message(text("Taxi 4711\nTotal 18.20 EUR"), subject="Taxi")


def without_anything() -> bytes:
    return message(several(text(" \n \n"), html("<p>&nbsp;</p>"), kind="alternative"))


def forwarded_as_attachment() -> bytes:
    return message(several(text("fyi"), forwarded(with_pdf(), "Hotel.eml"), forwarded(only_text())))


def rich_text() -> bytes:
    """winmail.dat with a PDF and a photo in it."""
    container = winmail(
        ("Rechnung für März.pdf", samples.small_pdf(1)), ("photo.jpg", picture(640, 480, "JPEG"))
    )
    return message(several(text(), attached(container, "winmail.dat", declared="application/ms-tnef")))


def names_in_every_way() -> bytes:
    """RFC 2231 with and without pieces, in latin-1; RFC 2047 where it must not stand; raw 8-bit; nothing."""
    pdf = base64.encodebytes(samples.small_pdf(1)).replace(b"\n", CRLF)
    ways = (
        b"attachment; filename*=UTF-8''" + percent("Zürich 1.pdf").encode(),
        b"attachment; filename*0*=iso-8859-1'de'Z%FCrich; filename*1=\" 2.p\"; filename*2=df",
        b'attachment; filename="=?utf-8?Q?Z=C3=BCrich_3=2Epdf?="',
        'attachment; filename="Zürich 4.pdf"'.encode(),
        'attachment; filename="Zürich 5.pdf"'.encode("latin-1"),
        b"attachment; filename=Zurich 6.pdf",
        b"attachment; filename*=klingon''Z%FCrich%207.pdf",
        b"attachment",
    )
    parts = [
        b"Content-Type: application/pdf\r\nContent-Disposition: "
        + way
        + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + pdf
        for way in ways
    ]
    return message(several(*parts))


def broken_in_many_ways() -> bytes:
    """No date, 8-bit header, wrong charset, damaged base64 and quoted-printable, no end of the multipart."""
    head = fields(date=None, message_id="nothing", subject=None) + b"Subject: M\xfcnchen\r\n"
    pdf = base64.encodebytes(samples.small_pdf(1)).replace(b"\n", b"\r\n* ! \r\n").replace(b"=", b"")
    return (
        head
        + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n"
        + b"Content-Type: text/plain; charset=x-unheard-of\r\n"
        + b"Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe =ZZ =\r\n"
        + b"\r\n--x\r\nContent-Type: image/gif\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + pdf
    )


def a_bounce() -> bytes:
    """RFC 3464, with a message of ours in it."""
    status = b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.com\r\n"
    return message(
        several(text("It could not be delivered."), status, forwarded(with_pdf()), kind="report"),
        return_path="<>",
        **{"from": "Mail Delivery System <MAILER-DAEMON@mx.example.com>"},
    )


def signed_opaque() -> bytes:
    """S/MIME, application/pkcs7-mime: the text and what is attached are inside of the signature."""
    signed = b"0\x82\x01\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02" + bytes(200)
    declared = "application/pkcs7-mime; smime-type=signed-data"
    return message(attached(signed, "smime.p7m", declared=declared))


# --- what hurts --------------------------------------------------------------------------------------------


def semicolons(count: int = 200_000) -> bytes:
    return fields() + b"Content-Type: text/plain" + b";" * count + b"\r\n\r\nTotal 1"


def many_parameters(count: int = 20_000) -> bytes:
    return (
        fields() + b"Content-Type: text/plain" + b"".join(b"; a%d=x" % n for n in range(count)) + b"\r\n\r\nx"
    )


def many_addresses(count: int = 20_000, field: bytes = b"From") -> bytes:
    people = b", ".join(b"a%d@example.com" % n for n in range(count))
    return field + b": " + people + b"\r\n" + fields(**{"from": None}) + b"\r\nTotal 1"


def encoded_words(count: int = 20_000) -> bytes:
    return fields(subject=" ".join(["=?utf-8?q?a?="] * count)) + b"\r\nTotal 1"


def parentheses(count: int = 100_000) -> bytes:
    return fields(**{"from": "(" * count}) + b"\r\nTotal 1"


def many_fields(count: int = 200_000) -> bytes:
    return fields() + b"".join(b"X-%d: a\r\n" % n for n in range(count)) + b"\r\nTotal 1"


def deep(depth: int = 3_000) -> bytes:
    """Multiparts within multiparts."""
    heads = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(depth)
    )
    ends = b"".join(b"\r\n--b%d--" % n for n in reversed(range(depth)))
    return fields() + heads + b"\r\nTotal 1" + ends


def messages_within_messages(depth: int = 2_000) -> bytes:
    return fields() + b"Content-Type: message/rfc822\r\n\r\n" * depth + b"Subject: in\r\n\r\nTotal 1"


def many_parts(count: int = 100_000) -> bytes:
    parts = b"--b\r\n\r\nTotal 1\r\n" * count
    return fields() + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + parts + b"--b--\r\n"


def many_near_boundaries(size_bytes: int = 5_000_000) -> bytes:
    line = b"--bX\r\n"
    head = fields() + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    return head + line * (size_bytes // len(line))


def heavy(size_bytes: int = 20_000_000) -> bytes:
    """A PDF of so many bytes in base64."""
    content = samples.small_pdf(1) + random.Random(1).randbytes(size_bytes * 57 // 78)
    return message(several(text(), attached(content)))


# --- details -----------------------------------------------------------------------------------------------


def _saved(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _tnef(level: int, identity: int, data: bytes) -> bytes:
    return struct.pack("<BII", level, identity, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)


def _mapi(name: str) -> bytes:
    """The long name (PidTagAttachLongFilename) in UTF-16, as Outlook writes it."""
    text_bytes = name.encode("utf-16-le") + b"\0\0"
    padding = bytes(-len(text_bytes) % 4)
    return struct.pack("<IHHII", 1, 0x001F, 0x3707, 1, len(text_bytes)) + text_bytes + padding


def _mapi_object(container: bytes) -> bytes:
    """PidTagAttachDataObject: an attached message, as IID_IMessage and a container of its own."""
    data = bytes.fromhex("0703020000000000c000000000000046") + container
    return struct.pack("<IHHII", 1, 0x000D, 0x3701, 1, len(data)) + data + bytes(-len(data) % 4)


def everything() -> Sequence[bytes]:
    """One of each that is small: to be spoiled, or to be opened twice."""
    return [
        make()
        for make in (
            *(with_pdf, a_scanner, apple_mail, outlook, only_html, only_text, without_anything),
            *(forwarded_as_attachment, rich_text, names_in_every_way, broken_in_many_ways, a_bounce),
            signed_opaque,
        )
    ] + [deep(15), messages_within_messages(15), many_parts(150), encoded_words(300), semicolons(1_000)]
