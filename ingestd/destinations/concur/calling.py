"""One call of Image v1.0 with the login of an account, repeated once where a refused token could be renewed.

401 and 403 prove that nothing was stored, so a repeat is safe; which of them an expired token gets differs
(Concur: HTTP status codes say 403, other pages 401). The token goes to its own base URL alone.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from ingestd.destinations.concur.reading import Question, is_from_concur
from ingestd.domain.outcome import Evidence, Unavailable
from ingestd.domain.routing import Slot
from ingestd.http.oauth_refusals import OAuthRefused, OAuthUnavailable
from ingestd.http.session import Answer, Exchange, Request
from ingestd.http.sessions import Sessions
from ingestd.http.target_login import Access, TargetLogin
from ingestd.http.tokens import SecretUnavailable
from ingestd.settings import ConcurImageV1Settings

PATH = "/api/image/v1.0/"
NOBODYS = Slot("receipt", "ingestd-check")
"""An image ID that nobody has: asking for it shows if the token is accepted, and stores nothing."""
_TOKEN_IS_GOOD = frozenset({200, 400, 404})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`slot` with an ID is the address of an image; a body goes to it with `method` POST."""

    method: str
    slot: Slot
    content: bytes | None = field(default=None, repr=False)
    content_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """What was asked and what became of it, for `outcome_of` and `found_by`."""

    exchange: Exchange
    question: Question


class Calls:
    """For one event loop. Close it at the end; the logins are closed by whoever made them."""

    def __init__(
        self,
        settings: ConcurImageV1Settings,
        logins: Mapping[str | None, TargetLogin],
        *,
        connections: int,
    ) -> None:
        self._settings = settings
        self._logins = logins
        self._sessions = Sessions(connections=connections)

    async def make(self, call: Call, account: str | None) -> Called | Unavailable:
        """Unavailable: there is no token to call with. Raises KeyError for an account without a login."""
        login = self._logins[account]
        try:
            access = await login.token()
        except (OAuthUnavailable, SecretUnavailable) as error:
            return self._no_token(error)
        called = await self._once(call, login, access)
        if not _is_refused(called.exchange) or called.question.token_accepted:
            return called
        login.invalidate(access)
        renewed = await login.renewed_since(access)
        return called if renewed is None else await self._once(call, login, renewed)

    async def aclose(self) -> None:
        await self._sessions.aclose()

    async def _once(self, call: Call, login: TargetLogin, access: Access) -> Called:
        correlation_id = str(uuid.uuid4())
        exchange = await self._exchange(call, access, correlation_id)
        question = Question(
            slot=call.slot,
            correlation_id=correlation_id,
            token_fix=login.fix,
            redact=login.redact,
            unavailable=self._settings.rules.retry.unavailable,
            now=datetime.now(UTC),
            token_accepted=await self._is_good_elsewhere(exchange, call, access),
        )
        return Called(exchange=exchange, question=question)

    async def _is_good_elsewhere(self, exchange: Exchange, call: Call, access: Access) -> bool:
        """A 403 for one report must not close the target for everybody's receipts: is the token at fault?"""
        match exchange:
            case Answer(status=403) if call.slot.identifier is not None or not is_from_concur(exchange):
                harmless = Call(method="GET", slot=NOBODYS)
                probe = await self._exchange(harmless, access, str(uuid.uuid4()))
                return isinstance(probe, Answer) and probe.status in _TOKEN_IS_GOOD and is_from_concur(probe)
            case _:
                return False

    async def _exchange(self, call: Call, access: Access, correlation_id: str) -> Exchange:
        headers = {
            "Authorization": f"{self._settings.authorization} {access.token}",
            "Accept": "application/xml",
            "concur-correlationid": correlation_id,
        }
        async with self._sessions.to(access.base_url) as session:
            return await session.exchange(
                Request(
                    method=call.method,
                    url=f"{session.url}{PATH}{_path(call.slot)}",
                    headers=headers,
                    content=call.content,
                    content_type=call.content_type,
                    silence=self._settings.timeout,
                )
            )

    def _no_token(self, error: OAuthUnavailable | SecretUnavailable) -> Unavailable:
        match error:
            case OAuthRefused():
                wait: timedelta | None = self._settings.rules.retry.unavailable
            case OAuthUnavailable():
                wait = error.wait
            case _:
                wait = None  # a file that a person is about to put there
        return Unavailable(
            reason=f"There is no token: {error}.",
            fix="It is tried again by itself; no restart is needed.",
            wait=wait,
            everything=True,
            evidence=Evidence(message=str(error)),
        )


def _is_refused(exchange: Exchange) -> bool:
    return isinstance(exchange, Answer) and exchange.status in (401, 403)


def _path(slot: Slot) -> str:
    """IDs hold `$` and may hold `/` or `%`: each is one path segment, fully percent-encoded."""
    return slot.kind if slot.identifier is None else f"{slot.kind}/{quote(slot.identifier, safe='')}"
