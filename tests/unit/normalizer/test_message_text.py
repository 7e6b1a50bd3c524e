import pytest

from ingestd.normalizer.exchange_mail import Unopenable
from ingestd.normalizer.message_parts import read_message
from ingestd.normalizer.message_text import body_of, texts_of
from tests.mail import samples
from tests.mail.samples import attached, html, message, several, shown, text


def test_html_is_taken_before_plain_text_with_its_pictures() -> None:
    found = texts_of(samples.only_html())
    assert found.html is not None and "Total 23.80" in found.html
    assert found.text == ""
    assert {cid: kind for cid, (kind, _) in found.images.items()} == {
        "l": "image/png",
        "b": "image/png",
        "t": "image/gif",
    }


def test_the_head_holds_what_a_person_looks_at() -> None:
    raw = samples.message(text(), subject="=?utf-8?q?Caf=C3=A9?=", cc="")
    assert texts_of(raw).head == (
        ("From", "Ann Example <ann@example.com>"),
        ("To", "receipts@example.net"),
        ("Date", "Thu, 02 Jul 2026 10:00:00 +0200"),
        ("Subject", "Café"),
    )


def test_plain_text_stays_plain_text() -> None:
    found = texts_of(samples.only_text())
    assert (found.html, found.text, found.images) == (None, "Taxi 4711\nTotal 18.20 EUR", {})


def test_several_texts_follow_one_another_and_plain_ones_are_escaped() -> None:
    found = texts_of(message(several(html("one"), attached(b"%PDF-1.7", "a.pdf"), text("two < 3"))))
    assert found.html is not None
    assert found.html.index("one") < found.html.index("two &lt; 3")


def test_html_is_taken_also_where_plain_text_comes_last() -> None:
    raw = message(several(html("<b>Total 1</b>"), text("Total 1"), kind="alternative"))
    assert texts_of(raw).html == "<html><body><b>Total 1</b></body></html>"


def test_an_html_form_that_shows_nothing_gives_way_to_the_plain_one() -> None:
    raw = message(several(text("Total 1"), html("<style>x{}</style><!-- 1 -->&nbsp;"), kind="alternative"))
    assert (texts_of(raw).html, texts_of(raw).text) == (None, "Total 1")


@pytest.mark.parametrize(
    ("content", "visible"),
    [
        ("<p>&nbsp;&#160;</p>", False),
        ("<style>p {color: red}</style>", False),
        ("<script>let a = 1", False),
        ("<title>Receipt</title>", False),
        ("<!-- Total 1 -->", False),
        ("<img alt='Total 1' src='http://x.y/z'>", False),
        ("<STYLE>a{}</STYLE>5", True),
        ("<p>é", True),
        ("a < b", True),
        ("合計", True),
    ],
)
def test_what_can_be_seen_decides_whether_there_is_a_text(content: str, visible: bool) -> None:
    raw = message(text(content, subtype="html"))
    assert body_of(read_message(raw)).is_visible is visible


def test_files_are_no_text_even_when_they_hold_text() -> None:
    notes = attached(b"my notes", "notes.txt", declared="text/plain")
    inline = attached(b"my notes", "notes.txt", declared="text/plain", disposition="inline")
    for part in (notes, inline):
        assert texts_of(message(several(text("Total 1"), part))).text == "Total 1"


def test_a_text_with_a_name_is_the_text_where_it_comes_first() -> None:
    part = attached(b"Total 1", "body.txt", declared="text/plain", disposition="inline")
    assert texts_of(message(part)).text == "Total 1"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            b"Content-Type: text/html\r\n\r\n<meta charset=iso-8859-1><p>M\xfc",
            "<meta charset=iso-8859-1><p>Mü",
        ),
        (b"Content-Type: text/html; charset=utf-8\r\n\r\n<p>M\xc3\xbc", "<p>Mü"),
        (b"Content-Type: text/html; charset=nonsense\r\n\r\n<p>M\xfc", "<p>Mü"),
    ],
)
def test_the_character_set_is_found_where_it_is_told(raw: bytes, expected: str) -> None:
    assert texts_of(raw).html == expected


def test_flowed_lines_are_joined() -> None:
    head = b"Content-Type: text/plain; format=flowed"
    assert texts_of(head + b"\r\n\r\none \r\ntwo\r\n-- \r\n  x\r\n").text == "one two\n-- \n x\n"
    assert texts_of(head + b"; delsp=yes\r\n\r\none \r\ntwo").text == "onetwo"


def test_pictures_are_named_by_what_they_are() -> None:
    page = several(html("1"), shown(b"no picture", "x"), shown(samples.drawing(9, 9), "y"), kind="related")
    assert {cid: kind for cid, (kind, _) in texts_of(message(page)).images.items()} == {"y": "image/png"}


def test_far_too_much_text_is_refused() -> None:
    with pytest.raises(Unopenable):
        texts_of(message(text("x" * 10_000_001)))


@pytest.mark.parametrize("unit", ["<", "<style", "<!--", "&#1;", "cid:", "<meta ", "</style><style>"])
def test_hostile_html_takes_no_more_than_one_pass(unit: str) -> None:
    body = body_of(read_message(message(text(unit * (2_000_000 // len(unit)), subtype="html"))))
    assert body.is_visible is (unit == "cid:")


@pytest.mark.parametrize("raw", samples.everything())
def test_the_same_bytes_give_the_same_text(raw: bytes) -> None:
    assert texts_of(raw) == texts_of(raw)
