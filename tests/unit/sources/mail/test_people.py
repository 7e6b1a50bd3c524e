import pytest

from ingestd.domain.mail import Person
from ingestd.sources.mail.people import People, named_in

ANN = Person(
    name="Ann",
    addresses=("Ann@example.com", "ann.private@example.org"),
    account="ann",
    delegates=("assistant@example.com", "bob@example.com"),
)
BOB = Person(name="Bob", addresses=("bob@example.com",), account="bob", delegates=("assistant@example.com",))
EVE = Person(name="Eve", addresses=("eve@example.com",), delegates=("temp@example.com",))
PEOPLE = People([ANN, BOB, EVE])


@pytest.mark.parametrize(
    "subject",
    [
        "ann@example.com",
        "  ANN@example.com ",
        "<ann@example.com>",
        "Fwd: ann@example.com",
        "FW: RE: WG: AW: TR : ann@example.com",
        "Re[2]: ann@example.com",
        "[EXTERNAL] Fwd: <ann@example.com>",
        "转发：ann@example.com",
    ],
)
def test_an_address_alone_in_the_subject_is_found(subject: str) -> None:
    assert named_in(subject) == "ann@example.com"


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "Hotel",
        "for ann@example.com",
        "ann@example.com please",
        "ann@example.com, bob@example.com",
        "Ann <ann@example.com>",
        "Fwd: ",
        "re:" * 5000,
        "re" + " " * 50_000,
        "[" * 50_000,
    ],
)
def test_any_other_subject_names_nobody(subject: str) -> None:
    assert named_in(subject) is None


def test_a_person_sends_for_themselves_from_each_of_their_addresses() -> None:
    assert PEOPLE.behalf("ann@example.com", "Hotel").person is ANN
    assert PEOPLE.behalf("ann.private@example.org", "Hotel").person is ANN


def test_a_delegate_sends_for_the_person_whose_address_is_the_subject() -> None:
    assert PEOPLE.behalf("assistant@example.com", "Fwd: bob@example.com").person is BOB
    found = PEOPLE.behalf("assistant@example.com", "ann.private@example.org")
    assert (found.person, found.problem) == (ANN, None)


def test_a_delegate_of_several_people_who_names_none_is_told_what_to_write() -> None:
    found = PEOPLE.behalf("assistant@example.com", "Hotel")
    assert found.person is None
    assert found.problem is not None
    assert "alone in the subject: Ann@example.com or bob@example.com" in found.problem


def test_a_delegate_of_one_person_need_not_name_them() -> None:
    found = PEOPLE.behalf("temp@example.com", "Hotel")
    assert (found.person, found.problem) == (EVE, None)


def test_a_delegate_who_is_a_person_sends_for_themselves_unless_they_name_another() -> None:
    assert PEOPLE.behalf("bob@example.com", "Hotel").person is BOB
    assert PEOPLE.behalf("bob@example.com", "bob@example.com").person is BOB
    assert PEOPLE.behalf("bob@example.com", "ann@example.com").person is ANN


def test_a_delegate_of_several_who_is_a_person_sends_for_themselves_too() -> None:
    people = People([ANN, BOB, Person(name="Assistant", addresses=("assistant@example.com",))])
    found = people.behalf("assistant@example.com", "Hotel")
    assert found.person is not None
    assert (found.person.name, found.problem) == ("Assistant", None)


def test_a_delegate_who_misspells_the_address_is_held_and_not_taken_for_themselves() -> None:
    found = PEOPLE.behalf("bob@example.com", "anne@example.com")
    assert found.problem is not None
    assert "anne@example.com" in found.problem
    assert PEOPLE.behalf("temp@example.com", "eva@example.com").problem is not None


def test_nobody_sends_for_a_person_who_did_not_name_them_a_delegate() -> None:
    for sender in ("temp@example.com", "eve@example.com", "stranger@example.com"):
        found = PEOPLE.behalf(sender, "ann@example.com")
        assert found.person is not ANN
        assert found.problem is not None
        assert f"{sender} may not send for that address" in found.problem


def test_an_address_of_nobody_is_just_a_subject_for_who_is_no_delegate() -> None:
    found = PEOPLE.behalf("eve@example.com", "billing@hotel.example")
    assert (found.person, found.problem) == (EVE, None)
    found = PEOPLE.behalf("guest@example.com", "billing@hotel.example")
    assert (found.person, found.problem) == (None, None)


def test_people_and_delegates_are_known_and_others_are_not() -> None:
    assert PEOPLE.knows("ann@example.com")
    assert PEOPLE.knows("temp@example.com")
    assert not PEOPLE.knows("ann+x@example.com")
