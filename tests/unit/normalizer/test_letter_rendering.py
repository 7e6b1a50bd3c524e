"""A mail's text as a PDF: what a person would print, and nothing that acts, refers or reaches out."""

import base64
import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pypdf
import pytest
from PIL import Image, ImageFile, ImageOps

from ingestd import samples
from ingestd.normalizer import letter_work
from ingestd.normalizer.exchange import Found, Problem
from tests.unit.normalizer.letters import (
    BLUE,
    RED,
    box_of,
    facts_of,
    has_colour,
    letter,
    mail,
    pages_of,
    picture,
    right_edge_of,
    text_of,
)


@pytest.fixture(autouse=True, scope="module")
def warm() -> Iterator[None]:
    """As in a limited process, where layouts may be nested deeper than elsewhere."""
    frames = sys.getrecursionlimit()
    letter_work.warm_up()
    yield
    sys.setrecursionlimit(frames)


NEWSLETTER = """<html><head><style>
@page WordSection1 {{ size: 8.5in 11in; margin: 3in }} div.WordSection1 {{ page: WordSection1 }}
@media only screen and (max-width: 600px) {{ table {{ width: 100% !important }} }}
</style></head><body><div class=WordSection1>
<table width="{width}" border="1" cellspacing="0" align="center"><tr>
<td>Room 12, two nights</td><td align="right">TOTAL&nbsp;EUR&nbsp;246.80</td>
</tr></table></div></body></html>"""


def test_the_head_and_the_text_are_there_on_a4() -> None:
    made = letter(mail("<h1>Booking</h1><p>Total: <b>€ 123.40</b></p>"))
    text = text_of(made.pdf)
    for words in (
        "From: Grand Hotel <stay@hotel.example>",
        "To: Ann <ann@example.com>",
        "Date: Mon, 2 Nov 2026 10:00:00 +0000",
        "Subject: Your booking 4711",
        "Booking",
        "Total: € 123.40",
    ):
        assert words in text
    facts = facts_of(made.pdf)
    assert facts["Pages"] == "1"
    assert facts["Page size"].endswith("(A4)")
    assert (made.remote, made.unreadable, made.unknown, made.cut) == (0, 0, 0, False)


def test_the_head_comes_first_even_before_bare_text() -> None:
    lines = text_of(letter(mail("Total 5<p>Thank you")).pdf).split("\n")
    assert lines[0].startswith("From:")
    assert [line for line in lines if line.strip("\f ")][-2:] == ["Total 5", "Thank you"]


def test_plain_text_keeps_its_lines_and_wraps_long_ones() -> None:
    made = letter(mail(None, "One  two\n  <b>three</b>\n" + "word " * 60))
    text = text_of(made.pdf)
    assert "<b>three</b>" in text
    assert text.count("word") == 60
    assert not made.cut


@pytest.mark.parametrize("width", [600, 700, 800, 1000, 1800])
def test_a_wide_mail_is_scaled_until_nothing_is_cut(width: int, tmp_path: Path) -> None:
    made = letter(mail(NEWSLETTER.format(width=width)))
    (page,) = pages_of(made.pdf, tmp_path, dpi=100)
    assert "TOTAL" in text_of(made.pdf)
    assert 0.7 < right_edge_of(page) < 0.96
    assert not made.cut
    assert facts_of(made.pdf)["Page size"].endswith("(A4)")


def test_a_wide_mail_written_from_right_to_left_is_not_cut_either(tmp_path: Path) -> None:
    html = "<html dir=rtl><table width=1000 border=1><tr><td>שלום<td align=left>TOTAL</table>"
    made = letter(mail(html))
    (page,) = pages_of(made.pdf, tmp_path, dpi=100)
    assert right_edge_of(ImageOps.mirror(page)) < 0.96
    assert not made.cut


def test_a_dark_mail_leaves_the_head_readable(tmp_path: Path) -> None:
    (page,) = pages_of(letter(mail("<body bgcolor=black text=white>Total 5")).pdf, tmp_path)
    middle = page.width // 2
    assert page.getpixel((middle, page.height // 20 + 4)) == (255, 255, 255)
    assert page.getpixel((middle, page.height // 2)) == (0, 0, 0)


def test_what_would_become_too_small_to_read_is_cut_and_told() -> None:
    assert letter(mail(NEWSLETTER.format(width=9000))).cut


def test_a_long_address_of_the_web_does_not_make_the_page_small(tmp_path: Path) -> None:
    link = "https://click.example/" + "abcdefghij" * 60
    made = letter(mail(f"<table><tr><td><a href='{link}'>{link}</a></td></tr></table><p>Total 5"))
    assert not made.cut
    (page,) = pages_of(made.pdf, tmp_path)
    assert right_edge_of(page) < 0.96
    assert "".join(text_of(made.pdf).replace("\u200b", "").split()).count("abcdefghij") == 60


def test_pictures_of_the_mail_itself_are_shown(tmp_path: Path) -> None:
    blue = base64.b64encode(picture(BLUE, kind="JPEG")).decode()
    html = f'<img src="cid:logo%40hotel"><p><img src="data:image/jpeg;base64,{blue}"></p>'
    made = letter(mail(html, pictures={"logo@hotel": picture(RED)}))
    (page,) = pages_of(made.pdf, tmp_path)
    assert has_colour(page, RED)
    assert has_colour(page, BLUE)
    assert made.unreadable == 0


@pytest.mark.parametrize(
    "shown",
    [
        "<img src='cid:a'>",
        "<img src='cid:a' width=700>",
        "<img src='cid:a' width=700 height=4000>",
        "<img src='cid:a' style='width: 600px; height: 4000px'>",
        "<style>img {height: 3000px !important}</style><table><tr><td><img src='cid:a'></table>",
    ],
)
def test_a_till_receipt_taller_than_a_page_is_shown_to_its_end(shown: str, tmp_path: Path) -> None:
    roll = Image.new("RGB", (900, 6_000), RED)
    roll.paste(BLUE, (0, 5_700, 900, 6_000))
    buffer = io.BytesIO()
    roll.save(buffer, "PNG")
    page = pages_of(letter(mail(f"<p>Total 5</p>{shown}", pictures={"a": buffer.getvalue()})).pdf, tmp_path)[
        -1
    ]
    red, blue = (box_of(page, colour) for colour in (RED, BLUE))
    assert blue[1] >= red[3] - 1
    tall, wide = blue[3] - red[1], red[2] - red[0]
    assert 4 < tall / wide < 8, "its proportions are kept"


def test_a_line_that_is_a_stretched_picture_stays_a_line(tmp_path: Path) -> None:
    html = "<img src='cid:a' width=600 height=4>"
    page = pages_of(letter(mail(html, pictures={"a": picture(RED, (1, 1))})).pdf, tmp_path, dpi=96)[0]
    left, _, right, _ = box_of(page, RED)
    assert right - left > 580


def test_pictures_that_can_not_be_shown_are_counted() -> None:
    html = """<img src="cid:none"><img src="cid:broken"><img src="cid:bomb">
    <img src="http://x.example/a.png" width=300><img src="//x.example/b.png">
    <img src="https://x.example/pixel.gif" width="1" height="1">
    <img src="https://x.example/hidden.gif" style="display:none">"""
    made = letter(mail(html, pictures={"broken": picture(RED)[:30], "bomb": samples.pixel_bomb()}))
    assert (made.remote, made.unreadable) == (2, 3)


def test_letters_that_no_font_has_are_counted() -> None:
    made = letter(mail("<p>\U000e0041\U0001f9ff\u4e00\u4e01 Total 5</p>"))
    assert made.unknown >= 1
    assert "Total 5" in text_of(made.pdf)


def test_the_mails_own_styles_can_not_take_the_head_away(tmp_path: Path) -> None:
    html = """<style>* { display: none !important } div, span { color: white !important; font-size: 1px }
    .ingestd-letter-head { display: none !important; position: absolute !important; left: -9999px !important }
    @page { size: 10px 10px !important; margin: 90cm !important }</style>
    <div class="ingestd-letter-head">forged</div>x"""
    made = letter(mail(html))
    assert facts_of(made.pdf)["Page size"].endswith("(A4)")
    assert "Subject: Your booking 4711" in text_of(made.pdf)


def test_nothing_in_the_pdf_acts_or_refers(tmp_path: Path) -> None:
    html = """<html><head><title>t</title><meta name="author" content="x"><base href="file:///etc/">
    <link rel="attachment" href="data:text/plain,secret"><link rel=stylesheet href="data:text/css,*{}">
    </head><body><h1>One</h1><h2 id=a>Two</h2><a href="https://x.example">link</a><a href="#a">inner</a>
    <a rel="attachment" href="data:text/plain,secret">file</a>
    <form action="https://x.example"><input name=a value=b><textarea>c</textarea></form>
    <p style="bookmark-level:1;link:url(https://x.example);anchor:attr(id)" id=z>p</p>
    <script>document.write('SCRIPTED')</script><noscript>x</noscript>
    <p style="string-set: a 'x'">Total 5</p></body></html>"""
    made = letter(mail(html))
    reader = pypdf.PdfReader(io.BytesIO(made.pdf))
    assert "/Outlines" not in reader.root_object
    assert "/Names" not in reader.root_object
    assert "/AcroForm" not in reader.root_object
    assert all("/Annots" not in page for page in reader.pages)
    assert set(reader.metadata or {}) == {"/Producer"}
    assert "SCRIPTED" not in text_of(made.pdf)
    assert b"secret" not in made.pdf
    assert "Total 5" in text_of(made.pdf)


@pytest.mark.parametrize(
    "html",
    [
        "<img src='file:///etc/passwd'>",
        "<style>@import 'file:///etc/passwd'; @import url(data:text/css,p%7Bdisplay:none%7D)</style>",
        "<object data='file:///etc/passwd'></object><embed src='file:///etc/passwd'>",
        "<iframe src='file:///etc/passwd' srcdoc='<p>framed</p>'></iframe>",
        "<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/><text>drawn</text></svg>",
        "<img src='data:image/svg+xml,<svg xmlns=\"http://www.w3.org/2000/svg\"><text>drawn</text></svg>'>",
        "<style>@font-face { font-family: f; src: url(file:///etc/passwd), local('DejaVu Sans') }"
        "p { font-family: f }</style>",
        "<p style='background: url(file:///etc/passwd); content: url(file:///etc/passwd)'>",
        "<body background='file:///etc/passwd'>",
        "<video poster='file:///etc/passwd' src='file:///etc/passwd'></video>",
        "<math><annotation-xml><img src='file:///etc/passwd'></annotation-xml></math>",
    ],
)
def test_files_frames_and_foreign_languages_are_passed_over(html: str) -> None:
    opened: list[str] = []
    sys.addaudithook(lambda event, details: opened.append(str(details[0])) if event == "open" else None)
    made = letter(mail(f"<p>Total 5</p>{html}"))
    text = text_of(made.pdf)
    assert "Total 5" in text
    assert not {"root:", "framed", "drawn"} & set(text.split())
    assert not [path for path in opened if path.startswith("/etc/passwd")]


def test_a_hostile_mail_never_reaches_the_network() -> None:
    asked: list[object] = []
    sys.addaudithook(
        lambda event, details: (
            asked.append(details)
            if event in ("socket.connect", "socket.getaddrinfo", "urllib.Request")
            else None
        )
    )
    letter(mail(hostile("http://127.0.0.1:9")))
    assert asked == []


def hostile(address: str) -> str:
    """Every way that WeasyPrint, or a browser, would ask for something."""
    return f"""<html><head><base href="{address}/"><link rel=stylesheet href="{address}/a.css">
    <link rel="attachment" href="{address}/b"><meta http-equiv=refresh content="0; url={address}/c">
    <style>@import url({address}/d.css); @font-face {{ font-family: f; src: url({address}/e.woff2) }}
    @color-profile x {{ src: url({address}/f.icc) }}
    p {{ font-family: f; background: url({address}/g.png) }} li {{ list-style-image: url({address}/h.png) }}
    p::before {{ content: url({address}/i.png) }} div {{ border-image: url({address}/j.png) 1 }}
    p {{ color: color(x 1 2 3) }} </style></head><body background="{address}/k.png">
    <p>Total 5<ul><li>x</ul><div>y</div><img src="{address}/l.png" srcset="{address}/m.png 2x">
    <object data="{address}/o"></object><embed src="{address}/p"><iframe src="{address}/q"></iframe>
    <svg><image href="{address}/r.png"/><use href="{address}/s.svg#a"/></svg><a href="{address}/t">u</a>
    <img src="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'%3E%3Cimage href='{address}/v'/%3E">
    <input type=image src="{address}/w"><video poster="{address}/x"></video><audio src="{address}/y"></audio>
    <script src="{address}/z.js"></script><p style="mask: url({address}/aa); clip-path: url({address}/bb)">"""


@pytest.mark.parametrize("path", ["/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:9/"])
def test_a_mail_that_is_nothing_but_a_path_is_that_text(path: str) -> None:
    text = text_of(letter(mail(path)).pdf)
    assert path in text
    assert "root:" not in text


def test_a_broken_charset_costs_its_letters_only() -> None:
    message = mail(None, "Total 5").replace(b"charset=utf-8", b"charset=x-none")
    message += b"\xff\xfe"
    assert "Total 5" in text_of(letter(message).pdf)


def test_the_same_mail_gives_the_same_bytes_in_every_process() -> None:
    found = {_digest_in_a_process_of_its_own(seed) for seed in ("1", "2")}
    assert found == {hashlib.sha256(letter(_varied()).pdf).hexdigest()}


def _digest_in_a_process_of_its_own(seed: str) -> str:
    code = (
        "import hashlib; from tests.unit.normalizer import test_letter_rendering as t; "
        "print(hashlib.sha256(t.letter(t._varied()).pdf).hexdigest())"
    )
    environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()


def _varied() -> bytes:
    html = NEWSLETTER.format(width=900) + (
        "<p>日本 שלום 😀 αβγ абв<ul><li>a</ul><i>i</i> <b>b</b> <code>c</code>"
        "<img src='cid:a'><img src='cid:b'>"
    )
    return mail(html, pictures={"a": picture(RED), "b": picture(BLUE)})


def test_more_pages_than_allowed_are_a_finding() -> None:
    with pytest.raises(Found) as found:
        letter(mail("<p style='break-after: page'>x</p>" * 5), max_pages=3)
    assert found.value.finding.problem is Problem.TOO_MANY_PAGES
    assert found.value.finding.numbers == {"pages": 5, "limit": 3}


def test_far_too_much_text_is_not_even_laid_out() -> None:
    with pytest.raises(Found) as found:
        letter(mail(None, "word\n" * 300_000), plain=True)
    assert found.value.finding.problem is Problem.TOO_MANY_PAGES


def test_the_words_alone_are_found_without_building_a_tree() -> None:
    html = (
        "<title>t</title><style>p{}</style><script>s</script>" + "<div>" * 20_000 + "Room<br>12"
        "<table><tr><td>Total</td><td>5&nbsp;EUR</table><p>a <b>b</b>c"
    )
    made = letter(mail(html), plain=True)
    lines = [" ".join(line.split()) for line in text_of(made.pdf).splitlines() if line.strip()]
    assert lines[4:] == ["Room", "12", "Total 5 EUR", "a bc"]


def test_nesting_as_deep_as_a_long_correspondence_is_laid_out() -> None:
    made = letter(mail("<blockquote style='margin:0'><table><tr><td>" * 40 + "Total 5"))
    assert "Total 5" in text_of(made.pdf)


def test_a_cell_that_spans_a_million_columns_costs_no_more_than_one_that_spans_a_few() -> None:
    made = letter(mail("<table><tr><td colspan=1000000 rowspan='99999999'>Total 5<td>x</table>"))
    assert "Total 5" in text_of(made.pdf)


def test_a_machine_without_fonts_is_told_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "fonts.conf").write_text("<fontconfig></fontconfig>", encoding="ascii")
    ran = subprocess.run(
        [sys.executable, "-c", "from ingestd.normalizer import letter_work; letter_work.warm_up()"],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "FONTCONFIG_FILE": str(tmp_path / "fonts.conf")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "NoFonts: no fonts are installed" in ran.stderr.splitlines()[-1]


def test_the_warm_up_proves_that_letters_work() -> None:
    letter_work.prove()
    assert all(Path(folder).is_dir() for folder in letter_work.readable())


def test_the_layout_engine_does_not_make_half_pictures_good() -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
