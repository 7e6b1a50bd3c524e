"""A real OAuth 2.0 server on loopback: it rotates refresh tokens and takes each of them once, gives device
codes and authorization codes, and can be slow, broken or rude.
"""

import asyncio
import base64
import hashlib
import json
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from ingestd.settings import OAuthSettings, Secret

CLIENT = "client-of-the-tests"
CLIENT_SECRET = "client-secret-7b1f"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
TOKEN_LIFETIME_SECONDS = 3600


def random_access_token() -> str:
    return f"access-{secrets.token_urlsafe(24)}"


@dataclass
class OAuthServer:
    """What it was asked is in `forms`, what it gave in `given`. `refresh_tokens` are those that are good now.

    `answers`: what is said instead of the proper answer, first one first: (status, body), or an error code.
    `device`: what the questions of a device are answered with, the last one again and again; "" is yes.
    """

    url: str = ""
    refresh_tokens: set[str] = field(default_factory=set)
    spent: set[str] = field(default_factory=set)
    forms: list[dict[str, str]] = field(default_factory=list)
    given: list[dict[str, Any]] = field(default_factory=list)
    answers: list[str | tuple[int, bytes]] = field(default_factory=list)
    device: list[str] = field(default_factory=lambda: ["authorization_pending", ""])
    device_told: dict[str, Any] = field(default_factory=dict)
    rotates: bool = True
    lifetime: object = TOKEN_LIFETIME_SECONDS
    latency_seconds: float = 0.0
    new_access_token: Callable[[], str] = random_access_token
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    _challenges: dict[str, str] = field(default_factory=dict)

    def login(self) -> str:
        """A refresh token as a person would get it."""
        token = f"refresh-{secrets.token_urlsafe(24)}"
        self.refresh_tokens.add(token)
        return token

    def secrets(self) -> set[str]:
        """All tokens that were ever good."""
        given = {
            told[name] for told in self.given for name in ("access_token", "refresh_token") if name in told
        }
        return given | self.spent | self.refresh_tokens

    def grant_code(self, challenge: str) -> str:
        """An authorization code, as the browser would bring it."""
        code = f"code-{secrets.token_urlsafe(12)}"
        self._challenges[code] = challenge
        return code

    def settings(self, store: Path, **changes: Any) -> OAuthSettings:
        known: dict[str, Any] = {
            "grant": "refresh_token",
            "token_url": f"{self.url}/token",
            "device_url": f"{self.url}/device",
            "authorize_url": f"{self.url}/authorize",
            "client_id": CLIENT,
            "scope": "mail offline_access",
            "store": store,
        }
        return OAuthSettings(**(known | changes))

    async def token(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        self.asked.set()
        await asyncio.sleep(self.latency_seconds)
        if self.answers:
            return _said(self.answers.pop(0), form)
        if form.get("client_id") != CLIENT:
            return _error("invalid_client", status=401)
        match form.get("grant_type"):
            case "refresh_token":
                return self._refreshed(form)
            case "client_credentials":
                if form.get("client_secret") != CLIENT_SECRET:
                    return _error("invalid_client", status=401)
                return self._gives(refresh=False)
            case "authorization_code":
                return self._exchanged(form)
            case other if other == DEVICE_GRANT:
                code = self.device.pop(0) if len(self.device) > 1 else self.device[0]
                return _error(code) if code else self._gives(refresh=True)
            case _:
                return _error("unsupported_grant_type")

    async def device_code(self, request: web.Request) -> web.StreamResponse:
        self.forms.append({name: str(value) for name, value in (await request.post()).items()})
        if self.answers:
            return _said(self.answers.pop(0), self.forms[-1])
        told = {
            "device_code": "device-code-1",
            "user_code": "WDJB-MJHT",
            "verification_uri": "https://login.example.com/device",
            "expires_in": 900,
            "interval": 1,
        }
        return web.json_response({k: v for k, v in (told | self.device_told).items() if v is not None})

    def _refreshed(self, form: dict[str, str]) -> web.StreamResponse:
        token = form.get("refresh_token", "")
        if token in self.spent:
            # RFC 9700 section 4.14.2: a token that comes twice was stolen, and the whole login ends.
            self.refresh_tokens.clear()
        if token not in self.refresh_tokens:
            return _error("invalid_grant")
        if not self.rotates:
            return self._gives(refresh=False)
        self.refresh_tokens.discard(token)
        self.spent.add(token)
        return self._gives(refresh=True)

    def _exchanged(self, form: dict[str, str]) -> web.StreamResponse:
        challenge = self._challenges.pop(form.get("code", ""), None)
        proof = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if challenge is None or base64.urlsafe_b64encode(proof).rstrip(b"=").decode() != challenge:
            return _error("invalid_grant")
        return self._gives(refresh=True)

    def _gives(self, *, refresh: bool) -> web.StreamResponse:
        told = {"access_token": self.new_access_token(), "token_type": "Bearer", "expires_in": self.lifetime}
        if refresh:
            told["refresh_token"] = self.login()
        self.given.append(told)
        return web.json_response({name: value for name, value in told.items() if value is not None})


@asynccontextmanager
async def oauth_server() -> AsyncIterator[OAuthServer]:
    """On a free port of 127.0.0.1."""
    server = OAuthServer()
    app = web.Application()
    app.router.add_post("/token", server.token)
    app.router.add_post("/device", server.device_code)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


@contextmanager
def oauth_server_aside() -> Iterator[OAuthServer]:
    """The same in a thread of its own, for tests that have no event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="OAuth server")
    thread.start()
    serving = oauth_server()
    try:
        yield asyncio.run_coroutine_threadsafe(_entered(serving), loop).result(30)
    finally:
        asyncio.run_coroutine_threadsafe(_left(serving), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


async def _entered(serving: AbstractAsyncContextManager[OAuthServer]) -> OAuthServer:
    return await serving.__aenter__()


async def _left(serving: AbstractAsyncContextManager[OAuthServer]) -> None:
    await serving.__aexit__(None, None, None)


def secret_in(path: Path, value: str) -> Secret:
    path.write_text(value + "\n")
    path.chmod(0o600)
    return Secret(file=path)


def _said(answer: str | tuple[int, bytes], form: dict[str, str]) -> web.StreamResponse:
    if isinstance(answer, str):
        return _error(answer, said=f"The server has seen {form}.")
    status, body = answer
    return web.Response(status=status, body=body, content_type="application/json")


def _error(code: str, *, status: int = 400, said: str = "") -> web.StreamResponse:
    told = {"error": code} | ({"error_description": said} if said else {})
    return web.Response(status=status, text=json.dumps(told), content_type="application/json")
