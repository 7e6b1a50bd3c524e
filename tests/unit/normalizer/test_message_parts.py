import email
import email.message

import pytest

from ingestd.normalizer.exchange_mail import Obstacle, Unopenable
from ingestd.normalizer.message_parts import MOST_DEPTH, MOST_PARTS, Bounds, Part, read_message
from tests.mail import samples


def shape(part: Part) -> list[tuple[int, str, bytes]]:
    """Depth, type and bytes of each part that is not made of parts."""
    return [(p.depth, p.mime_type, p.content) for p in part.walk() if not p.parts]


def shape_by_the_library(message: email.message.Message, depth: int = 0) -> list[tuple[int, str, bytes]]:
    if message.get_content_type() == "message/rfc822":
        inner = message.get_payload(0)
        assert isinstance(inner, email.message.Message)
        return [(depth, "message/rfc822", inner.as_bytes().replace(b"\r\n", b"\n"))]
    if message.is_multipart():
        parts = message.get_payload()
        assert isinstance(parts, list)
        found = [
            shape_by_the_library(part, depth + 1) for part in parts if isinstance(part, email.message.Message)
        ]
        return [one for several in found for one in several]
    content = message.get_payload(decode=True)
    assert isinstance(content, bytes)
    return [(depth, message.get_content_type(), content.replace(b"\r\n", b"\n"))]


SOUND = {
    make.__name__: make()
    for make in (
        *(samples.with_pdf, samples.a_scanner, samples.apple_mail, samples.outlook, samples.only_html),
        *(samples.only_text, samples.without_anything, samples.rich_text, samples.names_in_every_way),
    )
}


@pytest.mark.parametrize("raw", SOUND.values(), ids=SOUND.keys())
def test_sound_messages_have_the_parts_that_the_standard_library_finds(raw: bytes) -> None:
    found = [
        (depth, kind, content.replace(b"\r\n", b"\n")) for depth, kind, content in shape(read_message(raw))
    ]
    assert found == shape_by_the_library(email.message_from_bytes(raw))


def test_a_message_within_a_message_stays_whole() -> None:
    inner = samples.only_text()
    raw = samples.message(samples.several(samples.text(), samples.forwarded(inner)))
    assert [part.content for part in read_message(raw).walk()][-1] == inner


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        # no end; the end within the last line; blanks behind the boundary; line feeds only
        (b"--b\r\n\r\none\r\n--b\r\n\r\ntwo", [b"one", b"two"]),
        (b"--b\r\n\r\none\r\n--b--", [b"one"]),
        (b"--b  \t\r\n\r\none\r\n--b-- \r\nepilogue", [b"one"]),
        (b"preamble\n--b\n\none\n\n--b--\n", [b"one\n"]),
        # a boundary that only begins like it; one in the middle of a line; an empty part
        (b"--b\r\n\r\n--bb\r\n x--b\r\n--b--", [b"--bb\r\n x--b"]),
        (b"--b\r\n--b\r\n\r\ntwo\r\n--b--", [b"", b"two"]),
        (b"no boundary at all", []),
    ],
)
def test_boundaries_are_found_as_mail_programs_find_them(raw: bytes, expected: list[bytes]) -> None:
    message = read_message(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + raw)
    assert [part.content for part in message.parts] == expected


def test_a_boundary_that_nobody_told_is_taken_from_the_text() -> None:
    message = read_message(b"Content-Type: multipart/mixed\r\n\r\n--=_x\r\n\r\none\r\n--=_x--\r\n")
    assert [part.content for part in message.parts] == [b"one"]


def test_an_inner_multipart_without_an_end_ends_with_the_outer_part() -> None:
    inner = b"Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\none"
    raw = b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n" + inner + b"\r\n--o\r\n\r\ntwo\r\n--o--"
    assert [content for _, _, content in shape(read_message(raw))] == [b"one", b"two"]


@pytest.mark.parametrize(
    ("encoding", "raw", "expected"),
    [
        (b"base64", b"YWJj", b"abc"),
        (b"BASE64 (of course)", b"YWJj", b"abc"),
        (b"quoted-printable", b"a=3Db=\r\nc =ZZ", b"a=bc =ZZ"),
        (b"x-uuencode", b"begin 644 a.pdf\r\n#86)C\r\n`\r\nend\r\n", b"abc"),
        (b"x-uuencode", b"begin 644 a.pdf\n#86)C  junk\n\x7f\x80\nend", b"abc"),
        (b"8bit", b"\xff\x00", b"\xff\x00"),
        (b"unheard-of", b"as it is", b"as it is"),
    ],
)
def test_each_transfer_encoding_is_undone(encoding: bytes, raw: bytes, expected: bytes) -> None:
    message = read_message(b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + raw)
    assert message.content.strip(b"\n") == expected


def test_a_type_that_is_none_is_plain_text() -> None:
    for declared in (b"", b"text", b"x" * 500, b"a/b/c", b"=?utf-8?q?a?=/b"):
        assert read_message(b"Content-Type: " + declared + b"\r\n\r\n").mime_type == "text/plain"


@pytest.mark.parametrize(
    ("raw", "obstacle"),
    [
        (samples.deep(), Obstacle.NESTED_TOO_DEEP),
        (samples.deep(MOST_DEPTH + 1), Obstacle.NESTED_TOO_DEEP),
        (samples.many_parts(), Obstacle.TOO_MANY_PARTS),
        (samples.many_parts(1_000), Obstacle.TOO_MANY_PARTS),
        (samples.many_parts(MOST_PARTS), Obstacle.TOO_MANY_PARTS),  # and the message itself
        (samples.many_near_boundaries(), Obstacle.TANGLED),
    ],
)
def test_what_is_beyond_a_bound_is_an_obstacle(raw: bytes, obstacle: Obstacle) -> None:
    with pytest.raises(Unopenable) as found:
        read_message(raw)
    assert found.value.obstacle is obstacle


def test_what_is_just_within_the_bounds_is_read() -> None:
    assert len(list(read_message(samples.deep(MOST_DEPTH)).walk())) == MOST_DEPTH + 1
    assert len(read_message(samples.many_parts(MOST_PARTS - 1)).parts) == MOST_PARTS - 1


def test_decoded_bytes_are_counted_over_all_parts() -> None:
    bounds = Bounds(decoded_bytes=100_000_000 - 5)
    message = read_message(samples.only_text(), bounds)
    with pytest.raises(Unopenable) as found:
        assert message.content
    assert found.value.obstacle is Obstacle.TOO_LARGE
