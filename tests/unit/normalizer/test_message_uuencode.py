import binascii
import time

import pytest

from ingestd import samples as documents
from ingestd.normalizer.exchange_mail import Excuse, Obstacle
from ingestd.normalizer.message_text import texts_of
from ingestd.normalizer.message_uuencode import uu_files, without_uu_files
from tests.mail.samples import attached, deep, message, several, text, uuencoded, winmail
from tests.unit.normalizer.opening import obstacle, opened

PDF = documents.small_pdf(1)


def found_in(raw: bytes) -> list[tuple[str, bytes]]:
    return [(file.name, file.content) for file in uu_files(raw)]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("backtick", [True, False])
def test_a_file_within_the_text_is_found_and_leaves_the_text(line_end: bytes, backtick: bool) -> None:
    block = uuencoded(PDF, "scan 1.pdf", backtick=backtick).replace(b"\r\n", line_end)
    raw = b"Hello," + line_end + block + b"Regards"
    assert found_in(raw) == [("scan 1.pdf", PDF)]
    assert without_uu_files(raw) == b"Hello," + line_end + b"Regards"


def test_blanks_that_a_server_cut_off_at_the_ends_of_lines_are_put_back() -> None:
    block = uuencoded(bytes(200), "zeros", backtick=False)
    assert b"  \r\n" in block
    cut = b"\r\n".join(line.rstrip() for line in block.split(b"\r\n"))
    assert found_in(b"begin 644 a\r\n" + cut) == []  # the first line has to be whole
    assert [len(content) for _, content in found_in(uuencoded(b"abc" * 15 + bytes(200), "zeros"))] == [245]


def test_a_check_letter_at_the_end_of_each_line_does_not_matter() -> None:
    lines = uuencoded(PDF, "a.pdf").split(b"\r\n")
    assert found_in(b"\r\n".join([lines[0], *(one + b"X" for one in lines[1:-3]), *lines[-3:]])) == [
        ("a.pdf", PDF)
    ]


def test_several_files_come_in_their_order_and_one_that_breaks_off_with_what_is_there() -> None:
    cut = uuencoded(PDF, "b.pdf")[:400]
    raw = uuencoded(b"a" * 100, "a.txt") + b"and\r\n" + cut
    (first, second) = found_in(raw)
    assert first == ("a.txt", b"a" * 100)
    assert second[0] == "b.pdf" and PDF.startswith(second[1][:200])


@pytest.mark.parametrize(
    "prose",
    [
        b"begin 644 scan.pdf\nis how such a file starts.\nend\n",
        b"begin 644 scan.pdf\n",
        b"begin 644 scan.pdf",
        b"begin 999 a\nM" + b"A" * 60 + b"\n",
        b"We begin 644 times\nM" + b"A" * 60 + b"\n",
        b"begin 644 a\nM" + b"A" * 40 + b"\n",
        b"",
    ],
)
def test_what_people_write_about_such_files_stays_text(prose: bytes) -> None:
    assert (found_in(prose), without_uu_files(prose)) == ([], prose)


def test_ten_megabytes_of_beginnings_cost_no_more_than_reading_them() -> None:
    for line in (b"begin 644 a\n", b"begin 644 " + b" " * 200 + b"\n", b"begin 644 a\nM" + b"A" * 60 + b"\n"):
        raw = line * (10_000_000 // len(line))
        before = time.process_time()
        without_uu_files(raw)
        assert time.process_time() - before < 5


def test_an_old_scanner_s_text_is_left_out_and_its_file_is_the_receipt() -> None:
    found = opened(
        message(text("Device: 4711\n" + uuencoded(PDF, "scan.pdf").decode().replace("\r\n", "\n")))
    )
    assert [(leaf.name, leaf.inline, leaf.text, content) for leaf, content in found.leaves] == [
        ("scan.pdf", False, False, PDF)
    ]


def test_a_text_file_that_is_nothing_but_such_a_file_gives_way_to_it() -> None:
    part = attached(uuencoded(PDF, "scan.pdf"), "scan.uue", declared="application/octet-stream")
    assert opened(message(several(text(), part))).names == ["scan.pdf"]
    with_words = attached(b"Total 1\r\n" + uuencoded(PDF, "scan.pdf"), "a.txt", declared="text/plain")
    assert opened(message(several(text(), with_words))).names == ["a.txt"]


def test_what_is_no_receipt_in_it_is_left_out_and_the_words_are_the_receipt() -> None:
    card = uuencoded(b"BEGIN:VCARD\r\nEND:VCARD\r\n" + b" " * 40, "ann.vcf").decode().replace("\r\n", "\n")
    raw = message(text("Taxi, total 18.20 EUR\n" + card))
    found = opened(raw)
    assert ([leaf.whole for leaf, _ in found.leaves], found.excuses) == ([True], {"ann.vcf": Excuse.CONTACT})
    assert texts_of(raw).text == "Taxi, total 18.20 EUR\n"


def test_such_files_count_as_parts_and_their_depth_counts() -> None:
    many = b"".join(uuencoded(f"%PDF-{n}".encode(), f"{n}.pdf") for n in range(600))
    assert obstacle(message(text(many.decode().replace("\r\n", "\n")))) in (
        Obstacle.TOO_MANY_PARTS,
        Obstacle.TOO_MANY_LEAVES,
    )
    container = winmail(("a.pdf", PDF))
    for _ in range(30):
        container = winmail(("winmail.dat", container))
    assert obstacle(message(attached(container, "winmail.dat"))) is Obstacle.NESTED_TOO_DEEP
    inside = uuencoded(deep(15), "mail.eml").decode().replace("\r\n", "\n")
    assert opened(message(text(inside))).opened.leaves


def test_binascii_agrees() -> None:
    """What is made here is what everybody else makes."""
    assert binascii.a2b_uu(uuencoded(b"abc", "a").split(b"\r\n")[1]) == b"abc"
