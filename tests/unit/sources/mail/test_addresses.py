import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.sources.mail.addresses import (
    canonical_address,
    canonical_domain,
    compile_sender_pattern,
    flood_key,
    is_aligned,
    without_tag,
)

KELVIN = "\N{KELVIN SIGN}"
CYRILLIC_A = "\N{CYRILLIC SMALL LETTER A}"


def matches(pattern: str, address: str) -> bool:
    compiled = compile_sender_pattern(pattern)
    canonical = canonical_address(address)
    return compiled is not None and canonical is not None and compiled.fullmatch(canonical) is not None


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("Ann@Example.COM", "ann@example.com"),
        ("ann@example.com.", "ann@example.com"),
        ("ann+trip@example.com", "ann+trip@example.com"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("ann@BÜCHER.example", "ann@xn--bcher-kva.example"),
        ("ann@XN--BCHER-KVA.example", "ann@xn--bcher-kva.example"),
        ("josé@example.com", "josé@example.com"),
        ("receipts@localhost", "receipts@localhost"),
    ],
)
def test_an_address_has_one_canonical_form(written: str, canonical: str) -> None:
    assert canonical_address(written) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann",
        "@example.com",
        "ann@",
        "ann@[192.0.2.1]",
        "ann@192.0.2.1",
        '"ann smith"@example.com',
        "boss@corp.example <evil@example.org>",
        "boss@corp.example@example.org",
        "ann..smith@example.com",
        ".ann@example.com",
        "ann@-example.com",
        "ann@example..com",
        "ann@exa mple.com",
        "ann\u202e@example.com",
        "ann\x00@example.com",
        "ann\n@example.com",
        "a" * 65 + "@example.com",
        "ann@" + "a." * 200 + "com",
        "ann@" + "a" * 64 + ".com",
        "ann@example\N{IDEOGRAPHIC FULL STOP}com",
        "ann@\N{FULLWIDTH LATIN SMALL LETTER E}xample.com",
    ],
)
def test_what_is_no_plain_address_is_none(text: str) -> None:
    assert canonical_address(text) is None


def test_letters_that_only_look_alike_are_not_equal() -> None:
    assert canonical_address(f"fran{KELVIN}@example.com") != "frank@example.com"
    assert canonical_address(f"ann@ban{KELVIN}.example") != "ann@bank.example"
    assert canonical_address(f"{CYRILLIC_A}nn@example.com") != "ann@example.com"
    assert canonical_domain(f"ex{CYRILLIC_A}mple.com") != "example.com"


def test_sharp_s_is_not_ss_in_a_domain() -> None:
    assert canonical_domain("faß.example") == "xn--fa-hia.example"
    assert canonical_domain("fass.example") == "fass.example"


@given(st.text(max_size=400))
def test_any_text_is_an_address_or_none_and_canonical_forms_stay(text: str) -> None:
    found = canonical_address(text)
    assert found is None or canonical_address(found) == found


@pytest.mark.parametrize(
    ("pattern", "address"),
    [
        ("*", "anybody@example.org"),
        ("*@example.com", "ann@example.com"),
        ("*@Example.COM", "ANN@example.com"),
        ("ann@example.com", "Ann@Example.com"),
        ("*.smith@example.com", "ann.smith@example.com"),
        ("*@*.example.com", "ann@mail.example.com"),
        ("*@bücher.example", "ann@xn--bcher-kva.example"),
        ("*@xn--bcher-kva.example", "ann@bücher.example"),
    ],
)
def test_an_allow_pattern_lets_in(pattern: str, address: str) -> None:
    assert matches(pattern, address)


@pytest.mark.parametrize(
    ("pattern", "address"),
    [
        ("*@example.com", "ann@mail.example.com"),
        ("*@example.com", "ann@evilexample.com"),
        ("*@example.com", "ann@example.com.evil.example"),
        ("*@example.com", "ann@example-com.example"),
        ("*@*.example.com", "ann@example.com"),
        ("ann@example.com", "ann+x@example.com"),
        ("ann@example.com", "joann@example.com"),
        ("frank@example.com", f"fran{KELVIN}@example.com"),
        (f"fran{KELVIN}@example.com", "frank@example.com"),
        ("*@fass.example", "ann@faß.example"),
        ("example.com", "ann@example.com"),
        ("@example.com", "ann@example.com"),
        ("*@", "ann@example.com"),
        ("", "ann@example.com"),
    ],
)
def test_an_allow_pattern_keeps_out(pattern: str, address: str) -> None:
    assert not matches(pattern, address)


def test_only_the_domain_itself_and_its_subdomains_are_aligned() -> None:
    assert is_aligned("example.com", "example.com")
    assert is_aligned("bounce.example.com", "example.com")
    assert is_aligned("example.com", "mail.example.com")
    assert not is_aligned("evilexample.com", "example.com")
    assert not is_aligned("example.com.evil.example", "example.com")
    assert not is_aligned("a.example.com", "b.example.com")
    assert not is_aligned("com", "example.com")
    assert not is_aligned("example.com", "com")
    assert not is_aligned("bounce.example.com", "example.com", exactly=True)


def test_a_tag_is_taken_off_and_nothing_else() -> None:
    assert without_tag("receipts+A1@example.com") == "receipts@example.com"
    assert without_tag("receipts+a+b@example.com") == "receipts@example.com"
    assert without_tag("receipts@example.com") == "receipts@example.com"
    assert without_tag("+a@example.com") == "+a@example.com"


def test_plus_addresses_of_one_sender_share_a_flood_key() -> None:
    assert flood_key("Ann+1@Example.com") == flood_key("ann+2@example.com") == "ann@example.com"


@given(st.text(alphabet=string.printable, max_size=60))
def test_a_flood_key_is_its_own_flood_key(text: str) -> None:
    key = flood_key(text)
    assert flood_key(key) == key
