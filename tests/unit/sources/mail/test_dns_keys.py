from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from ingestd.sources.mail import dns_keys
from ingestd.sources.mail.authenticity import FoundKeys
from ingestd.sources.mail.dns_keys import DnsKeys
from tests.unit.sources.mail.name_server import Clock, NameServer, name_server

NAME = "s1._domainkey.example.com"
PAIR = ("example.com", "s1")
SOON = timedelta(milliseconds=300)


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    async with name_server() as running:
        yield running


async def test_a_key_is_found_and_its_strings_are_joined(server: NameServer) -> None:
    server.texts[NAME] = ['"v=DKIM1; k=rsa; " "p=QUJD" "REVG"']
    assert await server.keys().find([PAIR]) == FoundKeys({PAIR: b"v=DKIM1; k=rsa; p=QUJDREVG"})


async def test_a_key_of_4096_bits_comes_in_one_datagram(server: NameServer) -> None:
    server.texts[NAME] = [f'"v=DKIM1; p={"A" * 200}" "{"A" * 255}" "{"A" * 255}"']
    found = await server.keys().find([PAIR])
    assert len(found.records[PAIR]) == len("v=DKIM1; p=") + 710
    assert server.asked[NAME] == 1


async def test_a_key_too_long_for_a_datagram_comes_over_tcp(server: NameServer) -> None:
    server.texts[NAME] = ['"p=' + '" "'.join(["A" * 250] * 11) + '"']
    found = await server.keys().find([PAIR])
    assert len(found.records[PAIR]) == 2752


async def test_a_key_behind_an_alias_is_found(server: NameServer) -> None:
    server.aliases = {NAME: "s1.keys.example.net"}
    server.texts["s1.keys.example.net"] = ['"v=DKIM1; p=QUJD"']
    assert PAIR in (await server.keys().find([PAIR])).records


async def test_pairs_keep_the_spelling_they_were_asked_in(server: NameServer) -> None:
    server.texts["s1._domainkey.xn--bcher-kva.example"] = ['"p=QUJD"']
    pair = ("Bücher.example", "S1")
    assert await server.keys().find([pair]) == FoundKeys({pair: b"p=QUJD"})


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ['"v=spf1 -all"'],
        ['"v=DKIM2; p=QUJD"'],
        ['"v=DKIM1; k=rsa"'],
        ['"v=DKIM1; p=QUJD"', '"v=DKIM1; p=REVG"'],
        ['"p=' + '" "'.join(["A" * 250] * 17) + '"'],
    ],
)
async def test_a_name_without_exactly_one_key_has_none(server: NameServer, texts: list[str]) -> None:
    server.texts[NAME] = texts
    assert await server.keys().find([PAIR]) == FoundKeys()


async def test_other_records_beside_the_key_do_no_harm(server: NameServer) -> None:
    server.texts[NAME] = ['"v=spf1 -all"', '"v=DKIM1; p=QUJD"']
    assert (await server.keys().find([PAIR])).records == {PAIR: b"v=DKIM1; p=QUJD"}


async def test_a_missing_name_is_an_answer_and_is_remembered_for_a_minute(server: NameServer) -> None:
    clock = Clock()
    keys = server.keys(clock_s=clock)
    assert await keys.find([PAIR]) == FoundKeys()
    server.texts[NAME] = ['"p=QUJD"']
    clock.now_s += 59
    assert await keys.find([PAIR]) == FoundKeys()
    clock.now_s += 2
    assert await keys.find([PAIR]) == FoundKeys({PAIR: b"p=QUJD"})
    assert server.asked[NAME] == 2


@pytest.mark.parametrize("mood", ["servfail", "silent", "garbage"])
async def test_a_dns_that_does_not_answer_is_told_apart(server: NameServer, mood: str) -> None:
    server.moods[NAME] = mood
    server.texts["s2._domainkey.example.com"] = ['"p=QUJD"']
    other = ("example.com", "s2")
    found = await server.keys(deadline=SOON).find([PAIR, other])
    assert found == FoundKeys({other: b"p=QUJD"}, frozenset({PAIR}))


async def test_a_dns_that_does_not_answer_is_left_alone_for_a_while(server: NameServer) -> None:
    clock = Clock()
    server.moods[NAME] = "silent"
    keys = server.keys(deadline=SOON, clock_s=clock)
    assert (await keys.find([PAIR])).unavailable == {PAIR}
    asked = server.asked[NAME]
    clock.now_s += 14
    assert (await keys.find([PAIR])).unavailable == {PAIR}
    assert server.asked[NAME] == asked
    server.moods.clear()
    server.texts[NAME] = ['"p=QUJD"']
    clock.now_s += 2
    assert (await keys.find([PAIR])).records == {PAIR: b"p=QUJD"}
    assert server.asked[NAME] == asked + 1


async def test_nobody_at_the_port_is_no_answer() -> None:
    async with name_server() as gone:
        keys = gone.keys(deadline=SOON)
    assert (await keys.find([PAIR])).unavailable == {PAIR}


async def test_no_name_server_configured_is_no_answer() -> None:
    assert (await DnsKeys(nameservers=[], deadline=SOON).find([PAIR])).unavailable == {PAIR}


@pytest.mark.parametrize(("ttl_s", "kept_s"), [(0, 60), (600, 600), (10**6, 3600)])
async def test_an_answer_is_kept_as_long_as_it_says_within_limits(
    server: NameServer, ttl_s: int, kept_s: int
) -> None:
    clock = Clock()
    keys = server.keys(clock_s=clock)
    server.ttl_s = ttl_s
    server.texts[NAME] = ['"p=QUJD"']
    await keys.find([PAIR])
    server.texts[NAME] = ['"p=REVG"']
    clock.now_s += kept_s - 1
    assert (await keys.find([PAIR])).records == {PAIR: b"p=QUJD"}
    clock.now_s += 1
    assert (await keys.find([PAIR])).records == {PAIR: b"p=REVG"}


async def test_only_so_many_answers_are_remembered(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_keys, "REMEMBERED", 3)
    keys = server.keys()
    for number in range(10):
        await keys.find([("example.com", f"s{number}")])
    assert len(keys._answers) == 3
    await keys.find([("example.com", "s9")])
    assert server.asked["s9._domainkey.example.com"] == 1


@pytest.mark.parametrize(
    "pair",
    [
        ("192.0.2.1", "s1"),
        ("[192.0.2.1]", "s1"),
        ("", "s1"),
        ("example.com", ""),
        ("example.com", "s1 "),
        ("example.com", "s1\x00"),
        ("example.com", "a" * 64),
        ("example..com", "s1"),
        ("a." * 130 + "com", "s1"),
    ],
)
async def test_what_is_no_host_name_is_never_asked_for(server: NameServer, pair: tuple[str, str]) -> None:
    assert await server.keys().find([pair]) == FoundKeys()
    assert not server.asked
