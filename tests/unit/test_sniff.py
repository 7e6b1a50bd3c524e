"""The type comes from the bytes, and the end of a file tells whether it is whole."""

import io
import zipfile

import pytest

from ingestd import samples
from ingestd.sniff import HEAD_BYTES, TAIL_BYTES, describe, has_end_marker, sniff

OOXML = "application/vnd.openxmlformats-officedocument."


def ends(document: bytes) -> tuple[bytes, bytes]:
    return document[:HEAD_BYTES], document[-TAIL_BYTES:]


def ftyp(*brands: bytes) -> bytes:
    body = brands[0] + b"\0\0\0\0" + b"".join(brands[1:])
    return (len(body) + 8).to_bytes(4, "big") + b"ftyp" + body + b"\0\0\0\x10mdat" + bytes(64)


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name in names:
            packed.writestr(name, "x" * 6000)
    return buffer.getvalue()


def odf(mime_type: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("mimetype", mime_type)
        packed.writestr("content.xml", "<x/>")
    return buffer.getvalue()


def ole(stream: str) -> bytes:
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + stream.encode("utf-16-le") + bytes(600)


BINARY = {
    "jpeg": (samples.jpeg(), "image/jpeg"),
    "jpeg of ten bytes": (samples.jpeg()[:10], "image/jpeg"),
    "mpo": (samples.mpo(), "image/jpeg"),
    "png": (samples.png(), "image/png"),
    "pdf": (samples.pdf(), "application/pdf"),
    "pdf after blanks": (b"\r\n\r\n" + samples.small_pdf(1), "application/pdf"),
    "pdf after 1 KB of junk": (b"\0" * 1023 + samples.small_pdf(1), "application/pdf"),
    "pdf after printer commands": (b"\x1b%-12345X@PJL ENTER\n" + samples.small_pdf(1), "application/pdf"),
    "gif": (b"GIF89a\1\0\1\0" + bytes(20), "image/gif"),
    "tiff, little endian": (b"II*\0\x08\0\0\0", "image/tiff"),
    "tiff, big endian": (b"MM\0*\0\0\0\x08", "image/tiff"),
    "webp": (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
    "wav": (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav"),
    "bmp": (b"BM" + bytes(12) + b"\x28\0\0\0" + bytes(40), "image/bmp"),
    "heic of an iPhone": (ftyp(b"heic", b"mif1", b"heic"), "image/heic"),
    "heic with a general major brand": (ftyp(b"mif1", b"mif1", b"heic"), "image/heic"),
    "heif": (ftyp(b"mif1", b"mif1"), "image/heif"),
    "avif": (ftyp(b"avif", b"mif1", b"miaf"), "image/avif"),
    "avif with a general major brand": (ftyp(b"mif1", b"avif"), "image/avif"),
    "mp4": (ftyp(b"isom", b"mp42"), "video/mp4"),
    "mov": (ftyp(b"qt  "), "video/quicktime"),
    "voice memo": (ftyp(b"M4A ", b"isom"), "audio/mp4"),
    "jpeg 2000": (b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 ", "image/jp2"),
    "zip": (archive("a.pdf", "b.jpg"), "application/zip"),
    "zip with a stored pdf": (archive("%PDF-1.4.pdf"), "application/zip"),
    "docx": (samples.docx(), OOXML + "wordprocessingml.document"),
    "xlsx": (archive("[Content_Types].xml", "xl/workbook.xml"), OOXML + "spreadsheetml.sheet"),
    "pptx": (archive("[Content_Types].xml", "ppt/x.xml"), OOXML + "presentationml.presentation"),
    "odt": (odf("application/vnd.oasis.opendocument.text"), "application/vnd.oasis.opendocument.text"),
    "doc": (ole("WordDocument"), "application/msword"),
    "xls": (ole("Workbook"), "application/vnd.ms-excel"),
    "msg": (ole("__properties_version1.0"), "application/vnd.ms-outlook"),
    "some other ole": (ole("Something"), "application/x-ole-storage"),
    "rar": (b"Rar!\x1a\x07\x01\0", "application/vnd.rar"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4", "application/x-7z-compressed"),
    "gzip": (b"\x1f\x8b\x08\0\0\0\0\0", "application/gzip"),
    "mp3": (b"ID3\x04\0\0\0\0\0\0", "audio/mpeg"),
    "exe": (b"MZ\x90\0\x03\0\0\0", "application/vnd.microsoft.portable-executable"),
    "elf": (b"\x7fELF\x02\x01\x01\0", "application/x-elf"),
    "postscript": (b"%!PS-Adobe-3.0\n", "application/postscript"),
    "psd": (b"8BPS\0\x01", "image/vnd.adobe.photoshop"),
    "winmail.dat": (b"\x78\x9f\x3e\x22\x01\0\x06\x90", "application/vnd.ms-tnef"),
    "p7m": (
        b"0\x82\x10\0\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x82",
        "application/pkcs7-mime",
    ),
    "zeros": (bytes(5000), "application/octet-stream"),
    "nothing": (b"", "application/octet-stream"),
    "noise": (bytes(range(256)) * 4, "application/octet-stream"),
}

TEXT = {
    "plain text": (samples.text(), "text/plain"),
    "text that starts like a program": (b"MZ is how the list of abbreviations starts\n", "text/plain"),
    "text in Latin-1": ("Beleg f\xfcr M\xe4rz\n".encode("latin-1"), "text/plain"),
    "text in UTF-16": ("Receipt\r\n".encode("utf-16"), "text/plain"),
    "text about PDFs": (b"The header %PDF- is followed by a version.\n", "text/plain"),
    "csv": (b"date,amount\n2026-01-02,12.00\n", "text/plain"),
    "html": (samples.html(), "text/html"),
    "html after a comment": (b"<!-- saved from url -->\n<html><body>x</body></html>", "text/html"),
    "xhtml": (b'<?xml version="1.0"?><!DOCTYPE html><html>x</html>', "text/html"),
    "xml": (b'<?xml version="1.0"?>\n<Invoice/>', "application/xml"),
    "xml without a prolog": (b"\xef\xbb\xbf<rsm:Invoice xmlns:rsm='x'/>", "application/xml"),
    "svg": (b'<?xml version="1.0"?><!-- x --><svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
    "json": (b'{\n  "total": 12\n}', "application/json"),
    "json list": (b'[{"total": 12}]', "application/json"),
    "shortcut": (b"[InternetShortcut]\r\nURL=https://example.com/\r\n", "application/x-mswinurl"),
    "rtf": (b"{\\rtf1\\ansi x}", "application/rtf"),
    "mail": (
        b"Return-Path: <a@example.com>\r\nReceived: from x\r\n\tby y\r\nSubject: z\r\n\r\n",
        "message/rfc822",
    ),
    "mail in an mbox": (
        b"From a@example.com Mon\nFrom: a@example.com\nTo: b@example.com\n\n",
        "message/rfc822",
    ),
    "a letter with one header": (b"Subject: hello\n\nJust a note.\n", "text/plain"),
    "calendar entry": (b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n", "text/calendar"),
    "contact": (b"BEGIN:VCARD\r\nVERSION:3.0\r\n", "text/vcard"),
}


@pytest.mark.parametrize(("document", "expected"), (BINARY | TEXT).values(), ids=(BINARY | TEXT).keys())
def test_the_type_is_told_from_the_bytes(document: bytes, expected: str) -> None:
    assert sniff(*ends(document)) == expected


def test_every_type_has_words_for_a_person_with_an_article() -> None:
    for document, expected in (BINARY | TEXT).values():
        words = describe(sniff(*ends(document)))
        assert words.startswith(("a ", "an "))
        assert (words == "a file of an unknown kind") == (expected == "application/octet-stream")


def test_what_is_not_known_is_still_described() -> None:
    assert describe("application/x-never-heard-of") == "a file of an unknown kind"
    assert describe("image/heic") == "an iPhone photo (HEIC)"


@pytest.mark.parametrize(
    "whole", [samples.jpeg(), samples.png(), samples.pdf(), samples.small_pdf(3), samples.mpo()]
)
@pytest.mark.parametrize("lost", [1, 10, 1000])
def test_a_file_without_its_end_is_not_ended(whole: bytes, lost: int) -> None:
    assert has_end_marker(*ends(whole)) is True
    if lost < len(whole):
        cut = whole[:-lost]
        # The line break after %%EOF may be missing; then the mark itself is still there.
        assert has_end_marker(*ends(cut)) is (whole.endswith(b"%%EOF\n") and lost == 1)


@pytest.mark.parametrize("whole", [samples.jpeg(), samples.png(), samples.pdf()])
def test_a_preallocated_copy_is_not_ended(whole: bytes) -> None:
    half = whole[: len(whole) // 2]
    assert has_end_marker(*ends(half + bytes(len(whole) - len(half)))) is False
    assert has_end_marker(*ends(bytes(len(whole)))) is False


def test_a_little_padding_after_the_end_is_fine() -> None:
    assert has_end_marker(*ends(samples.small_pdf(1) + b"\r\n" + bytes(500))) is True
    assert has_end_marker(*ends(samples.small_jpeg(1) + bytes(500))) is True


def test_an_early_revision_s_end_is_not_the_end() -> None:
    two_revisions = samples.small_pdf(1) + b"9 0 obj\n" + b"x" * 3000
    assert has_end_marker(*ends(two_revisions)) is False


@pytest.mark.parametrize("document", [samples.text(), samples.html(), samples.docx(), b"II*\0\x08\0\0\0"])
def test_a_type_without_a_known_end_gives_no_verdict(document: bytes) -> None:
    assert has_end_marker(*ends(document)) is None


def test_an_empty_file_is_not_ended() -> None:
    assert has_end_marker(b"", b"") is False


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 16, 40, 4096])
def test_no_head_is_too_short_or_too_odd(length: int) -> None:
    for first in range(256):
        head = bytes([first]) * length
        assert describe(sniff(head, head))
    for document, _ in (BINARY | TEXT).values():
        assert describe(sniff(document[:length], b""))
