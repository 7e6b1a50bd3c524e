"""Passwords, and damage that can be repaired without losing anything."""

import re
import zlib

import pytest

from ingestd import samples
from ingestd.normalizer import documents
from ingestd.normalizer.exchange import Finding, Found, Level, Problem, Step
from ingestd.normalizer.pdf import UnfitProcess
from tests.unit.normalizer.pdf_making import (
    CATALOG,
    ONE_PAGE,
    PAGE,
    SHOWS,
    bounds,
    pdf,
    picture,
    prepared,
    problem,
    stream,
    text_of,
)

ALGORITHMS = pytest.mark.parametrize("algorithm", ["AES-256", "AES-128", "RC4-128", "RC4-40"])
LEVELS: tuple[Level, ...] = ("light", "full")
BOTH = pytest.mark.parametrize("level", LEVELS)


# --- passwords ----------------------------------------------------------------------------------------------


@BOTH
@ALGORITHMS
def test_what_only_its_owner_restricts_is_decrypted(algorithm: str, level: Level) -> None:
    draft, result = prepared(samples.encrypted_pdf(algorithm=algorithm), bounds(level))
    assert [step.what for step in draft.steps] == [Step.DECRYPTED]
    assert text_of(result).strip() == "Receipt 0"


@ALGORITHMS
def test_a_password_is_tried_and_its_number_told(algorithm: str) -> None:
    locked = samples.encrypted_pdf(password="second", algorithm=algorithm)
    draft, result = prepared(locked, bounds(passwords=("first", "second", "third")))
    assert [(step.what, step.numbers) for step in draft.steps] == [(Step.OPENED, {"password": 2})]
    assert text_of(result).strip() == "Receipt 0"


@ALGORITHMS
@pytest.mark.parametrize("password", ["Grüße", "paß wörd £", "ключ"])
def test_a_password_with_other_letters_fits(algorithm: str, password: str) -> None:
    if password == "ключ" and algorithm != "AES-256":
        password = "key"  # older encryption has no such letters
    locked = samples.encrypted_pdf(password=password, algorithm=algorithm)
    draft, _ = prepared(locked, bounds(passwords=(password,)))
    assert draft.steps[0].what is Step.OPENED


@ALGORITHMS
def test_the_owners_password_opens_a_document_too(algorithm: str) -> None:
    locked = samples.encrypted_pdf(password="secret", algorithm=algorithm)
    draft, _ = prepared(locked, bounds(passwords=("owner",)))
    assert draft.steps[0].what is Step.OPENED


@BOTH
@ALGORITHMS
def test_a_password_that_nobody_knows_is_a_reason_to_refuse(algorithm: str, level: Level) -> None:
    locked = samples.encrypted_pdf(password="secret", algorithm=algorithm)
    with pytest.raises(Found) as found:
        prepared(locked, bounds(level, passwords=("one", "two")))
    assert found.value.finding == Finding(problem=Problem.ENCRYPTED, numbers={"tried": 2})


FOREVER = {
    "by certificate": b"/Encrypt << /Filter /Adobe.PubSec /SubFilter /adbe.pkcs7.s5 /V 4 >>",
    "by something unknown": b"/Encrypt << /V 99 >>",
    "by another handler": b"/Encrypt << /Filter /Rights.Example /V 1 /R 3 >>",
}


@BOTH
@pytest.mark.parametrize("entry", FOREVER.values(), ids=FOREVER.keys())
def test_what_no_password_opens_is_told_apart(entry: bytes, level: Level) -> None:
    assert problem(pdf(CATALOG, ONE_PAGE, PAGE % b"", trailer=entry), level) is Problem.LOCKED_FOREVER


# --- repaired -----------------------------------------------------------------------------------------------

WHOLE = samples.small_pdf(1)
TABLE = WHOLE.index(b"xref\n0 ")
DAMAGED = {
    "a wrong startxref": WHOLE.replace(b"startxref\n", b"startxref\n1"),
    "no cross-reference table": WHOLE[:TABLE] + WHOLE[WHOLE.index(b"trailer") :],
    "offsets that lead elsewhere": WHOLE.replace(b"00000 n", b"00000 n", 1).replace(
        b"\n00000000", b"\n00000001"
    ),
    "line ends that were converted": WHOLE[:TABLE].replace(b"\n", b"\r\n") + WHOLE[TABLE:],
    "no end marker": WHOLE.replace(b"%%EOF\n", b""),
    "nothing behind the trailer": WHOLE[: WHOLE.index(b"startxref")],
    "no cross-references at all": WHOLE[:TABLE]
    + WHOLE[WHOLE.index(b"trailer") : WHOLE.index(b"startxref")]
    + b"%%EOF\n",
    "a table that is nonsense": WHOLE[: TABLE + 5] + b"\xff\xff nonsense" + WHOLE[WHOLE.index(b"trailer") :],
}


@BOTH
@pytest.mark.parametrize("document", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_cross_references_are_repaired(document: bytes, level: Level) -> None:
    draft, result = prepared(document, bounds(level))
    assert [step.what for step in draft.steps] == [Step.REPAIRED]
    assert text_of(result).strip() == "Receipt 1"


SOUND = {
    "no line end behind the end marker": WHOLE.rstrip(b"\n"),
    "other line ends": WHOLE.replace(b"%%EOF\n", b"%%EOF\r\n\r\n"),
    "zeros behind the end": WHOLE + bytes(600),
    "a new revision": WHOLE
    + b"xref\n0 0\ntrailer\n<< /Size 6 /Root 1 0 R /Prev %d >>\nstartxref\n%d\n%%%%EOF\n"
    % (TABLE, len(WHOLE)),
}


@BOTH
@pytest.mark.parametrize("document", SOUND.values(), ids=SOUND.keys())
def test_what_every_reader_takes_stays_byte_for_byte(document: bytes, level: Level) -> None:
    draft, _ = prepared(document, bounds(level))
    assert draft.data is None


def test_bytes_before_the_header_are_no_damage_where_the_offsets_count_from_the_header() -> None:
    draft, _ = prepared(b"HTTP headers, say\r\n\r\n" + WHOLE)
    assert draft.data is None or [step.what for step in draft.steps] == [Step.REPAIRED]


CUT = {
    "within an object": WHOLE[: TABLE - 20],
    "half of it": samples.truncated(WHOLE),
    "a scan": samples.truncated(samples.pdf(1, pages=3), 0.9),
    "a new revision": WHOLE + b"6 0 obj\n<< /Type /Catalog",
    "an object that came later": pdf(
        CATALOG, ONE_PAGE, PAGE % b"/Resources << /XObject << /Im 6 0 R >> >>", stream(b"/Im Do")
    ).partition(b"%%EOF")[0],
}


@BOTH
@pytest.mark.parametrize("document", CUT.values(), ids=CUT.keys())
def test_what_was_cut_off_is_refused(document: bytes, level: Level) -> None:
    assert problem(document, level) is Problem.TRUNCATED


@BOTH
def test_a_repaired_document_with_a_damaged_page_is_refused(level: Level) -> None:
    broken = picture(samples.truncated(samples.jpeg()), packing=b"/DCTDecode")
    document = pdf(
        CATALOG, ONE_PAGE, PAGE % b"/Resources << /XObject << /Im 5 0 R >> >>", stream(b"/Im Do"), broken
    )
    assert problem(document.replace(b"startxref\n", b"startxref\n1"), level) is Problem.DAMAGED_PAGE


def misled(*objects: bytes) -> bytes:
    """A document whose objects must be searched for."""
    return pdf(*objects).replace(b"startxref\n", b"startxref\n1")


PACKED = zlib.compress(b"".join(b"%d 0 9 9 re f\n" % n for n in range(500)))
FLATE = b"/Filter /FlateDecode"
GREY = picture(zlib.compress(bytes(100)), packing=b"/FlateDecode")
CUT_GREY = picture(zlib.compress(bytes(range(100)))[:-20], packing=b"/FlateDecode")
LOST = {
    "the content": misled(CATALOG, ONE_PAGE, PAGE % b""),
    "a part of the content": misled(
        CATALOG, ONE_PAGE, b"<< /Type /Page /Parent 2 0 R /Contents [4 0 R 9 0 R] >>", stream(b"0 0 9 9 re f")
    ),
    "the content is something else": misled(CATALOG, ONE_PAGE, PAGE % b"", b"<< /Length 9 >>"),
    "the end of the content": misled(CATALOG, ONE_PAGE, PAGE % b"", stream(PACKED[:-40], FLATE)),
    "the end of a picture": misled(CATALOG, ONE_PAGE, PAGE % SHOWS, stream(b"/Im Do"), CUT_GREY),
    "a picture": misled(CATALOG, ONE_PAGE, PAGE % SHOWS, stream(b"/Im Do")),
    "what a page calls its pictures": misled(CATALOG, ONE_PAGE, PAGE % b"", stream(b"/Im Do"), GREY),
    "what is left of a picture": misled(
        CATALOG, ONE_PAGE, PAGE % SHOWS, stream(b"/Im Do"), b"<< /Subtype /Image /Width 10 >>"
    ),
    "all that could be seen": misled(CATALOG, ONE_PAGE, PAGE % b"", stream(b"500 500 9 9 re f")),
}


@BOTH
@pytest.mark.parametrize("document", LOST.values(), ids=LOST.keys())
def test_a_repaired_document_that_lost_something_is_refused(document: bytes, level: Level) -> None:
    with pytest.raises(Found) as found:
        prepared(document, bounds(level))
    assert found.value.finding == Finding(problem=Problem.DAMAGED_PAGE, numbers={"page": 1})


@BOTH
def test_a_repaired_document_that_lost_a_page_is_refused(level: Level) -> None:
    tree = b"<< /Type /Pages /Kids [3 0 R 9 0 R] /Count 2 >>"
    assert problem(misled(CATALOG, tree, PAGE % b"", stream(b"")), level) is Problem.MISSING_PAGES


@BOTH
def test_a_repaired_document_may_lack_a_checksum_or_have_an_empty_page(level: Level) -> None:
    for content in (stream(PACKED[:-4], FLATE), stream(b"q Q")):
        draft = documents.prepare_pdf(misled(CATALOG, ONE_PAGE, PAGE % b"", content), bounds(level))
        assert [step.what for step in draft.steps] == [Step.REPAIRED]


@BOTH
def test_what_is_decrypted_must_be_whole_as_well(level: Level) -> None:
    broken = pdf(CATALOG, ONE_PAGE, PAGE % SHOWS, stream(b"/Im Do"), b"<< /Subtype /Image >>")
    assert problem(samples.encrypted_pdf(document=broken), level) is Problem.DAMAGED_PAGE


def test_a_damaged_encryption_dictionary_is_no_wrong_password() -> None:
    locked = samples.encrypted_pdf(password="secret")
    damaged = re.sub(rb"/UE <[0-9a-f]{62}", b"/UE <" + b"0" * 30, locked)
    assert damaged != locked
    with pytest.raises(Found) as found:
        prepared(damaged, bounds(passwords=("secret",)))
    assert found.value.finding.problem is Problem.CORRUPT


def test_a_process_that_can_not_work_is_no_damage_to_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pypdf._encryption.Encryption.verify", refused)
    with pytest.raises(UnfitProcess):
        prepared(samples.encrypted_pdf(password="secret"), bounds(passwords=("secret",)))
