"""The MIME type of a file, told from its bytes and never from its name.

Hand signatures over the first HEAD_BYTES and, where it helps, the last TAIL_BYTES: no parser runs here, so
untrusted bytes may be looked at in any process. What is not recognised is `application/octet-stream`.
"""

import re
from collections.abc import Callable

HEAD_BYTES = 4096
TAIL_BYTES = 2048

PDF = "application/pdf"
JPEG = "image/jpeg"
PNG = "image/png"
ZIP = "application/zip"
UNKNOWN = "application/octet-stream"

_OOXML = "application/vnd.openxmlformats-officedocument."
_ODF = "application/vnd.oasis.opendocument."

_DESCRIPTIONS = {
    PDF: "a PDF",
    JPEG: "a JPEG picture",
    PNG: "a PNG picture",
    "image/gif": "a GIF picture",
    "image/tiff": "a TIFF picture",
    "image/webp": "a WebP picture",
    "image/bmp": "a BMP picture",
    "image/heic": "an iPhone photo (HEIC)",
    "image/heif": "a phone photo (HEIF)",
    "image/avif": "an AVIF picture",
    "image/jp2": "a JPEG 2000 picture",
    "image/jxl": "a JPEG XL picture",
    "image/svg+xml": "a drawing (SVG)",
    "image/vnd.adobe.photoshop": "a Photoshop file",
    "image/vnd.djvu": "a DjVu document",
    "application/postscript": "a PostScript file",
    "application/msword": "a Word document",
    _OOXML + "wordprocessingml.document": "a Word document",
    "application/vnd.ms-excel": "an Excel sheet",
    _OOXML + "spreadsheetml.sheet": "an Excel sheet",
    "application/vnd.ms-powerpoint": "a PowerPoint presentation",
    _OOXML + "presentationml.presentation": "a PowerPoint presentation",
    _ODF + "text": "a LibreOffice text document",
    _ODF + "spreadsheet": "a LibreOffice spreadsheet",
    _ODF + "presentation": "a LibreOffice presentation",
    "application/x-ole-storage": "an Office document",
    "application/vnd.ms-outlook": "an Outlook message (MSG)",
    "application/vnd.ms-tnef": "an Outlook attachment container (winmail.dat)",
    "message/rfc822": "an e-mail message",
    "application/pkcs7-mime": "a digitally signed file (P7M)",
    "application/epub+zip": "an e-book",
    ZIP: "a ZIP archive",
    "application/vnd.rar": "a RAR archive",
    "application/x-7z-compressed": "a 7-Zip archive",
    "application/gzip": "a compressed file (gzip)",
    "application/x-bzip2": "a compressed file (bzip2)",
    "application/x-xz": "a compressed file (xz)",
    "application/zstd": "a compressed file (zstd)",
    "application/rtf": "an RTF document",
    "application/json": "a data file (JSON)",
    "application/xml": "a data file (XML)",
    "text/html": "a web page",
    "text/plain": "a plain text file",
    "text/calendar": "a calendar entry",
    "text/vcard": "a contact card",
    "application/x-mswinurl": "a shortcut to a web page",
    "application/x-ms-shortcut": "a Windows shortcut",
    "video/mp4": "a video",
    "video/quicktime": "a video",
    "video/3gpp": "a video",
    "video/x-msvideo": "a video",
    "video/x-matroska": "a video",
    "audio/mp4": "a sound recording",
    "audio/mpeg": "a sound recording",
    "audio/wav": "a sound recording",
    "audio/ogg": "a sound recording",
    "application/vnd.microsoft.portable-executable": "a Windows program",
    "application/x-elf": "a Linux program",
    "application/x-mach-binary": "a Mac program",
}


def sniff(head: bytes, tail: bytes = b"") -> str:
    """The MIME type of a file that starts with `head` and ends with `tail` (which may overlap, or be empty).

    `tail` is needed only to name the kind of some Office files.
    """
    for look in (_fixed_signature, _shared_container, _pdf_after_junk, _text):
        found = look(head, tail)
        if found is not None:
            return found
    return UNKNOWN


def describe(mime_type: str) -> str:
    """The type in words for a person, with its article: "a Word document"."""
    return _DESCRIPTIONS.get(mime_type, "a file of an unknown kind")


def has_end_marker(head: bytes, tail: bytes) -> bool | None:
    """Whether the file ends like a whole file of its type; None when its type has no mark to look for.

    False for a preallocated file whose end is still zeros. Padding with zeros or blanks after the mark is
    fine; True does not promise a sound file.
    """
    if not tail.strip(b"\0"):
        return False
    find_end = _ENDS.get(sniff(head, tail))
    return None if find_end is None else find_end(tail)


# ISO 32000-2 annex I: readers accept %%EOF within the last 1024 bytes. In a JPEG's entropy-coded data FF is
# always followed by 00 or RSTn (ITU-T T.81 F.1.2.3), so FFD9 near the end is an end of image.
_ENDS: dict[str, Callable[[bytes], bool]] = {
    PDF: lambda tail: b"%%EOF" in tail.rstrip(b"\0\t\n\f\r ")[-1024:],
    JPEG: lambda tail: b"\xff\xd9" in tail,
    PNG: lambda tail: b"IEND\xaeB`\x82" in tail,
}

_FIXED = (
    (b"%PDF-", PDF),
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"II+\0", "image/tiff"),
    (b"MM\0+", "image/tiff"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
    (b"\xffO\xffQ", "image/jp2"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    (b"\xff\x0a", "image/jxl"),
    (b"8BPS\0", "image/vnd.adobe.photoshop"),
    (b"AT&TFORM", "image/vnd.djvu"),
    (b"%!PS", "application/postscript"),
    (b"\x04%!PS", "application/postscript"),
    (b"\xc5\xd0\xd3\xc6", "application/postscript"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"{\\rtf", "application/rtf"),
    (b"\x78\x9f\x3e\x22", "application/vnd.ms-tnef"),
    (b"\x1aE\xdf\xa3", "video/x-matroska"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf2", "audio/mpeg"),
    (b"L\0\0\0\x01\x14\x02\0", "application/x-ms-shortcut"),
    (b"MZ", "application/vnd.microsoft.portable-executable"),
    (b"\x7fELF", "application/x-elf"),
    (b"\xcf\xfa\xed\xfe", "application/x-mach-binary"),
    (b"\xca\xfe\xba\xbe", "application/x-mach-binary"),
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BITMAP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})
_SIGNED_DATA = (
    b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"  # OID of PKCS #7 signedData, RFC 5652 section 5.1
)


def _fixed_signature(head: bytes, _tail: bytes) -> str | None:
    for signature, mime_type in _FIXED:
        if head.startswith(signature):
            # "MZ", "BZh" and "ID3" may also start a text; what they stand for has bytes that no text has.
            is_word = len(signature) <= 3 and signature.isalnum()
            return None if is_word and _is_text(head) else mime_type
    return None


def _shared_container(head: bytes, tail: bytes) -> str | None:
    """Families whose first bytes say only what kind of box it is."""
    if head[4:8] == b"ftyp":
        return _iso_media(head)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_member_names(head, tail)
    if head.startswith(_OLE):
        return _ole_stream_names(head + tail)
    if head.startswith(b"RIFF"):
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}.get(head[8:12])
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BITMAP_HEADERS:
        return "image/bmp"
    if head.startswith(b"0") and _SIGNED_DATA in head[:32]:
        return "application/pkcs7-mime"
    return None


def _iso_media(head: bytes) -> str:
    """ISO 14496-12 section 4.3: a major brand, a version, then the compatible brands."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, size, 4))]
    for names, mime_type in _BRANDS:
        if any(brand in names for brand in brands):
            return mime_type
    return "video/3gpp" if brands[0].startswith(b"3g") else "video/mp4"


_BRANDS: tuple[tuple[frozenset[bytes], str], ...] = (
    (frozenset({b"avif", b"avis"}), "image/avif"),
    (frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis"}), "image/heic"),
    (frozenset({b"mif1", b"msf1"}), "image/heif"),
    (frozenset({b"qt  "}), "video/quicktime"),
    (frozenset({b"M4A ", b"M4B "}), "audio/mp4"),
)


def _zip_member_names(head: bytes, tail: bytes) -> str:
    if head[30:38] == b"mimetype":  # ODF 1.2 part 3 section 3.3: stored first, uncompressed
        declared = re.match(rb"application/[a-z0-9.+-]+", head[38:120])
        name = declared[0].removesuffix(b"PK").decode() if declared else ZIP
        return name if name in _DESCRIPTIONS else ZIP
    names = head + tail  # local headers at the start, the central directory at the end
    if b"[Content_Types].xml" in names or b"_rels/.rels" in names:
        for folder, kind in (
            (b"word/", "wordprocessingml.document"),
            (b"xl/", "spreadsheetml.sheet"),
            (b"ppt/", "presentationml.presentation"),
        ):
            if folder in names:
                return _OOXML + kind
    return ZIP


def _ole_stream_names(names: bytes) -> str:
    """[MS-CFB]: names are UTF-16. The directory may lie outside the bytes seen: then it is just Office."""
    for stream, mime_type in (
        ("__properties_version1.0", "application/vnd.ms-outlook"),
        ("WordDocument", "application/msword"),
        ("Workbook", "application/vnd.ms-excel"),
        ("PowerPoint Document", "application/vnd.ms-powerpoint"),
    ):
        if stream.encode("utf-16-le") in names:
            return mime_type
    return "application/x-ole-storage"


def _pdf_after_junk(head: bytes, _tail: bytes) -> str | None:
    """ISO 32000-2 annex I: readers accept the header anywhere in the first 1024 bytes."""
    return PDF if re.search(rb"%PDF-[12]\.\d", head[:1032]) else None


_MARKUP = (
    (re.compile(r"<(!doctype\s+html|html|head|body|title|meta|script|table|div|p)\b"), "text/html"),
    (re.compile(r"<(!doctype\s+svg|svg)\b"), "image/svg+xml"),
)
_MAIL_HEADER = re.compile(
    r"(?:return-path|received|from|to|cc|subject|date|message-id|mime-version|delivered-to|x-[a-z0-9-]+"
    r"|dkim-signature|authentication-results|arc-[a-z-]+|content-type|reply-to|sender)\s*:",
    re.IGNORECASE,
)
_JSON = re.compile(r"\{\s*(\"|\}|$)|\[\s*([\[{\]\"0-9-]|$|true|false|null)")
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\f\r\x1b\x1a")) + b"\x7f"


def _text(head: bytes, _tail: bytes) -> str | None:
    if not head or not _is_text(head):
        return None
    text = _decode(head).lstrip("\ufeff \t\r\n")
    if text.startswith("BEGIN:VCALENDAR"):
        return "text/calendar"
    if text.startswith("BEGIN:VCARD"):
        return "text/vcard"
    if text.startswith("[InternetShortcut]"):
        return "application/x-mswinurl"
    if text.startswith("<"):
        return _markup(text.lower())
    if _JSON.match(text):
        return "application/json"
    return "message/rfc822" if _is_mail(text) else "text/plain"


def _markup(text: str) -> str:
    is_xml = text.startswith("<?xml")
    # The prolog, comments and a foreign document type come before the first element.
    body = re.sub(r"\A(?:\s*(?:<\?.*?\?>|<!--.*?(?:-->|\Z)))*\s*", "", text, flags=re.DOTALL)
    for pattern, mime_type in _MARKUP:
        if pattern.match(body):
            return mime_type
    return (
        "application/xml"
        if is_xml or re.match(r"<[a-z_][\w.-]*(:[a-z_][\w.-]*)?[\s/>]", body)
        else "text/plain"
    )


def _is_mail(text: str) -> bool:
    """Two known header lines at the start, folded ones skipped; an mbox "From " line may come first."""
    lines = [line for line in text.splitlines()[:12] if line[:1] not in (" ", "\t")]
    if lines and lines[0].startswith("From "):
        lines = lines[1:]
    return len(lines) >= 2 and all(_MAIL_HEADER.match(line) for line in lines[:2])


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return b"\0\0\0" not in head
    return head.translate(None, _CONTROLS) == head


def _decode(head: bytes) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head.decode("utf-16", "replace")
    return head.decode("utf-8", "replace")
