"""Messages and letters made up at random: each trap of mail and of HTML in any place. A seed, the same bytes.

Spoiling sound messages rarely gets deep: these are well-formed enough to be taken apart, and wrong elsewhere.
"""

import base64
import binascii
import quopri
import random
import struct
from collections.abc import Callable

from ingestd import samples as documents
from tests.mail import samples

_DEEPEST = 24
_PICTURES = (
    documents.small_png(1), documents.small_jpeg(1), samples.tracker(), samples.drawing(300, 120),
    samples.picture(240, 260, "JPEG"), samples.drawing(90, 120, "BMP"), samples.drawing(60, 60, "WEBP"),
    b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", documents.small_png(2)[:-40],
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 65_000, 65_000, 8, 6, 0, 0, 0) + bytes(4),
)  # fmt: skip
_FILES = (
    documents.small_pdf(1), samples.zipped(a_pdf=documents.small_pdf(2)), documents.docx(), b"", b"\0" * 50,
    b"BEGIN:VCALENDAR\r\nEND:VCALENDAR", b"BEGIN:VCARD\r\nEND:VCARD", b"0\x80secret",
    b"<html>Total 1</html>", samples.with_pdf(), samples.deep(5),
    b"-----BEGIN PGP MESSAGE-----\r\n\r\nhQEMA", *_PICTURES,
)  # fmt: skip
_CHARSETS = (
    "utf-8", "UTF-8", "us-ascii", "iso-8859-1", "windows-1252", "utf-7", "utf-16", "utf-32", "gb2312", "hz",
    "iso-2022-jp", "iso-2022-kr", "big5", "shift_jis", "euc-kr", "koi8-r", "x-unknown", "", "zlib", "idna",
    "unicode_escape", "utf-8*en", "'", "a" * 70, "punycode", "utf_8_sig", "base64", "mbcs", "cp65001",
)  # fmt: skip
_ENCODINGS = (
    "base64", "BASE64", "quoted-printable", "8bit", "7bit", "binary", "x-uuencode", "uuencode",
    "base64 (c)", "gzip", "", ";;", "base64; x=y", "Quoted-Printable\r\n ",
)  # fmt: skip
_NAMES = (
    'filename="a.pdf"', "filename=a b.pdf", "filename*=utf-8''%e2%82%ac.pdf", "filename*0*=utf-8''%e2%82",
    "filename*1*=%ac.pdf", "filename*0=a; filename*1=b; filename*2=.pdf", "filename*999=x", "filename*-1=x",
    "filename*=''", "filename*='", "filename*=utf-8'%ff%fe", "filename*0*=utf-16''%00; filename*0=b",
    'filename="=?utf-8?b?4oKs?= =?utf-8?q?=2Epdf?="', 'filename="=?utf-8?b?4o?= =?utf-8?b?Ks?="',
    'filename="../../etc/passwd"', 'filename="a\\"b\\\\.pdf"', 'filename="', "filename", "=; ; =", ";" * 40,
    'name="winmail.dat"', 'filename="invite.ics"', 'filename="x.eml"', 'filename="\u202efdp.exe"',
    "filename*2=c; filename*1=b", 'filename="' + "n" * 3_000 + '.pdf"', 'filename="ATT00001.htm"',
)  # fmt: skip
_TYPES = (
    "text/plain", "text/html", "application/pdf", "application/octet-stream", "image/jpeg",
    "message/rfc822", "message/partial", "message/external-body", "application/ms-tnef", "multipart/mixed",
    "text/calendar", "application/pkcs7-mime; smime-type=signed-data", "application/pkcs7-signature",
    "TEXT/PLAIN", "text", "message/global", "application/x-uuencode", "multipart/x-zip",
    "text/plain; format=flowed; delsp=yes", "/", "", "a/b/c", "application/pgp-encrypted",
    "message/delivery-status", "text/enriched",
)  # fmt: skip
_MULTIPARTS = (
    "mixed", "mixed", "mixed", "related", "related", "alternative", "signed", "encrypted", "report",
    "digest", "appledouble", "parallel", "x-odd",
)  # fmt: skip
_BOUNDARIES = ("b", "bb", "=_x", "a b", "b ", "--", "--b", "'()+_,-./:=?", "", '"', "\u00e9", "x" * 200)
_WORDS = (
    "=?utf-8?b?UmVjaG51bmc=?=", "=?utf-8?q?=C3=A9?=", "=?x?b?AAAA?=", "=?utf-8?q?=ZZ=?=", "=?utf-8?b?4o?=",
    "=?utf-8*de?Q?a_b?=", "=?iso-2022-jp?b?GyRC?=", "=?=?utf-8?q?a?=?=", "=?utf-8?x?a?=", "Receipt",
    "\u20ac", "=?utf-16?b?//4=?=", "=?hz?q?~{?=", "=?utf-8?q?" + "a" * 500 + "?=", "=?", "?=", "\x00",
    "\ufeff",
)  # fmt: skip


def composed(chance: random.Random) -> bytes:
    """A message."""
    head = samples.fields(
        subject=_words(chance), **{chance.choice(("x", "from", "date", "to")): _words(chance)}
    )
    raw = head + _part(chance, 0)
    return raw if chance.random() < 0.8 else raw.replace(b"\r\n", chance.choice((b"\n", b"\r", b"\r\r\n")))


def _words(chance: random.Random) -> str:
    return chance.choice(("", " ", "\r\n ", ",")).join(chance.choices(_WORDS, k=chance.choice((1, 2, 5, 30))))


def _part(chance: random.Random, depth: int) -> bytes:
    makers: tuple[Callable[[random.Random, int], bytes], ...] = (
        _leaf,
        _leaf,
        _text,
        _tnef,
        _uuencoded,
        _shown,
    )
    # Deep rather than wide, below the first levels: both at once would only be large.
    if depth < (_DEEPEST if chance.random() < 0.2 else 3):
        makers += (_several, _several, _several, _message)
    return chance.choice(makers)(chance, depth)


def _several(chance: random.Random, depth: int) -> bytes:
    most = (1, 2, 3, 6) if depth else (1, 2, 3, 6, 40)
    boundary = chance.choice(_BOUNDARIES)
    parts = [_part(chance, depth + 1) for _ in range(chance.choice(most))]
    if chance.random() < 0.01:
        parts = parts[:1] * 1_000
    made = samples.several(*parts, kind=chance.choice(_MULTIPARTS), boundary=boundary)
    match chance.randrange(8):
        case 0:
            return made[: -chance.randrange(1, 9)]  # no end
        case 1:
            return made.replace(b"boundary", b"boundary*0", 1)
        case 2:
            return made.replace(b'boundary="', b"boundary=", 1)
    return made


def _message(chance: random.Random, depth: int) -> bytes:
    return samples.forwarded(samples.fields(subject=_words(chance)) + _part(chance, depth + 1))


def _leaf(chance: random.Random, depth: int) -> bytes:
    return _with_header(chance, chance.choice(_FILES), chance.choice(_TYPES))


def _text(chance: random.Random, depth: int) -> bytes:
    content = letter_html(chance, elements=20) if chance.random() < 0.5 else _words(chance) * 20
    charset = chance.choice(_CHARSETS)
    return _with_header(chance, content.encode("utf-8", "replace"), f"text/plain; charset={charset}")


def _shown(chance: random.Random, depth: int) -> bytes:
    return samples.several(
        samples.html("<p>" + "Your booking at the hotel. " * 30 + 'Total 12.00 EUR <img src="cid:a">'),
        samples.shown(chance.choice(_PICTURES), chance.choice("ab")),
        kind="related",
        boundary=f"r{chance.randrange(1 << 30)}",
    )


def _tnef(chance: random.Random, depth: int) -> bytes:
    files = [(chance.choice(("a.pdf", "b.ics", "\u20ac", "")), chance.choice(_FILES)) for _ in range(3)]
    container = samples.winmail(*files[: chance.randrange(4)])
    for _ in range(chance.choice((0, 0, 1, 2, 12))):
        container = samples.winmail(("winmail.dat", container)) if chance.random() < 0.5 else (
            samples.winmail(*files[:1], embedded=container)
        )  # fmt: skip
    if chance.random() < 0.5:
        spoiled = bytearray(container)
        for _ in range(chance.choice((1, 3, 9))):
            at = chance.randrange(len(spoiled))
            spoiled[at : at + 4] = struct.pack("<I", chance.choice((0, 1, 2, 0x7FFFFFFF, 0xFFFFFFFF)))
        container = bytes(spoiled)
    return _with_header(chance, container, "application/ms-tnef")


def _uuencoded(chance: random.Random, depth: int) -> bytes:
    lines = [b"Dear all,", b"begin 644 nothing"]
    for _ in range(chance.choice((1, 1, 2, 30))):
        content = chance.choice(_FILES)[:20_000]
        lines.append(
            b"begin %03o %s" % (chance.randrange(512), chance.choice((b"scan.pdf", b"a b", b"\xff")))
        )
        lines += [
            binascii.b2a_uu(content[n : n + 45], backtick=chance.random() < 0.5).rstrip(b"\n")
            for n in range(0, len(content), 45)
        ]
        lines += chance.choice(([b"`", b"end"], [b"end"], [b" ", b"end"], []))
    for _ in range(chance.choice((0, 0, 1, 5))):
        at = chance.randrange(len(lines))
        lines[at] = chance.choice((lines[at][:-1], lines[at] + b"x", b"", b"M", b"end", lines[at] * 2))
    return b"Content-Type: text/plain\r\n\r\n" + b"\r\n".join(lines)


def _with_header(chance: random.Random, content: bytes, declared: str) -> bytes:
    encoding = chance.choice(_ENCODINGS)
    disposition = chance.choice(("attachment", "inline", "", "form-data", "INLINE"))
    head = [f"Content-Type: {declared}", f"Content-Disposition: {disposition}; {chance.choice(_NAMES)}"]
    head += [f"Content-Transfer-Encoding: {encoding}"] * chance.choice((1, 1, 1, 0, 2))
    if chance.random() < 0.3:
        head.append(f"Content-ID: {chance.choice(('<a>', 'a', '<', '<a@b>', ''))}")
    chance.shuffle(head)
    match encoding.lower()[:6]:
        case "base64":
            body = base64.encodebytes(content)
            if chance.random() < 0.3:
                at = chance.randrange(len(body) + 1)
                body = body[:at] + chance.choice((b"=", b"==\n", b"!", b"\xff", b"\n\n--b\n")) + body[at:]
        case "quoted":
            body = quopri.encodestring(content)
        case _:
            body = content
    return "\r\n".join(head).encode("utf-8", "replace") + b"\r\n\r\n" + body


# --- letters -----------------------------------------------------------------------------------------------

_TAGS = (
    "p", "div", "span", "table", "tr", "td", "th", "tbody", "ul", "ol", "li", "h1", "b", "a", "font",
    "center", "pre", "blockquote", "form", "input", "select", "textarea", "button", "svg", "math", "iframe",
    "object", "details", "fieldset", "legend", "caption", "col", "colgroup", "hr", "br", "marquee",
    "template", "body", "html", "head", "frameset", "dl", "dd", "meter", "progress", "ruby", "rt", "x-own",
)  # fmt: skip
_NUMBERS = (
    "0", "1", "-1", "50%", "1e9", "99999px", "-9999px", "1e-9em", "NaN", "calc(1px/0)", "100vw", "300%",
)  # fmt: skip
_DECLARATIONS = (
    "width", "height", "min-width", "max-height", "margin", "padding", "font-size", "line-height", "left",
    "top", "border", "letter-spacing", "text-indent", "columns", "column-gap", "flex", "gap", "z-index",
    "orphans", "border-spacing", "outline-width", "tab-size", "word-spacing", "border-radius",
    "aspect-ratio",
)  # fmt: skip
_STYLES = (
    "display:grid;grid-template-columns:repeat(99,1fr)", "display:flex;flex-wrap:wrap", "position:fixed",
    "position:absolute", "float:left", "float:right;clear:both", "display:table-cell",
    "display:inline-block", "transform:rotate(33deg) scale(1e6)", "columns:9", "break-before:page",
    "break-inside:avoid", "writing-mode:vertical-rl", "direction:rtl", "opacity:0", "filter:blur(9px)",
    "overflow:hidden;height:0", "background:url(cid:a) repeat;background-size:1px 1px",
    "background:linear-gradient(red,blue 1e9px)", "background:radial-gradient(circle at 0 0,red 0,blue 0)",
    "content:counter(x,upper-roman)", "content:url(http://127.0.0.1:9/)",
    "list-style:url(data:image/png;base64,AAAA)", "position:running(x)", "string-set:a content()",
    "font-family:x\\;y", "width:calc(100% - 1e30px)", "display:contents", "font:italic 900 0/0 monospace",
    "hyphens:auto", "text-overflow:ellipsis", "box-decoration-break:clone",
    "footnote-display:block;float:footnote", "display:inline-grid", "grid-area:9/9/99/99", "page:other",
    "image-resolution:1e-9dpi", "object-fit:none", "margin:-1e5px", "mask:url(#a)", "visibility:collapse",
    "text-decoration:wavy underline 999px", "bookmark-level:1", "max-lines:1;continue:discard",
    "all:revert",
)  # fmt: skip
_SHEETS = (
    "@page{size:1px 1px;margin:1e9px}", "@page :nth(1){@top-left{content:element(x)}}",
    "@import url(//x.y/z);",
    "@font-face{font-family:q;src:url(data:font/ttf;base64,AAEAAAA)} *{font-family:q}", "*{float:left}",
    "@font-face{font-family:r;src:local(x),url(file:///etc/passwd)}", "p::before{content:counter(a)'x'}",
    "*::after{content:attr(class) url(cid:a)}", "td{display:block;width:1e9px}", "*{columns:3}", "}}}{{{@;",
    "*{position:absolute}", "a:not(:has(b ~ c > d:nth-child(2n+1 of p))){color:red}",
    "@media print{*{all:unset}}", ":root{--a:var(--b);--b:var(--a)} *{width:var(--a)}",
    "li{counter-increment:x -2147483648 y 99999999999}",
    "table{border-collapse:collapse;table-layout:fixed}", "*{break-before:page}",
    "@counter-style z{system:cyclic}", "@namespace svg url(x);svg|a{}", "*{overflow:hidden;max-height:1px}",
    "\x00\ufffd/*", "@layer a,b;@supports(x:y){",
)  # fmt: skip
_SOURCES = (
    "cid:a", "cid:b", "cid:%61", "data:image/png;base64,iVBORw0KGgo=", "data:,",
    "data:image/svg+xml,<svg/>", "http://127.0.0.1:9/x.png", "file:///etc/passwd", "//[::1", "javascript:1",
    "data:text/html,<p>", "\\\\x\\y",
    "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7", "ftp://x", "%", "a b",
)  # fmt: skip
_SAYINGS = (
    "Total 12.00 EUR", "合計 1,200円", "שלום", "مرحبا", "\u202e\u2066\u200f", "a" * 3_000, "\u0301" * 200,
    "👨‍👩‍👧", "&nbsp;", "&#0;&#xD800;&#1114112;", "&" + "a" * 400, "<!--", "-->", "]]>",
    "<![CDATA[x]]>", "<?xml?>", "</p></table>", "\u2028", "\ue000", "\U000e0041", " " * 2_000, "&lt;" * 300,
    "ﷺ" * 50, "\ufeff", "<plaintext", "<noscript>",
)  # fmt: skip


def letter(chance: random.Random) -> bytes:
    """A message that is nothing but HTML, with pictures."""
    page = letter_html(chance, elements=chance.choice((5, 50, 300)))
    parts = [samples.text(page, subtype="html")]
    parts += [samples.shown(chance.choice(_PICTURES), cid) for cid in "ab"[: chance.randrange(3)]]
    return samples.message(samples.several(*parts, kind="related", boundary="=_letter"))


def letter_html(chance: random.Random, *, elements: int) -> str:
    pieces = [f"<style>{sheet}</style>" for sheet in chance.choices(_SHEETS, k=chance.choice((0, 0, 1, 3)))]
    pieces.append(
        chance.choice(("", "<html dir=rtl>", "<!DOCTYPE html>", "<base href='file:///'>", "<body>Total 1"))
    )
    opened: list[str] = []
    for _ in range(elements):
        match chance.randrange(10):
            case 0 | 1 | 2 | 3:
                tag = chance.choice(_TAGS)
                opened.append(tag)
                pieces.append(f"<{tag}{_attributes(chance)}>")
            case 4 | 5 if opened:
                pieces.append(f"</{opened.pop(chance.choice((-1, -1, -1, 0)))}>")
            case 6:
                pieces.append(f"<img src='{chance.choice(_SOURCES)}'{_attributes(chance)}>")
            case _:
                pieces.append(chance.choice(_SAYINGS))
    if chance.random() < 0.05:
        tag = chance.choice(("div", "table><tr><td", "span", "b", "ul><li", "blockquote"))
        pieces.append(f"<{tag}>" * chance.choice((60, 400, 3_000)) + "Total 1")
    if chance.random() < 0.05:
        pieces.append("<table>" + ("<tr>" + "<td>1" * 40) * chance.choice((10, 200)) + "</table>")
    return "".join(pieces)


def _attributes(chance: random.Random) -> str:
    made = []
    if chance.random() < 0.4:
        styles = [*chance.choices(_STYLES, k=2), f"{chance.choice(_DECLARATIONS)}:{chance.choice(_NUMBERS)}"]
        made.append(f"style='{';'.join(styles[chance.randrange(3) :])}'")
    if chance.random() < 0.3:
        name = chance.choice(
            ("width", "height", "colspan", "rowspan", "align", "border", "class", "dir", "size")
        )
        made.append(f"{name}={chance.choice((*_NUMBERS, 'rtl', 'center', '65535', 'ingestd-letter-head'))}")
    return "".join(f" {one}" for one in made)
