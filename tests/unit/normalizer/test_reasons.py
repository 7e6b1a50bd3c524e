"""Every refusal says what is wrong and what to do, every step and caution what happened, in plain words."""

from pathlib import Path
from typing import get_args

import pytest

from ingestd import sniff
from ingestd.domain.document import Document, InvalidDocument
from ingestd.interfaces import Limits
from ingestd.normalizer import reasons, remarks
from ingestd.normalizer.exchange import Caution, Finding, Noted, Problem, Step
from ingestd.offload.errors import LossKind

CONCUR = Limits(types=frozenset({sniff.PDF, sniff.JPEG, "image/jpg", sniff.PNG}), max_bytes=10_000_000)

NUMBERS = {
    "page": 3,
    "pages": 80,
    "declared": 90,
    "limit": 10_000_000,
    "width": 50_000,
    "height": 40_000,
    "size": 12_010_000,
    "smallest": 10_000_001,
    "frames": 12,
    "degrees": 90,
    "quality": 75,
    "percent": 50,
    "dpi": 150,
    "password": 2,
    "members": 4,
    "documents": 5,
}


def document(filename: str = "lunch.pdf", size: int = 1000) -> Document:
    return Document(path=Path("/x"), filename=filename, size=size, sha256="0" * 64, declared_type=None)


def assert_plain(refusal: InvalidDocument) -> None:
    for text in (refusal.reason, refusal.fix):
        assert_sentence(text)


def assert_sentence(text: str) -> None:
    assert text[0].isupper() or text[0].isdigit()
    assert text.endswith(".")
    assert len(text) < 300
    for jargon in ("CRC", "xref", "EOI", "MIME", "None", "{", "?", "exception", "chunk", "stream", "bytes"):
        assert jargon not in text


def test_every_problem_is_worded() -> None:
    assert reasons.WORDS.keys() == set(Problem)


@pytest.mark.parametrize("problem", Problem)
def test_a_finding_says_what_is_wrong_and_what_to_do(problem: Problem) -> None:
    finding = Finding(problem=problem, numbers=NUMBERS, names=("notes.docx", "plan.xls"))
    refusal = reasons.unsound(document(), sniff.PDF, finding)
    assert refusal.filename == "lunch.pdf"
    assert_plain(refusal)


@pytest.mark.parametrize(
    ("finding", "reason", "fix"),
    [
        (Finding(problem=Problem.DAMAGED_PAGE, numbers={"page": 3}), "Page 3 of the PDF", "again"),
        (
            Finding(problem=Problem.TOO_LARGE, numbers=NUMBERS),
            "The PDF has 12.1 MB; the expense system takes at most 10 MB. The smallest it can be made and "
            "still be read has 10.1 MB.",  # never "10 MB of 10 MB"
            "lower resolution",
        ),
        (
            Finding(problem=Problem.ENCRYPTED),
            "protected by a password, and the expense system takes no protected files",
            "Remove the password",
        ),
        (
            Finding(problem=Problem.ENCRYPTED, numbers={"tried": 2}),
            "none of the 2 known passwords opens it",
            "passwords_file",
        ),
        (Finding(problem=Problem.FORM), "only Adobe Reader can show", "print it to a new PDF"),
        (
            Finding(problem=Problem.FORM, numbers={"page": 3}),
            "Page 3 of the PDF is a form, and what was filled into one of its fields can't be shown",
            "the program that it was filled in with, print it to a new PDF",
        ),
        (
            Finding(problem=Problem.TOO_MANY_PIXELS, numbers={**NUMBERS, "limit": 100_000_000}),
            "50000 x 40000 pixels; at most 100 million",
            "lower resolution",
        ),
        (
            Finding(problem=Problem.PORTFOLIO, names=("notes.docx", "{page}")),
            "neither PDF nor picture: “notes.docx”, “{page}”.",
            "one by one",
        ),
    ],
)
def test_the_numbers_and_names_are_in_the_sentence(finding: Finding, reason: str, fix: str) -> None:
    refusal = reasons.unsound(document(), sniff.PDF, finding)
    assert reason in refusal.reason
    assert fix in refusal.fix


def test_a_number_that_an_untrusted_answer_left_out_is_a_question_mark() -> None:
    refusal = reasons.unsound(document(), sniff.PDF, Finding(problem=Problem.TOO_LARGE))
    assert "The PDF has ? MB" in refusal.reason


def test_one_bad_document_among_several_is_named() -> None:
    refusal = reasons.unsound(document("page2.heic"), "image/heic", Finding(problem=Problem.CORRUPT), of=3)
    assert refusal.reason.startswith(
        "page2.heic, one of the 3 files of this receipt: The HEIC photo is damaged"
    )


def test_an_archive_is_to_be_unpacked() -> None:
    for problem in (Problem.CORRUPT, Problem.LOCKED_MEMBERS, Problem.UNSUPPORTED):
        refusal = reasons.unsound(document("a.zip"), sniff.ZIP, Finding(problem=problem))
        assert "ZIP archive" in refusal.reason
        assert "Unpack it" in refusal.fix


@pytest.mark.parametrize("kind", get_args(LossKind))
def test_a_check_that_died_says_so_without_alarm(kind: LossKind) -> None:
    refusal = reasons.inspection_died(document(), kind)
    assert "new PDF" in refusal.fix
    assert_plain(refusal)


def test_more_than_can_be_worked_on_reads_as_more() -> None:
    one = reasons.too_much([document()], 200_000_001, 200_000_000)
    assert one.reason == "The file has 200.1 MB; at most 200 MB can be worked on."
    several = reasons.too_much([document(), document()], 300_000_000, 200_000_000)
    assert several.reason.startswith("The 2 files of this receipt have 300 MB;")
    assert_plain(one)


WRONG_FORMATS = [
    ("a.docx", "application/msword", "a Word document", "print it to a PDF"),
    ("a.zip", "application/zip", "a ZIP archive", "Unpack it"),
    ("a.eml", "message/rfc822", "an e-mail message", "out of the message"),
    ("a.psd", "image/vnd.adobe.photoshop", "a Photoshop file", "save or export it as a PDF"),
    ("a.exe", "application/vnd.microsoft.portable-executable", "a Windows program", "photo"),
    ("a.mp4", "video/mp4", "a video", "photo"),
    ("a.p7m", "application/pkcs7-mime", "a digitally signed file", "signature program"),
    ("a.xyz", "application/octet-stream", "an unknown kind", "opens on your computer"),
]


@pytest.mark.parametrize(("filename", "mime_type", "what", "fix"), WRONG_FORMATS)
def test_a_wrong_format_is_named_with_the_way_out(filename: str, mime_type: str, what: str, fix: str) -> None:
    refusal = reasons.wrong_format(document(filename), mime_type, CONCUR)
    assert what in refusal.reason
    assert "A receipt must be a PDF or a picture" in refusal.reason
    assert fix in refusal.fix
    assert_plain(refusal)


@pytest.mark.parametrize(
    ("filename", "claimed"), [("Receipt.PDF", "a PDF"), ("x.jpeg", "a JPEG"), ("x.png", "a PNG")]
)
def test_a_name_that_promises_something_else_is_mentioned(filename: str, claimed: str) -> None:
    refusal = reasons.wrong_format(document(filename), "text/plain", CONCUR)
    assert refusal.reason.startswith(f"The file is named like {claimed}, but it is a plain text file.")
    assert_plain(refusal)


def test_a_target_that_takes_pictures_only_asks_for_a_picture() -> None:
    limits = Limits(types=frozenset({sniff.JPEG, sniff.PNG}), max_bytes=1)
    assert "as a JPEG or PNG" in reasons.wrong_format(document("a.psd"), "image/x-any", limits).fix


# --- remarks -----------------------------------------------------------------------------------------------


def test_every_step_and_every_caution_is_worded() -> None:
    assert remarks.SENTENCES.keys() == {*Step, *Caution}
    for what in (*Step, *Caution):
        (sentence,) = remarks.sentences([Noted(what=what, numbers=NUMBERS)], [document()])
        assert_sentence(sentence)


def test_a_remark_about_one_of_several_documents_names_it() -> None:
    noted = [Noted(what=Step.TURNED, numbers={"degrees": 90}, document=1), Noted(what=Step.LOCATION)]
    first, second = remarks.sentences(noted, [document("a.jpg"), document("b.jpg")])
    assert first == "b.jpg: Turned upright by 90 degrees."
    assert second.startswith("Location")
    assert remarks.sentences(noted[:1], [document("a.jpg")]) == ("Turned upright by 90 degrees.",)
    forged = Noted(what=Step.LOCATION, document=7)
    assert remarks.sentences([forged], [document(), document()])[0].startswith("Location")
