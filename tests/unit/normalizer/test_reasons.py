"""Every refusal says what is wrong and what to do, in plain words."""

from pathlib import Path
from typing import get_args

import pytest

from ingestd import sniff
from ingestd.domain.document import Document, InvalidDocument
from ingestd.interfaces import Limits
from ingestd.normalizer import reasons
from ingestd.normalizer.exchange import Finding, Problem
from ingestd.offload.errors import LossKind

CONCUR = Limits(types=frozenset({sniff.PDF, sniff.JPEG, "image/jpg", sniff.PNG}), max_bytes=10_000_000)

FINDINGS = {
    Problem.TRUNCATED: ({}, "incomplete", "again"),
    Problem.CORRUPT: ({}, "damaged", "again"),
    Problem.DAMAGED_PAGE: ({"page": 3}, "Page 3", "again"),
    Problem.MISSING_PAGES: ({"pages": 2, "declared": 5}, "5 pages only 2", "again"),
    Problem.ENCRYPTED: ({}, "password", "print it to a new PDF"),
    Problem.NO_PAGES: ({}, "no pages", "again"),
    Problem.TOO_MANY_PAGES: ({"pages": 80, "limit": 50}, "80 pages", "only the pages"),
    Problem.TOO_MANY_PIXELS: (
        {"width": 50_000, "height": 50_000, "limit": 100_000_000},
        "50000 x 50000 pixels, 2,500 million; at most 100 million",
        "lower resolution",
    ),
    Problem.TOO_COMPLEX: ({}, "far more", "Print it to a new PDF"),
    Problem.ANIMATED: ({"frames": 12}, "12 frames", "screenshot"),
}


def document(filename: str = "lunch.pdf", size: int = 1000) -> Document:
    return Document(path=Path("/x"), filename=filename, size=size, sha256="0" * 64, declared_type=None)


def assert_plain(refusal: InvalidDocument) -> None:
    for sentence in (refusal.reason, refusal.fix):
        assert sentence[0].isupper() or sentence[0].isdigit()
        assert sentence.endswith(".")
        assert len(sentence) < 220
        for jargon in ("CRC", "xref", "EOI", "MIME", "None", "{", "exception", "chunk", "stream", "bytes"):
            assert jargon not in sentence


def test_every_problem_is_worded() -> None:
    assert FINDINGS.keys() == set(Problem)


@pytest.mark.parametrize(("problem", "expected"), FINDINGS.items())
def test_a_finding_says_what_is_wrong_and_what_to_do(
    problem: Problem, expected: tuple[dict[str, int], str, str]
) -> None:
    numbers, reason, fix = expected
    refusal = reasons.unsound(document(), sniff.PDF, Finding(problem=problem, numbers=numbers))
    assert reason in refusal.reason
    assert fix in refusal.fix
    assert refusal.filename == "lunch.pdf"
    assert_plain(refusal)


@pytest.mark.parametrize("kind", get_args(LossKind))
def test_a_check_that_died_says_so_without_alarm(kind: LossKind) -> None:
    refusal = reasons.inspection_died(document(), kind)
    assert "new PDF" in refusal.fix
    assert_plain(refusal)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (12_400_000, "12.4 MB"),
        (12_000_000, "12 MB"),
        (10_000_001, "10.1 MB"),  # never "has 10 MB; takes at most 10 MB"
        (2_000_000_000, "2000 MB"),
    ],
)
def test_a_file_over_the_limit_reads_as_over_it(size: int, shown: str) -> None:
    refusal = reasons.too_large(document(size=size), CONCUR)
    assert f"The file has {shown}; the expense system takes at most 10 MB." == refusal.reason
    assert "lower resolution" in refusal.fix
    assert_plain(refusal)


WRONG_FORMATS = [
    ("photo.heic", "image/heic", "an iPhone photo (HEIC)", "'Most Compatible'"),
    ("a.docx", "application/msword", "a Word document", "print it to a PDF"),
    ("a.zip", "application/zip", "a ZIP archive", "Unpack it"),
    ("a.eml", "message/rfc822", "an e-mail message", "out of the message"),
    ("a.tif", "image/tiff", "a TIFF picture", "save or export it as a PDF"),
    ("a.exe", "application/vnd.microsoft.portable-executable", "a Windows program", "photo"),
    ("a.mp4", "video/mp4", "a video", "photo"),
    ("a.p7m", "application/pkcs7-mime", "a digitally signed file", "signature program"),
    ("a.xyz", "application/octet-stream", "an unknown kind", "opens on your computer"),
]


@pytest.mark.parametrize(("filename", "mime_type", "what", "fix"), WRONG_FORMATS)
def test_a_wrong_format_is_named_with_the_way_out(filename: str, mime_type: str, what: str, fix: str) -> None:
    refusal = reasons.wrong_format(document(filename), mime_type, CONCUR)
    assert what in refusal.reason
    assert "A receipt must be PDF, JPEG or PNG." in refusal.reason
    assert fix in refusal.fix
    assert_plain(refusal)


@pytest.mark.parametrize(
    ("filename", "claimed"), [("Receipt.PDF", "a PDF"), ("x.jpeg", "a JPEG"), ("x.png", "a PNG")]
)
def test_a_name_that_promises_something_else_is_mentioned(filename: str, claimed: str) -> None:
    refusal = reasons.wrong_format(document(filename), "text/plain", CONCUR)
    assert refusal.reason.startswith(f"The file is named like {claimed}, but it is a plain text file.")
    assert_plain(refusal)


def test_a_target_that_takes_pdf_only_says_so() -> None:
    limits = Limits(types=frozenset({sniff.PDF}), max_bytes=1)
    refusal = reasons.wrong_format(document("a.jpg"), sniff.JPEG, limits)
    assert refusal.reason == "This is a JPEG picture. A receipt must be PDF."
    assert "as a PDF" in refusal.fix


def test_a_target_that_takes_pictures_only_asks_for_a_picture() -> None:
    limits = Limits(types=frozenset({sniff.JPEG, sniff.PNG}), max_bytes=1)
    refusal = reasons.wrong_format(document("a.pdf"), sniff.PDF, limits)
    assert refusal.reason == "This is a PDF. A receipt must be JPEG or PNG."
    assert "as a JPEG or PNG" in refusal.fix
