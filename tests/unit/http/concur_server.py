"""A real token endpoint of SAP Concur on loopback: rotation, company request tokens, data centres, numbered
errors, and whatever else is put into `answers`.
"""

import asyncio
import json
import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from ingestd.settings import ConcurLogin, OAuthSettings, Secret

CLIENT = "client-4711"
CLIENT_SECRET = "client-secret-7b1f"
COMPANY = "08bcca1e-0d4f-4261-9f1b-f9a8d6f7d2b1"
REQUEST_TOKEN = "request-token-c4e1"
END_SECONDS = 1_900_000_000
"""2030-03-17: when refresh tokens end here."""


@dataclass
class ConcurServer:
    """What it was asked is in `forms`. `answers`: said instead of the proper answer, first one first."""

    url: str = ""
    refresh_tokens: set[str] = field(default_factory=set)
    spent: set[str] = field(default_factory=set)
    request_tokens: set[str] = field(default_factory=lambda: {REQUEST_TOKEN})
    forms: list[dict[str, str]] = field(default_factory=list)
    given: list[dict[str, Any]] = field(default_factory=list)
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    told: dict[str, object] = field(default_factory=dict)
    """Instead of what a good answer says; a value of None is left out."""
    headers: dict[str, str] = field(default_factory=dict)
    rotates: bool = True
    latency_seconds: float = 0.0

    def login(self) -> str:
        token = f"refresh-{secrets.token_urlsafe(24)}"
        self.refresh_tokens.add(token)
        return token

    def fails(self, code: int, *, status: int = 400, **more: object) -> None:
        """The next answer is this error, which repeats what it was asked."""
        self.answers.append((status, json.dumps({"code": code, "error": "invalid_grant", **more}).encode()))

    def settings(self, directory: Path, *, name: str = "concur", **changes: Any) -> OAuthSettings:
        """A client with its secret, by refresh token; `changes` may also be keys of ConcurLogin."""
        own = {k: changes.pop(k) for k in list(changes) if k in ConcurLogin.__dataclass_fields__}
        known: dict[str, Any] = {
            "grant": "refresh_token",
            "token_url": f"{self.url}/oauth2/v0/token",
            "authorize_url": f"{self.url}/oauth2/v0/authorize",
            "client_id": CLIENT,
            "client_secret": secret_in(directory / "client-secret", CLIENT_SECRET),
            "scope": "IMAGE",
            "store": directory / "data" / "tokens" / f"target.{name}.json",
            "concur": ConcurLogin(**({"api_url": self.url, "command": f"ingestd login {name}"} | own)),
        }
        return OAuthSettings(**(known | changes))

    def secrets(self) -> set[str]:
        """Everything that must be in no text."""
        tokens = {
            str(told[name])
            for told in self.given
            for name in ("access_token", "refresh_token")
            if name in told
        }
        return tokens | self.refresh_tokens | self.spent | self.request_tokens | {CLIENT_SECRET}

    async def token(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        await asyncio.sleep(self.latency_seconds)
        if self.answers:
            status, body = self.answers.pop(0)
            return self._said(
                status, body.replace(b"REPEATED", json.dumps(form).encode().replace(b'"', b"'"))
            )
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT, CLIENT_SECRET):
            return self._error(64, "invalid_client")
        match form.get("grant_type"):
            case "refresh_token":
                return self._refreshed(form.get("refresh_token", ""))
            case "password" if form.get("credtype") == "authtoken" and form.get("username") == COMPANY:
                good = form.get("password") in self.request_tokens
                return self._gives(self.login()) if good else self._error(5, "invalid_grant")
            case "client_credentials":
                return self._gives(None)
            case "authorization_code" if form.get("code") == "code-1":
                return self._gives(self.login())
            case _:
                return self._error(65, "invalid_request")

    def _refreshed(self, token: str) -> web.StreamResponse:
        if token not in self.refresh_tokens:
            return self._error(108, "invalid_grant")
        if not self.rotates:
            return self._gives(token)
        self.refresh_tokens.discard(token)
        self.spent.add(token)
        return self._gives(self.login())

    def _gives(self, refresh_token: str | None) -> web.StreamResponse:
        told: dict[str, object] = {
            "expires_in": 3600,
            "scope": "IMAGE",
            "token_type": "Bearer",
            "access_token": f"access-{secrets.token_urlsafe(24)}",
            "geolocation": self.url,
        }
        if refresh_token is not None:
            told |= {"refresh_token": refresh_token, "refresh_expires_in": END_SECONDS}
        told = {name: value for name, value in (told | self.told).items() if value is not None}
        self.given.append(told)
        return self._said(200, json.dumps(told).encode())

    def _error(self, code: int, error: str) -> web.StreamResponse:
        return self._said(400, json.dumps({"code": code, "error": error}).encode())

    def _said(self, status: int, body: bytes) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=self.headers, content_type="application/json")


@asynccontextmanager
async def concur_server() -> AsyncIterator[ConcurServer]:
    """On a free port of 127.0.0.1."""
    server = ConcurServer()
    app = web.Application()
    app.router.add_post("/oauth2/v0/token", server.token)
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
def concur_server_aside() -> Iterator[ConcurServer]:
    """The same in a thread of its own, for tests that have no event loop."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    found: list[ConcurServer] = []
    stop = asyncio.Event()

    async def serve() -> None:
        async with concur_server() as server:
            found.append(server)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="token server")
    thread.start()
    assert ready.wait(30)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


def secret_in(path: Path, value: str) -> Secret:
    path.write_text(value + "\n")
    path.chmod(0o600)
    return Secret(file=path)
