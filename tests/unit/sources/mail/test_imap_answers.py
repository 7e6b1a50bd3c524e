"""What the answers of servers say, those that no server should send included."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.sources.mail import imap_answers
from ingestd.sources.mail.imap_answers import Moved, Outline
from ingestd.sources.mail.imap_names import Namespaces


@given(
    st.lists(
        st.text(st.sampled_from('*() "\\[]{}<>ABFETCHUIDLS19\0é')).map(str.encode), min_size=1, max_size=3
    )
)
def test_whatever_a_server_sends_is_read_or_refused(parts: list[bytes]) -> None:
    with suppress(ValueError):
        imap_answers.read(tuple(parts))


def test_lists_within_lists_without_an_end_are_refused() -> None:
    with pytest.raises(ValueError, match="lists within lists"):
        imap_answers.read((b"* 1 FETCH " + b"(" * 100_000,))


def test_parentheses_and_quotes_within_strings_are_part_of_them() -> None:
    listed = [
        (b'* LIST (\\HasNoChildren) "/" "a (b \\"c\\" )) d"',),
        (b'* LIST () "/" ', b'Lit"eral ((', b""),
        (b"* LIST (\\HasNoChildren) NIL plain",),
        (b'* LIST (\\NonExistent) "/" gone',),
        (b'* LIST () "/" "B&APw-cher &- mehr"',),
        (b'* LIST () "/" unbalanced(',),
    ]
    assert imap_answers.mailbox_names(listed) == [
        'a (b "c" )) d',
        'Lit"eral ((',
        "plain",
        "Bücher & mehr",
    ]


@pytest.mark.parametrize(
    ("header", "sender"),
    [
        (b"From: Ann <Ann@Example.COM>\r\n\r\n", "ann@example.com"),
        (b"FROM:\r\n ann@example.com (Ann)\r\n\r\n", "ann@example.com"),
        (b'From: "boss@bank.example" <evil@example.org>\r\n', "evil@example.org"),
        (b"From: a@b, c@d\r\n", "a@b"),
        (b"From: undisclosed <>\r\n", ""),
        (b"From: " + b"<@" * 5000, ""),
        (b"\r\n", ""),
        (b"", ""),
        ("From: Jürgen <jürgen@example.com>\r\n".encode(), "jürgen@example.com"),
    ],
)
def test_the_rough_sender_is_the_address_that_a_mail_program_would_show(header: bytes, sender: str) -> None:
    assert imap_answers.rough_sender(header) == sender


@pytest.mark.parametrize("hostile", [b"\x1bc", b"\xc2\x9b31m", b"\0", "\u202e".encode()])
def test_a_rough_sender_that_a_terminal_would_obey_is_none(hostile: bytes) -> None:
    assert imap_answers.rough_sender(b"From: Ann <" + hostile + b"ann@example.com>\r\n") == ""


def test_an_outline_survives_flags_of_others_in_between() -> None:
    answers = [
        (b"* 3 FETCH (FLAGS (\\Seen))",),
        (
            b"* 1 FETCH (UID 5 FLAGS (\\Seen $X) RFC822.SIZE 1234 MODSEQ (77) BODY[HEADER.FIELDS (FROM)]<0> ",
            b"From: a@b\r\n\r\n",
            b")",
        ),
        (b"* 2 EXPUNGE",),
    ]
    flags = frozenset({"\\Seen", "$X"})
    assert imap_answers.outlines(answers) == [Outline(uid=5, size=1234, flags=flags, sender="a@b", modseq=77)]


def test_a_search_answer_may_come_in_pieces_and_with_a_modseq() -> None:
    answers = [(b"* SEARCH 5 3",), (b"* SEARCH 4 (MODSEQ 99)",), (b"* SEARCH",), (b"* 7 EXISTS",)]
    assert imap_answers.found_uids(answers) == [3, 4, 5]


@pytest.mark.parametrize(
    ("text", "before", "place"),
    [
        ("[COPYUID 77 5 9] done", b"* 5 EXPUNGE", Moved(uidvalidity=77, uid=9)),
        ("done", b"* OK [COPYUID 77 5 9] moved", Moved(uidvalidity=77, uid=9)),
        ("done", b"* OK moved", None),
        ("[COPYUID 77 5:6 9:10] done", b"* OK", None),
    ],
)
def test_the_new_place_of_a_message_is_found_wherever_the_server_tells_it(
    text: str, before: bytes, place: Moved | None
) -> None:
    assert imap_answers.copied(text, [(before,)]) == place


def test_namespaces_are_read_with_their_prefixes_and_without() -> None:
    cyrus = (b'* NAMESPACE (("INBOX." ".")) (("user." ".")) (("shared." ".")("#news." "."))',)
    assert imap_answers.namespaces([cyrus]) == Namespaces("INBOX.", ".", ("user.", "shared.", "#news."))
    assert imap_answers.namespaces([(b'* NAMESPACE (("" "/")) NIL NIL',)]) == Namespaces("", "/")
    assert imap_answers.namespaces([(b'* NAMESPACE (("" NIL)) NIL NIL',)]) == Namespaces("", "")
    assert imap_answers.namespaces([(b"* NAMESPACE NIL NIL NIL",)]) == Namespaces()


def test_a_mailbox_whose_uids_do_not_last_is_told_from_one_whose_do() -> None:
    assert imap_answers.selected([(b"* 3 EXISTS",)]) is None
    seen = imap_answers.selected(
        [
            (b"* FLAGS (\\Seen $Old)",),
            (b"* OK [PERMANENTFLAGS (\\Seen \\Deleted \\*)] Limited",),
            (b"* 3 EXISTS",),
            (b"* OK [UIDVALIDITY 42] UIDs valid",),
            (b"* OK [UIDNEXT 9] Predicted",),
            (b"* OK [HIGHESTMODSEQ 4711] Highest",),
        ]
    )
    assert seen is not None
    assert (seen.uidvalidity, seen.exists, seen.uidnext, seen.highestmodseq) == (42, 3, 9, 4711)
    assert seen.keywords
    assert seen.flags == {"\\Seen", "\\Deleted"}


def test_a_quota_without_a_limit_of_storage_is_none() -> None:
    assert imap_answers.storage_quota([(b'* QUOTA "User quota" (MESSAGE 1 10 STORAGE 12 512)',)]) == (12, 512)
    assert imap_answers.storage_quota([(b'* QUOTA "User quota" ()',)]) is None
    assert imap_answers.storage_quota([]) is None
