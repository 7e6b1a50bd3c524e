"""Concur Image v1.0: one POST of raw bytes for each receipt (api-reference/image/v1.image).

Always with Content-Length (the API refuses chunked bodies), never redirected, the ID as one path segment.
The API knows no idempotency key: an answer that got lost stays Unconfirmed.
"""

import asyncio
import errno
import hashlib
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from urllib.parse import quote

from ingestd.destinations.concur.answers import ONE_IMAGE, Question, outcome_of
from ingestd.domain.document import ReceiptImage
from ingestd.domain.outcome import Evidence, Outcome, Refused, Unavailable
from ingestd.domain.receipt import Receipt
from ingestd.domain.routing import InvalidSlot, Slot
from ingestd.http.session import Answer, AnswerLost, Exchange, NotSent, Request, Session
from ingestd.http.tokens import SecretReader, SecretUnavailable
from ingestd.interfaces import Limits
from ingestd.settings import ConcurImageV1Settings, Secret

PATH = "/api/image/v1.0/"
TYPES = frozenset({"application/pdf", "image/jpeg", "image/png"})
SLOTS: Mapping[str, bool] = MappingProxyType(
    {"receipt": False, "expenseentry": True, "invoice": True, "report": True}
)
_PROBE = "ingestd-check"
"""An image ID that nobody has: asking for it shows if the token is accepted, and stores nothing."""
_TOKEN_IS_GOOD = frozenset({200, 400, 404})


class ConcurImageV1:
    """A Destination. Make it anywhere; its connections belong to the loop of the first upload."""

    def __init__(self, settings: ConcurImageV1Settings, *, connections: int) -> None:
        """`connections`: at most so many at once. Raises ConfigurationError for a url unfit for a token."""
        self._settings = settings
        self._session = Session(settings.url, connections=connections)
        self._tokens: dict[str | None, _Token] = {
            account: _Token(secret) for account, secret in settings.accounts.items()
        }
        if settings.token is not None:
            self._tokens[None] = _Token(settings.token)

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def accounts(self) -> Collection[str]:
        return self._settings.accounts.keys()

    @property
    def slots(self) -> Mapping[str, bool]:
        return SLOTS

    def limits(self, slot: Slot) -> Limits:
        """Raises InvalidSlot when there is no such slot here."""
        _check_slot(slot)
        return Limits(
            types=TYPES,
            max_bytes=self._settings.max_bytes,
            max_pages=self._settings.max_pages,
            one_image=slot.kind in ONE_IMAGE,
        )

    async def upload(self, image: ReceiptImage, receipt: Receipt) -> Outcome:
        """One attempt. Never raises for what the server, the network, the token file or the spool does."""
        prepared = await self._prepare(image, receipt)
        if not isinstance(prepared, _Upload):
            return prepared
        correlation_id = str(uuid.uuid4())
        exchange = await self._session.exchange(
            Request(
                method="POST",
                url=self._address(prepared.slot),
                headers=self._headers(prepared.token, correlation_id),
                content=prepared.content,
                content_type=image.mime_type,
                silence=self._settings.timeout,
            )
        )
        question = Question(
            slot=prepared.slot,
            correlation_id=correlation_id,
            token_place=prepared.token_place,
            token=prepared.token,
            unavailable=self._settings.retry.unavailable,
            now=datetime.now(UTC),
            token_accepted=await self._is_only_about_the_slot(exchange, prepared),
        )
        return outcome_of(exchange, question)

    async def check(self) -> Sequence[str]:
        """Asks for an image that nobody has, once with each token; uploads nothing."""
        if not self._tokens:
            return [f"{self.name}: no token is configured; set targets.{self.name}.token_file"]
        found: list[str] = []
        for account, token in self._tokens.items():
            place = f"{self.name}, account {account}" if account else self.name
            try:
                value = await asyncio.to_thread(token.read)
            except SecretUnavailable as error:
                found.append(f"{place}: {error}")
                continue
            problem, general = _problem(await self._ask_for_nothing(value), token)
            if problem:
                found.append(f"{place}: {problem}")
            if general:
                break
        return found

    async def aclose(self) -> None:
        await self._session.aclose()

    async def _prepare(self, image: ReceiptImage, receipt: Receipt) -> "_Upload | Outcome":
        try:
            slot = Slot.parse(receipt.slot)
            _check_slot(slot)
        except InvalidSlot as error:
            return Refused(reason=f"{error}.", fix="Correct the route or the sidecar, then send it again.")
        token = self._tokens.get(receipt.account)
        if token is None:
            return _no_token(self.name, receipt.account)
        if image.mime_type not in TYPES or image.size > self._settings.max_bytes:
            return Refused(
                reason=f"Concur does not take {image.size} bytes of {image.mime_type}.",
                fix=f"Send a PDF, JPEG or PNG of at most {self._settings.max_bytes} bytes.",
            )
        return await asyncio.to_thread(_load, image, slot, token)

    async def _is_only_about_the_slot(self, exchange: Exchange, upload: "_Upload") -> bool:
        """A 403 for one report must not close the target for everybody's receipts: is the token at fault?"""
        match exchange:
            case Answer(status=403) if upload.slot.identifier is not None:
                probe = await self._ask_for_nothing(upload.token)
                return isinstance(probe, Answer) and probe.status in _TOKEN_IS_GOOD
            case _:
                return False

    async def _ask_for_nothing(self, token: str) -> Exchange:
        return await self._session.exchange(
            Request(
                method="GET",
                url=f"{self._session.url}{PATH}receipt/{_PROBE}",
                headers=self._headers(token, str(uuid.uuid4())),
                silence=self._settings.timeout,
            )
        )

    def _address(self, slot: Slot) -> str:
        """IDs hold `$` and may hold `/` or `%`: each is one path segment, fully percent-encoded."""
        segment = "" if slot.identifier is None else "/" + quote(slot.identifier, safe="")
        return f"{self._session.url}{PATH}{slot.kind}{segment}"

    def _headers(self, token: str, correlation_id: str) -> dict[str, str]:
        return {
            "Authorization": f"{self._settings.authorization} {token}",
            "Accept": "application/xml",
            "concur-correlationid": correlation_id,
        }


class _Token:
    def __init__(self, secret: Secret) -> None:
        self.place = str(secret)
        self.read = SecretReader(secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Upload:
    slot: Slot
    token_place: str
    token: str = field(repr=False)
    content: bytes = field(repr=False)


def _check_slot(slot: Slot) -> None:
    needs_identifier = SLOTS.get(slot.kind)
    if needs_identifier is None:
        raise InvalidSlot(f"there is no slot {slot.kind!r} in Concur Image v1.0, only {', '.join(SLOTS)}")
    if needs_identifier != (slot.identifier is not None):
        raise InvalidSlot(f"the slot {slot.kind} is written {slot.kind}{'/ID' if needs_identifier else ''}")


def _load(image: ReceiptImage, slot: Slot, token: _Token) -> "_Upload | Outcome":
    """Runs in a thread: the token and the image from their files, the image proved to be what was checked."""
    try:
        value = token.read()
        with image.path.open("rb") as file:
            content = file.read(image.size + 1)
    except SecretUnavailable as error:
        return Unavailable(
            reason=f"There is no token: {error}.",
            fix="It is read again by itself; no restart is needed.",
            everything=True,
            evidence=Evidence(message=str(error)),
        )
    except OSError as error:
        return _unreadable(error)
    if len(content) != image.size or hashlib.sha256(content).hexdigest() != image.sha256:
        return _damaged("its bytes are not those that were checked")
    return _Upload(slot=slot, token_place=token.place, token=value, content=content)


def _unreadable(error: OSError) -> Outcome:
    if error.errno == errno.ENOENT:
        return _damaged("it is not in the spool any more")
    reason = f"The image can't be read from the spool: {error.strerror}."
    return Unavailable(reason=reason, evidence=Evidence(message=reason))


def _damaged(why: str) -> Refused:
    reason = f"The image to upload is damaged: {why}."
    return Refused(
        reason=reason,
        fix="Check the disk of the storage directory, then send the document again.",
        evidence=Evidence(message=reason),
    )


def _no_token(target: str, account: str | None) -> Refused:
    if account is None:
        return Refused(
            reason=f"The target {target} has no token.",
            fix=f"Set targets.{target}.token_file, restart ingestd and retry it.",
        )
    return Refused(
        reason=f"The target {target} has no account {account!r} any more.",
        fix=f"Set targets.{target}.accounts.{account}.token_file, restart ingestd and retry it.",
    )


def _problem(exchange: Exchange, token: _Token) -> tuple[str, bool]:
    """What is wrong, empty for nothing; and whether it would be the same with every token."""
    match exchange:
        case NotSent(reason=reason, fix=fix):
            return f"{reason} {fix}".strip(), True
        case AnswerLost(reason=reason):
            return reason, True
        case Answer(status=401 | 403 as status):
            return f"Concur does not accept the token of {token.place} (it answered {status})", False
        case Answer(status=status) if status // 100 == 3 or status >= 500 or status == 429:
            return f"Concur answered {status} to a harmless question", True
        case Answer(headers=headers) if "Concur-Correlationid" not in headers:
            return "this is not Concur: its answer has no Concur-Correlationid; check the url setting", True
        case _:
            return "", False
