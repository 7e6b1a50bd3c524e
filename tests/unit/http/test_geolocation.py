"""A token goes to SAP Concur's own data centres, and to hosts that were allowed; never anywhere else."""

from pathlib import Path
from typing import Any

import pytest

from ingestd.http.geolocation import NotBelieved, base_of, standing, token_url_at
from ingestd.settings import ConcurLogin, OAuthSettings

US2 = "https://us2.api.concursolutions.com"
EU2 = "https://eu2.api.concursolutions.com"
SANDBOX = "http://127.0.0.1:8085"


def login(api_url: str = US2, *allowed: str) -> ConcurLogin:
    return ConcurLogin(api_url=api_url, command="ingestd login concur", allowed_hosts=allowed)


def oauth(api_url: str = US2, **changes: Any) -> OAuthSettings:
    known: dict[str, Any] = {
        "grant": "refresh_token", "token_url": f"{api_url}/oauth2/v0/token", "client_id": "c",
        "store": Path("/nowhere"), "concur": login(api_url),
    }  # fmt: skip
    return OAuthSettings(**(known | changes))


@pytest.mark.parametrize(
    ("told", "base"),
    [
        (EU2, EU2),
        (f"{EU2}/", EU2),
        (f"{EU2}/oauth2/v0/token", EU2),
        (f"{EU2}:443", EU2),
        ("https://EU2.API.Concursolutions.com", EU2),
        ("https://www-us2.api.concursolutions.com", "https://www-us2.api.concursolutions.com"),
        ("https://us-impl.api.concursolutions.com", "https://us-impl.api.concursolutions.com"),
        (f"{US2}/", US2),
    ],
)
def test_another_data_centre_of_the_family_is_believed(told: str, base: str) -> None:
    assert base_of(told, login()) == base
    assert base_of(told, login("https://www.concursolutions.com")) == base


@pytest.mark.parametrize(
    "told",
    [
        "", "us2", "eu2.api.concursolutions.com", "https://", "https:///x", "https://[", "https://[::1",
        "http://eu2.api.concursolutions.com",
        "ftp://eu2.api.concursolutions.com",
        "https://eu2.api.concursolutions.com:8443",
        "https://eu2.api.concursolutions.com:99999",
        "https://api.concursolutions.com.example.com",
        "https://eu2.api.concursolutions.com.example.com",
        "https://evil-api.concursolutions.com",
        "https://evilapi.concursolutions.com",
        "https://www.concursolutions.com",
        "https://api.concursolutions.com",
        "https://eu2.api.concursolutions.com.",
        "https://.api.concursolutions.com",
        "https://example.com/.api.concursolutions.com",
        "https://example.com#.api.concursolutions.com",
        "https://example.com\\.api.concursolutions.com",
        "https://example.com%2f.api.concursolutions.com",
        "https://eu2.api.concursolutions.com@example.com",
        "https://me:pw@eu2.api.concursolutions.com",
        "https://@eu2.api.concursolutions.com",
        "https://eu2.api.concursolutions.com?x=1",
        "https://eu2 .api.concursolutions.com",
        "https://\u0435u2.api.concursolutions.com",
        "https://cn.api.concurcdc.cn",
        "http://127.0.0.1:8085", "https://127.0.0.1", "https://localhost", "http://[::1]:80", "https://10.0.0.1",
    ],
)  # fmt: skip
def test_whatever_else_is_told_is_not_believed(told: str) -> None:
    with pytest.raises(NotBelieved):
        base_of(told, login())


def test_china_is_a_family_of_its_own() -> None:
    cn = "https://cn.api.concurcdc.cn"
    assert base_of("https://www-cn.api.concurcdc.cn", login(cn)) == "https://www-cn.api.concurcdc.cn"
    with pytest.raises(NotBelieved):
        base_of(US2, login(cn))


def test_hosts_that_are_allowed_count_with_those_below_them() -> None:
    mine = login(US2, "concur.example.com")
    assert base_of("https://concur.example.com:8443/x", mine) == "https://concur.example.com:8443"
    assert base_of("https://eu.CONCUR.example.com", mine) == "https://eu.concur.example.com"
    for told in ("http://concur.example.com", "https://example.com", "https://xconcur.example.com"):
        with pytest.raises(NotBelieved):
            base_of(told, mine)


def test_loopback_leads_to_loopback_and_never_into_the_world() -> None:
    assert base_of("http://127.0.0.1:9000/", login(SANDBOX)) == "http://127.0.0.1:9000"
    assert base_of("http://[::1]:9000", login(SANDBOX)) == "http://[::1]:9000"
    with pytest.raises(NotBelieved):
        base_of(US2, login(SANDBOX))


def test_a_gateway_keeps_its_path_and_is_not_left() -> None:
    gateway = "https://gateway.example.com/concur"
    assert base_of("https://gateway.example.com", login(gateway)) == gateway
    with pytest.raises(NotBelieved):
        base_of(US2, login(gateway))
    assert base_of(US2, login(gateway, "api.concursolutions.com")) == US2


def test_tokens_are_asked_for_where_the_login_lives() -> None:
    assert token_url_at(None, oauth()) == f"{US2}/oauth2/v0/token"
    assert token_url_at(EU2, oauth()) == f"{EU2}/oauth2/v0/token"
    gateway = "https://gateway.example.com/concur"
    assert token_url_at(EU2, oauth(gateway)) == f"{EU2}/oauth2/v0/token"
    elsewhere = oauth(token_url="https://login.example.com/token")
    assert token_url_at(None, elsewhere) == "https://login.example.com/token"
    assert token_url_at(EU2, elsewhere) == f"{EU2}/oauth2/v0/token"


def test_a_kept_place_is_proved_again() -> None:
    assert standing(EU2, oauth()) == EU2
    assert standing(US2, oauth()) is None
    assert standing("https://evil.example.com", oauth()) is None
    assert standing(EU2, oauth(SANDBOX)) is None
    assert standing(EU2, oauth(concur=None)) is None
