"""A person logs the program in: by a code on any device, or with a browser."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from ingestd.http.oauth import OAuthRefused, OAuthUnavailable
from ingestd.http.oauth_login import REDIRECT, BrowserLogin, ask_for_device_code, wait_for_person
from ingestd.settings import OAuthSettings
from tests.mail.oauth_server import DEVICE_GRANT, OAuthServer, oauth_server


@pytest.fixture
async def server() -> AsyncIterator[OAuthServer]:
    async with oauth_server() as server:
        yield server


@pytest.fixture
def settings(server: OAuthServer, tmp_path: Path) -> OAuthSettings:
    return server.settings(tmp_path / "tokens/receipts.json")


class Pauses:
    """Waits for nothing, and remembers for how long it should have."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def test_a_code_is_asked_about_until_it_was_entered(
    server: OAuthServer, settings: OAuthSettings
) -> None:
    server.device = ["authorization_pending", "authorization_pending", ""]
    code = await ask_for_device_code(settings)
    assert (code.address, code.user_code) == ("https://login.example.com/device", "WDJB-MJHT")
    assert "device-code-1" not in repr(code)
    pauses = Pauses()
    granted = await wait_for_person(settings, code, pause=pauses)
    assert granted.refresh_token in server.refresh_tokens
    assert pauses.seconds == [1, 1, 1]
    assert server.forms[0]["scope"] == "mail offline_access"
    assert (server.forms[1]["grant_type"], server.forms[1]["device_code"]) == (DEVICE_GRANT, "device-code-1")


async def test_a_server_that_says_slow_down_is_asked_more_slowly_from_then_on(
    server: OAuthServer, settings: OAuthSettings
) -> None:
    server.device = ["slow_down", "authorization_pending", "slow_down", ""]
    pauses = Pauses()
    await wait_for_person(settings, await ask_for_device_code(settings), pause=pauses)
    assert pauses.seconds == [1, 6, 6, 11]


async def test_a_server_that_is_away_is_asked_less_often(
    server: OAuthServer, settings: OAuthSettings
) -> None:
    code = await ask_for_device_code(settings)
    server.answers = [(503, b""), (503, b"")]
    server.device = [""]
    pauses = Pauses()
    await wait_for_person(settings, code, pause=pauses)
    assert pauses.seconds == [1, 2, 4]


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("access_denied", "access_denied", "said no"),
        ("authorization_declined", "access_denied", "said no"),
        ("expired_token", "expired_token", "begin again"),
        ("invalid_grant", "invalid_grant", "log in again"),
    ],
)
async def test_a_login_that_comes_to_nothing_ends_with_the_reason(
    server: OAuthServer, settings: OAuthSettings, said: str, code: str, words: str
) -> None:
    server.device = ["authorization_pending", said]
    with pytest.raises(OAuthRefused, match=words) as caught:
        await wait_for_person(settings, await ask_for_device_code(settings), pause=Pauses())
    assert caught.value.code == code


async def test_nobody_waits_for_longer_than_the_code_is_good(
    server: OAuthServer, settings: OAuthSettings
) -> None:
    server.device = ["authorization_pending"]
    server.device_told = {"expires_in": 10, "interval": 3}
    pauses = Pauses()
    with pytest.raises(OAuthRefused, match="in time"):
        await wait_for_person(settings, await ask_for_device_code(settings), pause=pauses)
    assert pauses.seconds == [3, 3, 3, 3]


@pytest.mark.parametrize(
    "told",
    [
        {"user_code": None}, {"device_code": None}, {"verification_uri": None},
        {"verification_uri": "javascript:alert(1)"}, {"user_code": "\x1b[2J"}, {"user_code": 5},
    ],
)  # fmt: skip
async def test_a_code_that_can_not_be_shown_is_refused(
    server: OAuthServer, settings: OAuthSettings, told: dict[str, object]
) -> None:
    server.device_told = told
    with pytest.raises(OAuthUnavailable, match="device_url"):
        await ask_for_device_code(settings)


async def test_missing_and_mad_numbers_have_limits(server: OAuthServer, settings: OAuthSettings) -> None:
    server.device_told = {"interval": None, "expires_in": 1e300, "verification_uri": None,
                          "verification_url": "https://www.example.com/device"}  # fmt: skip
    code = await ask_for_device_code(settings)
    assert (code.interval_seconds, code.lifetime_seconds) == (5, 3600)
    server.device_told = {"interval": 0, "expires_in": None}
    code = await ask_for_device_code(settings)
    assert (code.interval_seconds, code.lifetime_seconds) == (1, 900)


# --- with a browser ----------------------------------------------------------------------------------------


def asked_for(login: BrowserLogin) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(login.address).query).items()}


async def test_a_browser_brings_a_code_that_is_good_for_this_login_only(
    server: OAuthServer, settings: OAuthSettings
) -> None:
    login = BrowserLogin(settings)
    query = asked_for(login)
    assert login.address.startswith(f"{server.url}/authorize?")
    assert (query["redirect_uri"], query["code_challenge_method"]) == (REDIRECT, "S256")
    code = server.grant_code(query["code_challenge"])
    granted = await login.finish(f" {REDIRECT}?state={query['state']}&code={code}&scope=x \n")
    assert granted.refresh_token in server.refresh_tokens
    other = BrowserLogin(settings)
    code = server.grant_code(query["code_challenge"])
    with pytest.raises(OAuthRefused):
        await other.finish(f"{REDIRECT}?state={asked_for(other)['state']}&code={code}")


@pytest.mark.parametrize(
    ("pasted", "words"),
    [
        ("", "begin again"),
        ("https://example.com/", "begin again"),
        ("http://[", "begin again"),
        (REDIRECT + "?code=x", "another login"),
        (REDIRECT + "?code=x&state=äöü", "another login"),
        (REDIRECT + "?error=access_denied&state={state}", "was refused"),
    ],
)
async def test_an_address_that_is_no_answer_is_not_sent_on(
    server: OAuthServer, settings: OAuthSettings, pasted: str, words: str
) -> None:
    login = BrowserLogin(settings)
    with pytest.raises(OAuthRefused, match=words):
        await login.finish(pasted.replace("{state}", asked_for(login)["state"]))
    assert server.forms == []
