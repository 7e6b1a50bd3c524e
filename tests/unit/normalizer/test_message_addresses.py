import pytest

from ingestd.normalizer.message_addresses import MOST_OF_A_KIND, addresses, senders


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("ann@example.com", ["ann@example.com"]),
        ("Ann Example <ann@example.com>", ["ann@example.com"]),
        ('"Example, Ann" <ann@example.com>', ["ann@example.com"]),
        ("Ann (at home (today)) <ann@example.com> (her)", ["ann@example.com"]),
        ("ann(comment)@example.com", ["ann@example.com"]),
        ("(a \\) b) ann@example.com", ["ann@example.com"]),
        ("ann @ Example.COM", ["ann@example.com"]),
        ("<@relay.example,@b.example:ann@example.com>", ["ann@example.com"]),
        ('"ann"@example.com', ["ann@example.com"]),
        ('"an n"@example.com', ['"an n"@example.com']),
        ('"ann@corp.example"@example.com', ['"ann@corp.example"@example.com']),
        ("Team: ann@example.com, Bob <bob@example.com>;", ["ann@example.com", "bob@example.com"]),
        ("undisclosed-recipients:;", []),
        ("Ann <ann@bücher.example>", ["ann@xn--bcher-kva.example"]),
        ("ann@[192.0.2.1]", ["ann@[192.0.2.1]"]),
        ("ann@example.com.", ["ann@example.com"]),
        ("", []),
        ("nobody", []),
        ("<>", []),
    ],
)
def test_mailboxes_are_read_by_the_rules(field: str, expected: list[str]) -> None:
    assert list(addresses([field])) == expected
    assert list(senders([field])) == expected


@pytest.mark.parametrize(
    "field",
    [
        "boss@corp.example <eve@example.net>",
        '"boss@corp.example" <eve@example.net>',
        '"Boss <boss@corp.example>" <eve@example.net>',
        "=?utf-8?q?Boss_=3Cboss=40corp.example=3E?= <eve@example.net>",
        "(boss@corp.example) eve@example.net",
        "boss@corp.example\u00a0<eve@example.net>",
    ],
)
def test_a_display_name_never_counts(field: str) -> None:
    assert senders([field]) == ("eve@example.net",)


@pytest.mark.parametrize(
    "field",
    [
        "boss@corp.example, eve@example.net",
        "<boss@corp.example> <eve@example.net>",
        "boss@corp.example eve@example.net",
        "boss@corp.example@example.net",
        '"Boss <boss@corp.example> <eve@example.net>',
        "<boss@corp.example <eve@example.net>",
        "Boss: boss@corp.example; <eve@example.net>",
    ],
)
def test_whatever_could_be_read_in_two_ways_gives_more_than_one_sender(field: str) -> None:
    assert len(senders([field])) > 1


@pytest.mark.parametrize(
    "field", ["(boss@corp.example", '"boss@corp.example', "<boss@corp.example", '" boss@x.y']
)
def test_a_field_against_the_rules_never_gives_just_one_sender(field: str) -> None:
    assert senders([field]) == ()


def test_each_address_is_told_once_and_there_is_a_limit() -> None:
    assert addresses(["a@x.y, A <a@x.y>", "a@x.y"]) == ("a@x.y",)
    assert len(addresses([", ".join(f"a{n}@x.y" for n in range(1_000))])) == MOST_OF_A_KIND
