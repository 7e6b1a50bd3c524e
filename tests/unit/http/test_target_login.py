"""A target's tokens: one refresh for any number of workers, no token out of place, no secret in any text."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestd.http import target_login
from ingestd.http.concur_codes import CODES, MAINTENANCE, MOVED
from ingestd.http.target_login import Access, OAuthRefused, OAuthUnavailable, TargetLogin, target_logins
from ingestd.http.tokens import SecretUnavailable
from ingestd.settings import ConcurImageV1Settings, OAuthSettings, Secret
from tests.unit.http.concur_server import (
    CLIENT,
    CLIENT_SECRET,
    COMPANY,
    END_SECONDS,
    REQUEST_TOKEN,
    ConcurServer,
    concur_server,
    secret_in,
)
from tests.unit.http.test_expiry import jwt

ROOT = Path(__file__).parents[3]


class Heard:
    """An Observer."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, dict[str, object]]] = []

    def note(self, event: str, /, *, level: str = "info", **fields: object) -> None:
        self.notes.append((event, fields | {"level": level}))


@pytest.fixture
async def server() -> AsyncIterator[ConcurServer]:
    async with concur_server() as server:
        yield server


@pytest.fixture
def settings(server: ConcurServer, tmp_path: Path) -> OAuthSettings:
    """A login by a refresh token that was got elsewhere."""
    return server.settings(tmp_path, refresh_token=secret_in(tmp_path / "seed", server.login()))


def login(how: OAuthSettings | Secret, heard: Heard | None = None) -> TargetLogin:
    url = how.concur.api_url if isinstance(how, OAuthSettings) and how.concur else "https://api.example.com"
    return TargetLogin(how, target="concur", account=None, url=url, observer=heard)


def kept(settings: OAuthSettings) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(settings.store.read_text())
    return found


async def complain(source: TargetLogin, refused: Access) -> Access | None:
    source.invalidate(refused)
    return await source.renewed_since(refused)


# --- what an answer says -----------------------------------------------------------------------------------


async def test_what_the_server_tells_is_kept_with_the_login(
    server: ConcurServer, settings: OAuthSettings
) -> None:
    source = login(settings)
    assert login(settings).expires_at is None
    access = await source.token()
    assert access.base_url == server.url and access.token == server.given[0]["access_token"]
    assert source.expires_at == END_SECONDS * 1_000_000
    assert {kept(settings)["refresh_token"]} == server.refresh_tokens
    assert server.forms[0]["client_secret"] == CLIENT_SECRET


@pytest.mark.parametrize("seconds", [3600, "3600"])
async def test_a_lifetime_is_a_number_or_text(
    server: ConcurServer, settings: OAuthSettings, seconds: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.told["expires_in"] = seconds
    now = 1000.0
    monkeypatch.setattr("ingestd.http.oauth.time.monotonic", lambda: now)
    source = login(settings)
    await source.token()
    now += 3600 - 61
    await source.token()
    assert len(server.forms) == 1
    now += 2
    await source.token()
    assert len(server.forms) == 2


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (1_647_802_571, 1_647_802_571), ("1647802571", 1_647_802_571), (15_552_000, 1_715_552_000),
        (0, None), (-1, None), ("soon", None), (True, None), (1e300, None), (1_900_000_000_000, None),
        (None, None),
    ],
)  # fmt: skip
async def test_the_end_of_a_refresh_token_is_a_moment_and_a_small_number_a_duration(
    server: ConcurServer,
    settings: OAuthSettings,
    told: object,
    seconds: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ingestd.http.oauth_endpoint.time.time", lambda: 1_700_000_000.0)
    server.told["refresh_expires_in"] = told
    source = login(settings)
    await source.token()
    assert source.expires_at == (None if seconds is None else seconds * 1_000_000)


async def test_a_refresh_token_that_stays_keeps_its_end_and_another_one_does_not(
    server: ConcurServer, settings: OAuthSettings
) -> None:
    server.rotates = False
    source = login(settings)
    first = await source.token()
    server.told["refresh_expires_in"] = None
    second = await complain(source, first)
    assert second is not None and source.expires_at == END_SECONDS * 1_000_000
    server.rotates = True
    await login(settings).token()
    assert source.expires_at is None


# --- many workers, one refresh -----------------------------------------------------------------------------


async def test_a_hundred_workers_that_see_a_refusal_cause_one_refresh(
    server: ConcurServer, settings: OAuthSettings
) -> None:
    server.latency_seconds = 0.05
    source = login(settings)
    first = await asyncio.gather(*(source.token() for _ in range(100)))
    assert len({access.token for access in first}) == 1 and len(server.forms) == 1
    renewed = await asyncio.gather(*(complain(source, access) for access in first))
    assert {access.generation for access in renewed if access is not None} == {2}
    assert None not in renewed and len(server.forms) == 2
    # Those that come late complain of a token that is long gone.
    late = await complain(source, first[0])
    assert late == renewed[0] and len(server.forms) == 2


async def test_a_complaint_about_a_token_of_the_past_does_nothing(
    server: ConcurServer, settings: OAuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("ingestd.http.oauth.time.monotonic", lambda: now)
    source = login(settings)
    first = await source.token()
    now += 3600
    second = await source.token()
    assert await complain(source, first) == second
    assert len(server.forms) == 2


async def test_a_token_that_was_renewed_in_vain_is_not_renewed_again_for_a_while(
    server: ConcurServer, settings: OAuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("ingestd.http.target_login.time.monotonic", lambda: now)
    source = login(settings)
    second = await complain(source, await source.token())
    assert second is not None
    for _ in range(10):
        assert await complain(source, second) is None
    assert len(server.forms) == 2
    now += target_login.IN_VAIN.total_seconds()
    assert await complain(source, second) is not None
    assert len(server.forms) == 3


async def test_the_same_token_given_again_is_no_reason_to_repeat_a_call(
    server: ConcurServer, settings: OAuthSettings
) -> None:
    server.told["access_token"] = "access-always-the-same"
    source = login(settings)
    assert await complain(source, await source.token()) is None
    assert len(server.forms) == 2


async def test_what_keeps_a_renewal_from_succeeding_is_told_by_the_next_call(
    server: ConcurServer, settings: OAuthSettings
) -> None:
    source = login(settings)
    first = await source.token()
    server.fails(108)
    assert await complain(source, first) is None
    with pytest.raises(OAuthRefused, match="run: ingestd login concur"):
        await source.token()


async def test_a_token_server_in_trouble_is_left_alone_for_a_while(
    server: ConcurServer, settings: OAuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("ingestd.http.target_login.time.monotonic", lambda: now)
    source = login(settings)
    server.answers = [(500, b"<html><body>Error 4711</body></html>")]
    for _ in range(50):
        with pytest.raises(OAuthUnavailable, match="HTTP 500"):
            await source.token()
    assert len(server.forms) == 1
    now += target_login.PAUSE.total_seconds()
    server.headers["Retry-After"] = "600"
    server.answers = [(429, b"")]
    with pytest.raises(OAuthUnavailable) as caught:
        await source.token()
    assert caught.value.wait == timedelta(minutes=10)
    now += 599
    with pytest.raises(OAuthUnavailable):
        await source.token()
    assert len(server.forms) == 2
    now += 1
    assert (await source.token()).token


async def test_two_processes_share_one_login(server: ConcurServer, settings: OAuthSettings) -> None:
    """The server takes each refresh token once."""
    server.latency_seconds = 0.02
    children = [await child(settings, "renew(10)") for _ in range(2)]
    for process in children:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    assert len(server.spent) == 20
    assert {kept(settings)["refresh_token"]} == server.refresh_tokens


# --- a crash -----------------------------------------------------------------------------------------------


async def test_a_crash_between_the_answer_and_the_save_gives_no_token_out_and_damages_nothing(
    server: ConcurServer, settings: OAuthSettings
) -> None:
    """SIGKILL at that instant: the store holds the login of before, whole."""
    server.rotates = False
    await login(settings).token()
    before = kept(settings)
    server.rotates = True
    process = await child(settings, "killed_before_the_save()")
    told, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert b"given out" not in told and len(server.forms) == 2
    assert kept(settings) == before
    # A server that lets the one of before live on: nothing happened.
    server.refresh_tokens.add(before["refresh_token"])
    assert (await login(settings).token()).token
    # One that does not: a person hears what to do.
    settings.store.write_text(json.dumps(before))
    with pytest.raises(OAuthRefused, match=r"\(code 108\).*run: ingestd login concur"):
        await login(settings).token()
    names = {path.name for path in settings.store.parent.iterdir()}
    assert names == {"target.concur.json", "target.concur.json.lock"}


async def test_a_crash_after_the_save_loses_nothing(server: ConcurServer, settings: OAuthSettings) -> None:
    process = await child(settings, "killed_after_the_save()")
    told, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL and b"given out" not in told
    assert (await login(settings).token()).token
    assert {kept(settings)["refresh_token"]} == server.refresh_tokens


async def child(settings: OAuthSettings, act: str) -> asyncio.subprocess.Process:
    assert settings.refresh_token is not None and settings.client_secret is not None
    program = f"""
import asyncio, os, signal, sys
from datetime import timedelta
from pathlib import Path
from ingestd.http import target_login
from ingestd.http.target_login import TargetLogin
from ingestd.settings import ConcurLogin, OAuthSettings, Secret
url = {settings.token_url.removesuffix("/oauth2/v0/token")!r}
settings = OAuthSettings(
    grant="refresh_token", token_url=url + "/oauth2/v0/token", client_id={CLIENT!r},
    client_secret=Secret(file=Path({str(settings.client_secret.file)!r})),
    refresh_token=Secret(file=Path({str(settings.refresh_token.file)!r})),
    store=Path({str(settings.store)!r}),
    concur=ConcurLogin(api_url=url, command="ingestd login concur"),
)
login = TargetLogin(settings, target="concur", account=None, url=url)
async def renew(times):
    target_login.IN_VAIN = timedelta()
    for _ in range(times):
        login.invalidate(await login.token())
async def killed_before_the_save():
    os.pwrite = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    await login.token()
    print("given out", flush=True)
async def killed_after_the_save():
    real = os.rename
    def rename(*places, **more):
        real(*places, **more)
        os.kill(os.getpid(), signal.SIGKILL)
    os.rename = rename
    await login.token()
    print("given out", flush=True)
asyncio.run({act})
"""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


# --- data centres ------------------------------------------------------------------------------------------


async def test_a_login_moves_with_its_data_centre_and_stays_there(
    server: ConcurServer, settings: OAuthSettings
) -> None:
    heard = Heard()
    async with concur_server() as other:
        other.refresh_tokens, other.spent = server.refresh_tokens, server.spent
        source = login(settings, heard)
        first = await source.token()
        server.told["geolocation"] = f"{other.url}/oauth2/v0/token/"
        second = await complain(source, first)
        assert second is not None and second.base_url == other.url
        assert kept(settings)["home"] == other.url
        assert ("login.moved", {"to": other.url}) in [
            (event, {"to": fields.get("to")}) for event, fields in heard.notes
        ]
        # Refresh included, and after a restart.
        assert (await login(settings).token()).base_url == other.url
        assert (len(server.forms), len(other.forms)) == (2, 1)
        # And back.
        other.told["geolocation"] = server.url
        assert (await login(settings).token()).base_url == server.url
        assert kept(settings)["home"] is None
        await login(settings).token()
        assert (len(server.forms), len(other.forms)) == (3, 2)


@pytest.mark.parametrize(
    "geolocation",
    [
        "https://evil.example.com",
        "https://us2.api.concursolutions.com",
        "http://10.0.0.1",
        "x",
        "https://a@b",
        7,
        "",
    ],
)
async def test_a_place_that_is_not_believed_changes_nothing_and_is_said(
    server: ConcurServer, settings: OAuthSettings, geolocation: object
) -> None:
    heard = Heard()
    server.told["geolocation"] = geolocation
    source = login(settings, heard)
    access = await source.token()
    assert access.base_url == server.url and kept(settings)["home"] is None
    notes = [fields for event, fields in heard.notes if event == "login.misdirected"]
    if isinstance(geolocation, str) and geolocation:
        assert "allowed_hosts" in str(notes[0]["reason"]) and notes[0]["level"] == "warning"
        assert f"stays at {server.url}" in str(notes[0]["reason"])
    else:
        assert notes == []


async def test_a_place_that_repeats_a_token_is_not_shown(
    server: ConcurServer, settings: OAuthSettings
) -> None:
    heard = Heard()
    server.told |= {"access_token": "Access-Canary-77", "geolocation": "https://access-canary-77.example.com"}
    await login(settings, heard).token()
    assert "canary" not in str(heard.notes).lower() and "looks like a secret" in str(heard.notes)


async def test_a_place_that_was_kept_and_is_not_believed_any_more_is_not_asked(
    server: ConcurServer, settings: OAuthSettings
) -> None:
    await login(settings).token()
    settings.store.write_text(json.dumps(kept(settings) | {"home": "https://evil.example.com"}))
    assert (await login(settings).token()).base_url == server.url


async def test_code_16_is_followed_once(server: ConcurServer, settings: OAuthSettings) -> None:
    async with concur_server() as other:
        other.refresh_tokens = server.refresh_tokens
        server.fails(MOVED, geolocation=other.url)
        access = await login(settings).token()
        assert access.base_url == other.url and kept(settings)["home"] == other.url
        assert (len(server.forms), len(other.forms)) == (1, 1)


async def test_code_16_does_not_run_in_circles(server: ConcurServer, settings: OAuthSettings) -> None:
    async with concur_server() as other:
        server.fails(MOVED, geolocation=other.url)
        other.fails(MOVED, geolocation=server.url)
        with pytest.raises(OAuthRefused, match="one data centre points to the other"):
            await login(settings).token()
        assert (len(server.forms), len(other.forms)) == (1, 1)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"geolocation": "https://evil.example.com"}, "allowed_hosts"),
        ({"geolocation": "SERVER"}, "the one that was asked"),
        ({"geolocation": 7}, "another data centre"),
        ({}, "another data centre"),
    ],
)
async def test_code_16_without_a_place_to_go_is_for_a_person(
    server: ConcurServer, settings: OAuthSettings, more: dict[str, object], words: str
) -> None:
    told: dict[str, Any] = {k: server.url if v == "SERVER" else v for k, v in more.items()}
    server.fails(MOVED, **told)
    with pytest.raises(OAuthRefused, match=words):
        await login(settings).token()
    assert len(server.forms) == 1


async def test_code_16_to_a_place_that_repeats_a_secret_is_not_shown(
    server: ConcurServer, settings: OAuthSettings
) -> None:
    server.fails(MOVED, geolocation=f"https://{CLIENT_SECRET}.example.com")
    with pytest.raises(OAuthRefused) as caught:
        await login(settings).token()
    assert CLIENT_SECRET not in str(caught.value)


async def test_a_redirect_is_not_followed(server: ConcurServer, settings: OAuthSettings) -> None:
    async with concur_server() as other:
        server.headers["Location"] = f"{other.url}/oauth2/v0/token"
        server.answers = [(307, b"")]
        with pytest.raises(OAuthRefused, match="points elsewhere"):
            await login(settings).token()
        assert other.forms == []


# --- numbered errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("code", sorted(set(CODES) - {MOVED}))
async def test_each_number_is_a_sentence_for_a_person(
    server: ConcurServer, settings: OAuthSettings, code: int, status: int
) -> None:
    server.headers["Concur-Correlationid"] = "corr-1"
    server.fails(code, status=status, error_description="seen: REPEATED")
    source = login(settings)
    with pytest.raises(OAuthRefused) as caught:
        await source.token()
    text = str(caught.value)
    assert caught.value.code == str(code) and f"(code {code})" in text and "corr-1" in text
    assert len(text) > 80 and "{" not in text.replace("{'", "")
    assert not any(secret in text for secret in server.secrets())


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (5, "client_secret_file"), (20, "address of this machine"), (54, "check scope"), (61, "client_id"),
        (62, "defect"), (63, "client_secret_file"), (108, "run: ingestd login concur"),
        (136, f"get one for {CLIENT}"), (999, "look the code up"),
    ],
)  # fmt: skip
async def test_numbers_say_what_to_do(
    server: ConcurServer, settings: OAuthSettings, code: int, words: str
) -> None:
    server.fails(code)
    with pytest.raises(OAuthRefused, match=words):
        await login(settings).token()


async def test_a_company_under_maintenance_is_asked_again_later_although_that_is_a_400(
    server: ConcurServer, settings: OAuthSettings
) -> None:
    server.fails(MAINTENANCE)
    with pytest.raises(OAuthUnavailable, match="maintenance") as caught:
        await login(settings).token()
    assert not isinstance(caught.value, OAuthRefused)
    assert caught.value.wait == timedelta(minutes=5)
    assert (await login(settings).token()).token


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"<html>REPEATED</html>"), (502, b""), (503, b'{"code": 108, "error": "invalid_grant"}'),
        (429, b'{"error": "slow"}'), (403, b"<html>denied by the gateway</html>"), (400, b"[" * 60_000),
        (200, b"<html>REPEATED</html>"), (200, b'{"access_token": 7}'), (404, b"not found"),
    ],
)  # fmt: skip
async def test_what_is_no_answer_of_a_token_server_may_be_better_later(
    server: ConcurServer, settings: OAuthSettings, status: int, body: bytes
) -> None:
    server.answers = [(status, body)]
    with pytest.raises(OAuthUnavailable) as caught:
        await login(settings).token()
    assert not isinstance(caught.value, OAuthRefused)
    assert not any(secret in str(caught.value) for secret in server.secrets())
    assert (await login(settings).token()).token


# --- companies and applications ----------------------------------------------------------------------------


def company(server: ConcurServer, tmp_path: Path, token: str = REQUEST_TOKEN) -> OAuthSettings:
    secret = secret_in(tmp_path / "request-token", token)
    return server.settings(tmp_path, grant="company", company=COMPANY, request_token=secret)


async def test_a_company_logs_in_once_and_goes_on_with_its_refresh_token(
    server: ConcurServer, tmp_path: Path
) -> None:
    settings = company(server, tmp_path)
    put_at = (tmp_path / "request-token").stat().st_mtime_ns // 1000
    assert login(settings).expires_at == put_at + 24 * 3600 * 1_000_000, "at the latest"
    await login(settings).token()
    assert server.forms[0] == {
        "grant_type": "password", "username": COMPANY, "password": REQUEST_TOKEN, "credtype": "authtoken",
        "scope": "IMAGE", "client_id": CLIENT, "client_secret": CLIENT_SECRET,
    }  # fmt: skip
    server.request_tokens.clear()  # 24 hours later
    assert login(settings).expires_at == END_SECONDS * 1_000_000
    await login(settings).token()
    assert server.forms[1]["grant_type"] == "refresh_token"
    (tmp_path / "request-token").unlink()
    assert (await login(settings).token()).token


async def test_a_new_request_token_is_a_new_login(server: ConcurServer, tmp_path: Path) -> None:
    await login(company(server, tmp_path)).token()
    server.refresh_tokens.clear()
    with pytest.raises(OAuthRefused, match="code 108"):
        await login(company(server, tmp_path)).token()
    server.request_tokens = {"request-token-second"}
    assert (await login(company(server, tmp_path, "request-token-second")).token()).token
    assert server.forms[-1]["password"] == "request-token-second"


async def test_a_request_token_that_is_over_says_where_it_comes_from(
    server: ConcurServer, tmp_path: Path
) -> None:
    server.fails(5, error_description="seen: REPEATED")
    with pytest.raises(OAuthRefused, match="24 hours; then run: ingestd login concur") as caught:
        await login(company(server, tmp_path)).token()
    text = str(caught.value)
    assert COMPANY in text and REQUEST_TOKEN not in text


async def test_a_company_nobody_logged_in_for(server: ConcurServer, tmp_path: Path) -> None:
    nobody = login(server.settings(tmp_path, grant="company"))
    assert nobody.check() == "nobody has logged in yet; run: ingestd login concur"
    request_token = secret_in(tmp_path / "request-token", REQUEST_TOKEN)
    halfway = server.settings(tmp_path, grant="company", request_token=request_token)
    assert "company_uuid is missing" in str(login(halfway).check())
    assert login(company(server, tmp_path)).check() is None


async def test_an_application_by_itself_keeps_nothing_and_follows_its_data_centre(
    server: ConcurServer, tmp_path: Path
) -> None:
    settings = server.settings(tmp_path, grant="client_credentials")
    async with concur_server() as other:
        server.told["geolocation"] = other.url
        source = login(settings)
        first = await source.token()
        assert first.base_url == other.url
        second = await complain(source, first)
        assert second is not None and (len(server.forms), len(other.forms)) == (1, 1)
    assert not settings.store.exists() and source.check() is None and source.expires_at is None


# --- static tokens -----------------------------------------------------------------------------------------


async def test_a_static_token_is_its_file_and_a_new_one_there_is_worth_another_try(tmp_path: Path) -> None:
    source = login(secret_in(tmp_path / "token", "static-one"))
    first = await source.token()
    assert (first.token, first.base_url, first.generation) == ("static-one", "https://api.example.com", 1)
    assert await source.token() == first
    assert await complain(source, first) is None
    secret_in(tmp_path / "fresh", "static-two")
    (tmp_path / "fresh").replace(tmp_path / "token")
    second = await complain(source, first)
    assert second is not None and (second.token, second.generation) == ("static-two", 2)
    assert source.redact("static-one static-two") == "[secret] [secret]"
    (tmp_path / "token").unlink()
    assert await complain(source, second) is None
    with pytest.raises(SecretUnavailable):
        await source.token()
    assert str(tmp_path / "token") in source.place and str(tmp_path / "token") in source.fix
    assert "does not exist" in str(source.check()) and source.expires_at is None


async def test_the_end_of_a_static_jwt_is_known(tmp_path: Path) -> None:
    source = login(secret_in(tmp_path / "token", jwt({"exp": END_SECONDS})))
    assert source.expires_at == END_SECONDS * 1_000_000 and source.check() is None
    assert login(secret_in(tmp_path / "token", "opaque")).expires_at is None


async def test_each_account_has_a_login_of_its_own(server: ConcurServer, tmp_path: Path) -> None:
    people: dict[str, Secret | OAuthSettings] = {
        "ann": server.settings(
            tmp_path, name="concur.ann", refresh_token=secret_in(tmp_path / "a", server.login())
        ),
        "ben": secret_in(tmp_path / "ben-token", "static-ben"),
    }
    target = ConcurImageV1Settings(
        name="concur", url=server.url, oauth=company(server, tmp_path), accounts=people
    )
    logins = target_logins(target)
    assert list(logins) == [None, "ann", "ben"]
    tokens = {account: (await one.token()).token for account, one in logins.items()}
    assert len(set(tokens.values())) == 3 and tokens["ben"] == "static-ben"
    assert [str(one) for one in logins.values()] == ["concur", "concur, account ann", "concur, account ben"]
    assert logins[None].place == "the login of concur" and logins[None].fix == "run: ingestd login concur"
    assert {path.name for path in (tmp_path / "data/tokens").iterdir() if path.suffix == ".json"} == {
        "target.concur.json", "target.concur.ann.json",
    }  # fmt: skip
    assert target_logins(replace(target, oauth=None, accounts={})) == {}
    for one in logins.values():
        await one.aclose()


# --- secrets -----------------------------------------------------------------------------------------------


async def test_every_secret_of_a_login_is_blacked_out_earlier_ones_included(
    server: ConcurServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target_login, "IN_VAIN", timedelta())
    heard = Heard()
    source = login(company(server, tmp_path), heard)
    access: Access | None = await source.token()
    for _ in range(3):
        assert access is not None
        source.invalidate(access)
        access = await source.renewed_since(access)
    everything = server.secrets()
    assert len(everything) >= 10
    text = source.redact(" ".join(everything))
    assert set(text.split()) == {"[secret]"}
    shown = f"{source!r} {source} {source.place} {source.fix} {access!r} {heard.notes} {source._how!r}"
    assert not any(secret in shown for secret in everything)


async def test_a_missing_client_secret_is_named_and_nothing_is_asked(
    server: ConcurServer, settings: OAuthSettings
) -> None:
    source = login(settings)
    await source.token()
    assert settings.client_secret is not None and settings.client_secret.file is not None
    settings.client_secret.file.unlink()
    with pytest.raises(SecretUnavailable, match="client-secret does not exist"):
        await login(settings).token()
    assert len(server.forms) == 1
