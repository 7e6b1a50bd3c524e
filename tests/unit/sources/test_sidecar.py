"""Sidecars are untrusted bytes: they instruct, or they hold, and never break anything."""

import json

import pytest

from ingestd.domain.routing import Destined
from ingestd.sources.sidecar import MAX_BYTES, parse_sidecar


def test_a_sidecar_says_where_it_goes_and_what_it_is() -> None:
    told = parse_sidecar(
        b'\xef\xbb\xbf{"to": " concur:report/123 ", "note": "Taxi", "date": "2026-11-21"}', "a"
    )
    assert told.to == Destined.parse("concur:report/123")
    assert told.fields == {"note": "Taxi", "date": "2026-11-21"}
    assert told.hold is None


def test_without_a_destination_the_routes_decide() -> None:
    told = parse_sidecar(b'{"note": "Taxi"}', "a.json")
    assert (told.to, told.hold, told.fields) == (None, None, {"note": "Taxi"})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe\x00",
        b'{"to": ',
        b"[1]",
        b"null",
        b"[" * 60_000,
        b"1" * 10_000,
        b"{}" + b" " * MAX_BYTES,
        b'{"to": "nowhere"}',
        b'{"to": "concur:"}',
        b'{"to": 7}',
        b'{"to": null}',
        b'{"to": {"target": "concur"}}',
        b'{"to": "concur:report/../x y"}',
    ],
)
def test_what_can_not_be_followed_holds_and_says_why(data: bytes) -> None:
    told = parse_sidecar(data, "a.jpg.json")
    assert told.to is None
    assert told.hold is not None and "'a.jpg.json'" in told.hold and told.hold.endswith(".")


def test_values_are_fit_for_any_ledger() -> None:
    data = json.dumps({"note": "a\0b\ud800c\nd", "n" * 500: "v" * 9000, "pages": 3, "list": ["x"]}).encode()
    fields = parse_sidecar(data, "a").fields
    assert fields == {"note": "ab?c\nd", "n" * 64: "v" * 2000}
    assert len(parse_sidecar(json.dumps({str(n): "x" for n in range(999)}).encode(), "a").fields) == 50
