"""File names are data: shown and stored, never a path, never able to break a line or a terminal."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from ingestd.domain.document import FILENAME_BYTES, display_name


@given(st.text())
def test_a_display_name_is_one_short_visible_line(raw: str) -> None:
    name = display_name(raw)
    assert 0 < len(name.encode()) <= FILENAME_BYTES
    assert not any(unicodedata.category(c).startswith("C") for c in name)
    assert "/" not in name and "\\" not in name and name not in (".", "..")


def test_the_extension_survives_shortening() -> None:
    assert display_name("ü" * 300 + ".jpeg").endswith("ü.jpeg")


def test_bidi_tricks_and_undecodable_bytes_are_defused() -> None:
    assert display_name("invoice\u202egpj.exe") == "invoicegpj.exe"
    assert display_name("caf\udce9.pdf") == "caf\ufffd.pdf"


def test_the_same_name_typed_on_two_systems_is_the_same() -> None:
    assert display_name("Müller.pdf") == display_name("Mu\u0308ller.pdf")
