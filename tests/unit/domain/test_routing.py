"""Routes: only `*` and {name} are special, the first match wins, IDs are never paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.domain.routing import Destined, InvalidSlot, Route, Slot, first_match

ENTRY = Route(send="concur:expenseentry/{entry}", patterns={"path": "entries/{entry}/*"})
EVERYTHING = Route(send="concur:receipt")


def test_a_name_caught_in_the_path_fills_the_slot() -> None:
    assert ENTRY.match({"path": "entries/gW$j_4.k-Q/p1.jpg"}) == Destined(
        "concur", Slot("expenseentry", "gW$j_4.k-Q")
    )


def test_the_first_match_wins() -> None:
    routes = [ENTRY, EVERYTHING]
    found = first_match(routes, {"path": "entries/1/x.jpg"})
    assert found is not None
    assert found[0] is ENTRY
    other = first_match(routes, {"path": "lunch.jpg"})
    assert other is not None
    assert other[0] is EVERYTHING


def test_no_match_is_none() -> None:
    assert first_match([ENTRY], {"path": "lunch.jpg"}) is None


@pytest.mark.parametrize("name", [".", "..", "a b", "", "x" * 65, "é"])
def test_a_caught_name_is_a_safe_identifier(name: str) -> None:
    assert ENTRY.match({"path": f"entries/{name}/x.jpg"}) is None


@pytest.mark.parametrize("pattern", ["a.b", "a+b", "[ab]", "a|b", "(a)", "^a$", "a?b"])
def test_everything_but_star_and_names_is_literal(pattern: str) -> None:
    route = Route(send="concur:receipt", patterns={"filename": pattern})
    assert route.match({"filename": pattern}) is not None
    assert route.match({"filename": "axb"}) is None


def test_mail_fields_ignore_case_and_paths_do_not() -> None:
    subject = Route(send="concur:report/{r}", patterns={"subject": "*[Report {r}]*"})
    assert subject.match({"subject": "Fwd: [REPORT 12] lunch"}) == Destined("concur", Slot("report", "12"))
    assert ENTRY.match({"path": "Entries/1/x.jpg"}) is None


def test_all_patterns_must_match() -> None:
    route = Route(send="concur:receipt", patterns={"source": "scanner", "filename": "*.pdf"})
    assert route.match({"source": "scanner", "filename": "a.pdf"}) is not None
    assert route.match({"source": "other", "filename": "a.pdf"}) is None


def test_a_name_used_in_two_patterns_must_catch_the_same() -> None:
    route = Route(send="concur:report/{r}", patterns={"path": "{r}/*", "filename": "{r}.pdf"})
    assert route.match({"path": "7/7.pdf", "filename": "7.pdf"}) is not None
    assert route.match({"path": "7/8.pdf", "filename": "8.pdf"}) is None


@pytest.mark.parametrize(
    "text", ["", "concur", "concur:", ":receipt", "concur:report/", "concur:report/..", "a b:receipt",
             "concur:Receipt", "concur:report/a b", "concur:report/a\nb"],
)  # fmt: skip
def test_what_is_no_destination_is_said_so(text: str) -> None:
    with pytest.raises(InvalidSlot):
        Destined.parse(text)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=60))
def test_a_destination_survives_being_written_and_read(identifier: str) -> None:
    if identifier in (".", ".."):
        return
    destined = Destined("concur", Slot("report", identifier))
    assert Destined.parse(str(destined)) == destined
