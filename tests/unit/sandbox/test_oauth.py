import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from ingestd.sandbox import Sandbox, fingerprint, logins, tokens
from ingestd.sandbox.faults import OAUTH_ERRORS
from ingestd.sandbox.logins import Logins, TokenRefused
from ingestd.sandbox.switches import Switches
from tests.unit.sandbox.client import Client

COMPANY = "8ce3a6f0-3b1c-4c66-9a43-5cf4e1b3b9d1"
START = 1_800_000_000.0


@dataclass
class TokenAnswer:
    status: int
    said: dict[str, Any]

    @property
    def code(self) -> int | None:
        return self.said.get("code")


async def ask(client: Client, *, content_type: str | None = None, **form: str | None) -> TokenAnswer:
    """The token endpoint, with a good client unless the form says otherwise; None leaves a field out."""
    every = {"client_id": "app", "client_secret": "hush", **form}
    data = {name: value for name, value in every.items() if value is not None}
    headers = {"Content-Type": content_type} if content_type else None
    url = f"{client.base}/oauth2/v0/token"
    body: Any = json.dumps(data).encode() if content_type else data
    async with client.session.post(url, data=body, headers=headers) as response:
        return TokenAnswer(response.status, await response.json(content_type="application/json"))


async def refresh(client: Client, token: str, **form: str | None) -> TokenAnswer:
    return await ask(client, grant_type="refresh_token", refresh_token=token, **form)


async def upload(client: Client, access_token: str) -> int:
    return (await client.post("receipt", authorization=f"Bearer {access_token}")).status


async def switch(client: Client, **switches: Any) -> None:
    await client.plan(switches=switches)


async def test_a_refresh_answers_as_concur_does(client: Client, state: Sandbox) -> None:
    state.now = lambda: START
    answer = await refresh(client, "first")
    assert answer.status == 200
    said = answer.said
    assert said["expires_in"] == 3600
    assert said["refresh_expires_in"] == int(START) + 180 * 86_400
    assert (said["token_type"], said["scope"], said["geolocation"]) == (
        "Bearer",
        "openid IMAGE EXTRCT",
        client.base,
    )
    assert said["refresh_token"] != "first"
    assert said["id_token"].count(".") == said["access_token"].count(".") == 2
    assert await upload(client, said["access_token"]) == 201


async def test_a_refresh_token_rotates_and_the_old_one_dies(client: Client) -> None:
    second = (await refresh(client, "first")).said["refresh_token"]
    again = await refresh(client, "first")
    assert (again.status, again.code, again.said["error"]) == (400, 108, "invalid_grant")
    assert "geolocation" not in again.said
    third = (await refresh(client, second)).said["refresh_token"]
    assert (await refresh(client, second)).code == 108
    assert (await refresh(client, third)).status == 200


async def test_by_switch_the_old_refresh_token_lives(client: Client) -> None:
    await switch(client, old_refresh_token="lives")
    second = (await refresh(client, "first")).said["refresh_token"]
    assert second != "first"
    assert [(await refresh(client, each)).status for each in ("first", second)] == [200, 200]


async def test_by_switch_refresh_tokens_do_not_rotate(client: Client, state: Sandbox) -> None:
    await switch(client, rotation=False, refresh_seconds=100)
    now = START
    state.now = lambda: now
    for _ in range(3):
        said = (await refresh(client, "first")).said
        assert (said["refresh_token"], said["refresh_expires_in"]) == ("first", int(now) + 100)
        now += 99
    now += 2
    assert (await refresh(client, "first")).code == 108


async def test_a_refresh_token_dies_of_age(client: Client, state: Sandbox) -> None:
    await switch(client, refresh_seconds=60)
    state.now = lambda: START
    young, old = [(await refresh(client, each)).said["refresh_token"] for each in ("a", "b")]
    state.now = lambda: START + 59
    assert (await refresh(client, young)).status == 200
    state.now = lambda: START + 60
    assert (await refresh(client, old)).code == 108


async def test_a_refresh_token_belongs_to_its_client(client: Client) -> None:
    second = (await refresh(client, "first")).said["refresh_token"]
    assert (await refresh(client, second, client_id="other")).code == 108
    assert (await refresh(client, second)).status == 200


async def test_a_refresh_adds_no_scope(client: Client) -> None:
    second = (await refresh(client, "first", scope="IMAGE openid")).said["refresh_token"]
    assert (await refresh(client, second, scope="IMAGE EXTRCT")).code == 54
    assert (await refresh(client, second, scope="IMAGE")).said["scope"] == "IMAGE openid"


@pytest.mark.parametrize(("switch_to", "status"), [(403, 403), (401, 401)])
async def test_an_access_token_dies_of_age_with_403_or_by_switch_401(
    client: Client, state: Sandbox, switch_to: int, status: int
) -> None:
    await switch(client, token_seconds=60, bad_token=switch_to)
    state.now = lambda: START
    token = (await refresh(client, "first")).said["access_token"]
    state.now = lambda: START + 59.9
    assert await upload(client, token) == 201
    state.now = lambda: START + 60
    assert await upload(client, token) == status
    assert (await client.get("receipt/x", authorization=f"OAuth {token}")).status == status
    assert await upload(client, "any-other") == 201


async def test_an_altered_access_token_is_refused(client: Client) -> None:
    token = (await refresh(client, "first")).said["access_token"]
    header, claims, signature = token.split(".")
    for altered in (f"{header}.{claims[:-2]}AA.{signature}", f"{header}.{claims}.x", f"{header}.x"):
        assert await upload(client, altered) == 403
    assert tokens.read(token) is not None
    assert tokens.read("") is None
    head = b"GET /api/image/v1.0/receipt/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "
    assert b" 403 " in await client.raw(head + header.encode() + b".x.\xff\r\n\r\n")


async def test_a_token_without_the_scope_image_uploads_nothing(client: Client) -> None:
    token = (await refresh(client, "first", scope="openid EXTRCT")).said["access_token"]
    answer = await client.post("receipt", authorization=f"Bearer {token}")
    assert (answer.status, "scope IMAGE" in answer.message) == (403, True)


async def test_a_token_revoked_in_the_middle_is_dead_for_good(client: Client) -> None:
    first, second = [(await refresh(client, each)).said["access_token"] for each in ("a", "b")]
    await client.plan({"fault": "revoke-token", "times": 2})
    assert await upload(client, first) == 403
    assert await upload(client, "static") == 403
    assert [await upload(client, each) for each in (first, "static", second)] == [403, 201, 201]
    assert len(await client.images()) == 2


async def test_client_credentials_bring_no_refresh_token(client: Client) -> None:
    answer = await ask(client, grant_type="client_credentials")
    assert answer.status == 200
    assert not {"refresh_token", "refresh_expires_in", "id_token"} & answer.said.keys()
    assert await upload(client, answer.said["access_token"]) == 201


async def test_a_company_logs_in_with_its_request_token_for_a_day(client: Client, state: Sandbox) -> None:
    async def log_in(**form: str) -> TokenAnswer:
        known = {"username": COMPANY, "password": "request-token", "credtype": "authtoken"}
        return await ask(client, grant_type="password", **(known | form))

    state.now = lambda: START
    answer = await log_in()
    assert await upload(client, answer.said["access_token"]) == 201
    assert (await refresh(client, answer.said["refresh_token"])).status == 200
    state.now = lambda: START + 86_400
    assert (await log_in()).status == 200
    state.now = lambda: START + 86_401
    assert (await log_in()).code == 5
    assert (await log_in(password="another")).status == 200
    assert (await log_in(username="ann@example.com")).code == 5
    assert (await log_in(password="bad-token")).code == 5
    assert (await log_in(credtype="otp")).code == 135
    assert (await log_in(credtype="password", username="ann@example.com", password="x")).status == 200


async def authorized(client: Client, **query: str) -> dict[str, list[str]]:
    """Where the browser is sent back to: the query of the redirect_uri."""
    known = {"client_id": "app", "redirect_uri": "http://127.0.0.1:1/back?a=b", "response_type": "code"}
    url = f"{client.base}/oauth2/v0/authorize"
    async with client.session.get(url, params=known | query, allow_redirects=False) as response:
        assert response.status == 302
        back = urlsplit(response.headers["Location"])
        assert (back.netloc, back.path) == ("127.0.0.1:1", "/back")
        return parse_qs(back.query)


async def test_a_person_is_sent_back_with_a_code_that_is_good_once(client: Client, state: Sandbox) -> None:
    back = await authorized(client, state="s&1", scope="IMAGE")
    assert (back["a"], back["state"]) == (["b"], ["s&1"])

    async def redeem(code: str, **form: str) -> TokenAnswer:
        known = {"redirect_uri": "http://127.0.0.1:1/back?a=b"}
        return await ask(client, grant_type="authorization_code", code=code, **(known | form))

    answer = await redeem(back["code"][0])
    assert answer.said["scope"] == "IMAGE"
    assert await upload(client, answer.said["access_token"]) == 201
    assert (await refresh(client, answer.said["refresh_token"])).status == 200
    assert (await redeem(back["code"][0])).code == 60
    for wrong in ({"redirect_uri": "http://127.0.0.1:1/"}, {"client_id": "other"}):
        assert (await redeem((await authorized(client))["code"][0], **wrong)).code == 60
    state.now = lambda: START
    late = (await authorized(client))["code"][0]
    state.now = lambda: START + logins.CODE_SECONDS
    assert (await redeem(late)).code == 60


async def test_a_person_may_refuse(client: Client) -> None:
    assert await authorized(client, client_id="denied-1") == {"a": ["b"], "error": ["access_denied"]}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?client_id=a",
        "?client_id=a&redirect_uri=http://127.0.0.1:1/&response_type=token",
        "?client_id=a&response_type=code&redirect_uri=javascript:alert(1)",
        "?client_id=a&response_type=code&redirect_uri=http://[",
    ],
)
async def test_authorize_sends_nobody_anywhere_else(client: Client, query: str) -> None:
    assert (await client.fetch(f"{client.base}/oauth2/v0/authorize{query}")).status == 400


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"client_id": None}, 62),
        ({"client_secret": None}, 63),
        ({"client_secret": ""}, 63),
        ({"grant_type": None}, 65),
        ({"refresh_token": None}, 106),
        ({"client_id": "unknown-app"}, 61),
        ({"client_id": "bad-app"}, 64),
        ({"client_secret": "bad-secret"}, 64),
        ({"refresh_token": "bad-1"}, 108),
        ({"refresh_token": "expired-1"}, 108),
        ({"grant_type": "otp"}, 60),
        ({"grant_type": "authorization_code"}, 60),
        ({"content_type": "application/json"}, 135),
    ],
)
async def test_what_is_missing_or_wrong_has_its_code(
    client: Client, form: dict[str, str | None], code: int
) -> None:
    known: dict[str, str | None] = {"grant_type": "refresh_token", "refresh_token": "x"}
    answer = await ask(client, **(known | form))
    assert (answer.status, answer.code) == (400, code)
    assert answer.said["error"] == OAUTH_ERRORS[code][0]
    assert answer.said["error_description"]


async def test_a_form_without_an_end_is_refused(client: Client) -> None:
    assert (await refresh(client, "x" * 100_000)).code == 135


async def test_credentials_in_the_header_are_none_and_count_as_a_leak(client: Client) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    headers = {"Authorization": aiohttp.encode_basic_auth("app", "hush")}
    async with client.session.post(f"{client.base}/oauth2/v0/token", data=form, headers=headers) as response:
        assert (await response.json())["code"] == 62
    assert (await client.own("GET", "requests"))["leaks"] == 1


@pytest.mark.parametrize("code", sorted(OAUTH_ERRORS))
async def test_a_name_picks_any_code(client: Client, code: int) -> None:
    assert (await refresh(client, "good", client_id=f"code-{code}-app")).code == code
    assert (await refresh(client, f"code-{code}-x1")).code == code
    assert (await refresh(client, f"code-{code}-x1")).status == 200


async def test_code_16_says_where_the_user_lives(client: Client) -> None:
    assert (await refresh(client, "code-16-a")).said["geolocation"] == client.base
    await switch(client, geolocation="http://127.0.0.1:9")
    assert (await refresh(client, "code-16-a")).said["geolocation"] == "http://127.0.0.1:9"


async def test_the_status_of_an_error_can_be_another(client: Client) -> None:
    await switch(client, token_error=403)
    assert (await refresh(client, "bad-1")).status == 403


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("own", "{base}"),
        ("none", None),
        ("path", "{base}/oauth2/v0/token"),
        ("foreign", "https://us2.api.concursolutions.com.attacker.example"),
        ("https://eu2.api.concursolutions.com", "https://eu2.api.concursolutions.com"),
    ],
)
async def test_the_geolocation_is_what_the_switch_says(client: Client, value: str, named: str | None) -> None:
    await switch(client, geolocation=value)
    said = (await refresh(client, "first")).said
    assert said.get("geolocation") == (named and named.format(base=client.base))


async def test_expires_in_can_be_a_text(client: Client) -> None:
    await switch(client, expires_in="text", token_seconds=90)
    assert (await refresh(client, "first")).said["expires_in"] == "90"


async def test_any_fault_can_meet_the_token_endpoint_but_only_by_its_name(client: Client) -> None:
    await client.plan({"fault": "fail-503"})
    assert (await refresh(client, "a")).status == 200
    await client.plan(
        {"match": "token", "fault": "html-502", "times": 1}, {"match": "token", "fault": "code-134"}
    )
    async with client.session.post(f"{client.base}/oauth2/v0/token", data={}) as response:
        assert (response.status, response.content_type) == (502, "text/html")
    assert (await refresh(client, "b")).code == 134
    assert (await client.post("receipt")).status == 201
    await client.plan()
    with pytest.raises(aiohttp.ClientConnectionError):
        await refresh(client, "drop-before")


async def test_a_rotation_whose_answer_is_lost_costs_the_login(client: Client) -> None:
    await client.plan({"match": "token", "fault": "accept-then-drop", "times": 1})
    with pytest.raises(aiohttp.ClientConnectionError):
        await refresh(client, "first")
    assert (await refresh(client, "first")).code == 108


async def test_code_faults_are_plain_ids_in_the_image_api(client: Client) -> None:
    assert (await client.post("report/code-108-a")).status == 201
    [request] = (await client.own("GET", "requests"))["requests"]
    assert request["fault"] is None
    await client.plan({"fault": "code-134"})
    assert (await client.post("report/1")).status == 201
    assert (await refresh(client, "a")).code == 134


async def test_logins_are_counted_without_their_secrets(client: Client) -> None:
    second = (await refresh(client, "first-s3cret")).said
    third = (await refresh(client, second["refresh_token"])).said
    await refresh(client, "first-s3cret")
    await ask(client, grant_type="client_credentials", client_id="robot", client_secret="s3cret")
    await client.post("receipt", authorization=f"Bearer {third['access_token']}")
    shown = await client.own("GET", "logins")
    app, robot = shown["clients"]
    assert app == {
        "client_id": "app",
        "requests": 3,
        "most_at_once": 1,
        "answers": {"200": 2, "400 code 108": 1},
    }
    assert (robot["client_id"], robot["answers"]) == ("robot", {"200": 1})
    login = shown["logins"][0]
    assert (login["grant"], login["given"], login["refreshes"], login["refused"]) == (
        "refresh_token",
        2,
        2,
        {"108": 1},
    )
    assert login["refresh_token"] == fingerprint(third["refresh_token"])
    [image] = await client.images()
    assert image["account"] == login["account"]
    everything = str([await client.own("GET", page) for page in ("logins", "requests", "images")])
    for secret in ("s3cret", third["access_token"], third["refresh_token"], second["refresh_token"]):
        assert secret not in everything


async def test_two_refreshes_at_once_are_noticed(client: Client) -> None:
    await client.plan(latency_seconds=0.3)
    await asyncio.gather(refresh(client, "a"), refresh(client, "b"))
    [app] = (await client.own("GET", "logins"))["clients"]
    assert app["most_at_once"] == 2


async def test_an_account_stays_the_same_through_refreshes(client: Client) -> None:
    said = (await refresh(client, "first")).said
    for _ in range(2):
        await upload(client, said["access_token"])
        said = (await refresh(client, said["refresh_token"])).said
    first, second = await client.images()
    assert first["account"] == second["account"]
    requests = (await client.own("GET", "requests"))["requests"]
    assert {each["account"] for each in requests if each["path"].startswith("/api")} == {first["account"]}


async def test_a_reset_forgets_logins(client: Client) -> None:
    await refresh(client, "first")
    await client.own("POST", "reset")
    assert await client.own("GET", "logins") == {"clients": [], "logins": []}
    assert (await refresh(client, "first")).status == 200


def test_what_is_remembered_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "_MOST_LOGINS", 20)
    monkeypatch.setattr(logins, "_MOST_TOKENS", 50)
    held, switches = Logins(), Switches()
    for number in range(200):
        with held.asking(f"client-{number}"):
            held.renew(f"token-{number}", f"client-{number}", None, switches, START)
    assert len(held.as_json()["clients"]) == len(held.as_json()["logins"]) == 20
    assert len(held._refresh) == 50
    with pytest.raises(TokenRefused):
        held.renew("token-199", "client-199", None, switches, START)
