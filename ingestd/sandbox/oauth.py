"""The token endpoint of Concur Authentication v2, and the page that asks a person (here: never).

    POST /oauth2/v0/token        grants refresh_token, client_credentials, password, authorization_code
    GET  /oauth2/v0/authorize    302 to the redirect_uri with a code, at once

Any client is good but unknown-*, any secret, password and refresh token but bad-* and expired-*. What an ID
or a token is called picks faults as everywhere: `code-108-…`, `html-502`, `fail-503-x2-…`.
"""

import secrets
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import ClientPayloadError, web
from yarl import URL

from ingestd.sandbox import acts, answers, tokens
from ingestd.sandbox.faults import OAUTH_ERRORS, Fault, Kind
from ingestd.sandbox.journal import fingerprint
from ingestd.sandbox.logins import DEFAULT_SCOPE, Login, Renewed, TokenRefused
from ingestd.sandbox.slots import TOKEN
from ingestd.sandbox.state import EXCHANGE, SANDBOX, Sandbox
from ingestd.sandbox.switches import pace

TOKEN_PATH = "/oauth2/v0/token"  # noqa: S105 - a path
AUTHORIZE_PATH = "/oauth2/v0/authorize"

_FORM = "application/x-www-form-urlencoded"
_MAX_FORM_BYTES = 2**16
_ELSEWHERE = 16
_FOREIGN = "https://us2.api.concursolutions.com.attacker.example"
_NAMES = ("client_id", "refresh_token", "password", "code")

Form = Mapping[str, str]
Granted = tuple[Login, Renewed | None]


def add_routes(router: web.UrlDispatcher) -> None:
    router.add_post(TOKEN_PATH, token)
    router.add_get(AUTHORIZE_PATH, authorize, allow_head=False)


async def token(request: web.Request) -> web.StreamResponse:
    """200 with the tokens, or a JSON error with its code."""
    sandbox = request.app[SANDBOX]
    form = await _form(request)
    client_id = "" if form is None else form.get("client_id", "")
    counts = request[EXCHANGE].under_way.enter_context(sandbox.logins.asking(client_id))
    # The count is of what the client gets, so it waits for the status that the exchange ends with.
    request[EXCHANGE].under_way.callback(lambda: counts.update([_counted(request)]))
    fault = sandbox.pick(TOKEN, request.method, [(form or {}).get(name, "") for name in _NAMES])
    request[EXCHANGE].fault = None if fault is None else str(fault)
    spoilt = await acts.before_body(fault, request) or acts.instead(fault, TOKEN, request)
    if spoilt is not None:
        return spoilt
    limited = _limited(sandbox, client_id, request)
    if limited is not None:
        return limited
    try:
        _refuse_by_name(fault)
        answer = answers.json_body(200, _answer(request, _grant(sandbox, form)))
    except TokenRefused as refused:
        return _error(request, refused.code)
    answer.headers["Cache-Control"] = "no-store"  # RFC 6749, 5.1
    return await acts.on_answer(fault, request, answer)


async def authorize(request: web.Request) -> web.StreamResponse:
    """A code for the client, as if a person had agreed; `denied-*` clients meet one who did not."""
    query = request.query
    client_id, target = query.get("client_id", ""), query.get("redirect_uri", "")
    if not client_id:
        return _error(request, 62)
    if not _is_web_address(target) or query.get("response_type") != "code":
        return _error(request, 135)
    if client_id.startswith("denied-"):
        result = {"error": "access_denied"}
    else:
        sandbox, scope = request.app[SANDBOX], query.get("scope") or DEFAULT_SCOPE
        result = {"code": sandbox.logins.new_code(client_id, target, scope, sandbox.now())}
    if "state" in query:
        result["state"] = query["state"]
    return web.Response(status=302, headers={"Location": str(URL(target).update_query(result))})


async def _form(request: web.Request) -> Form | None:
    """None: not a form. The first value of each field counts."""
    content = bytearray()
    try:
        async for chunk in request.content.iter_any():
            content += chunk
            if len(content) > _MAX_FORM_BYTES:
                return None
    except (ClientPayloadError, ConnectionError):
        return None
    finally:
        request[EXCHANGE].received = len(content)
    if request.content_type != _FORM:
        return None
    try:
        pairs = parse_qsl(content.decode(), keep_blank_values=False, max_num_fields=50)
    except ValueError:
        return None
    return dict(reversed(pairs))


def _counted(request: web.Request) -> str:
    """The status, and the code of an error: `200`, `400 code 108`, `no answer`."""
    exchange = request[EXCHANGE]
    return exchange.outcome if exchange.code is None else f"{exchange.outcome} code {exchange.code}"


def _limited(sandbox: Sandbox, client_id: str, request: web.Request) -> web.Response | None:
    """The token endpoint is throttled apart from the API, by client."""
    text = sandbox.switches.token_rate
    allowed = None if text is None else pace(text)
    if allowed is None:
        return None
    wait = sandbox.limits.wait("token_rate", client_id[:64], allowed)
    return None if wait is None else answers.too_many(request, answers.retry_after(sandbox.switches, wait))


def _refuse_by_name(fault: Fault | None) -> None:
    if fault is not None and fault.kind is Kind.CODE:
        assert fault.number is not None
        raise TokenRefused(fault.number)


def _grant(sandbox: Sandbox, form: Form | None) -> Granted:
    """Who logged in, with a refresh token where the grant brings one. Raises TokenRefused."""
    if form is None:
        raise TokenRefused(135)
    client_id, scope = _client(form), form.get("scope")
    switches, now = sandbox.switches, sandbox.now()
    match form.get("grant_type"):
        case None:
            raise TokenRefused(65)
        case "refresh_token":
            refresh_token = form.get("refresh_token")
            if refresh_token is None:
                raise TokenRefused(106)
            return sandbox.logins.renew(refresh_token, client_id, scope, switches, now)
        case "client_credentials":
            return sandbox.logins.log_in(client_id, "", "client_credentials", scope or DEFAULT_SCOPE), None
        case "password":
            login = _by_password(sandbox, form, client_id, now)
        case "authorization_code":
            code, target = form.get("code", ""), form.get("redirect_uri", "")
            login = sandbox.logins.redeem_code(code, client_id, target, now)
        case _:
            raise TokenRefused(60)
    return login, sandbox.logins.new_refresh_token(login, switches, now)


def _client(form: Form) -> str:
    client_id, secret = form.get("client_id"), form.get("client_secret")
    if client_id is None:
        raise TokenRefused(62)
    if secret is None:
        raise TokenRefused(63)
    if client_id.startswith("unknown-"):
        raise TokenRefused(61)
    if client_id.startswith("bad-") or secret.startswith(("bad-", "expired-")):
        raise TokenRefused(64)
    return client_id


def _by_password(sandbox: Sandbox, form: Form, client_id: str, now: float) -> Login:
    """`credtype=authtoken`: a company's UUID and its request token; else a user's name and password."""
    username, password = form.get("username", ""), form.get("password", "")
    kind = form.get("credtype", "password")
    if kind not in ("password", "authtoken"):
        raise TokenRefused(135)
    if not username or not password or (kind == "authtoken" and not _is_uuid(username)):
        raise TokenRefused(5)
    sandbox.logins.check_password(password, request_token=kind == "authtoken", now=now)
    return sandbox.logins.log_in(client_id, username, "password", form.get("scope") or DEFAULT_SCOPE)


def _answer(request: web.Request, granted: Granted) -> dict[str, Any]:
    """Concur Authentication, "Response": expires_in in seconds, refresh_expires_in as a moment."""
    sandbox, (login, renewed) = request.app[SANDBOX], granted
    switches, now = sandbox.switches, sandbox.now()
    issuer = str(request.url.origin())
    life = switches.token_seconds
    said: dict[str, Any] = {
        "expires_in": str(int(life)) if switches.expires_in == "text" else int(life),
        "scope": login.scope,
        "token_type": "Bearer",
        "access_token": tokens.issue(
            account=login.account, scope=login.scope, issued_at=now, expires_at=now + life, issuer=issuer
        ),
    }
    login.given += 1
    login.last_at = now
    if renewed is not None:
        login.refresh_token = fingerprint(renewed.token)
        said["refresh_token"] = renewed.token
        said["refresh_expires_in"] = int(renewed.expires_at)
        said["id_token"] = f"e30.e30.{secrets.token_urlsafe(32)}"
    return said | _geolocation(request)


def _geolocation(request: web.Request) -> dict[str, str]:
    own = str(request.url.origin())
    match request.app[SANDBOX].switches.geolocation:
        case "own":
            return {"geolocation": own}
        case "none":
            return {}
        case "path":
            return {"geolocation": own + TOKEN_PATH}
        case "foreign":
            return {"geolocation": _FOREIGN}
        case base:
            return {"geolocation": base}


def _error(request: web.Request, code: int) -> web.Response:
    """The body, and 16 with where the user lives."""
    error, description = OAUTH_ERRORS[code]
    request[EXCHANGE].message, request[EXCHANGE].code = description, code
    said: dict[str, Any] = {"code": code, "error": error, "error_description": description}
    if code == _ELSEWHERE:
        said |= _geolocation(request)
    return answers.json_body(request.app[SANDBOX].switches.token_error, said)


def _is_web_address(text: str) -> bool:
    try:
        return URL(text).scheme in ("http", "https")
    except ValueError:
        return False


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
