"""Concur Image v1.0: one POST of raw bytes for each receipt (api-reference/image/v1.image), and reading back.

Always with Content-Length (the API refuses chunked bodies), never redirected, the ID as one path segment.
The API knows no idempotency key: an answer that got lost stays Unconfirmed until the slot was looked at.
"""

import asyncio
import errno
import hashlib
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import BinaryIO

from ingestd.destinations.concur.answers import ONE_IMAGE, outcome_of
from ingestd.destinations.concur.calling import NOBODYS, Call, Called, Calls
from ingestd.destinations.concur.looking import found_by
from ingestd.destinations.concur.reading import is_from_concur
from ingestd.domain.document import ReceiptImage
from ingestd.domain.outcome import (
    CannotSay,
    Evidence,
    LookUp,
    Outcome,
    Refused,
    Unavailable,
)
from ingestd.domain.receipt import Receipt
from ingestd.domain.routing import InvalidSlot, Slot
from ingestd.http.downloading import Downloads, Fetched
from ingestd.http.session import Answer, AnswerLost, NotSent, base_url
from ingestd.http.target_login import OAuthUnavailable, SecretUnavailable, TargetLogin, target_logins
from ingestd.interfaces import Downloaded, Limits, Login, Observer
from ingestd.settings import ConcurImageV1Settings, OAuthSettings

TYPES = frozenset({"application/pdf", "image/jpeg", "image/png"})
SLOTS: Mapping[str, bool] = MappingProxyType(
    {"receipt": False, "expenseentry": True, "invoice": True, "report": True}
)
IMAGE_DOMAINS = ("concursolutions.com", "concurcdc.cn")
"""Where the URLs of images lead (imagingupload.concursolutions.com, for one), also those of data centres."""


class ConcurImageV1:
    """A Destination. Make it anywhere; its connections belong to the loop of the first upload."""

    def __init__(
        self, settings: ConcurImageV1Settings, *, connections: int, observer: Observer | None = None
    ) -> None:
        """`connections`: at most so many at once. Raises ConfigurationError for a url unfit for a token."""
        base = base_url(settings.url)
        self._settings = settings
        self._logins = target_logins(settings, observer=observer)
        self._calls = Calls(settings, self._logins, connections=connections)
        self._downloads = Downloads(base=base, domains=_image_domains(settings), silence=settings.timeout)

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def accounts(self) -> Collection[str]:
        return self._settings.accounts.keys()

    @property
    def slots(self) -> Mapping[str, bool]:
        return SLOTS

    @property
    def logins(self) -> Sequence[Login]:
        return [
            Login(account=account, expires_at=login.expires_at) for account, login in self._logins.items()
        ]

    async def stay_logged_in(self) -> Sequence[str]:
        troubles = []
        for login in self._logins.values():
            try:
                await login.token()
            except (OAuthUnavailable, SecretUnavailable) as error:
                troubles.append(f"{login}: {error}")
        return troubles

    def limits(self, slot: Slot) -> Limits:
        """Raises InvalidSlot when there is no such slot here."""
        _check_slot(slot)
        return Limits(
            types=TYPES,
            max_bytes=self._settings.max_bytes,
            max_pages=self._settings.max_pages,
            one_image=slot.kind in ONE_IMAGE,
        )

    def reads_back(self, slot: Slot) -> bool:
        """A report appends, and to look a receipt up takes the image ID that got lost with the answer."""
        return slot.kind in ONE_IMAGE

    def shows_alone(self, slot: Slot) -> bool:
        """GET of a report gives one PDF with the receipts of all its entries (Image v1)."""
        return slot.kind != "report"

    async def upload(self, image: ReceiptImage, receipt: Receipt) -> Outcome:
        """One attempt. Never raises for what the server, the network, the token file or the spool does."""
        slot = self._checked(image, receipt)
        if not isinstance(slot, Slot):
            return slot
        content = await asyncio.to_thread(_load, image)
        if not isinstance(content, bytes):
            return content
        call = Call(method="POST", slot=slot, content=content, content_type=image.mime_type)
        called = await self._calls.make(call, receipt.account)
        return called if isinstance(called, Unavailable) else outcome_of(called.exchange, called.question)

    async def look_up(self, slot: Slot, *, account: str | None, image_id: str | None = None) -> LookUp:
        """GET of the slot; of receipts, each an image of its own, that of `image_id`."""
        try:
            _check_slot(slot)
            place = slot if slot.identifier is not None else Slot.parse(f"{slot.kind}/{image_id or ''}")
        except InvalidSlot as error:
            return CannotSay(reason=f"{error}." if image_id else "A receipt is found by its image ID alone.")
        if account not in self._logins:
            return CannotSay(reason=_no_token(self.name, account).reason)
        called = await self._calls.make(Call(method="GET", slot=place), account)
        if isinstance(called, Unavailable):
            return CannotSay(reason=called.reason, obstacle=called, evidence=called.evidence)
        return found_by(called.exchange, called.question)

    async def download(self, url: str, into: BinaryIO) -> Downloaded | CannotSay:
        result = await self._downloads.fetch(url, into)
        if isinstance(result, Fetched):
            return Downloaded(mime_type=result.mime_type, size=result.size)
        evidence = Evidence(status=result.status, message=result.reason)
        return CannotSay(reason=result.reason, passing=result.passing, evidence=evidence)

    async def check(self) -> Sequence[str]:
        """Asks for an image that nobody has, once with each login; uploads nothing."""
        if not self._logins:
            return [f"{self.name}: no token is configured; set targets.{self.name}.token_file"]
        found: list[str] = []
        for account, login in self._logins.items():
            place = f"{self.name}, account {account}" if account else self.name
            called = await self._calls.make(Call(method="GET", slot=NOBODYS), account)
            problem, general = _problem(called, login)
            if problem:
                found.append(f"{place}: {problem}")
            if general:
                break
        return found

    async def aclose(self) -> None:
        await self._calls.aclose()
        await self._downloads.aclose()
        for login in self._logins.values():
            await login.aclose()

    def _checked(self, image: ReceiptImage, receipt: Receipt) -> Slot | Refused:
        try:
            slot = Slot.parse(receipt.slot)
            _check_slot(slot)
        except InvalidSlot as error:
            return Refused(reason=f"{error}.", fix="Correct the route or the sidecar, then send it again.")
        if receipt.account not in self._logins:
            return _no_token(self.name, receipt.account)
        if image.mime_type not in TYPES or image.size > self._settings.max_bytes:
            return Refused(
                reason=f"Concur does not take {image.size} bytes of {image.mime_type}.",
                fix=f"Send a PDF, JPEG or PNG of at most {self._settings.max_bytes} bytes.",
            )
        return slot


def _image_domains(settings: ConcurImageV1Settings) -> tuple[str, ...]:
    """Concur's own, and those a person allowed the login's data centre to be in."""
    logins = [settings.oauth, *settings.accounts.values()]
    concur = [login.concur for login in logins if isinstance(login, OAuthSettings) and login.concur]
    return IMAGE_DOMAINS + tuple(host for login in concur for host in login.allowed_hosts)


def _check_slot(slot: Slot) -> None:
    needs_identifier = SLOTS.get(slot.kind)
    if needs_identifier is None:
        raise InvalidSlot(f"there is no slot {slot.kind!r} in Concur Image v1.0, only {', '.join(SLOTS)}")
    if needs_identifier != (slot.identifier is not None):
        raise InvalidSlot(f"the slot {slot.kind} is written {slot.kind}{'/ID' if needs_identifier else ''}")


def _load(image: ReceiptImage) -> bytes | Outcome:
    """Runs in a thread: the image from its file, proved to be what was checked."""
    try:
        with image.path.open("rb") as file:
            content = file.read(image.size + 1)
    except OSError as error:
        return _unreadable(error)
    if len(content) != image.size or hashlib.sha256(content).hexdigest() != image.sha256:
        return _damaged("its bytes are not those that were checked")
    return content


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


def _problem(called: Called | Unavailable, login: TargetLogin) -> tuple[str, bool]:
    """What is wrong, empty for nothing; and whether it would be the same with every token."""
    if isinstance(called, Unavailable):
        return called.evidence.message, False
    match called.exchange:
        case NotSent(reason=reason, fix=fix):
            return f"{reason} {fix}".strip(), True
        case AnswerLost(reason=reason):
            return reason, True
        case Answer(status=401 | 403 as status):
            return f"Concur does not accept the token of {login.place} (it answered {status})", False
        case Answer(status=status) if status // 100 == 3 or status >= 500 or status == 429:
            return f"Concur answered {status} to a harmless question", True
        case Answer() as answer if not is_from_concur(answer):
            return "this is not Concur: its answer has no Concur-Correlationid; check the url setting", True
        case _:
            return "", False
