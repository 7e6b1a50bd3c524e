"""Nothing but verdicts, numbers and cleaned names comes out of a limited process."""

import json

import pytest

from ingestd.normalizer.exchange import (
    NAMES,
    Caution,
    Compared,
    CompareRequest,
    Finding,
    Input,
    Listing,
    MalformedAnswer,
    Member,
    NoRoom,
    Noted,
    OutputFull,
    Prepared,
    PrepareRequest,
    Problem,
    Step,
    UnpackRequest,
    read_compared,
    read_listing,
    read_prepared,
    write_answer,
)

PREPARED = Prepared(
    as_is=False,
    mime_type="image/jpeg",
    pages=2,
    steps=(Noted(what=Step.TURNED, numbers={"degrees": 90}, document=1), Noted(what=Step.LOCATION)),
    cautions=(Noted(what=Caution.BLURRED, numbers={"page": 1}),),
    fingerprint="0123456789abcdef" * 4,
    thumbnail=True,
)
FINDING = Finding(
    problem=Problem.PORTFOLIO, numbers={"members": 3}, document=2, names=("notes.docx", "Übung.xls")
)
LISTING = Listing(members=(Member(name="a/b.jpg", offset=0, size=7),), passed_over=("empty.txt",))


def sent(answer: Prepared | Finding | Listing | Compared | NoRoom) -> dict[str, object]:
    """The answer after its way through the socket."""
    received: dict[str, object] = json.loads(json.dumps(write_answer(answer)))
    return received


@pytest.mark.parametrize("answer", [PREPARED, FINDING, Finding(problem=Problem.CORRUPT)], ids=str)
def test_the_answer_to_a_preparation_survives_the_way(answer: Prepared | Finding) -> None:
    assert read_prepared(sent(answer)) == answer


def test_the_other_answers_survive_the_way() -> None:
    assert read_listing(sent(LISTING), max_members=2, max_bytes=7) == LISTING
    assert read_listing(sent(FINDING), max_members=1, max_bytes=0) == FINDING
    with pytest.raises(OutputFull):
        read_prepared(sent(NoRoom()))
    assert read_compared(sent(Compared(same=True))) == Compared(same=True)


FORGED: list[dict[str, object]] = [
    {"pages": 0},
    {"pages": "3"},
    {"pages": 1 << 40},
    {"mime_type": 7},
    {"answer": "Free text for the reason file"},
    {"fingerprint": "call this number"},
    {"fingerprint": "A" * 64},
    {"steps": [{"what": "wire the money", "numbers": {}, "document": None}]},
    {"steps": [{"what": "blurred", "numbers": {}, "document": None}]},
    {"cautions": [{"what": "blurred", "numbers": {"page": "<script>"}, "document": None}]},
    {"cautions": [{"what": "blurred", "numbers": {"page": 10**400}, "document": None}]},
]


@pytest.mark.parametrize("change", FORGED, ids=str)
def test_a_parser_that_was_taken_over_can_t_say_what_it_likes(change: dict[str, object]) -> None:
    with pytest.raises(MalformedAnswer):
        read_prepared({**sent(PREPARED), **change})


@pytest.mark.parametrize(
    "change",
    [{"problem": "please wire the money"}, {"document": -1}, {"numbers": {"page": []}}, {"names": "all"}],
    ids=str,
)
def test_nor_in_a_finding(change: dict[str, object]) -> None:
    with pytest.raises(MalformedAnswer):
        read_prepared({**sent(FINDING), **change})


def test_the_answer_to_another_question_is_none() -> None:
    with pytest.raises(MalformedAnswer):
        read_prepared(sent(LISTING))
    with pytest.raises(MalformedAnswer):
        read_compared(sent(FINDING))
    with pytest.raises(MalformedAnswer):
        read_listing(sent(Compared(same=True)), max_members=9, max_bytes=9)


def test_names_are_cut_cleaned_and_few() -> None:
    hostile = Finding(problem=Problem.PORTFOLIO, names=("a\nb\x1b[31m", "../../etc/passwd", *"x" * 999))
    read = read_prepared(sent(hostile))
    assert isinstance(read, Finding)
    assert read.names[:2] == ("ab[31m", ".._.._etc_passwd")
    assert len(read.names) == NAMES


def test_an_archive_of_more_than_was_asked_for_is_not_believed() -> None:
    with pytest.raises(MalformedAnswer):
        read_listing(sent(LISTING), max_members=1, max_bytes=7)
    with pytest.raises(MalformedAnswer):
        read_listing(sent(LISTING), max_members=2, max_bytes=6)
    overlapping = Listing(members=(Member(name="a", offset=0, size=5), Member(name="b", offset=0, size=5)))
    with pytest.raises(MalformedAnswer):
        read_listing(sent(overlapping), max_members=9, max_bytes=99)
    with pytest.raises(MalformedAnswer):
        read_listing(
            sent(Listing(members=(Member(name="a", offset=-1, size=5),))), max_members=9, max_bytes=99
        )


def test_requests_survive_the_way() -> None:
    one = Input(mime_type="image/png", size=5)
    prepare = PrepareRequest(
        documents=(one, one),
        types=frozenset({"image/png", "application/pdf"}),
        max_bytes=10,
        max_pages=None,
        level="light",
        max_pixels=9,
        passwords=("päss", "word"),
    )
    unpack = UnpackRequest(size=1, max_members=2, max_bytes=3, max_ratio=4, max_depth=5)
    compare = CompareRequest(images=(one, one), max_pixels=9)
    for request in (prepare, unpack, compare):
        assert type(request).read(json.loads(json.dumps(request.write()))) == request
