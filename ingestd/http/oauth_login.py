"""How a person logs a program in: with a code on any device (RFC 8628), or with a browser whose last address
is copied back (RFC 8252 and RFC 7636), for providers that give the scope of mail to no device.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode, urlsplit

from ingestd.http.geolocation import standing
from ingestd.http.oauth_answer import seconds_of, text_of
from ingestd.http.oauth_endpoint import Granted, ask, ask_for_token, host_of
from ingestd.http.oauth_refusals import OAuthRefused, OAuthUnavailable
from ingestd.settings import OAuthSettings

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
REDIRECT = "http://127.0.0.1:1/"
"""Nothing listens there: the browser shows the address that it could not open (RFC 8252 section 7.3)."""
SLOWER_SECONDS = 5.0
"""RFC 8628 section 3.5: what slow_down adds to the interval, for this and all further questions."""
_INTERVAL_SECONDS = 5.0
_LONGEST_INTERVAL_SECONDS = 60.0
_CODE_SECONDS = 900.0
_LONGEST_CODE_SECONDS = 3600.0

Pause = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """What a person needs to log in: the address to open and the code to enter there."""

    address: str
    user_code: str
    lifetime_seconds: float
    interval_seconds: float
    device_code: str = field(repr=False)


async def ask_for_device_code(settings: OAuthSettings) -> DeviceCode:
    """RFC 8628 section 3.1. Needs a device_url. Raises OAuthUnavailable, OAuthRefused, SecretUnavailable."""
    assert settings.device_url is not None
    told = await ask(settings, settings.device_url, {"scope": settings.scope})
    # verification_url is what the drafts of the RFC, and Google, call it.
    address = text_of(told, "verification_uri", longest=500) or text_of(told, "verification_url", longest=500)
    user_code, device_code = text_of(told, "user_code", longest=100), text_of(told, "device_code")
    if address is None or user_code is None or device_code is None or not _is_web(address):
        raise OAuthUnavailable(f"{host_of(settings.device_url)} gave no usable code; check device_url")
    lifetime, interval = seconds_of(told, "expires_in"), seconds_of(told, "interval")
    return DeviceCode(
        address=address,
        user_code=user_code,
        device_code=device_code,
        lifetime_seconds=min(_CODE_SECONDS if lifetime is None else lifetime, _LONGEST_CODE_SECONDS),
        interval_seconds=min(
            _INTERVAL_SECONDS if interval is None else max(interval, 1.0), _LONGEST_INTERVAL_SECONDS
        ),
    )


async def wait_for_person(
    settings: OAuthSettings, code: DeviceCode, *, pause: Pause = asyncio.sleep
) -> Granted:
    """Asks until the person has entered the code (RFC 8628 section 3.4).

    Raises OAuthRefused when the code expired or the person said no.
    """
    form = {"grant_type": DEVICE_GRANT, "device_code": code.device_code}
    interval, waited, began = code.interval_seconds, 0.0, time.monotonic()
    trouble: OAuthUnavailable | None = None
    while max(waited, time.monotonic() - began) <= code.lifetime_seconds:
        await pause(interval)
        waited += interval
        try:
            return await ask_for_token(settings, form)
        except OAuthRefused as refused:
            trouble = None
            match refused.code:
                case "authorization_pending":
                    pass
                case "slow_down":
                    interval += SLOWER_SECONDS
                case _:
                    raise
        except OAuthUnavailable as error:
            trouble = error
            # RFC 8628 section 3.5: what can't be reached is asked less often.
            interval = min(interval * 2, _LONGEST_INTERVAL_SECONDS)
    if trouble is not None:
        raise trouble
    raise OAuthRefused("the code was not entered in time; begin again", "expired_token")


class BrowserLogin:
    """One login with a browser on any machine. `address` is to be opened there."""

    def __init__(self, settings: OAuthSettings) -> None:
        """Needs an authorize_url."""
        assert settings.authorize_url is not None
        self._settings = settings
        self._state = secrets.token_urlsafe(24)
        self._verifier = secrets.token_urlsafe(48)
        concur = settings.concur
        self.redirect = (concur and concur.redirect_url) or REDIRECT
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self._verifier.encode()).digest())
        query = {
            "response_type": "code",
            "client_id": settings.client_id,
            "redirect_uri": self.redirect,
            "scope": settings.scope,
            "state": self._state,
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            # Google gives a refresh token only for these two; others pass over what they don't know.
            "access_type": "offline",
            "prompt": "consent",
        }
        joint = "&" if urlsplit(settings.authorize_url).query else "?"
        self.address = f"{settings.authorize_url}{joint}{urlencode(query)}"

    async def finish(self, pasted: str) -> Granted:
        """`pasted`: the address the browser ended at. Raises OAuthRefused when it is no answer to this."""
        told = _query_of(pasted)
        self._check(told)
        form = {
            "grant_type": "authorization_code",
            "code": told["code"],
            "redirect_uri": self.redirect,
            "code_verifier": self._verifier,
        }
        # SAP Concur adds where the person lives, and the code is good there only.
        return await ask_for_token(
            self._settings, form, home=standing(told.get("geolocation"), self._settings)
        )

    def _check(self, told: Mapping[str, str]) -> None:
        if "code" not in told and "error" not in told:
            raise OAuthRefused(
                f"that is not the address the browser ended at; it begins with {self.redirect}?; begin again"
            )
        if not hmac.compare_digest(told.get("state", "").encode(), self._state.encode()):
            raise OAuthRefused("that address belongs to another login; begin again, and copy the newest one")
        if "error" in told:
            raise OAuthRefused(
                f"the login was refused ({told['error'][:100]!r}); begin again", "access_denied"
            )


def _query_of(address: str) -> Mapping[str, str]:
    """The first value of each name; empty for what is no address."""
    try:
        query = urlsplit(address.strip()).query
        return {name: values[0] for name, values in parse_qs(query, max_num_fields=100).items()}
    except ValueError:
        return {}


def _is_web(address: str) -> bool:
    return urlsplit(address).scheme in ("http", "https") and bool(urlsplit(address).hostname)
