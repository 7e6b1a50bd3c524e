import struct

import pytest

from ingestd import samples as documents
from ingestd.normalizer.message_tnef import DamagedTnef, TnefFile, tnef_files
from tests.mail.samples import winmail

PDF = documents.small_pdf(1)


def test_files_come_with_their_long_names_in_order() -> None:
    names = ["Rechnung für März 2026.pdf", "領収書.pdf", "c.pdf"]
    assert tnef_files(winmail(*((name, PDF) for name in names))) == [
        TnefFile(name=n, content=PDF) for n in names
    ]


def test_a_message_inside_is_opened_as_well() -> None:
    container = winmail(("a.pdf", PDF), embedded=winmail(("b.pdf", PDF)))
    assert [file.name for file in tnef_files(container)] == ["a.pdf", "b.pdf"]


def test_containers_within_containers_end_somewhere() -> None:
    container = winmail(("a.pdf", PDF))
    for _ in range(20):
        container = winmail(embedded=container)
    with pytest.raises(DamagedTnef):
        tnef_files(container)


def test_without_files_there_are_none() -> None:
    assert tnef_files(winmail()) == []


def test_padding_at_the_end_does_not_matter() -> None:
    assert len(tnef_files(winmail(("a.pdf", PDF)) + bytes(100))) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x78\x9f\x3e\x22",
        winmail(("a.pdf", PDF))[:-10],
        winmail(("a.pdf", PDF))[:200],
        b"MZ" + winmail(("a.pdf", PDF)),
        winmail(("a.pdf", PDF)) + b"\2" + bytes(3),
        # numbers that would keep the library busy for hours: attributes, properties of an attachment
        winmail(("a.pdf", PDF)) + struct.pack("<BIIH", 2, 0x00069002, 0, 0) * 5_000,
        winmail() + struct.pack("<BIII", 2, 0x00069005, 4, 0xFFFFFFFF)[:-2] + b"\xff\xff\0\0",
    ],
)
def test_a_damaged_container_is_told_at_once(data: bytes) -> None:
    with pytest.raises(DamagedTnef):
        tnef_files(data)
