"""What the sender reads, for every way a receipt can end."""

import pytest

from ingestd.domain.states import State
from ingestd.interfaces import Mailed, Refusal
from ingestd.replies.verdicts import MOST_ROWS, Content, Verdict, content
from ingestd.replies.wording import Wording
from tests.unit.replies.cases import (
    BLURRED,
    DAY,
    LOGOS,
    NOW,
    PASSWORD,
    a_mixed_bag,
    document,
    mailed,
    nothing_found,
    only_its_text,
    receipt,
    too_many,
)

WORDS = Wording.load()


def said(message: Mailed) -> Content:
    return content(message, WORDS, own_name="ingestd")


def lines(message: Mailed) -> str:
    return "\n".join(
        line for section in said(message).sections for entry in section.entries for line in entry.lines
    )


def titles(message: Mailed) -> list[str]:
    return [entry.title for section in said(message).sections for entry in section.entries]


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_headline_a_section_and_a_sentence(state: State) -> None:
    for repeat in (False, True):
        one = said(mailed(receipt("a.pdf", state=state, reason="Because.", repeat=repeat, arrival="another")))
        (section,) = one.sections
        assert section.kind in set(Verdict)
        assert section.heading
        assert section.entries[0].lines[0]
        assert one.headline.startswith("Your receipt")
        both = said(mailed(receipt(state=state, repeat=repeat), receipt(state=state, repeat=repeat)))
        assert "2 " in both.headline


def test_an_uploaded_receipt_names_its_place_and_image_id_and_its_warning() -> None:
    text = lines(mailed(receipt("a.pdf", slot="report/R7", warnings=(BLURRED,), person="Ann")))
    assert (
        text
        == f"Uploaded to concur, expense report R7, for Ann. Image ID 8E2F31C4A9.\nPlease check: {BLURRED}"
    )


@pytest.mark.parametrize(
    ("slot", "place"),
    [
        ("receipt", "concur, available receipts"),
        ("expenseentry/E1", "concur, expense entry E1"),
        ("invoice/I1", "concur, invoice I1"),
        ("report/R1", "concur, expense report R1"),
        ("album/A1", "concur, album A1"),
        ("somethingnew/N1", "concur, somethingnew/N1"),
    ],
)
def test_a_place_is_named_in_a_clerks_words(slot: str, place: str) -> None:
    assert f"Uploaded to {place}." in lines(mailed(receipt(slot=slot)))


def test_a_repeat_tells_the_first_image_id_and_day() -> None:
    text = lines(mailed(receipt(repeat=True, arrival="an older one", at=NOW - 16 * DAY)))
    assert "Here already since 2026-07-13, as image ID 8E2F31C4A9" in text
    assert "not uploaded again" in text


def test_the_same_file_twice_in_one_message_is_not_called_an_older_one() -> None:
    text = lines(mailed(receipt("a.pdf"), receipt("copy of a.pdf", repeat=True)))
    assert "It came twice in this message" in text
    assert "since" not in text


def test_a_refused_receipt_says_why_how_to_fix_it_and_whom_to_ask() -> None:
    text = lines(mailed(receipt(state=State.REJECTED, reason=PASSWORD)))
    assert PASSWORD in text
    assert "Receipt ID 0198563a-2222" in text
    assert "send the receipt again" in said(mailed(receipt(state=State.REJECTED))).sections[0].advice


@pytest.mark.parametrize("state", [State.HELD, State.UNCONFIRMED])
def test_what_waits_for_a_person_does_not_wait_for_the_sender(state: State) -> None:
    (section,) = said(mailed(receipt(state=state, reason="Because."))).sections
    assert section.advice == "Somebody has to decide. Please do not send it again, unless it says so below."


def test_what_needs_the_sender_comes_first_and_the_logos_last() -> None:
    kinds = [section.kind for section in said(a_mixed_bag()).sections]
    assert kinds == ["refused", "waiting", "uploaded", "repeated", "dropped", "left_out"]
    assert said(a_mixed_bag()).headline == (
        "Your 9 receipts: 2 not uploaded, 2 waiting for a decision, 2 uploaded, 2 here already, 1 not needed."
    )


def test_parts_left_out_for_one_reason_stand_together() -> None:
    section = said(nothing_found()).sections[-1]
    assert [entry.title for entry in section.entries] == ["logo.png, image001.png", "facebook.gif"]


def test_a_message_without_any_receipt_says_so_and_what_to_do() -> None:
    for ignored in ((), LOGOS):
        one = said(mailed(ignored=ignored))
        assert one.headline == "No receipt was found in your message."
        assert "Please attach the receipt" in one.sections[0].advice


def test_a_message_whose_text_is_the_receipt_is_called_that() -> None:
    assert titles(only_its_text()) == ["The text of your message"]


def test_pages_of_one_receipt_and_members_of_an_archive_are_named() -> None:
    assert titles(mailed(receipt("p1.jpg", "p2.jpg"))) == ["2 files as one receipt: p1.jpg, p2.jpg"]
    member = document("taxi.jpg", path="batch.zip/taxi.jpg")
    assert titles(mailed(receipt(documents=[member]))) == ["batch.zip/taxi.jpg"]
    many = titles(mailed(receipt(*(f"p{n}.jpg" for n in range(100)))))[0]
    assert many.endswith("p4.jpg and 95 more")
    assert titles(mailed(receipt("the name.pdf", documents=[]))) == ["the name.pdf"]


def test_a_long_message_lists_what_needs_somebody_and_counts_the_rest() -> None:
    one = said(too_many())
    assert sum(len(section.entries) for section in one.sections) == MOST_ROWS
    assert len(one.sections[0].entries) == 10
    assert one.headline == "Your 200 receipts: 10 not uploaded, 190 uploaded."
    assert "150 more" in one.more
    assert "150 uploaded" in one.more
    assert "ingestd list" in one.more
    fits = said(mailed(*(receipt(f"{n}.pdf") for n in range(MOST_ROWS))))
    assert (fits.more, len(fits.sections[0].entries)) == ("", MOST_ROWS)


def test_a_thousand_parts_left_out_for_a_thousand_reasons_are_bounded() -> None:
    parts = [Refusal(filename=f"{n}.bin", reason=f"Reason {n}.") for n in range(1000)]
    entries = said(mailed(receipt(), ignored=parts)).sections[-1].entries
    assert len(entries) == 21
    assert entries[-1].title == "… and 980 more"
