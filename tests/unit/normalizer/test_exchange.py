"""Nothing but a verdict comes out of a limited process."""

import json

import pytest

from ingestd.normalizer.exchange import (
    Finding,
    InspectionRequest,
    MalformedAnswer,
    Problem,
    Sound,
    read_answer,
    write_answer,
)

ANSWERS = [
    Sound(pages=3),
    Finding(problem=Problem.CORRUPT),
    Finding(problem=Problem.TOO_MANY_PAGES, numbers={"pages": 9, "limit": 5}),
]

FORGED: list[dict[str, object]] = [
    {},
    {"pages": 0},
    {"pages": "3"},
    {"pages": 1, "note": "call this number"},
    {"problem": "free text for the reason file", "numbers": {}},
    {"problem": "corrupt"},
    {"problem": "corrupt", "numbers": {"page": 1}},
    {"problem": "damaged_page", "numbers": {}},
    {"problem": "damaged_page", "numbers": {"page": "<script>"}},
    {"problem": "damaged_page", "numbers": {"page": 10**400}},
    {"problem": ["corrupt"], "numbers": {}},
]


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_an_answer_survives_the_way(answer: Sound | Finding) -> None:
    assert read_answer(json.loads(json.dumps(write_answer(answer)))) == answer


@pytest.mark.parametrize("forged", FORGED, ids=str)
def test_a_parser_that_was_taken_over_can_t_say_what_it_likes(forged: dict[str, object]) -> None:
    with pytest.raises(MalformedAnswer):
        read_answer(forged)


def test_a_request_survives_the_way() -> None:
    request = InspectionRequest(mime_type="image/png", size=5, level="light", max_pixels=10, max_pages=None)
    assert InspectionRequest.read(json.loads(json.dumps(request.write()))) == request
