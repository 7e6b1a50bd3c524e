"""The faults the sandbox can play, and the names that pick them.

A name is a word of the catalogue, for most of them a number, optionally `-xN` (the first N times only) and
anything else after a dash: `fail-503`, `fail-503-x2-lunch`, `throttle-5`, `timeout`. The same names work as
the beginning of an ID in the URL and in the plan that is PUT to /_sandbox/faults.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """What goes wrong. The value is the word that picks it."""

    DROP_BEFORE = "drop-before"
    DROP_MID_BODY = "drop-mid-body"
    FAIL = "fail"
    THROTTLE = "throttle"
    THROTTLE_DATE = "throttle-date"
    LIMIT = "limit"
    DEADLOCK = "deadlock"
    IMAGING = "imaging"
    ERROR_IN = "error-in"
    HTML = "html"
    REDIRECT = "redirect"
    ACCEPT_THEN = "accept-then"
    ACCEPT_THEN_DROP = "accept-then-drop"
    TIMEOUT = "timeout"
    SLOW = "slow"
    EMPTY = "empty"
    TRUNCATED_XML = "truncated-xml"
    CUT_ANSWER = "cut-answer"
    EXPIRED_URL = "expired-url"
    NO_URL = "no-url"
    OTHER_BYTES = "other-bytes"
    OTHER_IMAGE = "other-image"
    REVOKE_TOKEN = "revoke-token"  # noqa: S105 - the name of a fault
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the catalogue. `number` says what the number in the name means; None: it takes none."""

    example: str
    effect: str
    number: str | None = None
    optional: bool = False
    on_get: bool = False
    on_token: bool = False


_STATUS = "status"
_SECONDS = "seconds"
_CODE = "code of an error"

CATALOGUE: Mapping[Kind, Entry] = MappingProxyType(
    {
        Kind.DROP_BEFORE: Entry("drop-before", "the connection is closed at once; nothing is stored"),
        Kind.DROP_MID_BODY: Entry(
            "drop-mid-body", "the connection is reset after half of the body; nothing is stored"
        ),
        Kind.FAIL: Entry("fail-503", "an <Error> with that status, 400 to 599; nothing is stored", _STATUS),
        Kind.THROTTLE: Entry(
            "throttle-5",
            "429 with Retry-After: 5 (`throttle` alone: 429 without it); nothing is stored",
            _SECONDS,
            optional=True,
        ),
        Kind.THROTTLE_DATE: Entry(
            "throttle-date-5",
            "429 with Retry-After as an HTTP date 5 seconds ahead; nothing is stored",
            _SECONDS,
        ),
        Kind.LIMIT: Entry(
            "limit-400", "400 in the words of the request limit; passes with time; nothing is stored", _STATUS
        ),
        Kind.DEADLOCK: Entry(
            "deadlock-400",
            "400 in the words of a database deadlock; passes with time; nothing is stored",
            _STATUS,
        ),
        Kind.IMAGING: Entry(
            "imaging-500", "500 Imaging Configuration Not Available.: permanent; nothing is stored", _STATUS
        ),
        Kind.ERROR_IN: Entry(
            "error-in-200", "200, but the body is an <Error>; nothing is stored", "status of a success"
        ),
        Kind.HTML: Entry("html-502", "a gateway's HTML page with that status; nothing is stored", _STATUS),
        Kind.REDIRECT: Entry(
            "redirect",
            "307 (or redirect-302 and so on) to another host name; nothing is stored, and a client that "
            "follows shows up in /_sandbox/requests under /redirected/",
            "status of a redirect",
            optional=True,
        ),
        Kind.ACCEPT_THEN: Entry(
            "accept-then-500", "the image is STORED, the answer is an <Error> with that status", _STATUS
        ),
        Kind.ACCEPT_THEN_DROP: Entry(
            "accept-then-drop", "the image is STORED, the connection is closed without an answer"
        ),
        Kind.TIMEOUT: Entry("timeout", "the image is STORED, no answer ever comes, until the client leaves"),
        Kind.SLOW: Entry("slow-3", "the image is STORED, the good answer comes 3 seconds later", _SECONDS),
        Kind.EMPTY: Entry("empty-201", "the image is STORED, the answer has no body", "status of a success"),
        Kind.TRUNCATED_XML: Entry(
            "truncated-xml", "the image is STORED, the XML of the answer stops halfway"
        ),
        Kind.CUT_ANSWER: Entry(
            "cut-answer", "the image is STORED, the connection closes halfway through the answer"
        ),
        Kind.EXPIRED_URL: Entry(
            "expired-url", "GET only: the <Url> is past its life (403 when it is fetched)", on_get=True
        ),
        Kind.NO_URL: Entry("no-url", "GET only: <Url /> is empty", on_get=True),
        Kind.OTHER_BYTES: Entry("other-bytes", "GET only: the <Url> delivers altered bytes", on_get=True),
        Kind.OTHER_IMAGE: Entry(
            "other-image", "GET only: the <Url> delivers a PDF of something else", on_get=True
        ),
        Kind.REVOKE_TOKEN: Entry(
            "revoke-token",
            "403 (switch bad_token), and the access token, if it came from the token endpoint here, is dead "
            "from then on; nothing is stored",
        ),
        Kind.CODE: Entry(
            "code-108",
            "token endpoint only: the error with that code, 16 with a geolocation; no token is given",
            _CODE,
            on_token=True,
        ),
    }
)

OAUTH_ERRORS: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        5: ("invalid_grant", "Incorrect credentials. Please retry."),
        16: ("invalid_request", "User lives elsewhere."),
        20: ("invalid_grant", "Logon Denied. Please contact your administrator."),
        53: ("invalid_client", "Company not enabled for this client."),
        54: ("invalid_scope", "Scope does not match what was granted."),
        59: ("access_denied", "Client disabled."),
        60: ("invalid_grant", "These are not the grants you are looking for."),
        61: ("invalid_client", "Client not found."),
        62: ("invalid_request", "client_id was not supplied."),
        63: ("invalid_request", "client_secret was not supplied."),
        64: ("invalid_client", "Incorrect credentials."),
        65: ("invalid_request", "grant_type was not supplied."),
        106: ("invalid_request", "refresh_token was not supplied."),
        107: ("invalid_request", "Refresh is not allowed for this app."),
        108: ("invalid_grant", "Bad or expired refresh token."),
        115: ("invalid_request", "Unauthenticated client."),
        123: ("invalid_request", "Principal disabled."),
        134: ("invalid_request", "Company is undergoing scheduled maintenance."),
        135: ("invalid_request", "Unsupported request format."),
        136: ("invalid_request", "The authtoken was not issued for you."),
    }
)
"""Error and description of each code of the token endpoint (Concur Authentication, "Response codes")."""

_LONGEST_FIRST = "|".join(sorted((re.escape(kind) for kind in Kind), key=len, reverse=True))
_NAME = re.compile(
    rf"(?P<kind>{_LONGEST_FIRST})(?:-(?P<number>\d{{1,5}}))?(?:-x(?P<times>\d{{1,6}}))?(?:-.*)?", re.DOTALL
)
_DEFAULT_REDIRECT_STATUS = 307
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LONGEST_WAIT_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault to play. `number`: a status, seconds or a code, see there. `times` None: every time."""

    kind: Kind
    number: int | None = None
    times: int | None = None

    @property
    def status(self) -> int:
        """For the kinds whose number is a status."""
        assert self.number is not None
        return self.number

    @property
    def on_get(self) -> bool:
        """True for what spoils reading back; the others spoil the upload unless the plan says otherwise."""
        return CATALOGUE[self.kind].on_get

    @property
    def on_token(self) -> bool:
        """True for what has a meaning at the token endpoint only."""
        return CATALOGUE[self.kind].on_token

    def __str__(self) -> str:
        number = "" if self.number is None else f"-{self.number}"
        times = "" if self.times is None else f"-x{self.times}"
        return f"{self.kind}{number}{times}"


def parse(name: str) -> Fault | None:
    """The fault a name picks; None when it names none (then an ID is just an ID)."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    kind = Kind(found["kind"])
    number = None if found["number"] is None else int(found["number"])
    if number is None and kind is Kind.REDIRECT:
        number = _DEFAULT_REDIRECT_STATUS
    if not _number_fits(kind, number):
        return None
    return Fault(kind, number, None if found["times"] is None else int(found["times"]))


def _number_fits(kind: Kind, number: int | None) -> bool:
    entry = CATALOGUE[kind]
    if entry.number is None or number is None:
        return number is None and (entry.number is None or entry.optional)
    if entry.number == _STATUS:
        return 400 <= number <= 599
    if entry.number == _SECONDS:
        return number <= _LONGEST_WAIT_SECONDS
    if entry.number == _CODE:
        return number in OAUTH_ERRORS
    if kind is Kind.REDIRECT:
        return number in _REDIRECTS
    return 200 <= number <= 299
