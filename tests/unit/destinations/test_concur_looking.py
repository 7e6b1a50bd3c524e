"""What each answer to a look-up says about the slot; Found and NotThere only by Concur's own word."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.destinations.concur.looking import found_by
from ingestd.domain.outcome import CannotSay, Found, LookUp, NotThere, Throttled, Unavailable
from ingestd.http.session import AnswerLost, NotSent
from tests.unit.destinations.test_concur_answers import (
    DEADLOCK,
    ENTRY,
    IMAGE,
    IMAGING,
    LIMIT,
    PAUSE,
    TOKEN,
    answered,
    asked,
    error,
)

URL = "https://imagingupload.concursolutions.com/file/p00/0a?id=1&e=p00&t=AN"
WITH_URL = f"<Image><Id>E1</Id><Url>{URL.replace('&', '&amp;')}</Url></Image>".encode()


def found(status: int, body: bytes = b"", slot: str = ENTRY, **headers: Any) -> LookUp:
    return found_by(answered(status, body, **headers), asked(slot))


def test_an_image_is_found_with_the_url_as_it_was_meant() -> None:
    result = found(200, WITH_URL)
    assert isinstance(result, Found)
    assert (result.image_id, result.url) == ("E1", URL)
    assert (result.evidence.status, result.evidence.correlation_id) == (200, "theirs")
    assert URL not in repr(result)


@pytest.mark.parametrize("body", [IMAGE, b'{"Id": "E1", "Url": ""}', b"<Image><Id>E1</Id></Image>"])
def test_an_image_without_a_url_is_found_all_the_same(body: bytes) -> None:
    result = found(200, body)
    assert isinstance(result, Found)
    assert result.url is None


@pytest.mark.parametrize("body", [b"", error("No image found for this expenseentry."), b"{}"])
def test_a_404_of_concur_means_not_there(body: bytes) -> None:
    result = found(404, body)
    assert isinstance(result, NotThere)
    assert (result.evidence.status, result.evidence.correlation_id) == (404, "theirs")


@pytest.mark.parametrize(
    ("body", "correlation"),
    [
        (b"", ""),
        (error("No image found."), "  "),
        (b"<html><body>404 nginx</body></html>", "theirs"),
        (b"\xef\xbb\xbf <!doctype HTML><p>", "theirs"),
    ],
)
def test_a_404_of_somebody_else_decides_nothing(body: bytes, correlation: str) -> None:
    result = found(404, body, Concur_Correlationid=correlation)
    assert isinstance(result, CannotSay)
    assert isinstance(result.obstacle, Unavailable)
    assert result.obstacle.everything


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, IMAGE[:-9]),
        (200, b"<Image><Id/><Url/></Image>"),
        (200, b"<html>log in</html>"),
        (200, error("something is wrong")),
        (200, b"<Image><Id>a</Id><Error><Message>x</Message></Error></Image>"),
        (204, b""),
        (400, error("Bad Request - invalid report key.")),
        (410, b""),
        (500, error("Internal error")),
        (500, error(IMAGING)),
        (501, b""),
        (303, b""),
    ],
)
def test_what_decides_nothing_stops_nobodys_upload(status: int, body: bytes) -> None:
    result = found(status, body)
    assert isinstance(result, CannotSay)
    assert result.obstacle is None
    assert result.passing is (status // 100 in (2, 5))
    assert str(status) in result.reason
    assert result.evidence.status == status


@pytest.mark.parametrize(
    ("status", "body", "obstacle", "everything"),
    [
        (429, b"", Throttled, False),
        (400, error(LIMIT), Throttled, False),
        (200, error(LIMIT), Throttled, False),
        (400, error(DEADLOCK), Unavailable, False),
        (502, b"<html>502</html>", Unavailable, False),
        (504, b"", Unavailable, False),
        (503, b"", Unavailable, True),
        (401, b"", Unavailable, True),
        (403, error("Forbidden"), Unavailable, True),
        (301, b"", Unavailable, True),
        (405, b"", Unavailable, True),
    ],
)
def test_what_an_upload_would_meet_as_well_is_told_to_the_gate(
    status: int, body: bytes, obstacle: type, everything: bool
) -> None:
    result = found(status, body, Retry_After="7")
    assert isinstance(result, CannotSay)
    assert type(result.obstacle) is obstacle
    assert getattr(result.obstacle, "everything", False) is everything
    if status == 503:
        assert result.obstacle is not None
        assert result.obstacle.wait == PAUSE
    if status in (429, 502):
        assert result.obstacle is not None
        assert result.obstacle.wait == timedelta(seconds=7)


def test_a_403_for_this_slot_alone_is_no_obstacle() -> None:
    result = found_by(answered(403, error("Forbidden")), replace(asked(ENTRY), token_accepted=True))
    assert isinstance(result, CannotSay)
    assert result.obstacle is None
    assert "look at" in result.reason


def test_a_lost_answer_and_a_lost_connection_are_asked_again() -> None:
    lost = found_by(AnswerLost(reason="All was sent, then silence.", bytes_sent=0), asked(ENTRY))
    away = found_by(NotSent(reason="No connection.", connected=False), asked(ENTRY))
    assert isinstance(lost, CannotSay)
    assert isinstance(lost.obstacle, Unavailable)
    assert not lost.obstacle.everything
    assert isinstance(away, CannotSay)
    assert isinstance(away.obstacle, Unavailable)
    assert away.obstacle.everything


@given(
    status=st.integers(200, 999),
    body=st.one_of(st.binary(max_size=200), st.sampled_from([IMAGE, WITH_URL, error(LIMIT)])),
    correlation=st.sampled_from(["", "theirs"]),
)
def test_every_answer_says_something_a_person_can_read(status: int, body: bytes, correlation: str) -> None:
    result = found(status, body + TOKEN.encode(), Concur_Correlationid=correlation)
    assert TOKEN not in repr(result)
    match result:
        case Found():
            assert status < 300
        case NotThere():
            assert (status, correlation) == (404, "theirs")
        case CannotSay(reason=reason):
            assert reason
            assert reason.isprintable()
