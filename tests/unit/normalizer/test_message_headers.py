import pytest

from ingestd.normalizer.exchange_mail import Obstacle, Unopenable
from ingestd.normalizer.message_charsets import decoded
from ingestd.normalizer.message_headers import (
    MOST_ADDRESS_BYTES,
    MOST_FIELD_BYTES,
    MOST_HEADER_BYTES,
    MOST_LINES,
    Header,
    base64_bytes,
    main_value,
    parameters,
    read_header,
    text_of,
)


def header(raw: bytes) -> Header:
    return read_header(raw, 0, len(raw))[0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"plain", "plain"),
        (b"=?utf-8?B?SG90ZWwg4oKs?=", "Hotel €"),
        (b"=?iso-8859-1?Q?M=FCnchen_1?= =?iso-8859-1?q?_2?=", "München 1 2"),
        (b"=?utf-8?q?=E2=82?= =?utf-8?q?=AC?=", "€"),  # a character in two words
        (b"a =?utf-8?q?b?= c", "a b c"),
        (b"=?utf-8*de?q?b?=", "b"),  # with a language, RFC 2231 section 5
        (b"=?gb2312?B?xOO6ww==?=", "你好"),
        (b"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
        (b"=?ks_c_5601-1987?B?x9GxuQ==?=", "한국"),
        (b"=?unheard-of?q?M=FC?=", "Mü"),
        (b"=?zlib?q?x?=", "x"),  # no codec that is no character set
        (b"=?utf-8?q?a=0D=0ABcc:_x@y.z?=", "a Bcc: x@y.z"),  # no line break ever comes out
        (b"=?utf-8?b?!!!?=", ""),
        (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
        (b"M\xfcnchen", "München"),
        ("München €".encode(), "München €"),
        (b"a\tb\x07c", "a b c"),
    ],
)
def test_encoded_words_and_raw_bytes_become_one_line_of_text(value: bytes, expected: str) -> None:
    assert text_of(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'text/plain; charset="utf-8"; format=flowed', {"charset": "utf-8", "format": "flowed"}),
        (b"x; name=my receipt.pdf ; y=1", {"name": "my receipt.pdf", "y": "1"}),
        (b'x; name="a;\\"b\\".pdf"', {"name": 'a;"b".pdf'}),
        (b"x; name*=utf-8''%E2%82%AC.pdf; name=plain.pdf", {"name": "€.pdf"}),
        (b"x; name*1=b; name*0=a; name*3=lost", {"name": "ab"}),
        (b"x; name*1*=utf-8''a; name*2=b", {"name": "ab"}),
        (b"x; name*0*=utf-8''%C3; name*1*=%BC", {"name": "ü"}),
        (b"x; name*=%FC", {"name": "ü"}),
        (b"x; name*=unheard-of'de'%FC", {"name": "ü"}),
        (b'x; name="=?utf-8?q?=E2=82=AC?="', {"name": "€"}),
        (b'x; name="never closed', {"name": "never closed"}),
        (b"x; ; ;=; =a; name=b", {"name": "b"}),
        (b"x; name=a; name=b", {"name": "a"}),
    ],
)
def test_parameters_are_read_in_every_form(value: bytes, expected: dict[str, str]) -> None:
    assert dict(parameters(value)) == expected


def test_the_main_value_is_told_without_parameters_and_comments() -> None:
    assert main_value(b" Text/HTML;charset=x") == "text/html"
    assert main_value(b"base64 (really)") == "base64"
    assert main_value(b"") == ""


def test_fields_are_unfolded_and_the_body_begins_behind_the_blank_line() -> None:
    raw = b"From nobody Thu Jan  1 00:00:00 1970\r\nA: 1\r\n 2\r\n\t3\r\nB : x\nC:y\r\n\r\nbody"
    found, body = read_header(raw, 0, len(raw))
    assert found.fields == (("a", b"1 2\t3"), ("b", b"x"), ("c", b"y"))
    assert raw[body:] == b"body"


def test_a_line_that_is_no_field_begins_the_body() -> None:
    raw = b"A: 1\r\nDear all\r\nFrom: x\r\n\r\n"
    found, body = read_header(raw, 0, len(raw))
    assert found.fields == (("a", b"1"),)
    assert raw[body:].startswith(b"Dear all")


def test_a_long_line_that_is_no_field_is_a_body_without_a_header() -> None:
    raw = b"<html>" + b"x" * (2 * MOST_HEADER_BYTES)
    assert read_header(raw, 0, len(raw)) == (Header(), 0)
    assert header(b"A: b\n" + raw).fields == (("a", b"b"),)


@pytest.mark.parametrize(
    ("raw", "obstacle"),
    [
        (b"A: " + b"x" * MOST_HEADER_BYTES + b"\n\n", Obstacle.HEADER_TOO_LONG),
        (b"A: b\n" * (MOST_LINES + 1) + b"\n", Obstacle.TOO_MANY_LINES),
        (b"From: " + b"x" * (MOST_ADDRESS_BYTES + 1) + b"\n\n", Obstacle.SENDER_TOO_LONG),
    ],
)
def test_a_header_beyond_a_bound_is_an_obstacle(raw: bytes, obstacle: Obstacle) -> None:
    with pytest.raises(Unopenable) as found:
        header(raw)
    assert found.value.obstacle is obstacle


def test_long_fields_that_decide_nothing_are_cut_off() -> None:
    found = header(b"To: " + b"a" * 50_000 + b"\nX: " + b"a" * 40_000 + b"\n\n")
    assert [len(value) for _, value in found.fields] == [MOST_ADDRESS_BYTES, MOST_FIELD_BYTES]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"YWJj", b"abc"),
        (b"YW\r\nJ!j", b"abc"),
        (b"YWI", b"ab"),
        (b"YWJjZ", b"abc"),
        (b"YQ==YWJj", b"a"),
        (b"", b""),
    ],
)
def test_damaged_base64_gives_what_is_left_of_it(raw: bytes, expected: bytes) -> None:
    assert base64_bytes(raw) == expected


@pytest.mark.parametrize(
    ("data", "charset", "expected"),
    [
        (b"\x80 5", "iso-8859-1", "€ 5"),
        ("Привет".encode("koi8-r"), "koi8-r", "Привет"),
        ("Привет".encode("cp1251"), "windows-1251", "Привет"),
        ("日本".encode("cp932"), "Shift_JIS", "日本"),
        ("中文".encode("big5"), "big5", "中文"),
        ("中文㐀".encode("gb18030"), "GBK", "中文㐀"),
        (b"+AOQ-", "utf-7", "ä"),
        ("ä".encode("utf-16"), "utf-16", "ä"),
        (b"odd", "utf-16", "\u646f\ufffd"),
        ("ä".encode(), "us-ascii", "ä"),
        (b"\xe4", "utf-8", "ä"),
        (b"\xef\xbb\xbfa", "", "a"),
        (b"%41", "idna", "%41"),
    ],
)
def test_text_is_read_in_the_character_set_that_is_meant(data: bytes, charset: str, expected: str) -> None:
    assert decoded(data, charset) == expected
