"""Retry-After as servers really send it."""

from datetime import UTC, datetime, timedelta

import pytest

from ingestd.http.retry_after import LONGEST, retry_after

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 5 ", 5),
        ("0", 0),
        ("9" * 300, LONGEST.total_seconds()),
        ("Sat, 21 Nov 2026 12:01:30 GMT", 90),
        ("Saturday, 21-Nov-26 12:01:30 GMT", 90),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0),
        ("Sat, 21 Nov 9999 11:00:00 GMT", LONGEST.total_seconds()),
    ],
)
def test_seconds_and_dates_are_understood_and_bounded(value: str, seconds: float) -> None:
    assert retry_after({"Retry-After": value}, NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value", ["", "-5", "1.5", "soon", "5 minutes", "²", "Sat, 99 Nov 2026 12:01:30 GMT", "1" * 500]
)
def test_nonsense_is_no_wish(value: str) -> None:
    assert retry_after({"Retry-After": value}, NOW) is None


def test_no_header_is_no_wish() -> None:
    assert retry_after({}, NOW) is None


def test_a_date_is_read_by_the_clock_of_the_server() -> None:
    headers = {"Retry-After": "Sat, 21 Nov 2026 09:00:10 GMT", "Date": "Sat, 21 Nov 2026 09:00:00 GMT"}
    assert retry_after(headers, NOW) == timedelta(seconds=10)
