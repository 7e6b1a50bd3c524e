"""Names on the wire, and where a server wants its mailboxes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.sources.mail.imap_names import Namespaces, decoded, encoded, quoted

_WITHOUT_ENDINGS = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]))


@given(_WITHOUT_ENDINGS)
def test_every_name_comes_back_from_modified_utf_7_as_it_was(name: str) -> None:
    on_the_wire = encoded(name)
    assert on_the_wire.isascii()
    assert on_the_wire.isprintable()
    assert decoded(on_the_wire) == name


@pytest.mark.parametrize(
    ("name", "on_the_wire"),
    [
        ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # RFC 3501 section 5.1.3
        ("Belege & Bücher", "Belege &- B&APw-cher"),
        ("😀", "&2D3eAA-"),
    ],
)
def test_names_are_encoded_as_the_standard_shows(name: str, on_the_wire: str) -> None:
    assert encoded(name) == on_the_wire


@pytest.mark.parametrize("raw", ["&", "&zz", "&!-", "&AAA-", "&2D0-", "a&b-c"])
def test_a_name_that_is_no_modified_utf_7_stays_as_it_is(raw: str) -> None:
    assert isinstance(decoded(raw), str)
    assert decoded(raw).startswith(raw[:1])


@pytest.mark.parametrize("bad", ["a\rb", "a\nb", "a\r\nA1 DELETE INBOX", "a\0b"])
def test_what_would_end_the_command_line_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="CR, LF and NUL"):
        quoted(bad)
    with pytest.raises(ValueError, match="CR, LF and NUL"):
        encoded(bad)


def test_quotes_and_backslashes_are_escaped() -> None:
    assert quoted('a "b" \\c') == '"a \\"b\\" \\\\c"'


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("inbox", "INBOX"),
        ("Ingestd/Uploaded", "INBOX.Ingestd.Uploaded"),
        ("INBOX/Ingestd", "INBOX.Ingestd"),
        ("Inbox.Ingestd", "Inbox.Ingestd"),
        ("shared.team.Receipts", "shared.team.Receipts"),
        ("shared/team/Receipts", "shared.team.Receipts"),
        ("Inboxes", "INBOX.Inboxes"),
    ],
)
def test_a_server_with_dots_below_inbox_gets_the_names_it_demands(name: str, there: str) -> None:
    assert Namespaces("INBOX.", ".", ("shared.",)).resolve(name) == there


@pytest.mark.parametrize(
    ("spaces", "there"),
    [(Namespaces("", "/"), "Ingestd/Uploaded"), (Namespaces("", ""), "Ingestd-Uploaded")],
)
def test_a_server_with_slashes_or_without_levels_gets_names_it_can_have(
    spaces: Namespaces, there: str
) -> None:
    assert spaces.resolve("Ingestd/Uploaded") == there
