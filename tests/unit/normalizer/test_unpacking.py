"""Archives: their members come out as they went in, and what an archive says of itself is not believed."""

import io
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from ingestd import samples
from ingestd.normalizer.exchange import Found, Listing, OutputFull, Problem, UnpackRequest
from ingestd.normalizer.unpacking import unpack

ASKED = UnpackRequest(size=0, max_members=5, max_bytes=1_000_000, max_ratio=100, max_depth=3)


@pytest.fixture
def output() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        yield file


def packed(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def contents(listing: Listing, output: BinaryIO) -> dict[str, bytes]:
    output.seek(0)
    data = output.read()
    return {m.name: data[m.offset : m.offset + m.size] for m in listing.members}


def problem(archive: bytes, output: BinaryIO, asked: UnpackRequest = ASKED) -> Problem:
    with pytest.raises(Found) as found:
        unpack(archive, output.fileno(), asked)
    return found.value.finding.problem


@pytest.mark.parametrize("method", [0, 8, 12, 14])
def test_members_come_out_as_they_went_in_and_in_their_order(output: BinaryIO, method: int) -> None:
    members = {"taxi.jpg": samples.jpeg(1), "trip/hotel.pdf": samples.pdf(2), "a.png": samples.small_png(1)}
    archive = packed(*members.items(), method=method)
    listing = unpack(archive, output.fileno(), ASKED)
    assert contents(listing, output) == members
    assert [member.name for member in listing.members] == list(members)


def test_an_archive_within_is_opened_and_an_office_document_is_not(output: BinaryIO) -> None:
    inner = packed(("b.pdf", samples.small_pdf(1)))
    listing = unpack(packed(("in/inner.zip", inner), ("x.docx", samples.docx())), output.fileno(), ASKED)
    assert contents(listing, output) == {"in/inner.zip/b.pdf": samples.small_pdf(1), "x.docx": samples.docx()}


def test_what_calls_itself_a_directory_and_holds_bytes_is_a_file(output: BinaryIO) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("b.jpg_"), b"bytes")
    listing = unpack(buffer.getvalue().replace(b"b.jpg_", b"b.jpg/"), output.fileno(), ASKED)
    assert [member.name for member in listing.members] == ["b.jpg/"]


def test_an_archive_within_that_holds_nothing_is_counted(output: BinaryIO) -> None:
    listing = unpack(packed(("inner.zip", packed(("d/", b""))), ("a.jpg", b"x")), output.fileno(), ASKED)
    assert listing.passed_over == ("inner.zip",)


def test_a_full_disk_is_no_damage() -> None:
    with open("/dev/full", "wb") as full, pytest.raises(OutputFull):  # noqa: PTH123 - a device
        unpack(packed(("a.jpg", b"x")), full.fileno(), ASKED)


def test_directories_and_system_files_are_no_receipts_but_empty_files_are_told(output: BinaryIO) -> None:
    archive = packed(
        ("trip/", b""),
        ("empty.pdf", b""),
        ("__MACOSX/._a.jpg", b"junk"),
        (".DS_Store", b"x"),
        ("a.jpg", b"y"),
    )
    listing = unpack(archive, output.fileno(), ASKED)
    assert [(member.name, member.size) for member in listing.members] == [("empty.pdf", 0), ("a.jpg", 1)]
    assert listing.passed_over == ("__MACOSX/._a.jpg", ".DS_Store")


def test_names_are_passed_on_and_lead_nowhere(output: BinaryIO) -> None:
    listing = unpack(packed(("../../etc/passwd", b"x"), ("/abs", b"y")), output.fileno(), ASKED)
    assert [member.name for member in listing.members] == ["../../etc/passwd", "/abs"]


def test_an_archive_of_nothing_is_said_to_be_empty(output: BinaryIO) -> None:
    assert problem(packed(), output) is Problem.NO_MEMBERS
    assert problem(packed(("d/", b""), (".DS_Store", b"x")), output) is Problem.NO_MEMBERS


def test_bounds_hold_for_the_archive_and_everything_within(output: BinaryIO) -> None:
    many = packed(*((f"{n}.jpg", b"x") for n in range(6)))
    assert problem(many, output) is Problem.TOO_MANY_MEMBERS
    nested = packed(*((f"{n}.zip", packed(("a", b"x"), ("b", b"y"))) for n in range(3)))
    assert problem(nested, output) is Problem.TOO_MANY_MEMBERS
    large = packed(("a", bytes(600_000)), ("b", bytes(600_000)))
    assert problem(large, output) is Problem.UNPACKS_TOO_LARGE
    deep = packed(("a", b"x"))
    for _ in range(3):
        deep = packed(("inner.zip", deep))
    assert problem(deep, output) is Problem.NESTED_TOO_DEEP


def test_an_archive_that_packs_too_well_is_a_bomb(output: BinaryIO) -> None:
    bomb = packed(("a", bytes(40_000_000)))
    asked = UnpackRequest(size=0, max_members=5, max_bytes=400_000_000, max_ratio=100, max_depth=3)
    assert problem(bomb, output, asked) is Problem.UNPACKS_TOO_LARGE
    assert output.seek(0, 2) <= 10_000_000
    blank_scan = packed(("a", bytes(9_000_000)))
    assert unpack(blank_scan, output.fileno(), asked).members


def test_a_size_that_lies_is_not_believed(output: BinaryIO) -> None:
    archive = bytearray(packed(("a", bytes(600_000)), ("b", b"z")))
    directory = archive.index(b"PK\1\2")
    struct.pack_into("<I", archive, directory + 24, 5)  # APPNOTE.TXT 4.3.12: uncompressed size
    asked = UnpackRequest(size=0, max_members=5, max_bytes=400_000, max_ratio=100, max_depth=3)
    with pytest.raises(Found):
        unpack(bytes(archive), output.fileno(), asked)
    assert output.seek(0, 2) <= 400_000


def test_a_password_is_said_to_be_one(output: BinaryIO) -> None:
    archive = bytearray(packed(("a.jpg", b"x" * 100)))
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        archive[archive.index(mark) + offset] |= 1
    assert problem(bytes(archive), output) is Problem.LOCKED_MEMBERS


def test_damage_is_said_to_be_damage(output: BinaryIO) -> None:
    archive = packed(("a.jpg", samples.jpeg(1)))
    assert problem(archive[: len(archive) // 2], output) is Problem.CORRUPT
    broken = bytearray(archive)
    broken[2000] ^= 0xFF
    assert problem(bytes(broken), output) is Problem.CORRUPT
    unknown = bytearray(archive)
    for mark, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        struct.pack_into("<H", unknown, unknown.index(mark) + offset, 97)  # WavPack
    assert problem(bytes(unknown), output) is Problem.UNSUPPORTED
