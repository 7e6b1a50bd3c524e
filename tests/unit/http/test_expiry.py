"""The days on which a person hears that a login ends."""

import base64
import json

import pytest

from ingestd.domain.document import Instant
from ingestd.http.expiry import days_left, end_of_jwt, expiry_sentence, threshold_crossed

DAY = 24 * 3600 * 1_000_000
NOW = Instant(1_800_000_000_000_000)


@pytest.mark.parametrize(
    ("left", "threshold"),
    [
        (400 * DAY, None), (30 * DAY + 1, None), (30 * DAY, 30), (8 * DAY, 30), (7 * DAY, 7), (2 * DAY, 7),
        (DAY, 1), (1, 1), (0, 0), (-5 * DAY, 0),
    ],
)  # fmt: skip
def test_a_person_hears_at_30_7_and_1_days_and_at_the_end(left: int, threshold: int | None) -> None:
    assert threshold_crossed(Instant(NOW + left), NOW) == threshold


def test_an_unknown_end_is_never_near() -> None:
    assert threshold_crossed(None, NOW) is None


@pytest.mark.parametrize(
    ("left", "days", "words"),
    [
        (183 * DAY + 5, 183, "is good until 2027-07-17 08:00 UTC, 183 days from now"),
        (DAY, 1, "1 day from now"),
        (DAY - 1, 0, "less than a day from now"),
        (-1, -1, "ended at 2027-01-15"),
    ],
)
def test_the_days_left_in_words(left: int, days: int, words: str) -> None:
    end = Instant(NOW + left)
    assert days_left(end, NOW) == days
    assert words in expiry_sentence("the login of concur", end, NOW)


def jwt(claims: object) -> str:
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJSUzI1NiJ9.{part}.c2lnbmF0dXJl"


def test_the_end_of_a_jwt_is_read_without_proving_it() -> None:
    assert end_of_jwt(jwt({"exp": 1_900_000_000})) == 1_900_000_000_000_000
    assert end_of_jwt(jwt({"exp": 1_900_000_000.5, "sub": "ü"})) == 1_900_000_000_500_000


@pytest.mark.parametrize(
    "token",
    [
        "", "abc", "a.b.c", "..", "a.!!!!.c", "é.é.é", jwt({}), jwt([1]), jwt({"exp": "1900000000"}),
        jwt({"exp": True}), jwt({"exp": -1}), jwt({"exp": 1e30}), jwt({"exp": float("inf")}),
        jwt({"exp": None}),
        "a." + base64.urlsafe_b64encode(b"[" * 9000).decode() + ".c",
    ],
)  # fmt: skip
def test_what_is_no_jwt_has_no_known_end(token: str) -> None:
    assert end_of_jwt(token) is None
