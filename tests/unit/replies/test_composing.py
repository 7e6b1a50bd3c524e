import email
import email.policy
import re
from collections.abc import Callable
from dataclasses import replace
from email.message import EmailMessage
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.domain.states import State
from ingestd.interfaces import Answer, Mailed, Refusal
from ingestd.replies.composing import (
    LONGEST_SUBJECT,
    MOST_REFERENCES,
    InvalidAddress,
    address,
    compose,
    own_address,
)
from ingestd.replies.wording import Wording
from tests.unit.replies.cases import (
    ARRIVAL,
    NOW,
    a_mixed_bag,
    mailed,
    nothing_found,
    one_good,
    only_its_text,
    receipt,
    too_many,
)

WORDS = Wording.load()
SENDER = own_address("receipts@example.com", name="ingestd")
BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066\u2067]")
HOSTILE = [
    "a.pdf\r\nBcc: eve@example.com",
    "a\r\n\r\n<script>alert(1)</script>",
    "invoice\u202efdp.exe",
    "\u2066\u2067\u2068x\u2069",
    "x" * 10_000,
    "é" * 10_000,
    "<img src=https://evil.example/pixel.png>.pdf",
    '"><b onmouseover="x">',
    "${headline} $more $$ %s {0}",
    "فاتورة الفندق.pdf",
    "חשבונית.pdf",
    "🧾🏨👩‍💼 receipt.pdf",
    "zero\x00byte\x1b[31m\x7f\x85.pdf",
    "lone\ud800surrogate.pdf",
    "line\u2028separator\u2029here",
    "--=_" + ARRIVAL,
    "--=_" + ARRIVAL + "--",
    "=?utf-8?q?=0D=0ABcc=3A_eve=40example=2Ecom?=",
    "\t \t",
    "=?us-ascii?q?=0D=0ABcc:eve=40example=2Ecom?= x",
    "",
]


def written(message: Mailed, *, to: str = "ann@example.com") -> bytes:
    return compose(Answer(mailed=message, to=to), sender=SENDER, words=WORDS, at=NOW).as_bytes()


def read(message: Mailed) -> EmailMessage:
    found = email.message_from_bytes(written(message), policy=email.policy.SMTP)
    assert isinstance(found, EmailMessage)
    return found


def body(message: Mailed, kind: str = "plain") -> str:
    part = read(message).get_body((kind,))
    assert part is not None
    content = part.get_content()
    assert isinstance(content, str)
    return content.replace("\r\n", "\n")


# --- the header --------------------------------------------------------------------------------------------


def test_the_header_has_each_field_once_and_nothing_else() -> None:
    assert [name for name, _ in read(a_mixed_bag()).items()] == [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "In-Reply-To",
        "References",
        "Auto-Submitted",
        "X-Auto-Response-Suppress",
        "MIME-Version",
        "Content-Type",
    ]


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("Hotel bill", "Re: Hotel bill"),
        ("Re: Hotel bill", "Re: Hotel bill"),
        ("RE: re:Re : AW: Hotel bill", "Re: Hotel bill"),
        ("Re[2]: Hotel bill", "Re: Hotel bill"),
        ("Fwd: Hotel bill", "Re: Fwd: Hotel bill"),
        ("Reservation: Lyon", "Re: Reservation: Lyon"),
        ("Hotel\r\nBcc: eve@example.com", "Re: Hotel Bcc: eve@example.com"),
        ("", "Re: your receipts"),
        ("Re:", "Re: your receipts"),
        ("\u202e\u200b", "Re: your receipts"),
        ("Übernachtung  in  Zürich", "Re: Übernachtung in Zürich"),
        ("فاتورة الفندق", "Re: فاتورة الفندق"),
        ("=?utf-8?q?x?=", "Re: =?utf-8?q?x?="),
    ],
)
def test_the_subject_answers_the_original_once_on_one_line(subject: str, expected: str) -> None:
    assert read(mailed(receipt(), subject=subject))["Subject"] == expected


@pytest.mark.parametrize("subject", ["x" * 10_000, "é" * 10_000, "ab é " * 3000, "🧾" * 500])
def test_a_long_subject_is_cut_and_every_line_keeps_to_its_bound(subject: str) -> None:
    raw = written(mailed(receipt(), subject=subject))
    found = read(mailed(receipt(), subject=subject))["Subject"]
    assert len(found) <= LONGEST_SUBJECT
    assert found.endswith("…")
    # RFC 5322 section 2.1.1, and RFC 2047 section 2 for encoded words.
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998
    assert all(len(word) <= 75 for word in re.findall(rb"=\?utf-8\?\S+\?=", raw))


def test_a_message_id_longer_than_a_line_stays_whole() -> None:
    long = f"<{'A' * 120}@{'b' * 60}.prod.outlook.com>"
    raw = written(mailed(receipt(), message_id=long, references=("<first@example.com>", long)))
    header = raw.split(b"\r\n\r\n")[0]
    assert header.count(long.encode()) == 2
    assert b"=?" not in header


def test_references_are_bounded_and_keep_the_first_and_the_last() -> None:
    many = tuple(f"<{n}@example.com>" for n in range(500))
    found = read(mailed(receipt(), message_id=many[-1], references=many))["References"].split()
    assert len(found) == MOST_REFERENCES
    assert (found[0], found[-1], found[-2]) == (many[0], many[-1], many[-2])


@pytest.mark.parametrize(
    "bad",
    [
        "<a@b>\r\nBcc: eve@example.com",
        "<a@b> <c@d>",
        "a@b",
        "<>",
        "<no-at-sign>",
        "<é@example.com>",
        "<a b@example.com>",
        f"<{'x' * 300}@example.com>",
        "",
    ],
)
def test_what_is_no_message_id_is_left_out(bad: str) -> None:
    message = read(mailed(receipt(), message_id=bad, references=(bad, "<good@example.com>")))
    assert "In-Reply-To" not in message
    assert message["References"] == "<good@example.com>"
    alone = read(mailed(receipt(), message_id=bad, references=(bad,)))
    assert "References" not in alone
    assert "Bcc" not in alone


def test_the_message_itself_ends_the_references_also_when_they_lack_it() -> None:
    message = read(mailed(receipt(), message_id="<b@example.com>", references=("<a@example.com>",)))
    assert message["References"] == "<a@example.com> <b@example.com>"


def test_the_answer_is_the_same_each_time_and_another_for_another_arrival() -> None:
    assert written(a_mixed_bag()) == written(a_mixed_bag())
    other = read(mailed(receipt(), arrival="0198563a-9999-7abc-8def-0123456789ab"))
    assert other["Message-ID"] == "<0198563a-9999-7abc-8def-0123456789ab.ingestd@example.com>"
    assert read(mailed(receipt(), arrival="x\r\ny@z>"))["Message-ID"] == "<xyz.ingestd@example.com>"


def test_the_worst_message_makes_a_bounded_answer() -> None:
    long = "é<&" * 4000
    rows = [receipt(*[long] * 20, state=State.REJECTED, reason=long) for _ in range(200)]
    parts = [Refusal(filename=long, reason=f"{n} {long}") for n in range(1000)]
    references = tuple(f"<{n}@example.com>" for n in range(9999))
    assert len(written(mailed(*rows, ignored=parts, subject=long, references=references))) < 1_000_000


def test_it_is_ascii_on_the_wire_whatever_is_named_in_it() -> None:
    raw = written(mailed(*(receipt(name) for name in HOSTILE)))
    assert raw.isascii()
    assert max(len(line) for line in raw.split(b"\r\n")) <= 78


# --- loops -------------------------------------------------------------------------------------------------


def reasons_not_to_answer(message: EmailMessage, envelope_sender: str) -> set[str]:
    """RFC 3834 section 2, and what Exchange adds: each alone forbids an automatic answer."""
    found = set()
    if message.get("Auto-Submitted", "no").split(";")[0].strip().lower() != "no":
        found.add("auto-submitted")
    if envelope_sender == "":
        found.add("null sender")
    if "X-Auto-Response-Suppress" in message:
        found.add("suppressed")
    return found


def test_two_that_answer_each_other_end_after_one_answer() -> None:
    """Each guard alone suffices: a relay that replaces the null sender or drops a field makes no loop."""
    ours = read(one_good())
    assert reasons_not_to_answer(ours, "") == {"auto-submitted", "null sender", "suppressed"}
    assert reasons_not_to_answer(ours, "receipts@example.com") >= {"auto-submitted"}
    assert ours["Auto-Submitted"] == "auto-replied"
    # The rule is no rule that forbids everything:
    person = EmailMessage()
    person["From"] = "ann@example.com"
    assert reasons_not_to_answer(person, "ann@example.com") == set()


def test_it_never_looks_like_a_list_or_like_advertising() -> None:
    ours = read(one_good())
    assert not [name for name in ours if name.lower().startswith("list-") or name.lower() == "precedence"]


# --- hostile names -----------------------------------------------------------------------------------------


class Markup(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def markup(text: str) -> Markup:
    parser = Markup()
    parser.feed(text)
    parser.close()
    return parser


def everywhere(text: str) -> Mailed:
    """A message in which a stranger's text stands wherever a stranger can put one."""
    one = receipt(text, state=State.REJECTED, reason=f"Why: {text}", person=text)
    other = receipt(text, image_id=text or "x", warnings=(text,), person=text)
    return mailed(one, other, ignored=[Refusal(filename=text, reason=f"Why: {text}")], subject=text)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_shown_and_does_nothing(text: str) -> None:
    plain, innocent = everywhere(text), everywhere("a.pdf")
    assert [name for name, _ in read(plain).items()] == [name for name, _ in read(innocent).items()]
    assert [part.get_content_type() for part in read(plain).walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    assert markup(body(plain, "html")).tags == TAGS
    for shown in (body(plain), body(plain, "html")):
        assert not BIDI.search(shown)
        assert all(c.isprintable() or c in "\n\u2068\u2069 " for c in shown)
        assert shown.count("\u2068") == shown.count("\u2069")
        assert len(shown) < 20_000


TAGS = markup(body(everywhere("a.pdf"), "html")).tags


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_no_text_at_all_changes_the_structure(text: str) -> None:
    message = read(everywhere(text))
    assert len(message.items()) == 11
    assert message.defects == []
    html = message.get_body(("html",))
    assert html is not None
    assert markup(html.get_content()).tags == TAGS


def test_a_right_to_left_name_turns_nothing_around() -> None:
    assert "* \u2068חשבונית.pdf\u2069\n  Uploaded to" in body(mailed(receipt("חשבונית.pdf")))


@pytest.mark.parametrize("make", [one_good, a_mixed_bag, only_its_text, nothing_found, too_many])
def test_the_html_loads_nothing_and_links_nowhere(make: Callable[[], Mailed]) -> None:
    text = body(make(), "html")
    found = markup(text)
    assert not set(found.tags) & {"a", "img", "link", "script", "iframe", "object", "form", "video", "svg"}
    assert not found.attributes & {"href", "src", "background", "srcset", "action"}
    assert "url(" not in text
    assert "http" not in text


def test_html_and_text_say_the_same() -> None:
    def words(text: str) -> list[str]:
        return re.sub(r"[*\s]+", " ", text).lower().split()

    shown = markup(body(a_mixed_bag(), "html")).text
    shown = shown[shown.index("}") + 1 :]  # behind the style sheet
    assert words(shown) == [word for word in words(body(a_mixed_bag())) if word != "--"]


# --- addresses ---------------------------------------------------------------------------------------------


def test_an_address_is_nothing_but_an_address() -> None:
    assert address("Ann.B+x@Example.com").addr_spec == "Ann.B+x@Example.com"
    for bad in (
        "Ann <ann@example.com>",
        "ann@example.com,bob@example.com",
        ".ann@example.com",
        "ann@[127.0.0.1]",
    ):
        with pytest.raises(InvalidAddress):
            address(bad)


def test_no_field_of_an_address_can_carry_another_header() -> None:
    with pytest.raises(InvalidAddress):
        written(replace(one_good()), to="ann@example.com\nBcc: eve@example.com")
    named = own_address('"A\r\nBcc: eve@example.com" <a@example.com>', name="ingestd")
    assert "\n" not in str(named)
